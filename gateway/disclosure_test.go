package gateway_test

import (
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/xmltree"
	"cpimgate/gateway/gatewaytest"
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
