package peers

import (
	"strings"
	"testing"
)

// A crossing is a SIP domain, two XMPP domains and ourselves between them, with
// clients of the load tool that write over all four routes at the same time.
type crossing struct {
	*Net

	prosody  *Prosody
	ejabberd *Ejabberd
	kamailio *Kamailio
	gateway  *Gateway
}

// crossingPairs write on each route.
const crossingPairs = 4

// crossingRoutes go over the gateway, out and in for each XMPP domain.
var crossingRoutes = []string{
	"sip+udp://NET.10:5060/sip.example xmpp://NET.20:5223/prosody.example",
	"xmpp://NET.20:5223/prosody.example sip+tcp://NET.10:5060/sip.example",
	"sip+tls://NET.10:5061/sip.example xmpp://NET.21:5223/ejabberd.example",
	"xmpp://NET.21:5223/ejabberd.example sip+udp://NET.10:5060/sip.example",
}

// newCrossing starts everybody; SIP travels by the transport between Kamailio
// and us.
func newCrossing(t *testing.T, transport string) *crossing {
	t.Helper()
	s := &crossing{Net: New(t)}
	s.Zone(SIPRecords("sip.example", transport, 10) + SIPRecords("gw.example", transport, 1) + XMPPRecords("sip.example", 1, true) +
		XMPPRecords("prosody.example", 20, true) + XMPPRecords("ejabberd.example", 21, true))
	kam := KamailioConfig{Domain: "sip.example", Host: 10, Memory: 1024, Workers: 4, NextHop: "sip:gw.example", Border: "gw.example"}
	config := "log: {level: debug}\ndomains:\n  sip.example: {users: sip}\n" // it says what has come
	if transport != "tls" {
		kam.Border = ""
		config += "peers:\n  sip.example: {security: plain-ok}\n"
	}
	users := LoadUsers(len(crossingRoutes), crossingPairs)
	s.prosody = s.StartProsody(ProsodyConfig{Domain: "prosody.example", Host: 20, Users: users, SecureAuth: true, Verbose: true})
	s.ejabberd = s.StartEjabberd(EjabberdConfig{Domain: "ejabberd.example", Host: 21, Users: users})
	s.kamailio = s.StartKamailio(kam)
	s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: []string{"gw.example", "sip.example"}})
	return s
}

// outages say for each server which routes lead over it.
var outages = map[string][]int{"prosody": {0, 1}, "ejabberd": {2, 3}, "kamailio": {0, 1, 2, 3}, "gateway": {0, 1, 2, 3}}

// A server may be taken away and brought back.
type server struct {
	*Process
	start func()
}

func (s *crossing) servers() map[string]server {
	return map[string]server{
		"prosody":  {s.prosody.Process, s.prosody.Start},
		"ejabberd": {s.ejabberd.Process, s.ejabberd.Start},
		"kamailio": {s.kamailio.Process, s.kamailio.Start},
		"gateway":  {s.gateway.Process, s.gateway.Start},
	}
}

// restart takes a server away and brings it back. It returns the logs of all,
// two of the one that was away.
func (s *crossing) restart(name string, kill bool) (logs map[string][]*Log) {
	s.t.Helper()
	logs = make(map[string][]*Log)
	for other, server := range s.servers() {
		logs[other] = append(logs[other], server.Log)
	}
	server := s.servers()[name]
	if kill {
		server.Kill()
	} else {
		_ = server.Stop() // erl has a status of its own
	}
	server.start()
	logs[name] = append(logs[name], s.servers()[name].Log)
	if name == "gateway" { // the XMPP servers wait a while before they try again
		for _, peer := range []string{"prosody.example", "ejabberd.example"} {
			s.gateway.AwaitLine(0, `"peer up"`, "peer="+peer, "to=sip.example")
		}
	}
	return logs
}

// TestRestartUnderLoad takes each server away in the middle of a burst, by
// kill -9 and by SIGTERM, and accounts for every message. What is promised
// (RFC 7572, sections 4 and 5; XEP-0198, section 4; RFC 3428, section 7):
//
//   - A message arrives, or its sender is told of a failure in its own
//     protocol. It may be both, where the answer was lost with a server.
//   - It arrives once, and those of one sender in the order in which we were
//     given them.
//   - Who does not write over the server that is away notices nothing, and
//     when it is back everything arrives.
//
// What we have done is told apart from what peers lose, by the logs of both. A
// Prosody may lose what its own log says that it had from us, or had not handed
// to us. An ejabberd acknowledges nothing between servers: a 200 says that a
// stanza was written to it and not sent back at once, and what it does not read
// any more is lost. We, when killed, lose what we had taken from XMPP and not
// finished, and forget what we had done, so that a proxy which repeats a request
// has it done twice; stopped, we lose nothing.
func TestRestartUnderLoad(t *testing.T) {
	for _, play := range [][]string{
		{"tls", "prosody killed", "prosody stopped", "ejabberd killed", "ejabberd stopped",
			"kamailio killed", "kamailio stopped", "gateway stopped"},
		{"udp", "kamailio killed", "gateway killed"},
	} {
		t.Run(play[0], func(t *testing.T) {
			t.Parallel() // they wait for servers to come back
			s := newCrossing(t, play[0])
			for _, outage := range play[1:] {
				t.Run(outage, func(t *testing.T) {
					server, how, _ := strings.Cut(outage, " ")
					burst := s.StartBurst(loadTool, crossingPairs, 200, crossingRoutes...)
					before := s.gateway.Log.Len()
					logs := s.restart(server, how == "killed")
					accounts := burst.Rest()
					v := newVerdict(t, server, how == "killed", logs, before)
					for i, a := range accounts {
						v.account(i, a)
					}
					for note, n := range v.notes {
						t.Logf("%d %s", n, note)
					}
				})
			}
		})
	}
}
