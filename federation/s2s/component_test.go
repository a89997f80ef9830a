package s2s_test

import (
	"context"
	"log/slog"
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
// speaks for b.example, over pipes. The lines of its log are warnings and what
// is more.
func asComponent(t *testing.T, scene func(t *testing.T, c *s2s.Component, p *pipes, got chan arrival, lines chan string)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dialed: make(chan *raw, 1), t: t}
		got, lines := make(chan arrival, 100), make(chan string, 100)
		c := s2s.NewComponent(s2s.ComponentConfig{
			Name: "cpimgate", Version: "test", Domain: "sip.example", Server: "127.0.0.1:5347",
			Secret: "secret", SecretFile: "/etc/component.secret", Domains: []string{"b.example"},
			Handler: handler(got), Dial: p.dial, Log: slog.New(warnings{slog.DiscardHandler, lines}),
			Limits: federation.Limits{Message: 10_000},
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }() // waited for below
		scene(t, c, p, got, lines)
		cancel()
		if err := wait(t, done); err != nil {
			t.Error(err)
		}
	})
}

// warnings passes on the messages of the level warning and above.
type warnings struct {
	slog.Handler
	lines chan string
}

// Enabled implements [slog.Handler].
func (warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (w warnings) Handle(_ context.Context, r slog.Record) error {
	w.lines <- r.Message
	return nil
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

// answerPing answers the question whether what came before was taken.
func (r *raw) answerPing() {
	r.t.Helper()
	r.answerTo(r.expect("</iq>"))
}

func (r *raw) answerTo(text string) {
	r.t.Helper()
	ask, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
	if err != nil || ask.Get("type") != "get" || ask.Get("from") != "sip.example" || ask.Get("to") != "b.example" {
		r.t.Errorf("not a ping of the component to its server: %s, %v", ask, err)
		return
	}
	r.send("<iq type='result' from='b.example' to='sip.example' id='" + ask.Get("id") + "'/>")
}

// What a server has taken is known when it answers a ping; what it has not
// before the stream is lost is nobody's to say; a server that answers no ping is
// believed.
func TestComponentConfirms(t *testing.T) {
	asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, _ chan arrival, _ chan string) {
		r := (<-p.dialed).component().send("<handshake/>")
		synctest.Wait()
		send := func(text string) chan outcome {
			out := make(chan outcome, 1)
			c.Send(message("romeo@sip.example", "juliet@b.example", text), time.Now().Add(20*time.Second), func(h federation.How, err error) { out <- outcome{h, err} })
			return out
		}
		one := send("one")
		r.expect("</message>")
		synctest.Wait() // the question is about one alone
		two, three := send("two"), send("three")
		r.answerPing()
		if o := wait(t, one); o.how != federation.Acknowledged {
			t.Errorf("one: %+v", o)
		}
		for range 2 {
			r.expect("</message>")
		}
		synctest.Wait()
		if len(two)+len(three) > 0 {
			t.Error("confirmed by the answer to a question before")
		}
		r.nc.Close()
		for _, out := range []chan outcome{two, three} {
			given(t, out, fault.Timeout)
		}

		r = (<-p.dialed).component().send("<handshake/>")
		start := time.Now()
		four := send("four")
		r.expect("</message>") // before it there may be the former question
		r.expect("</iq>")
		written(t, four)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("believed after %v", d)
		}
		five := send("five")
		r.expect("</message>")
		written(t, five)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("believed again after %v", d)
		}
		r.nc.Close()

		r = (<-p.dialed).component().send("<handshake/>")
		six := send("six") // asked about again
		r.expect("</message>")
		r.answerPing()
		if o := wait(t, six); o.how != federation.Acknowledged {
			t.Errorf("six: %+v", o)
		}
		go func() { r.expect("</stream:stream>"); r.send("</stream:stream>").nc.Close() }() // ends with the stream
	})
}

// The stream of a component, both ways (XEP-0114, section 3).
func TestComponent(t *testing.T) {
	asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, got chan arrival, _ chan string) {
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
		r.answerPing()
		if o := wait(t, out); o.how != federation.Acknowledged {
			t.Errorf("outcome %+v", o)
		}
		given(t, send("romeo@a.example", "juliet@b.example"), fault.Internal) // never sent
		given(t, send("romeo@sip.example", ""), fault.Malformed)

		r.send(chat("juliet@b.example/x", "romeo@sip.example", "hi"))
		in := wait(t, got)
		if in.text != chat("juliet@b.example/x", "romeo@sip.example", "hi") || !in.peer.SpeaksFor("b.example") || in.peer.SpeaksFor("c.example") {
			t.Errorf("got %+v", in)
		}
		r.send(chat("x@c.example", "romeo@sip.example", "relayed")) // XF-72
		if in := wait(t, got); in.text != chat("x@c.example", "romeo@sip.example", "relayed") || in.peer.SpeaksFor("c.example") {
			t.Errorf("got %+v", in)
		}
		r.send("<iq from='juliet@b.example' to='sip.example' type='get' id='1'><query xmlns='jabber:iq:version'/></iq>")
		if text := r.expect("</iq>"); !strings.Contains(text, "<name>cpimgate</name>") || strings.Contains(text, "jabber:server") {
			t.Errorf("got %s", text)
		}
		r.nc.Close()

		// it comes back without being asked to, and goes in good order
		r = (<-p.dialed).component().send("<handshake/>")
		synctest.Wait()
		go func() { r.expect("</stream:stream>"); r.send("</stream:stream>").nc.Close() }() // ends with the stream
	})
}

