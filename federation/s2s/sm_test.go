package s2s_test

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

const (
	offerSM = "<sm xmlns='urn:xmpp:sm:3'/>"
	askAck  = "<r xmlns='urn:xmpp:sm:3'/>"
	enable  = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
	enabled = "<enabled xmlns='urn:xmpp:sm:3'/>"
	canBe   = "<enabled xmlns='urn:xmpp:sm:3' id='sm1' resume='true'/>"
	resume  = "<resume xmlns='urn:xmpp:sm:3' previd='sm1' h='0'/>"
)

func ackOf(h int) string      { return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h) }
func resumed(h string) string { return "<resumed xmlns='urn:xmpp:sm:3' previd='sm1' h='" + h + "'/>" }
func smFailed(h string) string {
	return "<failed xmlns='urn:xmpp:sm:3'" + h + "><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
}

// managed takes the stream that was dialled up to where stream management is
// asked for.
func (r *raw) managed() *raw {
	r.t.Helper()
	r.respond(offerDialback + offerSM).expect("</db:result>")
	return r.send(valid)
}

// enabled takes the stream that was dialled up to stanzas that are counted.
func (r *raw) enabled(answer string) *raw {
	r.t.Helper()
	r.managed().expect(enable)
	return r.send(answer)
}

// pending fails the test if the outcome is known.
func pending(t *testing.T, c <-chan outcome) {
	t.Helper()
	select {
	case o := <-c:
		t.Errorf("outcome %v, %v before its time", o.how, o.err)
	default:
	}
}

// Stanzas are done when the peer says so; one question is on its way at a time
// (XEP-0198, section 4).
func TestAcknowledged(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		one, two := a.send("juliet@b.example", "one"), a.send("juliet@b.example", "two")
		r := (<-p.dialed).enabled(enabled)
		if got := r.expect(askAck); strings.Count(got, "</message>") != 2 {
			t.Errorf("got %s", got)
		}
		three := a.send("juliet@b.example", "three")
		if got := r.expect("</message>"); !strings.Contains(got, "three") {
			t.Errorf("got %s", got)
		}
		pending(t, one)
		r.send(ackOf(1))
		acknowledged(t, one)
		pending(t, two)
		r.expect(askAck) // there are others still
		r.send(ackOf(3))
		acknowledged(t, two)
		acknowledged(t, three)
		r.send(askAck).expect(ackOf(0)) // it has sent nothing
		r.nc.Close()
	})
}

// A peer that confirms what it was not sent loses the stream (XEP-0198, section
// 6).
func TestFakeAck(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		out := a.send("juliet@b.example", "one")
		r := (<-p.dialed).enabled(enabled)
		r.expect(askAck)
		r.send(ackOf(2))
		r.expect("<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>")
		r.nc.Close()
		given(t, out, fault.Timeout)
	})
}

// A stanza that was written and is not confirmed in its time counts as written
// (decision D-70), and a peer that does not manage streams confirms none.
func TestWritten(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		start := time.Now()
		out := a.sendBy("juliet@b.example", "one", start.Add(20*time.Second))
		r := (<-p.dialed).enabled(enabled)
		r.expect(askAck)
		if o := wait(t, out); o.how != federation.Written {
			t.Errorf("outcome %v, %v", o.how, o.err)
		}
		after(t, start, 20*time.Second)
		r.send(ackOf(1))
		r.nc.Close()

		out = a.send("juliet@b.example", "two")
		r = (<-p.dialed).enabled("<failed xmlns='urn:xmpp:sm:3'/>")
		r.expect("</message>")
		if o := wait(t, out); o.how != federation.Written {
			t.Errorf("outcome %v, %v", o.how, o.err)
		}
		r.nc.Close()
	})
}

// What is not confirmed is bounded: more is not written until there is room.
func TestUnconfirmedBound(t *testing.T) {
	bubble(t, federation.Limits{Queue: 3}, func(t *testing.T, a *domain, p *pipes) {
		var outs []chan outcome
		for i := range 3 {
			outs = append(outs, a.send("juliet@b.example", fmt.Sprint("n", i)))
		}
		r := (<-p.dialed).enabled(enabled)
		r.expect(askAck)
		next := a.send("juliet@b.example", "next")
		r.nc.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := r.nc.Read(make([]byte, 100)); err == nil {
			t.Errorf("%d bytes over the bound", n)
		}
		r.send(ackOf(1))
		acknowledged(t, outs[0])
		r.expect("next</body></message>")
		r.send(ackOf(4))
		acknowledged(t, next)
		r.nc.Close()
	})
}

