package peers

import (
	"fmt"
	"testing"
)

// TestLoadTool shows that the load tool counts right where we have no part:
// its clients and its servers with Kamailio alone and with Prosody alone.
func TestLoadTool(t *testing.T) {
	n := New(t)
	n.Zone(SIPRecords("udp.example", "udp", 31) + SIPRecords("tls.example", "tls", 32) +
		XMPPRecords("xmpp.example", 20, true) + XMPPRecords("s2s.example", 30, true) + XMPPRecords("sender.example", 33, true))
	n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10})
	n.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: LoadUsers(5, 4), SecureAuth: true})
	sip, xmpp := "sip+tcp://NET.10:5060/sip.example", "xmpp://NET.20:5223/xmpp.example"
	out, err := n.Load(loadTool, "count", "--pairs=4", "--messages=200", "--timeout=3s",
		"sip+udp://NET.10:5060/sip.example sip+udp://NET.10:5060/sip.example",
		sip+" sip+tls://NET.10:5061/sip.example",
		xmpp+" "+xmpp,
		xmpp+" s2s://NET.20:5270/s2s.example?listen=NET.30:5270&"+n.certFor("s2s.example"),
		"s2s://NET.20:5270/sender.example?listen=NET.33:5270&"+n.certFor("sender.example")+" "+xmpp,
		sip+" peer+udp://NET.10:5060/udp.example?listen=NET.31:5060",
		sip+" peer+tls://NET.10:5061/tls.example?name=sip.example&listen=NET.32:5061&"+n.certFor("tls.example"),
		"peer+tcp://NET.10:5060/tcp.example?listen=NET.34:5060 "+sip,
	)
	t.Log("\n" + out)
	if err != nil {
		t.Error(err)
	}
}

// certFor returns a certificate as the load tool's ends take it.
func (n *Net) certFor(domain string) string {
	cert, key := n.CA.Issue(domain)
	return "cert=" + cert + "&key=" + key
}

// TestLoad sends many messages at once over every route through the gateway,
// 10,000 on the two that most people use, and counts them by body at the
// receivers: each arrives once, whole and in order.
func TestLoad(t *testing.T) {
	const pairs = 10
	n := New(t)
	config := "domains:\n"
	zone := ""
	names := []string{"gw.example"}
	var routes []string
	xmpp := []string{"external.example", "dialback.example"}
	for i, tr := range Transports {
		domain := tr.Name + ".example"
		zone += SIPRecords(domain, tr.Name, 10+i) + XMPPRecords(domain, 1, true) + SIPRecords(tr.Name+".gw.example", tr.Name, 1)
		names = append(names, domain)
		config += "  " + domain + ": {users: sip}\n"
		for j, x := range xmpp {
			messages := 500
			if tr.Name == "tls" && x == "external.example" {
				messages = 10_000
			}
			sip := fmt.Sprintf("sip+%s://NET.%d:%d/%s", tr.Name, 10+i, tr.Port, domain)
			at := fmt.Sprintf("xmpp://NET.%d:5223/%s", 20+j, x)
			routes = append(routes, fmt.Sprintf("%s %s %d", sip, at, messages), fmt.Sprintf("%s %s %d", at, sip, messages))
		}
	}
	config += "peers:\n  udp.example: {security: plain-ok}\n  tcp.example: {security: plain-ok}\n  dialback.example: {security: dialback-ok}\n"
	n.Zone(zone + XMPPRecords("external.example", 20, true) + XMPPRecords("dialback.example", 21, false))
	for i, tr := range Transports {
		n.StartKamailio(KamailioConfig{Domain: tr.Name + ".example", Host: 10 + i, Memory: 1024, NextHop: "sip:" + tr.Name + ".gw.example"})
	}
	users := LoadUsers(len(routes), pairs)
	other := NewCA(t, n.Dir, "other")
	n.StartProsody(ProsodyConfig{Domain: "external.example", Host: 20, Users: users, SecureAuth: true})
	// its clients trust the net's authority, and it trusts nobody's
	n.StartProsody(ProsodyConfig{Domain: "dialback.example", Host: 21, Users: users, Roots: other})
	n.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Config: config, Names: names})
	out, err := n.Load(loadTool, append([]string{"count", fmt.Sprintf("--pairs=%d", pairs)}, routes...)...)
	t.Log("\n" + out)
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkGateway prints what a message costs us, each way, beside what one
// from SIP to SIP costs Kamailio: first with SIP over TCP, then over TLS, which
// XMPP has in both. The servers on both sides of us are the load tool itself.
// Run it with -benchtime 1x: it has a number of messages of its own.
func BenchmarkGateway(b *testing.B) {
	n := New(b)
	n.Zone(XMPPRecords("load.example", 30, true) + SIPRecords("tcp.example", "tcp", 31) + SIPRecords("tls.example", "tls", 32) +
		XMPPRecords("tcp.example", 1, true) + XMPPRecords("tls.example", 1, true))
	kamailio := n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, Memory: 1024})
	gateway := n.StartGateway(GatewayConfig{
		Binary: cpimgate, Host: 1, Names: []string{"gw.example", "tcp.example", "tls.example"},
		Config: "domains:\n  tcp.example: {users: sip}\n  tls.example: {users: sip}\npeers:\n  tcp.example: {security: plain-ok}\n",
	})
	s2s := "s2s://NET.1:5270/load.example?listen=NET.30:5270&" + n.certFor("load.example")
	for b.Loop() {
		for i, tr := range Transports[1:] {
			sip := fmt.Sprintf("sip+%s://NET.10:%d/sip.example", tr.Name, tr.Port)
			peer := fmt.Sprintf("peer+%[1]s://NET.1:%[2]d/%[1]s.example?name=gw.example&listen=NET.%[3]d:%[2]d&", tr.Name, tr.Port, 31+i) + n.certFor(tr.Name+".example")
			out, err := n.Load(loadTool, "bench", "--pairs=50", "--window=1", "--messages=20000", "--metrics=http://NET.1:9580/metrics",
				fmt.Sprintf("--pid=%d,%d,%d", kamailio.PID(), gateway.PID(), gateway.PID()),
				sip+" "+sip, peer+" "+s2s, s2s+" "+peer)
			fmt.Printf("\n%s\n", out) // a benchmark's log is cut short
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
