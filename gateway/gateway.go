package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trunk"
	"cpimgate/federation/trust"
	"cpimgate/gateway/admin"
	"cpimgate/gateway/config"
	"cpimgate/gateway/policy"
	"cpimgate/gateway/shard"
	"cpimgate/gateway/step"
)

// drain is how long those who wait for an answer may still get it after we were
// told to stop.
const drain = 5 * time.Second

// settling is how long refusals may then take to leave.
const settling = 2 * time.Second

// A Config is what a [Gateway] is made of.
type Config struct {
	Settings *config.Config
	Version  string
	Log      *slog.Logger     // slog.DiscardHandler
	Trace    federation.Trace // of both wires
	Net      federation.Net   // federation.System
	Resolver locate.Resolver  // instead of the DNS that the settings name
	Roots    *x509.CertPool   // instead of the system's
}

// A Gateway carries messages between the two worlds.
type Gateway struct {
	settings   *config.Live
	book       *config.Live   // the same, as [federation.Book]
	started    *config.Config // what New was given: listeners and the like stay as it says
	name       string
	log        *slog.Logger
	policy     *policy.Engine
	loops      loops
	shards     *shard.Shards
	locate     *locate.Locator
	trunk      *trunk.Trunk
	s2s        *s2s.Server
	components components
	trust      *trust.Store
	admin      *admin.Server
	open       *listeners
	routes     routes
	pending    pending
	flying     atomic.Int64 // requests and stanzas of machines that do not know yet what became of them
	serving    atomic.Bool
	ready      chan struct{} // closed by Run
}

// Ready is closed when Run carries messages.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// New opens the listeners and makes a gateway of them. Nothing is accepted
// before Run.
func New(cfg Config) (*Gateway, error) {
	s, book := cfg.Settings, config.NewLive(cfg.Settings)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Net == nil {
		cfg.Net = federation.System
	}
	block, err := policy.NewList(s.Policy.Block)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		settings: book, book: book, started: s, name: s.Listen.Name, log: cfg.Log,
		policy: policy.New(rates(s), block), loops: newLoops(),
		pending: pending{m: map[step.Tx]waits{}}, ready: make(chan struct{}),
	}
	g.admin = admin.New(status{g})
	g.shards = shard.New(shard.Config{New: g.machine, Do: g.do})
	if g.trust, err = certificates(s, book, cfg.Roots, cfg.Log); err != nil {
		return nil, err
	}
	g.doubts(s)
	g.gaps()
	if cfg.Resolver == nil {
		if cfg.Resolver, err = locate.NewDNS(s.DNS.Resolvers); err != nil {
			return nil, err
		}
	}
	if g.open, err = listen(cfg.Net, s.Listen); err != nil {
		return nil, err
	}
	g.wires(cfg)
	return g, nil
}

// Certificates reads our certificates, and whom we trust, as the settings say.
func Certificates(s *config.Config, roots *x509.CertPool, log *slog.Logger) (*trust.Store, error) {
	return certificates(s, s, roots, log)
}

func certificates(s *config.Config, book federation.Book, roots *x509.CertPool, log *slog.Logger) (*trust.Store, error) {
	c := trust.Config{Roots: roots, Book: book, Log: log}
	for _, pair := range s.TLS {
		c.Pairs = append(c.Pairs, trust.Pair{Cert: pair.Cert, Key: pair.Key})
	}
	return trust.New(c)
}

// wires makes both wires over the listeners.
func (g *Gateway) wires(cfg Config) {
	s := cfg.Settings
	limits := federation.Limits{
		Message: s.Limits.Message, Conns: s.Limits.Connections, ConnsPerIP: s.Limits.PerAddress,
		Queue: s.Limits.Queue, Idle: s.Limits.Idle,
	}
	g.locate = locate.New(locate.Config{Resolver: cfg.Resolver, Book: g.book, Log: cfg.Log})
	g.routes = routes{speaks: g.locate.Speaks, limit: s.Limits.Queue, waiting: map[string][]answer{}, found: map[string]verdict{}}
	g.trunk = trunk.New(trunk.Config{
		Name: g.name, Agent: "cpimgate/" + cfg.Version, Book: g.book, Locate: g.locate, Trust: g.trust,
		UDP: g.open.udp, TCP: g.open.tcp, TLS: g.open.tls, Dial: cfg.Net.Dial,
		Credentials: g.book.Credentials, Handler: sipDoor{g}, Limits: limits, Drain: drain, Trace: cfg.Trace, Log: cfg.Log,
		Count: func(event string) { g.admin.Policy(string(federation.SIP), event) },
	})
	g.s2s = s2s.New(s2s.Config{
		Name: "cpimgate", Version: cfg.Version, Book: g.book, Locate: g.locate, Trust: g.trust, Handler: xmppDoor{g, nil},
		StartTLS: g.open.xmpp, Direct: g.open.xmpps, Dial: cfg.Net.Dial, Limits: limits, Trace: cfg.Trace, Log: cfg.Log,
		Count:   func(event string) { g.admin.Policy(string(federation.XMPP), event) },
		Contact: g.book.Contact,
	})
	g.components.connect = func(a *attached) { g.attach(a, cfg, limits) }
	g.components.set(s.Attachments())
}

