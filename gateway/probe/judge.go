package probe

import (
	"cmp"
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

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trunk"
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
	t.Fix = l.fixXMPP(t, seen, err, l.certificate(t, federation.XMPP, seen.TLS))
	if t.Works = t.Fix == ""; t.Works {
		t.Fix = l.soon(t)
	}
}

// fixXMPP returns what keeps our streams from a target, "" for nothing.
func (l *look) fixXMPP(t *Target, seen s2s.Sight, err error, cert string) string {
	switch {
	case !t.Reached:
		return l.unreached(t, err)
	case refused(err) || seen.Ended == "not-authorized":
		return l.refusal(t, federation.XMPP, err)
	case t.TLS == "" && t.Transport == string(federation.TLS):
		return fmt.Sprintf("%s takes connections, but no TLS with us: %s.", t, why(err))
	case cert != "" && l.rules.Security == federation.Required:
		return cert
	case seen.Features == nil:
		return fmt.Sprintf("%s takes connections, but does not speak XMPP: %s.", t, why(err))
	case seen.Ended == "host-unknown":
		return fmt.Sprintf("The server at %s does not know %s: the record names the wrong server, or the server's configuration lacks the domain.", t, l.domain)
	case seen.Ended == "see-other-host":
		return fmt.Sprintf("%s sends streams elsewhere: the gateway follows, this look does not; a record that names the right server saves the detour.", t)
	case err != nil && t.TLS == "":
		return l.noTLS(t, federation.XMPP, err)
	case err != nil:
		return fmt.Sprintf("%s breaks the stream off: %s.", t, why(err))
	}
	return ""
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
	t.Fix = l.fixSIP(t, seen, err, l.certificate(t, federation.SIP, seen.TLS))
	if t.Works = t.Fix == ""; t.Works {
		t.Fix = l.soon(t)
	}
}

// fixSIP returns what keeps our requests from a target, "" for nothing.
func (l *look) fixSIP(t *Target, seen trunk.Sight, err error, cert string) string {
	switch {
	case !t.Reached && t.Transport == string(federation.UDP):
		return fmt.Sprintf("%s does not answer OPTIONS: is the server up, and does a firewall let UDP through both ways?", t)
	case !t.Reached:
		return l.unreached(t, err)
	case refused(err):
		return l.refusal(t, federation.SIP, err)
	case t.TLS == "" && t.Transport == string(federation.TLS):
		return l.noTLS(t, federation.SIP, err)
	case cert != "" && l.rules.Security == federation.Required:
		return cert
	case err != nil:
		return fmt.Sprintf("%s takes connections, but does not answer OPTIONS: %s.", t, why(err))
	case seen.Answer.StatusCode == sip.StatusServiceUnavailable:
		return fmt.Sprintf("%s is there, but says that it is out of service (%s).", t, t.Answer)
	}
	return ""
}

// refused reports whether the peer's TLS has ended over our certificate.
func refused(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && strings.Contains(alert.Error(), "certificate")
}

// refusal tells of a peer that does not take our certificate.
func (l *look) refusal(t *Target, w federation.Wire, err error) string {
	if len(l.Settings.TLS) == 0 {
		return fmt.Sprintf("%s wants a certificate that it trusts, and we have shown none: look again with our configuration.", t)
	}
	return fmt.Sprintf("%s refuses our certificate: %s; it must prove %s, and be by an authority that the peer knows.", t, why(err), cmp.Or(l.from(w), "our domain"))
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
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, net.ErrClosed), errors.Is(err, sip.ErrTransactionTransport):
		return "it closes the connection"
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}
