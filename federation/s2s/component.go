package s2s

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// nsComponent is the content namespace of a component's stream.
const nsComponent = "jabber:component:accept"

// A ComponentConfig is what a [Component] is made of. Domain, Server, Secret,
// Domains and Handler are needed.
type ComponentConfig struct {
	Name    string // of the software, as in Config
	Version string

	Domain  string   // that the component stands for, in the spelling of federation.Domain
	Server  string   // host:port; the protocol has no TLS: loopback, or a link that is protected otherwise
	Secret  string   // that the server knows for the domain
	Domains []string // whose users the server speaks for

	Handler Handler
	Limits  federation.Limits
	Trace   federation.Trace
	Log     *slog.Logger
	Count   func(event string)
	Dial    federation.Dial // opens the connection; that of federation.System
}

// A Component is one domain of ours as part of an XMPP server (XEP-0114):
// stanzas for that domain come, and stanzas of its users go, over one stream
// that we open to the server. It is there as long as Run runs, and comes back
// after a loss as streams to peers do. It is safe for use by many goroutines.
type Component struct {
	cfg  ComponentConfig
	srv  *Server // what streams have in common: limits, log, requests of ours
	pair *pair
}

// NewComponent returns a Component that does nothing before [Component.Run].
func NewComponent(cfg ComponentConfig) *Component {
	c := &Component{cfg: cfg}
	c.srv = New(Config{
		Name: cfg.Name, Version: cfg.Version, Handler: cfg.Handler, Limits: cfg.Limits,
		Trace: cfg.Trace, Log: cfg.Log, Count: cfg.Count, Dial: cfg.Dial,
	})
	c.pair = newPair(c.srv, key{cfg.Domain, slices.Concat(cfg.Domains, []string{cfg.Domain})[0]})
	c.pair.steady, c.pair.dial = true, c.open
	return c
}

// Run keeps the stream until ctx is done, and returns when everything has
// ended.
func (c *Component) Run(ctx context.Context) error {
	c.srv.mu.Lock()
	c.srv.ctx = ctx
	c.srv.mu.Unlock()
	c.pair.run(ctx)
	c.srv.mu.Lock()
	c.srv.ctx, c.srv.over = nil, true
	c.srv.mu.Unlock()
	c.srv.tasks.Wait()
	c.srv.unanswered()
	return nil
}

// Send is [Server.Send] for the component: the sender must be of its domain.
// There is no stream management: what was written is Written.
func (c *Component) Send(e *xmltree.Element, by time.Time, done federation.Done) {
	if by.IsZero() {
		by = time.Now().Add(queueTime)
	}
	if done == nil {
		done = func(federation.How, error) {}
	}
	if err := c.enqueue(e, item{by: by, done: done}); err != nil {
		c.srv.giveUp(done, err)
	}
}

func (c *Component) enqueue(e *xmltree.Element, it item) error {
	if e.Name.Space != xep.NS {
		return fault.E(fault.Internal, "not a stanza")
	}
	from, err := domainOf(e.Get("from"))
	if err != nil {
		return err
	}
	if from != c.cfg.Domain {
		return fault.E(fault.Internal, "not a sender of this component")
	}
	if _, err := domainOf(e.Get("to")); err != nil {
		return err
	}
	it.text = e.Append(nil, xep.NS) // takes the namespace of the stream
	if err := c.pair.enqueue(it); err != errGone {
		return err
	}
	return errShut
}

// Status returns the state of the stream.
func (c *Component) Status() Status { return c.pair.status() }

// open connects to the server and proves that we know the secret (XEP-0114,
// section 3).
func (c *Component) open(ctx context.Context) (*outbound, error) {
	own := context.WithoutCancel(ctx) // for what still comes when we go
	ctx, cancel := context.WithTimeout(ctx, c.srv.lim.Handshake)
	defer cancel()
	nc, err := c.srv.cfg.Dial(ctx, netip.Addr{}, c.cfg.Server)
	if err != nil {
		return nil, fault.Wrap(fault.Timeout, err, "the server cannot be reached")
	}
	tune(nc)
	o := &outbound{
		link: newLink(nc, federation.TCP, c.srv.lim), key: c.pair.key, srv: c.srv, dead: make(chan struct{}),
		target: federation.Target{Domain: c.cfg.Domain, Host: c.cfg.Server, Transport: federation.TCP},
		proof:  federation.Address, auth: "component",
	}
	o.space, o.target.Addr = nsComponent, o.addr
	o.take = func(e *xmltree.Element) error { return c.take(own, o, e) }
	stop := context.AfterFunc(ctx, o.stop)
	err = c.handshake(o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		o.shut(err)
		return nil, asFault(err)
	}
	return o, nil
}

func (c *Component) handshake(o *outbound) error {
	head := "<?xml version='1.0'?><stream:stream xmlns='" + nsComponent + "' xmlns:stream='" + nsStream + "' to='" + xmltree.Escape(uLabels(c.cfg.Domain)) + "'>"
	if err := o.begin([]byte(head)); err != nil {
		return err
	}
	h, err := o.open()
	if err != nil {
		return noEOF(err)
	}
	sum := sha1.Sum([]byte(h.Get("id") + c.cfg.Secret))
	if _, err := o.write([]byte("<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>")); err != nil {
		return err
	}
	e, err := o.next()
	if err != nil {
		return noEOF(err)
	}
	if !e.Is(nsComponent, "handshake") {
		return refuse("unsupported-stanza-type", "%s for an answer", printable(e.Name.Local))
	}
	return nil
}

// take hands a stanza on, as one between servers. Who may send it was the
// server's to check; it speaks for some domains only.
func (c *Component) take(ctx context.Context, o *outbound, e *xmltree.Element) error {
	rename(e)
	if err := stanza(e); err != nil {
		return err
	}
	h, err := xep.HeaderOf(e)
	from, err1 := domainOf(e.Get("from"))
	to, err2 := domainOf(e.Get("to"))
	if cmp.Or(err, err1, err2) != nil || to != c.cfg.Domain {
		return refuse("improper-addressing", "from or to is not as it must be")
	}
	if !slices.Contains(c.cfg.Domains, from) {
		c.srv.cfg.Count(Spoofed)
		o.log().Warn("a stanza of a domain that the server does not speak for", "stanza", h.Name, "of", from)
		return nil
	}
	if h.Lang == "" {
		e.WithLang(o.lang)
	}
	if c.srv.cfg.Trace != nil {
		c.srv.trace(false, from, o.via, e.Append(nil, xep.NS))
	}
	if h.Name == "iq" {
		if answer := c.srv.iq(e, h); answer != nil {
			c.Send(answer, time.Time{}, nil)
		}
		return nil
	}
	peer := federation.Peer{Domains: c.cfg.Domains, Proof: o.proof, Addr: o.addr, Via: o.via}
	c.cfg.Handler.ServeStanza(ctx, e, peer)
	return nil
}

// rename moves a stanza and its own children from the namespace of components
// to that of servers: all that follows knows one.
func rename(e *xmltree.Element) {
	if e.Name.Space == nsComponent {
		e.Name.Space = xep.NS
	}
	for child := range e.Elements() {
		rename(child)
	}
}
