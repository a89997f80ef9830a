package s2s

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// An inbound is a connection that a peer has opened, with the streams that
// follow one another on it. Its own goroutine reads; calls back to
// authoritative servers run beside it.
type inbound struct {
	*link
	srv *Server
	ctx context.Context // ends when reading has

	from, to   string // of the stream header; from may be ""
	id         string // of the stream as it is now
	security   federation.Security
	mismatch   error         // why the certificate does not prove from
	external   bool          // SASL is done
	challenged bool          // SASL waits for a response
	tries      int           // of SASL
	answered   bool          // db:verify was served
	pace       *rate.Limiter // of stanzas
	rec        *reception    // stream management is on; written by the reader, under state

	checks sync.WaitGroup
	state  sync.Mutex
	pairs  map[key]federation.Peer
	asking map[key]bool
	since  time.Time
	why    error       // a check ended the stream
	idle   *time.Timer // of an authenticated stream
	expiry *time.Timer // of the peer's certificate, where it is the proof
}

// errRestart says that a new stream follows on the same connection (RFC 6120,
// section 4.3.3).
var errRestart = errors.New("stream restart")

// run is the life of a connection.
func (in *inbound) run(ctx context.Context) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	in.ctx = own
	in.nc.SetReadDeadline(in.srv.by())
	stop := context.AfterFunc(ctx, func() {
		in.hurry()
		in.bye()
	})
	err := in.serve(ctx)
	stop()
	cancel()
	in.checks.Wait()
	in.state.Lock()
	if in.idle != nil {
		in.idle.Stop()
	}
	if in.expiry != nil {
		in.expiry.Stop()
	}
	if in.why != nil {
		err = in.why
	}
	in.state.Unlock()
	if e, ok := errors.AsType[*xmltree.Error](err); ok {
		in.bounce(e)
	}
	if isTimeout(err) && !in.authorised() && !in.answered {
		err = refuse("policy-violation", "not authenticated in time")
	}
	in.forget(err == io.EOF)
	in.shut(err)
	in.leave(err)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// serve reads one stream after the other.
func (in *inbound) serve(ctx context.Context) error {
	if in.via == federation.TLS {
		if err := in.handshake(ctx, in.srv.direct()); err != nil {
			return err
		}
	}
	for {
		if err := in.stream(ctx); err != errRestart {
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

// stream serves one stream, from its header to its end or restart.
func (in *inbound) stream(ctx context.Context) error {
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
	return in.begin(b)
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
	if in.authorised() {
		b.WriteString("<sm xmlns='" + nsSM + "'/>")
	}
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
	case nsDialback:
		return in.dialback(e)
	case nsSM:
		return in.managed(e)
	}
	if !in.authorised() {
		return refuse("not-authorized", "%s before authentication", printable(e.Name.Local))
	}
	if err := stanza(e); err != nil {
		return err
	}
	if d := in.pace.Reserve().Delay(); d > 0 {
		pause(ctx, d) // the peer waits, too (RFC 6120, section 13.12)
	}
	return in.stanza(e)
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

// stanza checks who writes to whom (RFC 6120, section 8.1) and hands the stanza
// on.
func (in *inbound) stanza(e *xmltree.Element) error {
	h, peer, err := in.envelope(e)
	if err != nil {
		return err
	}
	in.state.Lock()
	in.idle.Reset(in.lim.Idle)
	in.state.Unlock()
	if h.Lang == "" {
		e.WithLang(in.lang)
	}
	if in.srv.cfg.Trace != nil {
		in.srv.trace(false, peer.String(), in.via, e.Append(nil, xep.NS))
	}
	if in.rec != nil {
		return in.rec.take(in, func() { in.serveStanza(e, h, peer) })
	}
	in.serveStanza(e, h, peer)
	return nil
}

func (in *inbound) serveStanza(e *xmltree.Element, h xep.Header, peer federation.Peer) {
	if h.Name != "iq" {
		in.srv.cfg.Handler.ServeStanza(in.ctx, e, peer)
		return
	}
	if answer := in.srv.iq(e, h); answer != nil {
		in.srv.Send(answer, time.Time{}, nil)
	}
}

func (in *inbound) envelope(e *xmltree.Element) (xep.Header, federation.Peer, error) {
	h, err := xep.HeaderOf(e)
	if err != nil || e.Get("from") == "" || e.Get("to") == "" {
		return h, federation.Peer{}, refuse("improper-addressing", "from and to are needed")
	}
	from, err1 := federation.Domain(h.From.Domainpart())
	to, err2 := federation.Domain(h.To.Domainpart())
	if err1 != nil || err2 != nil {
		return h, federation.Peer{}, refuse("improper-addressing", "from or to is not a domain's")
	}
	in.state.Lock()
	defer in.state.Unlock()
	if peer, ok := in.pairs[key{from, to}]; ok {
		if err := in.srv.barred(key{from, to}); err != nil { // any more
			return h, peer, err
		}
		return h, peer, nil
	}
	for k := range in.pairs {
		if k.from == from {
			return h, federation.Peer{}, refuse("host-unknown", "this stream is not for that domain")
		}
	}
	in.srv.cfg.Count(Spoofed)
	return h, federation.Peer{}, refuse("invalid-from", "not a domain that was authenticated")
}

// bounce answers a stanza that was over a limit, if its head can be trusted
// (RFC 6120, section 13.12). The stream cannot be read any further; a peer that
// resumes it must not send the same again, so it is counted as handled.
func (in *inbound) bounce(x *xmltree.Error) {
	if x.Head == nil || stanza(x.Head) != nil {
		return
	}
	h, _, err := in.envelope(x.Head)
	if err != nil {
		return
	}
	refuse := func() {
		if answer := xep.ErrorStanza(h, &xep.Error{Condition: "policy-violation", Type: "modify", Text: x.Text}); answer != nil {
			in.srv.Send(answer, time.Time{}, nil)
		}
	}
	if in.rec == nil {
		refuse()
		return
	}
	_ = in.rec.take(in, refuse) // the error is that of a stream which is resumed elsewhere
}

func (in *inbound) log() *slog.Logger { return in.srv.cfg.Log.With("addr", in.addr.String()) }
