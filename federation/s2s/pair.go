package s2s

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A pair is all that one domain of ours sends to one domain of theirs: a queue,
// and at most one stream that drains it (RFC 6120, section 10.1). One goroutine
// runs it, from the first stanza until it has been idle for a while.
//
// When a first stream cannot be had, all that waits is given up with the
// reason, and so is what comes within the back-off that follows. When a stream
// is lost, what waits is kept for rideTime, so that a peer may restart.
//
// Locks are taken in this order: stream.state, Server.mu, stream.out, pair.mu,
// session.mu.
type pair struct {
	key
	srv  *Server
	wake chan struct{} // the run goroutine has something to look at
	call chan struct{} // there is news of its peer's stream

	steady bool // a stream is wanted even if there is nothing to send
	alone  bool // it does not share streams; for the run goroutine
	dial   func(context.Context) (*outbound, error)

	mu      sync.Mutex
	queue   []item
	out     *stream          // that drains the queue; nil: none
	proof   federation.Proof // of the peer, on out
	auth    string           // how we have proved ourselves there
	lost    *session         // of a lost stream that may have carried stanzas of ours: it comes first
	gone    bool             // no longer in Server.pairs
	alarm   time.Time        // when run looks after the queue again
	retry   time.Time        // no attempt before; zero: no back-off
	delay   time.Duration
	lastUp  time.Time // when a stream was last there
	changed time.Time
	err     error // of the last attempt or stream
}

// An item is a stanza that waits. That of a session has no text if it must not
// be sent again.
type item struct {
	pair *pair
	text []byte
	by   time.Time
	done federation.Done
}

const (
	rideTime  = time.Minute      // what waits outlives a lost stream for so long
	firstWait = time.Second      // the back-off after a first failure
	maxWait   = time.Minute      // and the longest
	memory    = 10 * time.Minute // how long an unused pair is shown to the operator
)

var (
	errGone = errors.New("pair is gone")
	errLate = fault.E(fault.Timeout, "the far server was not ready in time")
)

func newPair(s *Server, k key) *pair {
	p := &pair{key: k, srv: s, wake: make(chan struct{}, 1), call: make(chan struct{}, 1), changed: time.Now()}
	p.dial = p.open
	return p
}

// signal makes who receives from c look once more.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enqueue takes a stanza or says why not.
func (p *pair) enqueue(it item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return errGone
	case len(p.queue) >= p.srv.lim.Queue:
		return fault.E(fault.Busy, "too many messages wait for this domain")
	case !p.riding() && time.Now().Before(p.retry):
		return p.err
	}
	it.pair = p
	p.queue = append(p.queue, it)
	if p.out != nil {
		signal(p.out.work)
	}
	if p.out == nil || p.alarm.IsZero() || it.by.Before(p.alarm) {
		signal(p.wake)
	}
	return nil
}

// riding reports that a stream was there a moment ago. p.mu is held.
func (p *pair) riding() bool { return time.Since(p.lastUp) < rideTime }

// run is the life of a pair.
func (p *pair) run(ctx context.Context) {
	for p.rest(ctx) {
		out, err := p.connect(ctx)
		switch {
		case err == nil:
			p.ride(out)
		case ctx.Err() == nil:
			p.failed(err)
		}
	}
	tell(p.take(func(item) bool { return true }), federation.GivenUp, errShut)
	p.abandon()
}

// rest waits until there is something to send and an attempt may be made. It
// reports false when the pair has ended.
func (p *pair) rest(ctx context.Context) bool {
	idle := time.NewTimer(memory)
	defer idle.Stop()
	for {
		p.mu.Lock()
		needs, pause, was := p.needs(), time.Until(p.retry), p.lost
		p.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return !p.leave(ctx)
		case was != nil && was.opener != p:
			p.hold(ctx, was)
			continue
		case needs && pause <= 0:
			return true
		case needs:
			wait, cancel := context.WithTimeout(ctx, pause)
			p.watch(wait.Done(), p.call)
			cancel()
			continue
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
		case <-idle.C:
			if p.leave(ctx) {
				return false
			}
			idle.Reset(memory)
		}
	}
}

// leave takes the pair out of the Server, unless there is something to send.
func (p *pair) leave(ctx context.Context) bool {
	p.srv.mu.Lock()
	defer p.srv.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.needs() && ctx.Err() == nil {
		return false
	}
	p.gone = true
	delete(p.srv.pairs, p.key)
	return true
}

// needs reports that a stream is wanted: there are stanzas that were not sent,
// or some that may have to be sent again. p.mu is held.
func (p *pair) needs() bool {
	return p.steady || len(p.queue) > 0 || p.lost != nil && p.lost.matters()
}

