package peers

import (
	"strings"
	"testing"
)

// TestXMPPHome plays the other deployment: xmpp.example is the domain whose
// border we are, sip.example a SIP domain out there. Its proxy finds us by the
// SIP records of xmpp.example, and we it by its own; the XMPP server knows SIP
// users under the gateway's name (decision D-74).
func TestXMPPHome(t *testing.T) {
	for _, play := range [][2]string{{"external", "tls"}, {"dialback", "udp"}} {
		t.Run(play[0]+"-"+play[1], func(t *testing.T) {
			secure := play[0] == "external"
			n := New(t)
			n.Zone(SIPRecords("sip.example", play[1], 10) + SIPRecords("xmpp.example", play[1], 1) +
				XMPPRecords("xmpp.example", 20, secure) + ClientRecords("xmpp.example") + XMPPRecords("gw.xmpp.example", 1, secure))
			config := "domains:\n  xmpp.example: {users: xmpp, gateway: gw.xmpp.example}\npeers:\n" + inTime
			p := ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: secure, Verbose: true}
			var flags []string
			if !secure {
				p.Authority = NewCA(t, n.Dir, "other")
				p.Roots, flags = p.Authority, []string{"--no-tls-verify"}
				config += "  xmpp.example: {security: dialback-ok}\n  sip.example: {security: plain-ok}\n"
			}
			n.StartProsody(p)
			k := n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10})
			n.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: []string{"gw.xmpp.example", "xmpp.example"}})
			romeo := n.StartBaresip(BaresipConfig{
				User: "romeo@sip.example", Host: 11, Server: k.Addr, Transport: play[1], Correspondent: "sip:juliet@xmpp.example",
			})
			const alias = `romeo\40sip.example@gw.xmpp.example`
			juliet := n.StartSendxmpp("juliet@xmpp.example", alias, flags...)

			juliet.Say("O Romeo! <&>")
			if from := romeo.AwaitMessage(0, "O Romeo! <&>"); !strings.HasPrefix(from, "sip:juliet@xmpp.example") {
				t.Errorf("romeo got it from %q", from)
			}
			if status := romeo.Say("Ich bin's — ロミオ"); status != 200 {
				t.Errorf("romeo was answered %d", status)
			}
			if m := juliet.AwaitMessage(0, "Ich bin's — ロミオ"); !strings.HasPrefix(m.From, alias) {
				t.Errorf("juliet got %v", m)
			}

			if status, answer := n.Sipsak(k.Addr, "romeo@sip.example", "nobody@xmpp.example", "hello"); status != 403 {
				t.Errorf("romeo was answered %d:\n%s", status, answer)
			}
			for to, want := range map[string]string{
				`nobody\40sip.example@gw.xmpp.example`:    "item-not-found",
				`romeo\40nowhere.example@gw.xmpp.example`: "remote-server-not-found",
			} {
				j := n.StartSendxmpp("juliet@xmpp.example", to, flags...)
				j.Say("hello")
				if e := j.AwaitError(0, to); e.Condition() != want {
					t.Errorf("juliet got %v, want %s", e, want)
				}
			}
		})
	}
}

// TestStranger shows that nobody can write in another's name: not from an
// address that is not the domain's own server, and not through a server of ours
// that sends on what strangers bring.
func TestStranger(t *testing.T) {
	s := newStage(t, "external", "udp")
	mark := s.juliet.Log.Len()
	if status, answer := s.Sipsak(s.gateway.Addr, "romeo@sip.example", "juliet@xmpp.example", "I am romeo"); status != 403 {
		t.Errorf("a stranger was answered %d:\n%s", status, answer)
	}
	status, answer := s.Sipsak(s.kamailio.Addr, "tybalt@other.example", "juliet@xmpp.example", "I am tybalt")
	if status != 403 || !strings.Contains(answer, "Warning: 399 gw.example") {
		t.Errorf("tybalt was answered %d:\n%s", status, answer)
	}
	s.fromJuliet(t, "Art thou not Romeo?")
	s.fromRomeo(t, "this is me")
	if got := s.juliet.Log.String()[mark:]; strings.Contains(got, "I am") {
		t.Errorf("juliet got %s", got)
	}
}
