package s2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A purpose is what a stream is opened for.
type purpose bool

const (
	asSender   purpose = true  // stanzas: we prove who we are
	asVerifier purpose = false // db:verify, which needs no such proof (XEP-0220, section 2.1.2)
)

// maxHops is how many redirections are followed (RFC 6120, section 4.9.3.19).
const maxHops = 3

// dial opens a stream for a pair of domains: it tries the peer's targets in
// their order, after those that are given. The error is a fault that names all
// attempts to the operator.
func (s *Server) dial(ctx context.Context, k key, use purpose, first ...federation.Target) (*outbound, error) {
	targets, err := s.cfg.Locate.XMPP(ctx, k.to)
	if err != nil {
		return nil, err
	}
	targets = append(first, s.order(targets)...)
	var causes []error
	kind, text := fault.Timeout, "the far server cannot be reached"
	for hops := 0; len(targets) > 0 && ctx.Err() == nil; {
		n := sameHost(targets)
		out, failed := s.first(ctx, k, targets[:n], use)
		if out != nil {
			return out, nil
		}
		targets = targets[n:]
		for _, a := range failed {
			causes = append(causes, a.cause())
			if e, ok := errors.AsType[*streamError](a.err); ok && e.host != "" && hops < maxHops {
				hops++
				other, err := s.elsewhere(ctx, e.host, a.target)
				if err != nil {
					causes = append(causes, fmt.Errorf("redirected to %s: %w", printable(e.host), err))
				}
				targets = append(other, targets...)
			}
			if f, ok := errors.AsType[*fault.Error](asFault(a.err)); ok && kind == fault.Timeout {
				kind, text = f.Kind, f.Text
			}
		}
	}
	return nil, fault.Wrap(kind, errors.Join(causes...), "%s", text)
}

// cause is what the operator needs of an error whose text the sender gets.
func cause(err error) error {
	if f, ok := err.(*fault.Error); ok && f.Err != nil {
		return f.Err
	}
	return err
}

// try negotiates a stream on a connection to one target. A peer that breaks off in the middle
// of SASL gets a second chance with dialback (some crash over certificates
// with an XmppAddr).
func (s *Server) try(ctx context.Context, k key, t federation.Target, use purpose, nc net.Conn) (*outbound, error) {
	out, err := s.stream(ctx, k, t, use, true, nc)
	if _, broke := errors.AsType[*brokenSASL](err); broke && ctx.Err() == nil {
		nc, _, failed := s.race(ctx, []federation.Target{t})
		if nc == nil {
			return nil, errors.Join(append(failed, err)...)
		}
		out, again := s.stream(ctx, k, t, use, false, nc)
		if again != nil {
			return nil, errors.Join(again, err)
		}
		return out, nil
	}
	return out, err
}

// brokenSASL is a stream that ended during SASL.
type brokenSASL struct{ error }

func (e *brokenSASL) Unwrap() error { return e.error }

// stream negotiates a stream on a connection.
func (s *Server) stream(ctx context.Context, k key, t federation.Target, use purpose, external bool, nc net.Conn) (*outbound, error) {
	ctx, cancel := context.WithTimeout(ctx, s.lim.Handshake)
	defer cancel()
	tune(nc)
	o := newOutbound(ctx, s, k, t, nc)
	drop := context.AfterFunc(ctx, func() { nc.Close() })
	err := o.negotiate(ctx, use, external)
	if !drop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		o.quit(err)
		return nil, err
	}
	return o, nil
}

// refusals are the stream errors that tell more than that it did not work.
var refusals = map[string]struct {
	kind fault.Kind
	text string
}{
	"host-unknown":            {fault.NoRoute, "the far server does not know this domain"},
	"host-gone":               {fault.NoRoute, "the far server does not serve this domain any more"},
	"not-authorized":          {fault.Forbidden, "the far server does not accept us"},
	"invalid-from":            {fault.Forbidden, "the far server does not accept us"},
	"policy-violation":        {fault.Forbidden, "the far server does not accept us"},
	"unsupported-stanza-type": {fault.Forbidden, "the far server does not accept us"},
}

// asFault gives a failed attempt its kind.
func asFault(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if e, ok := errors.AsType[*streamError](err); ok && e.theirs {
		if r, known := refusals[e.condition]; known {
			return fault.Wrap(r.kind, err, "%s", r.text)
		}
	}
	return fault.Wrap(fault.Timeout, err, "the far server cannot be reached")
}

// versioned reports whether a stream header's version is 1.0 or later, as two
// integers (RFC 6120, section 4.7.5).
func versioned(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	n, err := strconv.Atoi(major)
	_, err2 := strconv.Atoi(minor)
	return ok && err == nil && err2 == nil && n >= 1
}

// by is when a negotiation that begins now must be over.
func (s *Server) by() time.Time { return time.Now().Add(s.lim.Handshake) }
