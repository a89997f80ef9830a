package s2s

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// An inbound is a connection that a peer has opened, with the streams that
// follow one another on it. Its own goroutine reads; calls back to
// authoritative servers run beside it.
type inbound struct {
	*stream

	from, to   string // of the stream header; from may be ""
	security   federation.Security
	mismatch   error // why the certificate does not prove from
	external   bool  // SASL is done
	challenged bool  // SASL waits for a response
	tries      int   // of SASL
}

// errRestart says that a new stream follows on the same connection (RFC 6120,
// section 4.3.3).
var errRestart = errors.New("stream restart")

// run is the life of a connection.
func (in *inbound) run(ctx context.Context) {
	in.nc.SetReadDeadline(in.srv.by())
	stop := context.AfterFunc(ctx, in.leave)
	err := in.serve(ctx)
	stop()
	if isTimeout(err) && in.failed() == nil && !in.authorised() && !in.heard {
		err = refuse("policy-violation", "not authenticated in time")
	}
	in.quit(err)
	if err := in.reason; !in.authorised() && !in.heard {
		in.srv.cfg.Count(Refused)
		in.log().Info("stream refused", "from", in.from, "to", in.to, "err", err)
	}
}

// serve reads one stream after the other.
func (in *inbound) serve(ctx context.Context) error {
	if in.via == federation.TLS {
		if err := in.handshake(ctx, in.srv.direct()); err != nil {
			return err
		}
	}
	for {
		if err := in.converse(ctx); err != errRestart {
			return err
		}
	}
}

// handshake takes TLS from the peer. Where it fails there is no stream left to
// say so (RFC 6120, section 5.4.3.2).
func (in *inbound) handshake(ctx context.Context, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, in.lim.Handshake)
	defer cancel()
	return in.secure(ctx, tls.Server(in.nc, cfg))
}

// converse serves one stream, from its header to its end or restart.
func (in *inbound) converse(ctx context.Context) error {
	h, err := in.open()
	version := "1.0"
	if h == nil {
		if _, bad := errors.AsType[*xmltree.Error](err); !bad {
			return err
		}
		h = xmltree.New(nsStream, "stream")
	} else if !versioned(h.Get("version")) {
		version = ""
	}
	was := key{in.from, in.to}
	if err == nil {
		err = in.address(h)
	}
	if err == nil && in.external && was != (key{in.from, in.to}) {
		err = refuse("invalid-from", "other addresses than before") // RFC 6120, section 6.4.6
	}
	if e := in.greet(h, version); e != nil {
		return e
	}
	for err == nil {
		var e *xmltree.Element
		if e, err = in.next(); err == nil {
			err = in.take(ctx, e)
		}
	}
	return err
}

// address reads who talks to whom (RFC 6120, sections 4.7.1 and 4.7.2).
func (in *inbound) address(h *xmltree.Element) error {
	book := in.srv.cfg.Book
	in.from, in.to, in.security, in.mismatch = "", "", federation.Required, errNobody
	to, err := bareDomain(h.Get("to"))
	if err != nil || !book.Stands(federation.XMPP, to) {
		return refuse("host-unknown", "not served here")
	}
	in.to = to
	if h.Get("from") == "" {
		return nil
	}
	from, err := bareDomain(h.Get("from"))
	switch {
	case err != nil:
		return refuse("improper-addressing", "from is not a domain")
	case book.Stands(federation.XMPP, from):
		return refuse("invalid-from", "that is ourselves")
	case !book.Rules(from).Allow:
		return refuse("policy-violation", "not allowed here")
	}
	in.from, in.security = from, book.Rules(from).Security
	if in.tls != nil {
		in.mismatch = in.srv.cfg.Trust.Verify(federation.XMPP, *in.tls, from)
	}
	return nil
}

var errNobody = errors.New("no certificate, or nobody to compare it with")

// greet answers a stream header with our own and the features (RFC 6120,
// sections 4.2, 4.3.2 and 4.9.1.2).
func (in *inbound) greet(h *xmltree.Element, version string) error {
	in.id = rand.Text()
	peer, err := bareDomain(h.Get("from"))
	if err != nil {
		peer = ""
	}
	b := header(in.to, peer, in.id, version)
	if version != "" && in.to != "" {
		b = append(b, in.features()...)
	}
	if err := in.begin(b); err != nil || !in.external {
		return err
	}
	in.told(key{in.from, in.to})
	return nil
}

