package gatewaytest

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"net"
	"sync"
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// maxClients bounds the connections of a c2s.
const maxClients = 100

// A c2s is the door of a small XMPP domain for its people's programs (RFC 6120,
// RFC 6121): STARTTLS if they like, any user, any password, and messages. There
// are no contacts, no presence of others and no history.
type c2s struct {
	d      *XMPPDomain
	listen net.Listener
	tls    *tls.Config

	mu       sync.Mutex
	sessions map[string]*session // that are bound, by full JID
	conns    int
}

// openTo lets clients in.
func (d *XMPPDomain) openTo(address string) error {
	cert, err := d.CA.Issue(trusttest.Options{DNS: []string{d.Domain}})
	if err != nil {
		return err
	}
	l, err := listenLoopback(address)
	if err != nil {
		return err
	}
	d.Clients = l.Addr().String()
	d.clients = &c2s{
		d: d, listen: l, sessions: map[string]*session{},
		tls: &tls.Config{Certificates: []tls.Certificate{cert.TLS}, MinVersion: tls.VersionTLS12},
	}
	return nil
}

// run takes connections until ctx is done.
func (c *c2s) run(ctx context.Context) error {
	return accept(ctx, c.listen, func(nc net.Conn) {
		if !c.admit() {
			nc.Close()
			return
		}
		defer c.leave()
		newSession(c, nc).run(ctx)
	})
}

// accept hands connections to serve, on goroutines that it waits for, until ctx
// is done.
func accept(ctx context.Context, l net.Listener, serve func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var served sync.WaitGroup
	defer served.Wait()
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case err != nil:
			return err
		}
		served.Go(func() { serve(nc) })
	}
}

func (c *c2s) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns >= maxClients {
		return false
	}
	c.conns++
	return true
}

func (c *c2s) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns--
}

// bind gives a session its address. One that has it already must go (RFC 6120,
// section 7.7.2.2).
func (c *c2s) bind(s *session, full jid.JID) {
	c.mu.Lock()
	old := c.sessions[full.String()]
	c.sessions[full.String()] = s
	c.mu.Unlock()
	if old != nil {
		old.end("conflict")
	}
}

func (c *c2s) unbind(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[s.full.String()] == s {
		delete(c.sessions, s.full.String())
	}
}

// reach returns the sessions that a stanza to an address goes to: the one of a
// full JID, or all of the user's that are available (RFC 6121, section 8.5).
func (c *c2s) reach(to jid.JID) []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[to.String()]; s != nil {
		return []*session{s}
	}
	var list []*session
	for _, s := range c.sessions {
		if s.available && s.full.Bare().Equal(to.Bare()) {
			list = append(list, s)
		}
	}
	return list
}

// show notes whether a session wants messages to its bare JID, and tells all
// sessions of the user (RFC 6121, sections 4.2.2 and 4.5.2).
func (c *c2s) show(s *session, e *xmltree.Element) {
	c.mu.Lock()
	s.available = e.Get("type") == ""
	c.mu.Unlock()
	for _, other := range c.reach(s.full.Bare()) {
		other.send(copyOf(e).With("to", other.full.String()))
	}
}

// deliver gives a stanza to its user's clients, and reports whether any took it.
func (c *c2s) deliver(e *xmltree.Element, h xep.Header) bool {
	took := false
	for _, s := range c.reach(h.To) {
		took = s.send(e) || took
	}
	return took
}

// message takes a message that a client sends.
func (c *c2s) message(e *xmltree.Element, h xep.Header) {
	if h.To.Domainpart() == c.d.Domain {
		c.d.take(e, h)
		return
	}
	c.d.s2s.Send(e, time.Time{}, func(how federation.How, err error) {
		if how == federation.GivenUp {
			c.d.refuse(h, unsent(err))
		}
	})
}

// unsent is what a user hears of a message that has not left the domain (RFC
// 6120, sections 8.3.3.16 and 8.3.3.17).
func unsent(err error) *xep.Error {
	x := &xep.Error{Type: "cancel", Condition: "remote-server-not-found", Text: fault.TextOf(err)}
	if fault.KindOf(err) != fault.NoRoute {
		x.Type, x.Condition = "wait", "remote-server-timeout"
	}
	return x
}

// iq answers a request to the server or to the user's own account; there is
// nothing else to ask for.
func (c *c2s) iq(s *session, e *xmltree.Element, h xep.Header) {
	if h.Type != "get" && h.Type != "set" {
		return
	}
	own := h.To.Equal(jid.JID{}) || h.To.String() == c.d.Domain || h.To.Equal(s.full.Bare())
	for ask := range e.Elements() {
		name := ask.Name
		switch {
		case !own:
		case name == xml.Name{Space: "urn:ietf:params:xml:ns:xmpp-session", Local: "session"},
			name == xml.Name{Space: "urn:xmpp:ping", Local: "ping"}:
			s.send(answer(e))
			return
		case h.Type == "set":
		case name == xml.Name{Space: "jabber:iq:roster", Local: "query"},
			name == xml.Name{Space: "http://jabber.org/protocol/disco#items", Local: "query"}:
			s.send(answer(e, xmltree.New(name.Space, "query")))
			return
		case name == xml.Name{Space: discoInfo, Local: "query"}:
			s.send(answer(e, xmltree.New(discoInfo, "query",
				xmltree.New(discoInfo, "identity").With("category", "server").With("type", "im").With("name", "small domain"),
				xmltree.New(discoInfo, "feature").With("var", discoInfo),
				xmltree.New(discoInfo, "feature").With("var", "urn:xmpp:ping"))))
			return
		}
	}
	s.send(xep.ErrorStanza(h, &xep.Error{Type: "cancel", Condition: "service-unavailable"}))
}

const discoInfo = "http://jabber.org/protocol/disco#info"

// answer is the result of a request.
func answer(e *xmltree.Element, payload ...xmltree.Node) *xmltree.Element {
	return xmltree.New(xep.NS, "iq", payload...).With("type", "result").With("id", e.Get("id")).
		With("from", e.Get("to")).With("to", e.Get("from"))
}

func copyOf(e *xmltree.Element) *xmltree.Element {
	c := *e
	c.Attr = append(c.Attr[:0:0], c.Attr...)
	return &c
}

var errClosed = errors.New("stream closed")
