package trunk

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// A Sight is what a target has shown to a probe, as far as it came.
type Sight struct {
	Reached bool                 // a connection was made, or over UDP an answer came
	TLS     *tls.ConnectionState // nil: none
	Answer  *sip.Response        // to our OPTIONS; nil: none
}

// nobody is the host of a From that names nobody (RFC 3323, section 4.1.1.3).
const nobody = "anonymous.invalid"

// Probe asks one target for its capabilities by OPTIONS (RFC 3261, section
// 11.1), over a connection as [Trunk.Send] would dial it on behalf of our
// domain from, or of nobody. The error is why it came no further. With a
// [Config.Book] that asks for less than a valid certificate it goes on with
// any, and the caller judges what it sees.
func (t *Trunk) Probe(ctx context.Context, from string, to federation.Target) (Sight, error) {
	from = cmp.Or(from, nobody)
	uri := sip.Uri{Scheme: "sip", Host: to.Domain}
	req := sip.NewRequest(sip.OPTIONS, uri)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", Host: from}, Params: sip.NewParams()})
	req.AppendHeader(&sip.ToHeader{Address: uri, Params: sip.NewParams()})
	req.AppendHeader(sip.NewHeader("Accept", "*/*"))
	t.complete(req)
	var seen Sight
	if to.Transport != federation.UDP {
		s, _, err := t.connect(ctx, hostName(from), to)
		if err != nil {
			op, ok := errors.AsType[*net.OpError](err)
			seen.Reached = ctx.Err() == nil && (!ok || op.Op != "dial")
			return seen, err
		}
		seen.Reached, seen.TLS = true, s.cs
	}
	res, err := t.try(ctx, req, to, nil)
	if err != nil {
		return seen, err
	}
	seen.Reached, seen.Answer = true, res
	return seen, sipx.CheckResponse(res)
}

// Judge returns how a request would be refused that is read on a connection,
// whoever sends it; nil if it would reach the Handler. What it cannot know is
// who the sender is, and whether the request has come before. OPTIONS, which is
// answered here, is let through.
func (t *Trunk) Judge(req *sip.Request) error {
	if err := sipx.CheckRequest(req); err != nil || req.Method == sip.OPTIONS {
		return err
	}
	a := &arrival{t: t, req: req}
	for _, check := range []func(*arrival) error{t.method, t.hops, t.extensions, t.content} {
		if err := check(a); err != nil {
			return err
		}
	}
	return nil
}

// Draft returns a request, which is the trunk's from now on, as it would be
// written to a target.
func (t *Trunk) Draft(req *sip.Request, via federation.Transport) *sip.Request {
	t.complete(req)
	return t.stamp(req, via)
}
