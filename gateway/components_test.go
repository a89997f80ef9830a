package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/gatewaytest"
)

const alias = `tybalt\40example.org@gw.example.com`

// home is a world in which example.com, where people use XMPP, is ours. It sees
// example.net as a component, and all else under the gateway name, which is a
// component too.
func home(t *testing.T, o gatewaytest.Options) *gatewaytest.World {
	t.Helper()
	if o.Attached == nil {
		o.Attached = map[string]string{"example.net": "secret", "gw.example.com": "other"}
	}
	o.Admin = "127.0.0.1:0"
	w := world(t, o)
	for domain := range o.Attached {
		connected(t, w, domain, true)
	}
	return w
}

func connected(t *testing.T, w *gatewaytest.World, domain string, want bool) {
	t.Helper()
	if err := w.XMPP.Await(domain, want); err != nil {
		t.Fatal(err)
	}
}

// writes has a user of a SIP domain write, and juliet read it.
func writes(t *testing.T, w *gatewaytest.World, d *gatewaytest.SIPDomain, user, from string) {
	t.Helper()
	if res, err := d.Write(user, "juliet@example.com", "Hark"); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s is answered %v, %v", user, res, err)
	}
	if e := receive(t, w.XMPP.Stanzas); e.Get("from") != from || e.Get("type") == "error" {
		t.Errorf("there came %s, want one from %s", e, from)
	}
}

// answers has juliet write, and a user of a SIP domain read it.
func answers(t *testing.T, w *gatewaytest.World, d *gatewaytest.SIPDomain, to string) {
	t.Helper()
	if err := w.XMPP.Write("juliet", to, "j", "Speak again"); err != nil {
		t.Fatal(err)
	}
	select {
	case req := <-d.Requests:
		if string(req.Body()) != "Speak again" || req.From().Address.Addr() != "sip:juliet@example.com" {
			t.Errorf("%s: received %s", to, req)
		}
	case e := <-w.XMPP.Stanzas:
		t.Fatalf("%s: juliet hears %s", to, e)
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", to)
	}
}

