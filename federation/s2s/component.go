package s2s

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// AsComponent is the Auth of a component's [Status].
const AsComponent = "component"

// nsComponent is the content namespace of a component's stream.
const nsComponent = "jabber:component:accept"

// A ComponentConfig is what a [Component] is made of. Domain, Server, Secret,
// Domains and Handler are needed.
type ComponentConfig struct {
	Name    string // of the software, as in Config
	Version string

	Domain     string   // that the component stands for, in the spelling of federation.Domain
	Server     string   // host:port; the protocol has no TLS: loopback, or a link that is protected otherwise
	Secret     string   // that the server knows for the domain
	SecretFile string   // where the operator has written it, named when the server refuses it
	Domains    []string // whose users the server speaks for

	// Handler takes what is sent to Domain. Whom a server relays it has checked
	// itself (XEP-0114, section 2), so a sender may be of any domain; the Peer
	// speaks for those of Domains only, and what that means is the Handler's to
	// rule.
	Handler Handler

	// Sibling returns another component of ours at the same server, nil if there
	// is none of that name: ejabberd sends what is for one component of a listener
	// over the connection of any.
	Sibling func(domain string) *Component

	Limits  federation.Limits
	Trace   federation.Trace
	Log     *slog.Logger
	Contact func() map[string][]string // as in Config
	Dial    federation.Dial            // opens the connection; that of federation.System
}

// A Component is one domain of ours as part of an XMPP server (XEP-0114):
// stanzas for that domain come, and stanzas of its users go, over one stream
// that we open to the server. It is there as long as Run runs, and comes back
// after a loss as streams to peers do. It is safe for use by many goroutines.
type Component struct {
	cfg   ComponentConfig
	srv   *Server // what streams have in common: limits, log, requests of ours
	pair  *pair
	taken *confirmer
}

// NewComponent returns a Component that does nothing before [Component.Run].
func NewComponent(cfg ComponentConfig) *Component {
	c := &Component{cfg: cfg}
	c.srv = New(Config{
		Name: cfg.Name, Version: cfg.Version, Handler: cfg.Handler, Limits: cfg.Limits,
		Trace: cfg.Trace, Log: cfg.Log, Contact: cfg.Contact, Dial: cfg.Dial,
	})
	c.pair = newPair(c.srv, key{cfg.Domain, slices.Concat(cfg.Domains, []string{cfg.Domain})[0]})
	c.pair.steady, c.pair.dial = true, c.open
	c.taken = &confirmer{c: c}
	return c
}

// Run keeps the stream until ctx is done, and returns when everything has
// ended.
func (c *Component) Run(ctx context.Context) error {
	c.srv.mu.Lock()
	c.srv.ctx = ctx
	c.srv.mu.Unlock()
	c.pair.run(ctx)
	c.taken.begin(nil)
	c.srv.mu.Lock()
	c.srv.ctx, c.srv.over = nil, true
	c.srv.mu.Unlock()
	c.srv.tasks.Wait()
	c.srv.unanswered()
	return nil
}

// Send is [Server.Send] for the component: the sender must be of its domain.
// Without stream management, a stanza is Acknowledged when the server has
// answered a ping that was sent behind it.
func (c *Component) Send(e *xmltree.Element, by time.Time, done federation.Done) {
	if by.IsZero() {
		by = time.Now().Add(queueTime)
	}
	it := item{by: by, done: func(federation.How, error) {}}
	if done != nil {
		it = c.taken.watch(item{by: by, done: done})
	}
	if err := c.enqueue(e, it); err != nil {
		c.srv.giveUp(it.done, err)
	}
}

func (c *Component) enqueue(e *xmltree.Element, it item) error {
	if e.Name.Space != xep.NS {
		return fault.E(fault.Internal, "not a stanza")
	}
	from, err := federation.DomainOf(e.Get("from"))
	if err != nil {
		return err
	}
	if from != c.cfg.Domain {
		return fault.E(fault.Internal, "not a sender of this component")
	}
	if _, err := federation.DomainOf(e.Get("to")); err != nil {
		return err
	}
	it.text = written(e) // takes the namespace of the stream
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
	c.taken.begin(nil) // the stream before has ended
	ctx, cancel := context.WithTimeout(ctx, c.srv.lim.Handshake)
	defer cancel()
	nc, err := c.srv.cfg.Dial(ctx, netip.Addr{}, c.cfg.Server)
	if err != nil {
		return nil, fault.Wrap(fault.Timeout, c.advise(err), "%s", unreached)
	}
	tune(nc)
	target := federation.Target{Domain: c.cfg.Domain, Host: c.cfg.Server, Transport: federation.TCP}
	o := newOutbound(ctx, c.srv, c.pair.key, target, nc)
	o.proof, o.auth, o.steady, o.space = federation.Address, AsComponent, true, nsComponent
	o.target.Addr = o.addr
	o.place = o.target.String()
	o.take = func(e *xmltree.Element) error { return c.take(o, e) }
	o.unread = c.bounce
	stop := context.AfterFunc(ctx, o.stop)
	err = c.handshake(o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		o.quit(err)
		return nil, fault.Wrap(fault.Timeout, c.advise(err), "%s", unreached)
	}
	c.taken.begin(o)
	return o, nil
}

