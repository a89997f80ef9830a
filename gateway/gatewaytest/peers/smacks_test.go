package peers

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// A relay is a wire between us and a server. It can hold back what goes one
// way, and it can be cut.
type relay struct {
	to    string
	l     net.Listener
	tasks sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond
	held  [2]bool // to the server, from the server
	made  int     // connections, ever
	conns []net.Conn
}

const (
	toServer = iota
	fromServer
)

// relay listens at the net's address that ends in host, until the test is over.
func (n *Net) relay(host int, to netip.AddrPort) *relay {
	n.t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(n.Addr(host), to.Port()).String())
	if err != nil {
		n.t.Fatal(err)
	}
	r := &relay{to: to.String(), l: l}
	r.moved = sync.NewCond(&r.mu)
	r.tasks.Go(r.accept)
	n.t.Cleanup(func() {
		l.Close()
		r.cut()
		r.tasks.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		near, err := r.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.made++
		r.conns = append(r.conns, near, far)
		r.mu.Unlock()
		r.tasks.Go(func() { r.pass(toServer, far, near) })
		r.tasks.Go(func() { r.pass(fromServer, near, far) })
	}
}

// pass moves what goes one way for as long as that is not held back.
func (r *relay) pass(way int, to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.held[way] {
			r.moved.Wait()
		}
		r.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (r *relay) hold(way int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[way] = true
}

// cut resets all connections. What was held back is lost.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	r.conns, r.held = nil, [2]bool{}
	r.moved.Broadcast()
}

// TestCutBeforeAcknowledged breaks the wire to Prosody between the arrival of a
// message and its acknowledgement. Romeo hears that nobody knows; Juliet reads
// nothing twice (XEP-0198, sections 4 and 5).
func TestCutBeforeAcknowledged(t *testing.T) {
	s := stageWith(t, "external", "tcp", ProsodyConfig{OneWay: true}) // so that we go over the wire that is cut
	wire := s.relay(21, netip.AddrPortFrom(s.prosody.Addr, 5269))
	s.Zone(SIPRecords("sip.example", "tcp", 10) + SIPRecords("gw.example", "tcp", 1) + XMPPRecords("sip.example", 1, true) +
		"_xmpp-server._tcp.xmpp.example. SRV 0 0 5269 wire.xmpp.example.\nwire.xmpp.example. A NET.21\n" +
		"xmpp-server.xmpp.example. A NET.20\n" + ClientRecords("xmpp.example"))
	s.fromJuliet(t, "I am here") // from now on Romeo is answered as soon as the server has confirmed
	s.fromRomeo(t, "before")

	var good, bad []string
	for i := range 5 {
		text := fmt.Sprintf("confirmed %d", i)
		s.fromRomeo(t, text)
		good = append(good, text)

		text = fmt.Sprintf("arrived %d", i)
		wire.hold(fromServer)
		seen := s.juliet.Log.Len()
		mark := s.romeo.Send(text)
		s.juliet.AwaitMessage(seen, text)
		wire.cut()
		if status := s.romeo.AwaitStatus(mark); status < 400 {
			t.Errorf("%q: romeo was answered %d", text, status)
		}
		bad = append(bad, text)

		text = fmt.Sprintf("on the way again %d", i)
		s.fromRomeo(t, text)
		good = append(good, text)
	}
	s.fromRomeo(t, "after")
	log := s.juliet.Log.String()
	for _, text := range append(good, bad...) {
		if n := strings.Count(log, "<body>"+text); n != 1 {
			t.Errorf("juliet got %q %d times", text, n)
		}
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	if wire.made != 6 {
		t.Errorf("%d connections", wire.made)
	}
}
