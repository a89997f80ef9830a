package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// password is every user's; the harness makes the accounts.
const password = "secret"

// An xmppSite is users of one server, each logged in over a stream of its own.
type xmppSite struct {
	addr    string
	conf    *tls.Config
	managed bool
	got     delivery
	clients map[string]*client
	reading sync.WaitGroup
}

// A client is one user. Without stream management it knows nothing of what
// becomes of its messages; with it, it knows what its own server has taken.
type client struct {
	site  *xmppSite
	user  string
	alive chan struct{} // gets something with each answer to a ping

	mu     sync.Mutex
	st     *stream       // nil while it is away
	lost   chan struct{} // closed when the reader of st has ended
	back   chan struct{} // closed when there is a stream again
	unsure []string      // ids sent and not acknowledged, oldest first; "" is no message
	acked  uint32        // stanzas that were
	in     uint32        // stanzas that came
}

// openXMPP logs all users in.
func openXMPP(ctx context.Context, addr string, conf *tls.Config, managed bool, users []string, got delivery) (site, error) {
	s := &xmppSite{addr: addr, conf: conf, managed: managed, got: got, clients: make(map[string]*client)}
	for _, u := range users {
		c := &client{site: s, user: u, alive: make(chan struct{}, 1), back: make(chan struct{})}
		s.clients[u] = c
		if err := c.login(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// login opens a stream, logs in, binds a resource and becomes available.
func (c *client) login(ctx context.Context) error {
	st, err := dialTLS(ctx, c.site.addr, c.site.conf)
	if err != nil {
		return err
	}
	if err := c.enter(st); err != nil {
		_ = st.conn.Close()
		return fmt.Errorf("login of %s: %w", c.user, err)
	}
	lost, there := make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	c.st, c.lost, c.unsure, c.acked, c.in = st, lost, nil, 0, 0
	c.mu.Unlock()
	c.site.reading.Go(func() { c.read(st, lost, there) })
	if err := c.write("", "<presence/>"); err != nil {
		return err
	}
	select {
	case <-there: // now messages come
		c.mu.Lock()
		close(c.back)
		c.mu.Unlock()
		return nil
	case <-lost:
		return errors.New("the stream ended before " + c.user + " was there")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter negotiates up to stream management (RFC 6120, sections 6 and 7;
// XEP-0198, section 3).
func (c *client) enter(st *stream) error {
	name, domain, _ := strings.Cut(c.user, "@")
	header := fmt.Sprintf("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", domain)
	if err := st.login(header, "PLAIN", base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+password))); err != nil {
		return err
	}
	if err := st.write("<iq id='b' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>load</resource></bind></iq>"); err != nil {
		return err
	}
	if _, err := st.expect("iq"); err != nil {
		return err
	}
	if c.site.managed {
		if err := st.write("<enable xmlns='urn:xmpp:sm:3'/>"); err != nil {
			return err
		}
		if _, err := st.expect("enabled"); err != nil {
			return err
		}
	}
	return st.conn.SetDeadline(time.Time{})
}

// read takes what comes on one stream, and at its end tells of what the server
// has not acknowledged.
func (c *client) read(st *stream, lost, there chan struct{}) {
	defer close(lost)
	for {
		x, err := st.next()
		if err != nil {
			break
		}
		c.take(st, x, there)
	}
	c.mu.Lock()
	left := c.unsure
	c.st, c.unsure = nil, nil
	if closed(c.back) {
		c.back = make(chan struct{})
	}
	c.mu.Unlock()
	for _, id := range left {
		if id != "" {
			c.site.got(c.user, id, "", errUnsure)
		}
	}
}

// errUnsure is what a client shows beside a message that its own server has
// not acknowledged.
var errUnsure = errors.New("the stream was lost before the user's own server had taken it")

func (c *client) take(st *stream, x *stanza, there chan struct{}) {
	switch x.XMLName.Local {
	case "a":
		c.ack(x.H)
		return
	case "r":
		c.mu.Lock()
		h := c.in
		c.mu.Unlock()
		_ = st.write(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h)) // its reader finds the end
		return
	case "presence":
		if from, _, _ := strings.Cut(x.From, "/"); from == c.user && !closed(there) {
			close(there)
		}
	case "iq":
		select {
		case c.alive <- struct{}{}:
		default:
		}
	}
	deliver(x, c.user, c.site.got)
	c.mu.Lock()
	c.in++
	c.mu.Unlock()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ack drops what the server has taken.
func (c *client) ack(h uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(int(h-c.acked), len(c.unsure))
	c.unsure, c.acked = c.unsure[n:], h
}

// write sends a stanza, and asks for its acknowledgement. An id that is not
// "" is remembered until that comes; then it is the reader that finds the end
// of the stream, and tells.
func (c *client) write(id, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.st == nil:
		return errAway
	case !c.site.managed:
		return c.st.write(text)
	}
	c.unsure = append(c.unsure, id)
	_ = c.st.write(text + "<r xmlns='urn:xmpp:sm:3'/>")
	return nil
}

var errAway = errors.New("the user is not logged in")

// send implements [site]. A client that knows that it is away waits until it is
// not; one that knows nothing fails.
func (s *xmppSite) send(ctx context.Context, l letter) error {
	c := s.clients[l.from]
	for {
		c.mu.Lock()
		back := c.back
		c.mu.Unlock()
		if err := c.write(l.id, l.stanza("")); err != errAway || !s.managed {
			return err
		}
		select {
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// revive implements [reviver].
func (s *xmppSite) revive(ctx context.Context) error {
	for _, c := range s.clients {
		for !c.ping(ctx) {
			if err := c.login(ctx); err == nil {
				break
			} else if !pause(ctx, retry) {
				return err
			}
		}
	}
	return nil
}

// ping reports whether the client has a stream whose server answers.
func (c *client) ping(ctx context.Context) bool {
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	select {
	case <-c.alive:
	default:
	}
	switch err := c.write("", "<iq id='p' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"); err {
	case nil:
	case errAway:
		return false
	default:
		<-lost // the reader cannot read any more, either
		return false
	}
	select {
	case <-c.alive:
		return true
	case <-lost:
	case <-ctx.Done():
	}
	return false
}

// close implements [site].
func (s *xmppSite) close() {
	for _, c := range s.clients {
		c.mu.Lock()
		if c.st != nil {
			_ = c.st.conn.Close()
		}
		c.mu.Unlock()
	}
	s.reading.Wait()
}
