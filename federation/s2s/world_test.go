package s2s_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trust"
	"cpimgate/federation/trust/trusttest"
)

// patience is how long a test waits for what must come. Nothing is expected to
// take so long, and nothing is slower for it.
const patience = 2 * time.Minute

// A world is a zone, an authority and the domains that live there.
type world struct {
	*testing.T
	ca   *trusttest.CA
	zone *locate.Static

	mu      sync.Mutex
	records string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all servers have ended
	return newZone(t)
}

// newZone is newWorld for a bubble of synctest, which looks for leaks itself.
func newZone(t *testing.T) *world {
	t.Helper()
	ca, err := trusttest.NewCA("test authority")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := locate.NewStatic("example. 300 IN SOA ns.example. x.example. 1 60 60 60 60\n")
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, ca: ca, zone: zone, records: "example. 300 IN SOA ns.example. x.example. 1 60 60 60 60\n"}
}

// publish adds records to the zone.
func (w *world) publish(format string, args ...any) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records += fmt.Sprintf(format, args...) + "\n"
	if err := w.zone.Set(w.records); err != nil {
		w.Fatal(err)
	}
}

// at publishes that a domain takes streams at an address.
func (w *world) at(service, domain string, addr netip.AddrPort) {
	w.publish("%s._tcp.%s. 300 IN SRV 10 0 %d host-%s.", service, domain, addr.Port(), domain)
	w.publish("host-%s. 300 IN A %s", domain, addr.Addr())
}

// A book is what an operator wrote: the domains that are ours and the security
// of peers.
type book struct {
	stands []string

	mu    sync.Mutex
	rules map[string]federation.Rules
}

func (b *book) Home(string) (federation.Home, bool) { return federation.Home{}, false }
func (b *book) Homes() []federation.Home            { return nil }
func (b *book) Stands(w federation.Wire, d string) bool {
	for _, s := range b.stands {
		if s == d {
			return w == federation.XMPP
		}
	}
	return false
}

func (b *book) Rules(d string) federation.Rules {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, ok := b.rules[d]; ok {
		return r
	}
	return federation.Rules{Allow: true}
}

// change sets what is demanded of a peer of a domain that runs.
func (b *book) change(peer string, s federation.Security) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules[peer] = federation.Rules{Allow: true, Security: s}
}

// arrival is a stanza that a domain was handed.
type arrival struct {
	text string
	peer federation.Peer
}

// A domain is one Server of ours with its surroundings.
type domain struct {
	*s2s.Server
	w    *world
	name string
	book *book
	addr netip.AddrPort // STARTTLS
	dtls netip.AddrPort // direct TLS
	got  chan arrival
	stop func()
}

// ServeStanza implements [s2s.Handler].
func (d *domain) ServeStanza(_ context.Context, e *xmltree.Element, peer federation.Peer) {
	d.got <- arrival{string(e.Append(nil, xep.NS)), peer}
}

// settings change a domain before it starts.
type settings struct {
	trust *trust.Config
	s2s   *s2s.Config
	book  *book
}

// start runs a domain with a certificate of the world's authority, published
// for STARTTLS.
func (w *world) start(name string, change ...func(*settings)) *domain {
	w.Helper()
	d := &domain{w: w, name: name, got: make(chan arrival, 20000)}
	is, err := w.ca.Issue(trusttest.Options{DNS: []string{name}})
	if err != nil {
		w.Fatal(err)
	}
	b := &book{stands: []string{name}, rules: map[string]federation.Rules{}}
	d.book = b
	tc := &trust.Config{Roots: w.ca.Pool(), Book: b}
	tc.Certs = append(tc.Certs, is.TLS)
	sc := &s2s.Config{
		Name: "cpimgate", Version: "test", Book: b, Handler: d,
		Limits: federation.Limits{Handshake: patience},
		Log:    slog.New(slog.NewTextHandler(logTo{w.T}, nil)).With("at", name),
	}
	for _, f := range change {
		f(&settings{tc, sc, b})
	}
	if sc.StartTLS == nil {
		tcp, direct := w.listen(), w.listen()
		d.addr, d.dtls = addrOf(tcp), addrOf(direct)
		sc.StartTLS, sc.Direct = []net.Listener{tcp}, []net.Listener{direct}
	}
	if sc.Trust, err = trust.New(*tc); err != nil {
		w.Fatal(err)
	}
	if sc.Locate == nil {
		sc.Locate = locate.New(locate.Config{Resolver: w.zone, Book: b})
	}
	d.Server = s2s.New(*sc)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }() // stop waits for it
	d.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.Errorf("%s: Run: %v", name, err)
			}
		case <-time.After(patience):
			w.Errorf("%s: Run does not return", name)
		}
	})
	w.Cleanup(d.stop)
	return d
}

// publish says in the zone where the domain takes streams.
func (d *domain) publish() *domain {
	d.w.at("_xmpp-server", d.name, d.addr)
	return d
}

// logTo writes what servers log to the test that runs them.
type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

func (w *world) listen() net.Listener {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func addrOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// rule sets what a domain demands of a peer.
func rule(peer string, s federation.Security) func(*settings) {
	return func(c *settings) { c.book.rules[peer] = federation.Rules{Allow: true, Security: s} }
}

// certificate replaces a domain's certificates.
func certificate(is *trusttest.Issued) func(*settings) {
	return func(c *settings) {
		c.trust.Certs = nil
		if is != nil {
			c.trust.Certs = append(c.trust.Certs, is.TLS)
		}
	}
}

// outcome is what Send was told.
type outcome struct {
	how federation.How
	err error
}

func message(from, to, body string) *xmltree.Element {
	return xmltree.New(xep.NS, "message", xmltree.New(xep.NS, "body", xmltree.Text(body))).
		With("from", from).With("to", to).With("type", "chat").With("id", "id-"+body)
}

// send sends a message and returns the channel of its outcome.
func (d *domain) send(to, body string) chan outcome { return d.sendBy(to, body, time.Time{}) }

// given fails the test unless the stanza was given up for a reason of that
// kind, which may be told to the sender.
func given(t testing.TB, c <-chan outcome, kind fault.Kind) {
	t.Helper()
	o := wait(t, c)
	if o.how != federation.GivenUp || fault.KindOf(o.err) != kind {
		t.Fatalf("outcome %v, %v: %v; want given up, %v", o.how, fault.KindOf(o.err), o.err, kind)
	}
	if text := fault.TextOf(o.err); text == "" || strings.Contains(text, ".example") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the sender is told %q", text)
	}
}

func (d *domain) sendBy(to, body string, by time.Time) chan outcome {
	c := make(chan outcome, 2)
	d.Send(message("romeo@"+d.name, to, body), by, func(h federation.How, err error) { c <- outcome{h, err} })
	return c
}

// wait returns what comes, or fails the test.
func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// written fails the test unless the stanza was written.
func written(t testing.TB, c <-chan outcome) {
	t.Helper()
	if o := wait(t, c); o.how == federation.GivenUp || o.err != nil {
		t.Fatalf("outcome %v, %v; want written", o.how, o.err)
	}
}

// acknowledged fails the test unless the peer has confirmed the stanza.
func acknowledged(t testing.TB, c <-chan outcome) {
	t.Helper()
	if o := wait(t, c); o.how != federation.Acknowledged || o.err != nil {
		t.Fatalf("outcome %v, %v; want acknowledged", o.how, o.err)
	}
}
