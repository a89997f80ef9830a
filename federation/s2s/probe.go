package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A Sight is what a target has shown to a probe, as far as it came.
type Sight struct {
	Reached    bool                 // a connection was made
	TLS        *tls.ConnectionState // nil: none
	Features   *xmltree.Element     // of the stream as it was last (RFC 6120, section 4.3.2); nil: none
	Mechanisms []string             // of SASL
	Dialback   bool                 // offered (XEP-0220, section 2.4.2)
	Ended      string               // condition of the stream error that the peer has sent; "": none
}

// Probe opens a stream to one target as [Server.Send] would, up to where we
// would prove who we are, and closes it. The error is why it came no further.
// It needs no [Server.Run]. With a [Config.Book] that asks for less than a valid
// certificate it goes on with any, and the caller judges what it sees.
func (s *Server) Probe(ctx context.Context, from string, t federation.Target) (Sight, error) {
	ctx, cancel := context.WithTimeout(ctx, s.lim.DialTimeout+s.lim.Handshake)
	defer cancel()
	dctx, stop := context.WithTimeout(ctx, s.lim.DialTimeout)
	defer stop()
	nc, err := s.cfg.Dial(dctx, netip.Addr{}, t.Addr.String())
	if err != nil {
		return Sight{}, err
	}
	o := newOutbound(ctx, s, key{from, t.Domain}, t, nc)
	drop := context.AfterFunc(ctx, func() { nc.Close() })
	err = o.negotiate(ctx, asVerifier, false)
	if drop(); err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	seen := o.sight()
	if e, ok := errors.AsType[*streamError](err); ok && e.theirs {
		seen.Ended = e.condition
	}
	o.finish()
	o.nc.Close()
	return seen, cause(err)
}

// sight returns what has been seen of the peer.
func (o *outbound) sight() Sight {
	seen := Sight{Reached: true, TLS: o.tls, Features: o.features}
	if o.features == nil {
		return seen
	}
	seen.Dialback = o.features.Child(nsFeature, "dialback") != nil
	if m := o.features.Child(nsSASL, "mechanisms"); m != nil {
		for e := range m.Elements() {
			if e.Is(nsSASL, "mechanism") {
				seen.Mechanisms = append(seen.Mechanisms, printable(e.Text()))
			}
		}
	}
	return seen
}
