package locate

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// The ports of SIP (RFC 3261, section 19.1.2).
const (
	portSIP  = 5060
	portSIPS = 5061
)

// A SIPQuery is the part of a SIP URI that decides where a request goes
// (RFC 3263, section 4).
type SIPQuery struct {
	Host      string // domain name, or IP literal with or without brackets
	Port      int    // 0: none in the URI
	Transport string // parameter "transport", "" if absent
	Secure    bool   // scheme "sips"
}

// ParseSIP reads what an operator writes for a server: a SIP or SIPS URI
// without user and headers, or "host:port" for short.
func ParseSIP(s string) (SIPQuery, error) {
	var q SIPQuery
	rest := s
	if scheme, after, ok := strings.Cut(s, ":"); ok {
		switch strings.ToLower(scheme) {
		case "sips":
			q.Secure, rest = true, after
		case "sip":
			rest = after
		}
	}
	hostport, params, _ := strings.Cut(rest, ";")
	bad := fault.E(fault.Malformed, "%q is not a SIP URI like sip:proxy.example.com;transport=tls", s)
	if hostport == "" || strings.ContainsAny(hostport, "@?/ ") {
		return q, bad
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(name, "transport") {
			q.Transport = strings.ToLower(value)
		}
	}
	q.Host = hostport
	if _, ok := federation.Literal(hostport); ok {
		return q, nil
	}
	if host, port, err := net.SplitHostPort(hostport); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return q, bad
		}
		q.Host, q.Port = host, int(n)
	}
	if _, ok := federation.Literal(q.Host); ok {
		return q, nil
	}
	if _, err := federation.Domain(q.Host); err != nil {
		return q, bad
	}
	return q, nil
}

// SIP returns where requests for a URI go: RFC 3263, section 4, unless the
// operator has written down something else. Where the security of the domain
// is not plain-ok, all targets have Transport TLS. Target.Domain is the domain
// that was asked for, whatever the operator or the DNS has put in its place. The
// list is not to be changed.
//
// A domain that does not exist, or that offers no SIP (over TLS), is a fault
// of kind NoRoute; one that cannot be resolved now is a Timeout.
func (l *Locator) SIP(ctx context.Context, q SIPQuery) ([]federation.Target, error) {
	targets, _, err := l.sip(ctx, q)
	return targets, err
}

// sip is SIP with the search that led there.
func (l *Locator) sip(ctx context.Context, q SIPQuery) ([]federation.Target, find, error) {
	domain, err := l.name(q.Host)
	if err == nil {
		err = l.ours(federation.SIP, domain)
	}
	if err != nil {
		return nil, find{}, err
	}
	rules := l.rules(domain)
	s := sipSearch{l: l, search: search{domain: domain, query: q, word: rules.SIP, tls: q.Secure || rules.Security != federation.PlainOK}}
	s.query.Host = domain
	h, ours := l.home(domain)
	if ours && h.Users == federation.SIP {
		s.word = cmp.Or(h.Server, s.word)
	}
	if err := s.again(ctx); err != nil {
		return nil, s.find, err
	}
	s.guessed = s.guessed && s.word == "" && !ours
	text := "domain offers no SIP service"
	if s.tls {
		text += " over TLS"
	}
	targets, err := s.end(domain, text, l.cfg.MaxTargets)
	return targets, s.find, err
}

// A sipSearch is one run of RFC 3263, section 4.
type sipSearch struct {
	find
	search
	l *Locator
}

