package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener, via federation.Transport) error {
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("s2s: %s: %w", l.Addr(), err)
		case err != nil: // out of descriptors, for example: it may pass
			s.cfg.Log.Error("cannot accept", "addr", l.Addr().String(), "err", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		if !s.admit(nc) {
			s.cfg.Count(Overrun)
			s.cfg.Log.Warn("connection refused: too many", "addr", nc.RemoteAddr().String())
			nc.Close()
			continue
		}
		tune(nc)
		in := &inbound{stream: newStream(ctx, s, newLink(nc, via, s.lim), false)}
		if !s.begin(func(context.Context) { in.run(ctx); s.release(nc) }) {
			nc.Close()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// admit counts a connection, unless there are too many of them: in all, from
// its address, or within a minute (XEP-0205, section 3).
func (s *Server) admit(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := hostOf(nc)
	if now := time.Now(); now.Sub(s.minute) >= time.Minute {
		clear(s.tries)
		s.minute = now
	}
	s.tries[host]++
	if s.tries[host] > s.cfg.Attempts || s.conns[""] >= s.lim.Conns || s.conns[host] >= s.lim.ConnsPerIP {
		return false
	}
	s.conns[""]++
	s.conns[host]++
	return true
}

func (s *Server) release(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := hostOf(nc)
	s.conns[""]--
	if s.conns[host]--; s.conns[host] == 0 {
		delete(s.conns, host)
	}
}

func hostOf(nc net.Conn) string {
	if host, _, err := net.SplitHostPort(nc.RemoteAddr().String()); err == nil {
		return host
	}
	return nc.RemoteAddr().String()
}

// direct is the TLS of listeners without STARTTLS (XEP-0368, section 3).
func (s *Server) direct() *tls.Config {
	cfg := s.cfg.Trust.Server(federation.XMPP).Clone()
	cfg.NextProtos = []string{trust.ALPN}
	return cfg
}

// starttls is the TLS that follows a stream header: who sends no SNI gets the
// certificate of the header's "to" (RFC 6120, section 5.4.3.1).
func (in *inbound) starttls() *tls.Config {
	cfg, to := in.srv.cfg.Trust.Server(federation.XMPP).Clone(), in.to
	choose := cfg.GetCertificate
	cfg.GetCertificate = func(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if chi.ServerName == "" {
			named := *chi
			named.ServerName, chi = to, &named
		}
		return choose(chi)
	}
	return cfg
}
