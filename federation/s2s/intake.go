package s2s

import (
	"context"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// use does what one element of a negotiated stream asks for.
func (s *stream) use(e *xmltree.Element) error {
	s.brake()
	switch e.Name.Space {
	case nsDialback:
		return s.takeDialback(e)
	case nsSM:
		return s.managed(e)
	}
	if !s.authorised() {
		return refuse("not-authorized", "%s before authentication", printable(e.Name.Local))
	}
	if err := stanza(e); err != nil {
		return err
	}
	return s.stanza(e)
}

// brake waits if the peer is faster than it may be: so does the peer, then
// (RFC 6120, section 13.12).
func (s *stream) brake() {
	now := time.Now()
	d := s.pace.ReserveN(now, 1).DelayFrom(now)
	for s.taken > 0 {
		n := min(s.taken, s.bulk.Burst())
		d = max(d, s.bulk.ReserveN(now, n).DelayFrom(now))
		s.taken -= n
	}
	if d > 0 {
		pause(s.ctx, d)
	}
}

// stanza checks who writes to whom (RFC 6120, section 8.1) and hands the stanza
// on.
func (s *stream) stanza(e *xmltree.Element) error {
	h, peer, err := s.envelope(e)
	if err != nil {
		return err
	}
	s.touch()
	if h.Lang == "" {
		e.WithLang(s.lang)
	}
	if s.srv.cfg.Trace != nil {
		s.srv.trace(false, peer.String(), s.via, e.Append(nil, xep.NS))
	}
	return s.counted(func() { s.deliver(e, h, peer) })
}

// counted has a stanza handled, as one of the session if there is one.
func (s *stream) counted(handle func()) error {
	if sess := s.sess.Load(); sess != nil {
		return sess.take(handle)
	}
	handle()
	return nil
}

func (s *stream) deliver(e *xmltree.Element, h xep.Header, peer federation.Peer) {
	if h.Name != "iq" {
		s.srv.cfg.Handler.ServeStanza(s.ctx, e, peer)
		return
	}
	if answer := s.srv.iq(e, h); answer != nil {
		s.srv.Send(answer, time.Time{}, nil)
	}
}

func (s *stream) envelope(e *xmltree.Element) (xep.Header, federation.Peer, error) {
	h, err := xep.HeaderOf(e)
	if err != nil || e.Get("from") == "" || e.Get("to") == "" {
		return h, federation.Peer{}, refuse("improper-addressing", "from and to are needed")
	}
	from, err1 := federation.Domain(h.From.Domainpart())
	to, err2 := federation.Domain(h.To.Domainpart())
	if err1 != nil || err2 != nil {
		return h, federation.Peer{}, refuse("improper-addressing", "from or to is not a domain's")
	}
	s.state.Lock()
	defer s.state.Unlock()
	if g, ok := s.pairs[key{from, to}]; ok {
		if err := s.srv.barred(key{from, to}); err != nil { // any more
			return h, g.Peer, err
		}
		return h, g.Peer, nil
	}
	for k := range s.pairs {
		if k.from == from {
			return h, federation.Peer{}, refuse("host-unknown", "this stream is not for that domain")
		}
	}
	s.srv.cfg.Count(Spoofed)
	return h, federation.Peer{}, refuse("invalid-from", "not a domain that was authenticated")
}

// bounce answers a stanza that was over a limit, if its head can be trusted
// (RFC 6120, section 13.12). The stream cannot be read any further; a peer that
// resumes it must not send the same again, so it is counted as handled.
func (s *stream) bounce(x *xmltree.Error) {
	if x.Head == nil || stanza(x.Head) != nil {
		return
	}
	h, _, err := s.envelope(x.Head)
	if err != nil {
		return
	}
	_ = s.counted(func() { // the error is that of a stream which is resumed elsewhere
		if answer := xep.ErrorStanza(h, &xep.Error{Condition: "policy-violation", Type: "modify", Text: x.Text}); answer != nil {
			s.srv.Send(answer, time.Time{}, nil)
		}
	})
}

// authorised reports that the peer has proved itself for some pair.
func (s *stream) authorised() bool {
	s.state.Lock()
	defer s.state.Unlock()
	return len(s.pairs) > 0
}

// authorise lets the peer send stanzas of a pair over the stream.
func (s *stream) authorise(k key, proof federation.Proof) {
	s.state.Lock()
	g, again := s.pairs[k]
	g.Peer = federation.Peer{Domains: []string{k.from}, Proof: proof, Addr: s.addr, Via: s.via}
	s.pairs[k] = g
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if !s.ours && s.idle == nil {
		s.untilUnused()
	}
	if proof == federation.Certificate {
		s.untilExpiry()
	}
	s.state.Unlock()
	if !s.ours {
		s.settle()
		s.srv.enter(k, s)
	}
	if !again {
		s.up(k.from, "to", k.to, "proof", proof.String(), "bidi", s.bidi)
	}
}

// enter notes that a peer has opened a stream for a pair. An older one is at its
// end if nothing else is left to it: its peer has restarted (RFC 6120, section
// 4.9.3.3).
func (s *Server) enter(k key, st *stream) {
	s.mu.Lock()
	older := s.streams[k]
	s.streams[k] = st
	superseded := older != nil && older != st
	for _, other := range s.streams {
		if !superseded {
			break
		}
		superseded = other != older
	}
	s.mu.Unlock()
	if superseded {
		s.begin(func(context.Context) {
			older.end((&streamError{condition: "conflict", text: "a newer stream has taken over"}).append(nil))
		})
	}
}

// resign takes the stream out of the Server, for all pairs of the peer.
func (s *stream) resign() {
	s.state.Lock()
	defer s.state.Unlock()
	if !s.ours {
		s.srv.mu.Lock()
		for k := range s.pairs {
			if s.srv.streams[k] == s {
				delete(s.srv.streams, k)
			}
		}
		s.srv.mu.Unlock()
	}
	for k := range s.pairs {
		s.log().Info("peer down", "peer", k.from, "to", k.to, "err", s.reason)
		if !s.ours {
			s.srv.offer(k, false)
		}
	}
}

// incoming is the state of a pair whose stanzas come in over the stream.
func (s *stream) incoming(k key) Status {
	st := Status{From: k.from, To: k.to, Inbound: true}
	s.state.Lock()
	defer s.state.Unlock()
	st.Since, st.Proof = s.since, s.pairs[k].Proof
	s.describe(&st)
	return st
}
