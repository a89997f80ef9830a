package trunk

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// TestDrain: what is pending when we stop is answered, by the Handler if it is
// quick enough.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		held := make(chan Tx, 2)
		reqs := make(chan *sip.Request, 2)
		tr := New(Config{TCP: []net.Listener{m}, Name: "gw.example", Book: plain("a.example", ""),
			Locate: places{"a.example": {at("a.example", "127.0.0.1:5060", "tcp")}},
			Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
				reqs <- req
				held <- tx
				return nil
			})})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		w := m.dial(t)
		w.say(raw("MESSAGE", "1"))
		w.say(raw("MESSAGE", "2"))
		quick, req := <-held, <-reqs
		<-held
		cancel()
		time.Sleep(time.Second) // of the bubble
		go func() {
			if err := quick.Answer(Reply(req, 200, "OK")); err != nil {
				t.Error(err)
			}
		}()
		if s := w.status(); s != 200 {
			t.Error(s)
		}
		if s := w.ask(raw("MESSAGE", "3")).StatusCode; s != 503 {
			t.Error("new request: ", s)
		}
		begin := time.Now()
		for s := w.status(); s != 503; s = w.status() {
			if s != 100 {
				t.Error(s)
			}
		}
		if past := time.Since(begin); past > 5*time.Second {
			t.Error("pending request after", past)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r := send(tr, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); fault.KindOf(r.err) != fault.Busy {
			t.Error(r)
		}
		if err := tr.Run(t.Context()); err == nil {
			t.Error("ran twice")
		}
	})
}

// TestDrainOurs: what we have sent may still be answered when we stop.
func TestDrainOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newMemPacket()
		tr := New(Config{UDP: []net.PacketConn{p}, Name: "gw.example", Book: plain("a.example", ""), Handler: ok,
			Locate: places{"a.example": {at("a.example", "127.0.0.1:4711", "udp")}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		<-tr.Ready()
		got := make(chan result, 1)
		tr.Send(message("sip:r@b.example", "sip:j@a.example", "x"), "a.example", Sending{}, func(res *sip.Response, err error) { got <- result{res, err} })
		d := <-p.out
		cancel()
		time.Sleep(time.Second)
		msg, err := sip.ParseMessage(d.b)
		req, ok := msg.(*sip.Request)
		if !ok {
			t.Fatal(msg, err)
		}
		p.in <- datagram{[]byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String()), d.addr}
		if res := <-got; res.status() != 200 {
			t.Error(res.res, res.err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
