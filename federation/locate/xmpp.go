package locate

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// The port of XMPP between servers (RFC 6120, section 14.7).
const portXMPP = 5269

// XMPP returns where streams to a domain go: RFC 6120, section 3.2, with the
// direct TLS of XEP-0368 in the same order of priorities, unless the operator
// has written down something else. Transport TCP means STARTTLS, TLS direct
// TLS. Errors are as those of SIP.
func (l *Locator) XMPP(ctx context.Context, domain string) ([]federation.Target, error) {
	targets, _, err := l.xmpp(ctx, domain)
	return targets, err
}

// xmpp is XMPP with the search that led there.
func (l *Locator) xmpp(ctx context.Context, name string) ([]federation.Target, find, error) {
	var f find
	domain, err := l.name(name)
	if err == nil {
		err = l.ours(federation.XMPP, domain)
	}
	if err != nil {
		return nil, f, err
	}
	word := l.rules(domain).XMPP
	h, ours := l.home(domain)
	if ours && h.Users == federation.XMPP && h.Server != "" {
		word = h.Server
	}
	host, w := domain, way{federation.TCP, portXMPP}
	if word != "" {
		f.say("the configuration says %s", word)
		if host, w.port, err = ParseXMPP(word); err != nil {
			return nil, f, fault.Wrap(fault.Internal, err, "configuration of the domain is wrong")
		}
	}
	_, numeric := federation.Literal(host)
	if word == "" && !numeric {
		l.streams(ctx, &f, domain)
	}
	if !f.done() {
		err = l.guess(ctx, &f, domain, host, w)
	}
	if err != nil {
		return nil, f, err
	}
	f.guessed = f.guessed && word == "" && !ours
	targets, err := f.end(domain, "domain offers no XMPP service", l.cfg.MaxTargets)
	return targets, f, err
}

// streams asks for the service records of a domain.
func (l *Locator) streams(ctx context.Context, f *find, domain string) {
	starttls, direct := []federation.Transport{federation.TCP}, []federation.Transport{federation.TLS}
	f.add(l.services(ctx, domain,
		service{"_xmpp-server._tcp." + domain, starttls}, service{"_xmpps-server._tcp." + domain, direct}))
	if l.cfg.XMPPByIM && !f.done() {
		f.add(l.services(ctx, domain,
			service{"_im._xmpp." + domain, starttls}, service{"_pres._xmpp." + domain, starttls}))
	}
}

// ParseXMPP reads what an operator writes for a server, "host:port"; the port
// may be left out.
func ParseXMPP(s string) (host string, port uint16, err error) {
	bad := fault.E(fault.Malformed, "%q is not a host and port like xmpp.example.net:%d", s, portXMPP)
	host, port = s, portXMPP
	if _, ok := federation.Literal(s); !ok {
		if h, p, err := net.SplitHostPort(s); err == nil {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return "", 0, bad
			}
			host, port = h, uint16(n)
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, port, nil
	}
	if _, ok := federation.Literal(host); ok {
		return host, port, nil
	}
	if host, err = federation.Domain(host); err != nil {
		return "", 0, bad
	}
	return host, port, nil
}
