package s2s_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A pair stays on its own stream when the peer opens another that is used both
// ways, and goes over to that when its own has ended (RFC 6120, section 10.1).
func TestBidiJoins(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		send := func(body string, r *raw) {
			t.Helper()
			out := a.send("juliet@b.example", body)
			r.expect(">" + body + "</body></message>")
			written(t, out)
		}
		out := a.send("juliet@b.example", "one")
		own := (<-p.dialed).valid()
		own.expect(">one<")
		written(t, out)
		theirs := a.reverseBoth(p)
		send("two", own)
		own.send("</stream:stream>").expect("</stream:stream>")
		own.nc.Close()
		synctest.Wait()
		send("three", theirs)

		// a newer one takes over
		newer := a.reverseBoth(p)
		theirs.expect("<conflict ")
		theirs.nc.Close()
		synctest.Wait()
		send("four", newer)
		newer.nc.Close()

		// the peer does not ask for both ways any more
		synctest.Wait()
		plain := a.reverse(p)
		out = a.send("juliet@b.example", "five")
		own = (<-p.dialed).valid()
		own.expect(">five<")
		written(t, out)
		own.nc.Close()
		plain.nc.Close()
	})
}

// What waits for a peer that cannot be reached goes out as soon as the peer
// opens a stream that may be used.
func TestBidiComesBack(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverseBoth(p)
		one := a.send("juliet@b.example", "one")
		r.expect(">one<")
		written(t, one)
		p.down.Store(true)
		r.nc.Close()
		synctest.Wait()
		two, three := a.send("juliet@b.example", "two"), a.send("juliet@b.example", "three")
		time.Sleep(20 * time.Second)
		pending(t, two)
		r = p.call().authenticateBoth("b.example", "a.example", a.w.issue("b.example"))
		start := time.Now()
		r.send(enable)
		if got := r.expect(">three</body></message>"); !strings.Contains(got, ">two<") {
			t.Errorf("got %s", got)
		}
		after(t, start, 0)
		written(t, two)
		written(t, three)
		r.nc.Close()
	})
}

// managedBoth is a stream of the peer that is used both ways and managed, and
// its name.
func (d *domain) managedBoth(p *pipes) (*raw, string) {
	r := d.reverse(p, askBidi)
	m := enabledID.FindStringSubmatch(r.send(enable).expect("max='600'/>"))
	if m == nil {
		d.w.Fatal("not enabled")
	}
	return r, m[1]
}

var enabledID = regexp.MustCompile(`^<enabled xmlns='urn:xmpp:sm:3' id='([^']+)' resume='true' max='600'/>$`)

func resumeBy(id string, h int) string {
	return fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, h)
}

// A stream of the peer that is used both ways counts in both directions
// (XEP-0198, section 4).
func TestBidiCounts(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverseBoth(p)
		early := a.send("juliet@b.example", "early") // before there is anything to count
		r.expect(">early</body></message>")
		if o := wait(t, early); o.how != federation.Written {
			t.Errorf("outcome %+v", o)
		}
		r.send(enable).expect("<enabled ")
		r.send(chat("juliet@b.example", "romeo@a.example", "x"), askAck).expect(ackOf(1))
		wait(t, a.got)
		one, two := a.send("juliet@b.example", "one"), a.send("juliet@b.example", "two")
		r.expect(askAck)
		r.send(ackOf(1))
		acknowledged(t, one)
		r.expect(askAck) // there is another still
		pending(t, two)
		r.send(ackOf(2))
		acknowledged(t, two)
		r.send(ackOf(3)).expect("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='3' send-count='2'/>")
		r.nc.Close()
	})
}

// A peer that does not confirm on its own stream loses it (XEP-0198, section 4).
func TestBidiSilent(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r, _ := a.managedBoth(p)
		out := a.send("juliet@b.example", "one")
		r.expect(askAck)
		start := time.Now()
		r.most = time.Hour
		r.expect("<stream:error><connection-timeout ")
		after(t, start, time.Minute)
		if o := wait(t, out); o.how != federation.Written { // decision D-70
			t.Errorf("outcome %+v", o)
		}
		r.nc.Close()
	})
}

// A stream that is used both ways is idle when nobody has used it for long, in
// neither direction.
func TestBidiIdle(t *testing.T) {
	bubble(t, federation.Limits{Idle: 40 * time.Second}, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverseBoth(p)
		start := time.Now()
		for range 2 {
			time.Sleep(30 * time.Second)
			out := a.send("juliet@b.example", "x")
			r.expect("</message>")
			written(t, out)
			time.Sleep(30 * time.Second)
			r.send(chat("juliet@b.example", "romeo@a.example", "x"))
			wait(t, a.got)
		}
		if got := r.expect("</stream:stream>"); got != "</stream:stream>" {
			t.Errorf("got %s", got)
		}
		after(t, start, 2*time.Minute+40*time.Second)
		r.nc.Close()
	})
}

