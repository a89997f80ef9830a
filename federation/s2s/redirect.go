package s2s

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"cpimgate/federation"
)

// xmppPort is where streams go that no record directs (RFC 6120, section 3.2.2).
const xmppPort = 5269

// elsewhere resolves where a peer sends us: a domain, or an address, with or
// without a port. What we ask for and what must be proved stay the same
// (RFC 6120, section 4.9.3.19).
func (s *Server) elsewhere(ctx context.Context, host string, from federation.Target) ([]federation.Target, error) {
	port := uint16(0)
	if h, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return nil, err
		}
		host, port = h, uint16(n)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	targets, err := redirected(host)
	if err != nil {
		if targets, err = s.cfg.Locate.XMPP(ctx, host); err != nil {
			return nil, err
		}
	}
	out := make([]federation.Target, 0, len(targets))
	for _, t := range targets {
		t.Domain = from.Domain
		if port != 0 {
			t.Addr, t.Transport = netip.AddrPortFrom(t.Addr.Addr(), port), federation.TCP
		}
		out = append(out, t)
	}
	return out, nil
}

// redirected is the target of an address literal.
func redirected(host string) ([]federation.Target, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil, err
	}
	return []federation.Target{{Host: host, Addr: netip.AddrPortFrom(ip, xmppPort), Transport: federation.TCP}}, nil
}
