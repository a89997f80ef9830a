package trunk

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// How many targets that asked us to wait are remembered, and for how long at
// most: a peer cannot put itself out of reach for a day.
const (
	maxResting = 1024
	maxRest    = time.Hour
)

// rest notes that a target asks us to come back later. It is the server of the
// 503 that is spared, not the domain (RFC 3261, section 21.5.4); another domain
// at the same server asks for itself.
func (t *Trunk) rest(to federation.Target, res *sip.Response) {
	wait, ok := sipx.RetryAfter(res)
	if !ok || wait == 0 {
		return
	}
	wait = min(wait, maxRest)
	t.resting.Add(to, time.Now().Add(wait))
	t.log.Info("target asks us to wait", "peer", to.Domain, "target", to.String(), "wait", wait)
}

// rests reports whether a target is not to be asked yet.
func (t *Trunk) rests(to federation.Target) bool {
	until, ok := t.resting.Get(to)
	return ok && time.Now().Before(until)
}
