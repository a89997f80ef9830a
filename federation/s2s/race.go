package s2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"cpimgate/federation"
)

// headStart is how long one address of a target has before the next is tried
// beside it.
const headStart = 250 * time.Millisecond

// sameHost returns how many of the targets, from the first on, are addresses of
// one host.
func sameHost(targets []federation.Target) int {
	n := 1
	for n < len(targets) && targets[n].Host == targets[0].Host && targets[n].Transport == targets[0].Transport &&
		targets[n].Addr.Port() == targets[0].Addr.Port() {
		n++
	}
	return n
}

// race connects to the first address of a host that answers (RFC 6120, section
// 3.2.1: all addresses, before the next record). It returns which that was and
// what became of those that have failed.
func (s *Server) race(ctx context.Context, targets []federation.Target) (nc net.Conn, won int, failed []error) {
	type result struct {
		nc  net.Conn
		i   int
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(targets))
	begun, open := 0, 0
	begin := func() {
		i := begun
		begun, open = begun+1, open+1
		go func() { // the loops below take all results
			dctx, stop := context.WithTimeout(ctx, s.lim.DialTimeout)
			defer stop()
			nc, err := s.cfg.Dial(dctx, netip.Addr{}, targets[i].Addr.String())
			results <- result{nc, i, err}
		}()
	}
	begin()
	next := time.NewTimer(headStart)
	defer next.Stop()
	for nc == nil && open > 0 {
		select {
		case <-next.C:
		case r := <-results:
			open--
			if r.err == nil {
				nc, won = r.nc, r.i
				continue
			}
			s.shun(targets[r.i].Addr)
			failed = append(failed, fmt.Errorf("%s: %w", targets[r.i], r.err))
		}
		if begun < len(targets) && ctx.Err() == nil {
			begin()
			next.Reset(headStart)
		}
	}
	cancel()
	for ; open > 0; open-- {
		if r := <-results; r.err == nil {
			r.nc.Close()
		}
	}
	return nc, won, failed
}

// A shunned address has failed of late.
type shunned struct {
	until time.Time
	delay time.Duration
}

const maxShunned = 10_000

// shun notes that an address has failed: until its back-off is over others are
// tried first (RFC 6120, section 3.3). All pairs share that.
func (s *Server) shun(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.shuns) >= maxShunned {
		clear(s.shuns)
	}
	d := min(max(2*s.shuns[a].delay, firstWait), maxWait)
	s.shuns[a] = shunned{time.Now().Add(d), d}
}

func (s *Server) unshun(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shuns, a)
}

// order puts addresses that have failed of late behind all others.
func (s *Server) order(targets []federation.Target) []federation.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	late := func(t federation.Target) int {
		if now.Before(s.shuns[t.Addr].until) {
			return 1
		}
		return 0
	}
	targets = slices.Clone(targets)
	slices.SortStableFunc(targets, func(a, b federation.Target) int { return late(a) - late(b) })
	return targets
}

// first connects to one host and negotiates a stream there: the addresses that
// answer are tried one after the other until one brings a stream.
func (s *Server) first(ctx context.Context, k key, host []federation.Target, use purpose) (out *outbound, failed []attempt) {
	for len(host) > 0 && ctx.Err() == nil {
		nc, i, lost := s.race(ctx, host)
		for _, err := range lost {
			failed = append(failed, attempt{err: err})
		}
		if nc == nil {
			return nil, failed
		}
		t := host[i]
		out, err := s.try(ctx, k, t, use, nc)
		if err == nil {
			s.unshun(t.Addr)
			return out, failed
		}
		if _, theirs := errors.AsType[*streamError](err); !theirs {
			s.shun(t.Addr)
		}
		failed = append(failed, attempt{t, err})
		host = host[i+1:]
	}
	return nil, failed
}

// An attempt is one that brought no stream.
type attempt struct {
	target federation.Target // of a connection; zero where there was none
	err    error
}

// cause is for the operator.
func (a attempt) cause() error {
	if a.target.Host == "" {
		return a.err
	}
	return fmt.Errorf("%s: %w", a.target, cause(a.err))
}