// again takes what the same search has found a moment ago, or runs it.
func (s *sipSearch) again(ctx context.Context) error {
	key, now := s.search, s.l.cfg.Now()
	if f, ok := s.l.found.Get(key); ok && now.Before(f.until) {
		s.find = f.find
		return nil
	}
	if s.word != "" {
		var err error
		if s.query, err = ParseSIP(s.word); err != nil {
			return fault.Wrap(fault.Internal, err, "configuration of the domain is wrong")
		}
		s.tls = s.tls || s.query.Secure
		s.say("the configuration says %s", s.word)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if len(s.targets) > 0 && s.failed == nil && !s.drawn {
		s.l.found.Add(key, finding{s.find, now.Add(leastTTL)})
	}
	return nil
}

// run goes through the steps of RFC 3263, sections 4.1 and 4.2, until one of
// them has an answer. An error is final.
func (s *sipSearch) run(ctx context.Context) error {
	ways, err := s.ways()
	if err != nil || len(ways) == 0 {
		return err
	}
	q := s.query
	if a, ok := federation.Literal(q.Host); ok {
		s.targets = places(s.domain, a.String(), []netip.Addr{a}, ways...)
		return nil
	}
	switch {
	case q.Port != 0: // section 4.2: no SRV records where the URI has a port
	case q.Transport != "":
		s.add(s.l.each(ctx, s.domain, serviceOf(ways[0].transport, q.Host)))
	default:
		s.naptr(ctx)
		if len(s.targets) == 0 {
			s.srv(ctx)
		}
		if !s.done() {
			s.impp(ctx, ways)
		}
	}
	if s.done() {
		return nil
	}
	return s.l.guess(ctx, &s.find, s.domain, q.Host, ways...)
}

// ways returns the transports that the URI and the operator leave, with their
// ports (RFC 3263, section 4.1); none if they leave none.
func (s *sipSearch) ways() ([]way, error) {
	var list []federation.Transport
	switch t := strings.ToLower(s.query.Transport); {
	case t == "" && s.tls, t == "tls", t == "tcp" && s.query.Secure:
		list = []federation.Transport{federation.TLS}
	case t == "":
		list = []federation.Transport{federation.UDP, federation.TCP}
	case t != "tcp" && t != "udp":
		return nil, fault.E(fault.NoRoute, "transport is not supported")
	case s.tls:
		s.say("transport %s is asked for, but without TLS nothing goes to %s unless its security is plain-ok", t, s.domain)
	default:
		list = []federation.Transport{federation.Transport(t)}
	}
	ways := make([]way, len(list))
	for i, t := range list {
		ways[i] = way{t, portSIP}
		if t == federation.TLS {
			ways[i].port = portSIPS
		}
		if s.query.Port != 0 {
			ways[i].port = uint16(s.query.Port)
		}
	}
	return ways, nil
}

// naptr goes where the NAPTR records of the domain point, in their order
// (RFC 3263, section 4.1).
func (s *sipSearch) naptr(ctx context.Context) {
	a, err := s.l.dns.Lookup(ctx, s.query.Host, TypeNAPTR)
	if err != nil {
		s.failed = err
		s.say("NAPTR %s has no answer: %v", s.query.Host, err)
		return
	}
	records := slices.SortedStableFunc(slices.Values(a.Records), func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
	})
	var list []service
	for _, r := range records {
		t, ok := naptrServices[strings.ToUpper(r.Service)]
		if !ok || !strings.EqualFold(r.Flags, "s") || r.Regexp != "" || r.Target == "" {
			continue // of another application, or a transport that we do not speak
		}
		s.present = true
		if s.tls && t != federation.TLS {
			s.say("NAPTR %s offers %s, which is not TLS", s.query.Host, r.Service)
			continue
		}
		s.say("NAPTR %s offers %s at %s", s.query.Host, r.Service, r.Target)
		if len(list) < maxServices {
			list = append(list, service{r.Target, []federation.Transport{t}})
		}
	}
	s.add(s.l.each(ctx, s.domain, list...))
}

// The services that we follow (RFC 3263, section 4.1), and how many of them in
// one domain.
var naptrServices = map[string]federation.Transport{
	"SIPS+D2T": federation.TLS,
	"SIP+D2T":  federation.TCP,
	"SIP+D2U":  federation.UDP,
}

const maxServices = 6

// serviceOf returns the service that a transport has at a host.
func serviceOf(t federation.Transport, host string) service {
	label := map[federation.Transport]string{federation.TLS: "_sips._tcp.", federation.TCP: "_sip._tcp.", federation.UDP: "_sip._udp."}[t]
	return service{label + host, []federation.Transport{t}}
}

// srv asks for the SRV records of all transports, TLS first (RES-07). Where
// nothing but TLS will do it looks at the others only to be able to say that
// they are there.
func (s *sipSearch) srv(ctx context.Context) {
	secure := serviceOf(federation.TLS, s.query.Host)
	plain := []service{serviceOf(federation.TCP, s.query.Host), serviceOf(federation.UDP, s.query.Host)}
	if !s.tls {
		s.add(s.l.each(ctx, s.domain, append([]service{secure}, plain...)...))
		return
	}
	s.add(s.l.services(ctx, s.domain, secure))
	if s.done() {
		return
	}
	others := s.l.each(ctx, s.domain, plain...)
	if len(others.targets) > 0 {
		s.say("%s offers SIP without TLS only, and its security is not plain-ok", s.query.Host)
	}
	others.targets, others.failed = nil, nil
	s.add(others)
}

// impp asks for the services of "im" and "pres" URIs (RFC 3861, section 3).
// They do not say which transport is spoken.
func (s *sipSearch) impp(ctx context.Context, ways []way) {
	transports := make([]federation.Transport, len(ways))
	for i, w := range ways {
		transports[i] = w.transport
	}
	s.add(s.l.services(ctx, s.domain,
		service{"_im._sip." + s.query.Host, transports}, service{"_pres._sip." + s.query.Host, transports}))
}
