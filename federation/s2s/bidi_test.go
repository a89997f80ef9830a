package s2s_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trust/trusttest"
)

const (
	offerBidi = "<bidi xmlns='urn:xmpp:features:bidi'/>"
	askBidi   = "<bidi xmlns='urn:xmpp:bidi'/>"
	fromA     = "<message from='romeo@a.example'"
)

// authenticateBoth is authenticate, and asks for a stream that is used both
// ways.
func (r *raw) authenticateBoth(from, to string, is *trusttest.Issued) *raw {
	r.t.Helper()
	r.secure(from, to, is).send(head(from, to)).expect("</stream:features>")
	r.send(askBidi, auth(from)).expect(success)
	r.send(head(from, to)).expect("</stream:features>")
	return r
}

// says has the peer begin to use a stream.
func (r *raw) says(d *domain) *raw {
	r.t.Helper()
	r.send(chat("juliet@b.example", "romeo@a.example", "here I am"))
	if got := wait(r.t, d.got); !strings.Contains(got.text, "here I am") {
		r.t.Errorf("got %s", got.text)
	}
	return r
}

// Two servers need one connection: the second knows no other way to the first
// (XEP-0288, section 2).
func TestBidi(t *testing.T) {
	for _, security := range []federation.Security{federation.Required, federation.DialbackOK} {
		t.Run(security.String(), func(t *testing.T) {
			w := newWorld(t)
			is := w.issue("b.example")
			if security != federation.Required {
				is = w.stranger("b.example")
			}
			a := w.start("a.example", rule("b.example", security))
			b := w.start("b.example", certificate(is)).publish()
			acknowledged(t, a.send("juliet@b.example", "hello"))
			wait(t, b.got)
			acknowledged(t, b.send("romeo@a.example", "back"))
			want := federation.Certificate
			if security != federation.Required {
				want = federation.Dialback
			}
			if got := wait(t, a.got); !strings.Contains(got.text, ">back<") || got.peer.Proof != want || !got.peer.SpeaksFor("b.example") || got.peer.SpeaksFor("a.example") {
				t.Errorf("got %+v", got)
			}
			if st := a.Peers(); len(st) != 1 || st[0].Inbound || !st[0].Bidi || st[0].Auth != "EXTERNAL" {
				t.Errorf("the first has %+v", st)
			}
			st := b.Peers()
			if len(st) != 2 || !st[0].Inbound || !st[0].Bidi || st[1].Inbound || !st[1].Bidi || st[1].Auth != s2s.Reverse || st[1].Proof != federation.Certificate || st[0].Addr != st[1].Addr {
				t.Errorf("the second has %+v", st)
			}
		})
	}
}

