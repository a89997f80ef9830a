package peers

import (
	"strings"
	"testing"
)

// TestClients lets linphone and mcabber write to each other. Once Benvolio has
// shown that he reads Message/CPIM, a receipt that Juliet asks for comes of
// linphone's IMDN, which it compresses and does not wrap (RFC 5438, section 7.2;
// XEP-0184).
func TestClients(t *testing.T) {
	s := &meeting{Net: New(t)}
	s.Zone(SIPRecords("sip.example", "udp", 10) + SIPRecords("gw.example", "udp", 1) + XMPPRecords("sip.example", 1, true) +
		XMPPRecords("xmpp.example", 20, true) + ClientRecords("xmpp.example"))
	p := s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true})
	s.enter("domains:\n  sip.example: {users: sip}\npeers:\n  sip.example: {security: plain-ok}\n")
	juliet := s.StartMcabber("juliet@xmpp.example", p.Addr.String())
	for i, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			user := "benvolio-" + transport + "@sip.example"
			benvolio := s.StartLinphone(LinphoneConfig{User: user, Host: 14 + i, Server: s.kamailio.Addr, Transport: transport})
			mark := juliet.Log.Len()
			benvolio.Say("sip:juliet@xmpp.example", "Guten Morgen, ça va? <&> 誰だ 🌹")
			m := juliet.AwaitMessage(mark, "Guten Morgen, ça va? <&> 誰だ 🌹")
			if !strings.HasPrefix(m.From, user) {
				t.Errorf("juliet got %v", m)
			}
			juliet.Say(user, "So jung ist der Tag? ロミオ <i>&lt;</i> 🌹")
			if from := benvolio.AwaitMessage(0, "So jung ist der Tag? ロミオ <i>&lt;</i> 🌹"); !strings.Contains(from, "sip:juliet@xmpp.example") {
				t.Errorf("benvolio got it from %q", from)
			}

			status, answer := s.Sipsak(s.kamailio.Addr, user, "juliet@xmpp.example", strings.ReplaceAll(wrapped, "USER", user),
				"Content-Type: message/cpim")
			if status != 200 {
				t.Errorf("benvolio was answered %d:\n%s", status, answer)
			}
			juliet.AwaitMessage(0, "Soll ich horchen, "+user+"?")

			id := "asked-" + transport
			juliet.Ask(user, id, "Hört Ihr?")
			benvolio.AwaitMessage(0, "Hört Ihr?")
			if r := juliet.AwaitReceipt(0, id); !strings.HasPrefix(r.From, user) {
				t.Errorf("juliet got %v", r)
			}
		})
	}
}

// wrapped is a message in an envelope (RFC 3862, section 2), which linphone
// reads everywhere but sends in sessions only.
var wrapped = strings.ReplaceAll(`From: <im:USER>
To: <im:juliet@xmpp.example>
DateTime: 2026-04-04T12:16:49-05:00

Content-type: text/plain; charset=utf-8

Soll ich horchen, USER?`, "\n", "\r\n")
