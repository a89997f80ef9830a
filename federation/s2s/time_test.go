package s2s_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// A pipes is a network without a kernel, for bubbles where time is a number:
// a listener, and the connections that are dialled.
type pipes struct {
	accept chan net.Conn
	dialed chan *raw
	down   atomic.Bool // refuse to dial
	t      *testing.T
	closed chan struct{}

	mu    sync.Mutex
	tries []time.Time
}

type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, netip.Addr, string) (net.Conn, error) {
	p.mu.Lock()
	p.tries = append(p.tries, time.Now())
	p.mu.Unlock()
	if p.down.Load() {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	p.dialed <- &raw{t: p.t, nc: theirs}
	return pipeConn{ours}, nil
}

// attempts returns when connections were dialled.
func (p *pipes) attempts() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.tries)
}

// call connects to the server in the bubble.
func (p *pipes) call() *raw {
	ours, theirs := net.Pipe()
	p.accept <- pipeConn{ours}
	return &raw{t: p.t, nc: theirs}
}

// bubble runs a scene with a.example, which talks to b.example in the clear
// over pipes.
func bubble(t *testing.T, lim federation.Limits, scene func(*testing.T, *domain, *pipes)) {
	bubbleWith(t, lim, func(*settings) {}, scene)
}

// bubbleWith is bubble with a change of the domain's settings.
func bubbleWith(t *testing.T, lim federation.Limits, change func(*settings), scene func(*testing.T, *domain, *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{accept: make(chan net.Conn), dialed: make(chan *raw, 1), t: t, closed: make(chan struct{})}
		w := newZone(t)
		w.publish("_xmpp-server._tcp.b.example. 100000 IN SRV 0 0 5269 host.b.example.\nhost.b.example. 100000 IN A 127.0.0.1")
		a := w.start("a.example", rule("b.example", federation.PlainOK), func(s *settings) {
			s.s2s.StartTLS, s.s2s.Dial, s.s2s.Limits = []net.Listener{p}, p.dial, lim
		}, rule("many.example", federation.PlainOK), change)
		synctest.Wait()
		scene(t, a, p)
		a.stop()
	})
}

// dialback takes the stream that was dialled, as b.example, up to stanzas.
func (r *raw) valid() *raw {
	r.t.Helper()
	r.respond(offerDialback).expect("</db:result>")
	return r.send(valid)
}

// after reports how much later than t it is.
func after(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since).Round(time.Millisecond); got != want {
		t.Errorf("after %v, want %v", got, want)
	}
}

// A connection that does not authenticate is closed in time (RFC 6120, section
// 13.12; XEP-0205, section 3).
func TestHalfOpen(t *testing.T) {
	for name, text := range map[string]string{"silent": "", "half a header": "<stream:stream ", "header": head("b.example", "a.example"),
		"white space": strings.Repeat(" ", 100)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
				start := time.Now()
				r := p.call().send(text)
				got := r.rest()
				if name == "header" {
					start = start.Add(time.Second) // the time to read why
				}
				after(t, start, 15*time.Second)
				if name == "header" && !strings.Contains(got, "<policy-violation ") || name != "header" && got != "" {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

// A stanza that waits too long is withdrawn at its time, whatever the
// connection does (D-70).
func TestDeadline(t *testing.T) {
	bubble(t, federation.Limits{Handshake: time.Hour}, func(t *testing.T, a *domain, p *pipes) {
		start := time.Now()
		first := a.sendBy("juliet@b.example", "first", start.Add(20*time.Second))
		second := a.sendBy("juliet@b.example", "second", start.Add(10*time.Second))
		third := a.send("juliet@b.example", "third")
		r := <-p.dialed
		r.respond(offerDialback).expect("</db:result>")
		given(t, second, fault.Timeout)
		after(t, start, 10*time.Second)
		given(t, first, fault.Timeout)
		after(t, start, 20*time.Second)
		given(t, third, fault.Timeout)
		after(t, start, time.Minute)
		late := a.sendBy("juliet@b.example", "late", start) // it must not go out, even if the way is free
		next := a.send("juliet@b.example", "next")
		given(t, late, fault.Timeout)
		r.send(valid)
		if got := r.expect("</message>"); !strings.Contains(got, ">next<") {
			t.Errorf("got %s", got)
		}
		written(t, next)
	})
}

// The queue is bounded, and what waits goes out in one write.
func TestQueue(t *testing.T) {
	bubble(t, federation.Limits{Queue: 10}, func(t *testing.T, a *domain, p *pipes) {
		var outs []chan outcome
		for i := range 10 {
			outs = append(outs, a.send("juliet@b.example", fmt.Sprint("n", i)))
		}
		given(t, a.send("juliet@b.example", "too many"), fault.Busy)
		r := (<-p.dialed).valid()
		buf := make([]byte, 1<<16)
		n, err := r.nc.Read(buf)
		if err != nil || strings.Count(string(buf[:n]), "</message>") != 10 {
			t.Errorf("one read gave %s, %v", buf[:n], err)
		}
		for _, c := range outs {
			written(t, c)
		}
	})
}

// A peer that cannot be reached is asked ever more rarely, and who writes to it
// meanwhile hears of it at once (RFC 6120, section 3.3).
func TestBackoff(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		p.down.Store(true)
		for range 600 {
			start := time.Now()
			given(t, a.send("juliet@b.example", "x"), fault.Timeout)
			after(t, start, 0)
			time.Sleep(time.Second)
		}
		tries := p.attempts()
		if n := len(tries); n < 10 || n > 30 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		for i := range tries[1:] {
			gap := tries[i+1].Sub(tries[i])
			if most := min(time.Minute, time.Second<<i); gap < most/2 || gap > most+2*time.Second {
				t.Errorf("attempt %d came after %v", i+2, gap)
			}
		}
		p.down.Store(false)
		time.Sleep(time.Minute)
		out := a.send("juliet@b.example", "there again")
		(<-p.dialed).valid().expect("there again")
		written(t, out)
	})
}

// What waits outlives a peer's restart, and goes out in order (RFC 6120,
// section 10.1).
func TestRestart(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		out := a.send("juliet@b.example", "before")
		r := (<-p.dialed).valid()
		r.expect("</message>")
		written(t, out)
		p.down.Store(true)
		r.nc.Close()
		synctest.Wait()
		if s := a.Peers(); len(s) != 1 || s[0].Up || s[0].Err == nil {
			t.Errorf("status %+v", s)
		}
		one, two := a.send("juliet@b.example", "one"), a.send("juliet@b.example", "two")
		time.Sleep(8 * time.Second)
		p.down.Store(false)
		r = (<-p.dialed).valid()
		if got := r.expect("two</body></message>"); strings.Count(got, "<message ") != 2 || strings.Index(got, "one") > strings.Index(got, "two") {
			t.Errorf("got %s", got)
		}
		written(t, one)
		written(t, two)
	})
}

