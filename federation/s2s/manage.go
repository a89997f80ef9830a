package s2s

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// What is kept of lost streams of peers.
const (
	resumeTime  = 10 * time.Minute
	resumeMax   = "600" // the same in seconds
	maxSessions = 10_000
)

// open makes a stream of the pair's own, which resumes the one that was lost if
// the peer has kept it.
func (p *pair) open(ctx context.Context) (*outbound, error) {
	p.mu.Lock()
	was := p.lost
	p.mu.Unlock()
	var first []federation.Target
	if was != nil && was.location != "" {
		var err error
		if first, err = p.srv.elsewhere(ctx, was.location, federation.Target{Domain: p.to}); err != nil {
			p.srv.cfg.Log.Info("cannot resume where the peer wants it", "peer", p.to, "location", printable(was.location), "err", err)
		}
	}
	out, err := p.srv.dial(ctx, p.key, asSender, first...)
	if err != nil {
		return nil, err
	}
	err = out.manage(ctx, p, was)
	p.mu.Lock()
	if was != nil && was.isSettled() {
		p.lost = nil
	}
	p.mu.Unlock()
	if err != nil {
		out.quit(err)
		return nil, asFault(fmt.Errorf("%s: stream management: %w", out.target, err))
	}
	return out, nil
}

// manage resumes the session of a stream of p that was lost, or begins one,
// where the peer offers that (XEP-0198, sections 3 and 5).
func (o *outbound) manage(ctx context.Context, p *pair, was *session) error {
	offered := o.features.Child(nsSM, "sm") != nil
	ctx, cancel := context.WithTimeout(ctx, o.lim.Handshake)
	defer cancel()
	defer context.AfterFunc(ctx, o.stop)()
	if was != nil && offered {
		if resumed, err := o.resume(was); resumed || err != nil {
			return err
		}
	}
	if was != nil {
		was.settle(lost)
	}
	if !offered {
		return nil
	}
	e, err := o.request(xmltree.New(nsSM, "enable").With("resume", "true"), "enabled")
	if err != nil || e.Name.Local == "failed" {
		return err
	}
	sess := newSession(o.key)
	sess.opener, sess.bidi = p, o.bidi
	if yes(e.Get("resume")) {
		sess.id, sess.location = e.Get("id"), e.Get("location")
	}
	o.sess.Store(sess)
	return nil
}

// resume asks the peer to go on with a session. What it has handled is done; the
// rest is sent again if it does go on.
func (o *outbound) resume(was *session) (bool, error) {
	e, err := o.request(xmltree.New(nsSM, "resume").With("previd", was.id).With("h", decimal(was.h.Load())), "resumed")
	if err != nil {
		return false, err
	}
	h, counted := count(e)
	resumed := e.Name.Local == "resumed"
	if resumed && (!counted || e.Get("previd") != was.id) {
		return false, refuse("undefined-condition", "not what was to be resumed")
	}
	if counted {
		if err := was.confirm(h); err != nil {
			was.settle(lost)
			return false, err
		}
	}
	if resumed {
		sess := was.next(h)
		sess.bidi = o.bidi
		o.sess.Store(sess)
		was.settle(requeue)
	}
	return resumed, nil
}

// request sends a request of stream management and reads its answer, which has
// that name or is a failure.
func (o *outbound) request(ask *xmltree.Element, answer string) (*xmltree.Element, error) {
	if _, err := o.write(ask.Append(nil, xep.NS)); err != nil {
		return nil, err
	}
	for stray := 0; stray < maxStray; {
		e, err := o.next()
		switch {
		case err != nil:
			return nil, noEOF(err)
		case e.Is(nsSM, answer), e.Is(nsSM, "failed"):
			return e, nil
		case e.Name.Space == nsDialback: // late answers, XEP-0220, section 3.1
			stray++
		case !o.hears():
			return nil, refuse("unsupported-stanza-type", "%s for an answer", printable(e.Name.Local))
		}
		if err := o.use(e); err != nil {
			return nil, err
		}
	}
	return nil, refuse("policy-violation", "no answer among %d elements", maxStray)
}

// managed takes an element of stream management on a stream in use.
func (s *stream) managed(e *xmltree.Element) error {
	sess := s.sess.Load()
	switch name := e.Name.Local; {
	case sess == nil:
	case name == "r":
		_, err := s.write(sess.ack())
		return err
	case name == "a":
		h, ok := count(e)
		if !ok {
			return refuse("undefined-condition", "no h")
		}
		if err := sess.confirm(h); err != nil {
			return err
		}
		signal(s.work) // there may be more to ask about, and room for more
		return nil
	}
	return refuse("unsupported-stanza-type", "%s", printable(e.Name.Local))
}

