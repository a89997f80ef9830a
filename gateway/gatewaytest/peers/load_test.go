package peers

import (
	"flag"
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
	out, err := n.Load(loadTool, "count", "--pairs=4", "--messages=200",
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

var (
	benchMessages = flag.Int("messages", 20000, "that BenchmarkGateway sends over each route")
	benchProfiles = flag.String("profiles", "", "directory into which BenchmarkGateway writes where the gateway's CPU and memory go")
)

// BenchmarkGateway prints what a message costs us, each way, beside what one
// from SIP to SIP costs Kamailio: first with SIP over TCP, then over TLS, which
// XMPP has in both. The servers on both sides of us are the load tool itself,
// under other names for each way.
// Run it with -benchtime 1x: it has a number of messages of its own.
func BenchmarkGateway(b *testing.B) {
	n := New(b)
	kamailio := n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, Memory: 1024})
	gateway, ends := n.startBetween()
	for b.Loop() {
		for _, tr := range Transports[1:] {
			args := []string{
				"bench", "--pairs=50", "--window=1", fmt.Sprintf("--messages=%d", *benchMessages), "--admin=http://NET.1:9580",
				fmt.Sprintf("--pid=%d,%d,%d", kamailio.PID(), gateway.PID(), gateway.PID()),
				fmt.Sprintf("sip+%[1]s://NET.10:%[2]d/sip.example sip+%[1]s://NET.10:%[2]d/sip.example", tr.Name, tr.Port),
				ends["from-"+tr.Name] + " " + ends["to-xmpp"],
				ends["from-xmpp"] + " " + ends["to-"+tr.Name],
			}
			if *benchProfiles != "" {
				args = append(args, "--profiles="+*benchProfiles)
			}
			out, err := n.Load(loadTool, args...)
			fmt.Printf("\n%s\n", out) // a benchmark's log is cut short
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// startBetween runs a gateway between servers that the load tool plays, and
// returns the tool's ends by way and wire: "from-tcp", "to-xmpp" and so on.
func (n *Net) startBetween() (*Gateway, map[string]string) {
	zone, config, plain, names, ends := "", "domains:\n", "peers:\n", []string{"gw.example"}, make(map[string]string)
	host := 30
	for _, way := range []string{"from", "to"} {
		domain := way + "-xmpp.example"
		zone += XMPPRecords(domain, host, true)
		ends[way+"-xmpp"] = fmt.Sprintf("s2s://NET.1:5270/%s?listen=NET.%d:5270&", domain, host) + n.certFor(domain)
		host++
		for _, tr := range Transports[1:] {
			domain := way + "-" + tr.Name + ".example"
			zone += SIPRecords(domain, tr.Name, host) + XMPPRecords(domain, 1, true)
			names = append(names, domain)
			config += "  " + domain + ": {users: sip}\n"
			if tr.Name == "tcp" {
				plain += "  " + domain + ": {security: plain-ok}\n"
			}
			ends[way+"-"+tr.Name] = fmt.Sprintf("peer+%s://NET.1:%d/%s?name=gw.example&listen=NET.%d:%[2]d&", tr.Name, tr.Port, domain, host) + n.certFor(domain)
			host++
		}
	}
	n.Zone(zone)
	return n.StartGateway(GatewayConfig{Binary: cpimgate, Host: 1, Names: names, Config: config + plain}), ends
}
