package peers

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// An EjabberdConfig says what kind of XMPP domain to run.
type EjabberdConfig struct {
	Domain string
	Host   int      // last number of its address
	Users  []string // localparts; each has [Password]

	// Dialback lets peers whose certificate proves nothing identify themselves
	// by dialback (XEP-0220), inside TLS. Without it only certificates count.
	Dialback bool

	// Components are taken at port 5347 (XEP-0114): domains with their secrets.
	// With any, messages to users who are not there are kept for them.
	Components map[string]string

	// Apart gives each component a listener of its own, from port 5347 up, in the
	// order of their names. In one listener, each connection stands for all.
	Apart bool

	// Authority signs its certificate; nil is the net's.
	Authority *CA

	// Roots is whom it trusts; nil is the net's authority.
	Roots *CA
}

// An Ejabberd is a running XMPP server.
type Ejabberd struct {
	*Process

	EjabberdConfig
	Addr netip.Addr

	net *Net
	dir string
}

// ejabberdConfig is the server's file. TLS is required on every stream.
const ejabberdConfig = `hosts: ["%[1]s"]
loglevel: info
certfiles: ["%[2]s", "%[3]s"]
ca_file: "%[4]s"
s2s_cafile: "%[4]s"
s2s_use_starttls: required
outgoing_s2s_families: [ipv4]
s2s_max_retry_delay: 1
auth_method: internal
listen:
  - {port: 5222, ip: "%[5]s", module: ejabberd_c2s, starttls_required: true}
  - {port: 5223, ip: "%[5]s", module: ejabberd_c2s, tls: true}
  - {port: 5269, ip: "%[5]s", module: ejabberd_s2s_in}
  - {port: 5270, ip: "%[5]s", module: ejabberd_s2s_in, tls: true}
%[6]smodules:
  mod_disco: {}
  mod_ping: {}
  mod_roster: {}
  mod_stream_mgmt: {}
`

// ejabberdLibs is where the Debian package has its Erlang applications.
const ejabberdLibs = "/usr/lib/*/ejabberd-*/ebin/ejabberd.app"

// StartEjabberd runs an XMPP server and returns when it takes connections from
// servers. The zone must say where it is, as for [Net.StartProsody].
func (n *Net) StartEjabberd(c EjabberdConfig) *Ejabberd {
	n.t.Helper()
	e := &Ejabberd{EjabberdConfig: c, Addr: n.Addr(c.Host), net: n, dir: "ejabberd-" + c.Domain}
	cert, key := cmp.Or(c.Authority, n.CA).Issue(append([]string{c.Domain}, slices.Sorted(maps.Keys(c.Components))...)...)
	components := c.listeners(e.Addr)
	text := fmt.Sprintf(ejabberdConfig, c.Domain, cert, key, cmp.Or(c.Roots, n.CA).File, e.Addr, components)
	if components != "" {
		text += "  mod_offline: {}\n"
	}
	if c.Dialback {
		text += "  mod_s2s_dialback: {}\n"
	}
	n.write(e.dir+"/ejabberd.yml", text)
	e.Start()
	return e
}

// listeners returns those for components.
func (c EjabberdConfig) listeners(at netip.Addr) string {
	var hosts []string
	for _, domain := range slices.Sorted(maps.Keys(c.Components)) {
		hosts = append(hosts, fmt.Sprintf("%q: {password: %q}", domain, c.Components[domain]))
	}
	if len(hosts) > 0 && !c.Apart {
		hosts = []string{strings.Join(hosts, ", ")}
	}
	var text strings.Builder
	for i, some := range hosts {
		fmt.Fprintf(&text, "  - {port: %d, ip: %q, module: ejabberd_service, hosts: {%s}}\n", 5347+i, at, some)
	}
	return text.String()
}

// Start runs the server again after Stop or Kill. It is the Erlang machine
// itself, without the script of the Debian package, which changes to a user of
// the system: a node without a name needs neither epmd nor a cookie.
func (e *Ejabberd) Start() {
	e.net.t.Helper()
	apps, err := filepath.Glob(ejabberdLibs)
	if err != nil || len(apps) == 0 {
		e.net.t.Fatal("peers: there is no ejabberd: `make test` installs it")
	}
	dir := filepath.Join(e.net.Dir, e.dir)
	var users strings.Builder
	for _, u := range e.Users {
		fmt.Fprintf(&users, "ejabberd_auth:try_register(<<%q>>, <<%q>>, <<%q>>), ", u, e.Domain, Password)
	}
	cmd := e.net.command("erl", "-noinput", "+sbwt", "none", "-mnesia", "dir", fmt.Sprintf("%q", dir+"/spool"),
		"-s", "ejabberd", "-eval", users.String()+`io:format("users are there~n").`)
	cmd.Env = append(cmd.Env, "EJABBERD_CONFIG_PATH="+dir+"/ejabberd.yml", "EJABBERD_LOG_PATH="+dir+"/ejabberd.log",
		"SPOOL_DIR="+dir+"/spool", "ERL_LIBS="+filepath.Dir(filepath.Dir(filepath.Dir(apps[0]))),
		"ERL_INETRC="+e.net.write(e.dir+"/inetrc", "{lookup, [file, native]}.\n{file, resolv, \"/etc/resolv.conf\"}.\n"))
	e.Process = e.net.start("ejabberd "+e.Domain, cmd)
	e.AwaitLine(0, "users are there")
	for _, port := range serverPorts(e.Components) {
		e.until(fmt.Sprintf("port %d", port), func() error { return dial(netip.AddrPortFrom(e.Addr, port)) })
	}
}
