package s2s_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"cpimgate/federation"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trust/trusttest"
)

// The examples of XEP-0185, section 3, and XEP-0220, sections 2.1.1 and 2.2.2.
func TestKey(t *testing.T) {
	for _, c := range []struct{ secret, receiving, originating, id, want string }{
		{"s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F", "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"},
		{"s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F", "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3"},
		{"d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25", "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d"},
	} {
		if got := s2s.Key([]byte(c.secret), c.receiving, c.originating, c.id); got != c.want {
			t.Errorf("%+v gives %s", c, got)
		}
	}
}

// stranger returns a certificate that nobody in the world trusts.
func (w *world) stranger(domains ...string) *trusttest.Issued {
	w.Helper()
	ca, err := trusttest.NewCA("stranger")
	if err != nil {
		w.Fatal(err)
	}
	is, err := ca.Issue(trusttest.Options{DNS: domains})
	if err != nil {
		w.Fatal(err)
	}
	return is
}

func result(from, to, key string) string {
	return "<db:result from='" + from + "' to='" + to + "'>" + key + "</db:result>"
}

func dbError(name, from, to, id, condition string) string {
	if id != "" {
		id = " id='" + id + "'"
	}
	return "<db:" + name + " from='" + from + "' to='" + to + "'" + id + " type='error'><error type='cancel'><" + condition +
		" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:" + name + ">"
}

