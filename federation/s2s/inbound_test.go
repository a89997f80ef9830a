package s2s_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpimgate/federation"
)

var header = regexp.MustCompile(`^<\?xml version='1.0'\?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' ` +
	`xmlns:db='jabber:server:dialback'( from='([^']*)')?( to='([^']*)')?( id='([^']*)')?( version='1.0')? xml:lang='en'>`)

// What we answer to stream headers (RFC 6120, section 4.7).
func TestHeader(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("plain.example", federation.PlainOK), rule("shut.example", federation.Required), func(s *settings) {
		s.book.rules["shut.example"] = federation.Rules{}
	})
	required := "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
	for _, c := range []struct {
		name, header string
		from, to     string // of ours
		version      bool
		rest         string
	}{
		{"usual", head("b.example", "a.example"), "a.example", "b.example", true, required},
		{"plain-ok", head("plain.example", "a.example"), "a.example", "plain.example", true,
			"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback><bidi xmlns='urn:xmpp:features:bidi'/>" + offerCaps() + "</stream:features>"},
		{"id is ignored", strings.Replace(head("b.example", "a.example"), " to=", " id='mine' to=", 1), "a.example", "b.example", true, required},
		{"no from", strings.Replace(head("", "a.example"), " from=''", "", 1), "a.example", "", true, required},
		{"IDN", head("müller.example", "a.example"), "a.example", "müller.example", true, required},
		{"A-labels", head("xn--mller-kva.example", "a.example"), "a.example", "müller.example", true, required},
		{"version 1.10", strings.Replace(head("b.example", "a.example"), "1.0' xml:", "1.10' xml:", 1), "a.example", "b.example", true, required},
		{"version 0.9", strings.Replace(head("b.example", "a.example"), " version='1.0' xml:", " xml:", 1), "a.example", "b.example", false, ""},
		{"no to", strings.Replace(head("b.example", ""), " to=''", "", 1), "", "b.example", true, "host-unknown"},
		{"to somebody else", head("b.example", "c.example"), "", "b.example", true, "host-unknown"},
		{"from a user", head("x@b.example", "a.example"), "a.example", "", true, "improper-addressing"},
		{"from ourselves", head("a.example", "a.example"), "a.example", "a.example", true, "invalid-from"},
		{"not allowed", head("shut.example", "a.example"), "a.example", "shut.example", true, "policy-violation"},
		{"not a stream", strings.Replace(head("b.example", "a.example"), "stream:stream", "stream:river", 1), "", "b.example", true, "bad-format"},
		{"other stream namespace", strings.Replace(head("b.example", "a.example"), "etherx.jabber.org", "wrong.example", 1), "", "b.example", true, "invalid-namespace"},
		{"jabber:client", strings.Replace(head("b.example", "a.example"), "'jabber:server'", "'jabber:client'", 1), "", "b.example", true, "invalid-namespace"},
		{"no default namespace", strings.Replace(head("b.example", "a.example"), "xmlns='jabber:server'", "", 1), "a.example", "b.example", true, required},
		{"DTD", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "", "", true, "restricted-xml"},
		{"UTF-16", "<?xml version='1.0' encoding='utf-16'?>" + head("b.example", "a.example")[21:], "", "", true, "unsupported-encoding"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n<x", "", "", true, "bad-format"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.call().send(c.header)
			r.t = t
			got := r.expect(" xml:lang='en'>")
			m := header.FindStringSubmatch(got)
			if m == nil || m[2] != c.from || m[4] != c.to || len(m[6]) < 22 || (m[7] != "") != c.version {
				t.Errorf("header %s", got)
			}
			if strings.HasPrefix(c.rest, "<") {
				if got := r.expect("</stream:features>"); got != c.rest {
					t.Errorf("got  %s\nwant %s", got, c.rest)
				}
				r.send("</stream:stream>")
				c.rest = "</stream:stream>"
			} else if c.rest == "" {
				r.send("</stream:stream>")
				if got := r.rest(); got != "</stream:stream>" {
					t.Errorf("a peer without version got %s", got)
				}
				return
			}
			if got := r.rest(); !strings.Contains(got, c.rest) || !strings.HasSuffix(got, "</stream:stream>") {
				t.Errorf("got  %s\nwant %s", got, c.rest)
			}
		})
	}
}

