package peers

import (
	"strings"
	"testing"
)

// An estate is an XMPP domain of ours whose server takes us as two components:
// sip.example, which its users see under its own name, and the gateway name
// under which they see all other SIP domains, such as other.example (decision
// D-74). Both SIP domains are out there, with servers of their own.
type estate struct {
	*Net

	server interface {
		Start()
		Kill()
	}
	config        string // of the gateway
	gateway       *Gateway
	inner, outer  *Kamailio // of sip.example, of other.example
	romeo, tybalt *Baresip  // likewise

	toRomeo, toTybalt *Sendxmpp // juliet, who writes to each of them
}

const (
	tybaltsAlias = `tybalt\40other.example@gw.xmpp.example`
	estateConfig = `domains:
  xmpp.example:
    users: xmpp
    gateway: gw.xmpp.example
    components:
      sip.example: {server: "NET.20:5347", secret_file: sip.secret}
      gw.xmpp.example: {server: "NET.20:5347", secret_file: gw.secret}
`
)

var estateSecrets = map[string]string{"sip.example": "for sip.example", "gw.xmpp.example": "for the gateway"}

// estates plays a scene with XMPP servers. ejabberd has one listener for both
// components and sends what is for the one over the connection of the other, or
// it has a listener for each.
func estates(t *testing.T, scene func(t *testing.T, s *estate), servers ...string) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel() // they wait for timers
			s := &estate{Net: New(t), config: estateConfig}
			s.Zone(SIPRecords("sip.example", "tls", 10) + SIPRecords("other.example", "tls", 12) + SIPRecords("xmpp.example", "tls", 1) +
				XMPPRecords("xmpp.example", 20, true) + XMPPRecords("sip.example", 20, true) + ClientRecords("xmpp.example"))
			s.inner = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, Border: "gw.example"})
			s.outer = s.StartKamailio(KamailioConfig{Domain: "other.example", Host: 12, Border: "gw.example"})
			apart := server == "ejabberd-apart"
			if server == "prosody" {
				s.server = s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true, Components: estateSecrets})
			} else {
				s.server = s.StartEjabberd(EjabberdConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, Components: estateSecrets, Apart: apart})
			}
			if apart {
				s.config = strings.Replace(s.config, "sip.example: {server: \"NET.20:5347\"", "sip.example: {server: \"NET.20:5348\"", 1)
			}
			scene(t, s)
		})
	}
}

// open starts the gateway and everybody's clients.
func (s *estate) open(sip, gw string) {
	s.t.Helper()
	s.Secret("sip.secret", sip)
	s.Secret("gw.secret", gw)
	s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: s.config, Names: []string{"gw.example", "xmpp.example"}})
	s.romeo = s.StartBaresip(BaresipConfig{
		User: "romeo@sip.example", Host: 11, Server: s.inner.Addr, Transport: "tls", Correspondent: "sip:juliet@xmpp.example",
	})
	s.tybalt = s.StartBaresip(BaresipConfig{
		User: "tybalt@other.example", Host: 13, Server: s.outer.Addr, Transport: "tls", Correspondent: "sip:juliet@xmpp.example",
	})
	s.login()
}

// login starts Juliet's clients, as she does when her server is back.
func (s *estate) login() {
	s.t.Helper()
	if s.toRomeo != nil {
		s.toRomeo.Kill()
		s.toTybalt.Kill()
	}
	s.toRomeo = s.StartSendxmpp("juliet@xmpp.example", "romeo@sip.example")
	s.toTybalt = s.StartSendxmpp("juliet@xmpp.example", tybaltsAlias)
}

// up waits until both components are there, since a mark in the gateway's log.
func (s *estate) up(mark int) {
	s.t.Helper()
	for domain := range estateSecrets {
		s.gateway.AwaitLine(mark, `"peer up"`, "peer=xmpp.example", "from="+domain, "auth=component")
	}
}

// exchange lets Juliet and both SIP users write to each other.
func (s *estate) exchange(t *testing.T, text string) {
	t.Helper()
	for _, pair := range []struct {
		user   *Baresip
		juliet *Sendxmpp
		name   string
	}{{s.romeo, s.toRomeo, "romeo@sip.example"}, {s.tybalt, s.toTybalt, tybaltsAlias}} {
		text := text + " (" + pair.name + ")"
		mark := pair.juliet.Log.Len()
		if status := pair.user.Say(text); status != 200 {
			t.Errorf("%s was answered %d", pair.name, status)
		}
		if m := pair.juliet.AwaitMessage(mark, text); m.From != pair.name && !strings.HasPrefix(m.From, pair.name+"/") {
			t.Errorf("juliet got %v, want it from %s", m, pair.name)
		}
		mark = pair.user.Log.Len()
		pair.juliet.Say(text + " too")
		if from := pair.user.AwaitMessage(mark, text+" too"); !strings.HasPrefix(from, "sip:juliet@xmpp.example") {
			t.Errorf("%s got it from %q", pair.name, from)
		}
	}
}

