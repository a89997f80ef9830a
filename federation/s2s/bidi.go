package s2s

import (
	"context"
	"time"

	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// The namespaces of streams that are used both ways (XEP-0288, section 2).
const (
	nsBidi        = "urn:xmpp:bidi"
	nsBidiFeature = "urn:xmpp:features:bidi"
)

// Reverse is the Auth of a [Status] whose stream the peer has opened: it has
// made sure of us by its own rules.
const Reverse = "reverse"

// graceTime is how long stanzas that were lost with a peer's stream wait for the
// peer to resume it: nobody else can.
const graceTime = 5 * time.Second

// reversible reports that the peer may ask to use the stream both ways: inside
// TLS, unless it may do without, and before it proves itself (XEP-0288, section
// 2).
func (in *inbound) reversible() bool {
	return !in.authorised() && (in.tls != nil || in.security == federation.PlainOK)
}

// askBidi asks to use the stream both ways, where the peer offers that. From
// then on it may send to us what answers the pairs that we authenticate.
func (o *outbound) askBidi() error {
	if o.features.Child(nsBidiFeature, "bidi") == nil {
		return nil
	}
	o.bidi = true
	_, err := o.write(xmltree.New(nsBidi, "bidi").Append(nil, ""))
	return err
}

// reverse is the pair that answers.
func (k key) reverse() key { return key{from: k.to, to: k.from} }

// peerTime is how long a peer has, after it was told that it is authenticated, to
// ask for stream management: what we send before is not counted. Prosody 0.12 does
// so behind its first stanzas.
const peerTime = time.Second

// behind puts the pair on the stream that its peer has opened, if that is used
// both ways and the peer has proved what its rules demand. It returns nil if
// there is none, or the pair is not free to use it.
func (p *pair) behind(ctx context.Context, free bool) *stream {
	if !free {
		return nil
	}
	s, peer, open := p.srv.answers(p.key)
	if s != nil && !open {
		wait, cancel := context.WithTimeout(ctx, 2*peerTime)
		defer cancel()
		for s != nil && !open && wait.Err() == nil {
			select {
			case <-p.call:
			case <-wait.Done():
			}
			s, peer, open = p.srv.answers(p.key)
		}
	}
	if s == nil || !open || !s.satisfies(p.srv.cfg.Book.Rules(p.to).Security, peer.Proof) || !s.board(p, peer.Proof, Reverse) {
		return nil
	}
	p.abandon()
	return s
}

// answers returns the stream that a peer has opened and on which answers of a
// pair may go out: now, or soon.
func (s *Server) answers(k key) (st *stream, peer federation.Peer, open bool) {
	s.mu.Lock()
	st = s.streams[k.reverse()]
	s.mu.Unlock()
	if st == nil || !st.bidi {
		return nil, peer, false
	}
	st.state.Lock()
	defer st.state.Unlock()
	g, ok := st.pairs[k.reverse()]
	if !ok {
		return nil, peer, false
	}
	return st, g.Peer, st.back && g.told
}

// told notes that the peer knows that it is authenticated for a pair. Answers go
// out when it has asked for stream management, or has had the time to.
func (s *stream) told(k key) {
	if s.ours || !s.bidi {
		return
	}
	s.state.Lock()
	g, ok := s.pairs[k]
	if ok { // not so for who comes back from SASL as somebody else
		g.told = true
		s.pairs[k] = g
	}
	if ok && !s.back && s.pause == nil {
		s.pause = time.AfterFunc(peerTime, s.openBack)
	}
	s.state.Unlock()
	if ok {
		s.srv.offer(k, true)
	}
}

// openBack lets answers go out over the peer's stream.
func (s *stream) openBack() {
	s.state.Lock()
	s.back = true
	var told []key
	for k, g := range s.pairs {
		if g.told {
			told = append(told, k)
		}
	}
	s.state.Unlock()
	for _, k := range told {
		s.srv.offer(k, true)
	}
}

// offer tells the pair that answers a peer's of a stream for it: it has come, may
// be used, or has gone.
func (s *Server) offer(k key, there bool) {
	s.mu.Lock()
	p := s.pairs[k.reverse()]
	s.mu.Unlock()
	if p == nil {
		return
	}
	if there {
		p.mu.Lock()
		p.delay, p.retry = 0, time.Time{}
		p.mu.Unlock()
	}
	signal(p.call)
}

// satisfies reports that a proof, shown on this stream, is what a peer's rules
// demand (decision D-73).
func (s *stream) satisfies(rule federation.Security, proof federation.Proof) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch rule {
	case federation.Required:
		return proof == federation.Certificate
	case federation.DialbackOK:
		return s.tls != nil
	}
	return true
}

// hold waits until it is known what became of the pair's stanzas on a lost
// stream that somebody else resumes: nothing may overtake them.
func (p *pair) hold(ctx context.Context, sess *session) {
	if sess.opener == nil {
		wait, cancel := context.WithTimeout(ctx, graceTime)
		defer cancel()
		p.watch(wait.Done(), sess.settled)
		sess.settle(lost)
	} else {
		p.watch(ctx.Done(), sess.settled)
	}
	if sess.isSettled() {
		p.mu.Lock()
		p.lost = nil
		p.mu.Unlock()
	}
}
