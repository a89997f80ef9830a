package s2s

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// The namespaces of a stream and its negotiation.
const (
	nsStream   = "http://etherx.jabber.org/streams"
	nsErrors   = "urn:ietf:params:xml:ns:xmpp-streams"
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsDialback = "jabber:server:dialback"
	nsFeature  = "urn:xmpp:features:dialback"
)

// endTag closes a stream (RFC 6120, section 4.4).
const endTag = "</stream:stream>"

// A streamError ends a stream (RFC 6120, section 4.9).
type streamError struct {
	condition string
	text      string           // for the operator at the other end, or from there
	host      string           // content of see-other-host
	extra     *xmltree.Element // application-specific condition
	theirs    bool
}

func refuse(condition, format string, args ...any) error {
	return &streamError{condition: condition, text: fmt.Sprintf(format, args...)}
}

// Error returns condition and text, and whose error it is.
func (e *streamError) Error() string {
	s := "stream error " + e.condition
	if e.theirs {
		s = "peer's " + s
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// append writes the error and the end of the stream.
func (e *streamError) append(dst []byte) []byte {
	dst = append(dst, "<stream:error>"...)
	dst = xmltree.New(nsErrors, e.condition).Append(dst, xep.NS)
	if e.extra != nil {
		dst = e.extra.Append(dst, xep.NS)
	}
	if e.text != "" {
		dst = xmltree.New(nsErrors, "text", xmltree.Text(e.text)).WithLang("en").Append(dst, xep.NS)
	}
	return append(dst, "</stream:error>"+endTag...)
}

// readStreamError reads what a peer says. Its text is for the log only
// (RFC 6120, section 4.9.2).
func readStreamError(e *xmltree.Element) error {
	out := &streamError{condition: "undefined-condition", theirs: true}
	for c := range e.Elements() {
		switch {
		case c.Name.Space != nsErrors:
		case c.Name.Local == "text":
			out.text = printable(c.Text())
		case c.Name.Local == "see-other-host":
			out.condition, out.host = c.Name.Local, strings.TrimSpace(c.Text())
		default:
			out.condition = printable(c.Name.Local)
		}
	}
	return out
}

// printable shortens what a peer wrote so that it fits into a log line.
func printable(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// header is a stream's start tag (RFC 6120, section 4.7; XEP-0220, section
// 2.4.1). An id of "" makes it an initial one.
func header(from, to, id, version string) []byte {
	b := []byte("<?xml version='1.0'?><stream:stream xmlns='" + xep.NS + "' xmlns:stream='" + nsStream + "' xmlns:db='" + nsDialback + "'")
	for _, a := range [...]struct{ name, value string }{
		{"from", uLabels(from)}, {"to", uLabels(to)}, {"id", id}, {"version", version},
	} {
		if a.value != "" {
			b = append(b, " "+a.name+"='"+xmltree.Escape(a.value)+"'"...)
		}
	}
	if id != "" {
		b = append(b, " xml:lang='en'"...)
	}
	return append(b, '>')
}

// nsClient is the content namespace of streams that we do not have.
const nsClient = "jabber:client"

// written is a stanza as it goes out. A child that another document has brought
// along in the namespace of clients, as PIDF does show (RFC 8048), takes that of
// the stream (RFC 6120, section 4.8.3); what is inside payloads stays as it is.
func written(e *xmltree.Element) []byte {
	if slices.ContainsFunc(e.Nodes, isClients) {
		e = ofServers(e)
	}
	return e.Append(make([]byte, 0, 512), xep.NS)
}

func isClients(n xmltree.Node) bool {
	e, ok := n.(*xmltree.Element)
	return ok && e.Name.Space == nsClient
}

// ofServers is an element with those children of clients, and theirs, in the
// namespace of servers. The one that is given stays as it is.
func ofServers(e *xmltree.Element) *xmltree.Element {
	own := *e
	own.Name.Space, own.Nodes = xep.NS, slices.Clone(e.Nodes)
	for i, n := range own.Nodes {
		if isClients(n) {
			own.Nodes[i] = ofServers(n.(*xmltree.Element))
		}
	}
	return &own
}

// uLabels returns a domain as XMPP addresses spell it, in U-labels (RFC 7622,
// section 3.2.1).
func uLabels(domain string) string {
	if u, err := idna.ToUnicode(domain); err == nil {
		return u
	}
	return domain
}

// bareDomain returns the domain that an attribute of a stream header or of
// dialback names: an address without local part and resource.
func bareDomain(s string) (string, error) {
	if strings.ContainsAny(s, "@/") {
		return "", fault.E(fault.Malformed, "not a domain name")
	}
	return federation.Domain(s)
}