// ejabberd sends what is for one component of ours over the connection of
// another: it is as if it had come by its own.
func TestComponentSibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan arrival, 100)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 2)
		both := map[string]*s2s.Component{}
		streams := map[string]*raw{}
		for _, domain := range []string{"gw.example", "sip.example"} {
			p := &pipes{dialed: make(chan *raw, 1), t: t}
			c := s2s.NewComponent(s2s.ComponentConfig{
				Name: "cpimgate", Version: "test", Domain: domain, Server: "127.0.0.1:5347", Secret: "secret", Domains: []string{"b.example"},
				Handler: handler(got), Dial: p.dial, Sibling: func(domain string) *s2s.Component { return both[domain] },
			})
			both[domain] = c
			go func() { done <- c.Run(ctx) }() // waited for below
			r := <-p.dialed
			r.expect("to='" + domain + "'>")
			r.send("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:component:accept' from='" + domain + "' id='1'>")
			r.expect("</handshake>")
			streams[domain] = r.send("<handshake/>")
		}
		synctest.Wait()
		out := make(chan outcome, 1)
		both["sip.example"].Send(message("romeo@sip.example", "juliet@b.example", "hello"), time.Time{}, func(h federation.How, err error) { out <- outcome{h, err} })
		own, other := streams["sip.example"], streams["gw.example"]
		own.expect("</message>")
		other.answerTo(own.expect("</iq>"))
		if o := wait(t, out); o.how != federation.Acknowledged {
			t.Errorf("outcome %+v", o)
		}
		other.send(chat("juliet@b.example/x", "romeo@sip.example", "hi"))
		if in := wait(t, got); in.text != chat("juliet@b.example/x", "romeo@sip.example", "hi") {
			t.Errorf("got %+v", in)
		}
		other.send("<iq from='juliet@b.example' to='sip.example' type='get' id='1'><query xmlns='jabber:iq:version'/></iq>")
		if text := own.expect("</iq>"); !strings.Contains(text, "<name>cpimgate</name>") {
			t.Errorf("got %s", text)
		}
		for _, r := range streams {
			go func() { r.expect("</stream:stream>"); r.send("</stream:stream>").nc.Close() }() // ends with the stream
		}
		cancel()
		for range both {
			if err := wait(t, done); err != nil {
				t.Error(err)
			}
		}
	})
}

// A stanza that is addressed badly or too large comes back to its sender; the
// first is no reason to end the stream of all others.
func TestComponentBadStanza(t *testing.T) {
	asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, got chan arrival, _ chan string) {
		r := (<-p.dialed).component().send("<handshake/>")
		for _, bad := range []string{
			"<message from='juliet@b.example' to='x@other.example'/>", "<message to='romeo@sip.example'/>",
			"<message from='juliet@b.example'/>", "<message from='@' to='@'/>",
		} {
			r.send(bad)
		}
		r.send("<message from='ju liet@b.example/x' to='ro meo@sip.example' id='1'><body>hi</body></message>")
		text := r.expect("</message>")
		for _, want := range []string{"<jid-malformed ", " from='ro meo@sip.example'", " to='ju liet@b.example/x'", " id='1'", " type='error'"} {
			if !strings.Contains(text, want) {
				t.Errorf("got %s, want %s in it", text, want)
			}
		}
		r.send(chat("juliet@b.example", "romeo@sip.example", "hi"))
		wait(t, got)

		last := make(chan string, 1)
		go func() { last <- r.expect("</stream:stream>") }() // ends with the stream
		r.send(chat("juliet@b.example", "romeo@sip.example", strings.Repeat("x", 10_000)))
		again := (<-p.dialed).component().send("<handshake/>")
		text = <-last
		if !strings.Contains(text, "<message ") { // no stream was left for it
			text = again.expect("</message>")
		}
		if !strings.Contains(text, "<policy-violation ") || !strings.Contains(text, "to='juliet@b.example'") {
			t.Errorf("got %s", text)
		}
		if len(got) > 0 {
			t.Errorf("got %+v", <-got)
		}
		go func() { again.expect("</stream:stream>"); again.send("</stream:stream>").nc.Close() }() // ends with the stream
	})
}

// A server that refuses us is asked again, ever more rarely; the operator reads
// why and what to do, once, and who sends meanwhile hears it.
func TestComponentRefused(t *testing.T) {
	for condition, advice := range map[string]string{
		"not-authorized": "/etc/component.secret holds another secret",
		"conflict":       "another connection is the component sip.example already",
		"host-unknown":   "add it there",
		"reset":          "the setting server of the component sip.example",
	} {
		t.Run(condition, func(t *testing.T) {
			asComponent(t, func(t *testing.T, c *s2s.Component, p *pipes, _ chan arrival, lines chan string) {
				start := time.Now()
				for range 4 {
					(<-p.dialed).component().send(streamErr(condition, "")).nc.Close()
				}
				if d := time.Since(start); d < 3500*time.Millisecond || d > 7*time.Second {
					t.Errorf("four attempts within %v", d)
				}
				synctest.Wait()
				if st := c.Status(); st.Up || st.Err == nil || !strings.Contains(st.Err.Error(), advice) || !strings.Contains(st.Err.Error(), condition) {
					t.Errorf("status %+v", st)
				}
				if len(lines) != 1 || <-lines != "cannot reach peer" {
					t.Errorf("%d lines in the log", len(lines))
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
