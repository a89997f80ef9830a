package gateway_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// TestDisclosure: what is not a message, and what a blocked user writes, is
// answered with the same words after the same time, whether the user who was
// asked for is there, has another device, or does not exist; and nobody behind
// us is asked (RFC 6120, sections 13.10.2 and 13.11; RFC 6121, section 8.5).
func TestDisclosure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world(t, gatewaytest.Options{
			Net: gatewaytest.NewMemory(), SIPUsers: []string{"romeo"}, XMPPUsers: []string{"juliet", "mercutio"},
			YAML: "policy: {block: [tybalt@example.net, mercutio@example.com]}\nlimits: {strangers: 1000}\n",
		})
		const juliet, mercutio = "juliet@example.com/b", "mercutio@example.com/b"
		for _, tt := range []struct {
			name, from, stanza string
			silence            bool
		}{
			{"info", juliet, "<iq type='get' %s><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", false},
			{"items", juliet, "<iq type='get' %s><query xmlns='http://jabber.org/protocol/disco#items'/></iq>", false},
			{"last", juliet, "<iq type='get' %s><query xmlns='jabber:iq:last'/></iq>", false},
			{"version", juliet, "<iq type='get' %s><query xmlns='jabber:iq:version'/></iq>", false},
			{"ping", juliet, "<iq type='get' %s><ping xmlns='urn:xmpp:ping'/></iq>", false},
			{"vcard", juliet, "<iq type='get' %s><vCard xmlns='vcard-temp'/></iq>", false},
			{"set", juliet, "<iq type='set' %s><query xmlns='jabber:iq:roster'/></iq>", false},
			{"groupchat", juliet, "<message type='groupchat' %s><body>Hark</body></message>", false},
			{"room", juliet, "<presence %s><x xmlns='http://jabber.org/protocol/muc'/></presence>", false},
			{"blocked", mercutio, "<message %s><body>Hark</body></message>", false},
			{"blocked typing", mercutio, "<message %s><composing xmlns='http://jabber.org/protocol/chatstates'/></message>", false},
			{"probe", juliet, "<presence type='probe' %s/>", true},
			{"subscribe", juliet, "<presence type='subscribe' %s/>", true},
			{"directed", juliet, "<presence %s/>", true},
		} {
			var answers []string
			for _, to := range []string{"romeo@example.net", "romeo@example.net/orchard", "nobody@example.net", "nobody@example.net/x"} {
				e := parseStanza(t, fmt.Sprintf(tt.stanza, fmt.Sprintf("from='%s' to='%s' id='x'", tt.from, to)))
				answers = append(answers, tells(t, w, e))
			}
			same(t, tt.name, answers)
			if (answers[0] == "") != tt.silence {
				t.Errorf("%s: heard %q", tt.name, answers[0])
			}
		}
		for _, tt := range []struct {
			name, user string
			method     sip.RequestMethod
		}{
			{"blocked on SIP", "tybalt", sip.MESSAGE}, {"OPTIONS", "romeo", sip.OPTIONS},
			{"INVITE", "romeo", sip.INVITE}, {"SUBSCRIBE", "romeo", sip.SUBSCRIBE},
		} {
			for _, device := range []string{"", ";gr=b"} {
				var answers []string
				for _, to := range []string{"juliet", "nobody"} {
					answers = append(answers, responds(t, w, tt.method, tt.user, to+"@example.com"+device))
				}
				same(t, tt.name+device, answers)
			}
		}
		if len(w.SIP.Requests)+len(w.XMPP.Stanzas) > 0 {
			t.Error("somebody was asked")
		}
	})
}

// same fails the test unless all answers are one.
func same(t *testing.T, name string, answers []string) {
	t.Helper()
	for _, a := range answers[1:] {
		if a != answers[0] {
			t.Errorf("%s: heard\n%s\nand\n%s", name, answers[0], a)
		}
	}
}

