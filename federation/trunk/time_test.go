package trunk

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

// A memory is a TCP listener in memory, for tests in which time is a number.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
}

func newMemory() *memory { return &memory{make(chan net.Conn), make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { close(m.done); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060} }

// dial returns the peer's end of a connection from 127.0.0.1.
func (m *memory) dial(t *testing.T) *wire {
	ours, theirs := net.Pipe()
	m.conns <- memConn{ours}
	t.Cleanup(func() { theirs.Close() })
	return &wire{Conn: theirs, t: t, r: bufio.NewReader(theirs)}
}

type memConn struct{ net.Conn }

func (memConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060} }
func (memConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711} }

// A datagram and its sockets in memory.
type datagram struct {
	b    []byte
	addr net.Addr
}

type memPacket struct {
	addr *net.UDPAddr
	in   chan datagram
	out  chan datagram
	done chan struct{}
}

func newMemPacket() *memPacket {
	return &memPacket{&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 5060}, make(chan datagram), make(chan datagram, 100), make(chan struct{})}
}

func (m *memPacket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-m.in:
		return copy(b, d.b), d.addr, nil
	case <-m.done:
		return 0, nil, net.ErrClosed
	}
}
func (m *memPacket) WriteTo(b []byte, to net.Addr) (int, error) {
	m.out <- datagram{append([]byte(nil), b...), to}
	return len(b), nil
}
func (m *memPacket) Close() error                     { close(m.done); return nil }
func (m *memPacket) LocalAddr() net.Addr              { return m.addr }
func (m *memPacket) SetDeadline(time.Time) error      { return nil }
func (m *memPacket) SetReadDeadline(time.Time) error  { return nil }
func (m *memPacket) SetWriteDeadline(time.Time) error { return nil }

// places is a Locator that knows.
type places map[string][]federation.Target

func (p places) SIP(_ context.Context, q locate.SIPQuery) ([]federation.Target, error) {
	if len(p[q.Host]) == 0 {
		return nil, fault.E(fault.NoRoute, "unknown domain")
	}
	return p[q.Host], nil
}

func at(domain, addr string, via federation.Transport) federation.Target {
	return federation.Target{Domain: domain, Host: domain, Addr: netip.MustParseAddrPort(addr), Transport: via}
}

// bubble runs a test with a trunk on a listener and a socket in memory, where
// time is free.
func bubble(t *testing.T, cfg Config, f func(*testing.T, *Trunk, *memory, *memPacket)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, p := newMemory(), newMemPacket()
		cfg.TCP, cfg.UDP, cfg.Book = []net.Listener{m}, []net.PacketConn{p}, plain("a.example", "")
		if cfg.Locate == nil {
			cfg.Locate = places{"a.example": {at("a.example", "127.0.0.1:5060", "tcp")}}
		}
		f(t, start(t, cfg), m, p)
	})
}

// left counts what a trunk still keeps.
func left(tr *Trunk) (requests, connections int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.arrivals) + len(tr.merged) + len(tr.lines) + len(tr.queued), tr.accepted + len(tr.streams) + len(tr.perIP)
}

// silence is a Handler that forgets what it gets.
var silence = serveFunc(func(*sip.Request, federation.Peer, Tx) error { return nil })

// TestForgotten: 100 when Timer E of the sender has reached T2, on any
// transport (RFC 4320, section 4.1), and 504 at the end (decision D-70).
func TestForgotten(t *testing.T) {
	bubble(t, Config{Handler: silence}, func(t *testing.T, _ *Trunk, m *memory, p *memPacket) {
		begin := time.Now()
		w := m.dial(t)
		go func() { _, _ = w.Write([]byte(raw("MESSAGE", "1"))) }()
		if s := w.status(); s != 100 || time.Since(begin) != trying {
			t.Errorf("%d after %v", s, time.Since(begin))
		}
		if s := w.status(); s != 504 || time.Since(begin) != 20*time.Second {
			t.Errorf("%d after %v", s, time.Since(begin))
		}
	})
}

