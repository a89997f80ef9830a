package s2s

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
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
type pair struct {
	key
	srv  *Server
	wake chan struct{} // the run goroutine has something to look at
	work chan struct{} // the writer has

	steady bool // a stream is wanted even if there is nothing to send
	dial   func(context.Context) (*outbound, error)

	mu      sync.Mutex
	queue   []item
	sess    *session  // of stream management; outlives a lost stream
	out     *outbound // while stanzas may be written to it
	gone    bool      // no longer in Server.pairs
	alarm   time.Time // when run looks after the queue again
	retry   time.Time // no attempt before; zero: no back-off
	delay   time.Duration
	lastUp  time.Time // when a stream was last there
	changed time.Time
	err     error // of the last attempt or stream
}

// An item is a stanza that waits.
type item struct {
	text []byte
	by   time.Time
	done federation.Done
}

const (
	rideTime  = time.Minute      // what waits outlives a lost stream for so long
	firstWait = time.Second      // the back-off after a first failure
	maxWait   = time.Minute      // and the longest
	memory    = 10 * time.Minute // how long an unused pair is shown to the operator
	batchSize = 64 << 10         // bytes of one write
)

var (
	errGone = errors.New("pair is gone")
	errIdle = errors.New("not used any more")
	errLate = fault.E(fault.Timeout, "the far server was not ready in time")
)

