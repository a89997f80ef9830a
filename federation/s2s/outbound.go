package s2s

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"syscall"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// An outbound is a stream that we have opened, for one pair at first.
type outbound struct {
	*stream
	key
	target   federation.Target
	security federation.Security
	features *xmltree.Element // as they were last; not nil once negotiated
	proof    federation.Proof // what the peer has shown
	auth     string           // how we have proved ourselves
	steady   bool             // it is kept open even if nobody uses it

	take func(*xmltree.Element) error // what comes in; nil: as between servers
}

func newOutbound(ctx context.Context, s *Server, k key, t federation.Target, nc net.Conn) *outbound {
	o := &outbound{stream: newStream(ctx, s, newLink(nc, t.Transport, s.lim), true), key: k, target: t}
	o.place = t.String()
	return o
}

// negotiate brings the stream to where stanzas, or db:verify, may be sent
// (RFC 6120, section 4.3).
func (o *outbound) negotiate(ctx context.Context, use purpose, external bool) error {
	o.security = o.srv.cfg.Book.Rules(o.to).Security
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
	var err error
	if o.proof, err = o.shows(o.to); err != nil {
		return err
	}
	if use == asVerifier {
		return nil
	}
	if err := o.askBidi(); err != nil {
		return err
	}
	if err := o.authenticate(external); err != nil {
		return err
	}
	o.proved(o.key, o.proof)
	return nil
}

// authenticate proves us by our certificate, else by dialback.
func (o *outbound) authenticate(external bool) error {
	if !external || !o.offers("EXTERNAL") {
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

// shows returns what the peer has shown of a domain, or why that is less than
// the domain's rules demand (decision D-73; RFC 6120, section 13.7.2).
func (o *outbound) shows(domain string) (federation.Proof, error) {
	security := o.srv.cfg.Book.Rules(domain).Security
	if o.tls == nil && security == federation.PlainOK {
		return federation.Address, nil
	}
	if o.tls == nil {
		return federation.Claimed, fault.E(fault.Forbidden, "the far server offers no encryption")
	}
	err := o.srv.cfg.Trust.Verify(federation.XMPP, *o.tls, domain)
	switch {
	case err == nil:
		return federation.Certificate, nil
	case security == federation.Required:
		return federation.Claimed, err
	}
	return federation.Address, nil
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
		case o.xml.Spaced(): // RFC 6120, section 6.3.5
			return false, refuse("bad-format", "white space in SASL")
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

// launch gives the stream to the pair that it was opened for, and its reader a
// goroutine. The pair runs, so the Server does.
func (o *outbound) launch(ctx context.Context, p *pair) {
	o.srv.enlist(o)
	o.board(p, o.proof, o.auth)
	o.srv.tasks.Go(func() { o.run(ctx) })
}

// run is the life of a stream in use.
func (o *outbound) run(ctx context.Context) {
	defer context.AfterFunc(ctx, o.leave)()
	if !o.steady {
		o.state.Lock()
		o.untilUnused()
		o.state.Unlock()
	}
	take := o.take
	if take == nil {
		take = o.use
	}
	var err error
	for err == nil {
		var e *xmltree.Element
		if e, err = o.next(); err == nil {
			err = take(e)
		}
	}
	o.srv.strike(o)
	o.quit(err)
}

func (o *outbound) log() *slog.Logger {
	return o.srv.cfg.Log.With("peer", o.to, "from", o.from, "addr", o.target.String())
}
