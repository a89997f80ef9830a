package s2s_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
)

// What is refused at the door is counted, each time once.
func TestCount(t *testing.T) {
	w := newWorld(t)
	counted := make(chan string, 100)
	d := w.start("a.example", func(s *settings) {
		s.s2s.Count = func(event string) { counted <- event }
		s.s2s.Attempts = 4
	})
	is := w.issue("b.example")
	counts := func(want string) {
		t.Helper()
		if got := wait(t, counted); got != want {
			t.Errorf("counted %s, want %s", got, want)
		}
	}
	d.call().authenticate("b.example", "a.example", is).send(chat("x@c.example", "y@a.example", "z")).rest()
	counts(s2s.Spoofed)
	d.call().send(head("b.example", "c.example")).rest()
	counts(s2s.Refused)
	r := d.call().secure("b.example", "a.example", is)
	r.begin("b.example", "a.example")
	if got := r.send(result("c.example", "a.example", "key")).rest(); !strings.Contains(got, "policy-violation") {
		t.Errorf("got %s", got)
	}
	counts(s2s.Mismatched)
	counts(s2s.Refused)
	r = d.call()
	d.call().rest() // the fifth within a minute
	counts(s2s.Overrun)
	r.nc.Close()
	counts(s2s.Refused)
	if len(counted) > 0 {
		t.Errorf("and %s", <-counted)
	}
}

// An address that was refused for its many connections is welcome a minute
// later.
func TestAttempts(t *testing.T) {
	bubble(t, federation.Limits{ConnsPerIP: 1}, func(t *testing.T, a *domain, p *pipes) {
		welcome := func() bool {
			r := p.call()
			go func() { r.nc.Write([]byte(head("x.example", "c.example"))) }() // ends with the connection
			got := readFor(r, time.Minute)
			r.nc.Close()
			synctest.Wait() // until it is not counted among the open ones any more
			return got != ""
		}
		start := time.Now()
		for i := range 12 {
			if got := welcome(); got != (i < 10) {
				t.Errorf("connection %d: welcome: %v", i+1, got)
			}
		}
		time.Sleep(time.Minute - time.Since(start))
		if !welcome() {
			t.Error("not welcome after a minute")
		}
	})
}

// A stream that is faster than its rate is read at that rate; nothing is lost.
func TestRate(t *testing.T) {
	rated := func(s *settings) { s.s2s.Rate = 10 }
	bubbleWith(t, federation.Limits{}, rated, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverse(p)
		time.Sleep(time.Minute) // what negotiation has cost is forgotten
		start := time.Now()
		r.send(strings.Repeat(chat("juliet@b.example", "romeo@a.example", "x"), 40))
		for range 40 {
			wait(t, a.got)
		}
		after(t, start, 3*time.Second) // ten at once, then ten a second
		r.nc.Close()
	})
}

// One whose stanzas are large is read at its bandwidth, too.
func TestBandwidth(t *testing.T) {
	slow := func(s *settings) { s.s2s.Bandwidth = 10_000 }
	bubbleWith(t, federation.Limits{}, slow, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverse(p)
		time.Sleep(time.Minute) // what negotiation has cost is forgotten
		start := time.Now()
		text := strings.Repeat(chat("juliet@b.example", "romeo@a.example", strings.Repeat("x", 24_000)), 2)
		r.send(text)
		for range 2 {
			wait(t, a.got)
		}
		after(t, start, (time.Duration(len(text)-10_000) * time.Second / 10_000).Round(time.Millisecond))
		r.nc.Close()
	})
}