// Run carries messages until ctx is done. Then it takes no more requests, gives
// those who wait their answer or an honest refusal, and returns when everything
// that it started has ended.
func (g *Gateway) Run(ctx context.Context) error {
	later, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	sip, stopSIP := context.WithCancel(ctx)
	defer stopSIP()
	var run errgroup.Group
	run.Go(func() error { return g.shards.Run(later) })
	g.routes.open(later)
	run.Go(func() error { return g.routes.Run(later) })
	ends := endings{list: g.trust.Expiry, say: g.sayEnding}
	run.Go(func() error { return ends.Run(later) })
	run.Go(func() error {
		defer stopSIP()
		return g.s2s.Run(later)
	})
	run.Go(func() error { return g.components.Run(later) })
	if g.open.admin != nil {
		run.Go(func() error { return g.admin.Run(later, g.open.admin) })
	}
	run.Go(func() error {
		<-g.trunk.Ready()
		g.serving.Store(true)
		close(g.ready)
		return nil
	})
	leave := context.AfterFunc(ctx, g.s2s.Retire) // as the trunk does by itself
	defer leave()
	err := g.trunk.Run(sip)
	g.serving.Store(false)
	g.settle()
	stop()
	return errors.Join(err, run.Wait())
}

// settle waits until peers have sent all that they had begun to send, and the
// machines have done with what they were told, so that refusals find their way
// out before the streams close.
func (g *Gateway) settle() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	calm := 0 // looks in a row: while we look at one, what is there may move to the other
	for range settling / (10 * time.Millisecond) {
		_, events := g.shards.Load()
		if calm++; events > 0 || g.flying.Load() > 0 || g.queued() > 0 {
			calm = 0
		}
		if calm == 2 {
			return
		}
		<-tick.C
	}
}

// queued returns how many stanzas wait for a stream, and how many streams may
// bring some.
func (g *Gateway) queued() int {
	n := 0
	for _, p := range g.streams() {
		n += p.Queue
		if p.Inbound {
			n++
		}
	}
	return n
}

// listeners are all sockets on which we wait for peers.
type listeners struct {
	udp                   []net.PacketConn
	tcp, tls, xmpp, xmpps []net.Listener
	admin                 net.Listener
}

func listen(on federation.Net, l config.Listen) (*listeners, error) {
	o := &listeners{}
	var errs []error
	open := func(key string, a config.Address, into *[]net.Listener) {
		if a == "" {
			return
		}
		s, err := on.Listen(string(a))
		if err != nil {
			errs = append(errs, fmt.Errorf("listen: %s: %w", key, err))
			return
		}
		*into = append(*into, s)
	}
	if l.SIP != "" {
		p, err := on.ListenPacket(string(l.SIP))
		if err != nil {
			errs = append(errs, fmt.Errorf("listen: sip: %w", err))
		} else {
			o.udp = append(o.udp, p)
		}
	}
	var admins []net.Listener
	open("sip", l.SIP, &o.tcp)
	open("sips", l.SIPS, &o.tls)
	open("xmpp", l.XMPP, &o.xmpp)
	open("xmpps", l.XMPPS, &o.xmpps)
	open("admin", l.Admin, &admins)
	if len(admins) > 0 {
		o.admin = admins[0]
	}
	if len(errs) > 0 {
		o.close()
		return nil, errors.Join(errs...)
	}
	return o, nil
}

// Addrs returns where we listen, by the keys of the settings; sip is that of
// TCP.
func (g *Gateway) Addrs() map[string]netip.AddrPort {
	addrs := map[string]netip.AddrPort{}
	for key, list := range map[string][]net.Listener{"sip": g.open.tcp, "sips": g.open.tls, "xmpp": g.open.xmpp, "xmpps": g.open.xmpps} {
		for _, l := range list {
			addrs[key] = l.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	if g.open.admin != nil {
		addrs["admin"] = g.open.admin.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

func (o *listeners) close() {
	for _, p := range o.udp {
		p.Close()
	}
	for _, list := range [][]net.Listener{o.tcp, o.tls, o.xmpp, o.xmpps} {
		for _, l := range list {
			l.Close()
		}
	}
	if o.admin != nil {
		o.admin.Close()
	}
}
