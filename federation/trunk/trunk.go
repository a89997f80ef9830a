// Package trunk carries SIP over UDP, TCP and TLS between us and other domains
// (RFC 3261, sections 17, 18 and 22; RFC 3263, section 4.3; RFC 3581; RFC 4320;
// RFC 5118; RFC 5393; RFC 5626, section 4.4.1; RFC 5922; RFC 5923; RFC 7616).
// Transactions are those of github.com/emiago/sipgo/sip where RFC 3261 gives them
// timers, which is over UDP and for INVITE; the others and the sockets are ours,
// for reasons that each file tells: connections are dialled and verified per
// peer domain and never shared between two (RFC 5923, section 9.3), every
// listener has limits and deadlines, and the requests of one connection or
// address reach the [Handler] in the order in which they came.
//
// What a request must be before the Handler sees it: well-formed
// ([sipx.CheckRequest]), from somebody who may speak for a domain (decision
// D-72), of a method that the Handler takes, without extensions that we lack,
// not merged, not out of hops and not our own come back. OPTIONS is answered
// here. Identities are asserted inside the trust domain only (RFC 3325), which
// is a home and its own server.
//
// What we do differently:
//   - "maddr" in a Via is followed for a peer that has proved who it is only
//     (RFC 3261, section 18.2.2): with it a stranger could aim our responses.
//   - To a domain whose request gets no answer we give each target a share of
//     the time that the request has, instead of 32 s (RFC 3261, section
//     17.1.2.2): our own sender waits no longer than that.
//   - A message that comes again in another transaction within 32 s is answered as
//     before, if it was taken: its proxy was restarted. RFC 3261, section
//     8.2.2.2 speaks of requests that are open only.
//   - A request that was lost with a connection which had been in use before, and
//     quiet since, is sent once more to the same target, over a new connection.
//   - Redirections are followed within the domain only, in the order of their
//     Contacts (RFC 3261, section 8.1.3.4): nobody else may have the message.
//   - Whether a peer answers pings we learn, because nobody registers here (RFC
//     5626, section 4.4.1); and of UDP nothing is kept alive.
//   - Retry-After counts for an hour at most (RFC 3261, section 20.33).
//   - A Request-URI without a user and with a bracket in a parameter is refused:
//     see [sipx.Misread].
package trunk

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trust"
)

// A Config is what a [Trunk] is made of. Listeners are the trunk's from Run on:
// it closes them.
type Config struct {
	Name   string          // host name in Via and Warning; the address of the first listener
	Agent  string          // Server and User-Agent header fields; none
	Book   federation.Book // homes and rules
	Locate Locator
	Trust  *trust.Store // needed for TLS in either direction

	UDP []net.PacketConn
	TCP []net.Listener
	TLS []net.Listener // TCP listeners; the TLS is ours

	Dial federation.Dial // opens the connections to peers; that of federation.System

	Handler Handler
	Methods []sip.RequestMethod                    // that the Handler takes; MESSAGE
	Accept  []string                               // media types of bodies, "text/*" allowed; all
	Dialog  func(callID, ours, theirs string) bool // knows the dialog of a request with a To tag; there are none

	// Credentials returns with what to answer a peer domain that asks for a
	// password in a realm (RFC 3261, section 22); false for nothing. There are none.
	Credentials func(domain, realm string) (user, password string, ok bool)

	// Limits are by default Message 65535, Conns 2000, ConnsPerIP 100, Queue
	// 2000 (requests open from one connection, or to one domain), Handshake 10 s
	// (also from the first octet of a message to its last), Idle 10 min, Write
	// 10 s, DialTimeout 5 s.
	Limits federation.Limits

	Answer  time.Duration // until a request that the Handler leaves unanswered is answered 504; 20 s
	Timeout time.Duration // of a request that we send, all targets together; 20 s
	Drain   time.Duration // that Run waits for answers after its context is done; 5 s

	// Count is told of what was refused at the door, for metrics; it must not
	// block. The events are Spoofed and those beside it.
	Count func(event string)

	Trace federation.Trace
	Log   *slog.Logger // slog.DiscardHandler
}