// TestRepeated: over UDP a repeated request gets the same answer, octet for
// octet, for 32 s (RFC 3261, section 17.2.2), and reaches the Handler once.
func TestRepeated(t *testing.T) {
	var calls atomic.Int32
	h := serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		calls.Add(1)
		return tx.Answer(Reply(req, 200, "OK"))
	})
	bubble(t, Config{Handler: h}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		req := datagram{[]byte(raw("MESSAGE", "1", "Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1")), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5070}}
		p.in <- req
		first := <-p.out
		for range 3 {
			time.Sleep(10 * time.Second) // of the bubble
			p.in <- req
			if again := <-p.out; string(again.b) != string(first.b) || again.addr.String() != "127.0.0.1:5070" {
				t.Errorf("to %v: %s, first %s", again.addr, again.b, first.b)
			}
		}
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
		time.Sleep(3 * time.Second)
		if n, _ := left(tr); n != 0 {
			t.Errorf("%d transactions are left", n)
		}
	})
}

// TestMaddr: who has proved its domain may say where the answer goes; a
// stranger may not (RFC 3261, section 18.2.2).
func TestMaddr(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *Trunk, _ *memory, p *memPacket) {
		from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5070}
		for domain, want := range map[string]string{"a.example": "127.0.0.9:5080", "c.example": "127.0.0.1:5080"} {
			p.in <- datagram{[]byte(raw("MESSAGE", domain, "From: <sip:x@"+domain+">;tag=1",
				"Via: SIP/2.0/UDP 127.0.0.1:5080;maddr=127.0.0.9;branch=z9hG4bK"+domain)), from}
			if d := <-p.out; d.addr.String() != want {
				t.Errorf("%s: answer to %v, want %s", domain, d.addr, want)
			}
		}
	})
}

// TestRetransmit: a request over UDP is repeated with the timers of RFC 3261,
// section 17.1.2.2 until the answer comes.
func TestRetransmit(t *testing.T) {
	to := places{"b.example": {at("b.example", "127.0.0.2:5060", "udp")}}
	bubble(t, Config{Locate: to}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		ch := make(chan result, 1)
		begin := time.Now()
		tr.Send(message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", Sending{}, func(res *sip.Response, err error) { ch <- result{res, err} })
		var at []time.Duration
		var text string
		for range 4 {
			d := <-p.out
			at = append(at, time.Since(begin))
			if text != "" && text != string(d.b) {
				t.Error("copies differ")
			}
			text = string(d.b)
		}
		if at[0] != 0 || at[1] != 500*time.Millisecond || at[2] != 1500*time.Millisecond || at[3] != trying {
			t.Error(at)
		}
		answer(t, p, text, 200)
		if r := <-ch; r.status() != 200 {
			t.Error(r)
		}
	})
}

// answer plays the peer's server.
func answer(t *testing.T, p *memPacket, text string, status int) {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	res := sip.NewResponseFromRequest(msg.(*sip.Request), status, "x", nil)
	p.in <- datagram{[]byte(res.String()), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 5060}}
}

// TestFailover: targets share the time that there is; 503 and silence go on to
// the next, with a new branch (RFC 3263, section 4.3).
func TestFailover(t *testing.T) {
	to := places{"b.example": {
		at("b.example", "127.0.0.2:5060", "udp"), at("b.example", "127.0.0.3:5060", "udp"), at("b.example", "127.0.0.4:5060", "udp"),
	}}
	bubble(t, Config{Locate: to}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		ch := make(chan result, 1)
		begin := time.Now()
		tr.Send(message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", Sending{}, func(res *sip.Response, err error) { ch <- result{res, err} })
		branches := make(map[string]string) // by target
		for d := range p.out {
			msg, err := sip.ParseMessage(d.b)
			if err != nil {
				t.Fatal(err)
			}
			host := d.addr.String()
			branch, _ := msg.Via().Params.Get("branch")
			if old := branches[host]; old == branch {
				continue // a retransmission
			}
			branches[host] = branch
			switch host {
			case "127.0.0.3:5060":
				if past := time.Since(begin); past < 6*time.Second || past > 7*time.Second {
					t.Errorf("second target after %v", past)
				}
				answer(t, p, string(d.b), 503)
			case "127.0.0.4:5060":
				answer(t, p, string(d.b), 404)
				close(p.out)
			}
		}
		if r := <-ch; r.status() != 404 || len(branches) != 3 {
			t.Error(r, branches)
		}
	})
}