// TestComponents: a SIP domain under its own name and others under the gateway
// name, both by components of the home's server, both ways; who is not there
// (XF-72, decision D-74).
func TestComponents(t *testing.T) {
	w := home(t, gatewaytest.Options{})
	other := sipDomain(t, w, "example.org", "tybalt")
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
	answers(t, w, w.SIP, "romeo@example.net")
	writes(t, w, other, "tybalt", alias)
	answers(t, w, other, alias)
	for _, d := range []*gatewaytest.SIPDomain{w.SIP, other} {
		if res, err := d.Write("x", "nobody@example.com", "Hark"); err != nil || res.StatusCode != 403 {
			t.Errorf("to nobody: %v, %v", res, err)
		}
	}
	for _, to := range []string{"nobody@example.net", `nobody\40example.org@gw.example.com`} {
		if e := hears(t, w, "juliet", to); !strings.Contains(e, "<item-not-found ") {
			t.Errorf("%s: there came %s", to, e)
		}
	}
	for _, line := range []string{
		fmt.Sprintf(`cpimgate_component_up{domain="example.net",server=%q} 1`, w.XMPP.Components()),
		fmt.Sprintf(`cpimgate_component_up{domain="gw.example.com",server=%q} 1`, w.XMPP.Components()),
		`cpimgate_connections{direction="component",wire="XMPP"} 2`,
	} {
		if !strings.Contains(metrics(t, w), line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// TestNoName: a SIP domain for which the home has no name is told which setting
// there would be.
func TestNoName(t *testing.T) {
	w := home(t, gatewaytest.Options{Attached: map[string]string{"example.net": "secret"}})
	if _, _, err := w.Reload(strings.Replace(w.YAML, "gateway: gw.example.com, ", "", 1)); err != nil {
		t.Fatal(err)
	}
	other := sipDomain(t, w, "example.org", "tybalt")
	res, err := other.Write("tybalt", "juliet@example.com", "Hark")
	if err != nil || res.StatusCode != 403 || !strings.Contains(res.String(), "Warning: 399 gw.example.net \"No component is configured") {
		t.Errorf("%v, %v", res, err)
	}
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
}

// TestVouched: a component's server speaks for its own users. Whom else it
// relays it has verified, but he is not served and hears so (RES-23); what
// claims to come from a domain that is nobody's but ours is forged (GW-06).
func TestVouched(t *testing.T) {
	out := make(chan string, 100)
	w := home(t, gatewaytest.Options{Trace: func(r federation.Record) {
		if text := string(r.Text); r.Wire == federation.XMPP && r.Out && !strings.Contains(text, "<ping ") { // which asks what was taken
			out <- text
		}
	}})
	const body = "<body>Hark</body></message>"
	for _, tt := range []struct{ name, stanza, answer string }{
		{"relayed", "<message from='mercutio@other.example/x' to='romeo@example.net' id='1'>" + body, "<not-allowed "},
		{"relayed to the gateway", "<message from='mercutio@other.example/x' to='" + alias + "' id='1'>" + body, "<not-allowed "},
		{"relayed to a room", "<presence from='mercutio@other.example/x' to='verona@example.net/m' id='1'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "<not-allowed "},
		{"its own domain", "<message from='tybalt@example.net' to='romeo@example.net' id='1'>" + body, ""},
		{"another component", "<message from='" + alias + "' to='romeo@example.net' id='1'>" + body, ""},
		{"presence", "<presence from='mercutio@other.example/x' to='romeo@example.net'/>", ""},
		{"error", "<message type='error' from='mercutio@other.example/x' to='romeo@example.net' id='1'>" + body, ""},
		{"ping", "<iq from='mercutio@other.example/x' to='example.net' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "type='result'"},
		{"not a domain", "<message from='mercutio@other.example' to='a@b@c' id='1'>" + body, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.XMPP.Send(parseStanza(t, tt.stanza)); err != nil && tt.name != "not a domain" {
				t.Fatal(err)
			}
			want := tt.answer
			if want == "" { // silence: what is heard next is about the next
				if err := w.XMPP.Write("juliet", "example.net", "next", "Hark"); err != nil {
					t.Fatal(err)
				}
				want = "id='next'"
			}
			if got := <-out; !strings.Contains(got, want) {
				t.Errorf("there came %s, want %s", got, want)
			}
		})
	}
	if n := len(w.SIP.Requests); n > 0 {
		t.Errorf("romeo has received %d messages", n)
	}
	if served, spoofed := counted(t, w, "XMPP", "not_served"), counted(t, w, "XMPP", "spoofed"); served != "4" || spoofed != "2" {
		t.Errorf("not_served %q, spoofed %q", served, spoofed)
	}
}

// TestComponentReload: components come, change and go in a running gateway. A
// secret that is wrong is told, and one that was put right is used at once.
func TestComponentReload(t *testing.T) {
	w := home(t, gatewaytest.Options{Attached: map[string]string{"example.net": "secret"}})
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
	reload := func(yaml, want string) {
		t.Helper()
		live, restart, err := w.Reload(yaml)
		if err != nil || strings.Join(live, " ") != want || len(restart) > 0 {
			t.Fatal(live, restart, err)
		}
	}
	w.XMPP.Know(map[string]string{"example.net": "changed"})
	if err := w.XMPP.Sever("example.net"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() { // the channel is waited for
		res, err := w.SIP.Write("romeo", "juliet@example.com", "Hark")
		answered <- fmt.Sprint(res, err)
	}()
	reload(w.YAML, "") // the file is still the old one
	if err := w.Secret("example.net", "changed"); err != nil {
		t.Fatal(err)
	}
	reload(w.YAML, "domains.example.com")
	connected(t, w, "example.net", true)
	if a := <-answered; strings.HasPrefix(a, "SIP/2.0 200 ") {
		receive(t, w.XMPP.Stanzas)
	} else if !strings.HasPrefix(a, "SIP/2.0 504 ") && !strings.HasPrefix(a, "SIP/2.0 480 ") {
		t.Errorf("while the secret was wrong: %s", a)
	}
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
	answers(t, w, w.SIP, "romeo@example.net")

	_, rest, _ := strings.Cut(w.YAML, ", components: {")
	_, rest, _ = strings.Cut(rest, "}}")
	first, _, _ := strings.Cut(w.YAML, ", components: {")
	reload(first+rest, "domains.example.com")
	connected(t, w, "example.net", false)
	writes(t, w, w.SIP, "romeo", `romeo\40example.net@gw.example.com`)
	reload(w.YAML, "domains.example.com")
	connected(t, w, "example.net", true)
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
}

// TestComponentRestart: while the server restarts again and again, whoever is
// answered 200 is read, once and in order, and whoever is not hears that nobody
// knows.
func TestComponentRestart(t *testing.T) {
	w := home(t, gatewaytest.Options{})
	writes(t, w, w.SIP, "romeo", "romeo@example.net")
	answers(t, w, w.SIP, "romeo@example.net")
	var good []string
	bad := map[string]bool{}
	for i := range 30 {
		if i%5 == 2 {
			if err := w.XMPP.Sever("example.net"); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprint(i)
		res, err := w.SIP.Write("romeo", "juliet@example.com", text)
		if err != nil || res.StatusCode != 200 && res.StatusCode != 504 {
			t.Fatalf("message %d: %v, %v", i, res, err)
		}
		if res.StatusCode == 200 {
			good = append(good, text)
		} else {
			bad[text] = true
		}
	}
	if len(good) < 24 {
		t.Errorf("only %d messages were taken", len(good))
	}
	for len(good) > 0 {
		m, err := xep.ParseMessage(receive(t, w.XMPP.Stanzas))
		if err != nil || len(m.Bodies) != 1 {
			t.Fatalf("there came %+v, %v", m, err)
		}
		switch got := m.Bodies[0].Value; {
		case got == good[0]:
			good = good[1:]
		case bad[got]:
			delete(bad, got) // once
		default:
			t.Fatalf("there came %q, want %q", got, good[0])
		}
	}
}

// TestChoice: what juliet writes to a gateway name goes to a domain that says
// that it speaks SIP, and to no other; one that speaks XMPP is reached by that,
// and she is told how. The operator's word comes first, and one who has written
// by SIP is answered by SIP (RFC 7247, section 5; RES-01, RES-03, RES-05).
func TestChoice(t *testing.T) {
	w := home(t, gatewaytest.Options{})
	only := sipDomain(t, w, "only.example", "tybalt")
	both := sipDomain(t, w, "both.example", "tybalt")
	if err := w.Add("_xmpp-server._tcp.both.example. SRV 0 0 5269 both.example.\n_xmpp-server._tcp.talk.example. SRV 0 0 5269 talk.example.\n" +
		"talk.example. A 127.0.0.1\nbare.example. A 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	const redirect = "type='modify'><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:tybalt@"
	for _, tt := range []struct {
		name, peers string
		to          string // a domain
		reads       *gatewaytest.SIPDomain
		error       string
	}{
		{"SIP only", "", "only.example", only, ""},
		{"XMPP only", "", "talk.example", nil, redirect + "talk.example</redirect>"},
		{"both", "", "both.example", nil, redirect + "both.example</redirect>"},
		{"neither", "", "bare.example", nil, "<remote-server-not-found "},
		{"no domain", "", "nowhere.example", nil, "<remote-server-not-found "},
		{"ours", "", "example.com", nil, redirect + "example.com</redirect>"},
		{"SIP by the operator", "peers: {both.example: {sip: \"sip:both.example;transport=tls\"}}\n", "both.example", both, ""},
		{"XMPP by the operator", "peers: {only.example: {xmpp: \"127.0.0.1:5269\"}}\n", "only.example", nil, redirect + "only.example</redirect>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := w.Reload(w.YAML + tt.peers); err != nil {
				t.Fatal(err)
			}
			to := `tybalt\40` + tt.to + "@gw.example.com"
			if tt.reads != nil {
				answers(t, w, tt.reads, to)
			} else if got := hears(t, w, "juliet", to); !strings.Contains(got, tt.error) {
				t.Errorf("there came %s, want %s", got, tt.error)
			}
		})
	}
	if _, _, err := w.Reload(w.YAML); err != nil {
		t.Fatal(err)
	}
	const friend = `tybalt\40both.example@gw.example.com`
	writes(t, w, both, "tybalt", friend)
	answers(t, w, both, friend)
	if n := len(only.Requests) + len(both.Requests); n > 0 {
		t.Errorf("%d messages came besides", n)
	}
}
