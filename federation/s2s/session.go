package s2s

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

const nsSM = "urn:xmpp:sm:3"

// A session is what stream management knows of one stream: which of our stanzas
// the peer has not confirmed, and how many of the peer's we have handled
// (XEP-0198, sections 4 and 5). It outlives its stream until it is known what
// became of the first; a stream that resumes it has one of its own, which counts
// on.
type session struct {
	key             // of the stream
	id       string // to resume by; "": it cannot be resumed
	location string // where the peer wants it to be resumed
	opener   *pair  // who resumes it; nil: the peer
	bidi     bool   // of a stream of ours: it is used both ways

	mu      sync.Mutex
	sent    uint32 // number of the last stanza sent; after 2^32-1 comes 0
	waiting []item // sent and not acknowledged, oldest first
	asked   bool   // for an <a/> that has not come
	over    bool   // settled is closed

	settled chan struct{} // closed when nothing waits any more after the stream's end

	handling sync.Mutex    // held while a stanza is handled: who resumes learns the count after that
	h        atomic.Uint32 // stanzas handled; after 2^32-1 comes 0
	ended    time.Time     // when no more was handled on the stream; zero: it is there
	on       *stream       // that the session is for, until ended
}

func newSession(k key) *session { return &session{key: k, settled: make(chan struct{})} }

// next is the session of a stream that resumes this one: the peer has had h of
// our stanzas.
func (s *session) next(h uint32) *session {
	n := newSession(s.key)
	n.id, n.location, n.opener, n.sent = s.id, s.location, s.opener, h
	n.h.Store(s.h.Load())
	return n
}

// sends numbers stanzas that are about to be written, and reports whether the
// peer is to be asked about them: one question is on its way at a time, so that
// it covers all that was written until its answer (XEP-0198, section 4).
func (s *session) sends(batch []item) (ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent += uint32(len(batch))
	s.waiting = append(s.waiting, batch...)
	ask = !s.asked && len(s.waiting) > 0
	s.asked = s.asked || ask
	return ask
}

// unsend takes back the last n: they did not go out whole. A peer may have
// acknowledged some all the same.
func (s *session) unsend(n int) []item {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.waiting))
	at := len(s.waiting) - n
	back := append([]item(nil), s.waiting[at:]...)
	s.waiting, s.sent = s.waiting[:at], s.sent-uint32(n)
	return back
}

// handled returns the stanzas up to number h that were not acknowledged yet. The
// peer cannot have had more than was sent.
func (s *session) handled(h uint32) ([]item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := h - (s.sent - uint32(len(s.waiting)))
	if uint64(n) > uint64(len(s.waiting)) {
		return nil, tooHigh(h, s.sent)
	}
	done := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.asked = false
	return done, nil
}

// confirm hears from the peer that it has handled all stanzas up to number h.
func (s *session) confirm(h uint32) error {
	done, err := s.handled(h)
	tell(done, federation.Acknowledged, nil)
	return err
}

// tooHigh refuses an acknowledgement of what was never sent (XEP-0198, section
// 6).
func tooHigh(h, sent uint32) error {
	return &streamError{
		condition: "undefined-condition", text: "more was acknowledged than was sent",
		extra: xmltree.New(nsSM, "handled-count-too-high").With("h", decimal(h)).With("send-count", decimal(sent)),
	}
}

// room is how many stanzas more may be written: those that are not acknowledged
// are bounded.
func (s *session) room(most int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, most-len(s.waiting))
}

// owes reports that the peer has not answered our question.
func (s *session) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// ask notes that the peer is asked, whatever waits.
func (s *session) ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
}

// waits counts the stanzas that are not acknowledged: of p, or of all pairs if p
// is nil.
func (s *session) waits(p *pair) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.waiting {
		if p == nil || it.pair == p {
			n++
		}
	}
	return n
}

// overdue returns the stanzas of p that have waited for too long, and when the
// next will have. While the stream is there they count as written (decision
// D-70); a lost one will not carry them any more.
func (s *session) overdue(p *pair, now time.Time, lost bool) (late []item, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, it := range s.waiting {
		if it.pair != p {
			continue
		}
		if !now.Before(it.by) {
			late = append(late, it)
			it.done, it.by = func(federation.How, error) {}, now.Add(queueTime)
			if lost {
				it.text = nil
			}
			s.waiting[i] = it
		}
		next = earlier(next, it.by)
	}
	return late, next
}

// settle ends all waiting after the end of the stream: fate says what becomes
// of what waits.
func (s *session) settle(fate func([]item)) {
	s.mu.Lock()
	rest, over := s.waiting, s.over
	s.waiting, s.over = nil, true
	s.mu.Unlock()
	fate(rest)
	if !over {
		close(s.settled)
	}
}

// matters reports that the stream should be resumed: something of ours waits, or
// may wait at the peer's.
func (s *session) matters() bool { return s.bidi && !s.isSettled() || s.waits(nil) > 0 }

// isSettled reports that it is known what became of all stanzas.
func (s *session) isSettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// errLost is what becomes of a stanza of which nobody knows whether it has
// arrived: it is not sent again (RFC 2779, section 5.4.2).
var errLost = fault.E(fault.Timeout, "the far server was lost before it had confirmed")

// take handles one stanza and counts it, unless the stream has lost the session
// to one that resumes it.
func (s *session) take(handle func()) error {
	s.handling.Lock()
	defer s.handling.Unlock()
	if !s.ended.IsZero() {
		return errResumed
	}
	handle()
	s.h.Add(1)
	return nil
}

// ack is our acknowledgement of all that was handled. It does not wait for the
// stanza that is being handled: that may take long.
func (s *session) ack() []byte { return smElement("a", "h", decimal(s.h.Load())) }

// end stops the counting on the stream, and returns the stream if it had not
// stopped.
func (s *session) end() *stream {
	s.handling.Lock()
	defer s.handling.Unlock()
	was := s.on
	if s.ended.IsZero() {
		s.ended = time.Now()
	}
	s.on = nil
	return was
}

func decimal(h uint32) string { return strconv.FormatUint(uint64(h), 10) }

// count reads the attribute h.
func count(e *xmltree.Element) (uint32, bool) {
	h, err := strconv.ParseUint(e.Get("h"), 10, 32)
	return uint32(h), err == nil
}

// smElement writes an element of stream management with one attribute or none.
func smElement(name, attribute, value string) []byte {
	e := xmltree.New(nsSM, name)
	if attribute != "" {
		e.With(attribute, value)
	}
	return e.Append(nil, xep.NS)
}
