package gatewaytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trunk"
	"cpimgate/federation/trust"
	"cpimgate/federation/trust/trusttest"
)

// A book says that there is one home, and that TLS is required of all.
type book struct {
	home   federation.Home
	plain  string // a domain whose people need no TLS, or ""
	border string // the domain's own gateway, which belongs to its trust domain, or ""
}

func (b *book) Homes() []federation.Home { return []federation.Home{b.home} }
func (b *book) Home(d string) (federation.Home, bool) {
	if d == b.border && d != "" {
		return federation.Home{Domain: d, Users: federation.SIP}, true
	}
	return b.home, d == b.home.Domain
}
func (b *book) Rules(d string) federation.Rules {
	if d == b.plain && d != "" {
		return federation.Rules{Allow: true, Security: federation.PlainOK}
	}
	return federation.Rules{Allow: true}
}
func (b *book) Stands(w federation.Wire, d string) bool {
	return d == b.home.Domain && b.home.Users != w
}

// A Settings is what a small domain is made of.
type Settings struct {
	Domain   string
	Users    []string // local parts; others do not exist
	CA       *trusttest.CA
	Net      federation.Net // federation.System
	Resolver locate.Resolver
	Roots    *x509.CertPool
	Log      *slog.Logger

	// Clients is where the programs of its people may connect, an address of
	// loopback with a port; "" is nowhere.
	Clients string

	// Components are taken by an XMPP domain, with their secrets; nil: none are.
	Components map[string]string
}

func (s Settings) network() federation.Net {
	if s.Net == nil {
		return federation.System
	}
	return s.Net
}

func (s Settings) parts(w federation.Wire) (*book, *locate.Locator, *trust.Store, error) {
	// A wire stands for homes whose people use the other one: that is how the
	// gateway sees itself. Here the people of the domain are on this wire, so
	// the book says the contrary.
	other := federation.SIP
	if w == federation.SIP {
		other = federation.XMPP
	}
	b := &book{home: federation.Home{Domain: s.Domain, Users: other}}
	if w == federation.SIP && s.Clients != "" {
		b.plain = s.Domain
	}
	cert, err := s.CA.Issue(trusttest.Options{DNS: []string{s.Domain}})
	if err != nil {
		return b, nil, nil, err
	}
	store, err := trust.New(trust.Config{Certs: []tls.Certificate{cert.TLS}, Roots: s.Roots, Book: b, Log: s.Log})
	return b, locate.New(locate.Config{Resolver: s.Resolver, Book: b}), store, err
}

// A SIPDomain is a small SIMPLE domain: a server with users who take messages.
type SIPDomain struct {
	Settings
	trunk  *trunk.Trunk
	port   int
	script bool  // the requests wait for Answer
	book   *book // knows where requests for other domains go

	clients *registrar // nil: nobody's programs connect

	mu      sync.Mutex
	waiting []waiting

	Requests chan *sip.Request  // what its users have received, unless Take is set
	Take     func(*sip.Request) // takes it instead; set before anything comes
}

type waiting struct {
	req  *sip.Request
	tx   trunk.Tx
	came time.Time
}

// NewSIPDomain opens a TLS listener on loopback.
func NewSIPDomain(s Settings) (*SIPDomain, error) {
	b, find, store, err := s.parts(federation.SIP)
	if err != nil {
		return nil, err
	}
	l, err := s.network().Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &SIPDomain{Settings: s, port: l.Addr().(*net.TCPAddr).Port, book: b, Requests: make(chan *sip.Request, 100)}
	cfg := trunk.Config{
		Name: s.Domain, Book: b, Locate: find, Trust: store, TLS: []net.Listener{l}, Dial: s.network().Dial, Handler: d, Log: s.Log,
		Answer: time.Minute, // its users may take longer than anybody waits for them
	}
	if s.Clients != "" {
		if err := d.openTo(s.Clients, &cfg); err != nil {
			l.Close()
			return nil, err
		}
	}
	d.trunk = trunk.New(cfg)
	return d, nil
}

// Zone returns the records that make the domain found.
func (d *SIPDomain) Zone() string {
	return fmt.Sprintf("_sips._tcp.%s. SRV 0 0 %d %[1]s.\n%[1]s. A 127.0.0.1\n", d.Domain, d.port)
}