// The events of [Config.Count].
const (
	Spoofed  = "spoofed_from"       // a request for a domain that is plain-ok, and not from its addresses
	Unproved = "unproved_from"      // a request for a domain that is not, and nothing was shown
	Refused  = "refused_request"    // all other requests that do not reach the Handler
	Overrun  = "refused_connection" // too many of them, in all or from one address
)

// A Locator finds the targets of a SIP URI, as [locate.Locator] does.
type Locator interface {
	SIP(ctx context.Context, q locate.SIPQuery) ([]federation.Target, error)
}

// A Handler takes the requests that have passed all checks.
type Handler interface {
	// ServeSIP must return soon: the next request of the same connection or
	// address waits for it. The answer may come later, from any goroutine. An
	// error is answered at once: with its status if it is a *[sipx.Refusal],
	// else with 500. The context ends with the trunk.
	ServeSIP(ctx context.Context, req *sip.Request, peer federation.Peer, tx Tx) error
}

// A Tx is a request that waits for its answer (RFC 3261, section 17.2).
type Tx interface {
	// ID names the transaction, for logs.
	ID() string

	// Answer sends a response, made by sip.NewResponseFromRequest or
	// [Reply]. After the final one it is an error of kind Internal, after the
	// end of the connection one of kind Timeout.
	Answer(res *sip.Response) error

	// Done is closed when the request is over: answered, or cancelled.
	Done() <-chan struct{}
}

// A Trunk is the SIP side of the gateway.
type Trunk struct {
	cfg     Config
	log     *slog.Logger
	parser  *sip.Parser
	tpl     *sip.TransportLayer
	txl     *sip.TransactionLayer
	tcp     *handover
	tls     *handover
	udp     []*packets
	ctx     context.Context // of Run
	wg      sync.WaitGroup  // all that Run waits for
	next    atomic.Uint64   // synthetic addresses
	started chan struct{}   // closed when Run has begun
	stray   string          // see stray.go
	jobs    chan func()     // for a worker that has nothing to do

	ports map[federation.Transport]int // at which we listen, or would by default

	logins  *lru.Cache[string, []*login]
	resting *lru.Cache[federation.Target, time.Time] // targets that asked us to wait, and until when
	taken   *lru.Cache[uint64, taken]                // messages, see again.go
	seed    maphash.Seed

	mu         sync.Mutex
	running    bool               // Run has begun
	draining   bool               // no new requests
	stopped    bool               // no new goroutines
	unanswered int                // requests without their final answer
	streams    map[string]*stream // by synthetic address
	perIP      map[string]int     // accepted connections
	accepted   int
	links      map[linkKey]*link
	queued     map[string]int                // requests under way, by domain
	finals     map[string]chan *sip.Response // by client transaction
	arrivals   map[string]*arrival           // live server transactions, by sipgo's key
	merged     map[string]string             // key of the live transaction, by what merged requests share
	lines      map[string]*line              // order of requests, by connection or address
	idle       chan struct{}                 // closed when draining and no request is open
	free       int                           // workers that have nothing to do
}

// New returns a trunk. It opens nothing: Run does.
func New(cfg Config) *Trunk {
	defaults(&cfg)
	t := &Trunk{
		cfg: cfg, log: cfg.Log.With("wire", "SIP"),
		started: make(chan struct{}), tcp: newHandover(), tls: newHandover(),
		streams: make(map[string]*stream), perIP: make(map[string]int), links: make(map[linkKey]*link),
		queued: make(map[string]int), finals: make(map[string]chan *sip.Response), arrivals: make(map[string]*arrival),
		merged: make(map[string]string), lines: make(map[string]*line), idle: make(chan struct{}), stray: sipx.NewBranch(),
		jobs: make(chan func()), seed: maphash.MakeSeed(), ports: portsOf(cfg),
	}
	t.logins, _ = lru.New[string, []*login](maxLogins) // these fail for sizes below one only
	t.resting, _ = lru.New[federation.Target, time.Time](maxResting)
	t.taken, _ = lru.New[uint64, taken](maxTaken)
	t.layers()
	for _, pc := range cfg.UDP {
		t.udp = append(t.udp, newPackets(t, pc))
	}
	return t
}

