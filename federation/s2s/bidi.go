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

// behind puts the pair on the stream that its peer has opened, if that is used
// both ways and the peer has proved what its rules demand. It returns nil if
// there is none, or the pair is not free to use it.
func (p *pair) behind(ctx context.Context, free bool) *stream {
	if !free {
		return nil
	}
	p.srv.mu.Lock()
	s := p.srv.streams[p.reverse()]
	p.srv.mu.Unlock()
	if s == nil || !s.bidi {
		return nil
	}
	s.state.Lock()
	peer := s.pairs[p.reverse()]
	open := s.back && peer.told
	s.state.Unlock()
	if !open || !s.satisfies(p.srv.cfg.Book.Rules(p.to).Security, peer.Proof) || !s.board(p, peer.Proof, Reverse) {
		return nil
	}
	p.abandon()
	return s
}

// peerTime is how long a peer has, after it was told that it is authenticated, to
// ask for stream management: what we send before is not counted.
const peerTime = time.Second

// told notes that the peer knows that it is authenticated for a pair. Answers go
// out when it has begun to use the stream, or has had the time to.
func (s *stream) told(k key) {
	if s.ours || !s.bidi {
		return
	}
	s.state.Lock()
	g := s.pairs[k]
	g.told = true
	s.pairs[k] = g
	if !s.back && s.pause == nil {
		s.pause = time.AfterFunc(peerTime, s.openBack)
	}
	back := s.back
	s.state.Unlock()
	if back {
		s.srv.offer(k)
	}
}

// opens reports that the peer has been told something, and not answered yet.
func (s *stream) opens() bool {
	s.state.Lock()
	defer s.state.Unlock()
	return s.pause != nil && !s.back
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
		s.srv.offer(k)
	}
}

// offer tells the pair that answers a peer's that there is a stream for it.
func (s *Server) offer(k key) {
	s.mu.Lock()
	p := s.pairs[k.reverse()]
	s.mu.Unlock()
	if p != nil {
		p.offered()
	}
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