// The addresses of a host are tried beside each other, and one that has failed
// is tried last until its time is over (RFC 6120, sections 3.2.1 and 3.3).
func TestRace(t *testing.T) {
	var ways map[string]func(ctx context.Context) (net.Conn, error)
	hang := func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	refused := func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") }
	log := make(chan string, 100)
	dialing := func(s *settings) {
		s.book.stands = append(s.book.stands, "also.example")
		s.s2s.Dial = func(ctx context.Context, _ netip.Addr, address string) (net.Conn, error) {
			log <- address
			return ways[address](ctx)
		}
	}
	bubbleWith(t, federation.Limits{}, dialing, func(t *testing.T, a *domain, p *pipes) {
		a.w.publish("_xmpp-server._tcp.many.example. 1 IN SRV 0 0 5269 many.example.\nmany.example. 1 IN A 127.0.0.1\nmany.example. 1 IN A 127.0.0.2\n" +
			"_xmpp-server._tcp.many.example. 1 IN SRV 1 0 5269 last.example.\nlast.example. 1 IN A 127.0.0.3")
		pipe := func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, netip.Addr{}, "") }
		play := func(first, second, third func(context.Context) (net.Conn, error)) (chan outcome, time.Time) {
			ways = map[string]func(context.Context) (net.Conn, error){"127.0.0.1:5269": first, "127.0.0.2:5269": second, "127.0.0.3:5269": third}
			return a.send("juliet@many.example", "x"), time.Now()
		}
		tried := func(want string) {
			t.Helper()
			synctest.Wait()
			var dialed []string
			for len(log) > 0 {
				dialed = append(dialed, strings.TrimSuffix(<-log, ":5269"))
			}
			if got := strings.Join(dialed, " "); got != want {
				t.Errorf("tried %s, want %s", got, want)
			}
		}
		_, start := play(hang, pipe, hang)
		r := <-p.dialed
		after(t, start, 250*time.Millisecond)
		tried("127.0.0.1 127.0.0.2")
		r.nc.Close()
		synctest.Wait()

		time.Sleep(2 * time.Minute) // back-offs are over
		tried("127.0.0.3")
		out, start := play(refused, refused, pipe)
		r = <-p.dialed
		after(t, start, 0)
		tried("127.0.0.1 127.0.0.2 127.0.0.3")
		r.expect(" version='1.0'>")
		r.send("<stream:stream "+streamNS+" from='many.example' id='1' version='1.0'>", streamErr("resource-constraint", "")).rest()
		given(t, out, fault.Timeout)

		// another domain of ours knows of it
		start = time.Now()
		ways["127.0.0.1:5269"], ways["127.0.0.2:5269"] = pipe, pipe
		a.Send(message("romeo@also.example", "juliet@many.example", "x"), time.Time{}, nil)
		r = <-p.dialed
		after(t, start, 0)
		tried("127.0.0.3")
		r.nc.Close()
		for range 2 {
			(<-p.dialed).nc.Close()
		}
	})
}

// A changing book is read again by the operator.
type changing struct{ atomic.Pointer[book] }

func (c *changing) Home(d string) (federation.Home, bool)   { return c.Load().Home(d) }
func (c *changing) Homes() []federation.Home                { return c.Load().Homes() }
func (c *changing) Stands(w federation.Wire, d string) bool { return c.Load().Stands(w, d) }
func (c *changing) Rules(d string) federation.Rules         { return c.Load().Rules(d) }

// A peer that is not allowed any more, and one that writes to a domain that is not
// ours any more, lose their streams, whatever they say then is not heard, and what
// waits for them is given up (RFC 6120, sections 4.9.3.5 and 4.9.3.14).
func TestReview(t *testing.T) {
	for condition, after := range map[string]*book{
		"policy-violation": {stands: []string{"a.example"}, rules: map[string]federation.Rules{"b.example": {Security: federation.PlainOK}}},
		"host-gone":        {rules: map[string]federation.Rules{"b.example": {Allow: true, Security: federation.PlainOK}}},
	} {
		t.Run(condition, func(t *testing.T) {
			now := &changing{}
			turning := func(s *settings) {
				now.Store(s.book)
				s.trust.Book, s.s2s.Book = now, now
			}
			bubbleWith(t, federation.Limits{}, turning, func(t *testing.T, a *domain, p *pipes) {
				out := a.send("juliet@b.example", "x")
				ours := (<-p.dialed).enabled(enabled)
				ours.expect(askAck)
				ours.send(ackOf(1))
				acknowledged(t, out)
				theirs := a.reverse(p)
				a.Review()
				theirs.send(chat("juliet@b.example", "romeo@a.example", "still allowed"))
				wait(t, a.got)

				waits := a.send("juliet@b.example", "y")
				ours.expect(askAck)
				now.Store(after)
				theirs.send(chat("juliet@b.example", "romeo@a.example", "not any more"))
				if got := theirs.rest(); !strings.Contains(got, "<"+condition+" ") {
					t.Errorf("got %s", got)
				}
				a.Review()
				if got := ours.rest(); !strings.Contains(got, "<"+condition+" ") {
					t.Errorf("got %s", got)
				}
				given(t, waits, fault.Timeout)
				synctest.Wait()
				if len(a.got) > 0 || len(p.dialed) > 0 {
					t.Errorf("there came %d stanzas, and we dialled %d times", len(a.got), len(p.dialed))
				}
			})
		})
	}
}

// A stream on which nothing comes ends, too.
func TestReviewIdle(t *testing.T) {
	now := &changing{}
	turning := func(s *settings) {
		now.Store(s.book)
		s.trust.Book, s.s2s.Book = now, now
	}
	bubbleWith(t, federation.Limits{}, turning, func(t *testing.T, a *domain, p *pipes) {
		theirs := a.reverse(p)
		now.Store(&book{stands: []string{"a.example"}, rules: map[string]federation.Rules{"b.example": {}}})
		a.Review()
		if got := theirs.rest(); !strings.Contains(got, "<policy-violation ") {
			t.Errorf("got %s", got)
		}
	})
}
