package s2s_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

const (
	offerDialback = "<dialback xmlns='urn:xmpp:features:dialback'/>"
	offerExternal = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
	offerTLS      = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	valid         = "<db:result from='b.example' to='a.example' type='valid'/>"
)

// far publishes a listener as b.example and returns it.
func (w *world) far() net.Listener {
	w.Helper()
	l := w.listen()
	w.Cleanup(func() { l.Close() })
	w.at("_xmpp-server", "b.example", addrOf(l))
	return l
}

func streamErr(condition, content string) string {
	return "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" + content + "</" + condition + "></stream:error></stream:stream>"
}

// All that we say until the first stanza, byte for byte (RFC 6120, sections
// 4.7, 4.8 and 11; XEP-0178, section 3).
func TestInitiating(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' " +
		"xmlns:db='jabber:server:dialback' from='a.example' to='b.example' version='1.0'>"
	r := w.accept(l)
	says := func(want string) {
		t.Helper()
		if got := r.expect(want); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	answer := "<stream:stream " + streamNS + " from='b.example' to='a.example' id='1' version='1.0'><stream:features>"
	says(header)
	r.send(answer, offerTLS, "</stream:features>")
	says(startTLS)
	r.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").secured(is)
	says(header)
	r.send(answer, offerDialback, offerExternal, "</stream:features>")
	says(auth("a.example"))
	r.send(success)
	says(header)
	r.send(answer, "</stream:features>")
	says("<message from='romeo@a.example' to='juliet@b.example' type='chat' id='id-hello'><body>hello</body></message>")
	written(t, out)
	a.stop()
	says("</stream:stream>")
}

// What we send is in the namespace of servers, never in that of clients; payloads
// are as they were (RFC 6120, section 4.8.3).
func TestNamespaces(t *testing.T) {
	bubble(t, federation.Limits{}, func(t *testing.T, a *domain, p *pipes) {
		const (
			payload = "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded>"
			brought = "<presence from='romeo@a.example' to='juliet@b.example'><show xmlns='jabber:client'>away</show>" + payload + "</presence>"
		)
		e, err := xmltree.ParseIn([]byte(brought), xep.NS, xmltree.Documents)
		if err != nil {
			t.Fatal(err)
		}
		a.Send(e, time.Time{}, nil)
		a.send("juliet@b.example", "next")
		got := (<-p.dialed).valid().expect(">next</body></message>")
		if want := "<presence from='romeo@a.example' to='juliet@b.example'><show>away</show>" + payload + "</presence>"; !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := e.Append(nil, xep.NS); string(got) != brought {
			t.Errorf("the stanza that was given became %s", got)
		}
	})
}

// TLS is asked for even where the offer is missing, and nothing but TLS will do
// unless the peer is plain-ok (RFC 7590, section 3.1; decision D-73).
func TestStrippedTLS(t *testing.T) {
	for _, security := range []federation.Security{federation.Required, federation.DialbackOK} {
		t.Run(security.String(), func(t *testing.T) {
			w := newWorld(t)
			l := w.far()
			a := w.start("a.example", rule("b.example", security))
			out := a.send("juliet@b.example", "hello")
			r := w.accept(l).respond(offerDialback)
			r.expect(startTLS)
			r.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
			if got := r.rest(); strings.Contains(got, "message") {
				t.Errorf("got %s", got)
			}
			given(t, out, fault.Forbidden)
		})
	}
	t.Run("plain-ok", func(t *testing.T) {
		w := newWorld(t)
		l := w.far()
		a := w.start("a.example", rule("b.example", federation.PlainOK))
		out := a.send("juliet@b.example", "hello")
		r := w.accept(l).respond(offerDialback + offerExternal)
		if got := r.expect("</db:result>"); !strings.HasPrefix(got, "<db:result from='a.example' to='b.example'>") {
			t.Errorf("got %s", got)
		}
		r.send(valid).expect("</message>")
		written(t, out)
	})
}

// A peer that does not take our certificate gets dialback on the same stream,
// and one that drops the stream over it gets a new one without (XEP-0178,
// section 3).
func TestExternalRefused(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	for name, meet := range map[string]func(r *raw) *raw{
		"failure": func(r *raw) *raw {
			return r.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
		},
		"failure and end": func(r *raw) *raw {
			r.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure></stream:stream>").nc.Close()
			return w.accept(l).serve(w, is, offerExternal+offerDialback)
		},
		"end": func(r *raw) *raw {
			r.nc.Close()
			return w.accept(l).serve(w, is, offerExternal+offerDialback)
		},
		"stream error": func(r *raw) *raw {
			r.send(streamErr("internal-server-error", ""))
			return w.accept(l).serve(w, is, offerExternal+offerDialback)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.start("a.example")
			defer a.stop()
			out := a.send("juliet@b.example", "hello")
			r := w.accept(l).serve(w, is, offerExternal+offerDialback)
			r.expect(auth("a.example"))
			r = meet(r)
			if got := r.expect("</db:result>"); strings.Contains(got, "<auth") {
				t.Errorf("got %s", got)
			}
			r.send(valid).expect("</message>")
			written(t, out)
		})
	}
}