func newPair(s *Server, k key) *pair {
	p := &pair{key: k, srv: s, wake: make(chan struct{}, 1), work: make(chan struct{}, 1), changed: time.Now()}
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
	p.queue = append(p.queue, it)
	if p.out != nil {
		signal(p.work)
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
			p.serve(ctx, out)
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
		n, pause := p.pending(), time.Until(p.retry)
		p.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return !p.leave(ctx)
		case (n > 0 || p.steady) && pause <= 0:
			return true
		case n > 0 || p.steady:
			wait, cancel := context.WithTimeout(ctx, pause)
			p.watch(wait.Done())
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
	if p.pending() > 0 && ctx.Err() == nil {
		return false
	}
	p.gone = true
	delete(p.srv.pairs, p.key)
	return true
}

// pending counts the stanzas that need a stream: those that were not sent, and
// those that may have to be sent again. p.mu is held.
func (p *pair) pending() int {
	if p.sess == nil {
		return len(p.queue)
	}
	return len(p.queue) + len(p.sess.waiting)
}

// watch withdraws what has waited too long, until c is closed.
func (p *pair) watch(c <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c:
			p.mu.Lock()
			p.alarm = time.Time{}
			p.mu.Unlock()
			return
		case <-p.wake:
		case <-timer.C:
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
	p.mu.Lock()
	written, lost := p.overdue(now)
	p.alarm = time.Time{}
	wait := func(items []item) {
		for _, it := range items {
			if p.alarm.IsZero() || it.by.Before(p.alarm) {
				p.alarm = it.by
			}
		}
	}
	wait(p.queue)
	if p.sess != nil {
		wait(p.sess.waiting)
	}
	alarm := p.alarm
	p.mu.Unlock()
	tell(written, federation.Written, nil)
	tell(lost, federation.GivenUp, errLost)
	return alarm
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
func (p *pair) connect(ctx context.Context) (*outbound, error) {
	if p.srv.barred(key{p.to, p.from}) != nil {
		return nil, errBarred
	}
	done := make(chan struct{})
	var out *outbound
	var err error
	go func() { // watch waits for it
		defer close(done)
		out, err = p.dial(ctx)
	}()
	p.watch(done)
	return out, err
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
	say := p.srv.cfg.Log.Warn
	if p.steady && p.err != nil && p.err.Error() == err.Error() {
		say = p.srv.cfg.Log.Debug // nobody has asked for this attempt, and the operator knows
	}
	p.err = err
	p.mu.Unlock()
	say("cannot reach peer", "peer", p.to, "from", p.from, "err", err)
	if ride {
		return
	}
	tell(p.take(func(item) bool { return true }), federation.GivenUp, err)
	p.abandon()
}

// serve drains the queue into a stream until the stream ends or has been
// unused for long.
func (p *pair) serve(ctx context.Context, out *outbound) {
	p.mu.Lock()
	p.out, p.err, p.delay, p.retry, p.changed = out, nil, 0, time.Time{}, time.Now()
	p.mu.Unlock()
	p.srv.cfg.Log.Info("peer up", "peer", p.to, "from", p.from, "addr", out.target.String(), "proof", out.proof.String(), "auth", out.auth)

	stop := context.AfterFunc(ctx, out.hurry)
	defer stop()
	if out.proof == federation.Certificate {
		expiry := out.untilExpiry(func() {
			out.fail(errExpired)
			out.end(errExpired.append(nil))
		})
		defer expiry.Stop()
	}
	var parts sync.WaitGroup // watch waits for it, through over
	over := make(chan struct{})
	parts.Go(func() { out.read(p.acked) })
	parts.Go(func() { p.write(ctx, out) })
	go func() { // watch waits for it
		parts.Wait()
		close(over)
	}()
	signal(p.work)
	p.watch(over)
	p.lose(out)

	p.mu.Lock()
	p.err, p.changed = out.reason, time.Now()
	p.lastUp = p.changed
	p.mu.Unlock()
	p.srv.cfg.Log.Info("peer down", "peer", p.to, "from", p.from, "err", out.reason)
}

// write is the one writer of stanzas to a stream. It ends when the reader has,
// or with our end tag when the stream is not needed any more.
func (p *pair) write(ctx context.Context, out *outbound) {
	defer p.detach()
	used := time.Now()
	breath := time.NewTicker(min(keepalive, p.srv.lim.Idle))
	defer breath.Stop()
	late := time.NewTimer(answerTime) // the last question was so long ago
	defer late.Stop()
	for {
		if batch, ask := p.batch(); len(batch) > 0 || ask {
			used = time.Now()
			if !p.flush(out, batch, ask) {
				return
			}
			if ask {
				late.Reset(answerTime)
			}
			continue
		}
		select {
		case <-p.work:
			runtime.Gosched() // who is about to send comes along
		case <-out.dead:
			return
		case <-ctx.Done():
			if p.closing(true) {
				out.fail(errShut)
				out.finish()
				return
			}
		case <-breath.C:
			if !p.breathe(out, used) {
				return
			}
			late.Reset(answerTime)
		case <-late.C:
			if p.silent(out) {
				out.fail(errDead)
				out.end(errDead.append(nil))
				return
			}
		}
	}
}

// closing takes the stream from the pair if nothing waits. When we go, we do
// not wait for acknowledgements, nor for room to send more.
func (p *pair) closing(going bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending() == 0 || going && (len(p.queue) == 0 || p.room() == 0) {
		p.out = nil
	}
	return p.out == nil
}

// room is how many stanzas may be written: those that are not acknowledged are
// bounded. p.mu is held.
func (p *pair) room() int {
	if p.sess == nil {
		return len(p.queue)
	}
	return max(0, min(len(p.queue), p.srv.lim.Queue-len(p.sess.waiting)))
}

func (p *pair) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = nil
}

// batch takes from the queue what goes into one write, and whether it asks for
// an acknowledgement: one question is on its way at a time, so that it covers
// all that was written until its answer (XEP-0198, section 4).
func (p *pair) batch() (batch []item, ask bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size, n, room := 0, 0, p.room()
	for n < room && (n == 0 || size+len(p.queue[n].text) <= batchSize) {
		size += len(p.queue[n].text)
		n++
	}
	batch = p.queue[:n:n]
	p.queue = p.queue[n:]
	if p.sess != nil {
		p.sess.sends(batch)
		ask = !p.sess.asked && len(p.sess.waiting) > 0
		p.sess.asked = p.sess.asked || ask
	}
	return batch, ask
}

// flush writes stanzas in one write. Those that did not go out whole return to
// the head of the queue: the peer cannot have taken them. The trace hears of a
// stanza before it is written, since what follows from it may be as fast.
func (p *pair) flush(out *outbound, batch []item, ask bool) bool {
	var buf []byte
	for _, it := range batch {
		p.srv.trace(true, p.to, out.via, it.text)
		buf = append(buf, it.text...)
	}
	if ask {
		buf = append(buf, smElement("r", "", "")...)
	}
	n, err := out.write(buf)
	for len(batch) > 0 && n >= len(batch[0].text) {
		n -= len(batch[0].text)
		if !out.managed {
			batch[0].done(federation.Written, nil)
		}
		batch = batch[1:]
	}
	if err == nil {
		return true
	}
	p.mu.Lock()
	if out.managed {
		batch = p.sess.unsend(len(batch))
	}
	p.queue = append(batch, p.queue...)
	p.mu.Unlock()
	out.fail(err)
	out.drop()
	return false
}

func (p *pair) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{From: p.from, To: p.to, Since: p.changed, Queue: len(p.queue), Err: p.err}
	if p.out != nil {
		p.out.describe(&st)
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