// After a lost stream the peer says what it has: that is done. The rest is sent
// again on a stream that goes on, and nowhere else (XEP-0198, section 5; RFC
// 2779, section 5.4.2).
func TestResumption(t *testing.T) {
	for _, c := range []struct {
		name, enabled string
		again         func(r *raw)
		done          int  // of three
		rest          bool // sent again
	}{
		{"resumed", canBe, func(r *raw) { r.managed().expect(resume); r.send(resumed("1")) }, 1, true},
		{"nothing was handled", canBe, func(r *raw) { r.managed().expect(resume); r.send(resumed("0")) }, 0, true},
		{"failed, count known", canBe, func(r *raw) {
			r.managed().expect(resume)
			r.send(smFailed(" h='2'")).expect(enable)
			r.send(enabled)
		}, 2, false},
		{"failed", canBe, func(r *raw) {
			r.managed().expect(resume)
			r.send(smFailed("")).expect(enable)
			r.send(enabled)
		}, 0, false},
		{"no management any more", canBe, func(r *raw) { r.valid() }, 0, false},
		{"not resumable", enabled, func(r *raw) { r.enabled(enabled) }, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
				var outs []chan outcome
				for i := range 3 {
					outs = append(outs, a.send("juliet@b.example", fmt.Sprint("n", i)))
				}
				r := (<-p.dialed).enabled(c.enabled)
				r.expect(askAck)
				r.nc.Close()
				if c.enabled == enabled {
					given(t, outs[0], fault.Timeout)
				}
				next := a.send("juliet@b.example", "next")
				r = <-p.dialed
				c.again(r)
				got := r.expect("next</body></message>")
				for i, out := range outs {
					text := fmt.Sprintf("n%d</body>", i)
					switch {
					case i < c.done:
						acknowledged(t, out)
					case c.rest:
						pending(t, out)
					case i > 0 || c.enabled != enabled:
						given(t, out, fault.Timeout)
					}
					if again := strings.Contains(got, text); again != (c.rest && i >= c.done) {
						t.Errorf("stanza %d: sent again: %v", i, again)
					}
				}
				if c.rest { // the numbers go on
					r.send(ackOf(4))
					for _, out := range append(outs[c.done:], next) {
						acknowledged(t, out)
					}
				}
				r.nc.Close()
			})
		})
	}
}

// A peer that claims to have had more than was sent before is not believed.
func TestFakeResumption(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		out := a.send("juliet@b.example", "one")
		r := (<-p.dialed).enabled(canBe)
		r.expect(askAck)
		r.nc.Close()
		r = <-p.dialed
		r.managed().expect(resume)
		r.send(resumed("7")).expect("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='7' send-count='1'/>")
		given(t, out, fault.Timeout)
		r.nc.Close()
	})
}

// A lost stream is resumed where the peer wants it, by the same proof.
func TestLocation(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	second := w.listen()
	defer second.Close()
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).serve(w, is, offerExternal)
	r.expect("</auth>")
	r.send(success).respond(offerSM).expect(enable)
	r.send(strings.Replace(canBe, " id=", " location='"+addrOf(second).String()+"' id=", 1)).expect(askAck)
	r.nc.Close()
	r = w.accept(second).serve(w, is, offerExternal)
	r.expect("</auth>")
	r.send(success).respond(offerSM).expect(resume)
	r.send(resumed("1"))
	acknowledged(t, out)
}