// A challenge is answered with the name once more (RFC 6120, section 6.4.3).
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).serve(w, is, offerExternal)
	r.expect("</auth>")
	r.send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	r.expect("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64.StdEncoding.EncodeToString([]byte("a.example")) + "</response>")
	r.send(success).respond("").expect("</message>")
	written(t, out)
}

// White space inside the exchange of SASL ends the stream (RFC 6120, section
// 6.3.5).
func TestSpaceInSASL(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	for _, answer := range []string{success, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"} {
		a := w.start("a.example")
		out := a.send("juliet@b.example", "hello")
		r := w.accept(l).serve(w, is, offerExternal)
		r.expect("</auth>")
		if got := r.send("\n ", answer).rest(); !strings.HasPrefix(got, "<stream:error><bad-format ") {
			t.Errorf("got %s", got)
		}
		given(t, out, fault.Timeout)
		a.stop()
	}
}

// What becomes of the queue for each outcome of dialback (XEP-0220, sections
// 2.1.1 and 2.5).
func TestDialbackOutcome(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		kind         fault.Kind
	}{
		{"invalid", "<db:result from='b.example' to='a.example' type='invalid'/>", fault.Internal},
		{"error", dbError("result", "b.example", "a.example", "", "remote-server-not-found"), fault.Timeout},
		{"end", "</stream:stream>", fault.Timeout},
		{"stream error", streamErr("host-unknown", ""), fault.NoRoute},
		{"refused", streamErr("not-authorized", ""), fault.Forbidden},
		{"not asked", "<message from='x@b.example' to='a.example'/>", fault.Timeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			l, is := w.far(), w.issue("b.example")
			a := w.start("a.example")
			one, two := a.send("juliet@b.example", "1"), a.send("juliet@b.example", "2")
			r := w.accept(l).serve(w, is, offerDialback)
			r.expect("</db:result>")
			if got := r.send(c.answer).rest(); strings.Contains(got, "<message ") {
				t.Errorf("it went out all the same: %s", got)
			}
			given(t, one, c.kind)
			given(t, two, c.kind)
			if s := a.Peers(); len(s) != 1 || s[0].Up || s[0].Err == nil {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// Stream errors at the door, and what the sender hears of them (RFC 6120,
// section 4.9.3).
func TestRefusedAtTheDoor(t *testing.T) {
	for condition, kind := range map[string]fault.Kind{
		"host-unknown": fault.NoRoute, "host-gone": fault.NoRoute, "not-authorized": fault.Forbidden,
		"policy-violation": fault.Forbidden, "resource-constraint": fault.Timeout, "made-up": fault.Timeout,
	} {
		t.Run(condition, func(t *testing.T) {
			w := newWorld(t)
			l := w.far()
			a := w.start("a.example")
			out := a.send("juliet@b.example", "hello")
			r := w.accept(l)
			r.expect(" version='1.0'>")
			r.send("<stream:stream "+streamNS+" from='b.example' id='1' version='1.0'>", streamErr(condition, ""))
			given(t, out, kind)
		})
	}
}

// A redirection is followed, but not for ever, and changes nothing of what must
// be proved (RFC 6120, section 4.9.3.19).
func TestSeeOtherHost(t *testing.T) {
	w := newWorld(t)
	first, second := w.far(), w.listen()
	defer second.Close()
	redirect := func(l net.Listener, to string) {
		r := w.accept(l)
		r.expect(" version='1.0'>")
		r.send("<stream:stream "+streamNS+" from='b.example' id='1' version='1.0'>", streamErr("see-other-host", to))
	}
	at := addrOf(second)
	w.publish("other.example. 300 IN A 127.0.0.1")
	for _, to := range []string{at.String(), fmt.Sprintf("other.example:%d", at.Port())} {
		t.Run("proved", func(t *testing.T) {
			a := w.start("a.example")
			defer a.stop()
			out := a.send("juliet@b.example", "hello")
			redirect(first, to)
			r := w.accept(second).serve(w, w.issue("b.example"), offerExternal)
			r.expect(auth("a.example"))
			r.send(success).respond("").expect("</message>")
			written(t, out)
		})
	}
	t.Run("not proved", func(t *testing.T) {
		a := w.start("a.example")
		defer a.stop()
		out := a.send("juliet@b.example", "hello")
		redirect(first, at.String())
		r := w.accept(second).respond(offerTLS)
		r.expect(startTLS)
		r.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").trySecured(w.issue("other.example"))
		given(t, out, fault.Timeout)
	})
	t.Run("loop", func(t *testing.T) {
		a := w.start("a.example")
		defer a.stop()
		out := a.send("juliet@b.example", "hello")
		redirect(first, at.String())
		for range 3 {
			redirect(second, at.String())
		}
		given(t, out, fault.Timeout)
	})
}

// A certificate that does not prove the peer ends the attempt before anything
// is said inside TLS, unless dialback is enough (decision D-73).
func TestUnprovedPeer(t *testing.T) {
	w := newWorld(t)
	l := w.far()
	expired, err := w.ca.Issue(trusttest.Options{DNS: []string{"b.example"}, NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]*trusttest.Issued{"stranger": w.stranger("b.example"), "other name": w.issue("c.example"), "expired": expired} {
		t.Run(name, func(t *testing.T) {
			a := w.start("a.example")
			defer a.stop()
			out := a.send("juliet@b.example", "hello")
			r := w.accept(l).respond(offerTLS)
			r.expect(startTLS)
			r.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").trySecured(is)
			given(t, out, fault.Timeout)
		})
		t.Run(name+", dialback-ok", func(t *testing.T) {
			a := w.start("a.example", rule("b.example", federation.DialbackOK))
			defer a.stop()
			out := a.send("juliet@b.example", "hello")
			r := w.accept(l).serve(w, is, offerDialback)
			r.expect("</db:result>")
			r.send(valid).expect("</message>")
			written(t, out)
			if s := a.Peers(); len(s) != 1 || s[0].Proof != federation.Address || s[0].Auth != "dialback" {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// The peer says nothing on our stream but answers to its negotiation (RFC 6120,
// section 4.5).
func TestWrongWay(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).serve(w, is, offerDialback)
	r.expect("</db:result>")
	r.send(valid).expect("</message>")
	written(t, out)
	r.send("<db:result from='b.example' to='c.example' type='valid'/>") // unsolicited: dropped
	r.send(chat("juliet@b.example", "romeo@a.example", "wrong way"))
	if got := r.rest(); !strings.Contains(got, "<not-authorized ") {
		t.Errorf("got %s", got)
	}
	select {
	case got := <-a.got:
		t.Errorf("the handler got %+v", got)
	default:
	}
}

// Targets are tried in their order until one answers.
func TestFailover(t *testing.T) {
	w := newWorld(t)
	dead := w.listen()
	dead.Close()
	b := w.start("b.example")
	w.publish("_xmpp-server._tcp.b.example. 300 IN SRV 1 0 %d localhost.b.example.", addrOf(dead).Port())
	w.publish("_xmpp-server._tcp.b.example. 300 IN SRV 2 0 %d localhost.b.example.", b.addr.Port())
	w.publish("localhost.b.example. 300 IN A 127.0.0.1")
	a := w.start("a.example")
	written(t, a.send("juliet@b.example", "hello"))
	wait(t, b.got)
}

// Direct TLS is used where the records say so (XEP-0368, section 3).
func TestDirectOut(t *testing.T) {
	w := newWorld(t)
	b := w.start("b.example")
	w.at("_xmpps-server", "b.example", b.dtls)
	a := w.start("a.example")
	written(t, a.send("juliet@b.example", "hello"))
	if got := wait(t, b.got); got.peer.Via != federation.TLS || got.peer.Proof != federation.Certificate {
		t.Errorf("got %+v", got.peer)
	}
}

// Where a stanza cannot go it comes back, with the kind of reason.
func TestNoWay(t *testing.T) {
	w := newWorld(t)
	closed := w.listen()
	closed.Close()
	w.at("_xmpp-server", "closed.example", addrOf(closed))
	w.publish("_xmpp-server._tcp.none.example. 300 IN SRV 0 0 0 .")
	w.zone.Break("broken.example")
	a := w.start("a.example", func(s *settings) { s.book.rules["shut.example"] = federation.Rules{} })
	for domain, kind := range map[string]fault.Kind{
		"nowhere.example": fault.NoRoute,
		"none.example":    fault.NoRoute,
		"broken.example":  fault.Timeout,
		"closed.example":  fault.Timeout,
		"shut.example":    fault.Forbidden,
		"a.example":       fault.NoRoute, // it would come back to us
		"":                fault.Malformed,
	} {
		t.Run(domain, func(t *testing.T) { given(t, a.send("juliet@"+domain, "x"), kind) })
	}
	t.Run("not ours", func(t *testing.T) {
		c := make(chan outcome, 1)
		a.Send(message("x@c.example", "y@b.example", "z"), time.Time{}, func(h federation.How, err error) { c <- outcome{h, err} })
		given(t, c, fault.Internal)
	})
}

// What came in the clear behind <proceed/> is no part of the secured stream
// (RFC 6120, section 5.4.3.3).
func TestInjectionOutbound(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	out := a.send("juliet@b.example", "hello")
	r := w.accept(l).respond(offerTLS)
	r.expect(startTLS)
	r.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + head("b.example", "a.example") + streamErr("host-unknown", ""))
	r.secured(is).respond(offerDialback).expect("</db:result>")
	r.send(valid).expect("</message>")
	written(t, out)
}

// The order of a pair is kept while its stream is cut and made anew, and
// nothing is doubled (RFC 6120, section 10.1).
func TestOrderAcrossReconnect(t *testing.T) {
	w := newWorld(t)
	l, is := w.far(), w.issue("b.example")
	a := w.start("a.example")
	const total = 300
	var last chan outcome
	for i := range total {
		last = a.send("juliet@b.example", fmt.Sprintf("n%03d", i))
	}
	number := regexp.MustCompile(`<body>n(\d+)</body>`)
	var got []string
	for len(got) < total {
		r := w.accept(l).serve(w, is, offerDialback)
		r.expect("</db:result>")
		r.send(valid)
		if len(got) == 0 { // the first stream ends after a few
			for range 3 {
				got = append(got, number.FindStringSubmatch(r.expect("</message>"))[1])
			}
			r.send("</stream:stream>")
			for _, m := range number.FindAllStringSubmatch(r.rest(), -1) {
				got = append(got, m[1])
			}
			if len(got) == total { // all had been written at once
				a.send("juliet@b.example", "n300")
				break
			}
			continue
		}
		for len(got) < total {
			got = append(got, number.FindStringSubmatch(r.expect("</message>"))[1])
		}
	}
	for i, n := range got {
		if n != fmt.Sprintf("%03d", i) {
			t.Fatalf("at %d came %s", i, n)
		}
	}
	written(t, last)
}
