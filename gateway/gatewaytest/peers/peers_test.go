package peers

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The programs of ours, built once. The gateway looks for data races when the
// tests do.
var cpimgate, loadTool string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "peers")
	if err == nil {
		cpimgate, err = Build(dir, "cpimgate/cmd/cpimgate", Race...)
	}
	if err == nil {
		loadTool, err = Build(dir, "cpimgate/gateway/gatewaytest/load")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// TestProsody shows that the harness's XMPP side works without us: two users
// of one domain, over TLS that both sides verify.
func TestProsody(t *testing.T) {
	n := New(t)
	n.Zone(XMPPRecords("xmpp.example", 20, true) + ClientRecords("xmpp.example"))
	n.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet", "nurse"}, SecureAuth: true})
	nurse := n.StartSendxmpp("nurse@xmpp.example", "juliet@xmpp.example")
	juliet := n.StartSendxmpp("juliet@xmpp.example", "nurse@xmpp.example")
	juliet.Say("Schläfst du, Amme?")
	m := nurse.AwaitMessage(0, "Schläfst du, Amme?")
	if m.To != "nurse@xmpp.example" {
		t.Errorf("nurse got %v", m)
	}

	// a user that does not exist is refused by the server
	nobody := n.StartSendxmpp("juliet@xmpp.example", "nobody@xmpp.example")
	nobody.Say("is anybody there?")
	if e := nobody.AwaitError(0, "nobody@xmpp.example"); e.Condition() != "service-unavailable" {
		t.Errorf("juliet got %v, want service-unavailable", e)
	}
}

// TestKamailio shows that the harness's SIP side works without us: users of one
// domain over each transport, and answers of the server.
func TestKamailio(t *testing.T) {
	n := New(t)
	n.Zone(SIPRecords("sip.example", "udp", 10))
	k := n.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10})
	romeo := n.StartBaresip(BaresipConfig{User: "romeo@sip.example", Host: 11, Server: k.Addr, Transport: "tls", Correspondent: "sip:tybalt@sip.example"})
	tybalt := n.StartBaresip(BaresipConfig{User: "tybalt@sip.example", Host: 12, Server: k.Addr, Transport: "tcp", Correspondent: "sip:nobody@sip.example"})
	if status := romeo.Say("Gut gesprochen, Schurke: ça va?"); status != 200 {
		t.Errorf("romeo was answered %d", status)
	}
	if from := tybalt.AwaitMessage(0, "Gut gesprochen, Schurke: ça va?"); from != "sip:romeo@sip.example" {
		t.Errorf("tybalt got it from %q", from)
	}
	if status := tybalt.Say("is anybody there?"); status != 404 {
		t.Errorf("tybalt was answered %d, want 404", status)
	}
	if got, _ := n.Sipsak(k.Addr, "mercutio@sip.example", "romeo@sip.example", "a plague"); got != 200 {
		t.Errorf("mercutio was answered %d", got)
	}
	if from := romeo.AwaitMessage(0, "a plague"); from != "sip:mercutio@sip.example" {
		t.Errorf("romeo got it from %q", from)
	}
}
