// Package locate finds where a domain is reached: which protocols it speaks,
// and at which addresses, in the order in which they are to be tried. It reads
// RFC 3263 for SIP, RFC 6120 section 3.2 with XEP-0368 for XMPP, RFC 3861 for
// instant messaging and presence, RFC 2782 for the order of SRV records; what
// the operator wrote in the [federation.Book] comes before the DNS.
//
// What we do differently:
//   - Unless a peer's security is plain-ok, a SIP domain is resolved as if the
//     URI were "sips" (RFC 3263, section 4.1): nothing but TLS is returned.
//   - A query that fails is not a domain without records. RFC 6120, section
//     3.2.1, rule 9 would fall back to the address; we report a failure that
//     may pass, unless other records have led somewhere.
//   - A domain that has an address and no service record may speak anything
//     or nothing; RFC 7247, section 5, does not say. [Speech] tells guesses
//     from records.
//   - Where both UDP and TCP are guesses, both are returned, UDP first.
package locate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A Config is what a [Locator] works with. Only the Resolver has no default.
type Config struct {
	Resolver Resolver
	Book     federation.Book // overrides and security; nil: none, and TLS is required

	CacheSize  int           // record sets that are remembered; 10,000
	Stale      time.Duration // how long an answer outlives its TTL while the DNS fails (RFC 8767); none
	MaxTargets int           // targets returned for one domain; 16
	Literals   bool          // take IP literals as domains, which nobody can authenticate (ADDR-23)
	XMPPByIM   bool          // follow _im._xmpp and _pres._xmpp too; RFC 6121, section 8.3, advises against it

	Rand func(n int) int  // a number in [0,n); math/rand/v2
	Now  func() time.Time // time.Now
	Log  *slog.Logger     // stale answers; discarded
}

// A Locator finds targets. It is safe for use by many goroutines and has none
// of its own that outlives a query.
type Locator struct {
	cfg   Config
	dns   *cache
	found *lru.Cache[search, finding]
}

// A search is all that decides what is found for SIP, but the DNS.
type search struct {
	domain string // what is looked for
	query  SIPQuery
	word   string // what the operator puts in place of the query, "" for nothing
	tls    bool   // nothing else will do
}

// A finding is what a search has come to, for the messages that follow at
// once: within leastTTL the DNS is not asked again, and where no draw by weight
// has been made it would say the same.
type finding struct {
	find
	until time.Time
}

// New returns a Locator.
func New(cfg Config) *Locator {
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 10_000
	}
	if cfg.MaxTargets <= 0 {
		cfg.MaxTargets = 16
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.IntN
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	found, err := lru.New[search, finding](cfg.CacheSize)
	if err != nil {
		panic(err) // only a size that is not positive
	}
	return &Locator{cfg: cfg, dns: newCache(cfg), found: found}
}

// A find is what one search has come to so far.
type find struct {
	targets []federation.Target
	present bool     // there are service records, or a word of the operator: do not guess
	guessed bool     // the targets come from a mere address
	drawn   bool     // their order was drawn by weight
	failed  error    // questions without an answer; nil: all were answered
	why     []string // for the operator
}

// say adds a line to the reasons.
func (f *find) say(format string, args ...any) { f.why = append(f.why, fmt.Sprintf(format, args...)) }

// add appends what another search has found.
func (f *find) add(g find) {
	f.targets = append(f.targets, g.targets...)
	f.present = f.present || g.present
	f.drawn = f.drawn || g.drawn
	f.failed = errors.Join(f.failed, g.failed)
	f.why = append(f.why, g.why...)
}

// done reports that there is nothing more to look for: targets, a word that
// there are none, or a question that must be answered first.
func (f *find) done() bool { return len(f.targets) > 0 || f.present || f.failed != nil }

// end returns the targets, or the reason why there are none.
func (f *find) end(domain, text string, limit int) ([]federation.Target, error) {
	switch {
	case len(f.targets) > 0:
		n := min(len(f.targets), limit)
		return f.targets[:n:n], nil
	case f.failed != nil:
		return nil, fault.Wrap(fault.Timeout, fmt.Errorf("%s: %w", domain, f.failed), "domain cannot be resolved")
	}
	return nil, fault.Wrap(fault.NoRoute, fmt.Errorf("%s: %s", domain, strings.Join(f.why, "; ")), "%s", text)
}

// rules returns what the operator says about a domain.
func (l *Locator) rules(domain string) federation.Rules {
	if l.cfg.Book == nil {
		return federation.Rules{Allow: true}
	}
	return l.cfg.Book.Rules(domain)
}

// home returns the home domain of that name.
func (l *Locator) home(domain string) (federation.Home, bool) {
	if l.cfg.Book == nil {
		return federation.Home{}, false
	}
	return l.cfg.Book.Home(domain)
}

// ours reports that whoever looks for domain on a wire looks for ourselves: a
// request sent there would come back.
func (l *Locator) ours(w federation.Wire, domain string) error {
	if l.cfg.Book == nil || !l.cfg.Book.Stands(w, domain) {
		return nil
	}
	return fault.Wrap(fault.NoRoute, errors.New("on "+string(w)+" the gateway itself stands for it"), "domain is served here")
}

// name returns the spelling in which we look for a host.
func (l *Locator) name(host string) (string, error) {
	a, ok := federation.Literal(host)
	switch {
	case !ok:
		return federation.Domain(host)
	case !l.cfg.Literals:
		return "", fault.E(fault.NoRoute, "an IP address is no domain")
	}
	return a.String(), nil
}

// errAbsent is the cause of a search that ended at a name without records.
var errAbsent = errors.New("name does not exist")

// addresses returns the addresses of a host, IPv6 and IPv4 in turn, beginning
// with IPv6 (RFC 8305); none if the host has none, and errAbsent if
// there is no such host.
func (l *Locator) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, ok := federation.Literal(host); ok {
		return []netip.Addr{a}, nil
	}
	var answers [2]Answer
	var errs [2]error
	var wg sync.WaitGroup // waits below
	for i, qtype := range []uint16{TypeAAAA, TypeA} {
		wg.Go(func() { answers[i], errs[i] = l.dns.Lookup(ctx, host, qtype) })
	}
	wg.Wait()
	var addrs []netip.Addr
	for i := range max(len(answers[0].Records), len(answers[1].Records)) {
		for _, a := range answers {
			if i < len(a.Records) && !slices.Contains(addrs, a.Records[i].Addr) {
				addrs = append(addrs, a.Records[i].Addr)
			}
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if !answers[0].Exists || !answers[1].Exists {
		return nil, errAbsent
	}
	return nil, nil
}

// guess is the last resort: the addresses of a host itself, at a port that the
// protocol names. It is the one place where a domain can turn out not to exist:
// below a name that does not exist there are no service records (RFC 8020).
func (l *Locator) guess(ctx context.Context, f *find, domain, host string, ways ...way) error {
	addrs, err := l.addresses(ctx, host)
	switch {
	case errors.Is(err, errAbsent):
		return fault.Wrap(fault.NoRoute, fmt.Errorf("%s: %w", host, err), "domain does not exist")
	case err != nil:
		f.failed = err
		f.say("the address of %s has no answer: %v", host, err)
	case len(addrs) == 0:
		f.say("%s has no address", host)
	default:
		f.guessed = true
		f.say("%s has an address", host)
	}
	f.targets = places(domain, host, addrs, ways...)
	return nil
}