// A peer that stops reading costs us one write deadline; what it has not got
// whole goes to the next stream, what it has got does not.
func TestSlowReader(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		var outs []chan outcome
		for i := range 3 {
			outs = append(outs, a.send("juliet@b.example", fmt.Sprint("n", i)))
		}
		r := (<-p.dialed).valid()
		r.expect("n0</body></message>")
		// expect has taken all of the first write, so there must be more to wait for
		r.in = nil
		start := time.Now()
		stuck := []chan outcome{a.send("juliet@b.example", "s0"), a.send("juliet@b.example", "s1")}
		part := make([]byte, 200) // the whole of s0 and a part of s1, if they came in one write
		synctest.Wait()
		if _, err := r.nc.Read(part[:1]); err != nil {
			t.Fatal(err)
		}
		for _, c := range outs {
			written(t, c)
		}
		again := (<-p.dialed).valid()
		after(t, start, 10*time.Second)
		if got := again.expect("s1</body></message>"); strings.Count(got, "s0</body>") != 1 {
			t.Errorf("got %s", got)
		}
		for _, c := range stuck {
			written(t, c)
		}
	})
}

// A peer on a silent stream is asked whether it is there; whatever it answers,
// it is. A stream that nobody uses is closed (XEP-0199, section 4.3; RFC 6120,
// section 4.4); the next stanza opens a new one.
func TestIdleOutbound(t *testing.T) {
	bubble(t, federation.Limits{Idle: 16 * time.Minute}, func(t *testing.T, a *domain, p *pipes) {
		out := a.send("juliet@b.example", "x")
		r := (<-p.dialed).valid()
		r.expect("</message>")
		written(t, out)
		start := time.Now()
		r.most = time.Hour
		back := a.reverse(p)
		for i, answer := range []string{"type='result'/>", "type='error'><error type='cancel'/></iq>", "type='result'/>"} {
			m := pingID.FindStringSubmatch(r.expect("</iq>"))
			if m == nil {
				t.Fatal("no ping")
			}
			after(t, start, time.Duration(i+1)*5*time.Minute)
			back.send("<iq from='b.example' to='a.example' id='" + m[1] + "' " + answer)
		}
		if got := readFor(r, time.Hour); got != "</stream:stream>" {
			t.Errorf("got %q", got)
		}
		back.nc.Close()
		again := a.send("juliet@b.example", "y")
		(<-p.dialed).valid().expect("</message>")
		written(t, again)
	})
}

var pingID = regexp.MustCompile("<iq from='a.example' to='b.example' type='get' id='([^']+)'><ping xmlns='urn:xmpp:ping'/></iq>$")

// reverse opens a stream to the domain in the clear, as b.example, and says
// something before it proves itself.
func (d *domain) reverse(p *pipes, first ...string) *raw {
	r := p.call().send(head("b.example", "a.example"))
	r.expect("</stream:features>")
	r.send(first...).send(result("b.example", "a.example", "key"))
	auth := (<-p.dialed).respond(offerDialback)
	m := verifyID.FindStringSubmatch(auth.expect("</db:verify>"))
	auth.send("<db:verify from='b.example' to='a.example' id='" + m[2] + "' type='valid'/>")
	readFor(auth, time.Hour)
	r.expect("type='valid'></db:result>")
	return r
}

