package peers

import (
	"fmt"
	"strings"
	"testing"
)

// A frontier is two SIP domains with ourselves between them: sip.example is the
// one whose border we are, other.example is out there and finds sip.example at
// our address.
type frontier struct {
	*Net

	inner, outer  *Kamailio
	gateway       *Gateway
	transport     string
	romeo, tybalt *Baresip // of sip.example, of other.example
}

// TestBorder plays two Kamailio domains that write to each other through us, by
// each transport: both directions, people who are not there, and each server
// taken away and brought back.
func TestBorder(t *testing.T) {
	for _, tr := range Transports {
		t.Run(tr.Name, func(t *testing.T) {
			t.Parallel() // they wait for timers
			s := newFrontier(t, tr)
			s.both(t, "Gut gesprochen, Schurke: ça va? <b>&amp;</b> 誰だ 🌹")
			for _, way := range []struct {
				name, from, to string
				by             *Kamailio
			}{
				{"out", "romeo@sip.example", "nobody@other.example", s.inner},
				{"in", "tybalt@other.example", "nobody@sip.example", s.outer},
			} {
				if status, answer := s.Sipsak(way.by.Addr, way.from, way.to, "hello"); status != 404 {
					t.Errorf("%s, nobody: %d\n%s", way.name, status, answer)
				}
			}

			s.outer.Kill()
			if status := s.romeo.Say("to a dead server"); status < 400 {
				t.Errorf("romeo was answered %d", status)
			}
			s.outer.Start()
			s.login()
			s.both(t, "your server is back")
			s.inner.Kill()
			if status := s.tybalt.Say("to a dead server"); status < 400 {
				t.Errorf("tybalt was answered %d", status)
			}
			s.inner.Start()
			s.login()
			s.both(t, "your server is back, too")
		})
	}
}

func newFrontier(t *testing.T, tr Transport) *frontier {
	t.Helper()
	s := &frontier{Net: New(t), transport: tr.Name}
	s.Zone(SIPRecords("sip.example", tr.Name, 1) + SIPRecords("gw.example", tr.Name, 1) + SIPRecords("other.example", tr.Name, 12) +
		"inside.sip.example. A NET.10\n")
	border, security := "", "plain-ok"
	if tr.Name == "tls" {
		border, security = "gw.example", "required"
	}
	s.inner = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, Border: border, NextHop: "sip:gw.example"})
	s.outer = s.StartKamailio(KamailioConfig{Domain: "other.example", Host: 12, Border: border})
	s.gateway = s.StartGateway(GatewayConfig{
		Binary: cpimgate, Host: 1, Names: []string{"gw.example", "sip.example"},
		Config: fmt.Sprintf("domains:\n  sip.example: {users: sip, server: \"sip:inside.sip.example;transport=%s\"}\npeers:\n  \"*\": {security: %s}\n  sip.example: {security: %[2]s}\n", tr.Name, security),
	})
	s.login()
	return s
}

// login starts the clients, as people do when their server is back.
func (s *frontier) login() {
	if s.romeo != nil {
		s.romeo.Kill()
		s.tybalt.Kill()
	}
	s.romeo = s.StartBaresip(BaresipConfig{
		User: "romeo@sip.example", Host: 11, Server: s.inner.Addr, Transport: s.transport, Correspondent: "sip:tybalt@other.example",
	})
	s.tybalt = s.StartBaresip(BaresipConfig{
		User: "tybalt@other.example", Host: 13, Server: s.outer.Addr, Transport: s.transport, Correspondent: "sip:romeo@sip.example",
	})
}

// both lets each of the two write to the other.
func (s *frontier) both(t *testing.T, text string) {
	t.Helper()
	for from, to := range map[*Baresip]*Baresip{s.romeo: s.tybalt, s.tybalt: s.romeo} {
		mark := to.Log.Len()
		if status := from.Say(text); status != 200 {
			t.Errorf("%s was answered %d", from.user, status)
		}
		if got := to.AwaitMessage(mark, text); !strings.HasPrefix(got, "sip:"+from.user) {
			t.Errorf("%s got it from %q", to.user, got)
		}
	}
}
