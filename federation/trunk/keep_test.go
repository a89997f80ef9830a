package trunk

import (
	"bufio"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// dialled is a connection in memory as if we had dialled it.
func dialled(t *testing.T, tr *Trunk, until time.Time) *wire {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	s := tr.newStream(memConn{ours}, federation.TCP)
	s.dialled, s.domain, s.until = true, "b.example", until
	if err := tr.adopt(s); err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: theirs, t: t, r: bufio.NewReader(theirs)}
}

// expectPing reads a ping and returns when it came.
func (w *wire) expectPing() time.Time {
	w.t.Helper()
	b := make([]byte, 4)
	if _, err := io.ReadFull(w.r, b); err != nil || string(b) != "\r\n\r\n" {
		w.t.Fatalf("%q %v", b, err)
	}
	return time.Now()
}

// TestPing is RFC 5626, section 4.4.1: between 95 s and 120 s after the last
// octet, each time anew; who has answered and then does not is gone after 10 s.
func TestPing(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
		last := time.Now()
		w := dialled(t, tr, time.Time{})
		gaps := make(map[time.Duration]bool)
		for range 4 {
			at := w.expectPing()
			gap := at.Sub(last)
			if gaps[gap] = true; gap < minPing || gap > maxPing {
				t.Errorf("ping after %v", gap)
			}
			w.say("\r\n")
			last = at
		}
		if len(gaps) < 2 {
			t.Error("no jitter")
		}
		at := w.expectPing()
		if _, err := io.ReadAll(w.r); err != nil || time.Since(at) != pong {
			t.Errorf("closed %v after the ping (%v)", time.Since(at), err)
		}
		synctest.Wait()
		if _, n := left(tr); n != 0 {
			t.Error("it is still there")
		}
	})
}

// TestPingUnanswered: a peer that does not know pings keeps its connection
// until it has been idle for long enough; so does one that answers them.
func TestPingUnanswered(t *testing.T) {
	for _, answer := range []bool{false, true} {
		bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
			begin := time.Now()
			w := dialled(t, tr, time.Time{})
			pings := 0
			for b := make([]byte, 4); ; pings++ {
				if _, err := io.ReadFull(w.r, b); err != nil {
					break
				}
				if answer {
					w.say("\r\n")
				}
			}
			if past := time.Since(begin); past != 10*time.Minute || pings < 4 || pings > 6 {
				t.Errorf("closed after %v and %d pings", past, pings)
			}
		})
	}
}

// TestPingAndMessages: pings, answers and messages in any cut leave the framing
// whole, and a peer's own ping is answered on a connection that we have dialled.
func TestPingAndMessages(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
		w := dialled(t, tr, time.Time{})
		w.expectPing()
		w.say("\r\n" + raw("OPTIONS", "1"))
		if s := w.status(); s != 200 {
			t.Error(s)
		}
		w.expectPing()
		w.say("\r\n")
		w.say("\r\n\r\n")
		b := make([]byte, 2)
		if _, err := io.ReadFull(w.r, b); err != nil || string(b) != "\r\n" {
			t.Errorf("%q %v", b, err)
		}
		w.say(raw("OPTIONS", "2")[:50])
		w.say(raw("OPTIONS", "2")[50:])
		if s := w.status(); s != 200 {
			t.Error(s)
		}
	})
}

// TestExpired: a connection ends with the certificate that it was opened with.
func TestExpired(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
		begin := time.Now()
		w := dialled(t, tr, begin.Add(time.Minute))
		for range 5 { // it is busy: that does not matter
			if s := w.ask(raw("OPTIONS", time.Now().Format("050"))).StatusCode; s != 200 {
				t.Error(s)
			}
			time.Sleep(10 * time.Second) // of the bubble
		}
		if _, err := io.ReadAll(w.r); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("closed after %v (%v)", time.Since(begin), err)
		}
	})
}

// TestExpiry: the end is that of the certificate, at both ends of a connection.
func TestExpiry(t *testing.T) {
	r := newRealm(t)
	al, bl := listenTCP(t), listenTCP(t)
	r.at("b.example", bl)
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: r.locator(), Trust: r.store("a.example")})
	b := start(t, Config{TLS: []net.Listener{bl}, Book: r.book, Locate: r.locator(), Trust: r.store("b.example")})
	if res := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); res.status() != 200 {
		t.Fatal(res)
	}
	for _, tr := range []*Trunk{a, b} {
		tr.mu.Lock()
		for _, s := range tr.streams {
			if s.until.IsZero() || !s.until.Equal(s.cs.PeerCertificates[0].NotAfter) {
				t.Errorf("until %v", s.until)
			}
		}
		tr.mu.Unlock()
	}
}

// TestDeafPeer: a connection on which nothing comes for as long as a request
// waits is not used again.
func TestDeafPeer(t *testing.T) {
	to := places{"b.example": {at("b.example", "127.0.0.9:5060", "tcp")}}
	bubble(t, Config{Locate: to}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
		w := dialled(t, tr, time.Time{})
		go func() { _, _ = io.Copy(io.Discard, w.r) }()
		tr.mu.Lock()
		for _, s := range tr.streams {
			l := &link{ready: make(chan struct{}), stream: s}
			close(l.ready)
			tr.links[linkKey{"a.example", "b.example", to["b.example"][0].Addr, "tcp"}] = l
		}
		tr.mu.Unlock()
		req := func() *sip.Request { return message("sip:r@a.example", "sip:j@b.example", "x") }
		if r := send(tr, req(), "b.example", 5*time.Second); fault.KindOf(r.err) != fault.Timeout || len(tr.Peers()) != 1 {
			t.Errorf("%v: too early to say, %d connections", r, len(tr.Peers()))
		}
		if r := send(tr, req(), "b.example", 15*time.Second); fault.KindOf(r.err) != fault.Timeout || len(tr.Peers()) != 0 {
			t.Errorf("%v, %d connections", r, len(tr.Peers()))
		}
	})
}
