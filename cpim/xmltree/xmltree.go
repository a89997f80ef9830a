// Package xmltree holds XML as an ordered tree of elements whose names carry
// their namespace, and is the one gate through which XML comes in, streams and
// documents alike (Namespaces in XML 1.0; RFC 6120, section 11).
//
// The gate is narrower than XML 1.0: no document type, comment, processing
// instruction or entity but the five predefined ones, UTF-8 only (RFC 6120,
// section 11.1), no undeclared prefix, no attribute twice, and limits on bytes,
// depth, attributes and elements. What it lets through is written back as the
// same tree; prefixes are not kept, because nothing may depend on them.
//
// It is wider in two places, neither of which changes what a document means to
// us: tabs and line ends in an attribute stay what they are, and a reference to
// half a surrogate pair reads as U+FFFD.
package xmltree

import (
	"encoding/xml"
	"iter"
	"strings"
)

// The namespaces that the prefixes "xml" and "xmlns" always have.
const (
	xmlNS   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNS = "http://www.w3.org/2000/xmlns/"
)

// Lang is the name of the attribute xml:lang.
var Lang = xml.Name{Space: xmlNS, Local: "lang"}

// A Node is an *[Element] or a [Text].
type Node interface{ node() }

// Text is character data, entities resolved.
type Text string

// An Element is one element with all that it contains.
type Element struct {
	Name  xml.Name
	Attr  []xml.Attr // without namespace declarations
	Nodes []Node
}

func (*Element) node() {}
func (Text) node()     {}

// New returns an element that contains nodes.
func New(space, local string, nodes ...Node) *Element {
	return &Element{Name: xml.Name{Space: space, Local: local}, Nodes: nodes}
}

// With sets an attribute without a namespace, unless value is empty, and
// returns the element.
func (e *Element) With(local, value string) *Element {
	if value != "" {
		e.Attr = append(e.Attr, xml.Attr{Name: xml.Name{Local: local}, Value: value})
	}
	return e
}

// WithLang sets xml:lang, unless lang is empty, and returns the element.
func (e *Element) WithLang(lang string) *Element {
	if lang != "" {
		e.Attr = append(e.Attr, xml.Attr{Name: Lang, Value: lang})
	}
	return e
}

// Add appends nodes and returns the element.
func (e *Element) Add(nodes ...Node) *Element {
	e.Nodes = append(e.Nodes, nodes...)
	return e
}

// Is reports whether the element has this name.
func (e *Element) Is(space, local string) bool {
	return e.Name.Local == local && e.Name.Space == space
}

// Get returns the value of an attribute without a namespace, or "".
func (e *Element) Get(local string) string {
	return e.GetName(xml.Name{Local: local})
}

// GetName returns the value of an attribute, or "".
func (e *Element) GetName(name xml.Name) string {
	v, _ := e.Lookup(name)
	return v
}

// Lookup returns the value of an attribute and whether it is there.
func (e *Element) Lookup(name xml.Name) (string, bool) {
	for _, a := range e.Attr {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Elements yields the child elements in order.
func (e *Element) Elements() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for _, n := range e.Nodes {
			if c, ok := n.(*Element); ok && !yield(c) {
				return
			}
		}
	}
}

// Child returns the first child element of this name, or nil.
func (e *Element) Child(space, local string) *Element {
	for c := range e.Elements() {
		if c.Is(space, local) {
			return c
		}
	}
	return nil
}

// Text returns the character data directly inside the element.
func (e *Element) Text() string {
	if len(e.Nodes) == 1 {
		if t, ok := e.Nodes[0].(Text); ok {
			return string(t)
		}
	}
	var b strings.Builder
	for _, n := range e.Nodes {
		if t, ok := n.(Text); ok {
			b.WriteString(string(t))
		}
	}
	return b.String()
}
