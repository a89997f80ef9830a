// Package s2s carries stanzas between servers: XML streams in and out
// (RFC 6120) with STARTTLS or direct TLS (XEP-0368), SASL EXTERNAL (XEP-0178),
// Server Dialback in its three roles (XEP-0220, keys by XEP-0185), stream
// management (XEP-0198), streams that are used both ways (XEP-0288), and those
// of components (XEP-0114). It knows who is at the other end and how that was
// proved, never what a stanza means.
//
// A silent peer is asked for a sign of life (XEP-0199, section 4.3); answers to
// our requests are matched by both addresses and the id.
//
// What we send goes over streams that we open; what comes in on streams that
// peers open is handed to the [Handler] in the order of the stream (RFC 6120,
// section 4.5). Where both sides agree, a stream is used both ways: a pair of a
// domain of ours and one of theirs whose peer has opened one needs none of its
// own; and pairs that lead to the same place share one, each authorised on its
// own (XEP-0220, section 2.6). A pair that has a stream stays there until it
// ends, so that no stanza overtakes another.
//
// What we do differently:
//   - A header without "to" is refused, where RFC 6120, section 4.7.2 asks for
//     leniency: with several domains there is nothing to guess.
//   - Our initial stream header has no xml:lang, which RFC 6120, section 4.7.4
//     asks for: each stanza without a language would inherit it, and we do not
//     know what language our users write.
//   - A db:result whose sender the peer's certificate proves is answered
//     "valid" without a call back (XEP-0220, section 1, last paragraph).
//   - After a lost stream we reconnect within a second, not within a minute
//     (RFC 6120, section 3.3): people wait for the answer to their message.
//   - What was written and not acknowledged when a stream is lost is sent again
//     on a stream that resumes it (XEP-0198, section 5), and never otherwise.
//   - What is wrong with a stanza that comes to a component is no reason to end
//     the stream of all its server's users.
//   - The server of a component is asked by a ping what it has taken (XEP-0199),
//     since XEP-0114 has no acknowledgements.
//   - On a stream of the peer we do not ask by dialback for more domains of ours,
//     as XEP-0288, section 2.2 allows: Prosody 0.12 ends the stream over it.
//   - A pair that may not share a stream of another gets one of its own before its
//     stanzas come back (XEP-0220, section 2.5 asks for that after one of the
//     errors).
package s2s

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// A Handler takes the messages and presence of peers. It is called in order for
// each stream, on the stream's goroutine, and must not block for long: while
// it does, the peer waits. Nor may it wait for what [Server.Send] tells: that may
// come on the same stream.
type Handler interface {
	ServeStanza(ctx context.Context, e *xmltree.Element, peer federation.Peer)
}

// A Locator says where streams to a domain go, as a *locate.Locator does.
type Locator interface {
	XMPP(ctx context.Context, domain string) ([]federation.Target, error)
}

// A Config is what a [Server] is made of. Book, Locate, Trust and Handler are
// needed.
type Config struct {
	Name    string // of the software, for jabber:iq:version and disco#info
	Version string

	Book    federation.Book
	Locate  Locator
	Trust   *trust.Store
	Handler Handler

	StartTLS []net.Listener // streams that begin in the clear, port 5269
	Direct   []net.Listener // streams that begin with TLS (XEP-0368)

	Limits federation.Limits // zero fields: see Limits
	Secret []byte            // of our dialback keys; nil: random, good for one process
	Trace  federation.Trace
	Log    *slog.Logger // one line for each change of a peer's state; slog.DiscardHandler

	// Count is told of what was refused at the door, for metrics; it must not
	// block. The events are Spoofed and those beside it.
	Count func(event string)

	// Contact returns how those who run the service are reached, URIs by role:
	// "abuse", "admin" and the others of XEP-0157, section 7.1. Nobody if nil.
	Contact func() map[string][]string

	Attempts  int     // connections that one address may make in a minute; 0: ten times Limits.ConnsPerIP
	Rate      float64 // elements a second that are read from one stream, more wait; 0: 10,000
	Bandwidth float64 // the same in bytes; 0: 16 MB

	Dial federation.Dial // opens the connections to peers; that of federation.System
}

// Limits returns l with the package's defaults where it is zero.
func Limits(l federation.Limits) federation.Limits {
	return federation.Limits{
		Message:     cmp.Or(l.Message, 256<<10),
		Conns:       cmp.Or(l.Conns, 10_000),
		ConnsPerIP:  cmp.Or(l.ConnsPerIP, 100),
		Depth:       cmp.Or(l.Depth, 50),
		Attributes:  cmp.Or(l.Attributes, 50),
		Children:    cmp.Or(l.Children, 4000),
		Queue:       cmp.Or(l.Queue, 1000),
		Handshake:   cmp.Or(l.Handshake, 15*time.Second),
		Idle:        cmp.Or(l.Idle, 30*time.Minute),
		Write:       cmp.Or(l.Write, 10*time.Second),
		DialTimeout: cmp.Or(l.DialTimeout, 5*time.Second),
	}
}