// global is for what sipgo keeps in package variables: it refuses to write a
// datagram of over 1300 octets, which a response may have and a request that
// found no TCP; and it logs to the default logger what it cannot parse, whole.
var global sync.Once

// layers builds sipgo's two layers. Our hook is registered before the
// transaction layer's, so it runs first and in the reader.
func (t *Trunk) layers() {
	global.Do(func() {
		sip.UDPMTUSize = 1 << 16
		sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	})
	log := slog.New(terse{t.log.Handler()})
	noDial := func(net.Addr) net.Dialer { return net.Dialer{Control: refuseDial} }
	t.parser = sipx.Parser(t.cfg.Limits.Message)
	t.tpl = sip.NewTransportLayer(net.DefaultResolver, t.parser, nil,
		sip.WithTransportLayerLogger(log),
		sip.WithTransportLayerTransports(sip.TransportsConfig{
			TCP: &sip.TransportTCP{DialerCreate: noDial},
			TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: noDial}},
		}))
	t.tpl.OnMessage(t.arrive)
	t.txl = sip.NewTransactionLayer(t.tpl,
		sip.WithTransactionLayerLogger(log),
		sip.WithTransactionLayerTerminateOnConnClose(),
		sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})) // late or repeated
	t.txl.OnRequest(t.request)
}

