package xmltree

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Equal reports whether two elements say the same; see [Diff].
func Equal(a, b *Element) bool { return Diff(a, b) == "" }

// Diff says where two elements differ first, or "". The order of attributes
// does not count, nor does white space in an element that has nothing else
// beside child elements; all other text is compared as it stands.
func Diff(a, b *Element) string {
	if a == nil || b == nil {
		if a == b {
			return ""
		}
		return "one of the elements is missing"
	}
	path := a.Name.Local
	if a.Name != b.Name {
		return fmt.Sprintf("%s: {%s}%s against {%s}%s", path, a.Name.Space, a.Name.Local, b.Name.Space, b.Name.Local)
	}
	if x, y := sorted(a.Attr), sorted(b.Attr); !slices.Equal(x, y) {
		return fmt.Sprintf("%s: attributes %q against %q", path, x, y)
	}
	x, y := content(a), content(b)
	for i := range max(len(x), len(y)) {
		if i >= len(x) || i >= len(y) {
			return fmt.Sprintf("%s: %d nodes against %d", path, len(x), len(y))
		}
		if d := diffNode(x[i], y[i]); d != "" {
			return path + "/" + d
		}
	}
	return ""
}

func diffNode(a, b Node) string {
	x, xIs := a.(*Element)
	y, yIs := b.(*Element)
	switch {
	case xIs && yIs:
		return Diff(x, y)
	case xIs != yIs:
		return "an element against text"
	case a != b:
		return fmt.Sprintf("text %q against %q", a, b)
	}
	return ""
}

// sorted returns the attributes by name.
func sorted(attr []xml.Attr) []xml.Attr {
	return slices.SortedFunc(slices.Values(attr), func(a, b xml.Attr) int {
		return cmp.Or(cmp.Compare(a.Name.Space, b.Name.Space), cmp.Compare(a.Name.Local, b.Name.Local))
	})
}

// content returns the nodes of e with neighbouring texts joined and without
// white space that only lays elements out.
func content(e *Element) []Node {
	var nodes []Node
	var text strings.Builder
	layout := false // an element is there, and no text but white space
	for range e.Elements() {
		layout = true
		break
	}
	layout = layout && strings.Trim(e.Text(), " \t\r\n") == ""
	flush := func() {
		if text.Len() > 0 && !layout {
			nodes = append(nodes, Text(text.String()))
		}
		text.Reset()
	}
	for _, n := range e.Nodes {
		switch n := n.(type) {
		case Text:
			text.WriteString(string(n))
		case *Element:
			flush()
			nodes = append(nodes, n)
		}
	}
	flush()
	return nodes
}