// A key names a pair of domains: stanzas go from the one to the other.
type key struct{ from, to string }

// A Server holds all streams. It is safe for use by many goroutines.
type Server struct {
	cfg    Config
	lim    federation.Limits
	secret []byte

	mu      sync.Mutex
	ctx     context.Context                // of Run; nil before and after
	retire  func()                         // see Retire; nil before Run
	over    bool                           // Run is at its end
	tasks   sync.WaitGroup                 // pairs, streams and late answers; Run waits for it
	pairs   map[key]*pair                  // what we send
	streams map[key]*stream                // what peers send, on streams that they have opened
	ours    map[netip.AddrPort][]*outbound // that we have opened, by the address that was called
	calls   map[string]chan struct{}       // closed when nobody calls the domain any more
	singles map[netip.AddrPort]time.Time   // until when no stream is shared there
	shuns   map[netip.AddrPort]shunned
	certs   map[string][sha256.Size]byte // that peers have shown last, by domain
	queries map[query]waiting            // requests of ours
	kepts   map[string]*session          // of peers, by the name to resume them
	tries   map[string]int               // accepted connections since minute, by address
	minute  time.Time
	conns   map[string]int // accepted connections by address, and in all under ""
}

// The events of [Config.Count].
const (
	Spoofed    = "spoofed_from"       // a stanza from a domain that the stream has not proved; it has ended the stream
	Refused    = "refused_stream"     // a stream that ended before anybody was proved
	Overrun    = "refused_connection" // too many of them, in all, from one address or in a minute
	Mismatched = "dialback_refused"   // a pair of domains that was not proved
)

// New returns a Server that does nothing before [Server.Run].
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = federation.System.Dial
	}
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	if cfg.Contact == nil {
		cfg.Contact = func() map[string][]string { return nil }
	}
	cfg.Rate = cmp.Or(cfg.Rate, 10_000)
	cfg.Bandwidth = cmp.Or(cfg.Bandwidth, 16<<20)
	cfg.Attempts = cmp.Or(cfg.Attempts, 10*Limits(cfg.Limits).ConnsPerIP)
	if cfg.Secret == nil {
		cfg.Secret = []byte(rand.Text())
	}
	return &Server{
		cfg:     cfg,
		lim:     Limits(cfg.Limits),
		secret:  cfg.Secret,
		pairs:   map[key]*pair{},
		streams: map[key]*stream{},
		ours:    map[netip.AddrPort][]*outbound{},
		calls:   map[string]chan struct{}{},
		singles: map[netip.AddrPort]time.Time{},
		shuns:   map[netip.AddrPort]shunned{},
		certs:   map[string][sha256.Size]byte{},
		queries: map[query]waiting{},
		kepts:   map[string]*session{},
		tries:   map[string]int{},
		conns:   map[string]int{},
	}
}

// alive finds out about connections whose other end is gone (RFC 6120, section
// 4.6.1).
var alive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// Run accepts streams and sends what [Server.Send] is given, until ctx is done
// or a listener fails. Then it closes all streams, and returns when everything has ended. It closes
// the listeners. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.ctx = ctx
	for _, p := range s.pairs {
		s.tasks.Go(func() { p.run(ctx) })
	}
	s.mu.Unlock()
	accepting := s.takeStreams(ctx, cancel)
	<-ctx.Done()
	accepting.Wait()
	s.mu.Lock()
	s.ctx, s.over = nil, true // from here on nothing is begun
	s.mu.Unlock()
	s.tasks.Wait()
	s.unanswered()
	if outer.Err() != nil {
		return nil
	}
	return context.Cause(ctx) // a listener has failed
}

// takeStreams accepts what peers open until ctx is done or Retire is called.
func (s *Server) takeStreams(ctx context.Context, failed func(error)) *sync.WaitGroup {
	ctx, retire := context.WithCancel(ctx)
	s.mu.Lock()
	s.retire = retire
	s.mu.Unlock()
	var accepting sync.WaitGroup
	accept := func(l net.Listener, via federation.Transport) {
		accepting.Go(func() {
			if err := s.accept(ctx, l, via); err != nil {
				failed(err)
			}
		})
	}
	for _, l := range s.cfg.StartTLS {
		accept(l, federation.TCP)
	}
	for _, l := range s.cfg.Direct {
		accept(l, federation.TLS)
	}
	accepting.Go(func() {
		<-ctx.Done()
		for _, l := range slices.Concat(s.cfg.StartTLS, s.cfg.Direct) {
			l.Close()
		}
	})
	return &accepting
}

// Retire ends in good order what peers have opened, and takes no more of it:
// what they have sent is handled, and what they send from now on goes elsewhere,
// or back to its sender. What we have to say is still sent. It does not wait;
// [Server.Peers] shows which streams are left.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retire != nil {
		s.retire()
	}
}

