package peers

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Password is every user's.
const Password = "secret"

// A ProsodyConfig says what kind of XMPP domain to run.
type ProsodyConfig struct {
	Domain string
	Host   int      // last number of its address
	Users  []string // localparts; each has [Password]

	// SecureAuth accepts certificates only (SASL EXTERNAL, RFC 6120, section
	// 13.8.2); else peers may show any certificate and prove themselves by
	// dialback (XEP-0220). Dialback false and SecureAuth false would be no
	// security at all, so there is no third choice.
	SecureAuth bool

	Verbose bool // log every stanza
	OneWay  bool // without streams that are used both ways (XEP-0288)

	// Components are taken at port 5347 (XEP-0114): domains with their secrets.
	// With any, messages to users who are not there are kept for them.
	Components map[string]string

	// Authority signs its certificate; nil is the net's.
	Authority *CA

	// Roots is whom it trusts; nil is the net's authority.
	Roots *CA
}

// A Prosody is a running XMPP server.
type Prosody struct {
	*Process

	ProsodyConfig
	Addr netip.Addr

	net  *Net
	path string // of its configuration
}

// prosodyConfig is the server's file. TLS is required on every stream; the
// resolver is the system's, and may live on loopback.
const prosodyConfig = `run_as_root = true
pidfile = "%[1]s/prosody.pid"
data_path = "%[1]s/data"
log = { { levels = { min = "%[9]s" }, to = "console" } }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "version", "smacks", %[2]s }
interfaces = { "%[3]s" }
component_interfaces = { "%[3]s" }
c2s_direct_tls_ports = { 5223 }
s2s_direct_tls_ports = { 5270 }
authentication = "internal_plain"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = %[4]t
ssl = { certificate = "%[5]s", key = "%[6]s", cafile = "%[7]s" }
unbound = { resolvconf = "/etc/resolv.conf", hoststxt = false, options = { ["do-not-query-localhost:"] = "no" } }
VirtualHost "%[8]s"
`

// StartProsody runs an XMPP server and returns when it takes connections from
// servers. The zone must say where it is: _xmpp-client and _xmpp-server at
// ports 5222 and 5269, _xmpps-server at 5270 where direct TLS is wanted.
func (n *Net) StartProsody(c ProsodyConfig) *Prosody {
	n.t.Helper()
	p := &Prosody{ProsodyConfig: c, Addr: n.Addr(c.Host), net: n}
	p.path = "prosody-" + c.Domain + "/prosody.cfg.lua"
	p.configure()
	for _, u := range c.Users {
		n.write("prosody-"+c.Domain+"/data/"+luaName(c.Domain)+"/accounts/"+luaName(u)+".dat",
			fmt.Sprintf("return { [\"password\"] = %q };\n", Password))
	}
	p.Start()
	return p
}

// Certify gives the server, when it starts next, a certificate by another
// authority.
func (p *Prosody) Certify(by *CA) {
	p.Authority = by
	p.configure()
}

func (p *Prosody) configure() {
	cert, key := cmp.Or(p.Authority, p.net.CA).Issue(append([]string{p.Domain}, slices.Sorted(maps.Keys(p.Components))...)...)
	roots := cmp.Or(p.Roots, p.net.CA)
	modules, level := `"dialback"`, "info"
	if p.Verbose {
		level = "debug"
	}
	if p.SecureAuth {
		modules = ""
	}
	if !p.OneWay {
		modules = `"s2s_bidi", ` + modules
	}
	components := ""
	if len(p.Components) > 0 {
		modules = `"offline", ` + modules
	}
	for domain, secret := range p.Components {
		components += fmt.Sprintf("Component %q\n\tcomponent_secret = %q\n", domain, secret)
	}
	dir := p.net.Dir + "/prosody-" + p.Domain
	p.net.write(p.path, fmt.Sprintf(prosodyConfig, dir, modules, p.Addr, p.SecureAuth, cert, key, roots.File, p.Domain, level)+components)
	if err := os.MkdirAll(dir+"/data", 0o755); err != nil {
		p.net.t.Fatal(err)
	}
}

// Start runs the server again after Stop or Kill.
func (p *Prosody) Start() {
	p.net.t.Helper()
	p.Process = p.net.start("prosody "+p.Domain, p.net.command("prosody", "-F", "--config", p.net.Dir+"/"+p.path))
	for _, port := range serverPorts(p.Components) {
		p.until(fmt.Sprintf("port %d", port), func() error { return dial(netip.AddrPortFrom(p.Addr, port)) })
	}
}

// serverPorts are where an XMPP server listens when it is up.
func serverPorts(components map[string]string) []uint16 {
	ports := []uint16{5222, 5269, 5270}
	if len(components) > 0 {
		ports = append(ports, 5347)
	}
	return ports
}

// dial reports whether somebody accepts connections there.
func dial(at netip.AddrPort) error {
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	return c.Close()
}

// luaName is how Prosody names the files of domains and users: everything but
// letters and digits as %xx.
func luaName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}
