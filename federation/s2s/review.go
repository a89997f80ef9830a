package s2s

import (
	"context"
	"maps"
	"slices"

	"cpimgate/federation"
)

// Review ends the streams of pairs that the Book no longer wants: it has changed.
// Peers hear why, and bounce what they still wanted to send; what waits for them
// is given up. Streams that carry other pairs, too, open again for those.
func (s *Server) Review() {
	s.mu.Lock()
	streams, pairs := maps.Clone(s.streams), slices.Collect(maps.Values(s.pairs))
	s.mu.Unlock()
	for k, in := range streams {
		if err := s.barred(k); err != nil {
			s.begin(func(context.Context) { in.end(err.append(nil)) })
		}
	}
	for _, p := range pairs {
		if err := s.barred(key{p.to, p.from}); err != nil {
			p.bar(err)
		}
	}
}

// barred returns why a peer may not write to a domain of ours, nor we to it; or
// nil (RFC 6120, sections 4.9.3.5 and 4.9.3.14). The server of a component is not
// judged: it is there because the operator says so.
func (s *Server) barred(k key) *streamError {
	switch {
	case s.cfg.Book == nil:
	case !s.cfg.Book.Stands(federation.XMPP, k.to):
		return &streamError{condition: "host-gone", text: "not served here any more"}
	case !s.cfg.Book.Rules(k.from).Allow:
		return &streamError{condition: "policy-violation", text: "not allowed here"}
	}
	return nil
}

// bar ends the stream of a pair that is not wanted. What waits finds no other.
func (p *pair) bar(err *streamError) {
	p.mu.Lock()
	out := p.out
	p.mu.Unlock()
	if out != nil {
		p.srv.begin(func(context.Context) {
			out.fail(err)
			out.end(err.append(nil))
		})
	}
}
