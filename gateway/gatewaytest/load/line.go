package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A line is a route whose two ends are connected. It plays one run at a time.
type line struct {
	route
	options
	from, to site
	now      atomic.Pointer[run]
}

// connect opens both ends for o.Pairs pairs of users.
func (r route) connect(ctx context.Context, o options) (*line, error) {
	l := &line{route: r, options: o}
	l.now.Store(newRun(r, o))
	var senders, receivers []string
	for i := range o.Pairs {
		senders, receivers = append(senders, r.user("s", i)), append(receivers, r.user("r", i))
	}
	var err error
	l.from, err = openSite(ctx, r.from, o, senders, func(user, id, body string, err error) { l.now.Load().bounced(user, id, body, err) })
	if err != nil {
		return nil, err
	}
	o.managed = false // acknowledgements are for those who send
	l.to, err = openSite(ctx, r.to, o, receivers, func(user, id, body string, err error) { l.now.Load().arrived(user, id, body, err) })
	if err != nil {
		l.from.close()
		return nil, err
	}
	return l, nil
}

func (l *line) close() {
	l.from.close()
	l.to.close()
}

// play sends n messages and waits for them, until ctx is done.
func (l *line) play(ctx context.Context, n int) *result {
	r := l.route
	r.n = n
	x := newRun(r, l.options)
	l.now.Store(x)
	start := time.Now()
	l.sendAll(ctx, x)
	select {
	case <-x.done:
	case <-ctx.Done():
	}
	return x.result(time.Since(start))
}

// sendAll sends what all pairs of a run want to send.
func (l *line) sendAll(ctx context.Context, x *run) {
	var sending sync.WaitGroup
	for i := range x.pairs {
		sending.Go(func() { x.sendAll(ctx, l.from, i) })
	}
	sending.Wait()
	x.finish()
}

// run connects, sends everything and disconnects.
func (r route) run(ctx context.Context, o options) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	l, err := r.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.play(ctx, r.n), nil
}

// A result is what became of a route's messages.
type result struct {
	sent, received, lost, doubled, disordered, strange int

	errs    []error
	elapsed time.Duration
	took    []time.Duration // sorted
}

func (x *run) result(elapsed time.Duration) *result {
	x.mu.Lock()
	defer x.mu.Unlock()
	res := &result{sent: x.n, elapsed: elapsed}
	for _, p := range x.pairs {
		res.received += len(p.took)
		res.strange += p.strange
		res.errs = append(res.errs, p.errs...)
		res.took = append(res.took, p.took...)
		for _, m := range p.msgs {
			res.doubled += max(0, m.arrived-1)
			if m.overtaken {
				res.disordered++
			}
		}
	}
	res.lost = res.sent - res.received
	slices.Sort(res.took)
	return res
}

// add puts another run of the same route to a result.
func (r *result) add(more *result) {
	r.sent += more.sent
	r.received += more.received
	r.elapsed += more.elapsed
	r.took = append(r.took, more.took...)
	slices.Sort(r.took)
}

// rate is messages per second.
func (r *result) rate() float64 { return float64(r.received) / r.elapsed.Seconds() }

// quantile is the time in which that share of the messages arrived.
func (r *result) quantile(q float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[int(q*float64(len(r.took)-1))]
}

// String is the result on one line.
func (r *result) String() string {
	return fmt.Sprintf("%d sent, %d received, %d lost, %d doubled, %d out of order, %d damaged, %d errors; %.1f s, %.0f/s, p50 %v, p99 %v",
		r.sent, r.received, r.lost, r.doubled, r.disordered, r.strange, len(r.errs), r.elapsed.Seconds(), r.rate(),
		r.quantile(0.5).Round(10*time.Microsecond), r.quantile(0.99).Round(10*time.Microsecond))
}

// verdict is nil if everything arrived once, whole and in order, and nothing
// else was heard.
func (r *result) verdict() error {
	if r.lost+r.doubled+r.disordered+r.strange+len(r.errs) == 0 {
		return nil
	}
	return errors.Join(slices.Concat([]error{errors.New("not every message arrived once, whole and in order")}, r.errs[:min(len(r.errs), 5)])...)
}