// As authoritative server we know our keys again, and nobody else's, and need
// no memory for that (XEP-0220, section 2.2.2).
func TestAuthoritative(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("clear.example", federation.PlainOK), func(s *settings) { s.s2s.Secret = []byte("s3cr3t") })
	r := d.call().secure("b.example", "a.example", nil).send(head("b.example", "a.example"))
	r.expect("</stream:features>")
	verify := func(to, id, key string) string {
		return "<db:verify from='b.example' to='" + to + "' id='" + id + "'>" + key + "</db:verify>"
	}
	key := s2s.Key([]byte("s3cr3t"), "b.example", "a.example", "id1")
	for _, c := range []struct{ name, ask, want string }{
		{"ours", verify("a.example", "id1", key), "<db:verify from='a.example' to='b.example' id='id1' type='valid'></db:verify>"},
		{"white space", verify("a.example", "id1", "\n  "+key+"\n"), "<db:verify from='a.example' to='b.example' id='id1' type='valid'></db:verify>"},
		{"other stream", verify("a.example", "id2", key), "<db:verify from='a.example' to='b.example' id='id2' type='invalid'></db:verify>"},
		{"forged", verify("a.example", "id1", strings.Repeat("0", 64)), "<db:verify from='a.example' to='b.example' id='id1' type='invalid'></db:verify>"},
		{"empty", verify("a.example", "id1", ""), "<db:verify from='a.example' to='b.example' id='id1' type='invalid'></db:verify>"},
		{"not ours", verify("c.example", "id1", key), dbError("verify", "c.example", "b.example", "id1", "item-not-found")},
		{"an answer is dropped", "<db:verify from='b.example' to='a.example' id='id1' type='valid'/>" + verify("a.example", "id3", key),
			"<db:verify from='a.example' to='b.example' id='id3' type='invalid'></db:verify>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := r.send(c.ask).expect("</db:verify>"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	clear := d.call().send(head("b.example", "a.example"))
	clear.expect("</stream:features>")
	if got := clear.send(verify("a.example", "id1", key)).expect("</db:verify>"); got != dbError("verify", "a.example", "b.example", "id1", "policy-violation") {
		t.Errorf("before TLS: %s", got)
	}
}

// As receiving server we let dialback prove a domain only where its rules allow
// that (decision D-73), and a certificate that proves it spares the call back.
func TestReceivingRules(t *testing.T) {
	const policy, denied = "policy-violation", "not-authorized"
	for _, c := range []struct {
		name     string
		security federation.Security
		tls      bool
		is       string // certificate: "", right, wrong
		want     string
		fatal    string
	}{
		{"required, in the clear", federation.Required, false, "", policy, ""},
		{"required, no certificate", federation.Required, true, "", denied, policy},
		{"required, wrong certificate", federation.Required, true, "wrong", denied, policy},
		{"required, right certificate", federation.Required, true, "right", "valid", ""},
		{"dialback-ok, in the clear", federation.DialbackOK, false, "", policy, ""},
		{"dialback-ok, right certificate", federation.DialbackOK, true, "right", "valid", ""},
		{"dialback-ok, no certificate", federation.DialbackOK, true, "", "remote-server-not-found", ""}, // b.example is not in the zone
		{"plain-ok, in the clear", federation.PlainOK, false, "", "remote-server-not-found", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := w.start("a.example", rule("b.example", c.security))
			is := map[string]*trusttest.Issued{"right": w.issue("b.example"), "wrong": w.stranger("b.example")}[c.is]
			r := d.call()
			if c.tls {
				r.secure("b.example", "a.example", is)
			}
			r.send(head("b.example", "a.example")).expect("</stream:features>")
			want := dbError("result", "a.example", "b.example", "", c.want)
			if c.want == "valid" {
				want = "<db:result from='a.example' to='b.example' type='valid'></db:result>"
			}
			if got := r.send(result("b.example", "a.example", "key")).expect("</db:result>"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			switch {
			case c.fatal != "":
				if got := r.rest(); !strings.Contains(got, "<"+c.fatal+" ") {
					t.Errorf("the stream ends with %s", got)
				}
			case c.want == "valid":
				r.send(chat("juliet@b.example", "romeo@a.example", "x"))
				if got := wait(t, d.got); got.peer.Proof != federation.Certificate {
					t.Errorf("got %+v", got)
				}
			default: // the error is not fatal (XEP-0220, section 2.5)
				r.send(result("b.example", "nobody.example", "key"))
				if got := r.expect("</db:result>"); got != dbError("result", "nobody.example", "b.example", "", "item-not-found") {
					t.Errorf("the next answer is %s", got)
				}
			}
		})
	}
}

var verifyID = regexp.MustCompile(`^<db:verify from='a\.example' to='([^']*)' id='([^']*)'>(.*)</db:verify>$`)

// authority plays the authoritative server of a domain, whose connections come
// from d, up to db:verify, and returns it with the id and the key asked about.
func (w *world) authority(l net.Listener, is *trusttest.Issued) (r *raw, domain, id, key string) {
	w.Helper()
	r = w.accept(l).serve(w, is, "<dialback xmlns='urn:xmpp:features:dialback'/>")
	m := verifyID.FindStringSubmatch(r.expect("</db:verify>"))
	if m == nil {
		w.Fatal("not what a receiving server asks")
	}
	return r, m[1], m[2], m[3]
}

// Each answer of the authoritative server, and what it does to the first and to
// a later pair of a stream (XEP-0220, sections 2.2.1 and 2.5).
func TestReceivingVerdicts(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("b.example", federation.DialbackOK), rule("sub.b.example", federation.DialbackOK))
	l := w.listen()
	w.Cleanup(func() { l.Close() })
	w.at("_xmpp-server", "b.example", addrOf(l))
	w.at("_xmpp-server", "sub.b.example", addrOf(l))
	is := w.stranger("b.example")
	valid := "<db:result from='a.example' to='b.example' type='valid'></db:result>"
	for _, c := range []struct {
		name, answer string // what follows from and to in the answer; "close" ends the connection
		first, later string
		fatal        bool
	}{
		{"valid", " type='valid'/>", valid, "", false},
		{"invalid", " type='invalid'/>", "<db:result from='a.example' to='b.example' type='invalid'></db:result>", "forbidden", true},
		{"error", " type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>",
			dbError("result", "a.example", "b.example", "", "remote-server-not-found"), "remote-server-not-found", false},
		{"no answer", "close", dbError("result", "a.example", "b.example", "", "remote-server-timeout"), "remote-server-timeout", false},
	} {
		answer := func(r *raw, domain, id string) {
			if c.answer == "close" {
				r.nc.Close()
				return
			}
			r.send("<db:verify from='"+domain+"' to='a.example' id='"+id+"'", c.answer)
		}
		t.Run(c.name+"/first", func(t *testing.T) {
			r := d.call()
			id := r.secure("b.example", "a.example", is).begin("b.example", "a.example")
			r.send(result("b.example", "a.example", "key"))
			auth, domain, asked, key := w.authority(l, is)
			if domain != "b.example" || asked != id || key != "key" {
				t.Errorf("asked about %s %s %s", domain, asked, key)
			}
			answer(auth, domain, asked)
			if got := r.expect("</db:result>"); got != c.first {
				t.Errorf("got  %s\nwant %s", got, c.first)
			}
			if c.fatal {
				r.rest()
			} else if c.name == "valid" {
				r.send(chat("juliet@b.example", "romeo@a.example", "x"))
				if got := wait(t, d.got); got.peer.Proof != federation.Dialback || !got.peer.SpeaksFor("b.example") {
					t.Errorf("got %+v", got)
				}
			}
		})
		t.Run(c.name+"/later", func(t *testing.T) {
			r := d.call()
			r.authenticate("b.example", "a.example", w.issue("b.example"))
			r.send(result("sub.b.example", "a.example", "key"))
			auth, domain, asked, _ := w.authority(l, is)
			r.send(chat("juliet@b.example", "romeo@a.example", "meanwhile")) // a verified pair goes on
			wait(t, d.got)
			answer(auth, domain, asked)
			want := strings.ReplaceAll(c.first, "'b.example'", "'sub.b.example'")
			if c.later != "" {
				want = dbError("result", "a.example", "sub.b.example", "", c.later)
			}
			if got := r.expect("</db:result>"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			r.send(chat("juliet@b.example", "romeo@a.example", "afterwards"))
			wait(t, d.got)
			if c.name == "valid" {
				r.send(chat("juliet@sub.b.example", "romeo@a.example", "sub"))
				if got := wait(t, d.got); !got.peer.SpeaksFor("sub.b.example") {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}

// A stanza of a pair whose verification is under way closes the stream, and the
// verdict that comes later opens nothing (XEP-0220, section 2.1.1).
func TestStanzaBeforeVerdict(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("b.example", federation.DialbackOK))
	l := w.listen()
	w.Cleanup(func() { l.Close() })
	w.at("_xmpp-server", "b.example", addrOf(l))
	is := w.stranger("b.example")
	r := d.call()
	r.secure("b.example", "a.example", is).begin("b.example", "a.example")
	r.send(result("b.example", "a.example", "key"))
	w.authority(l, is)
	r.send(chat("juliet@b.example", "romeo@a.example", "too early"))
	if got := r.rest(); !strings.Contains(got, "<not-authorized ") {
		t.Errorf("got %s", got)
	}
}

// Verdicts that nobody has asked for, in the wrong direction, for another
// stream or pair, count for nothing (XEP-0220, section 3.1).
func TestUnsolicited(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example", rule("b.example", federation.DialbackOK))
	l := w.listen()
	w.Cleanup(func() { l.Close() })
	w.at("_xmpp-server", "b.example", addrOf(l))
	is := w.stranger("b.example")
	t.Run("inbound", func(t *testing.T) {
		r := d.call()
		r.secure("b.example", "a.example", is).begin("b.example", "a.example")
		r.send("<db:result from='b.example' to='a.example' type='valid'/>", "<db:verify from='b.example' to='a.example' id='x' type='valid'/>")
		r.send(chat("juliet@b.example", "romeo@a.example", "forged"))
		if got := r.rest(); !strings.Contains(got, "<not-authorized ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("verify", func(t *testing.T) {
		r := d.call()
		r.secure("b.example", "a.example", is).begin("b.example", "a.example")
		r.send(result("b.example", "a.example", "key"))
		auth, domain, id, _ := w.authority(l, is)
		for _, forged := range []string{
			"<db:verify from='" + domain + "' to='a.example' id='other' type='valid'/>",
			"<db:verify from='c.example' to='a.example' id='" + id + "' type='valid'/>",
			"<db:verify from='" + domain + "' to='c.example' id='" + id + "' type='valid'/>",
			"<db:result from='" + domain + "' to='a.example' type='valid'/>",
			"<db:verify from='" + domain + "' to='a.example' id='" + id + "' type='fine'/>",
		} {
			auth.send(forged)
		}
		auth.send("<db:verify from='" + domain + "' to='a.example' id='" + id + "' type='invalid'/>")
		if got := r.expect("</db:result>"); !strings.Contains(got, "type='invalid'") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("outbound", func(t *testing.T) {
		out := d.send("juliet@b.example", "hello")
		r := w.accept(l).serve(w, is, "<dialback xmlns='urn:xmpp:features:dialback'/>")
		r.expect("</db:result>")
		r.send("<db:result from='c.example' to='a.example' type='valid'/>", "<db:result from='b.example' to='c.example' type='valid'/>",
			"<db:verify from='b.example' to='a.example' id='x' type='valid'/>", "<db:result from='b.example' to='a.example' type='invalid'/>")
		if o := wait(t, out); o.how != federation.GivenUp {
			t.Errorf("outcome %v", o)
		}
	})
}

// What cannot be verified, and what is asked too often (XEP-0220, section 2.5).
func TestReceivingTrouble(t *testing.T) {
	w := newWorld(t)
	var names []string
	change := []func(*settings){rule("closed.example", federation.DialbackOK)}
	for i := range 9 {
		names = append(names, fmt.Sprintf("b%d.example", i))
		change = append(change, rule(names[i], federation.DialbackOK))
	}
	d := w.start("a.example", change...)
	closed, l := w.listen(), w.listen()
	closed.Close()
	w.at("_xmpp-server", "closed.example", addrOf(closed))
	is := w.stranger(names...)
	for _, name := range names {
		w.at("_xmpp-server", name, addrOf(l))
	}
	r := d.call()
	r.secure("closed.example", "a.example", is).begin("closed.example", "a.example")
	r.send(result("closed.example", "a.example", "key"))
	if got := r.expect("</db:result>"); got != dbError("result", "a.example", "closed.example", "", "remote-connection-failed") {
		t.Errorf("got %s", got)
	}
	r.send(result(names[0], "a.example", "key"), result(names[0], "a.example", "key")) // one call back, one answer
	first, domain, id, _ := w.authority(l, is)
	for _, name := range names[1:] {
		r.send(result(name, "a.example", "key"))
	}
	if got := r.expect("</db:result>"); got != dbError("result", "a.example", names[8], "", "resource-constraint") {
		t.Errorf("got %s", got)
	}
	first.send("<db:verify from='" + domain + "' to='a.example' id='" + id + "' type='valid'/>")
	if got := r.expect("</db:result>"); got != "<db:result from='a.example' to='"+names[0]+"' type='valid'></db:result>" {
		t.Errorf("got %s", got)
	}
	r.send(chat("juliet@"+names[0], "romeo@a.example", "x"))
	wait(t, d.got)
	l.Close()
}

// A stream takes a bounded number of pairs, however they are proved.
func TestReceivingBound(t *testing.T) {
	w := newWorld(t)
	d := w.start("a.example")
	r := d.call().secure("b.example", "a.example", w.issue("b.example", "*.b.example")).send(head("b.example", "a.example"))
	r.expect("</stream:features>")
	for i := range 65 {
		name := fmt.Sprintf("n%d.b.example", i)
		want := "<db:result from='a.example' to='" + name + "' type='valid'></db:result>"
		if i == 64 {
			want = dbError("result", "a.example", name, "", "resource-constraint")
		}
		if got := r.send(result(name, "a.example", "key")).expect("</db:result>"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	r.send(result("n0.b.example", "a.example", "key")).expect("type='valid'></db:result>") // it is there already
	r.send(chat("juliet@n0.b.example", "romeo@a.example", "x"))
	wait(t, d.got)
}
