package gateway_test

import (
	"bufio"
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trust/trusttest"
	"cpimgate/gateway"
	"cpimgate/gateway/config"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/testdata"
)

// A ring is a network on which gateways point at each other.
type ring struct {
	t    *testing.T
	net  *gatewaytest.Memory
	ca   *trusttest.CA
	zone *locate.Static

	mu    sync.Mutex
	heard map[string]int // what came in, by gateway and first word
}

// gateway runs one that stands for domains, until the test is over.
func (r *ring) gateway(name, yaml string, domains ...string) {
	r.t.Helper()
	dir := r.t.TempDir()
	if _, _, _, err := r.ca.Files(dir, trusttest.Options{DNS: domains}); err != nil {
		r.t.Fatal(err)
	}
	settings, err := config.Parse(filepath.Join(dir, "cpimgate.yaml"), []byte(yaml+"tls: {cert: cert.pem, key: key.pem}\n"))
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{Settings: settings, Net: r.net, Resolver: r.zone, Roots: r.ca.Pool(), Trace: func(rec federation.Record) {
		if word, _, _ := strings.Cut(string(rec.Text), " "); !rec.Out {
			r.mu.Lock()
			r.heard[name+" "+word]++
			r.mu.Unlock()
		}
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-g.Ready()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

// TestRing: two gateways that point at each other stop after one round. What
// Romeo writes to Mantua goes there as a stanza; Mantua's gateway believes its
// people to be behind Verona's, and sends it back as a request (RES-25, GW-02).
func TestRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &ring{t: t, net: gatewaytest.NewMemory(), heard: map[string]int{}}
		var err error
		if r.ca, err = trusttest.NewCA("ring"); err != nil {
			t.Fatal(err)
		}
		if r.zone, err = locate.NewStatic("_xmpp-server._tcp.mantua.example. SRV 0 0 5269 a.example.\n_xmpp-server._tcp.verona.example. SRV 0 0 5269 b.example.\n" +
			"a.example. A 127.0.0.1\nb.example. A 127.0.0.2\n"); err != nil {
			t.Fatal(err)
		}
		const listen = "listen: {name: HOST.example, sip: \"ADDR:5060\", sips: off, xmpp: \"ADDR:5269\", xmpps: off, admin: off}\n"
		r.gateway("mantua", strings.NewReplacer("HOST", "a", "ADDR", "127.0.0.1").Replace(listen)+`domains:
  mantua.example: {users: sip, server: "sip:127.0.0.2;transport=tcp"}
peers:
  mantua.example: {security: plain-ok}
`, "mantua.example")
		r.gateway("verona", strings.NewReplacer("HOST", "b", "ADDR", "127.0.0.2").Replace(listen)+`domains:
  verona.example: {users: sip, server: "sip:127.0.0.1:5070;transport=tcp"}
  mantua.example: {users: xmpp, gateway: gw.verona.example}
peers:
  "*": {error_window: 15s}
  verona.example: {security: plain-ok}
`, "verona.example", "gw.verona.example")

		c, err := r.net.Dial(t.Context(), netip.MustParseAddr("127.0.0.1"), "127.0.0.2:5060")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		request := strings.NewReplacer("juliet@example.com", "tybalt@mantua.example", "romeo@example.net", "romeo@verona.example",
			"Max-Forwards", "Via: SIP/2.0/TCP 127.0.0.1:5070;branch=z9hG4bK1\nMax-Forwards").Replace(message)
		if _, err := c.Write([]byte(testdata.CRLF(request))); err != nil {
			t.Fatal(err)
		}
		answer, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(answer, "SIP/2.0 606 ") { // the image of the stanza error that the 482 became
			t.Errorf("romeo is answered %q, %v", answer, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.heard["verona MESSAGE"] != 2 || r.heard["mantua <message"] != 1 || r.heard["mantua SIP/2.0"] != 1 {
			t.Errorf("there came %v", r.heard)
		}
	})
}