// Ids are fresh for each stream and after each restart.
func TestIDs(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	is, seen := w.issue("b.example"), map[string]bool{}
	id := func(r *raw) {
		r.send(head("b.example", "a.example"))
		m := header.FindStringSubmatch(r.expect("xml:lang='en'>"))
		if m == nil || seen[m[6]] {
			t.Fatalf("id missing or seen before: %v", m)
		}
		seen[m[6]] = true
		r.expect("</stream:features>")
	}
	for range 3 {
		r := d.call()
		id(r)
		r.send(startTLS).expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		r.handshake(is)
		id(r)
		r.send(auth("b.example")).expect(success)
		id(r)
	}
	if len(seen) != 9 {
		t.Errorf("%d ids", len(seen))
	}
}

// What is said where it must not be said ends the stream with the condition
// that fits (RFC 6120, sections 4.9.3, 8.1 and 11.1).
func TestStreamErrors(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", func(s *settings) {
		s.s2s.Limits.Message, s.s2s.Limits.Attributes = 20_000, 10
		s.book.stands = append(s.book.stands, "also.example")
	})
	is := w.issue("b.example")
	ok := chat("juliet@b.example", "romeo@a.example", "x")
	deep := strings.Repeat("<x xmlns='x'>", 60)
	for _, c := range []struct{ name, state, text, want string }{
		{"stanza before TLS", "clear", ok, "not-authorized"},
		{"SASL before TLS", "clear", auth("b.example"), "not-authorized"},
		{"stanza before authentication", "secure", ok, "not-authorized"},
		{"unknown element before authentication", "secure", "<foo xmlns='bar'/>", "not-authorized"},
		{"starttls inside TLS", "secure", startTLS, ""},
		{"SASL again", "ready", auth("b.example"), "not-authorized"},
		{"comment", "ready", "<message><!-- --></message>", "restricted-xml"},
		{"processing instruction", "ready", "<?php x?>", "restricted-xml"},
		{"DTD", "ready", "<!DOCTYPE x>", "restricted-xml"},
		{"entity", "ready", strings.Replace(ok, ">x<", ">&nbsp;<", 1), "restricted-xml"},
		{"undeclared prefix", "ready", "<message><foo:body/></message>", "bad-namespace-prefix"},
		{"attribute twice", "ready", "<message to='a.example' to='a.example'/>", "not-well-formed"},
		{"wrong end tag", "ready", "<message></presence>", "not-well-formed"},
		{"not UTF-8", "ready", strings.Replace(ok, ">x<", ">\xff<", 1), "unsupported-encoding"},
		{"text between stanzas", "ready", "hello<x/>", "bad-format"},
		{"byte order mark", "ready", "\uFEFF" + ok, "bad-format"},
		{"oversize", "ready", strings.Replace(ok, ">x<", ">"+strings.Repeat("y", 20_000)+"<", 1), "policy-violation"},
		{"too deep", "ready", "<message>" + deep, "policy-violation"},
		{"too many attributes", "ready", "<message a='' b='' c='' d='' e='' f='' g='' h='' i='' j='' k=''/>", "policy-violation"},
		{"too many children", "ready", "<message>" + strings.Repeat("<x/>", 4001), "policy-violation"},
		{"unknown name", "ready", "<foo/>", "unsupported-stanza-type"},
		{"unknown namespace", "ready", "<r xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"},
		{"jabber:client", "ready", strings.Replace(ok, "<message", "<message xmlns='jabber:client'", 1), "invalid-namespace"},
		{"no to", "ready", "<message from='juliet@b.example'/>", "improper-addressing"},
		{"no from", "ready", "<message to='romeo@a.example'/>", "improper-addressing"},
		{"empty from", "ready", "<message to='romeo@a.example' from=''/>", "improper-addressing"},
		{"from is no address", "ready", chat("@b.example", "romeo@a.example", "x"), "improper-addressing"},
		{"forged from", "ready", chat("tybalt@c.example", "romeo@a.example", "x"), "invalid-from"},
		{"from a subdomain", "ready", chat("tybalt@sub.b.example", "romeo@a.example", "x"), "invalid-from"},
		{"from us", "ready", chat("romeo@a.example", "romeo@a.example", "x"), "invalid-from"},
		{"to another domain of ours", "ready", chat("juliet@b.example", "romeo@also.example", "x"), "host-unknown"},
		{"to a domain of others", "ready", chat("juliet@b.example", "romeo@c.example", "x"), "host-unknown"},
		{"dialback without addresses", "ready", "<db:result>x</db:result>", "improper-addressing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.call()
			r.t = t
			switch c.state {
			case "clear":
				r.send(head("b.example", "a.example")).expect("</stream:features>")
			case "secure":
				r.secure("b.example", "a.example", is).send(head("b.example", "a.example")).expect("</stream:features>")
			case "ready":
				r.authenticate("b.example", "a.example", is)
			}
			r.send(c.text)
			got := r.rest()
			want := "<stream:error><" + c.want + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
			if c.want == "" {
				want = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
			}
			if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "</stream:stream>") {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			select {
			case a := <-d.got:
				t.Errorf("the handler got %s", a.text)
			default:
			}
		})
	}
}

