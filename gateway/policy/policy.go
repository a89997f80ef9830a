// Package policy decides who may do what, and how often, before anything is
// mapped or remembered.
package policy

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"cpimgate/cpim/fault"
)

// Limits are rates in messages a second. Each allows a burst of five seconds.
type Limits struct {
	PerSender float64 // one user
	PerPeer   float64 // one peer domain
}

// known is how many senders and peers we keep a rate of. One that falls out
// starts anew, with a full burst.
const known = 100_000

// burst is how many seconds' worth may come at once.
const burst = 5

// An Engine holds what has been said lately. It may be used from several
// goroutines.
type Engine struct {
	limits  Limits
	senders *lru.Cache[string, *rate.Limiter]
	peers   *lru.Cache[string, *rate.Limiter]
}

// New returns an engine that has seen nothing.
func New(l Limits) *Engine {
	e := &Engine{limits: l}
	e.senders, _ = lru.New[string, *rate.Limiter](known) // errs for a size below one only
	e.peers, _ = lru.New[string, *rate.Limiter](known)
	return e
}

// Admit counts one message of sender, a bare address, that peer has brought.
// Over a rate it is fault.Flood (RFC 6120, section 13.12).
func (e *Engine) Admit(now time.Time, peer, sender string) error {
	if !limiter(e.peers, peer, e.limits.PerPeer).AllowN(now, 1) {
		return fault.E(fault.Flood, "too many messages from your domain")
	}
	if !limiter(e.senders, sender, e.limits.PerSender).AllowN(now, 1) {
		return fault.E(fault.Flood, "too many messages")
	}
	return nil
}

func limiter(c *lru.Cache[string, *rate.Limiter], key string, perSecond float64) *rate.Limiter {
	if l, ok := c.Get(key); ok {
		return l
	}
	l := rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond*burst)))
	if before, ok, _ := c.PeekOrAdd(key, l); ok {
		return before
	}
	return l
}