// After a peer's stream is lost its peer may resume it: what it has is done, the
// rest goes out again before all that has come since. A peer that takes too long
// or begins anew gets none of it again (XEP-0198, section 5).
func TestBidiResumption(t *testing.T) {
	for _, c := range []struct {
		name  string
		again func(t *testing.T, a *domain, p *pipes, id string) *raw
		done  int  // of three
		rest  bool // sent again
		waits time.Duration
	}{
		{"resumed", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			r := a.reverse(p, askBidi)
			r.send(resumeBy(id, 1)).expect("<resumed xmlns='urn:xmpp:sm:3' previd='" + id + "' h='1'/>")
			return r
		}, 1, true, 0},
		{"all was handled", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			r := a.reverse(p, askBidi)
			r.send(resumeBy(id, 3)).expect("<resumed ")
			return r
		}, 3, true, 0},
		{"resumed on a stream for one way", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			r := a.reverse(p)
			r.send(resumeBy(id, 2)).expect("<resumed ")
			return (<-p.dialed).valid()
		}, 2, true, 0},
		{"anew", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			r := a.reverse(p, askBidi)
			r.send(enable).expect("<enabled ")
			return r
		}, 0, false, 0},
		{"not at all", func(t *testing.T, a *domain, p *pipes, id string) *raw { return (<-p.dialed).valid() }, 0, false, 5 * time.Second},
		{"too late", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			own := (<-p.dialed).valid()
			r := a.reverse(p, askBidi)
			r.send(resumeBy(id, 1)).expect("<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found ")
			r.send(enable).expect("<enabled ")
			return own
		}, 0, false, 5 * time.Second},
		{"with what was not sent", func(t *testing.T, a *domain, p *pipes, id string) *raw {
			r := a.reverse(p, askBidi)
			r.send(resumeBy(id, 4)).expect("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='4' send-count='3'/>")
			r.nc.Close()
			return (<-p.dialed).valid()
		}, 0, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
				r, id := a.managedBoth(p)
				r.send(chat("juliet@b.example", "romeo@a.example", "x"))
				wait(t, a.got)
				var outs []chan outcome
				for i := range 3 {
					outs = append(outs, a.send("juliet@b.example", fmt.Sprint("n", i)))
				}
				r.expect(">n2</body></message>")
				synctest.Wait()
				r.nc.Close()
				synctest.Wait()
				start := time.Now()
				next := a.send("juliet@b.example", "next")
				r = c.again(t, a, p, id)
				got := r.expect("next</body></message>")
				after(t, start, c.waits)
				for i, out := range outs {
					switch again := strings.Contains(got, fmt.Sprintf(">n%d<", i)); {
					case i < c.done:
						acknowledged(t, out)
						fallthrough
					case !c.rest:
						if again {
							t.Errorf("stanza %d was sent again", i)
						}
						if i >= c.done {
							given(t, out, fault.Timeout)
						}
					case !again:
						t.Errorf("stanza %d was not sent again", i)
					}
				}
				if strings.Contains(c.name, "resumed") && !strings.Contains(c.name, "one way") {
					r.send(ackOf(4)) // the numbers go on
					acknowledged(t, next)
				}
				r.nc.Close()
			})
		})
	}
}

// What the peer has sent over our stream is counted, and the count is told to
// the stream that resumes it: at once, since the peer cannot (XEP-0198, section
// 5).
func TestBidiResumes(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		both := func(r *raw) *raw {
			r.respond(offerDialback + offerSM + offerBidi).expect("</db:result>")
			return r.send(valid)
		}
		back := func(r *raw, body string) {
			r.send(chat("juliet@b.example", "romeo@a.example", body))
			if got := wait(t, a.got); !strings.Contains(got.text, ">"+body+"<") {
				t.Errorf("got %s", got.text)
			}
		}
		out := a.send("juliet@b.example", "one")
		r := both(<-p.dialed)
		r.expect(enable)
		back(r, "not counted")
		r.send(canBe).expect(askAck)
		r.send(ackOf(1))
		acknowledged(t, out)
		back(r, "1")
		back(r, "2")
		r.send(askAck).expect(ackOf(2))
		r.nc.Close()

		start := time.Now()
		r = both(<-p.dialed)
		r.expect(strings.Replace(resume, "h='0'", "h='2'", 1))
		after(t, start, 0)
		r.send(resumed("1"))
		back(r, "3")
		r.send(askAck).expect(ackOf(3))
		out = a.send("juliet@b.example", "two")
		r.expect(askAck)
		r.send(ackOf(2))
		acknowledged(t, out)

		// a peer that is gone is not asked for ever
		p.down.Store(true)
		synctest.Wait()
		tries := len(p.attempts())
		r.nc.Close()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(p.attempts()) - tries; n != 1 {
			t.Errorf("%d attempts with nothing to send", n)
		}
	})
}