// A stanza as long as the limit is taken, and one may be 10,000 bytes long
// (RFC 6120, section 13.12).
func TestStanzaSize(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", func(s *settings) { s.s2s.Limits.Message = 10_000 })
	r := d.call().authenticate("b.example", "a.example", w.issue("b.example"))
	frame := chat("juliet@b.example", "romeo@a.example", "")
	r.send(chat("juliet@b.example", "romeo@a.example", strings.Repeat("y", 10_000-len(frame))))
	if got := wait(t, d.got); strings.Count(got.text, "y") < 9_000 {
		t.Errorf("%d bytes came", len(got.text))
	}
}

// Whoever sends too much hears of it as a stanza error, without the payload,
// on our own stream (RFC 6120, section 13.12).
func TestBounce(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", func(s *settings) { s.s2s.Limits.Message = 10_000 })
	b := w.start("b.example").publish()
	r := d.call().authenticate("b.example", "a.example", w.issue("b.example"))
	r.send(chat("juliet@b.example/balcony", "romeo@a.example", strings.Repeat("y", 10_000)))
	got := wait(t, b.got).text
	for _, want := range []string{"type='error'", "to='juliet@b.example/balcony'", "from='romeo@a.example'", "id='1'", "<policy-violation "} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	if strings.Contains(got, "yyy") {
		t.Error("the payload came back")
	}
}

// What came in the clear behind starttls is not part of the secured stream
// (RFC 6120, section 5.4.3.3).
func TestInjection(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().send(head("b.example", "a.example"))
	r.expect("</stream:features>")
	r.send(startTLS + head("evil.example", "a.example") + chat("x@evil.example", "romeo@a.example", "injected"))
	r.expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	r.handshake(w.issue("b.example")).send(head("b.example", "a.example")).expect("<mechanism>EXTERNAL</mechanism>")
	r.send(auth("b.example")).expect(success)
	r.send(head("b.example", "a.example"), chat("juliet@b.example", "romeo@a.example", "genuine"))
	if got := wait(t, d.got); !strings.Contains(got.text, "genuine") || !got.peer.SpeaksFor("b.example") || got.peer.SpeaksFor("evil.example") {
		t.Errorf("got %+v", got)
	}
}

// SASL EXTERNAL in all its answers (RFC 6120, sections 6.4 and 6.5).
func TestSASL(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	right, wrong := w.issue("b.example"), w.issue("c.example")
	sasl := func(name, content string) string {
		return "<" + name + " xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>" + content + "</" + name + ">"
	}
	fail := func(c string) string {
		return "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + c + "/></failure>"
	}
	challenge := "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	for _, c := range []struct {
		name  string
		wrong bool
		steps []string // we send, we expect, ...
	}{
		{"authzid", false, []string{auth("b.example"), success}},
		{"no authzid", false, []string{auth("="), success}},
		{"authzid in capitals", false, []string{auth("B.Example"), success}},
		{"authzid of another", false, []string{auth("c.example"), fail("invalid-authzid")}},
		{"authzid of a user", false, []string{auth("x@b.example"), fail("invalid-authzid")}},
		{"other certificate", true, []string{auth("="), fail("not-authorized")}},
		{"authzid of the other certificate", true, []string{auth("c.example"), fail("invalid-authzid")}},
		{"PLAIN", false, []string{strings.Replace(auth("="), "EXTERNAL", "PLAIN", 1), fail("invalid-mechanism")}},
		{"no base64", false, []string{sasl("auth", "b.example"), fail("incorrect-encoding")}},
		{"misplaced padding", false, []string{sasl("auth", "=AAA"), fail("incorrect-encoding")}},
		{"line break", false, []string{sasl("auth", "Yi5l\neGFtcGxl"), fail("incorrect-encoding")}},
		{"challenge", false, []string{sasl("auth", ""), challenge, sasl("response", ""), success}},
		{"challenge, authzid", false, []string{sasl("auth", ""), challenge, sasl("response", "Yi5leGFtcGxl"), success}},
		{"white space before it begins", false, []string{"\n " + auth("="), success}},
		{"white space inside", false, []string{sasl("auth", ""), challenge, "\n" + sasl("response", "="), fail("malformed-request"), auth("="), success}},
		{"white space before another", false, []string{sasl("auth", ""), challenge, " " + auth("="), fail("malformed-request")}},
		{"white space in base64", false, []string{sasl("auth", " Yi5leGFtcGxl"), fail("incorrect-encoding")}},
		{"response without challenge", false, []string{sasl("response", "="), fail("malformed-request")}},
		{"abort", false, []string{sasl("auth", ""), challenge, sasl("abort", ""), fail("aborted"), auth("="), success}},
		{"second try", false, []string{auth("c.example"), fail("invalid-authzid"), auth("="), success}},
		{"too many tries", false, []string{auth("c.example"), fail("invalid-authzid"), auth("c.example"), fail("invalid-authzid"),
			auth("c.example"), fail("invalid-authzid") + "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := right
			if c.wrong {
				is = wrong
			}
			r := d.call()
			r.t = t
			r.secure("b.example", "a.example", is).send(head("b.example", "a.example"))
			if offered := strings.Contains(r.expect("</stream:features>"), "EXTERNAL"); offered == c.wrong {
				t.Errorf("EXTERNAL is offered: %v", offered)
			}
			for i := 0; i < len(c.steps); i += 2 {
				if got := r.send(c.steps[i]).expect(c.steps[i+1]); got != c.steps[i+1] {
					t.Errorf("got %s", got)
				}
			}
		})
	}
}

