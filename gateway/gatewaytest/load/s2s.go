package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// An s2sSite is the XMPP server of a domain: it takes streams from anybody who
// comes over TLS and says EXTERNAL, and has one stream for what it sends
// (RFC 6120, section 13.8; XEP-0368).
type s2sSite struct {
	domain  string
	got     delivery
	conf    *tls.Config
	addr    string
	l       net.Listener
	reading sync.WaitGroup

	mu   sync.Mutex
	ins  []net.Conn
	outs map[string]*stream // by the domain that it goes to
}

// openS2S listens; the stream to a domain is opened when somebody writes there.
func openS2S(ctx context.Context, u *url.URL, conf *tls.Config, got delivery) (site, error) {
	s := &s2sSite{domain: domainOf(u), got: got, conf: conf, addr: u.Host, outs: make(map[string]*stream)}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", u.Query().Get("listen"))
	if err != nil {
		return nil, err
	}
	s.l = tls.NewListener(l, conf)
	s.reading.Go(func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.ins = append(s.ins, c)
			s.mu.Unlock()
			s.reading.Go(func() { s.serve(c) })
		}
	})
	return s, nil
}

// serverHeader begins a stream between servers, either way.
func (s *s2sSite) serverHeader(to string) string {
	return fmt.Sprintf("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='%s' to='%s' id='load' version='1.0'>", s.domain, to)
}

// serve takes one stream in: it believes EXTERNAL, and delivers messages.
func (s *s2sSite) serve(c net.Conn) {
	defer c.Close()
	st := newStream(c)
	for _, features := range []string{
		"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>", "",
	} {
		if st.header() != nil || st.write(s.serverHeader("")+"<stream:features>"+features+"</stream:features>") != nil {
			return
		}
		if features == "" {
			break
		}
		if _, err := st.expect("auth"); err != nil {
			return
		}
		if st.write("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>") != nil {
			return
		}
		st = newStream(c)
	}
	for {
		x, err := st.next()
		if err != nil {
			return
		}
		user, _, _ := strings.Cut(x.To, "/")
		deliver(x, user, s.got)
	}
}

// send implements [site].
func (s *s2sSite) send(ctx context.Context, l letter) error {
	_, domain, _ := strings.Cut(l.to, "@")
	st, err := s.out(ctx, domain)
	if err != nil {
		return err
	}
	return st.write(l.stanza(" from='" + l.from + "/load'"))
}

// out returns the stream to a domain, opened with the first message.
func (s *s2sSite) out(ctx context.Context, domain string) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.outs[domain]; st != nil {
		return st, nil
	}
	conf := s.conf.Clone()
	conf.ServerName = domain
	st, err := dialTLS(ctx, s.addr, conf)
	if err != nil {
		return nil, err
	}
	if err := st.login(s.serverHeader(domain), "EXTERNAL", "="); err != nil {
		return nil, errors.Join(err, st.conn.Close())
	}
	if err := st.conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	s.outs[domain] = st
	s.reading.Go(func() { // what comes back on it is of no interest, but must be read
		for {
			if _, err := st.next(); err != nil {
				return
			}
		}
	})
	return st, nil
}

// close implements [site].
func (s *s2sSite) close() {
	_ = s.l.Close()
	s.mu.Lock()
	for _, c := range s.ins {
		_ = c.Close()
	}
	for _, st := range s.outs {
		_ = st.conn.Close()
	}
	s.mu.Unlock()
	s.reading.Wait()
}