// TestNoAnswer: the fault comes at the deadline, not after 32 s.
func TestNoAnswer(t *testing.T) {
	to := places{"b.example": {at("b.example", "127.0.0.2:5060", "udp")}}
	bubble(t, Config{Locate: to}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		for _, limit := range []time.Duration{0, 7 * time.Second} {
			begin, want := time.Now(), 20*time.Second
			var r result
			if limit == 0 {
				r = send(tr, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example")
			} else {
				want = limit
				r = send(tr, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", limit)
			}
			if fault.KindOf(r.err) != fault.Timeout || time.Since(begin) != want {
				t.Errorf("%v after %v", r.err, time.Since(begin))
			}
		}
	})
}

// TestSilentPeer: while one peer takes requests and says nothing, another is
// served.
func TestSilentPeer(t *testing.T) {
	to := places{"b.example": {at("b.example", "127.0.0.2:5060", "tcp")}, "c.example": {at("c.example", "127.0.0.3:5060", "tcp")}}
	silent := make(chan struct{}, 1)
	dial := func(_ context.Context, _ netip.Addr, address string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		w := &wire{Conn: theirs, t: t, r: bufio.NewReader(theirs)}
		go func() { // ends with the connection
			req := w.hear().(*sip.Request)
			if address == "127.0.0.2:5060" {
				silent <- struct{}{}
			} else {
				w.say(sip.NewResponseFromRequest(req, 200, "OK", nil).String())
			}
			_, _ = io.Copy(io.Discard, w.r)
		}()
		return memConn{ours}, nil
	}
	bubble(t, Config{Locate: to, Dial: dial}, func(t *testing.T, tr *Trunk, _ *memory, _ *memPacket) {
		begin, ch := time.Now(), make(chan result, 1)
		tr.Send(message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", Sending{}, func(res *sip.Response, err error) { ch <- result{res, err} })
		<-silent
		if r := send(tr, message("sip:r@a.example", "sip:j@c.example", "x"), "c.example"); r.status() != 200 || time.Since(begin) != 0 {
			t.Errorf("%v after %v", r, time.Since(begin))
		}
		if r := <-ch; fault.KindOf(r.err) != fault.Timeout || time.Since(begin) != 20*time.Second {
			t.Errorf("%v after %v", r, time.Since(begin))
		}
	})
}

// TestSilentConnections: who says nothing, or says it octet by octet, is hung
// up on.
func TestSilentConnections(t *testing.T) {
	rows := []struct {
		name string
		say  func(w *wire)
		open time.Duration
	}{
		{"says nothing", func(*wire) {}, 10 * time.Second},
		{"keeps alive only", func(w *wire) { drip(w, "\r\n", 2, 4) }, 10 * time.Second},
		{"slow loris", func(w *wire) { drip(w, raw("MESSAGE", "1"), 1, 1000) }, 10 * time.Second},
		{"idle", func(w *wire) { w.ask(raw("OPTIONS", "1")) }, 10 * time.Minute},
		{"stops in a message", func(w *wire) { w.ask(raw("OPTIONS", "1")); drip(w, raw("MESSAGE", "2")[:100], 100, 1) }, 10 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, tr *Trunk, m *memory, _ *memPacket) {
				begin := time.Now()
				w := m.dial(t)
				row.say(w)
				_, err := io.ReadAll(w)
				if past := time.Since(begin); err != nil || past < row.open || past > row.open+3*time.Second {
					t.Errorf("closed after %v (%v)", past, err)
				}
				synctest.Wait()
				if _, n := left(tr); n != 0 {
					t.Error("it is still counted")
				}
			})
		})
	}
}

