// Package cpim reads and writes Message/CPIM, the envelope that carries a
// message with its own From and To through SIP MESSAGE and MSRP (RFC 3862), and
// the little of MIME that the content of messages needs (RFC 2045, RFC 2046).
//
// The reader is lenient and counts what it forgives; the writer is strict.
// Divergences: From and To are required, and one From and one DateTime are the
// most there may be, which RFC 3862, section 6, leaves to the application; the
// misprinted default namespace of that section is not known here; addresses
// that are IRIs become URIs (RFC 3987, section 3.1).
//
// A CPIM object is never changed on its way (RFC 3862, section 6): who relays
// one keeps and sends the bytes that came, not what Bytes makes of the parsed
// message.
package cpim

import (
	"strings"
	"time"

	"cpimgate/cpim/fault"
)

// The media type of the envelope, and the namespaces of its headers.
const (
	MediaType = "message/cpim"
	Space     = "urn:ietf:params:cpim-headers:" // RFC 3862, section 4
	IMDN      = "urn:ietf:params:imdn"          // RFC 5438, section 6.1
)

// MaxDepth is how many envelopes may lie in one another.
const MaxDepth = 3

// A Message is one envelope with its content.
type Message struct {
	From     Address
	To, CC   []Address
	DateTime time.Time // when it was sent; zero if it does not say
	Subjects []Text    // at most one of each language, in order
	Require  []Name    // what the recipient must understand (RFC 3862, section 3.5)

	// Headers holds every message header that was read, in order, the ones
	// above and NS included. Bytes writes from it only what has no field of
	// its own.
	Headers []Header

	Content Part

	// Deviations counts what the reader had to forgive; a conforming object
	// has none.
	Deviations int
}

// An Address is who sends or receives.
type Address struct {
	Name string // formal name, may be empty
	URI  string // absolute, in ASCII; of any scheme
}

// A Text is words in a language. An empty Lang is i-default: nothing is known
// of the language (RFC 3862, section 3.3).
type Text struct{ Lang, Text string }

// A Name is the name of a header or feature. It has no Space where its prefix
// was not declared: then nobody knows what it means, and Local holds all of it.
type Name struct{ Space, Local string }

// A Param is a parameter of a message header; Value has its quotes and escapes
// removed.
type Param struct{ Name, Value string }

// A Header is one message header.
type Header struct {
	Name
	Params []Param
	Value  string // as on the wire, escapes included
}

// Text returns the value with its escapes resolved.
func (h *Header) Text() string { return Unescape(h.Value) }

// Lang returns the language of the value, or "".
func (h *Header) Lang() string {
	for _, p := range h.Params {
		if strings.EqualFold(p.Name, "lang") && isLang(p.Value) {
			return p.Value
		}
	}
	return ""
}

// Get returns the first header of this name, or nil.
func (m *Message) Get(space, local string) *Header {
	for i := range m.Headers {
		if h := &m.Headers[i]; h.Local == local && h.Space == space {
			return h
		}
	}
	return nil
}

// Add appends a header whose value is text.
func (m *Message) Add(space, local, text string) {
	m.Headers = append(m.Headers, Header{Name: Name{space, local}, Value: Escape(text)})
}

// Open parses an object and, where its content is an envelope again, that too:
// the outermost comes first, for authorisation; the innermost last, for the
// content. More than [MaxDepth] of them are refused as unsupported.
func Open(b []byte) ([]*Message, error) {
	var all []*Message
	for {
		m, err := Parse(b)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		if m.Content.Media().Type != MediaType {
			return all, nil
		}
		if len(all) == MaxDepth {
			return nil, fault.E(fault.Unsupported, "more than %d CPIM envelopes in one another", MaxDepth)
		}
		if b, err = m.Content.Decode(); err != nil {
			return nil, err
		}
	}
}