func defaults(cfg *Config) {
	setDefault(&cfg.Limits.Message, 65535)
	setDefault(&cfg.Limits.Conns, 2000)
	setDefault(&cfg.Limits.ConnsPerIP, 100)
	setDefault(&cfg.Limits.Queue, 2000)
	setDefault(&cfg.Limits.Handshake, 10*time.Second)
	setDefault(&cfg.Limits.Idle, 10*time.Minute)
	setDefault(&cfg.Limits.Write, 10*time.Second)
	setDefault(&cfg.Limits.DialTimeout, 5*time.Second)
	setDefault(&cfg.Answer, 20*time.Second)
	setDefault(&cfg.Timeout, 20*time.Second)
	setDefault(&cfg.Drain, 5*time.Second)
	if cfg.Dial == nil {
		cfg.Dial = federation.System.Dial
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	if cfg.Methods == nil {
		cfg.Methods = []sip.RequestMethod{sip.MESSAGE}
	}
	if cfg.Name == "" {
		cfg.Name = firstHost(*cfg)
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// firstHost returns the address of the first listener, for tests and small
// set-ups.
func firstHost(cfg Config) string {
	var addr net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	switch {
	case len(cfg.UDP) > 0:
		addr = cfg.UDP[0].LocalAddr()
	case len(cfg.TCP) > 0:
		addr = cfg.TCP[0].Addr()
	case len(cfg.TLS) > 0:
		addr = cfg.TLS[0].Addr()
	}
	host, _, _ := net.SplitHostPort(addr.String())
	return strings.Trim(host, "[]")
}

// portsOf returns the port of the first listener of each transport, or else its
// default.
func portsOf(cfg Config) map[federation.Transport]int {
	first := make(map[federation.Transport]net.Addr)
	if len(cfg.UDP) > 0 {
		first[federation.UDP] = cfg.UDP[0].LocalAddr()
	}
	if len(cfg.TCP) > 0 {
		first[federation.TCP] = cfg.TCP[0].Addr()
	}
	if len(cfg.TLS) > 0 {
		first[federation.TLS] = cfg.TLS[0].Addr()
	}
	ports := make(map[federation.Transport]int)
	for _, via := range []federation.Transport{federation.UDP, federation.TCP, federation.TLS} {
		ports[via] = sip.DefaultPort(string(via))
		if first[via] == nil {
			continue
		}
		if _, port, err := sip.ParseAddr(first[via].String()); err == nil && port != 0 {
			ports[via] = port
		}
	}
	return ports
}

// Ready is closed when Run has begun: before that nothing can be sent.
func (t *Trunk) Ready() <-chan struct{} { return t.started }

// Run serves the listeners until ctx is done. Then it takes no more requests,
// waits a while for the answers to those that it has, answers the rest 503 and
// closes everything. It may be called once.
func (t *Trunk) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	t.mu.Lock()
	if t.ctx != nil {
		t.mu.Unlock()
		return fault.E(fault.Internal, "trunk runs already")
	}
	t.ctx = inner
	t.mu.Unlock()

	failed := make(chan error, len(t.cfg.TCP)+len(t.cfg.TLS)+len(t.udp))
	for _, p := range t.udp {
		t.wg.Go(func() { failed <- p.serve() })
		<-p.ready // sipgo has it: else it would open a socket of its own to send from
	}
	t.mu.Lock()
	t.running = true
	close(t.started)
	t.mu.Unlock()
	t.wg.Go(func() { _ = t.tpl.ServeTCP(t.tcp) }) // ends with the hand-over
	t.wg.Go(func() { _ = t.tpl.ServeTLS(t.tls) })
	for _, l := range t.cfg.TCP {
		t.wg.Go(func() { failed <- t.accept(l, false) })
	}
	for _, l := range t.cfg.TLS {
		t.wg.Go(func() { failed <- t.accept(l, true) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	t.drain()
	stop()
	t.close()
	t.wg.Wait()
	return err
}

// drain stops accepting and waits for the Handler's answers, and for those to
// requests of ours.
func (t *Trunk) drain() {
	for _, l := range slices.Concat(t.cfg.TCP, t.cfg.TLS) {
		_ = l.Close()
	}
	t.mu.Lock()
	t.draining = true
	t.calm()
	t.mu.Unlock()
	timer := time.NewTimer(t.cfg.Drain)
	defer timer.Stop()
	select {
	case <-t.idle:
	case <-timer.C:
	}
	for _, a := range t.waiting() {
		a.refuse(sipx.Refuse(sip.StatusServiceUnavailable, fault.Busy, "Shutting down"))
	}
}

// calm notes the end of the last request, either way, while we drain. The caller holds
// t.mu.
func (t *Trunk) calm() {
	if !t.draining || t.unanswered > 0 || len(t.queued) > 0 {
		return
	}
	select {
	case <-t.idle:
	default:
		close(t.idle)
	}
}

// spawn starts a goroutine that Run waits for, unless Run is about to return.
// The caller holds t.mu.
func (t *Trunk) spawn(f func()) bool {
	if !t.running || t.stopped {
		return false
	}
	t.wg.Go(f)
	return true
}

// close ends every connection and transaction.
func (t *Trunk) close() {
	t.tcp.close()
	t.tls.close()
	t.txl.Close()
	for _, p := range t.udp {
		_ = p.Close()
	}
	t.mu.Lock()
	t.stopped = true
	var open []*stream
	for _, s := range t.streams {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		_ = s.Close()
	}
	_ = t.tpl.Close() // nothing is left in it but addresses
}

// A Status is one connection, for the live page.
type Status struct {
	Domains  []string // proved, or dialled for
	Addr     string
	Via      federation.Transport
	Dialled  bool
	Since    time.Time
	Requests int // of ours under way to the domain
}

// Peers returns the connections that are open now, the oldest first.
func (t *Trunk) Peers() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Status
	for _, s := range t.streams {
		st := Status{Domains: s.names, Addr: s.remote.String(), Via: s.via, Dialled: s.dialled, Since: s.since}
		if s.dialled {
			st.Requests = t.queued[s.domain]
		}
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b Status) int { return a.Since.Compare(b.Since) })
	return list
}
