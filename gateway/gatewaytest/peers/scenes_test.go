package peers

import (
	"strings"
	"testing"
)

// A stage is the world of every scene, with everybody in place: sip.example is
// a SIP domain whose border we are, xmpp.example an XMPP domain out there. The
// proxy of sip.example finds us as gw.example; servers find us by the XMPP
// records of sip.example.
type stage struct {
	*Net

	prosody       *Prosody
	kamailio      *Kamailio
	gateway       *Gateway
	sip           string // the transport
	other         *CA    // of the XMPP server; nil is everybody's
	romeo         *Baresip
	juliet, nurse *Sendxmpp // juliet writes to romeo, nurse to somebody who is not there
}

// inTime, under peers, lets errors come in time on the slowest machine. Romeo is
// then answered late about who has not written before, so Juliet writes first.
const inTime = "  \"*\": {error_window: 15s}\n"

// plays are the combinations that the scenes are played in: how the XMPP
// server is convinced, and how SIP travels.
func plays(t *testing.T, scene func(t *testing.T, s *stage)) {
	for _, xmpp := range []string{"external", "dialback"} {
		for _, sip := range []string{"udp", "tcp", "tls"} {
			t.Run(xmpp+"-"+sip, func(t *testing.T) { scene(t, newStage(t, xmpp, sip)) })
		}
	}
}

func newStage(t *testing.T, xmpp, sip string) *stage {
	t.Helper()
	return stageWith(t, xmpp, sip, ProsodyConfig{})
}

// stageWith is newStage with more to say about Prosody.
func stageWith(t *testing.T, xmpp, sip string, p ProsodyConfig) *stage {
	t.Helper()
	s := &stage{Net: New(t), sip: sip}
	secure := xmpp == "external"
	s.Zone(SIPRecords("sip.example", sip, 10) + SIPRecords("gw.example", sip, 1) + XMPPRecords("sip.example", 1, true) +
		XMPPRecords("xmpp.example", 20, secure) + ClientRecords("xmpp.example"))

	config := "domains:\n  sip.example: {users: sip}\npeers:\n" + inTime
	if !secure { // neither side believes the other's certificate
		s.other = NewCA(t, s.Dir, "other")
		config += "  xmpp.example: {security: dialback-ok}\n"
	}
	kam := KamailioConfig{Domain: "sip.example", Host: 10, NextHop: "sip:gw.example"}
	if sip == "tls" {
		kam.Border = "gw.example"
		config += "  sip.example: {security: required}\n"
	} else {
		config += "  sip.example: {security: plain-ok}\n"
	}
	p.Domain, p.Host, p.Users = "xmpp.example", 20, []string{"juliet", "nurse"}
	p.SecureAuth, p.Verbose, p.Authority, p.Roots = secure, true, s.other, s.other
	s.prosody = s.StartProsody(p)
	s.kamailio = s.StartKamailio(kam)
	s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: []string{"gw.example", "sip.example"}})
	s.login(sip)
	return s
}

// login starts the clients, as people do when their server is back. Romeo's
// reaches its server by the transport.
func (s *stage) login(transport string) {
	if s.romeo != nil {
		s.romeo.Kill()
		s.juliet.Kill()
		s.nurse.Kill()
	}
	s.romeo = s.StartBaresip(BaresipConfig{
		User: "romeo@sip.example", Host: 11, Server: s.kamailio.Addr, Transport: transport, Correspondent: "sip:juliet@xmpp.example",
	})
	var flags []string
	if s.other != nil {
		flags = []string{"--no-tls-verify"}
	}
	s.juliet = s.StartSendxmpp("juliet@xmpp.example", "romeo@sip.example", flags...)
	s.nurse = s.StartSendxmpp("nurse@xmpp.example", "nobody@sip.example", flags...)
}

// fromRomeo lets Romeo write, and Juliet read it.
func (s *stage) fromRomeo(t *testing.T, text string) {
	t.Helper()
	mark := s.juliet.Log.Len()
	if status := s.romeo.Say(text); status != 200 {
		t.Errorf("romeo was answered %d", status)
	}
	if m := s.juliet.AwaitMessage(mark, text); !strings.HasPrefix(m.From, "romeo@sip.example") {
		t.Errorf("juliet got %v", m)
	}
}

// fromJuliet lets Juliet write, and Romeo read it.
func (s *stage) fromJuliet(t *testing.T, text string) {
	t.Helper()
	mark := s.romeo.Log.Len()
	s.juliet.Say(text)
	if from := s.romeo.AwaitMessage(mark, text); !strings.HasPrefix(from, "sip:juliet@xmpp.example") {
		t.Errorf("romeo got it from %q", from)
	}
}

// julietHears waits for the error that Juliet's message came to.
func (s *stage) julietHears(t *testing.T, text string, want ...string) {
	t.Helper()
	mark := s.juliet.Log.Len()
	s.juliet.Say(text)
	e := s.juliet.AwaitError(mark, "romeo@sip.example")
	for _, w := range want {
		if e.Condition() == w {
			return
		}
	}
	t.Errorf("juliet got %v, want %q", e, want)
}