// managed takes an element of stream management from a peer, which may ask for
// it as well (XEP-0198, section 3).
func (in *inbound) managed(e *xmltree.Element) error {
	switch name := e.Name.Local; {
	case name != "enable" && name != "resume":
		return in.stream.managed(e)
	case in.sess.Load() != nil:
		return refuse("unsupported-stanza-type", "stream management is on")
	case !in.authorised():
		return in.smFailed("unexpected-request", "")
	case name == "resume":
		return in.resume(e)
	}
	return in.enable(e)
}

// smFailed refuses stream management. A count tells what was handled of the
// stream that cannot be resumed.
func (in *inbound) smFailed(condition, h string) error {
	e := xmltree.New(nsSM, "failed", xmltree.New(xep.NSStanzas, condition))
	if h != "" {
		e.With("h", h)
	}
	_, err := in.write(e.Append(nil, xep.NS))
	return err
}

// enable begins to count. The stream can be resumed if the peer wants that and
// there is room to remember it.
func (in *inbound) enable(e *xmltree.Element) error {
	sess := newSession(key{in.from, in.to})
	sess.on = in.stream
	answer := xmltree.New(nsSM, "enabled")
	if yes(e.Get("resume")) && in.srv.keep(sess) {
		answer.With("id", sess.id).With("resume", "true").With("max", resumeMax)
	}
	err := in.startSession(sess, answer)
	in.supersede()
	return err
}

// startSession puts a session into force where the peer reads it. From there on
// stanzas of ours count, too.
func (in *inbound) startSession(sess *session, answer *xmltree.Element) error {
	_, err := in.compose(func() []byte {
		in.sess.Store(sess)
		return answer.Append(nil, xep.NS)
	})
	if in.bidi {
		in.openBack()
	}
	return err
}

// supersede gives up what was not acknowledged on a lost stream of the peer: it
// begins anew and will not resume that.
func (in *inbound) supersede() {
	in.srv.mu.Lock()
	p := in.srv.pairs[key{in.to, in.from}]
	in.srv.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	was := p.lost
	p.mu.Unlock()
	if was != nil && was.opener == nil {
		was.settle(lost)
	}
}

// resume goes on with a stream that was lost, or that the peer has given up
// before we have. Only who was authenticated for that one may.
func (in *inbound) resume(e *xmltree.Element) error {
	was := in.srv.claim(e.Get("previd"), key{in.from, in.to})
	if was == nil {
		return in.smFailed("item-not-found", "")
	}
	if older := was.end(); older != nil {
		older.fail(errResumed)
		older.part(false)
		in.srv.begin(func(context.Context) { older.end(errResumed.append(nil)) })
	}
	if was.isSettled() { // it was too long away for what we had sent
		return in.smFailed("item-not-found", decimal(was.h.Load()))
	}
	h, _ := count(e)
	if err := was.confirm(h); err != nil {
		in.fail(err)
		was.settle(lost)
		return err
	}
	sess := was.next(h)
	sess.on = in.stream
	in.srv.restore(sess)
	err := in.startSession(sess, xmltree.New(nsSM, "resumed").With("previd", sess.id).With("h", decimal(sess.h.Load())))
	was.settle(requeue)
	return err
}

// errResumed ends a stream whose peer has gone on with another.
var errResumed = &streamError{condition: "conflict", text: "resumed elsewhere"}

// yes reads a boolean of XML Schema.
func yes(s string) bool { return s == "true" || s == "1" }

// keep remembers a session of a peer under a new name, and reports false if
// there is no room. Those whose streams were lost long ago make room.
func (s *Server) keep(sess *session) bool {
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
	sess.id = rand.Text()
	s.kepts[sess.id] = sess
	return true
}

// stale reports that the time to resume is over. A stream that handles a stanza
// just now is there.
func (s *session) stale(now time.Time) bool {
	if !s.handling.TryLock() {
		return false
	}
	defer s.handling.Unlock()
	return !s.ended.IsZero() && now.Sub(s.ended) > resumeTime
}

// claim takes the session of that name and pair, if it can be resumed: only one
// stream can do that.
func (s *Server) claim(id string, k key) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess := s.kepts[id]
	if sess == nil || sess.key != k || sess.stale(time.Now()) {
		return nil
	}
	delete(s.kepts, id)
	return sess
}

// restore remembers a session under the name that the peer knows.
func (s *Server) restore(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kepts[sess.id] = sess
}

// drop forgets a session that cannot be resumed any more.
func (s *Server) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kepts, id)
}
