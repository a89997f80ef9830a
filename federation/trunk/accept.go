package trunk

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"cpimgate/federation"
)

// accept takes the connections of one listener until it is closed.
func (t *Trunk) accept(l net.Listener, secure bool) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // no descriptors, or the peer has gone: neither lasts
			t.log.Warn("accept failed", "err", err)
			if !t.pause(100 * time.Millisecond) {
				return nil
			}
			continue
		}
		ip := hostOf(c.RemoteAddr())
		if !t.enter(ip) {
			t.cfg.Count(Overrun)
			t.log.Warn("connection refused: too many", "peer", ip)
			_ = c.Close()
			continue
		}
		t.wg.Go(func() { t.welcome(c, secure) })
	}
}

// pause waits, and reports false if the trunk has ended meanwhile.
func (t *Trunk) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

func hostOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{} // not of an IP network; all such share one count
	}
	return ap.Addr().Unmap()
}

// enter counts an accepted connection, unless there are too many.
func (t *Trunk) enter(ip netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := network(ip)
	if t.draining || t.accepted >= t.cfg.Limits.Conns || t.perIP[key] >= t.cfg.Limits.ConnsPerIP {
		return false
	}
	t.accepted++
	t.perIP[key]++
	return true
}

// network returns what counts as one address: of IPv6 a /64, which is the least
// that one host gets (RFC 4291).
func network(ip netip.Addr) string {
	if prefix, err := ip.Prefix(64); err == nil && ip.Is6() {
		return prefix.String()
	}
	return ip.String()
}

// leave takes it off again. The caller holds t.mu.
func (t *Trunk) leave(ip netip.Addr) {
	key := network(ip)
	t.accepted--
	if t.perIP[key]--; t.perIP[key] == 0 {
		delete(t.perIP, key)
	}
}

// welcome brings an accepted connection to where it may speak. TLS asks for a
// certificate and does not insist (RFC 5922, section 7.4): who has none speaks
// for nobody, unless the rules of the domain say otherwise.
func (t *Trunk) welcome(c net.Conn, secure bool) {
	s := t.newStream(c, federation.TCP)
	if secure {
		ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Limits.Handshake)
		defer cancel()
		tc := tls.Server(c, t.cfg.Trust.Server(federation.SIP))
		s.Conn, s.via = tc, federation.TLS
		if err := tc.HandshakeContext(ctx); err != nil {
			t.log.Info("TLS handshake failed", "peer", s.remote, "err", err)
			_ = s.Close()
			return
		}
		t.identify(s, tc.ConnectionState())
	}
	_ = t.adopt(s) // it fails when we stop, and has closed s then
}

// identify notes which domains a certificate proves.
func (t *Trunk) identify(s *stream, cs tls.ConnectionState) {
	s.cs = &cs
	if len(cs.PeerCertificates) == 0 {
		return
	}
	names, err := t.cfg.Trust.Names(federation.SIP, cs)
	if err != nil {
		t.log.Info("certificate refused", "peer", s.remote, "err", err)
	}
	if s.names = names; len(names) > 0 {
		s.until, s.ours = expiry(cs), hostName(cs.ServerName)
	}
}