// unreached is what senders hear, whatever the server has said: it is the
// operator's to put right, and neither they nor the recipient have done wrong.
const unreached = "the far server cannot be reached"

// advise adds to why there is no stream what the operator can do about it.
func (c *Component) advise(err error) error {
	advice := "is that where the server takes components? See the setting server of the component " + c.cfg.Domain
	if e, ok := errors.AsType[*streamError](err); ok && e.theirs {
		switch e.condition {
		case "not-authorized":
			advice = c.cfg.SecretFile + " holds another secret than the server has for " + c.cfg.Domain +
				" (Prosody: component_secret, ejabberd: password), or an ejabberd has no component of that name"
		case "host-unknown":
			advice = "the server has no component " + c.cfg.Domain + ": add it there (Prosody: Component \"" + c.cfg.Domain +
				"\", ejabberd: hosts of a listener with the module ejabberd_service)"
		case "conflict":
			advice = "another connection is the component " + c.cfg.Domain +
				" already: another gateway, or one of ours that the server has not missed yet"
		}
	}
	return fmt.Errorf("%s: %w; %s", c.cfg.Server, err, advice)
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

// take hands a stanza on, as one between servers. What is wrong with it is its
// sender's affair and no reason to end the stream of all others: a server may
// let addresses pass that are none to us.
func (c *Component) take(o *outbound, e *xmltree.Element) error {
	rename(e)
	if err := stanza(e); err != nil {
		return err
	}
	c = c.named(e)
	h, ok := c.envelope(e)
	if !ok {
		return nil
	}
	if h.Lang == "" {
		e.WithLang(o.lang)
	}
	if c.srv.cfg.Trace != nil {
		c.srv.trace(false, h.From.Domainpart(), o.via, e.Append(nil, xep.NS))
	}
	if h.Name == "iq" {
		if answer := c.srv.iq(e, h); answer != nil {
			c.Send(answer, time.Time{}, nil)
		}
		return nil
	}
	peer := federation.Peer{Domains: c.cfg.Domains, Proof: o.proof, Addr: o.addr, Via: o.via}
	c.cfg.Handler.ServeStanza(o.ctx, e, peer)
	return nil
}

// named returns the component that a stanza is for; where there is none, c.
func (c *Component) named(e *xmltree.Element) *Component {
	to, err := federation.DomainOf(e.Get("to"))
	if err != nil || to == c.cfg.Domain || c.cfg.Sibling == nil {
		return c
	}
	return cmp.Or(c.cfg.Sibling(to), c)
}

// envelope reads who writes to whom. It reports false for a stanza that cannot
// be handed on: its sender is told, as far as he can be.
func (c *Component) envelope(e *xmltree.Element) (xep.Header, bool) {
	h, err := xep.HeaderOf(e)
	_, err1 := federation.DomainOf(e.Get("from"))
	to, err2 := federation.DomainOf(e.Get("to"))
	err = cmp.Or(err, err1, err2)
	if err == nil && to != c.cfg.Domain {
		err = fault.E(fault.NotFound, "it is not for this component")
	}
	if err == nil {
		return h, true
	}
	c.srv.cfg.Log.Warn("the server has sent a stanza with a bad address", "peer", c.pair.to, "to", printable(e.Get("to")), "from", printable(e.Get("from")), "err", err)
	if to == c.cfg.Domain {
		c.complain(e, &xep.Error{Condition: "jid-malformed", Type: "modify"})
	}
	return h, false
}

// complain answers a stanza with an error. Its addresses stay as the server
// wrote them: they need mean something to the server only.
func (c *Component) complain(e *xmltree.Element, x *xep.Error) {
	answer := xep.ErrorStanza(xep.Header{Name: e.Name.Local, ID: e.Get("id"), Type: e.Get("type")}, x)
	if answer != nil {
		c.Send(answer.With("from", e.Get("to")).With("to", e.Get("from")), time.Time{}, nil)
	}
}

// bounce answers a stanza that was over a limit (RFC 6120, section 13.12).
// What follows it cannot be read: the stream begins anew, and what is queued
// rides over that.
func (c *Component) bounce(x *xmltree.Error) {
	if x.Head == nil {
		return
	}
	rename(x.Head)
	if stanza(x.Head) == nil {
		c.named(x.Head).complain(x.Head, &xep.Error{Condition: "policy-violation", Type: "modify", Text: x.Text})
	}
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
