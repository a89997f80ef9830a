package peers

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// A GatewayConfig says how our own binary is run.
type GatewayConfig struct {
	Binary string // path, from [Build]
	Host   int    // last number of its address

	// Domains and peers of its configuration, in the words of the operator,
	// with [Net.Text]'s addresses.
	Config string

	// Names are in its certificate: its own host name first, then the domains
	// that it stands for.
	Names []string

	Authority *CA // signs its certificate; nil is the net's
}

// A Gateway is the gateway as an operator starts it.
type Gateway struct {
	*Process

	GatewayConfig
	Addr netip.Addr

	net  *Net
	file string
}

// gatewayRest is what the harness adds to the configuration: addresses, the
// zone, the certificate, and limits that a load tool does not meet.
const gatewayRest = `
tls: {cert: "%[2]s", key: "%[3]s"}
listen:
  name: %[4]s
  sip: "%[1]s:5060"
  sips: "%[1]s:5061"
  xmpp: "%[1]s:5269"
  xmpps: "%[1]s:5270"
  admin: "%[1]s:9580"
dns: {resolvers: ["%[5]s"]}
limits: {per_sender: 100000, per_peer: 100000, strangers: 100000}
`

// StartGateway writes the gateway's file, runs it and returns when it says that
// it is healthy. The net's authority is its system's.
func (n *Net) StartGateway(c GatewayConfig) *Gateway {
	n.t.Helper()
	g := &Gateway{GatewayConfig: c, Addr: n.Addr(c.Host), net: n}
	g.configure()
	g.Start()
	return g
}

// Certify gives the gateway, when it starts next, a certificate by another
// authority.
func (g *Gateway) Certify(by *CA) {
	g.Authority = by
	g.configure()
}

func (g *Gateway) configure() {
	cert, key := cmp.Or(g.Authority, g.net.CA).Issue(g.Names...)
	g.file = g.net.write("gateway/cpimgate.yaml", g.net.Text(g.Config)+
		fmt.Sprintf(gatewayRest, g.Addr, cert, key, g.Names[0], g.net.DNS()))
}

// Secret writes a secret for the gateway into a file beside its configuration.
func (n *Net) Secret(name, secret string) {
	n.t.Helper()
	if err := os.Chmod(n.write("gateway/"+name, secret+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// Reload has the gateway read its file again.
func (g *Gateway) Reload() {
	g.net.t.Helper()
	mark := g.Log.Len()
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		g.net.t.Fatal(err)
	}
	g.AwaitLine(mark, "settings read again")
}

// Start runs the gateway again after Stop or Kill. A crash fails the test, and
// so does a data race where the binary was built to find them.
func (g *Gateway) Start() {
	g.net.t.Helper()
	cmd := g.net.command(g.Binary, "serve", "--config", g.file)
	p := g.net.start("cpimgate", cmd)
	g.Process = p
	g.net.t.Cleanup(func() {
		if p.Crashed() {
			g.net.t.Errorf("peers: the gateway crashed: %v", p.err)
		}
		if strings.Contains(p.Log.String(), "DATA RACE") {
			g.net.t.Error("peers: the gateway has a data race")
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	g.until("health", func() error {
		resp, err := client.Get(fmt.Sprintf("http://%s:9580/healthz", g.Addr))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("health: %s", resp.Status)
		}
		return nil
	})
}