// A peer that gives no sign of life within a minute loses the stream (XEP-0199,
// section 4.3), and so does one that does not confirm (XEP-0198, section 4).
// An answer of somebody else is none.
func TestSilentPeer(t *testing.T) {
	t.Run("ping", func(t *testing.T) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			out := a.send("juliet@b.example", "x")
			r := (<-p.dialed).valid()
			r.expect("</message>")
			written(t, out)
			start := time.Now()
			r.most = time.Hour
			back := a.reverse(p)
			m := pingID.FindStringSubmatch(r.expect("</iq>"))
			back.send("<iq from='juliet@b.example' to='a.example' type='result' id='"+m[1]+"'/>", "<iq from='b.example' to='a.example' type='result' id='other'/>")
			r.expect("<stream:error><connection-timeout ")
			after(t, start, 6*time.Minute)
			r.nc.Close()
			back.nc.Close()
		})
	})
	t.Run("acknowledgement", func(t *testing.T) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			out := a.send("juliet@b.example", "x")
			r := (<-p.dialed).enabled(enabled)
			r.expect(askAck)
			r.send(ackOf(1))
			acknowledged(t, out)
			start := time.Now()
			r.most = time.Hour
			r.expect(askAck)
			after(t, start, 5*time.Minute)
			r.send(ackOf(1)).expect(askAck)
			after(t, start, 10*time.Minute)
			r.expect("<stream:error><connection-timeout ")
			after(t, start, 11*time.Minute)
			r.nc.Close()
		})
	})
}

// readFor returns all that comes until the connection ends.
func readFor(r *raw, d time.Duration) string {
	r.nc.SetReadDeadline(time.Now().Add(d))
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.nc.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// A stream that a peer leaves idle is closed; the peer has five seconds to
// agree (RFC 6120, section 4.4), and what it sends until then is served.
func TestIdleInbound(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverse(p)
		start := time.Now()
		for range 3 {
			time.Sleep(20 * time.Minute)
			r.send(chat("juliet@b.example", "romeo@a.example", "still here"))
			wait(t, a.got)
		}
		r.nc.SetReadDeadline(time.Now().Add(time.Hour))
		buf := make([]byte, 100)
		n, _ := r.nc.Read(buf)
		if string(buf[:n]) != "</stream:stream>" {
			t.Errorf("got %s", buf[:n])
		}
		after(t, start, 90*time.Minute)
		r.send(chat("juliet@b.example", "romeo@a.example", "wait"))
		if got := wait(t, a.got); !strings.Contains(got.text, "wait") {
			t.Errorf("got %s", got.text)
		}
		if got := readFor(r, time.Hour); got != "" {
			t.Errorf("after the end tag came %s", got)
		}
		after(t, start, 90*time.Minute+5*time.Second)
	})
}

// A peer that hangs in the middle of negotiation is given up in time, and others
// are served meanwhile.
func TestHangingPeer(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		a.w.publish("_xmpp-server._tcp.many.example. 300 IN SRV 0 0 5269 many.example.\nmany.example. 300 IN A 127.0.0.2")
		start := time.Now()
		out := a.send("juliet@many.example", "x")
		(<-p.dialed).expect(" version='1.0'>")
		other := a.send("juliet@b.example", "y")
		(<-p.dialed).valid().expect("</message>")
		written(t, other)
		after(t, start, 0)
		given(t, out, fault.Timeout)
		after(t, start, 15*time.Second)
	})
}

// What waits when we go is given up, and nothing is taken any more.
func TestStop(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		waiting := a.send("juliet@b.example", "x")
		r := <-p.dialed
		r.expect(" version='1.0'>")
		go func() { a.stop() }() // the next stop waits for it
		given(t, waiting, fault.Busy)
		a.stop()
		given(t, a.send("juliet@b.example", "y"), fault.Busy)
	})
}

// When the certificate that proves the peer expires, so does the stream (RFC
// 6120, section 13.7.2.3).
func TestExpiry(t *testing.T) {
	soon := func(w *world) *trusttest.Issued {
		is, err := w.ca.Issue(trusttest.Options{DNS: []string{"b.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Minute)})
		if err != nil {
			w.Fatal(err)
		}
		return is
	}
	t.Run("inbound", func(t *testing.T) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			start := time.Now()
			r := p.call().authenticate("b.example", "a.example", soon(a.w))
			r.send(chat("juliet@b.example", "romeo@a.example", "x"))
			wait(t, a.got)
			r.expect("<stream:error><reset ")
			after(t, start, time.Minute)
		})
	})
	t.Run("outbound", func(t *testing.T) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			start := time.Now()
			out := a.send("juliet@b.example", "x")
			r := (<-p.dialed).serve(a.w, soon(a.w), offerDialback)
			r.expect("</db:result>")
			r.send(valid).expect("</message>")
			written(t, out)
			r.expect("<stream:error><reset ")
			after(t, start, time.Minute)
			r.nc.Close()
		})
	})
}