// TestMessages plays what works: both directions, in every alphabet, and the
// refusals of either side in the sender's own words.
func TestMessages(t *testing.T) {
	plays(t, func(t *testing.T, s *stage) {
		s.fromJuliet(t, "Art thou not Romeo, and a Montague?")
		s.fromRomeo(t, "Neither, fair saint, if either thee dislike.")
		s.fromRomeo(t, "Чья там рука? — 誰の手？ <b>&amp;</b> \"ça\" 🌹")
		s.fromJuliet(t, "Ô Roméo! — ロミオ、あなたはどうして <i>&lt;</i> 🌹")

		// nobody is known there
		status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "nobody@xmpp.example", "hello")
		if status != 403 || !strings.Contains(answer, "User unknown or not accepting messages") { // decision D-87
			t.Errorf("romeo was answered %d:\n%s", status, answer)
		}
		s.nurse.Say("hello")
		if e := s.nurse.AwaitError(0, "nobody@sip.example"); e.Condition() != "item-not-found" {
			t.Errorf("nurse got %v", e)
		}
		if status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "juliet@nowhere.example", "hello"); status != 404 {
			t.Errorf("romeo was answered %d:\n%s", status, answer)
		}
	})
}

// romeoHears checks that a message of Romeo's is refused.
func (s *stage) romeoHears(t *testing.T, text string) {
	t.Helper()
	if status := s.romeo.Say(text); status < 400 {
		t.Errorf("romeo was answered %d to %q", status, text)
	}
}

// unreachable are the words in which an XMPP user hears that the other side is
// not there (RFC 7247, table 2; RFC 6120, section 8.3.3).
var unreachable = []string{"remote-server-timeout", "remote-server-not-found", "service-unavailable", "recipient-unavailable", "internal-server-error"}

// TestPeerDown takes each server away and brings it back. Whoever writes in the
// meantime hears it, whoever writes afterwards is read.
func TestPeerDown(t *testing.T) {
	for _, play := range [][2]string{{"external", "tls"}, {"dialback", "udp"}} {
		t.Run(play[0]+"-"+play[1], func(t *testing.T) {
			t.Parallel() // they wait for timers
			s := newStage(t, play[0], play[1])
			s.fromJuliet(t, "before")
			s.fromRomeo(t, "before")

			s.prosody.Kill()
			s.romeoHears(t, "to a dead server")
			s.prosody.Start()
			s.login(s.sip)
			s.fromRomeo(t, "your server is back")
			s.fromJuliet(t, "it is")

			s.kamailio.Kill()
			s.julietHears(t, "to a dead server", unreachable...)
			s.kamailio.Start()
			s.login(s.sip)
			s.fromJuliet(t, "your server is back")
			s.fromRomeo(t, "it is")

			log := s.prosody.Log.Len()
			s.gateway.Kill()
			s.prosody.AwaitLine(log, "Destroying ", "sip.example") // what is written until then is sent back
			s.gateway.Start()
			s.fromJuliet(t, "the gateway is back")
			s.fromRomeo(t, "it is")
		})
	}
}

// TestWrongCertificate gives each server a certificate of an authority that
// the others do not know. Nothing passes, everybody hears it, and the
// operator's log names the peer and the cause.
func TestWrongCertificate(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(s *stage, rogue *CA)
		log   []string // words of one line of the gateway's log
	}{
		{"prosody", func(s *stage, rogue *CA) {
			_ = s.prosody.Stop()
			s.other = rogue
			s.prosody.Certify(rogue)
			s.prosody.Start()
			s.login("tls")
		}, []string{"xmpp.example", "certificate"}},
		{"kamailio", func(s *stage, rogue *CA) {
			_ = s.kamailio.Stop()
			s.kamailio.Certify(rogue)
			s.kamailio.Start()
			s.login("udp")
		}, []string{"sip.example", "certificate"}},
		{"gateway", func(s *stage, rogue *CA) {
			_ = s.gateway.Stop()
			s.gateway.Certify(rogue)
			s.gateway.Start()
		}, []string{"xmpp.example", "not trusted"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, "external", "tls")
			tt.spoil(s, NewCA(t, s.Dir, "rogue"))
			if tt.name != "gateway" { // Kamailio, which refuses ours, waits for its own timers
				s.romeoHears(t, "to juliet")
			}
			s.julietHears(t, "to romeo", append(unreachable, "not-authorized", "forbidden")...)
			s.gateway.AwaitLine(0, tt.log...)
		})
	}
}

// TestStop stops the gateway while a message waits for a server that is not
// there: its sender is answered before the gateway has gone, in order.
func TestStop(t *testing.T) {
	s := newStage(t, "external", "tls")
	s.prosody.Kill()
	mark, log := s.romeo.Log.Len(), s.gateway.Log.Len()
	s.romeo.Send("are you there?")
	s.gateway.AwaitLine(log, "xmpp.example", "connection refused")
	if err := s.gateway.Stop(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	if status := s.romeo.AwaitStatus(mark); status < 500 && status != 480 {
		t.Errorf("romeo was answered %d", status)
	}
}
