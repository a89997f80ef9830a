package trunk

import (
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A pager message must not be delivered twice (RFC 2779, section 5.4.2), and
// its transaction alone does not see to that: a proxy that is restarted in the
// middle has forgotten what it has sent on, its client repeats the request over
// UDP, and the proxy sends it to us once more in a transaction of its own. Such
// a copy is answered as the first was, if that was taken. One whose first is
// still open is refused as merged.

// How many messages that were taken are remembered, and for how long: as long as
// a client repeats its request (RFC 3261, section 17.1.2.2).
const (
	maxTaken  = 1 << 15
	takenTime = 32 * time.Second
)

// taken is the answer to a message.
type taken struct {
	status int
	reason string
	until  time.Time
}

// copies returns what copies of a message share: what identifies a request (RFC
// 3261, section 8.2.2.2), and besides sender, Request-URI and body, since there
// are clients that give every message the same Call-ID, tag and CSeq.
func (t *Trunk) copies(req *sip.Request) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	tag, _ := req.From().Params.Get("tag")
	for _, s := range [...]string{
		tag, req.CallID().Value(), cseqText(req.CSeq()), req.From().Address.Addr(), canonical(req.Recipient), string(req.Body()),
	} {
		_, _ = h.WriteString(s) // takes all
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// again answers a message that was taken before, and reports whether it was.
func (t *Trunk) again(a *arrival) (bool, error) {
	if a.req.Method != sip.MESSAGE || a.req.To().Params.Has("tag") {
		return false, nil
	}
	copies := t.copies(a.req)
	was, ok := t.taken.Get(copies)
	if !ok || time.Now().After(was.until) {
		a.mu.Lock()
		a.copies = copies
		a.mu.Unlock()
		return false, nil
	}
	a.log(slog.LevelInfo, "message repeated", "call_id", shorten(a.req.CallID().Value()), "status", was.status)
	return true, a.Answer(Reply(a.req, was.status, was.reason))
}

// took remembers the answer to a message that was taken.
func (t *Trunk) took(copies uint64, res *sip.Response) {
	if copies != 0 && res.IsSuccess() {
		t.taken.Add(copies, taken{res.StatusCode, res.Reason, time.Now().Add(takenTime)})
	}
}
