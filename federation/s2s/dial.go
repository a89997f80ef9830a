package s2s

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// An outbound is a stream that we have opened. The peer sends nothing on it
// but answers to its negotiation.
type outbound struct {
	*link
	key
	srv      *Server
	target   federation.Target
	security federation.Security
	id       string           // the peer's, of the stream as it is now
	features *xmltree.Element // not nil
	proof    federation.Proof // what the peer has shown
	auth     string           // how we have proved ourselves
	managed  bool             // by stream management
	pinged   atomic.Bool      // a ping was not answered
	orderly  bool             // the peer has closed it; to be read when the reader has ended

	take func(*xmltree.Element) error // what comes in; nil: nothing may
	over func(error)                  // what has come in and cannot be read; nil: nobody asks

	once   sync.Once
	dead   chan struct{} // closed when nothing may be written any more
	reason error         // why; to be read when dead is closed
}

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
	o := &outbound{
		link: newLink(nc, t.Transport, s.lim), key: k, srv: s, target: t,
		security: s.cfg.Book.Rules(k.to).Security, dead: make(chan struct{}),
	}
	drop := context.AfterFunc(ctx, func() { nc.Close() })
	err := o.negotiate(ctx, use, external)
	if !drop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		o.shut(err)
		return nil, err
	}
	return o, nil
}

// negotiate brings the stream to where stanzas, or db:verify, may be sent
// (RFC 6120, section 4.3).
func (o *outbound) negotiate(ctx context.Context, use purpose, external bool) error {
	if o.target.Transport == federation.TLS {
		if err := o.handshake(ctx, trust.ALPN); err != nil {
			return err
		}
	}
	if err := o.restart(); err != nil {
		return err
	}
	// STARTTLS is asked for even if somebody took the offer out (RFC 7590,
	// section 3.1).
	if o.tls == nil && (o.features.Child(nsTLS, "starttls") != nil || o.security != federation.PlainOK) {
		if err := o.startTLS(ctx); err != nil {
			return err
		}
	}
	if err := o.identify(); err != nil {
		return err
	}
	switch {
	case use == asVerifier:
		return nil
	case !external || !o.offers("EXTERNAL"):
		return o.dialback()
	}
	if done, err := o.external(); done || err != nil {
		return err
	}
	err := o.dialback()
	if _, verdict := errors.AsType[*fault.Error](err); err != nil && !verdict {
		return &brokenSASL{err} // it has ended the stream over our certificate
	}
	return err
}

// restart sends a stream header and reads the peer's with its features
// (RFC 6120, sections 4.2 and 4.3.2).
func (o *outbound) restart() error {
	if err := o.begin(header(o.from, o.to, "", "1.0")); err != nil {
		return err
	}
	h, err := o.open()
	if err != nil {
		return noEOF(err)
	}
	o.id = h.Get("id")
	o.features = xmltree.New(nsStream, "features")
	if o.id == "" {
		return refuse("undefined-condition", "a stream without id")
	}
	if !versioned(h.Get("version")) {
		return nil // RFC 6120, section 4.7.5: no features
	}
	f, err := o.next()
	if err != nil {
		return noEOF(err)
	}
	if !f.Is(nsStream, "features") {
		return refuse("unsupported-stanza-type", "no features")
	}
	o.features = f
	return nil
}

// noEOF makes an error of a stream that was closed in the middle.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// startTLS is RFC 6120, section 5.4. The first stream is given up without an
// end tag.
func (o *outbound) startTLS(ctx context.Context) error {
	if _, err := o.write([]byte("<starttls xmlns='" + nsTLS + "'/>")); err != nil {
		return err
	}
	e, err := o.next()
	if err != nil {
		return noEOF(err)
	}
	if !e.Is(nsTLS, "proceed") {
		return fault.E(fault.Forbidden, "the far server offers no encryption")
	}
	if err := o.handshake(ctx); err != nil {
		return err
	}
	return o.restart()
}

func (o *outbound) handshake(ctx context.Context, alpn ...string) error {
	cfg := o.srv.cfg.Trust.Client(federation.XMPP, o.from, o.to, alpn...)
	err := o.secure(ctx, tls.Client(o.nc, cfg))
	if _, named := errors.AsType[*fault.Error](err); err == nil || named ||
		ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return fault.Wrap(fault.Forbidden, err, "the far server refuses encryption with us")
}