// Ready is closed when Run has begun: before that nothing can be sent.
func (d *SIPDomain) Ready() <-chan struct{} { return d.trunk.Ready() }

// Run serves until ctx is done.
func (d *SIPDomain) Run(ctx context.Context) error { return d.trunk.Run(ctx) }

// ServeSIP implements [trunk.Handler]: a user who exists takes what he is sent.
func (d *SIPDomain) ServeSIP(_ context.Context, req *sip.Request, peer federation.Peer, tx trunk.Tx) error {
	if d.clients != nil {
		if done, err := d.serveClients(req, peer, tx); done {
			return err
		}
	}
	if !exists(d.Users, req.Recipient.User) {
		return tx.Answer(trunk.Reply(req, sip.StatusNotFound, "Not Found"))
	}
	if d.script { // before somebody knows of the request and answers it
		d.mu.Lock()
		d.waiting = append(d.waiting, waiting{req, tx, time.Now()})
		d.mu.Unlock()
	}
	if d.Take != nil {
		d.Take(req)
	} else {
		d.Requests <- req
	}
	if d.script {
		return nil
	}
	return tx.Answer(trunk.Reply(req, sip.StatusOK, "OK"))
}

// Script has the requests wait for Answer.
func (d *SIPDomain) Script() { d.script = true }

// Answer answers the oldest request that waits, as res says.
func (d *SIPDomain) Answer(res *sip.Response) error {
	w, err := d.oldest()
	if err != nil {
		return err
	}
	return w.tx.Answer(trunk.Reply(w.req, res.StatusCode, res.Reason, carried(res)...))
}

// Ignore leaves the oldest request that waits without an answer, and returns
// when it has come.
func (d *SIPDomain) Ignore() (time.Time, error) {
	w, err := d.oldest()
	return w.came, err
}

func (d *SIPDomain) oldest() (waiting, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		return waiting{}, fmt.Errorf("no request waits for an answer")
	}
	w := d.waiting[0]
	d.waiting = d.waiting[1:]
	return w, nil
}

// Border has all requests that leave the domain go by a gateway. It is set before
// Run.
func (d *SIPDomain) Border(host string) { d.book.border = host }

// Send sends a request to the border and returns the final response.
func (d *SIPDomain) Send(req *sip.Request) (*sip.Response, error) {
	type answer struct {
		res *sip.Response
		err error
	}
	c := make(chan answer, 1)
	d.trunk.Send(req, d.book.border, trunk.Sending{By: time.Now().Add(30 * time.Second)}, func(res *sip.Response, err error) { c <- answer{res, err} })
	a := <-c
	return a.res, a.err
}

// Write has a user write a text to an address such as juliet@example.com.
func (d *SIPDomain) Write(user, to, text string) (*sip.Response, error) {
	var uri sip.Uri
	if err := sip.ParseUri("sip:"+to, &uri); err != nil {
		return nil, err
	}
	req := sip.NewRequest(sip.MESSAGE, uri)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: d.Domain}, Params: sip.NewParams()})
	req.AppendHeader(&sip.ToHeader{Address: uri, Params: sip.NewParams()})
	req.AppendHeader(sip.NewHeader("Content-Type", "text/plain"))
	req.SetBody([]byte(text))
	return d.Send(req)
}

// An XMPPDomain is a small XMPP domain: a server with users who take messages.
type XMPPDomain struct {
	Settings
	s2s     *s2s.Server
	door    *door
	port    int
	clients *c2s // nil: nobody's programs connect
	hub     *hub // nil: no components

	Stanzas chan *xmltree.Element  // what its users have received, errors too, unless Take is set
	Take    func(*xmltree.Element) // takes it instead; set before anything comes
}

// NewXMPPDomain opens a listener on loopback.
func NewXMPPDomain(s Settings) (*XMPPDomain, error) {
	b, find, store, err := s.parts(federation.XMPP)
	if err != nil {
		return nil, err
	}
	l, err := s.network().Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &XMPPDomain{Settings: s, door: &door{Listener: l}, port: l.Addr().(*net.TCPAddr).Port, Stanzas: make(chan *xmltree.Element, 100)}
	if s.Clients != "" {
		if err := d.openTo(s.Clients); err != nil {
			l.Close()
			return nil, err
		}
	}
	if s.Components != nil {
		if err := d.openToComponents(s.Components); err != nil {
			l.Close()
			return nil, err
		}
	}
	d.s2s = s2s.New(s2s.Config{
		Name: "small domain", Book: b, Locate: find, Trust: store, Handler: d, StartTLS: []net.Listener{d.door}, Dial: s.network().Dial, Log: s.Log,
	})
	return d, nil
}

