package s2s_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
)

// asComponent runs a scene with a component for sip.example of a server that
// speaks for b.example, over pipes.
func asComponent(t *testing.T, scene func(*testing.T, *s2s.Component, *pipes, chan arrival, chan string)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dialed: make(chan *raw, 1), t: t}
		got, counted := make(chan arrival, 100), make(chan string, 100)
		c := s2s.NewComponent(s2s.ComponentConfig{
			Name: "cpimgate", Version: "test", Domain: "sip.example", Server: "127.0.0.1:5347", Secret: "secret", Domains: []string{"b.example"},
			Handler: handler(got), Dial: p.dial, Count: func(event string) { counted <- event },
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }() // waited for below
		scene(t, c, p, got, counted)
		cancel()
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	})
}

type handler chan arrival

func (h handler) ServeStanza(_ context.Context, e *xmltree.Element, peer federation.Peer) {
	h <- arrival{string(e.Append(nil, xep.NS)), peer}
}

const componentHead = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='sip.example'>"

// component is the server's side up to its verdict.
func (r *raw) component() *raw {
	r.t.Helper()
	if got := r.expect(componentHead); got != componentHead {
		r.t.Errorf("header %s", got)
	}
	r.send("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:component:accept' from='sip.example' id='3BF96D32'>")
	r.expect("<handshake>b09ea9b3b7f586be8a08d0a3dd7466f110aeb136</handshake>") // printf 3BF96D32secret | sha1sum
	return r
}

// The stream of a component, both ways (XEP-0114, section 3).
func TestComponent(t *testing.T) {
	asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, got chan arrival, counted chan string) {
		r := (<-p.dialed).component().send("<handshake/>")
		synctest.Wait()
		if st := c.Status(); !st.Up || st.From != "sip.example" || st.Auth != "component" {
			t.Errorf("status %+v", st)
		}
		send := func(from, to string) chan outcome {
			out := make(chan outcome, 1)
			c.Send(message(from, to, "hello"), time.Time{}, func(h federation.How, err error) { out <- outcome{h, err} })
			return out
		}
		out := send("romeo@sip.example", "juliet@b.example")
		want := "<message from='romeo@sip.example' to='juliet@b.example' type='chat' id='id-hello'><body>hello</body></message>"
		if text := r.expect("</message>"); text != want {
			t.Errorf("got %s", text)
		}
		written(t, out)
		given(t, send("romeo@a.example", "juliet@b.example"), fault.Internal) // never sent
		given(t, send("romeo@sip.example", ""), fault.Malformed)

		r.send(chat("juliet@b.example/x", "romeo@sip.example", "hi"))
		in := wait(t, got)
		if in.text != chat("juliet@b.example/x", "romeo@sip.example", "hi") || !in.peer.SpeaksFor("b.example") || in.peer.SpeaksFor("c.example") {
			t.Errorf("got %+v", in)
		}
		r.send(chat("x@c.example", "romeo@sip.example", "spoofed"))
		if event := wait(t, counted); event != s2s.Spoofed {
			t.Errorf("counted %s", event)
		}
		r.send("<iq from='juliet@b.example' to='sip.example' type='get' id='1'><query xmlns='jabber:iq:version'/></iq>")
		if text := r.expect("</iq>"); !strings.Contains(text, "<name>cpimgate</name>") || strings.Contains(text, "jabber:server") {
			t.Errorf("got %s", text)
		}
		r.send("<message from='juliet@b.example' to='x@other.example'/>").expect("<improper-addressing ")
		if len(got) > 0 {
			t.Errorf("got %+v", <-got)
		}
		r.nc.Close()

		// it comes back without being asked to, and goes in good order
		r = (<-p.dialed).component().send("<handshake/>")
		synctest.Wait()
		go func() { r.expect("</stream:stream>"); r.send("</stream:stream>").nc.Close() }() // ends with the stream
	})
}

// A server that refuses us is asked again, ever more rarely; the operator reads
// why, and who sends meanwhile hears it.
func TestComponentRefused(t *testing.T) {
	for _, condition := range []string{"not-authorized", "conflict", "host-unknown"} {
		t.Run(condition, func(t *testing.T) {
			asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, _ chan arrival, _ chan string) {
				start := time.Now()
				for range 4 {
					(<-p.dialed).component().send(streamErr(condition, "")).nc.Close()
				}
				if d := time.Since(start); d < 3500*time.Millisecond || d > 7*time.Second {
					t.Errorf("four attempts within %v", d)
				}
				synctest.Wait()
				if st := c.Status(); st.Up || st.Err == nil {
					t.Errorf("status %+v", st)
				}
				out := make(chan outcome, 1)
				c.Send(message("romeo@sip.example", "juliet@b.example", "x"), time.Time{}, func(h federation.How, err error) { out <- outcome{h, err} })
				if o := wait(t, out); o.how != federation.GivenUp || fault.TextOf(o.err) == "" {
					t.Errorf("outcome %+v", o)
				}
			})
		})
	}
}

// A server that is silent in the handshake is given up in time, and one that
// speaks another namespace at once.
func TestComponentTrouble(t *testing.T) {
	asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, _ chan arrival, _ chan string) {
		start := time.Now()
		r := <-p.dialed
		r.expect(componentHead)
		r = <-p.dialed
		if d := time.Since(start); d < 15*time.Second || d > 22*time.Second { // five for an end tag that nobody reads
			t.Errorf("the next attempt came after %v", d)
		}
		r.expect(componentHead)
		r.send("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' from='sip.example' id='1'>")
		r.expect("<invalid-namespace ")
		r.nc.Close()
	})
}
