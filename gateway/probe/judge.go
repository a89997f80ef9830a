package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// endsSoon is how long before its end a certificate is worth a word.
const endsSoon = 14 * 24 * time.Hour

// features are those of a stream that we know, with the names by which the
// report calls them (XEP-0288, XEP-0198).
var features = []struct{ space, local, name string }{
	{"urn:xmpp:features:bidi", "bidi", "bidi"},
	{"urn:xmpp:sm:3", "sm", "sm"},
	{"urn:ietf:params:xml:ns:xmpp-tls", "starttls", "STARTTLS"},
}

// lookXMPP looks at one target of the domain's streams.
func (l *look) lookXMPP(ctx context.Context, to federation.Target, t *Target) {
	seen, err := l.s2s.Probe(ctx, l.from(federation.XMPP), to)
	t.Reached = seen.Reached
	t.show(seen.TLS)
	t.Features = append(t.Features, seen.Mechanisms...)
	if seen.Dialback {
		t.Features = append(t.Features, "dialback")
	}
	t.Features = append(t.Features, known(seen.Features)...)
	cert := l.certificate(t, federation.XMPP, seen.TLS)
	switch {
	case !t.Reached:
		t.Fix = l.unreached(t, err)
	case t.TLS == "" && to.Transport == federation.TLS:
		t.Fix = fmt.Sprintf("%s takes connections, but no TLS with us: %s.", t, why(err))
	case cert != "" && l.rules.Security == federation.Required:
		t.Fix = cert
	case seen.Features == nil:
		t.Fix = fmt.Sprintf("%s takes connections, but does not speak XMPP: %s.", t, why(err))
	case err != nil && strings.Contains(err.Error(), "host-unknown"):
		t.Fix = fmt.Sprintf("The server at %s does not know %s: the record names the wrong server, or the server's configuration lacks the domain.", t, l.domain)
	case err != nil && t.TLS == "":
		t.Fix = l.noTLS(t, federation.XMPP, err)
	case err != nil:
		t.Fix = fmt.Sprintf("%s breaks the stream off: %s.", t, why(err))
	default:
		t.Works, t.Fix = true, l.soon(t)
	}
}

// known names the features of a stream.
func known(offered *xmltree.Element) (names []string) {
	for _, f := range features {
		if offered != nil && offered.Child(f.space, f.local) != nil {
			names = append(names, f.name)
		}
	}
	return names
}

// lookSIP looks at one target of the domain's requests.
func (l *look) lookSIP(ctx context.Context, to federation.Target, t *Target) {
	seen, err := l.trunk.Probe(ctx, l.from(federation.SIP), to)
	t.Reached = seen.Reached
	t.show(seen.TLS)
	if res := seen.Answer; res != nil {
		t.Answer = fmt.Sprintf("%d %s", res.StatusCode, res.Reason)
		t.Server = sipx.Value(res, "Server")
		t.Allow = append(t.Allow, sipx.Tokens(res, "Allow")...)
		t.Accept = append(t.Accept, sipx.Tokens(res, "Accept")...)
	}
	cert := l.certificate(t, federation.SIP, seen.TLS)
	switch {
	case !t.Reached && to.Transport == federation.UDP:
		t.Fix = fmt.Sprintf("%s does not answer OPTIONS: is the server up, and does a firewall let UDP through both ways?", t)
	case !t.Reached:
		t.Fix = l.unreached(t, err)
	case t.TLS == "" && to.Transport == federation.TLS:
		t.Fix = l.noTLS(t, federation.SIP, err)
	case cert != "" && l.rules.Security == federation.Required:
		t.Fix = cert
	case err != nil:
		t.Fix = fmt.Sprintf("%s takes connections, but does not answer OPTIONS: %s.", t, why(err))
	case seen.Answer.StatusCode == 503:
		t.Fix = fmt.Sprintf("%s is there, but says that it is out of service (%s).", t, t.Answer)
	default:
		t.Works, t.Fix = true, l.soon(t)
	}
}

// certificate judges what a target shows, and returns what is to be fixed if
// it does not prove the domain.
func (l *look) certificate(t *Target, w federation.Wire, cs *tls.ConnectionState) string {
	if cs == nil {
		return ""
	}
	err := l.judge.Client(w, l.from(w), l.domain).VerifyConnection(*cs)
	if t.Certificate == nil {
		return fmt.Sprintf("%s shows no certificate.", t)
	}
	t.Certificate.Proves = err == nil
	if err == nil {
		return ""
	}
	t.Certificate.Detail = err.Error()
	p, ok := errors.AsType[*trust.Problem](err)
	if !ok { // the domain's ca_file cannot be read
		return fmt.Sprintf("The certificate of %s cannot be judged: %v.", t, err)
	}
	t.Certificate.Failed, t.Certificate.Detail, t.Certificate.Advice = string(p.Check), p.Detail, p.Advice
	return fmt.Sprintf("The certificate of %s does not prove %s for %s: %s; %s.", t, l.domain, w, p.Detail, p.Advice)
}

// soon returns what is to be fixed in what works.
func (l *look) soon(t *Target) string {
	if t.Certificate == nil || t.Certificate.NotAfter.Sub(l.Now()) > endsSoon || !t.Certificate.Proves {
		return ""
	}
	return fmt.Sprintf("The certificate of %s ends on %s: the peer has to renew it.", t, t.Certificate.NotAfter.Format(time.DateOnly))
}

func (l *look) unreached(t *Target, err error) string {
	_, port, _ := net.SplitHostPort(t.Address)
	return fmt.Sprintf("Nothing is reached at %s: %s; is the server up, is the record right, does a firewall let port %s through?", t, why(err), port)
}

func (l *look) noTLS(t *Target, w federation.Wire, err error) string {
	if l.rules.Security == federation.PlainOK {
		return fmt.Sprintf("%s offers TLS, but none with us: %s.", t, why(err))
	}
	return fmt.Sprintf("%s does no TLS with us for %s: %s; it must, unless the security of %s under peers is plain-ok.", t, w, why(err), l.domain)
}

// why says in short what has failed.
func why(err error) string {
	nerr, isNet := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		return "nothing was said"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isNet && nerr.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to the address"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return "it closes the connection"
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}
