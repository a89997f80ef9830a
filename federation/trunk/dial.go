package trunk

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A linkKey says which requests may share a connection: those of one of our
// domains to one of theirs, at one address (RFC 5923, section 9.3).
type linkKey struct {
	from, domain string
	addr         netip.AddrPort
	via          federation.Transport
}

// A link is a connection that we have dialled, or that is being dialled.
type link struct {
	ready  chan struct{} // closed when stream or err is set
	stream *stream
	err    error
}

// connect returns the connection to a target, and whether it has been in use
// before. The dialling goes on when ctx ends, for the next request.
func (t *Trunk) connect(ctx context.Context, from string, to federation.Target) (s *stream, used bool, err error) {
	key := linkKey{from, to.Domain, to.Addr, to.Transport}
	t.mu.Lock()
	l, used := t.links[key]
	if !used {
		l = &link{ready: make(chan struct{})}
		if !t.spawn(func() { t.dial(key, to, l) }) {
			t.mu.Unlock()
			return nil, false, fault.E(fault.Busy, "shutting down")
		}
		t.links[key] = l
	}
	t.mu.Unlock()
	select {
	case <-l.ready:
		return l.stream, used, l.err
	case <-ctx.Done():
		return nil, false, fault.Wrap(fault.Timeout, ctx.Err(), "no connection in time")
	}
}

// dial fills a link in.
func (t *Trunk) dial(key linkKey, to federation.Target, l *link) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Limits.DialTimeout+t.cfg.Limits.Handshake)
	defer cancel()
	s, err := t.open(ctx, key, to)
	if err == nil {
		err = t.adopt(s)
	}
	t.mu.Lock()
	l.stream, l.err = s, err
	if err != nil || s.isClosed() {
		delete(t.links, key)
	}
	t.mu.Unlock()
	if err != nil {
		t.log.Info("connection failed", "peer", to.Domain, "target", to.String(), "err", err)
	} else {
		t.log.Info("connected", "peer", to.Domain, "target", to.String())
	}
	close(l.ready)
}

// open dials and, on TLS, verifies that the other end is the domain (RFC 5922,
// section 7.3). Where the rules ask for no certificate, the connection may be
// used but proves nothing.
func (t *Trunk) open(ctx context.Context, key linkKey, to federation.Target) (*stream, error) {
	dctx, stop := context.WithTimeout(ctx, t.cfg.Limits.DialTimeout)
	c, err := t.cfg.Dial(dctx, t.sourceFor(to.Addr.Addr()), to.Addr.String())
	stop()
	if err != nil {
		return nil, fault.Wrap(fault.Timeout, err, "the peer's server cannot be reached")
	}
	s := t.newStream(c, key.via)
	s.dialled, s.domain = true, key.domain
	if key.via != federation.TLS {
		return s, nil
	}
	tc := tls.Client(c, t.cfg.Trust.Client(federation.SIP, key.from, key.domain))
	hctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.Handshake)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		_ = c.Close()
		return nil, handshakeFault(err)
	}
	cs := tc.ConnectionState()
	s.Conn, s.cs = tc, &cs
	err = t.cfg.Trust.Verify(federation.SIP, cs, key.domain)
	switch {
	case err == nil:
		s.names, s.until = []string{key.domain}, expiry(cs)
	case t.cfg.Book.Rules(key.domain).Security == federation.Required:
		_ = c.Close()
		return nil, fault.Wrap(fault.Forbidden, err, "the peer's certificate is not good for its domain")
	}
	return s, nil
}

// sourceFor returns the address from which to dial: that of a listener, if it
// is bound to one, because peers may know us by our address (decision D-72).
func (t *Trunk) sourceFor(to netip.Addr) netip.Addr {
	for _, l := range slices.Concat(t.cfg.TLS, t.cfg.TCP) {
		if ip := hostOf(l.Addr()); ip.IsValid() && !ip.IsUnspecified() && ip.Is4() == to.Is4() && ip.IsLoopback() == to.IsLoopback() {
			return ip
		}
	}
	return netip.Addr{}
}

// handshakeFault tells a refusal from a peer that does not answer.
func handshakeFault(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(fault.Timeout, err, "the peer's server cannot be reached")
	}
	return fault.Wrap(fault.Forbidden, err, "no TLS that both ends trust")
}