// watch withdraws what has waited too long, until one of the channels can be
// received from.
func (p *pair) watch(c, d <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		ended := false
		select {
		case <-c:
			ended = true
		case <-d:
			ended = true
		case <-p.wake:
		case <-timer.C:
		}
		if ended {
			p.mu.Lock()
			p.alarm = time.Time{}
			p.mu.Unlock()
			return
		}
		if next := p.expire(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// expire ends the waiting of stanzas whose time is over, and returns when it is
// to be called again; zero: no stanza waits.
func (p *pair) expire(now time.Time) time.Time {
	tell(p.take(func(it item) bool { return !now.Before(it.by) }), federation.GivenUp, errLate)
	var late []item
	p.mu.Lock()
	p.alarm = time.Time{}
	for _, it := range p.queue {
		p.alarm = earlier(p.alarm, it.by)
	}
	sess, up := p.session(), p.out != nil
	if sess != nil {
		var next time.Time
		late, next = sess.overdue(p, now, !up)
		p.alarm = earlier(p.alarm, next)
	}
	alarm := p.alarm
	p.mu.Unlock()
	if up {
		carried(late)
	} else {
		lost(late)
	}
	return alarm
}

// session returns that of the stream as it is or was. p.mu is held.
func (p *pair) session() *session {
	if p.out != nil {
		return p.out.sess.Load()
	}
	return p.lost
}

// earlier returns the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// take removes the stanzas for which f reports true.
func (p *pair) take(f func(item) bool) []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken, kept []item
	for _, it := range p.queue {
		if f(it) {
			taken = append(taken, it)
		} else {
			kept = append(kept, it)
		}
	}
	if len(taken) > 0 {
		p.queue = kept
	}
	return taken
}

// connect makes one round through the places where the peer may be.
func (p *pair) connect(ctx context.Context) (*stream, error) {
	if p.srv.barred(key{p.to, p.from}) != nil {
		return nil, errBarred
	}
	done := make(chan struct{})
	var out *stream
	var err error
	go func() { // watch waits for it
		defer close(done)
		out, err = p.way(ctx)
	}()
	p.watch(done, nil)
	return out, err
}

// way returns a stream that the pair's stanzas go out on: the one that its peer
// has opened, or one that it may share, unless something is left of an own one;
// else an own one.
func (p *pair) way(ctx context.Context) (*stream, error) {
	p.mu.Lock()
	free := !p.steady && (p.lost == nil || !p.lost.matters())
	p.mu.Unlock()
	if s := p.behind(ctx, free); s != nil {
		return s, nil
	}
	defer p.srv.turn(ctx, p.to)()
	if free {
		if s, err := p.join(ctx); s != nil || err != nil {
			return s, err
		}
	}
	o, err := p.dial(ctx)
	if err == nil {
		o.launch(ctx, p)
		return o.stream, nil
	}
	if s := p.behind(ctx, free); s != nil { // it has come meanwhile
		return s, nil
	}
	return nil, err
}

// failed notes that no stream could be had, and gives up what waited for it.
func (p *pair) failed(err error) {
	p.mu.Lock()
	p.delay = min(max(2*p.delay, firstWait), maxWait)
	p.retry = time.Now().Add(p.delay/2 + rand.N(p.delay/2))
	ride := p.riding() && fault.KindOf(err) == fault.Timeout
	if !ride {
		p.lastUp = time.Time{}
	}
	again := ride && (p.steady || len(p.queue) > 0 || p.lost != nil && p.lost.waits(nil) > 0)
	say := p.srv.cfg.Log.Warn
	if p.steady && p.err != nil && p.err.Error() == err.Error() {
		say = p.srv.cfg.Log.Debug // nobody has asked for this attempt, and the operator knows
	}
	p.err = err
	p.mu.Unlock()
	say("cannot reach peer", "peer", p.to, "from", p.from, "err", err)
	if again {
		return
	}
	tell(p.take(func(item) bool { return true }), federation.GivenUp, err)
	p.abandon()
}

// ride lets a stream drain the queue until the stream ends.
func (p *pair) ride(out *stream) {
	st := p.status()
	out.up(p.to, "from", p.from, "proof", st.Proof.String(), "auth", st.Auth)
	p.watch(out.parted, nil)
	p.srv.cfg.Log.Info("peer down", "peer", p.to, "from", p.from, "err", out.reason)
}

// tell says what became of stanzas.
func tell(items []item, how federation.How, err error) {
	for _, it := range items {
		it.done(how, err)
	}
}

// abandon ends the session of a peer that does not come back.
func (p *pair) abandon() {
	p.mu.Lock()
	sess := p.lost
	p.lost = nil
	p.mu.Unlock()
	if sess != nil {
		sess.settle(lost)
	}
}

func (p *pair) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{From: p.from, To: p.to, Since: p.changed, Queue: len(p.queue), Err: p.err}
	if p.out != nil {
		p.out.describe(&st)
		st.Proof, st.Auth = p.proof, p.auth
	}
	return st
}

// trace tells the trace of a stanza.
func (s *Server) trace(out bool, peer string, via federation.Transport, text []byte) {
	if s.cfg.Trace == nil {
		return
	}
	s.cfg.Trace(federation.Record{Time: time.Now(), Wire: federation.XMPP, Out: out, Peer: peer, Via: via, Text: text})
}