// When a peer may ask for both ways: inside TLS, or where it may do without, and
// before it proves itself (RFC 6120, section 5.3.1; XEP-0288, section 2).
func TestBidiOffer(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("plain.example", federation.PlainOK))
	is := w.issue("b.example", "plain.example")
	offered := func(t *testing.T, r *raw, from string, want bool) {
		t.Helper()
		if got := r.send(head(from, "a.example")).expect("</stream:features>"); strings.Contains(got, offerBidi) != want {
			t.Errorf("offered: %v", !want)
		}
	}
	t.Run("before TLS", func(t *testing.T) {
		r := d.call()
		offered(t, r, "b.example", false)
		if got := r.send(askBidi).rest(); !strings.Contains(got, "<not-authorized ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("inside TLS", func(t *testing.T) {
		offered(t, d.call().secure("b.example", "a.example", is), "b.example", true)
	})
	t.Run("without TLS", func(t *testing.T) { offered(t, d.call(), "plain.example", true) })
	t.Run("after authentication", func(t *testing.T) {
		r := d.call().secure("b.example", "a.example", is).send(head("b.example", "a.example"))
		r.expect("</stream:features>")
		r.send(auth("b.example")).expect(success)
		offered(t, r, "b.example", false)
		if got := r.send(askBidi).rest(); !strings.Contains(got, "<unsupported-stanza-type ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("unknown element", func(t *testing.T) {
		r := d.call().secure("b.example", "a.example", is).send(head("b.example", "a.example"))
		if got := r.send("<tridi xmlns='urn:xmpp:bidi'/>").rest(); !strings.Contains(got, "<not-authorized ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("what was said in the clear does not count", func(t *testing.T) {
		r := d.call().send(head("plain.example", "a.example"))
		r.expect("</stream:features>")
		r.send(askBidi, startTLS).expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		r.handshake(is).send(head("plain.example", "a.example")).expect("</stream:features>")
		r.send(auth("=")).expect(success)
		r.send(head("plain.example", "a.example")).expect("</stream:features>")
		given(t, d.send("juliet@plain.example", "x"), fault.NoRoute) // it is not in the zone
	})
}

// Nothing goes out before the peer has proved itself, and then only what answers
// a pair that it was authenticated for (XEP-0288, section 2.2).
func TestBidiPairs(t *testing.T) {
	also := func(s *settings) { s.book.stands = append(s.book.stands, "also.example") }
	send := func(d *domain, from, to string) chan outcome {
		c := make(chan outcome, 1)
		d.Send(message(from, to, "other"), time.Time{}, func(h federation.How, err error) { c <- outcome{h, err} })
		return c
	}
	t.Run("certificate", func(t *testing.T) {
		w := newWorld(t)
		d := w.start("a.example", also)
		r := d.call().secure("b.example", "a.example", w.issue("b.example", "c.example")).send(head("b.example", "a.example"))
		r.expect("</stream:features>")
		r.send(askBidi)
		given(t, d.send("juliet@b.example", "too early"), fault.NoRoute) // nor is it in the zone
		if got := r.send(auth("b.example")).expect(success); strings.Contains(got, "early") {
			t.Errorf("got %s", got)
		}
		r.send(head("b.example", "a.example")).expect("</stream:features>")
		r.says(d)
		written(t, d.send("juliet@b.example", "now"))
		r.expect(">now</body></message>")
		given(t, send(d, "romeo@also.example", "juliet@b.example"), fault.NoRoute)
		given(t, send(d, "romeo@a.example", "juliet@c.example"), fault.NoRoute)
		// another pair is authenticated on the same stream
		r.send(result("c.example", "a.example", "key"))
		r.expect("<db:result from='a.example' to='c.example' type='valid'></db:result>")
		written(t, send(d, "romeo@a.example", "juliet@c.example"))
		if got := r.expect("</message>"); !strings.Contains(got, "to='juliet@c.example'") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("dialback", func(t *testing.T) {
		w := newWorld(t)
		d := w.start("a.example", rule("b.example", federation.DialbackOK))
		l, is := w.far(), w.stranger("b.example")
		r := d.call().secure("b.example", "a.example", is)
		r.begin("b.example", "a.example")
		r.send(askBidi, result("b.example", "a.example", "key"))
		authority, _, id, _ := w.authority(l, is)
		authority.send("<db:verify from='b.example' to='a.example' id='" + id + "' type='valid'/>")
		r.expect("<db:result from='a.example' to='b.example' type='valid'></db:result>")
		l.Close()
		r.says(d)
		written(t, d.send("juliet@b.example", "now"))
		r.expect(">now</body></message>")
	})
}

// A peer whose rules have changed must show what they demand now (decision
// D-73).
func TestBidiRules(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		r := a.reverseBoth(p)
		one := a.send("juliet@b.example", "one")
		r.expect(">one</body></message>")
		written(t, one)
		r.nc.Close()
		synctest.Wait()
		r = a.reverseBoth(p)
		a.book.change("b.example", federation.Required)
		two := a.send("juliet@b.example", "two")
		own := <-p.dialed
		own.respond(offerDialback).expect(startTLS)
		own.send(streamErr("not-authorized", "")).rest()
		given(t, two, fault.Forbidden)
		r.nc.Close()
	})
}

// reverseBoth is reverse for a stream that is used both ways.
func (d *domain) reverseBoth(p *pipes) *raw { return d.reverse(p, askBidi).says(d) }

// The side that opens the stream asks for both ways before it proves itself,
// where that is offered, and then takes stanzas of the pair that answers; all
// others end the stream (RFC 6120, section 8.1).
func TestBidiInitiating(t *testing.T) {
	for _, c := range []struct {
		name, text, want string // of the peer's; "": it is taken
	}{
		{"the pair", chat("juliet@b.example", "romeo@a.example", "x"), ""},
		{"another sender", chat("juliet@c.example", "romeo@a.example", "x"), "invalid-from"},
		{"another domain of ours", chat("juliet@b.example", "romeo@also.example", "x"), "host-unknown"},
		{"ourselves", chat("romeo@a.example", "juliet@b.example", "x"), "invalid-from"},
		{"no addresses", "<message/>", "improper-addressing"},
		{"no stanza", "<foo/>", "unsupported-stanza-type"},
		{"TLS", startTLS, "unsupported-stanza-type"},
		{"both ways", askBidi, "unsupported-stanza-type"},
		{"too large", "<message from='juliet@b.example' to='romeo@a.example' id='big'>" + strings.Repeat("x", 300_000), "policy-violation"},
	} {
		for _, by := range []string{"certificate", "dialback"} {
			t.Run(c.name+"/"+by, func(t *testing.T) {
				w := newWorld(t)
				l, is := w.far(), w.issue("b.example")
				a := w.start("a.example", func(s *settings) { s.book.stands = append(s.book.stands, "also.example") })
				out := a.send("juliet@b.example", "hello")
				r := w.accept(l)
				if by == "certificate" {
					r.serve(w, is, offerDialback+offerBidi+offerExternal)
					if got := r.expect("</auth>"); !strings.HasPrefix(got, askBidi+"<auth ") {
						t.Errorf("got %s", got)
					}
					r.send(success).respond("")
				} else {
					r.serve(w, is, offerDialback+offerBidi)
					if got := r.expect("</db:result>"); !strings.HasPrefix(got, askBidi+"<db:result ") {
						t.Errorf("got %s", got)
					}
					r.send(valid)
				}
				r.expect("</message>")
				written(t, out)
				r.send(c.text)
				if c.want == "" {
					if got := wait(t, a.got); got.peer.Proof != federation.Certificate || got.peer.SpeaksFor("a.example") {
						t.Errorf("got %+v", got)
					}
					return
				}
				if got := r.rest(); !strings.Contains(got, "<stream:error><"+c.want+" ") {
					t.Errorf("got %s", got)
				}
				if len(a.got) > 0 {
					t.Errorf("the handler got %+v", <-a.got)
				}
			})
		}
	}
}

// A stanza of the peer that comes before we are authenticated ends the attempt.
func TestBidiTooEarly(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).serve(w, is, offerDialback+offerBidi)
	r.expect("</db:result>")
	r.send(chat("juliet@b.example", "romeo@a.example", "too early"), valid)
	if got := r.rest(); !strings.Contains(got, "<stream:error>") {
		t.Errorf("got %s", got)
	}
	given(t, out, fault.Timeout)
	if len(a.got) > 0 {
		t.Errorf("the handler got %+v", <-a.got)
	}
}

// The receiving side may ask for more domains of its own, and about keys of ours
// that have come on other streams; errors do not end the stream, and verdicts
// that nobody asked for open nothing (XEP-0288, sections 2.2 and 4).
func TestBidiDialback(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.stranger("b.example")
	rooms := w.listen()
	w.Cleanup(func() { rooms.Close() })
	w.at("_xmpp-server", "rooms.b.example", addrOf(rooms))
	secret := func(s *settings) { s.s2s.Secret = []byte("s3cr3t") }
	a := w.start("a.example", rule("b.example", federation.DialbackOK), rule("rooms.b.example", federation.DialbackOK), secret)
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).serve(w, is, offerDialback+offerBidi)
	ours := r.expect("</db:result>")
	if want := result("a.example", "b.example", s2s.Key([]byte("s3cr3t"), "b.example", "a.example", "their-id")); ours != askBidi+want {
		t.Errorf("got  %s\nwant %s", ours, want)
	}
	// before and after the answer: somebody checks a key of ours
	verify := "<db:verify from='b.example' to='a.example' id='x'>" + s2s.Key([]byte("s3cr3t"), "b.example", "a.example", "x") + "</db:verify>"
	r.send(verify).expect("<db:verify from='a.example' to='b.example' id='x' type='valid'></db:verify>")
	r.send(valid).expect("</message>")
	written(t, out)
	r.send(verify).expect("<db:verify from='a.example' to='b.example' id='x' type='valid'></db:verify>")

	r.send("<db:result from='b.example' to='a.example' type='invalid'/>", "<db:verify from='b.example' to='a.example' id='x' type='valid'/>",
		"<db:result from='rooms.b.example' to='a.example' type='valid'/>")
	r.send(result("rooms.b.example", "c.example", "key")).expect(dbError("result", "c.example", "rooms.b.example", "", "item-not-found"))
	for _, verdict := range []string{"invalid", "valid"} {
		r.send(result("rooms.b.example", "a.example", "key"))
		authority, domain, id, key := w.authority(rooms, is)
		if domain != "rooms.b.example" || id != "their-id" || key != "key" {
			t.Errorf("asked about %s, %s, %s", domain, id, key)
		}
		authority.send("<db:verify from='rooms.b.example' to='a.example' id='their-id' type='" + verdict + "'/>")
		want := dbError("result", "a.example", "rooms.b.example", "", "forbidden")
		if verdict == "valid" {
			want = "<db:result from='a.example' to='rooms.b.example' type='valid'></db:result>"
		}
		if got := r.expect("</db:result>"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	r.send(chat("hall@rooms.b.example", "romeo@a.example", "x"))
	if got := wait(t, a.got); !got.peer.SpeaksFor("rooms.b.example") || got.peer.Proof != federation.Dialback {
		t.Errorf("got %+v", got)
	}
	r.send(chat("hall@other.b.example", "romeo@a.example", "x"))
	if got := r.rest(); !strings.Contains(got, "<invalid-from ") {
		t.Errorf("got %s", got)
	}
}

// An answer to a request goes back on the stream that the request came on.
func TestBidiIQ(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().authenticateBoth("b.example", "a.example", w.issue("b.example"))
	r.send("<iq from='juliet@b.example/x' to='a.example' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
	r.expect("<iq from='a.example' to='juliet@b.example/x' type='result' id='1'/>")
}

// A peer that has opened a stream has a second to ask for stream management, and
// what answers it waits for that: what goes out before would not be counted.
func TestBidiPeerTime(t *testing.T) {
	for _, c := range []struct {
		says, want string
		waits      time.Duration
	}{
		{"", "", time.Second},
		{chat("juliet@b.example", "romeo@a.example", "hello"), "", time.Second},
		{chat("juliet@b.example", "romeo@a.example", "hello") + enable, "max='600'/>", 0},
	} {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			r := a.reverse(p, askBidi)
			start := time.Now()
			out := a.send("juliet@b.example", "x")
			r.send(c.says)
			if got := r.expect(c.want); strings.Contains(got, "<message") {
				t.Errorf("got %s", got)
			}
			r.expect("</message>")
			after(t, start, c.waits)
			if c.waits > 0 {
				written(t, out)
			} else {
				r.expect(askAck)
				r.send(ackOf(1))
				acknowledged(t, out)
			}
			r.nc.Close()
		})
	}
	t.Run("it goes", func(t *testing.T) {
		bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
			r := a.reverse(p, askBidi)
			start := time.Now()
			out := a.send("juliet@b.example", "x")
			synctest.Wait()
			r.nc.Close()
			own := (<-p.dialed).valid()
			after(t, start, 0)
			own.expect("</message>")
			written(t, out)
			own.nc.Close()
		})
	})
}
