package mapping

import (
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// parseSIP reads a SIP message as it is on the wire.
func parseSIP(t testing.TB, text string) sip.Message {
	t.Helper()
	msg, err := sipx.Parser(64 << 10).ParseSIP([]byte(text))
	if err != nil {
		t.Fatalf("no SIP message: %v\n%s", err, text)
	}
	return msg
}

// parseStanza reads a stanza that is written without its content namespace.
func parseStanza(t testing.TB, text string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
	if err != nil {
		t.Fatalf("no stanza: %v\n%s", err, text)
	}
	return e
}

// outline writes XML so that two documents with the same meaning have the same
// outline: an element on a line, attributes sorted, white space between
// elements left out.
func outline(e *xmltree.Element) string {
	var b strings.Builder
	writeOutline(&b, e, "")
	return b.String()
}

func writeOutline(b *strings.Builder, e *xmltree.Element, indent string) {
	var attrs []string
	for _, a := range e.Attr {
		attrs = append(attrs, " "+a.Name.Space+" "+a.Name.Local+"="+a.Value)
	}
	slices.Sort(attrs)
	b.WriteString(indent + e.Name.Space + " " + e.Name.Local + strings.Join(attrs, "") + "\n")
	parent := false
	for range e.Elements() {
		parent = true
	}
	for _, n := range e.Nodes {
		switch n := n.(type) {
		case *xmltree.Element:
			writeOutline(b, n, indent+"  ")
		case xmltree.Text:
			if !parent || strings.TrimSpace(string(n)) != "" {
				b.WriteString(indent + "  | " + string(n) + "\n")
			}
		}
	}
}

// headerLines returns the start line and the header fields of a SIP message,
// these sorted, and its body.
func headerLines(msg sip.Message) string {
	head, body, _ := strings.Cut(msg.String(), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + "\n\n" + body
}
