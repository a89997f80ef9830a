package gatewaytest

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

const nsComponent = "jabber:component:accept"

// A hub is where a small XMPP server takes components (XEP-0114). Like servers
// in use it sends on what a component says in its own domain, and hands it
// whatever is addressed to it.
type hub struct {
	d       *XMPPDomain
	listen  net.Listener
	secrets map[string]string // by domain of the component

	mu      sync.Mutex
	parts   map[string]net.Conn
	changed chan struct{} // closed and replaced when parts change
}

// openToComponents takes components on loopback.
func (d *XMPPDomain) openToComponents(secrets map[string]string) error {
	l, err := d.network().Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	d.hub = &hub{d: d, listen: l, secrets: secrets, parts: map[string]net.Conn{}, changed: make(chan struct{})}
	return nil
}

// Components returns where components are taken.
func (d *XMPPDomain) Components() string { return d.hub.listen.Addr().String() }

// Know changes which components are taken, and by which secrets; those that are
// connected stay.
func (d *XMPPDomain) Know(secrets map[string]string) {
	d.hub.mu.Lock()
	defer d.hub.mu.Unlock()
	d.hub.secrets = secrets
}

// Await waits until a component is connected, or is not.
func (d *XMPPDomain) Await(domain string, connected bool) error {
	return d.hub.await(domain, func(nc net.Conn) bool { return (nc != nil) == connected })
}

// Sever breaks the connection of a component, as a restart of the server does.
func (d *XMPPDomain) Sever(domain string) error {
	d.hub.mu.Lock()
	broken := d.hub.parts[domain]
	d.hub.mu.Unlock()
	if broken == nil {
		return fmt.Errorf("component %s is not connected", domain)
	}
	broken.Close()
	return d.hub.await(domain, func(nc net.Conn) bool { return nc != broken })
}

// await waits until the connection of a component, or nil, is what is wanted.
func (h *hub) await(domain string, is func(net.Conn) bool) error {
	late := time.After(time.Minute) // nothing takes so long
	for {
		h.mu.Lock()
		nc := h.parts[domain]
		changed := h.changed
		h.mu.Unlock()
		if is(nc) {
			return nil
		}
		select {
		case <-changed:
		case <-late:
			return fmt.Errorf("component %s: connected is %v", domain, nc != nil)
		}
	}
}

// run takes connections until ctx is done.
func (h *hub) run(ctx context.Context) error {
	return accept(ctx, h.listen, func(nc net.Conn) {
		defer nc.Close()
		defer context.AfterFunc(ctx, func() { nc.Close() })()
		h.serve(nc)
	})
}

// serve talks to one component (XEP-0114, section 3).
func (h *hub) serve(nc net.Conn) {
	r := xmltree.NewReader(bufio.NewReader(nc), xmltree.Documents)
	head, err := r.Open()
	if err != nil {
		return
	}
	domain, id := head.Get("to"), rand.Text()
	fmt.Fprintf(nc, "<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' from='%s' id='%s'>",
		nsComponent, xmltree.Escape(domain), id)
	e, err := r.Next()
	if err != nil {
		return
	}
	if condition := h.accept(nc, domain, id, e.Text()); condition != "" {
		fmt.Fprintf(nc, "<stream:error><%s xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", condition)
		return
	}
	defer h.release(domain)
	for {
		e, err := r.Next()
		if err != nil {
			return
		}
		h.take(e, domain)
	}
}

// accept lets a component in, or names the stream error that keeps it out.
func (h *hub) accept(nc net.Conn, domain, id, proof string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	secret, known := h.secrets[domain]
	sum := sha1.Sum([]byte(id + secret))
	switch {
	case !known:
		return "host-unknown"
	case proof != hex.EncodeToString(sum[:]):
		return "not-authorized"
	case h.parts[domain] != nil:
		return "conflict"
	}
	if _, err := nc.Write([]byte("<handshake/>")); err != nil {
		return "undefined-condition"
	}
	h.parts[domain] = nc
	h.tell()
	return ""
}

func (h *hub) release(domain string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.parts, domain)
	h.tell()
}

// tell wakes who waits for a change. h.mu is held.
func (h *hub) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// take routes what a component says.
func (h *hub) take(e *xmltree.Element, domain string) {
	e, err := xmltree.ParseIn(e.Append(nil, nsComponent), xep.NS, xmltree.Documents)
	if err != nil {
		return
	}
	head, err := xep.HeaderOf(e)
	if err != nil {
		return
	}
	if from, err := federation.Domain(head.From.Domainpart()); err != nil || from != domain {
		return
	}
	if head.To.Domainpart() == h.d.Domain {
		h.d.take(e, head)
		return
	}
	_ = h.d.Send(e) // as far as it goes
}

// deliver hands a stanza to the component of its address. It reports false if
// there is none.
func (h *hub) deliver(e *xmltree.Element) (bool, error) {
	domain, err := federation.DomainOf(e.Get("to"))
	if err != nil {
		return false, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.secrets[domain]; !known {
		return false, nil
	}
	nc := h.parts[domain]
	if nc == nil {
		return true, fmt.Errorf("component %s is not connected", domain)
	}
	_, err = nc.Write(e.Append(nil, xep.NS))
	return true, err
}
