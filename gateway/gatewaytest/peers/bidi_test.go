package peers

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// through is the way of servers to a domain: over a wire that ends in host.
func through(domain string, host int) string {
	return fmt.Sprintf("_xmpp-server._tcp.%[1]s. SRV 0 0 5269 wire.%[1]s.\nwire.%[1]s. A NET.%[2]d\nxmpp-server.%[1]s. A NET.20\n", domain, host)
}

// connections returns how many the wire has carried.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made
}

// TestBothWays plays a conversation with Prosody over one connection: over ours,
// where Prosody knows no other way to us, and over Prosody's, where we know none
// to it (XEP-0288). The wire breaks in the middle, with a message on it, whose
// sender hears that nobody knows; nothing comes twice, and nothing is out of
// order.
func TestBothWays(t *testing.T) {
	for _, opens := range []string{"gateway", "prosody"} {
		t.Run(opens+" opens", func(t *testing.T) {
			s := &stage{Net: New(t)}
			zone := SIPRecords("sip.example", "tcp", 10) + SIPRecords("gw.example", "tcp", 1) + ClientRecords("xmpp.example")
			config := "domains:\n  sip.example: {users: sip}\npeers:\n  sip.example: {security: plain-ok}\n"
			wire := s.relay(21, netip.AddrPortFrom(s.Addr(20), 5269))
			if opens == "gateway" {
				zone += through("xmpp.example", 21)
			} else {
				wire = s.relay(22, netip.AddrPortFrom(s.Addr(1), 5269))
				zone += through("sip.example", 22) + "xmpp-server.xmpp.example. A NET.20\n"
				config += "  xmpp.example: {xmpp: \"NET.99:5269\"}\n" // nobody is there
			}
			s.Zone(zone)
			s.prosody = s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet", "nurse"}, SecureAuth: true, Verbose: true})
			s.kamailio = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, NextHop: "sip:gw.example"})
			s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: []string{"gw.example", "sip.example"}})
			s.login("tcp")

			first, second := s.fromRomeo, s.fromJuliet
			if opens == "prosody" {
				first, second = second, first
			}
			first(t, "the first opens the stream")
			second(t, "the second answers on it")
			if opens == "gateway" {
				s.gateway.AwaitLine(0, `"peer up"`, "peer=xmpp.example", "to=sip.example", "proof=certificate", "bidi=true")
			} else {
				s.gateway.AwaitLine(0, `"peer up"`, "peer=xmpp.example", "from=sip.example", "proof=certificate", "auth=reverse")
			}

			// what Romeo sends arrives, and its acknowledgement does not
			way := fromServer
			if opens == "prosody" {
				way = toServer // of the wire's, which is us
			}
			for i := range 3 {
				text := fmt.Sprintf("arrived %d", i)
				wire.hold(way)
				seen := s.juliet.Log.Len()
				mark := s.romeo.Send(text)
				s.juliet.AwaitMessage(seen, text)
				log := s.prosody.Log.Len()
				wire.cut()
				s.prosody.AwaitLine(log, "Destroying", "ing session") // both have noticed
				if status := s.romeo.AwaitStatus(mark); status < 400 {
					t.Errorf("%q: romeo was answered %d", text, status)
				}
				first(t, fmt.Sprintf("the first again %d", i))
				second(t, fmt.Sprintf("the second again %d", i))
			}
			log := s.juliet.Log.String()
			for i := range 3 {
				if n := strings.Count(log, fmt.Sprintf("<body>arrived %d</body>", i)); n != 1 {
					t.Errorf("juliet got message %d %d times", i, n)
				}
			}
			if n := wire.connections(); n != 4 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestTwoDomains has two SIP domains of ours write to Prosody over one
// connection, each proved by itself: the first by our certificate or by dialback,
// the second by dialback on the same stream (XEP-0220, section 2.6.1).
func TestTwoDomains(t *testing.T) {
	for _, auth := range []string{"EXTERNAL", "dialback"} {
		t.Run(auth, func(t *testing.T) {
			s := &meeting{Net: New(t)}
			domains := []string{"sip.example", "also.example"}
			zone := SIPRecords("gw.example", "udp", 1) + through("xmpp.example", 21) + ClientRecords("xmpp.example")
			config := "domains:\n  sip.example: {users: sip}\n  also.example: {users: sip}\npeers:\n" +
				"  sip.example: {security: plain-ok}\n  also.example: {security: plain-ok}\n"
			p := ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}}
			var flags []string
			if auth == "dialback" {
				p.Authority = NewCA(t, s.Dir, "other")
				p.Roots, flags = p.Authority, []string{"--no-tls-verify"}
				config += "  xmpp.example: {security: dialback-ok}\n"
			}
			for i, d := range domains {
				zone += SIPRecords(d, "udp", 10+i) + XMPPRecords(d, 1, false)
			}
			s.Zone(zone)
			s.StartProsody(p)
			wire := s.relay(21, netip.AddrPortFrom(s.Addr(20), 5269))
			s.gateway = s.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: append([]string{"gw.example"}, domains...)})
			for i, d := range domains {
				k := s.StartKamailio(KamailioConfig{Domain: d, Host: 10 + i, NextHop: "sip:gw.example"})
				romeo := s.StartBaresip(BaresipConfig{User: "romeo@" + d, Host: 30 + i, Server: k.Addr, Transport: "udp", Correspondent: "sip:juliet@xmpp.example"})
				juliet := s.StartSendxmpp("juliet@xmpp.example", "romeo@"+d, flags...)
				if status := romeo.Say("hello from " + d); status != 200 {
					t.Errorf("romeo@%s was answered %d", d, status)
				}
				if m := juliet.AwaitMessage(0, "hello from "+d); !strings.HasPrefix(m.From, "romeo@"+d) {
					t.Errorf("juliet got %v", m)
				}
				juliet.Say("hello to " + d)
				romeo.AwaitMessage(0, "hello to "+d)
			}
			addr := fmt.Sprintf("wire.xmpp.example (%s:5269, tcp)", s.Addr(21))
			s.gateway.AwaitLine(0, `"peer up"`, "from=sip.example", addr, "auth="+auth)
			s.gateway.AwaitLine(0, `"peer up"`, "from=also.example", addr, "auth=dialback")
			if n := wire.connections(); n != 1 && auth == "EXTERNAL" {
				t.Errorf("%d connections", n)
			}
		})
	}
}