// After SASL the stream must be for those who have authenticated (RFC 6120,
// section 6.4.6).
func TestOtherAfterSASL(t *testing.T) {
	w := newWorld(t)
	log := make(chan string, 100)
	d := w.start("a.example", func(s *settings) { s.s2s.Log = slog.New(slog.NewTextHandler(lines(log), nil)) })
	r := d.call().secure("b.example", "a.example", w.issue("b.example"))
	r.send(head("b.example", "a.example")).expect("</stream:features>")
	r.send(askBidi, auth("=")).expect(success)
	r.send(head("c.example", "a.example"))
	if got := r.rest(); !strings.Contains(got, "<invalid-from ") {
		t.Errorf("got %s", got)
	}
	d.stop()
	for len(log) > 0 {
		if line := <-log; strings.Contains(line, "peer=c.example") {
			t.Errorf("log: %s", line)
		}
	}
}

// A stream's language is that of its stanzas (RFC 6120, section 4.7.4).
func TestLang(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().authenticate("b.example", "a.example", w.issue("b.example"))
	r.send(chat("juliet@b.example", "romeo@a.example", "x"))
	r.send(strings.Replace(chat("juliet@b.example", "romeo@a.example", "y"), "<message", "<message xml:lang='fr'", 1))
	if got := wait(t, d.got).text; !strings.Contains(got, "xml:lang='de'") {
		t.Errorf("got %s", got)
	}
	if got := wait(t, d.got).text; !strings.Contains(got, "xml:lang='fr'") || strings.Contains(got, "'de'") {
		t.Errorf("got %s", got)
	}
}

// An end tag is answered; what came before it is served (RFC 6120, section
// 4.4).
func TestEnd(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().authenticate("b.example", "a.example", w.issue("b.example"))
	r.send(chat("juliet@b.example", "romeo@a.example", "last words"), "</stream:stream>")
	if got := r.rest(); got != "</stream:stream>" {
		t.Errorf("got %s", got)
	}
	if got := wait(t, d.got); !strings.Contains(got.text, "last words") {
		t.Errorf("got %s", got.text)
	}
}

// When we go, the peer is told, and what it still says is taken (RFC 6120,
// section 4.4).
func TestShutdown(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().authenticate("b.example", "a.example", w.issue("b.example"))
	gone := make(chan struct{})
	go func() { d.stop(); close(gone) }() // the test waits for it
	r.expect("</stream:stream>")
	r.send(chat("juliet@b.example", "romeo@a.example", "one more"), "</stream:stream>")
	if got := wait(t, d.got); !strings.Contains(got.text, "one more") {
		t.Errorf("got %s", got.text)
	}
	wait(t, gone)
	if got := r.rest(); got != "" {
		t.Errorf("after the end tag came %s", got)
	}
}