// features says what may come next: before TLS nothing but TLS, unless the peer
// may do without (RFC 6120, section 5.3.1).
func (in *inbound) features() string {
	var b strings.Builder
	b.WriteString("<stream:features>")
	switch {
	case in.tls == nil && in.security != federation.PlainOK:
		b.WriteString("<starttls xmlns='" + nsTLS + "'><required/></starttls></stream:features>")
		return b.String()
	case in.tls == nil:
		b.WriteString("<starttls xmlns='" + nsTLS + "'/>")
	case in.mismatch == nil && !in.external:
		b.WriteString("<mechanisms xmlns='" + nsSASL + "'><mechanism>EXTERNAL</mechanism></mechanisms>")
	}
	b.WriteString("<dialback xmlns='" + nsFeature + "'><errors/></dialback>")
	if in.reversible() {
		b.WriteString("<bidi xmlns='" + nsBidiFeature + "'/>")
	}
	if in.authorised() {
		b.WriteString("<sm xmlns='" + nsSM + "'/>")
	}
	b.WriteString(in.srv.caps())
	b.WriteString("</stream:features>")
	return b.String()
}

// take does what one element of the stream asks for.
func (in *inbound) take(ctx context.Context, e *xmltree.Element) error {
	switch e.Name.Space {
	case nsTLS:
		return in.startTLS(ctx, e)
	case nsSASL:
		return in.sasl(e)
	case nsSM:
		return in.managed(e)
	case nsBidi:
		if e.Name.Local == "bidi" && in.reversible() {
			in.bidi = true
			return nil
		}
	}
	return in.use(e)
}

// startTLS is RFC 6120, section 5.4.
func (in *inbound) startTLS(ctx context.Context, e *xmltree.Element) error {
	if e.Name.Local != "starttls" {
		return refuse("unsupported-stanza-type", "%s", printable(e.Name.Local))
	}
	if in.tls != nil || in.authorised() {
		if _, err := in.write([]byte("<failure xmlns='" + nsTLS + "'/>")); err != nil {
			return err
		}
		return io.EOF // RFC 6120, section 5.4.2.2: failure, then the end
	}
	if _, err := in.write([]byte("<proceed xmlns='" + nsTLS + "'/>")); err != nil {
		return err
	}
	in.bidi = false // nothing that was said in the clear counts
	if err := in.handshake(ctx, in.starttls()); err != nil {
		return err
	}
	return errRestart
}

// maxTries is how often SASL may fail on a connection (RFC 6120, section
// 6.4.5).
const maxTries = 3

// sasl takes EXTERNAL (XEP-0178, section 3; RFC 6120, section 6.4).
func (in *inbound) sasl(e *xmltree.Element) error {
	switch {
	case in.tls == nil || in.external:
		return refuse("not-authorized", "no SASL was offered")
	case in.challenged && in.xml.Spaced(): // RFC 6120, section 6.3.5
		return in.deny("malformed-request")
	case e.Name.Local == "auth" && e.Get("mechanism") != "EXTERNAL":
		return in.deny("invalid-mechanism")
	case e.Name.Local == "auth" && e.Text() == "":
		in.challenged = true
		_, err := in.write([]byte("<challenge xmlns='" + nsSASL + "'/>"))
		return err
	case e.Name.Local == "auth", e.Name.Local == "response" && in.challenged:
		in.challenged = false
	case e.Name.Local == "abort":
		return in.deny("aborted")
	default:
		return in.deny("malformed-request")
	}
	name, ok := decode(e.Text())
	if !ok {
		return in.deny("incorrect-encoding")
	}
	if domain, err := bareDomain(name); name != "" && (err != nil || domain != in.from) {
		return in.deny("invalid-authzid") // RFC 6120, section 6.3.8
	}
	if in.mismatch != nil {
		in.log().Warn("certificate does not prove the peer", "peer", in.from, "err", in.mismatch)
		return in.deny("not-authorized")
	}
	if _, err := in.write([]byte("<success xmlns='" + nsSASL + "'/>")); err != nil {
		return err
	}
	in.external = true
	in.authorise(key{in.from, in.to}, federation.Certificate)
	return errRestart
}

// decode reads the content of auth or response: strict base64, "=" for nothing
// (RFC 6120, sections 6.4.2 and 13.9.1).
func decode(s string) (string, bool) {
	if s == "=" {
		return "", true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return string(b), err == nil && !strings.ContainsAny(s, "\r\n")
}

func (in *inbound) deny(condition string) error {
	in.challenged = false
	if _, err := in.write([]byte("<failure xmlns='" + nsSASL + "'><" + condition + "/></failure>")); err != nil {
		return err
	}
	if in.tries++; in.tries >= maxTries {
		return refuse("policy-violation", "too many attempts")
	}
	return nil
}