// The receiving side: what is counted, when, and who may resume (XEP-0198,
// sections 3 to 6).
func TestReception(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	is, other := w.issue("b.example"), w.issue("c.example")
	ask := func(r *raw, h int) { r.send(askAck).expect(ackOf(h)) }
	hello := chat("juliet@b.example", "romeo@a.example", "x")
	enabledAs := regexp.MustCompile(`<enabled xmlns='urn:xmpp:sm:3' id='([^']+)' resume='true' max='600'/>`)

	t.Run("before authentication", func(t *testing.T) {
		r := d.call().secure("b.example", "a.example", is)
		if got := r.send(head("b.example", "a.example")).expect("</stream:features>"); strings.Contains(got, offerSM) {
			t.Errorf("offered: %s", got)
		}
		for _, text := range []string{enable, resume} {
			r.send(text).expect("<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
		}
	})
	t.Run("twice", func(t *testing.T) {
		r := d.call().authenticate("b.example", "a.example", is)
		r.send(enable).expect("<enabled ")
		if got := r.send(enable).rest(); !strings.Contains(got, "<stream:error>") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("acknowledged what we have not sent", func(t *testing.T) {
		r := d.call().authenticate("b.example", "a.example", is)
		r.send(enable).expect("<enabled ")
		r.send(ackOf(0), ackOf(1)).expect("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='0'/>")
	})
	t.Run("resumed", func(t *testing.T) {
		r := d.call().secure("b.example", "a.example", is).send(head("b.example", "a.example"))
		r.expect("</stream:features>")
		r.send(auth("b.example")).expect(success)
		if got := r.send(head("b.example", "a.example")).expect("</stream:features>"); !strings.Contains(got, offerSM) {
			t.Errorf("not offered: %s", got)
		}
		r.send(hello) // not counted
		id := enabledAs.FindStringSubmatch(r.send(enable).expect("max='600'/>"))
		ask(r, 0)
		r.send(hello, "<iq from='b.example' to='a.example' type='result' id='1'/>", "<presence from='b.example' to='a.example'/>")
		ask(r, 3)
		again := strings.NewReplacer("sm1", id[1]).Replace(resume)

		stranger := d.call().authenticate("c.example", "a.example", other)
		stranger.send(again).expect(smFailed(""))

		// it comes back before we have noticed that it was gone
		r2 := d.call().authenticate("b.example", "a.example", is)
		r2.send(strings.Replace(resume, "sm1", "unknown", 1)).expect(smFailed(""))
		r2.send(again).expect("<resumed xmlns='urn:xmpp:sm:3' previd='" + id[1] + "' h='3'/>")
		r.expect("<conflict ")
		r2.send(hello)
		ask(r2, 4)
		r2.nc.Close() // and now without warning
		for range 3 {
			wait(t, d.got)
		}
		r3 := d.call().authenticate("b.example", "a.example", is)
		r3.send(again).expect("h='4'/>")
		ask(r3, 4)
		r3.send("</stream:stream>").rest()
		r4 := d.call().authenticate("b.example", "a.example", is)
		r4.send(again).expect(smFailed("")) // it was closed in good order
	})
	t.Run("closed by us", func(t *testing.T) {
		r := d.call().authenticate("b.example", "a.example", is)
		r.send(enable, hello).expect("<enabled ")
		ask(r, 1)
		go d.stop() // stopped once more at the end
		r.expect(ackOf(1) + "</stream:stream>")
	})
}

// A relay is a wire that can be cut.
type relay struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn
	tasks sync.WaitGroup
}

func (w *world) relay(to string) *relay {
	r := &relay{Listener: w.listen(), to: to}
	r.tasks.Go(func() {
		for {
			in, err := r.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			r.tasks.Go(func() { io.Copy(out, in); out.Close() })
			r.tasks.Go(func() { io.Copy(in, out); in.Close() })
		}
	})
	w.Cleanup(func() { r.Close(); r.cut(); r.tasks.Wait() })
	return r
}

// cut breaks all connections, whatever is on its way.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	r.conns = nil
}

// Two of us, and a wire that breaks in the middle: nothing is lost, nothing
// comes twice, the order stays.
func TestCut(t *testing.T) {
	w := newWorld(t)
	b := w.start("b.example")
	wire := w.relay(b.addr.String())
	w.at("_xmpp-server", "b.example", addrOf(wire.Listener))
	a := w.start("a.example")
	acknowledged(t, a.send("juliet@b.example", "first"))
	wait(t, b.got)
	const total, cuts = 600, 3
	outs := make([]chan outcome, total)
	for i := range outs {
		outs[i] = a.send("juliet@b.example", fmt.Sprintf("n%03d", i))
		if i > 0 && i%(total/(cuts+1)) == 0 {
			acknowledged(t, outs[i-100])
			wire.cut()
		}
	}
	for _, c := range outs[total-100:] {
		acknowledged(t, c)
	}
	for i := range total {
		if got := wait(t, b.got); !strings.Contains(got.text, fmt.Sprintf(">n%03d<", i)) {
			t.Fatalf("at %d came %s", i, got.text)
		}
	}
	if n := len(b.got); n != 0 {
		t.Errorf("%d came twice", n)
	}
}