// begin runs f on a goroutine that Run waits for, and reports false if the
// Server does not run.
func (s *Server) begin(f func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := s.ctx
	if ctx == nil {
		return false
	}
	s.tasks.Go(func() { f(ctx) })
	return true
}

// Send queues a stanza for the peer that its "to" names; its "from" says for
// which of our domains. It never blocks, and what is sent before Run waits
// for it. Stanzas of a pair of domains go in the order of the calls.
//
// done is told Acknowledged when the peer has confirmed the stanza, and Written
// when it was written to an authenticated stream of a peer that does not
// confirm, or not by the time by. A stanza that is still queued at that time is
// withdrawn and done is told that, a fault of kind Timeout, as when a stream is
// lost before the peer has confirmed; the zero time is a minute from now. Other
// faults are NoRoute (no such domain, or it does not speak XMPP), Timeout (it
// cannot be reached), Forbidden (its TLS or its certificate is not what its
// rules demand, or it refuses ours), Busy (its queue is full) and Internal.
func (s *Server) Send(e *xmltree.Element, by time.Time, done federation.Done) {
	if by.IsZero() {
		by = time.Now().Add(queueTime)
	}
	if done == nil {
		done = func(federation.How, error) {}
	}
	if err := s.enqueue(e, item{by: by, done: done}); err != nil {
		s.giveUp(done, err)
	}
}

// giveUp tells why a stanza was not taken, on a goroutine of ours if we run.
func (s *Server) giveUp(done federation.Done, err error) {
	if !s.begin(func(context.Context) { done(federation.GivenUp, err) }) {
		done(federation.GivenUp, err)
	}
}

// queueTime is how long a stanza waits that has no time of its own (MSG-33).
const queueTime = time.Minute

func (s *Server) enqueue(e *xmltree.Element, it item) error {
	if e.Name.Space != xep.NS {
		return fault.E(fault.Internal, "not a stanza") // RFC 6120, section 4.8.3
	}
	from, err := federation.DomainOf(e.Get("from"))
	if err != nil {
		return err
	}
	to, err := federation.DomainOf(e.Get("to"))
	if err != nil {
		return err
	}
	switch {
	case !s.cfg.Book.Stands(federation.XMPP, from):
		return fault.E(fault.Internal, "not a sender of ours")
	case s.cfg.Book.Stands(federation.XMPP, to): // RFC 6120, section 10.5
		return fault.E(fault.NoRoute, "the address leads back here")
	case !s.cfg.Book.Rules(to).Allow:
		return errBarred
	}
	it.text = written(e)
	for {
		p, err := s.pair(key{from, to})
		if err != nil {
			return err
		}
		if err = p.enqueue(it); err != errGone {
			return err
		}
	}
}

// pair returns the pair of that name, and starts one if there is none.
func (s *Server) pair(k key) (*pair, error) {
	s.mu.Lock()
	p := s.pairs[k]
	full := p == nil && len(s.pairs) >= s.lim.Conns
	if p == nil && !full && !s.over {
		p = newPair(s, k)
		s.pairs[k] = p
		if ctx := s.ctx; ctx != nil {
			s.tasks.Go(func() { p.run(ctx) })
		}
	}
	s.mu.Unlock()
	switch {
	case full:
		return nil, fault.E(fault.Busy, "too many peers")
	case p == nil:
		return nil, errShut
	}
	return p, nil
}

var errBarred = fault.E(fault.Forbidden, "the domain is not allowed")

// A Status is one pair of domains as it stands, for status and metrics.
type Status struct {
	From, To string // the domain that sends and the one that receives
	Inbound  bool   // the peer sends
	Up       bool
	Since    time.Time         // of Up or of its end
	Proof    federation.Proof  // what the peer has shown; Address: DNS led to it, no more
	Auth     string            // how we have proved ourselves: "EXTERNAL", "dialback", AsComponent or Reverse; outbound only
	Bidi     bool              // the stream is used both ways (XEP-0288)
	TLS      uint16            // tls.VersionTLS13, ...; 0: none
	Cipher   uint16            // tls.TLS_AES_128_GCM_SHA256, ...
	Cert     *x509.Certificate // that the peer has shown; nil: none
	Addr     string
	Queue    int   // stanzas that wait
	Err      error // why it was last down
}

// Streams counts the streams in use, by who has opened them.
func (s *Server) Streams() (in, out int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	theirs := map[*stream]bool{}
	for _, st := range s.streams {
		theirs[st] = true
	}
	for _, list := range s.ours {
		out += len(list)
	}
	return len(theirs), out
}

// Peers returns the state of all pairs, in the order of their names.
func (s *Server) Peers() []Status {
	s.mu.Lock()
	pairs := slices.Collect(maps.Values(s.pairs))
	streams := maps.Clone(s.streams)
	s.mu.Unlock()
	var all []Status
	for _, p := range pairs {
		all = append(all, p.status())
	}
	for k, in := range streams {
		all = append(all, in.incoming(k))
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return all
}
