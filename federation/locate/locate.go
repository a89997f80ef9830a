// Package locate finds where a domain is reached: which protocols it speaks,
// and at which addresses, in the order in which they are to be tried. It reads
// RFC 3263 for SIP, RFC 6120 section 3.2 with XEP-0368 for XMPP, RFC 3861 for
// instant messaging and presence, RFC 2782 for the order of SRV records; what
// the operator wrote in the [federation.Book] comes before the DNS.
//
// What we do differently:
//   - Where a peer's security is "required" (the default) a SIP domain is
//     resolved as if the URI were "sips" (RFC 3263, section 4.1), though the
//     NAPTR and SRV records may be its only mark; nothing but TLS is returned.
//   - A query that fails is not a domain without records: RFC 6120, section
//     3.2.1, rule 9 would fall back to the address, we report a failure that
//     may pass.
//   - Of a domain that has an address and no service record we do not know
//     that it speaks anything (RFC 7247, section 5, does not say); [Speech]
//     keeps the two apart.
package locate

import (
	"context"
	"log/slog"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A Config is what a [Locator] works with. The zero value asks nothing of the
// operator and needs a Resolver only.
type Config struct {
	Resolver Resolver
	Book     federation.Book // overrides and security; nil: none, and TLS is required

	CacheSize  int           // record sets that are remembered; 10,000
	Stale      time.Duration // how long an answer outlives its TTL while the DNS fails (RFC 8767); none
	MaxTargets int           // targets returned for one domain; 16
	Literals   bool          // take IP literals as domains, which nobody can authenticate (ADDR-23)
	XMPPByIM   bool          // follow _im._xmpp and _pres._xmpp too (RFC 6121, section 8.3, advises against it)

	Rand func(n int) int  // a number in [0,n); math/rand/v2
	Now  func() time.Time // time.Now
	Log  *slog.Logger     // stale answers and odd zones; slog.DiscardHandler
}

// A Locator finds targets. It is safe for use by many goroutines and has none
// of its own that outlives a query.
type Locator struct{ cfg Config }

// New returns a Locator over a resolver and a book.
func New(cfg Config) *Locator { return &Locator{cfg: cfg} }

// A SIPQuery is the part of a SIP URI that decides where a request goes
// (RFC 3263, section 4).
type SIPQuery struct {
	Host      string // domain name, or IP literal with or without brackets
	Port      int    // 0: none in the URI
	Transport string // parameter "transport", "" if absent
	Secure    bool   // scheme "sips"
}

// SIP returns where requests for a URI go: RFC 3263, section 4, unless the
// operator has written down something else. Where the security of the domain
// is not plain-ok, all targets have Transport TLS.
//
// A domain that does not exist, or that offers no SIP (over TLS), is a fault
// of kind NoRoute; one that cannot be resolved now is a Timeout.
func (l *Locator) SIP(ctx context.Context, q SIPQuery) ([]federation.Target, error) {
	return nil, fault.E(fault.Internal, "not built")
}

// XMPP returns where streams to a domain go: RFC 6120, section 3.2, with the
// direct TLS of XEP-0368 in the same order of priorities. Transport TCP means
// STARTTLS, TLS direct TLS. Errors are as those of SIP.
func (l *Locator) XMPP(ctx context.Context, domain string) ([]federation.Target, error) {
	return nil, fault.E(fault.Internal, "not built")
}

// A Speech is which protocols a domain speaks, and where.
type Speech struct {
	Domain string
	SIP    []federation.Target // from the operator or service records
	XMPP   []federation.Target // from the operator or service records
	Bare   bool                // it has addresses, but no service records: SIP and XMPP are guesses
	Why    []string            // a line for each thing found, for the operator
}

// Choose returns the wire on which a domain is to be reached by somebody who
// speaks from, and the targets: the same protocol wins over conversion, an
// explicit record over a mere address (RFC 7247, section 5; RES-01..03, 05).
func (s Speech) Choose(from federation.Wire) (federation.Wire, []federation.Target) {
	return from, nil
}

// Speaks returns which protocols a domain speaks and where, with the reasons.
// It fails as SIP does, if the domain speaks neither.
func (l *Locator) Speaks(ctx context.Context, domain string) (Speech, error) {
	return Speech{}, fault.E(fault.Internal, "not built")
}
