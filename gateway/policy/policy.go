// Package policy decides who may do what, and how often, before anything is
// mapped or remembered: rates for each peer domain, each sender and each sender
// of first messages to strangers (RFC 6120, section 13.12; XEP-0205), and the
// operator's block list (RFC 2779).
//
// Users are compared by one name, whichever wire they write on: the image of
// their SIP URI as a JID, in which case, escapes and scripts are folded (RFC
// 7247, section 6; RFC 7622, section 3). What is remembered is bounded: one that
// has not been seen for longest is forgotten and begins anew.
package policy

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"cpimgate/cpim/fault"
)

// Limits are rates. PerSender and PerPeer allow a burst of five seconds, and
// Strangers one of a minute.
type Limits struct {
	PerSender float64 // messages a second of one user
	PerPeer   float64 // messages a second of one peer domain
	Strangers float64 // first messages a minute of one user
}

// known is how many senders, peers and pairs of users we remember.
const known = 100_000

// burst is how many seconds' worth may come at once.
const burst = 5

// A Rule is one reason of the operator's to refuse a message, as metrics spell
// it: where there is one, the name of the setting.
type Rule string

const (
	Spoofed    Rule = "spoofed"    // the peer has not proved the domain of the sender
	NotServed  Rule = "not_served" // neither domain is one that we serve
	Translated Rule = "translated" // the sender's domain is at home on the other wire
	Allow      Rule = "allow"      // peers: allow: false
	Blocked    Rule = "block"
	PerPeer    Rule = "per_peer"
	PerSender  Rule = "per_sender"
	Strangers  Rule = "strangers"
)

// A Refused is a message that a rule does not let in.
type Refused struct {
	Rule Rule
	Err  error // the fault, with its faces
}

// Error returns the text of the fault, and the rule for the operator.
func (r *Refused) Error() string { return r.Err.Error() + " (" + string(r.Rule) + ")" }

// Unwrap returns the fault.
func (r *Refused) Unwrap() error { return r.Err }

// Refuse returns a Refused, or nil if err is nil.
func Refuse(rule Rule, err error) error {
	if err == nil {
		return nil
	}
	return &Refused{rule, err}
}

// An Engine holds what has been said lately. It may be used from several
// goroutines.
type Engine struct {
	rules   atomic.Pointer[rules]
	senders *lru.Cache[string, *rate.Limiter]
	peers   *lru.Cache[string, *rate.Limiter]
	shy     *lru.Cache[string, *rate.Limiter] // senders of first messages
	tried   *lru.Cache[pair, struct{}]        // the first has written to the second, who has said nothing
	met     *lru.Cache[pair, struct{}]        // both have written; names in order
}

// rules are what the operator may change while we run.
type rules struct {
	limits Limits
	block  *List
}

// New returns an engine that has seen nothing.
func New(l Limits, block *List) *Engine { return newEngine(l, block, known) }

// newEngine returns one that remembers size of each.
func newEngine(l Limits, block *List, size int) *Engine {
	e := &Engine{}
	for _, c := range []**lru.Cache[string, *rate.Limiter]{&e.senders, &e.peers, &e.shy} {
		*c, _ = lru.New[string, *rate.Limiter](size) // errs for a size below one only
	}
	e.tried, _ = lru.New[pair, struct{}](size)
	e.met, _ = lru.New[pair, struct{}](size)
	e.rules.Store(&rules{l, block})
	return e
}

// Set puts other limits and another block list in force. Rates that are being
// counted go on from where they are.
func (e *Engine) Set(l Limits, block *List) { e.rules.Store(&rules{l, block}) }

// Admit counts one message that peer, a proved domain, has brought. Over a rate
// it is fault.Flood (RFC 6120, section 13.12). The sender may have more
// identities besides from, asserted by his home whatever he shows of them: it is
// one person who is counted, by the first of them, and any of them may be on the
// block list (RFC 5025, section
// 3.1.1.2).
//
// The block list comes last: one who is blocked hears what anybody hears, until
// he would have been let in (XF-71).
func (e *Engine) Admit(now time.Time, peer string, from, to sip.Uri, besides ...sip.Uri) error {
	r := e.rules.Load()
	sender, person := Name(from), Name(from)
	if len(besides) > 0 {
		person = Name(besides[0])
	}
	if err := e.Rate(now, peer, person); err != nil {
		return err
	}
	switch {
	case !e.knows(now, sender, Name(to), r.limits.Strangers):
		return Refuse(Strangers, fault.E(fault.Flood, "too many messages to users who have never answered"))
	case r.block.has(sender, from.Host), slices.ContainsFunc(besides, r.block.Has):
		return Refuse(Blocked, fault.E(fault.NotFound, "this address is no user's"))
	}
	return nil
}

// Rate counts one message of a sender, by his name, that peer has brought, without
// a look at whom it is for.
func (e *Engine) Rate(now time.Time, peer, sender string) error {
	r := e.rules.Load()
	switch {
	case !allow(e.peers, now, peer, r.limits.PerPeer, burst):
		return Refuse(PerPeer, fault.E(fault.Flood, "too many messages from your domain"))
	case !allow(e.senders, now, sender, r.limits.PerSender, burst):
		return Refuse(PerSender, fault.E(fault.Flood, "too many messages"))
	}
	return nil
}

// A pair is two users by their names.
type pair struct{ a, b string }

// ordered returns the same pair whoever of the two writes.
func ordered(a, b string) pair {
	if a > b {
		a, b = b, a
	}
	return pair{a, b}
}

// knows reports whether a user may write to another: they have a conversation,
// or it is the first message to a stranger within the rate. Those who have
// answered are kept apart, where no flood of first messages pushes them out.
func (e *Engine) knows(now time.Time, from, to string, perMinute float64) bool {
	if _, ok := e.met.Get(ordered(from, to)); ok {
		return true
	}
	if e.tried.Remove(pair{to, from}) { // this is the answer
		e.met.Add(ordered(from, to), struct{}{})
		return true
	}
	if _, ok := e.tried.Get(pair{from, to}); ok {
		return true
	}
	if !allow(e.shy, now, from, perMinute/60, 60) {
		return false
	}
	e.tried.Add(pair{from, to}, struct{}{})
	return true
}

// Met reports whether two users have written to each other, as far as we
// remember.
func (e *Engine) Met(a, b sip.Uri) bool { return e.met.Contains(ordered(Name(a), Name(b))) }

// allow counts one of key against a rate, with a burst of some seconds' worth.
func allow(c *lru.Cache[string, *rate.Limiter], now time.Time, key string, perSecond float64, seconds int) bool {
	size := max(1, int(perSecond*float64(seconds)+0.5))
	l, ok := c.Get(key)
	if !ok {
		l = rate.NewLimiter(rate.Limit(perSecond), size)
		if before, ok, _ := c.PeekOrAdd(key, l); ok {
			l = before
		}
	}
	if l.Limit() != rate.Limit(perSecond) { // the operator has changed it
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, size)
	}
	return l.AllowN(now, 1)
}