// tells sends a stanza and returns what comes back without addresses, and how
// much later; "" is nothing, for a minute.
func tells(t *testing.T, w *gatewaytest.World, e *xmltree.Element) string {
	t.Helper()
	start := time.Now()
	var got *xmltree.Element
	if e.Name.Local == "iq" {
		var err error
		if got, err = w.XMPP.Ask(e); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := w.XMPP.Send(e); err != nil {
			t.Fatal(err)
		}
		select {
		case got = <-w.XMPP.Stanzas:
		case <-time.After(time.Minute):
			return ""
		}
	}
	addresses := regexp.MustCompile(` (from|to)='[^']*'`)
	return addresses.ReplaceAllString(got.String(), "") + " after " + time.Since(start).String()
}

// responds sends a request and returns the response without what names this
// exchange, and how much later.
func responds(t *testing.T, w *gatewaytest.World, method sip.RequestMethod, user, to string) string {
	t.Helper()
	var uri sip.Uri
	setURI(t, &uri, "sip:"+to)
	req := sip.NewRequest(method, uri)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: "example.net"}, Params: sip.NewParams()})
	req.AppendHeader(&sip.ToHeader{Address: uri, Params: sip.NewParams()})
	start := time.Now()
	res, err := w.SIP.Send(req)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^(Via|From|To|Call-ID|CSeq): .*$`)
	return names.ReplaceAllString(res.String(), "$1") + " after " + time.Since(start).String()
}

// TestHiddenHosts: where a user's client is crosses in neither direction,
// whatever of it a request or response says (RFC 2779, sections 5.1 and 5.4;
// RFC 6120, section 13.10.1).
func TestHiddenHosts(t *testing.T) {
	out := make(chan string, 1000)
	w := world(t, gatewaytest.Options{Trace: func(r federation.Record) {
		if r.Out && !strings.HasPrefix(string(r.Text), "SIP/2.0 ") { // a response goes back with the Via of the request
			out <- string(r.Wire) + ": " + string(r.Text)
		}
	}})
	w.SIP.Script()
	req := parse(t, testdata.CRLF(strings.Replace(message, "Call-ID: c1\n", `Contact: <sip:romeo@192.0.2.77:5060>
Record-Route: <sip:192.0.2.77;lr>
Call-ID: 7f3a@192.0.2.77
Call-Info: <http://192.0.2.77/romeo.png>;purpose=icon
User-Agent: client/1.0 (192.0.2.77)
X-Forwarded-For: 2001:db8::77
`, 1)))
	if res, err := w.SIP.Send(req); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	e := receive(t, w.XMPP.Stanzas)
	if thread := e.Child(xep.NS, "thread"); thread == nil || thread.Text() == "" {
		t.Errorf("juliet has received %s", e)
	}
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Hark"); err != nil {
		t.Fatal(err)
	}
	<-w.SIP.Requests
	moved := sip.NewResponse(sip.StatusMovedTemporarily, "Moved")
	moved.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "romeo", Host: "192.0.2.77"}})
	if err := w.SIP.Answer(moved); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, w.XMPP.Stanzas); xep.ErrorOf(e).Condition != "redirect" || xep.ErrorOf(e).Address != "" {
		t.Errorf("juliet hears %s", e)
	}
	stanzas, requests := 0, 0
	for len(out) > 0 {
		text := <-out
		if strings.HasPrefix(text, "XMPP: <message ") {
			stanzas++
		}
		if strings.HasPrefix(text, "SIP: MESSAGE ") {
			requests++
		}
		for _, host := range []string{"192.0.2.77", "2001:db8::77", "127.0.0.1"} {
			if strings.Contains(text, host) {
				t.Errorf("%s is shown in %s", host, text)
			}
		}
	}
	if stanzas != 2 || requests != 1 {
		t.Errorf("%d stanzas and %d requests were looked at", stanzas, requests)
	}
}