// identify decides whether the peer has shown what its rules demand (decision
// D-73; RFC 6120, section 13.7.2).
func (o *outbound) identify() error {
	o.proof = federation.Address
	if o.tls == nil {
		return nil // negotiate has let only plain-ok pass
	}
	err := o.srv.cfg.Trust.Verify(federation.XMPP, *o.tls, o.to)
	switch {
	case err == nil:
		o.proof = federation.Certificate
	case o.security == federation.Required:
		return err
	}
	return nil
}

// offers reports whether the features have a SASL mechanism.
func (o *outbound) offers(mechanism string) bool {
	m := o.features.Child(nsSASL, "mechanisms")
	if m == nil || o.tls == nil {
		return false
	}
	for e := range m.Elements() {
		if e.Is(nsSASL, "mechanism") && e.Text() == mechanism {
			return true
		}
	}
	return false
}

// external proves us by our certificate (XEP-0178, section 3). It reports false
// where the peer does not accept that but keeps the stream.
func (o *outbound) external() (bool, error) {
	name := base64.StdEncoding.EncodeToString([]byte(uLabels(o.from)))
	if _, err := o.write([]byte("<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>" + name + "</auth>")); err != nil {
		return false, &brokenSASL{err}
	}
	for range 2 {
		e, err := o.next()
		switch {
		case err != nil:
			return false, &brokenSASL{noEOF(err)}
		case e.Is(nsSASL, "success"):
			if err := o.restart(); err != nil {
				return false, &brokenSASL{err}
			}
			o.auth = "EXTERNAL"
			return true, nil
		case e.Is(nsSASL, "challenge"): // it has lost our initial response
			if _, err := o.write([]byte("<response xmlns='" + nsSASL + "'>" + name + "</response>")); err != nil {
				return false, &brokenSASL{err}
			}
		case e.Is(nsSASL, "failure"):
			o.log().Info("peer does not accept our certificate, trying dialback", "err", failure(e))
			return false, nil
		default:
			return false, refuse("unsupported-stanza-type", "%s in SASL", printable(e.Name.Local))
		}
	}
	return false, refuse("policy-violation", "SASL without end")
}

// failure names the condition of a SASL failure (RFC 6120, section 6.5).
func failure(e *xmltree.Element) string {
	for c := range e.Elements() {
		if c.Name.Local != "text" {
			return printable(c.Name.Local)
		}
	}
	return "failure"
}

// read is the reader of a stream in use. Only the end of the stream, its
// errors, late answers of dialback and acknowledgements may come (RFC 6120,
// section 4.5).
func (o *outbound) read(acks func(h uint32) error) {
	var err error
	for err == nil {
		var e *xmltree.Element
		if e, err = o.next(); err != nil {
			if o.over != nil {
				o.over(err)
			}
			break
		}
		if e.Name.Space == nsDialback { // XEP-0220, section 3.1
			o.log().Warn("unsolicited dialback dropped", "element", e.Name.Local, "type", printable(e.Get("type")))
			continue
		}
		if e.Name.Space == nsSM {
			err = o.acknowledge(e, acks)
			continue
		}
		if o.take != nil {
			err = o.take(e)
		} else if err = stanza(e); err == nil {
			err = refuse("not-authorized", "this stream is for our stanzas only")
		}
	}
	o.orderly = err == io.EOF
	o.fail(err)
	o.shut(err)
}

// fail says why the stream is at its end, and that nothing may be written.
func (o *outbound) fail(err error) {
	o.once.Do(func() {
		if err == io.EOF {
			err = errors.New("closed by the peer")
		}
		o.reason = err
		close(o.dead)
	})
}

func (o *outbound) log() *slog.Logger {
	return o.srv.cfg.Log.With("peer", o.to, "from", o.from, "addr", o.target.String())
}

func (o *outbound) describe(st *Status) {
	st.Up, st.Proof, st.Auth, st.Addr = true, o.proof, o.auth, o.target.String()
	if o.tls != nil {
		st.TLS = o.tls.Version
	}
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
