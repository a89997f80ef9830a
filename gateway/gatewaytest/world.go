package gatewaytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trust/trusttest"
	"cpimgate/gateway"
	"cpimgate/gateway/config"
)

// A World is a small internet on loopback, or in memory: a certification
// authority, a name server, a SIP domain whose gateway we are, and an XMPP
// domain out there.
type World struct {
	CA      *trusttest.CA
	CAFile  string // the authority's certificate; it goes with the world
	Zone    *locate.Static
	DNS     string // where the zone is served, over UDP; "" in memory
	SIP     *SIPDomain
	XMPP    *XMPPDomain
	Gateway *gateway.Gateway // nil if it runs elsewhere
	YAML    string           // the gateway's settings

	dir     string
	gate    Gate
	names   net.PacketConn // of the name server; nil in memory
	records string
	run     errgroup.Group
	end     context.CancelFunc

	stop    context.CancelFunc // of the gateway alone
	stopped chan struct{}
}

// InTime are settings of a gateway with which errors come in time, however slow
// the machine is. A SIP user is then answered late about who has not written
// before. Lines about other peers may follow.
const InTime = "peers:\n  \"*\": {error_window: 15s}\n"

// Stop stops the gateway, as SIGTERM does, and waits until it has ended. The
// domains go on.
func (w *World) Stop() {
	w.stop()
	<-w.stopped
}

// A Gate is a gateway as a world needs it: it listens before Run, is there when
// Ready is closed, and runs until the context is done.
type Gate interface {
	Addrs() map[string]netip.AddrPort
	Ready() <-chan struct{}
	Run(ctx context.Context) error
}

// Options say what a World is like. Zero fields have the names of the RFCs'
// examples.
type Options struct {
	SIP, XMPP           string   // domains; example.net and example.com
	SIPUsers, XMPPUsers []string // romeo and juliet
	YAML                string   // more settings of the gateway

	// Attached turns the world round: the XMPP domain is the gateway's, which it
	// sees as components by these secrets; the SIP domain is out there.
	Attached map[string]string
	Admin    string // where the gateway shows health and metrics; off
	Version  string // of the gateway; test

	// Where the programs of the people may connect, each an address of loopback
	// with a port; "" is nowhere.
	SIPClients, XMPPClients string

	Trace federation.Trace // of the gateway
	Log   *slog.Logger     // of the gateway

	// Net is what all of them are on, [federation.System] if nil. On another one
	// nobody serves DNS: the zone is asked itself.
	Net federation.Net

	// Names, if not nil, answers the gateway's questions instead of the zone.
	Names func(*locate.Static) locate.Resolver

	// Start, if not nil, starts the gateway elsewhere, as the file says, where
	// the authority of the world counts as the system's. Version, Trace, Log and
	// Net are not for that one.
	Start func(file, caFile string) (Gate, error)
}

// NewWorld makes a world and starts it. Close ends it.
func NewWorld(ctx context.Context, o Options) (*World, error) {
	if o.SIP == "" {
		o.SIP, o.XMPP = "example.net", "example.com"
	}
	if o.SIPUsers == nil {
		o.SIPUsers, o.XMPPUsers = []string{"romeo"}, []string{"juliet"}
	}
	if o.Version == "" {
		o.Version = "test"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &World{end: func() {}}
	if err := w.build(o); err != nil {
		w.Close()
		return nil, err
	}
	ctx, w.end = context.WithCancel(ctx)
	if w.names != nil {
		w.run.Go(func() error { return w.Zone.Serve(ctx, w.names, nil) })
	}
	w.run.Go(func() error { return w.SIP.Run(ctx) })
	w.run.Go(func() error { return w.XMPP.Run(ctx) })
	inner, stop := context.WithCancel(ctx)
	w.stop, w.stopped = stop, make(chan struct{})
	w.run.Go(func() error {
		defer close(w.stopped)
		return w.gate.Run(inner)
	})
	for _, ready := range []<-chan struct{}{w.SIP.trunk.Ready(), w.gate.Ready()} {
		<-ready
	}
	return w, nil
}

func (w *World) build(o Options) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "cpimgate-"); err != nil {
		return err
	}
	if w.CA, err = trusttest.NewCA("small authority"); err != nil {
		return err
	}
	if w.Zone, err = locate.NewStatic(""); err != nil {
		return err
	}
	if o.Net == nil {
		if w.names, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return err
		}
		w.DNS = w.names.LocalAddr().String()
	}
	s := Settings{
		Domain: o.SIP, Users: o.SIPUsers, CA: w.CA, Net: o.Net, Resolver: w.Zone, Roots: w.CA.Pool(), Clients: o.SIPClients,
		Log: slog.New(slog.DiscardHandler),
	}
	if w.SIP, err = NewSIPDomain(s); err != nil {
		return err
	}
	s.Domain, s.Users, s.Clients, s.Components = o.XMPP, o.XMPPUsers, o.XMPPClients, o.Attached
	if w.XMPP, err = NewXMPPDomain(s); err != nil {
		return err
	}
	if err := w.gateway(o); err != nil {
		return err
	}
	w.records = w.zone(o)
	return w.Zone.Set(w.records)
}

