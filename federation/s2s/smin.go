package s2s

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// A reception is what stream management knows of what a peer has sent on a
// stream, and on those that resume it (XEP-0198, sections 4 and 5).
type reception struct {
	id string
	key

	mu    sync.Mutex    // held while a stanza is handled: who resumes learns the count after that
	owner *inbound      // the stream as it is now; nil: it was lost
	h     atomic.Uint32 // stanzas handled; after 2^32-1 comes 0
	ended time.Time     // when the stream was lost; zero: it is there
}

// What is kept of lost streams.
const (
	resumeTime  = 10 * time.Minute
	resumeMax   = "600" // the same in seconds
	maxSessions = 10_000
)

// take handles one stanza and counts it, unless another stream has taken over.
func (r *reception) take(in *inbound, handle func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owner != in {
		return refuse("conflict", "resumed elsewhere")
	}
	handle()
	r.h.Add(1)
	return nil
}

// ack is our acknowledgement of all that was handled. It does not wait for the
// stanza that is being handled: that may take long.
func (r *reception) ack() []byte { return smElement("a", "h", decimal(r.h.Load())) }

// managed takes an element of stream management.
func (in *inbound) managed(e *xmltree.Element) error {
	name, h := e.Name.Local, uint32(0)
	if name == "a" {
		var ok bool
		if h, ok = count(e); !ok {
			return refuse("undefined-condition", "no h")
		}
	}
	switch {
	case name == "enable" && in.rec != nil, name == "resume" && in.rec != nil: // XEP-0198, section 3
		return refuse("unsupported-stanza-type", "stream management is on")
	case name == "enable" || name == "resume":
		if !in.authorised() {
			return in.smFailed("unexpected-request")
		}
		if name == "resume" {
			return in.resume(e)
		}
		return in.enable(e)
	case in.rec == nil:
	case name == "r":
		_, err := in.write(in.rec.ack())
		return err
	case name == "a" && h > 0:
		return tooHigh(h, 0) // we have sent nothing on this stream
	case name == "a":
		return nil
	}
	return refuse("unsupported-stanza-type", "%s", printable(name))
}

func (in *inbound) smFailed(condition string) error {
	_, err := in.write(xmltree.New(nsSM, "failed", xmltree.New(xep.NSStanzas, condition)).Append(nil, xep.NS))
	return err
}

// enable begins to count. The stream can be resumed if the peer wants that and
// there is room to remember it.
func (in *inbound) enable(e *xmltree.Element) error {
	r := &reception{owner: in, key: key{in.from, in.to}}
	answer := xmltree.New(nsSM, "enabled")
	if wish := e.Get("resume"); (wish == "true" || wish == "1") && in.srv.keep(r) {
		answer.With("id", r.id).With("resume", "true").With("max", resumeMax)
	}
	in.setReception(r)
	_, err := in.write(answer.Append(nil, xep.NS))
	return err
}

// setReception makes r what the stream is counted by; others than the reader
// want it when the stream ends.
func (in *inbound) setReception(r *reception) {
	in.state.Lock()
	defer in.state.Unlock()
	in.rec = r
}

// resume goes on with a stream that was lost, or that the peer has given up
// before we have. Only who was authenticated for that one may.
func (in *inbound) resume(e *xmltree.Element) error {
	r := in.srv.kept(e.Get("previd"), key{in.from, in.to})
	if r == nil {
		return in.smFailed("item-not-found")
	}
	r.mu.Lock()
	older := r.owner
	r.owner, r.ended = in, time.Time{}
	h := r.h.Load()
	r.mu.Unlock()
	in.setReception(r)
	if older != nil {
		in.srv.begin(func(context.Context) {
			older.end((&streamError{condition: "conflict", text: "resumed elsewhere"}).append(nil))
		})
	}
	_, err := in.write(xmltree.New(nsSM, "resumed").With("previd", r.id).With("h", decimal(h)).Append(nil, xep.NS))
	return err
}

// bye is how we end the stream in good order: with an acknowledgement of all
// that we have handled (XEP-0198, section 4).
func (in *inbound) bye() {
	in.state.Lock()
	r := in.rec
	in.state.Unlock()
	if r == nil {
		in.finish()
		return
	}
	in.end(append(r.ack(), endTag...))
}

// forget notes the end of the stream: one that was closed in good order cannot
// be resumed.
func (in *inbound) forget(orderly bool) {
	r := in.rec
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owner != in {
		return
	}
	r.owner, r.ended = nil, time.Now()
	if orderly {
		in.srv.drop(r.id)
	}
}

// keep remembers a reception under a new name, and reports false if there is no
// room. Those whose streams were lost long ago make room.
func (s *Server) keep(r *reception) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kepts) >= maxSessions {
		now := time.Now()
		for id, old := range s.kepts {
			if old.stale(now) {
				delete(s.kepts, id)
			}
		}
	}
	if len(s.kepts) >= maxSessions {
		return false
	}
	r.id = rand.Text()
	s.kepts[r.id] = r
	return true
}

// stale reports that the time to resume is over. A stream that handles a stanza
// just now is there.
func (r *reception) stale(now time.Time) bool {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	return !r.ended.IsZero() && now.Sub(r.ended) > resumeTime
}

// kept returns the reception of that name and pair, if it can be resumed.
func (s *Server) kept(id string, k key) *reception {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.kepts[id]
	if r == nil || r.key != k || r.stale(time.Now()) {
		return nil
	}
	return r
}

func (s *Server) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kepts, id)
}
