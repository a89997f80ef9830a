// Package federation is the vocabulary of the wires: who is at the other end,
// how that was proved, where a domain is reached, and what a connection may
// cost. Packages below it own one wire each; none of them knows what a message
// means.
//
// Domains are compared and kept in one spelling, [Domain]: lower-case A-labels
// without a final dot (RFC 5890, section 2.3.2.1). An IP literal is no domain.
package federation

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"cpimgate/cpim/fault"
)

// maxDomain bounds what we let idna work on; Punycode takes time by the square
// of the length. 253 characters of UTF-8 fit.
const maxDomain = 1024

// Domain returns the one spelling of a domain name in which we compare, log
// and look up: A-labels in lower case, no final dot.
func Domain(s string) (string, error) {
	a := strings.TrimSuffix(s, ".")
	if len(a) > maxDomain {
		return "", fault.E(fault.Malformed, "domain name is too long")
	}
	if !isPlain(a) {
		mapped, err := idna.Lookup.ToASCII(a)
		if err != nil {
			return "", fault.Wrap(fault.Malformed, err, "not a domain name")
		}
		a = strings.TrimSuffix(mapped, ".") // the dot of another script
		// idna encodes bytes that are no UTF-8 and names that it will not read.
		if again, err := idna.Lookup.ToASCII(a); err != nil || again != a {
			return "", fault.Wrap(fault.Malformed, err, "not a domain name")
		}
	}
	if !fits(a) {
		return "", fault.E(fault.Malformed, "not a domain name")
	}
	return a, nil
}

// DomainOf returns the domain of an address of XMPP (RFC 7622, section 3.1), in
// the spelling of [Domain].
func DomainOf(address string) (string, error) {
	address, _, _ = strings.Cut(address, "/")
	if _, after, ok := strings.Cut(address, "@"); ok {
		address = after
	}
	return Domain(address)
}

// isPlain reports that s is made of lower-case letters, digits, hyphens and
// dots only, and that no label could be an A-label that needs a check.
func isPlain(s string) bool {
	before := byte('.')
	for i := range len(s) {
		c := s[i]
		hyphen := c == '-' && before != '-' && before != '.'
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !hyphen && (c != '.' || before == '-') {
			return false
		}
		before = c
	}
	return s != "" && before != '-'
}

// fits reports that an ASCII name has the lengths of RFC 1035,
// and is no IPv4 address, which has the letters of a name.
func fits(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	if last := s[len(s)-1]; last < '0' || last > '9' {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}

// Literal returns the IP address that a host is, with or without brackets; one
// with a zone is none.
func Literal(host string) (netip.Addr, bool) {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	// Names are many, addresses few, and to refuse a name as one costs an error.
	if host == "" || (host[len(host)-1] < '0' || host[len(host)-1] > '9') && strings.IndexByte(host, ':') < 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil && a.Zone() == ""
}

// A Wire is one of the protocols that we speak with peers.
type Wire string

const (
	SIP  Wire = "SIP"
	XMPP Wire = "XMPP"
)

// A Transport is how the bytes travel.
type Transport string

const (
	UDP Transport = "udp" // SIP only
	TCP Transport = "tcp" // for XMPP: with STARTTLS
	TLS Transport = "tls" // for XMPP: direct TLS (XEP-0368)
)

// A Proof is how a peer has shown that it speaks for its domains. A larger one
// is stronger.
type Proof uint8

const (
	Claimed     Proof = iota // nothing shown: it speaks for nobody
	Address                  // came from an address that the domain's records name (D-72)
	Dialback                 // XEP-0220
	Certificate              // RFC 5922, RFC 6120 section 13.7
)

var proofs = [...]string{"claimed", "address", "dialback", "certificate"}

// String returns the proof as logs spell it.
func (p Proof) String() string { return proofs[p] }

// A Peer is who is at the other end of a connection, as we have verified it,
// never as it claims.
type Peer struct {
	Domains []string // what it may speak for, in the spelling of Domain
	Proof   Proof
	Addr    netip.AddrPort
	Via     Transport
}

// SpeaksFor reports whether the peer may send for users of domain.
func (p Peer) SpeaksFor(domain string) bool {
	if p.Proof == Claimed {
		return false
	}
	d, err := Domain(domain)
	return err == nil && slices.Contains(p.Domains, d)
}

// String names the peer in a log line: its domains, or its address as long as
// it has proved none.
func (p Peer) String() string {
	if len(p.Domains) == 0 {
		return p.Addr.String()
	}
	return strings.Join(p.Domains, ",")
}

// A Security is what a peer must show before we talk to it (decision D-73).
type Security uint8

const (
	Required   Security = iota // TLS and a certificate valid for the domain
	DialbackOK                 // TLS with any certificate, identity by dialback
	PlainOK                    // no TLS needed
)

var securities = [...]string{"required", "dialback-ok", "plain-ok"}

// String returns the security as the configuration spells it.
func (s Security) String() string { return securities[s] }

// MarshalText writes the spelling of the configuration.
func (s Security) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the spelling of the configuration.
func (s *Security) UnmarshalText(b []byte) error {
	i := slices.Index(securities[:], string(b))
	if i < 0 {
		return fault.E(fault.Malformed, "security is one of %s, not %q", strings.Join(securities[:], ", "), b)
	}
	*s = Security(i)
	return nil
}

// A Target is one place to reach a domain at. Lists of targets are in the
// order in which they are to be tried.
type Target struct {
	Domain    string // what was asked for, and what a certificate must name
	Host      string // the name that led to Addr; an SRV target, or Domain
	Addr      netip.AddrPort
	Transport Transport
}

// String names the target as an operator would write it.
func (t Target) String() string {
	return t.Host + " (" + t.Addr.String() + ", " + string(t.Transport) + ")"
}

// Limits bound what one wire's connections may cost us. A field that is zero
// has the default of the package that uses it.
type Limits struct {
	Message     int           // bytes of one message or stanza
	Conns       int           // connections in all
	ConnsPerIP  int           // connections from one address
	Depth       int           // nesting of elements in a stanza
	Attributes  int           // attributes of one element
	Children    int           // elements of one stanza, at all depths
	Queue       int           // messages that wait for one peer
	Handshake   time.Duration // from accept or dial to proved identity
	Idle        time.Duration // without a byte, before we close or ping
	Write       time.Duration // one write
	DialTimeout time.Duration // one address
}

// A Record is one message as it came over a wire, or as it is about to be
// written to one, for the call-flow page, the demo's ladder and `serve -v`. What
// follows from a message is traced behind it.
type Record struct {
	Time time.Time
	Wire Wire
	Out  bool   // we send it
	Peer string // domain, or address while none is proved
	Via  Transport
	Text []byte // the bytes; not to be kept or changed after the call
}

// A Trace is told of every message. It must not block. Nil is a trace that
// nobody reads.
type Trace func(Record)

// How says what became of a message that was given to a wire.
type How uint8

const (
	GivenUp      How = iota // not sent; the error says why
	Written                 // written to an authenticated connection
	Acknowledged            // the peer has confirmed it
)

// A Done is called once with what became of a message, on a goroutine of the
// wire; it must not block. The error is a fault, and nil unless given up.
type Done func(How, error)
