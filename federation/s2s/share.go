package s2s

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// What it costs to share a stream: one peer may be asked about so many at most,
// and one that has ended a stream over the question, or has not answered it, is
// not asked again for a while.
const (
	maxCandidates = 8
	singleTime    = time.Hour
)

// An introduction is a pair that wants to share a stream, until the peer has
// said what it thinks of that.
type introduction struct {
	proof   federation.Proof // of the peer, for this pair
	verdict chan string
}

// errInvalid ends a stream on which the peer has found a key of ours invalid: it
// is about to end it, too (XEP-0220, section 2.1.1).
var errInvalid = errors.New("dialback: the peer found our key invalid")

// join puts the pair on a stream that we have opened for another one, if that
// leads to the same place and the peer agrees (XEP-0220, section 2.6). It returns
// nil where the pair needs a stream of its own.
func (p *pair) join(ctx context.Context) (*stream, error) {
	if p.alone {
		return nil, nil
	}
	for _, o := range p.srv.leadingTo(ctx, p.key) {
		proof, ok := o.admits(p.key)
		if !ok {
			continue
		}
		verdict := o.introduce(ctx, p.key, proof)
		if verdict == "valid" {
			if o.board(p, proof, "dialback") {
				return o.stream, nil
			}
			return nil, nil // it has ended meanwhile
		}
		p.alone = true
		p.srv.cfg.Log.Info("peer does not let the pair share a stream", "peer", p.to, "from", p.from, "addr", o.place, "verdict", verdict)
		if verdict == "invalid" {
			o.srv.begin(func(context.Context) { o.close(errInvalid) })
			return nil, fault.Wrap(fault.Internal, errInvalid, "the far server does not accept us")
		}
		return nil, nil
	}
	return nil, nil
}

// leadingTo returns streams of ours to where the peer of a pair may be, those for
// the same domain first.
func (s *Server) leadingTo(ctx context.Context, k key) []*outbound {
	s.mu.Lock()
	none := len(s.ours) == 0
	s.mu.Unlock()
	if none {
		return nil
	}
	targets, err := s.cfg.Locate.XMPP(ctx, k.to)
	if err != nil {
		return nil // who dials will hear it
	}
	var same, other []*outbound
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range targets {
		if time.Now().Before(s.singles[t.Addr]) {
			continue
		}
		for _, o := range s.ours[t.Addr] {
			if o.to == k.to {
				same = append(same, o)
			} else {
				other = append(other, o)
			}
		}
	}
	all := append(same, other...)
	return all[:min(len(all), maxCandidates)]
}

// admits reports that a pair may be introduced on the stream: the peer speaks
// dialback, for another domain of its own also its errors or both ways, and has
// shown what the rules of that domain demand (XEP-0220, sections 2.6.1 and
// 2.6.2).
func (o *outbound) admits(k key) (federation.Proof, bool) {
	feature := o.features.Child(nsFeature, "dialback")
	switch {
	case feature == nil && o.auth != "dialback":
		return 0, false
	case o.to != k.to && !o.bidi && (feature == nil || feature.Child(nsFeature, "errors") == nil):
		return 0, false
	case o.crowded():
		return 0, false
	}
	proof, err := o.shows(k.to)
	return proof, err == nil
}

// introduce asks the peer whether a pair may use the stream, too: "valid",
// "invalid", the condition of an error, or "" without an answer.
func (o *outbound) introduce(ctx context.Context, k key, proof federation.Proof) string {
	i := introduction{proof, make(chan string, 1)}
	o.state.Lock()
	if o.introduced == nil {
		o.introduced = map[key]introduction{}
	}
	o.introduced[k] = i
	o.state.Unlock()
	defer func() {
		o.state.Lock()
		delete(o.introduced, k)
		o.state.Unlock()
	}()
	ask := dbElement{name: "result", from: k.from, to: k.to, key: Key(o.srv.secret, k.to, k.from, o.id)}
	timer := time.NewTimer(o.lim.Handshake / 2) // there must be time for a stream of its own
	defer timer.Stop()
	if _, err := o.write(ask.append(nil)); err == nil {
		select {
		case v := <-i.verdict:
			return v
		case <-timer.C:
		case <-o.dead:
		case <-ctx.Done():
			return ""
		}
	}
	o.srv.single(o.target.Addr)
	return ""
}

// judged takes the verdict about a pair that was introduced, and reports false if
// it is about none. What answers the pair may follow at once.
func (s *stream) judged(e *xmltree.Element) bool {
	from, err1 := bareDomain(e.Get("from"))
	to, err2 := bareDomain(e.Get("to"))
	if err1 != nil || err2 != nil || e.Name.Local != "result" || !isVerdict(e.Get("type")) {
		return false
	}
	k := key{from: to, to: from}
	s.state.Lock()
	i, ok := s.introduced[k]
	delete(s.introduced, k)
	s.state.Unlock()
	if !ok {
		return false
	}
	verdict := e.Get("type")
	if verdict == "error" {
		verdict = dialbackError(e)
	}
	if verdict == "valid" {
		s.proved(k, i.proof)
	}
	i.verdict <- verdict
	return true
}

// proved notes what the peer of a pair that we send for has shown. What it sends
// itself counts as its certificate says, else as if dialback had proved it: the
// same records of DNS have led us there.
func (s *stream) proved(k key, proof federation.Proof) {
	if proof == federation.Certificate {
		s.state.Lock()
		s.untilExpiry()
		s.state.Unlock()
	}
	if s.bidi {
		s.authorise(k.reverse(), max(proof, federation.Dialback))
	}
}

// crowded reports that the stream is for so many pairs that it takes no more.
func (s *stream) crowded() bool {
	s.out.Lock()
	defer s.out.Unlock()
	return len(s.riders) >= maxPairs
}

// callTime is how long a pair waits for another that calls the same domain: it
// may share what comes of that.
const callTime = 5 * time.Second

// turn waits until nobody calls a domain. The pair that calls it first must say
// when it is done.
func (s *Server) turn(ctx context.Context, domain string) (done func()) {
	s.mu.Lock()
	call, busy := s.calls[domain]
	if !busy {
		call = make(chan struct{})
		s.calls[domain] = call
	}
	s.mu.Unlock()
	if !busy {
		return func() {
			s.mu.Lock()
			delete(s.calls, domain)
			s.mu.Unlock()
			close(call)
		}
	}
	timer := time.NewTimer(callTime)
	defer timer.Stop()
	select {
	case <-call:
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}
}

// single notes that a peer does not share streams.
func (s *Server) single(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.singles) >= maxShunned {
		clear(s.singles)
	}
	s.singles[a] = time.Now().Add(singleTime)
}

// enlist makes a stream of ours known to pairs that want to share it.
func (s *Server) enlist(o *outbound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ours[o.target.Addr] = append(s.ours[o.target.Addr], o)
}

func (s *Server) strike(o *outbound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := slices.DeleteFunc(s.ours[o.target.Addr], func(other *outbound) bool { return other == o })
	if s.ours[o.target.Addr] = left; len(left) == 0 {
		delete(s.ours, o.target.Addr)
	}
}