// drip writes n octets of s each second, at most times.
func drip(w *wire, s string, n, times int) {
	for ; times > 0 && s != ""; times-- {
		k := min(n, len(s))
		if _, err := w.Write([]byte(s[:k])); err != nil {
			return
		}
		s = s[k:]
		time.Sleep(time.Second) // of the bubble
	}
}

// TestDeaf: a peer that does not read stops nobody for longer than the write
// deadline.
func TestDeaf(t *testing.T) {
	errs := make(chan error, 1)
	h := serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		go func() { errs <- tx.Answer(Reply(req, 200, "OK")) }()
		return nil
	})
	bubble(t, Config{Handler: h}, func(t *testing.T, tr *Trunk, m *memory, _ *memPacket) {
		begin := time.Now()
		w := m.dial(t)
		w.say(raw("MESSAGE", "1"))
		if _, err := io.ReadAll(io.LimitReader(w, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second) // of the bubble
		synctest.Wait()
		if _, n := left(tr); n != 0 {
			t.Errorf("still open after %v", time.Since(begin))
		}
	})
}

// TestAstray: an answer that the peer does not read in time goes over a new
// connection, like one whose connection is gone (RFC 3261, section 18.2.2).
// Those that have left stay where they are.
func TestAstray(t *testing.T) {
	var back chan net.Conn // of the bubble
	dial := func(_ context.Context, _ netip.Addr, address string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		back <- theirs
		return memConn{ours}, nil
	}
	bubble(t, Config{Dial: dial}, func(t *testing.T, tr *Trunk, m *memory, _ *memPacket) {
		back = make(chan net.Conn, 1)
		w := m.dial(t)
		w.say(raw("MESSAGE", "1"))
		if s := w.status(); s != 200 {
			t.Error(s)
		}
		w.say(raw("MESSAGE", "2"))
		w.say(raw("MESSAGE", "3"))
		c := <-back
		defer c.Close()
		again := &wire{Conn: c, t: t, r: bufio.NewReader(c)}
		var got []string
		for range 2 {
			got = append(got, again.hear().(*sip.Response).CallID().Value())
		}
		if slices.Sort(got); !slices.Equal(got, []string{"2", "3"}) {
			t.Errorf("answers to %v", got)
		}
	})
}

// TestShortDatagram is RFC 3261, section 18.3: a body that is not all there.
func TestShortDatagram(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *Trunk, _ *memory, p *memPacket) {
		from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5070}
		p.in <- datagram{[]byte("noise"), from}
		p.in <- datagram{[]byte("\r\n\r\n"), from}
		p.in <- datagram{[]byte(raw("ACK", "0", "Content-Length: 9")), from}
		p.in <- datagram{[]byte(raw("MESSAGE", "1", "Content-Type: text/plain", "Content-Length: 9") + "short"), from}
		if d := <-p.out; !strings.HasPrefix(string(d.b), "SIP/2.0 400 ") || d.addr != net.Addr(from) {
			t.Errorf("%s", d.b)
		}
		// What follows a body is ignored.
		p.in <- datagram{[]byte(raw("MESSAGE", "2", "Content-Type: text/plain", "Content-Length: 4") + "long" + "er"), from}
		if d := <-p.out; !strings.HasPrefix(string(d.b), "SIP/2.0 200 ") {
			t.Errorf("%s", d.b)
		}
	})
}

// TestSources: addresses are forgotten, both by us and by sipgo's pool, and
// those in use are answered.
func TestSources(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		for port := 10_000; port < 10_000+maxSources+1000; port++ {
			from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
			p.in <- datagram{[]byte(raw("OPTIONS", "b"+from.String()[10:], "Via: SIP/2.0/UDP a.example;rport;branch=z9hG4bK"+from.String()[10:])), from}
			if d := <-p.out; d.addr.String() != from.String() {
				t.Fatalf("answer to %v went to %v", from, d.addr)
			}
		}
		if n := tr.tpl.Pool("udp").Size(); n > maxSources+2 {
			t.Errorf("%d addresses in the pool", n)
		}
	})
}