// When we go, all that waits goes out, the peer learns what we have handled, and
// what it still says is taken (RFC 6120, section 4.4).
func TestBidiShutdown(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r, _ := a.managedBoth(p)
		r.send(chat("juliet@b.example", "romeo@a.example", "x"))
		wait(t, a.got)
		out := a.send("juliet@b.example", "one")
		synctest.Wait() // the pipe is full
		next := a.send("juliet@b.example", "two")
		gone := make(chan struct{})
		go func() { a.stop(); close(gone) }() // waited for below
		synctest.Wait()
		if got := r.expect(ackOf(1) + "</stream:stream>"); !strings.Contains(got, ">one<") || !strings.Contains(got, ">two<") {
			t.Errorf("got %s", got)
		}
		r.send(ackOf(1), chat("juliet@b.example", "romeo@a.example", "one more"), "</stream:stream>")
		if got := wait(t, a.got); !strings.Contains(got.text, "one more") {
			t.Errorf("got %s", got.text)
		}
		acknowledged(t, out)
		if o := wait(t, next); o.how != federation.Written {
			t.Errorf("outcome %+v", o)
		}
		r.nc.Close()
		wait(t, gone)
	})
}

// Before we go, what peers have opened is closed; what we still have to say to them
// then goes over a stream of our own.
func TestBidiRetire(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r, _ := a.managedBoth(p)
		one := a.send("juliet@b.example", "one")
		r.expect(askAck)
		a.Retire()
		r.expect(ackOf(0) + "</stream:stream>")
		two := a.send("juliet@b.example", "two")
		r.send(ackOf(1), "</stream:stream>")
		acknowledged(t, one)
		own := (<-p.dialed).valid()
		own.expect(">two</body></message>")
		written(t, two)
		own.nc.Close()
	})
}

// Two of us on one wire that breaks in the middle, while both write: nothing is
// lost, nothing comes twice, the order stays.
func TestBidiCut(t *testing.T) {
	w := newWorld(t)
	b := w.start("b.example")
	wire := w.relay(b.addr.String())
	w.at("_xmpp-server", "b.example", addrOf(wire.Listener))
	a := w.start("a.example").publish()
	acknowledged(t, a.send("juliet@b.example", "first"))
	wait(t, b.got)
	const total, cuts = 600, 3
	var there, back [total]chan outcome
	for i := range total {
		there[i] = a.send("juliet@b.example", fmt.Sprintf("n%03d", i))
		back[i] = b.send("romeo@a.example", fmt.Sprintf("n%03d", i))
		if i > 0 && i%(total/(cuts+1)) == 0 {
			acknowledged(t, there[i-100])
			acknowledged(t, back[i-100])
			wire.cut()
		}
	}
	for i := range total {
		for _, got := range []string{wait(t, b.got).text, wait(t, a.got).text} {
			if !strings.Contains(got, fmt.Sprintf(">n%03d<", i)) {
				t.Fatalf("at %d came %s", i, got)
			}
		}
	}
	for i := total - 100; i < total; i++ {
		acknowledged(t, there[i])
		acknowledged(t, back[i])
	}
	if n := len(a.got) + len(b.got); n != 0 {
		t.Errorf("%d came twice", n)
	}
	for _, d := range []*domain{a, b} {
		for _, st := range d.Peers() {
			if !st.Bidi {
				t.Errorf("%s has %+v", d.name, st)
			}
		}
	}
}

// Two that call each other at the same time have a stream each, and stay there.
func TestBidiCrossing(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a.example").publish(), w.start("b.example").publish()
	var last chan outcome
	for i := range 100 {
		last = a.send("juliet@b.example", fmt.Sprintf("n%03d", i))
		b.send("romeo@a.example", fmt.Sprintf("n%03d", i))
	}
	for i := range 100 {
		for _, got := range []string{wait(t, a.got).text, wait(t, b.got).text} {
			if !strings.Contains(got, fmt.Sprintf(">n%03d<", i)) {
				t.Fatalf("at %d came %s", i, got)
			}
		}
	}
	acknowledged(t, last)
}