// Before we go we take no more, but what we still have to say is sent.
func TestRetire(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a.example").publish(), w.start("b.example").publish()
	r := a.call().authenticate("c.example", "a.example", w.issue("c.example"))
	a.Retire()
	r.expect("</stream:stream>")
	r.send(chat("juliet@c.example", "romeo@a.example", "one more"), "</stream:stream>")
	if got := wait(t, a.got); !strings.Contains(got.text, "one more") {
		t.Errorf("got %s", got.text)
	}
	if got := r.rest(); got != "" {
		t.Errorf("after the end tag came %s", got)
	}
	if nc, err := net.Dial("tcp", a.addr.String()); err == nil {
		nc.SetReadDeadline(time.Now().Add(patience))
		if n, err := nc.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a new connection: %d, %v", n, err)
		}
		nc.Close()
	}
	written(t, a.send("juliet@b.example", "farewell"))
	if got := wait(t, b.got); !strings.Contains(got.text, "farewell") {
		t.Errorf("got %s", got.text)
	}
	for _, p := range a.Peers() {
		if p.Inbound {
			t.Errorf("left: %+v", p)
		}
	}
}

// A peer that comes back before its old connection is known to be dead takes
// over; the old stream is told.
func TestConflict(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	is := w.issue("b.example")
	old := d.call().authenticate("b.example", "a.example", is)
	again := d.call().secure("b.example", "a.example", is)
	again.send(head("b.example", "a.example")).expect("</stream:features>")
	old.send(chat("juliet@b.example", "romeo@a.example", "1")) // nothing has been proved by the second yet
	wait(t, d.got)
	again.send(auth("=")).expect(success)
	old.expect("<stream:error><conflict ")
	again.send(head("b.example", "a.example"), chat("juliet@b.example", "romeo@a.example", "2"))
	if got := wait(t, d.got); !strings.Contains(got.text, ">2<") {
		t.Errorf("got %s", got.text)
	}
}

// No more connections than the limits allow, in all and from one address, and
// room again when one has gone (XEP-0205, section 3).
func TestConnectionLimits(t *testing.T) {
	for name, lim := range map[string]federation.Limits{"address": {ConnsPerIP: 2}, "all": {Conns: 2}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.start("a.example", func(s *settings) { s.s2s.Limits, s.s2s.Attempts = lim, 1e6 })
			one, two := d.call(), d.call()
			one.send(head("b.example", "a.example")).expect("</stream:features>")
			two.send(head("b.example", "a.example")).expect("</stream:features>")
			if got := d.call().rest(); got != "" {
				t.Errorf("the third got %s", got)
			}
			one.send("</stream:stream>").rest()
			for deadline := time.Now().Add(patience); ; { // until the place is free, which nobody announces
				r := d.call()
				r.nc.SetDeadline(deadline)
				r.nc.Write([]byte(head("b.example", "a.example")))
				n, _ := r.nc.Read(make([]byte, 1))
				r.nc.Close()
				if n == 1 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("no room")
				}
			}
		})
	}
}

// Direct TLS needs no STARTTLS and offers none (XEP-0368, section 3).
func TestDirectTLS(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	is := w.issue("b.example")
	nc, err := tls.Dial("tcp", d.dtls.String(), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"xmpp-server"}, Certificates: []tls.Certificate{is.TLS},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if p := nc.ConnectionState().NegotiatedProtocol; p != "xmpp-server" {
		t.Errorf("ALPN %q", p)
	}
	r := &raw{t: t, nc: nc}
	if got := r.send(head("b.example", "a.example")).expect("</stream:features>"); strings.Contains(got, "starttls") || !strings.Contains(got, "EXTERNAL") {
		t.Errorf("features %s", got)
	}
	r.send(auth("=")).expect(success)
	r.send(head("b.example", "a.example"), chat("juliet@b.example", "romeo@a.example", "x"))
	if got := wait(t, d.got); got.peer.Via != federation.TLS || got.peer.Proof != federation.Certificate {
		t.Errorf("got %+v", got.peer)
	}
}

// Who names no domain in its header cannot use its certificate (RFC 6120,
// section 4.7.1).
func TestNoFrom(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().secure("b.example", "a.example", w.issue("b.example"))
	r.send("<stream:stream " + streamNS + " to='a.example' version='1.0'>")
	if got := r.expect("</stream:features>"); strings.Contains(got, "EXTERNAL") || !strings.Contains(got, "<dialback ") {
		t.Errorf("features %s", got)
	}
	r.send(auth("=")).expect("<not-authorized/></failure>")
}

// Each domain of ours shows its own certificate, also to a peer that sends no
// SNI (RFC 6120, section 5.4.3.1).
func TestCertificateOfTo(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", func(s *settings) {
		s.book.stands = append(s.book.stands, "also.example")
		s.trust.Certs = append(s.trust.Certs, w.issue("also.example").TLS)
	})
	for _, to := range []string{"a.example", "also.example"} {
		r := d.call().secure("b.example", to, nil)
		if names := r.nc.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != to {
			t.Errorf("to %s: certificate of %v", to, names)
		}
	}
}
