package trunk

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// TestDatagramSize: a request of up to 1,300 octets goes over UDP, a larger
// one over TCP, and its Via says so (RFC 3261, section 18.1.1).
func TestDatagramSize(t *testing.T) {
	vias := make(chan string, 10)
	sizes := make(chan int, 10)
	a, _ := pair(t, "udp", serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
		vias <- req.Via().Transport + " " + string(peer.Via)
		return tx.Answer(Reply(req, 200, "OK"))
	}))
	a.cfg.Trace = func(r federation.Record) {
		if r.Out && strings.HasPrefix(string(r.Text), "MESSAGE") {
			sizes <- len(r.Text)
		}
	}
	exchange := func(n int) (via string, size int) {
		t.Helper()
		if r := send(a, message("sip:r@a.example", "sip:j@b.example", strings.Repeat("x", n)), "b.example"); r.status() != 200 {
			t.Fatal(r.res, r.err)
		}
		return <-vias, <-sizes
	}
	_, size := exchange(100)
	rest := maxDatagram - size // Content-Length keeps its three digits
	for _, row := range []struct {
		more, size int
		via        string
	}{{rest, 1300, "UDP udp"}, {rest + 1, 1301 - len(";rport"), "TCP tcp"}} { // TCP needs no rport
		if via, size := exchange(100 + row.more); via != row.via || size != row.size {
			t.Errorf("%d octets over %s, want %+v", size, via, row)
		}
	}
}

// TestNoTCPThere: a large request falls back to UDP.
func TestNoTCPThere(t *testing.T) {
	bu, bt := listenBoth(t)
	bt.Close()
	bk := plain("a.example", "sip:127.0.0.1", "b.example", uriOf(bu.LocalAddr(), "udp"))
	a := start(t, Config{UDP: []net.PacketConn{listenUDP(t)}, Book: bk})
	start(t, Config{UDP: []net.PacketConn{bu}, Book: bk})
	if r := send(a, message("sip:r@a.example", "sip:j@b.example", strings.Repeat("x", 3000)), "b.example"); r.status() != 200 {
		t.Error(r.res, r.err)
	}
}

// TestDeadFirst: nobody listens at the first target.
func TestDeadFirst(t *testing.T) {
	dead, bl := listenTCP(t), listenTCP(t)
	dead.Close()
	target := func(l net.Listener) federation.Target { return at("b.example", l.Addr().String(), "tcp") }
	a := start(t, Config{Locate: places{"b.example": {target(dead), target(bl)}}})
	start(t, Config{TCP: []net.Listener{bl}, Book: local()})
	if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != 200 {
		t.Error(r.res, r.err)
	}
}

// TestInjection: nothing that is in a request becomes another header field or
// message on the wire.
func TestInjection(t *testing.T) {
	var mu sync.Mutex
	var wrote strings.Builder
	a, _ := pair(t, "tcp", ok)
	a.cfg.Trace = func(r federation.Record) {
		mu.Lock()
		defer mu.Unlock()
		wrote.Write(r.Text)
	}
	evil := "x\r\nInjected: yes"
	for name, spoil := range map[string]func(*sip.Request){
		"field":        func(r *sip.Request) { r.AppendHeader(sip.NewHeader("Subject", evil)) },
		"field name":   func(r *sip.Request) { r.AppendHeader(sip.NewHeader(evil, "x")) },
		"line feed":    func(r *sip.Request) { r.AppendHeader(sip.NewHeader("Subject", "x\nInjected: yes")) },
		"display name": func(r *sip.Request) { r.From().DisplayName = `x" <sip:evil@e>;tag=1, "` },
		"user":         func(r *sip.Request) { r.To().Address.User = evil },
		"Request-URI":  func(r *sip.Request) { r.Recipient.User = evil },
		"space in URI": func(r *sip.Request) { r.Recipient.User = "x SIP/2.0" },
		"method":       func(r *sip.Request) { r.Method = "A B" },
		"parameter":    func(r *sip.Request) { r.From().Params.Add("x", evil) },
		"tag":          func(r *sip.Request) { r.From().Params.Add("tag", `1">;`) },
		"Call-ID":      func(r *sip.Request) { id := sip.CallIDHeader(evil); r.AppendHeader(&id) },
	} {
		req := message("sip:r@a.example", "sip:j@b.example", "x")
		spoil(req)
		if r := send(a, req, "b.example"); r.err == nil || fault.KindOf(r.err) != fault.Malformed {
			t.Errorf("%s: %v %v", name, r.res, r.err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if wrote.Len() > 0 {
		t.Errorf("written: %s", wrote.String())
	}
}

// TestQueue: over the limit of a domain a request is refused at once.
func TestQueue(t *testing.T) {
	held := make(chan func(), 2)
	bl := listenTCP(t)
	a := start(t, Config{Limits: federation.Limits{Queue: 1}, Locate: places{"b.example": {at("b.example", bl.Addr().String(), "tcp")}}})
	start(t, Config{TCP: []net.Listener{bl}, Book: local(), Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		held <- func() { _ = tx.Answer(Reply(req, 200, "OK")) }
		return nil
	})})
	first := make(chan result, 1)
	a.Send(message("sip:r@a.example", "sip:j@b.example", "1"), "b.example", Sending{}, func(res *sip.Response, err error) { first <- result{res, err} })
	release := <-held
	if r := send(a, message("sip:r@a.example", "sip:j@b.example", "2"), "b.example"); fault.KindOf(r.err) != fault.Busy || r.err == nil {
		t.Error(r.res, r.err)
	}
	release()
	if r := <-first; r.status() != 200 {
		t.Error(r.res, r.err)
	}
}

// TestTooManyPending: a peer that fills its line is told to wait.
func TestTooManyPending(t *testing.T) {
	_, w := server(t, Config{Handler: silence, Limits: federation.Limits{Queue: 2}})
	w.say(raw("MESSAGE", "1") + raw("MESSAGE", "2") + raw("MESSAGE", "3"))
	res, _ := w.hear().(*sip.Response)
	if res == nil || res.StatusCode != 503 || res.CallID().Value() != "3" || res.GetHeader("Retry-After") == nil {
		t.Error(res)
	}
}