// TestComponent attaches us to Prosody and to ejabberd, as they are without
// further settings: transparent names and gateway names, both ways; who is not
// there; who does not speak SIP; the server and the gateway taken away and
// brought back (XEP-0114, section 3; decision D-74).
func TestComponent(t *testing.T) {
	estates(t, func(t *testing.T, s *estate) {
		s.open(estateSecrets["sip.example"], estateSecrets["gw.xmpp.example"])
		s.up(0)
		s.exchange(t, "Чья там рука? — 誰の手？ <b>&amp;</b> 🌹")
		for by, from := range map[*Kamailio]string{s.inner: "romeo@sip.example", s.outer: "tybalt@other.example"} {
			if status, answer := s.Sipsak(by.Addr, from, "nobody@xmpp.example", "hello"); status != 403 { // decision D-87
				t.Errorf("%s was answered %d:\n%s", from, status, answer)
			}
		}
		for to, want := range map[string]string{
			"nobody@sip.example": "item-not-found", `nobody\40other.example@gw.xmpp.example`: "item-not-found",
			`romeo\40nowhere.example@gw.xmpp.example`: "remote-server-not-found", `juliet\40xmpp.example@gw.xmpp.example`: "redirect",
		} {
			j := s.StartSendxmpp("juliet@xmpp.example", to)
			j.Say("hello")
			if e := j.AwaitError(0, to); e.Condition() != want {
				t.Errorf("%s: juliet got %v, want %s", to, e, want)
			}
			j.Kill()
		}
		s.restarts(t)
	}, "prosody", "ejabberd", "ejabberd-apart")
}

// restarts takes the XMPP server away while Romeo writes, and then the gateway.
func (s *estate) restarts(t *testing.T) {
	mark := s.gateway.Log.Len()
	s.server.Kill()
	s.gateway.AwaitLine(mark, `"peer down"`, "from=sip.example")
	said := s.romeo.Send("are you there?")
	s.server.Start()
	status := s.romeo.AwaitStatus(said)
	s.up(mark)
	s.login()
	if status == 200 { // it has waited for the server, and there for the first who comes
		s.toRomeo.AwaitMessage(0, "are you there?")
	}
	s.exchange(t, "your server is back")
	s.gateway.Kill()
	s.gateway.Start()
	s.up(0)
	s.exchange(t, "the gateway is back")
	for _, text := range []string{"are you there?", "your server is back (romeo@sip.example)", "the gateway is back (romeo@sip.example)"} {
		if n := strings.Count(s.toRomeo.Log.String(), "<body>"+text+"</body>"); n > 1 {
			t.Errorf("juliet got %q %d times", text, n)
		}
	}
}

// TestComponentRefused: the operator reads in which file a wrong secret stands,
// and what the server lacks; the sender hears it. When the file was put right, a
// reload is enough.
func TestComponentRefused(t *testing.T) {
	estates(t, func(t *testing.T, s *estate) {
		s.open("wrong", estateSecrets["gw.xmpp.example"])
		s.gateway.AwaitLine(0, `"peer up"`, "from=gw.xmpp.example", "auth=component")
		s.gateway.AwaitLine(0, `"cannot reach peer"`, "from=sip.example", "not-authorized", "/gateway/sip.secret holds another secret")
		if status := s.romeo.Say("to a server that refuses us"); status != 504 {
			t.Errorf("romeo was answered %d", status)
		}
		mark := s.gateway.Log.Len()
		s.Secret("sip.secret", estateSecrets["sip.example"])
		s.gateway.Reload()
		s.gateway.AwaitLine(mark, `"peer up"`, "from=sip.example", "auth=component")
		s.exchange(t, "the secret was wrong")

		s.gateway.Config = strings.Replace(s.config, "      sip.example:", "      third.example: {server: \"NET.20:5347\", secret_file: sip.secret}\n      sip.example:", 1)
		s.gateway.configure()
		s.gateway.Reload()
		s.gateway.AwaitLine(mark, `"cannot reach peer"`, "from=third.example", " has no component ")
		s.exchange(t, "the others do not mind")
	}, "prosody", "ejabberd")
}

// TestComponentRelay: a user of another XMPP domain who finds the server by the
// records of sip.example is passed on to us as from himself, and hears that he is
// not served (RES-23).
func TestComponentRelay(t *testing.T) {
	estates(t, func(t *testing.T, s *estate) {
		s.open(estateSecrets["sip.example"], estateSecrets["gw.xmpp.example"])
		s.up(0)
		s.Zone(SIPRecords("sip.example", "tls", 10) + XMPPRecords("xmpp.example", 20, true) + XMPPRecords("sip.example", 20, true) +
			XMPPRecords("far.example", 21, true) + ClientRecords("far.example"))
		s.StartProsody(ProsodyConfig{Domain: "far.example", Host: 21, Users: []string{"mercutio"}, SecureAuth: true})
		mercutio := s.StartSendxmpp("mercutio@far.example", "romeo@sip.example")
		mercutio.Say("through your server")
		if e := mercutio.AwaitError(0, "romeo@sip.example"); e.Condition() != "not-allowed" {
			t.Errorf("mercutio got %v", e)
		}
		s.gateway.AwaitLine(0, "refused", "from=mercutio@far.example/", "not_served")
	}, "prosody", "ejabberd")
}