// Add adds records to the zone.
func (w *World) Add(records string) error {
	w.records += records
	return w.Zone.Set(w.records)
}

// gateway makes the gateway from a file, as an operator would.
func (w *World) gateway(o Options) error {
	if err := w.configure(o); err != nil {
		return err
	}
	if o.Start != nil {
		file, err := w.Write(w.YAML)
		if err == nil {
			w.gate, err = o.Start(file, w.CAFile)
		}
		return err
	}
	settings, err := w.settings(w.YAML)
	if err != nil {
		return err
	}
	cfg := gateway.Config{
		Settings: settings, Version: o.Version, Log: o.Log, Trace: o.Trace, Net: o.Net, Roots: w.CA.Pool(),
	}
	if w.names == nil {
		cfg.Resolver = w.Zone
	}
	if o.Names != nil {
		cfg.Resolver = o.Names(w.Zone)
	}
	w.Gateway, err = gateway.New(cfg)
	w.gate = w.Gateway
	return err
}

// configure makes the certificate and the settings of the gateway.
func (w *World) configure(o Options) error {
	var err error
	if _, _, w.CAFile, err = w.CA.Files(w.dir, trusttest.Options{DNS: []string{o.SIP, "gw." + o.XMPP}, SIPURI: []string{"sip:" + o.SIP, "sip:" + o.XMPP, "sip:gw." + o.SIP}}); err != nil {
		return err
	}
	home := fmt.Sprintf(`%s: {users: sip, server: "sip:%[1]s:%d;transport=tls"}`, o.SIP, w.SIP.port)
	if o.Attached != nil {
		if home, err = w.attached(o); err != nil {
			return err
		}
	}
	w.YAML = fmt.Sprintf(`domains:
  %s
tls: {cert: cert.pem, key: key.pem}
listen: {name: gw.%[2]s, sip: "127.0.0.1:0", sips: "127.0.0.1:0", xmpp: "127.0.0.1:0", xmpps: off, admin: %[4]q}
%[3]s`, home, o.SIP, o.YAML, cmp.Or(o.Admin, "off"))
	if w.DNS != "" {
		w.YAML = fmt.Sprintf("dns: {resolvers: [%q]}\n", w.DNS) + w.YAML
	}
	return nil
}

// attached returns the settings of the XMPP domain when it is ours. Its gateway
// name is gw. before its own.
func (w *World) attached(o Options) (string, error) {
	var parts []string
	for _, domain := range slices.Sorted(maps.Keys(o.Attached)) {
		if err := w.Secret(domain, o.Attached[domain]); err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("%s: {server: %q, secret_file: %[1]s}", domain, w.XMPP.Components()))
	}
	return fmt.Sprintf("%s: {users: xmpp, gateway: gw.%[1]s, components: {%s}}", o.XMPP, strings.Join(parts, ", ")), nil
}

// Secret writes the file with the secret of a component, which has its name.
func (w *World) Secret(domain, secret string) error {
	return os.WriteFile(filepath.Join(w.dir, domain), []byte(secret), 0o600)
}

// Write writes settings to the gateway's file, and returns its name.
func (w *World) Write(yaml string) (string, error) {
	file := w.file()
	return file, os.WriteFile(file, []byte(yaml), 0o600)
}

func (w *World) file() string { return filepath.Join(w.dir, "cpimgate.yaml") }

func (w *World) settings(yaml string) (*config.Config, error) {
	return config.Parse(w.file(), []byte(yaml))
}

// Reload gives the running gateway other settings, as SIGHUP does.
func (w *World) Reload(yaml string) (live, restart []string, err error) {
	settings, err := w.settings(yaml)
	if err != nil {
		return nil, nil, err
	}
	return w.Gateway.Reload(settings)
}

// zone returns the records of the world. The gateway is the SIP domain's XMPP
// server, and its proxy sends to it all that leaves the domain.
func (w *World) zone(o Options) string {
	w.SIP.Border("gw." + o.SIP)
	a := w.gate.Addrs()
	return w.SIP.Zone() + w.XMPP.Zone() + fmt.Sprintf(
		"_xmpp-server._tcp.%s. SRV 0 0 %d gw.%[1]s.\n_sips._tcp.gw.%[1]s. SRV 0 0 %[3]d gw.%[1]s.\ngw.%[1]s. A 127.0.0.1\n",
		o.SIP, a["xmpp"].Port(), a["sips"].Port())
}

// Close ends the world, the gateway first, and waits until everything in it has
// ended.
func (w *World) Close() error {
	if w.stop != nil {
		w.Stop()
	}
	w.end()
	return errors.Join(w.run.Wait(), os.RemoveAll(w.dir))
}
