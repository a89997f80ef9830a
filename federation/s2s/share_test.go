package s2s_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
)

const offerErrors = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"

// also makes a domain stand for more names.
func also(names ...string) func(*settings) {
	return func(s *settings) { s.book.stands = append(s.book.stands, names...) }
}

// sendAs sends a message from a user of any of the domain's names.
func (d *domain) sendAs(from, to, body string) chan outcome {
	c := make(chan outcome, 2)
	d.Send(message("romeo@"+from, to, body), time.Time{}, func(h federation.How, err error) { c <- outcome{h, err} })
	return c
}

// verdict is the peer's about a pair.
func verdict(from, to, typ string) string {
	return "<db:result from='" + from + "' to='" + to + "' type='" + typ + "'/>"
}

// Two domains of ours share a stream. The second waits for its verdict, the
// first does not; then both are drained (XEP-0220, sections 2.1.1 and 2.6.1).
func TestSharedSender(t *testing.T) {
	for _, proof := range []string{"certificate", "dialback"} {
		t.Run(proof, func(t *testing.T) {
			w := newWorld(t)
			l, is := w.far(), w.issue("b.example")
			a := w.start("a.example", also("also.example"), func(s *settings) { s.s2s.Secret = []byte("s3cr3t") })
			out := a.send("juliet@b.example", "one")
			r := w.accept(l)
			if proof == "certificate" {
				r.serve(w, is, offerExternal).expect("</auth>")
				r.send(success).respond(offerDialback)
			} else {
				r.serve(w, is, offerDialback).expect("</db:result>")
				r.send(valid)
			}
			r.expect(">one</body></message>")
			written(t, out)

			second := a.sendAs("also.example", "juliet@b.example", "two")
			want := result("also.example", "b.example", s2s.Key([]byte("s3cr3t"), "b.example", "also.example", "their-id"))
			if got := r.expect("</db:result>"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			written(t, a.send("juliet@b.example", "meanwhile"))
			if got := r.expect("</message>"); !strings.Contains(got, ">meanwhile<") {
				t.Errorf("got %s", got)
			}
			pending(t, second)
			r.send(verdict("b.example", "other.example", "valid"), verdict("c.example", "also.example", "valid"), // nobody has asked
				verdict("b.example", "also.example", "valid"))
			if got := r.expect("</message>"); !strings.Contains(got, "from='romeo@also.example'") {
				t.Errorf("got %s", got)
			}
			written(t, second)
			written(t, a.send("juliet@b.example", "three"))
			r.expect(">three</body></message>")

			st := a.Peers()
			if len(st) != 2 || !st[0].Up || !st[1].Up || st[0].Addr != st[1].Addr || st[1].From != "also.example" || st[1].Auth != "dialback" || st[1].Proof != federation.Certificate {
				t.Errorf("status %+v", st)
			}
			// the peer does not send on our stream all the same
			r.send(chat("juliet@b.example", "romeo@also.example", "x"))
			if got := r.rest(); !strings.Contains(got, "<not-authorized ") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// What becomes of a pair that is not let in, and of the one whose stream it
// wanted to share (XEP-0220, sections 2.1.1 and 2.5).
func TestSharedVerdicts(t *testing.T) {
	for _, c := range []struct {
		name, verdict string
		kept          bool // the first stream goes on
		again         bool // the second pair gets a stream of its own
	}{
		{"error", dbError("result", "b.example", "also.example", "", "not-authorized"), true, true},
		{"no room", dbError("result", "b.example", "also.example", "", "resource-constraint"), true, true},
		{"invalid", verdict("b.example", "also.example", "invalid"), false, false},
		{"stream error", streamErr("unsupported-stanza-type", ""), false, true},
		{"end", "</stream:stream>", false, true},
		{"nothing", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubbleWith(t, federation.Limits{}, also("also.example"), func(t *testing.T, a *domain, p *pipes) {
				out := a.send("juliet@b.example", "one")
				first := (<-p.dialed).enabled(enabled)
				first.expect(askAck)
				first.send(ackOf(1))
				acknowledged(t, out)
				second := a.sendAs("also.example", "juliet@b.example", "two")
				first.expect("</db:result>")
				start := time.Now()
				first.send(c.verdict)
				switch {
				case c.again:
					own := <-p.dialed
					if c.name == "nothing" {
						after(t, start, 7500*time.Millisecond)
					} else {
						after(t, start, 0)
					}
					own.respond(offerErrors)
					if got := own.expect("</db:result>"); !strings.Contains(got, "from='also.example'") {
						t.Errorf("got %s", got)
					}
					own.send(verdict("b.example", "also.example", "valid")).expect(">two</body></message>")
					written(t, second)
					defer own.nc.Close()
				default:
					first.expect("</stream:stream>")
					given(t, second, fault.Internal)
				}
				next := a.send("juliet@b.example", "next")
				if c.kept {
					first.send(verdict("b.example", "also.example", "valid")) // too late
					first.expect(">next</body></message>")
					first.send(ackOf(2))
					acknowledged(t, next)
					first.nc.Close()
					return
				}
				if c.name == "invalid" {
					first.send("</stream:stream>")
				}
				first.nc.Close()
				last := (<-p.dialed).valid()
				last.expect(">next</body></message>")
				written(t, next)
				last.nc.Close()
			})
		})
	}
}

// A peer that has ended a stream over the question is not asked again.
func TestSharedOnce(t *testing.T) {
	bubbleWith(t, federation.Limits{}, also("also.example", "third.example"), func(t *testing.T, a *domain, p *pipes) {
		up := func(from string) *raw {
			out := a.sendAs(from, "juliet@b.example", "x")
			r := (<-p.dialed).respond(offerErrors)
			r.expect("<db:result from='" + from + "' ")
			r.send(verdict("b.example", from, "valid")).expect("</message>")
			written(t, out)
			return r
		}
		first := up("a.example")
		out := a.sendAs("also.example", "juliet@b.example", "x")
		first.expect("</db:result>")
		first.nc.Close()
		own := (<-p.dialed).respond(offerErrors)
		own.expect("</db:result>")
		own.send(verdict("b.example", "also.example", "valid")).expect("</message>")
		written(t, out)
		third := up("third.example")
		third.nc.Close()
		own.nc.Close()
	})
}

// Two domains of theirs at one place share a stream where the peer says that it
// can tell them apart, and has shown of both what their rules demand (XEP-0220,
// section 2.6.2).
func TestSharedTarget(t *testing.T) {
	for _, c := range []struct {
		name, features string
		security       federation.Security
		names          []string // of the peer's certificate
		shared         bool
	}{
		{"errors", offerErrors, federation.Required, []string{"b.example", "c.example"}, true},
		{"both ways", offerDialback + offerBidi, federation.Required, []string{"b.example", "c.example"}, true},
		{"no errors", offerDialback, federation.Required, []string{"b.example", "c.example"}, false},
		{"no dialback", "", federation.Required, []string{"b.example", "c.example"}, false},
		{"not its certificate", offerErrors, federation.Required, []string{"b.example"}, false},
		{"no certificate is needed", offerErrors, federation.DialbackOK, []string{"b.example"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			l, is := w.far(), w.issue(c.names...)
			w.at("_xmpp-server", "c.example", addrOf(l))
			a := w.start("a.example", rule("c.example", c.security))
			out := a.send("juliet@b.example", "one")
			r := w.accept(l).serve(w, is, offerExternal+strings.Replace(c.features, offerDialback, "", 1))
			r.expect("</auth>")
			r.send(success).respond(c.features).expect("</message>")
			written(t, out)
			second := a.send("nurse@c.example", "two")
			if !c.shared {
				own := w.accept(l).respond(offerTLS)
				own.expect(startTLS)
				r.nc.SetReadDeadline(time.Now())
				if n, err := r.nc.Read(make([]byte, 100)); err == nil {
					t.Errorf("%d bytes on the first stream", n)
				}
				own.nc.Close()
				return
			}
			if got := r.expect("</db:result>"); !strings.Contains(got, "from='a.example' to='c.example'") {
				t.Errorf("got %s", got)
			}
			r.send(verdict("c.example", "a.example", "valid"))
			if got := r.expect("</message>"); !strings.Contains(got, "to='nurse@c.example'") {
				t.Errorf("got %s", got)
			}
			written(t, second)
			if c.features == offerErrors {
				return
			}
			// and the answer comes the other way
			r.send(chat("nurse@c.example", "romeo@a.example", "x"))
			if got := wait(t, a.got); !got.peer.SpeaksFor("c.example") || got.peer.SpeaksFor("b.example") || got.peer.Proof != federation.Certificate {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// counted is a listener that counts connections.
type counted struct {
	net.Listener
	made chan struct{}
}

func (c counted) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err == nil {
		c.made <- struct{}{}
	}
	return nc, err
}

// Two of us need one connection for all domains of theirs, both ways; whoever
// comes while another calls waits for what comes of that (XEP-0220, section
// 2.6).
func TestSharedByAll(t *testing.T) {
	const domains, messages = 10, 20
	w := newWorld(t)
	l := counted{w.listen(), make(chan struct{}, 100)}
	w.at("_xmpp-server", "b.example", addrOf(l))
	var names []string
	for i := range domains {
		names = append(names, fmt.Sprintf("a%d.example", i))
	}
	b := w.start("b.example", func(s *settings) { s.s2s.StartTLS = []net.Listener{l} })
	a := w.start("a.example", also(names...), certificate(w.issue(names...)))
	for i := range messages {
		for _, name := range names {
			a.sendAs(name, "juliet@b.example", fmt.Sprint("n", i))
		}
	}
	next := map[string]int{}
	for range domains * messages {
		got := wait(t, b.got)
		from := got.peer.Domains[0]
		if !strings.Contains(got.text, fmt.Sprintf(">n%d<", next[from])) || !strings.Contains(got.text, "from='romeo@"+from+"'") || got.peer.Proof != federation.Certificate {
			t.Fatalf("of %s came %+v, want %d", from, got, next[from])
		}
		next[from]++
	}
	for _, name := range names {
		b.send("romeo@"+name, "back to "+name)
		if got := wait(t, a.got); !strings.Contains(got.text, "back to "+name) {
			t.Errorf("got %s", got.text)
		}
	}
	if n := len(l.made); n != 1 {
		t.Errorf("%d connections", n)
	}
	if st := a.Peers(); len(st) != domains {
		t.Errorf("%d pairs", len(st))
	}
}

// A wire that breaks under two pairs which share a stream: nothing is lost,
// nothing comes twice, each keeps its order (XEP-0198, section 5).
func TestSharedCut(t *testing.T) {
	w := newWorld(t)
	b := w.start("b.example")
	wire := w.relay(b.addr.String())
	w.at("_xmpp-server", "b.example", addrOf(wire.Listener))
	a := w.start("a.example", also("also.example"), certificate(w.issue("a.example", "also.example")))
	acknowledged(t, a.sendAs("a.example", "juliet@b.example", "first"))
	acknowledged(t, a.sendAs("also.example", "juliet@b.example", "first"))
	wait(t, b.got)
	wait(t, b.got)
	const total, cuts = 400, 3
	var outs [2][total]chan outcome
	for i := range total {
		for j, name := range []string{"a.example", "also.example"} {
			outs[j][i] = a.sendAs(name, "juliet@b.example", fmt.Sprintf("n%03d", i))
		}
		if i > 0 && i%(total/(cuts+1)) == 0 {
			acknowledged(t, outs[0][i-80])
			acknowledged(t, outs[1][i-80])
			wire.cut()
		}
	}
	for i := total - 80; i < total; i++ {
		acknowledged(t, outs[0][i])
		acknowledged(t, outs[1][i])
	}
	next := map[string]int{}
	for range 2 * total {
		got := wait(t, b.got)
		from := got.peer.Domains[0]
		if !strings.Contains(got.text, fmt.Sprintf(">n%03d<", next[from])) {
			t.Fatalf("of %s came %s, want %d", from, got.text, next[from])
		}
		next[from]++
	}
	if n := len(b.got); n != 0 {
		t.Errorf("%d came twice", n)
	}
}

// Stanzas of several pairs are counted together, in the order in which they were
// written, and each pair learns of its own.
func TestSharedCounts(t *testing.T) {
	bubbleWith(t, federation.Limits{}, also("also.example"), func(t *testing.T, a *domain, p *pipes) {
		one := a.send("juliet@b.example", "one")
		r := (<-p.dialed).enabled(canBe)
		r.expect(askAck)
		two := a.sendAs("also.example", "juliet@b.example", "two")
		r.expect("</db:result>")
		r.send(verdict("b.example", "also.example", "valid"))
		r.expect(">two</body></message>")
		three := a.send("juliet@b.example", "three")
		r.expect(">three</body></message>")
		r.send(ackOf(2))
		acknowledged(t, one)
		acknowledged(t, two)
		pending(t, three)
		four := a.sendAs("also.example", "juliet@b.example", "four")
		r.expect(">four</body></message>")
		r.nc.Close()
		synctest.Wait()

		// lost: the second waits until it is known what the peer has had
		five := a.sendAs("also.example", "juliet@b.example", "five")
		r = <-p.dialed
		r.managed().expect(resume)
		pending(t, five)
		r.send(resumed("3"))
		acknowledged(t, three)
		r.expect("</db:result>")
		r.send(verdict("b.example", "also.example", "valid"))
		if got := r.expect(">five</body></message>"); strings.Count(got, ">four<") != 1 || strings.Contains(got, ">three<") {
			t.Errorf("got %s", got)
		}
		r.send(ackOf(5))
		acknowledged(t, four)
		acknowledged(t, five)
		r.nc.Close()
	})
}

// The owner of a stream that cannot be had again does not hold back the others.
func TestSharedOwnerRefused(t *testing.T) {
	bubbleWith(t, federation.Limits{}, also("also.example"), func(t *testing.T, a *domain, p *pipes) {
		one := a.send("juliet@b.example", "one")
		r := (<-p.dialed).enabled(canBe)
		r.expect(askAck)
		two := a.sendAs("also.example", "juliet@b.example", "two")
		r.expect("</db:result>")
		r.send(verdict("b.example", "also.example", "valid")).expect(">two</body></message>")
		r.nc.Close()
		synctest.Wait()
		three := a.sendAs("also.example", "juliet@b.example", "three")
		r = (<-p.dialed).respond(offerErrors)
		r.expect("</db:result>")
		r.send(streamErr("not-authorized", "")).rest()
		r.nc.Close()
		given(t, one, fault.Timeout) // nobody knows
		given(t, two, fault.Timeout)
		r = (<-p.dialed).respond(offerErrors)
		r.expect("<db:result from='also.example' ")
		r.send(verdict("b.example", "also.example", "valid"))
		if got := r.expect(">three</body></message>"); strings.Contains(got, ">two<") {
			t.Errorf("got %s", got)
		}
		written(t, three)
		r.nc.Close()
	})
}
