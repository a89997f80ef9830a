package trunk

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation"
)

// alias lets us use a connection that a peer has opened for our own requests to
// it, if the peer asks for that (RFC 5923, section 8.2): over TLS, with a
// certificate that proves who it is, and only for the domains that it proves at
// the address in its Via. The connection belongs to one of our domains too, the
// one that the peer has asked for by SNI: it is not shared with another (section
// 9.3). Without a certificate, or without TLS, the parameter says nothing
// (section 9.2).
//
// One connection is one alias: the first. A peer that says another port in each
// request would else fill our memory.
func (t *Trunk) alias(a *arrival) {
	s, via := a.stream, a.req.Via()
	if s == nil || s.dialled || s.via != federation.TLS || s.ours == "" || !via.Params.Has("alias") {
		return
	}
	port := via.Port
	if port == 0 {
		port = sip.DefaultTlsPort
	}
	ready := make(chan struct{})
	close(ready)
	l := &link{ready: ready, stream: s}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.aliased || t.streams[s.addr.String()] != s {
		return
	}
	s.aliased = true
	for _, domain := range s.names {
		key := linkKey{s.ours, domain, netip.AddrPortFrom(s.remote.Addr(), uint16(port)), s.via}
		if _, exists := t.links[key]; !exists {
			t.links[key] = l
		}
	}
}