// Zone returns the records that make the domain found.
func (d *XMPPDomain) Zone() string {
	return fmt.Sprintf("_xmpp-server._tcp.%s. SRV 0 0 %d %[1]s.\n%[1]s. A 127.0.0.1\n", d.Domain, d.port)
}

// Run serves until ctx is done.
func (d *XMPPDomain) Run(ctx context.Context) error {
	run, ctx := errgroup.WithContext(ctx)
	run.Go(func() error { return d.s2s.Run(ctx) })
	if d.clients != nil {
		run.Go(func() error { return d.clients.run(ctx) })
	}
	if d.hub != nil {
		run.Go(func() error { return d.hub.run(ctx) })
	}
	return run.Wait()
}

// Hold has other servers that connect from now on wait, and hear nothing, until
// Admit or Reject.
func (d *XMPPDomain) Hold() { d.door.hold() }

// Admit lets in who has waited since Hold, and all after them.
func (d *XMPPDomain) Admit() { d.door.open(false) }

// Reject waits until somebody waits since Hold, and hangs up on him. Who comes
// after that is let in.
func (d *XMPPDomain) Reject() { d.door.reject() }

// ServeStanza implements [s2s.Handler].
func (d *XMPPDomain) ServeStanza(_ context.Context, e *xmltree.Element, _ federation.Peer) {
	if h, err := xep.HeaderOf(e); err == nil { // the stream has looked at the addresses
		d.take(e, h)
	}
}

// take gives a stanza to its user. What is for nobody comes back, as RFC 6121,
// section 8.5.1 has it.
func (d *XMPPDomain) take(e *xmltree.Element, h xep.Header) {
	switch {
	case d.clients != nil && d.clients.deliver(e, h):
	case !exists(d.Users, h.To.Localpart()):
		d.refuse(h, &xep.Error{Type: "cancel", Condition: "service-unavailable"})
	case d.Take != nil:
		d.Take(e)
	default:
		d.Stanzas <- e
	}
}

// refuse sends a stanza back to whom it came from.
func (d *XMPPDomain) refuse(h xep.Header, why *xep.Error) {
	refusal := xep.ErrorStanza(h, why)
	switch {
	case refusal == nil:
	case h.From.Domainpart() == d.Domain:
		d.clients.deliver(refusal, xep.Header{Name: h.Name, From: h.To, To: h.From})
	default:
		d.post(refusal, func(error) {}) // as far as it goes
	}
}

// Send sends a stanza to the domain of its address, or to the component.
func (d *XMPPDomain) Send(e *xmltree.Element) error {
	c := make(chan error, 1)
	d.post(e, func(err error) { c <- err })
	return <-c
}

// post is Send without waiting.
func (d *XMPPDomain) post(e *xmltree.Element, done func(error)) {
	if d.hub != nil {
		if ours, err := d.hub.deliver(e); ours {
			done(err)
			return
		}
	}
	d.s2s.Send(e, time.Time{}, func(_ federation.How, err error) { done(err) })
}

// Ask sends a request and returns its answer, which may be an error stanza.
func (d *XMPPDomain) Ask(iq *xmltree.Element) (*xmltree.Element, error) {
	type answer struct {
		e   *xmltree.Element
		err error
	}
	c := make(chan answer, 1)
	d.s2s.Query(iq, time.Now().Add(30*time.Second), func(e *xmltree.Element, err error) { c <- answer{e, err} })
	a := <-c
	return a.e, a.err
}

// Write has a user write a text to an address such as romeo@example.net.
func (d *XMPPDomain) Write(user, to, id, text string) error {
	return d.Send(xmltree.New(xep.NS, "message",
		xmltree.New(xep.NS, "body", xmltree.Text(text)),
	).With("from", user+"@"+d.Domain+"/balcony").With("to", to).With("id", id).With("type", "chat"))
}

func exists(users []string, name string) bool { return slices.Contains(users, name) }
