package trust

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

// A Check is one of the questions that a certificate must answer.
type Check string

const (
	Shown     Check = "certificate shown"
	Readable  Check = "certificate readable"
	Validity  Check = "validity"
	Authority Check = "authority"
	Usage     Check = "usage"
	Name      Check = "name"
)

// A Problem is why a certificate does not prove a domain, for the operator. It
// is the cause of the fault that [Store.Verify] returns.
type Problem struct {
	Check    Check
	Wire     federation.Wire
	Domain   string    // what the peer should have proved
	Names    []string  // what the certificate names, as it spells it
	Issuer   string    // who issued it
	NotAfter time.Time // when it ends
	Detail   string    // what is wrong
	Advice   string    // what to change, and who has to
}

// Error says what is wrong and what to change.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s certificate of %s: %s (%s)", p.Wire, p.Domain, p.Detail, p.Advice)
}

// texts are what the sender may read.
var texts = map[Check]string{
	Shown:     "domain cannot be authenticated: it shows no certificate",
	Readable:  "domain cannot be authenticated: its certificate is broken",
	Validity:  "domain cannot be authenticated: its certificate is not valid now",
	Authority: "domain cannot be authenticated: its certificate is from no authority that we trust for it",
	Usage:     "domain cannot be authenticated: its certificate is for another use",
	Name:      "domain cannot be authenticated: its certificate is for another name",
}

// Verify reports whether the peer's certificate is valid now and proves domain
// on a wire. The error is a fault of kind Timeout, as that of any domain that
// is not reached now (XF-07), and a [Problem] is its cause.
func (s *Store) Verify(w federation.Wire, cs tls.ConnectionState, domain string) error {
	return s.verify(w, cs, domain, bothEnds...)
}

// verify is Verify for a certificate with one of some usages.
func (s *Store) verify(w federation.Wire, cs tls.ConnectionState, domain string, usages ...x509.ExtKeyUsage) error {
	d, err := federation.Domain(domain)
	if err != nil {
		return err
	}
	roots, err := s.rootsFor(d)
	if err != nil {
		return err
	}
	p := &Problem{Wire: w, Domain: d}
	n, err := s.path(p, cs, roots, usages)
	if err != nil {
		return err
	}
	wild := slices.ContainsFunc(n.dns, func(pattern string) bool { return wildcard(pattern, d) })
	if s.proves(w, n.domains(w), d) || wild && w == federation.XMPP {
		return nil
	}
	p.Detail = "it names " + cmp.Or(strings.Join(p.Names, ", "), "nobody")
	p.Advice = "the peer needs one that names " + d
	switch {
	case wild:
		p.Advice += "; wildcards do not count for SIP (RFC 5922, section 7.2)"
	case n.limited:
		p.Advice += " as dNSName: its authority is limited to some names"
	}
	return p.fault(Name)
}

// Names returns all domains that the peer's certificate proves on a wire, in
// the spelling of [federation.Domain], each under the roots that count for it.
// A wildcard proves no single name and is left out: ask Verify for the one that
// the peer claims. If none is proved, the error is that of the first.
func (s *Store) Names(w federation.Wire, cs tls.ConnectionState) ([]string, error) {
	type result struct {
		named []string
		err   error
	}
	paths := make(map[*x509.CertPool]result) // many names, few roots
	var proved []string
	var first error
	for _, d := range s.candidates(w, cs) {
		roots, err := s.rootsFor(d)
		if err != nil {
			first = cmp.Or(first, err)
			continue
		}
		r, ok := paths[roots]
		if !ok {
			n, err := s.path(&Problem{Wire: w, Domain: d}, cs, roots, bothEnds)
			r = result{n.domains(w), err}
			paths[roots] = r
		}
		if r.err == nil && s.proves(w, r.named, d) {
			proved = append(proved, d)
		}
		first = cmp.Or(first, r.err)
	}
	switch {
	case len(proved) > 0:
		return proved, nil
	case first != nil:
		return nil, first
	}
	// Without a candidate, say what is wrong with a path to nobody.
	p := &Problem{Wire: w, Domain: "the peer"}
	if _, err := s.path(p, cs, s.roots.get(s.cfg), bothEnds); err != nil {
		return nil, err
	}
	p.Detail, p.Advice = "it names "+cmp.Or(strings.Join(p.Names, ", "), "nobody"), "the peer needs one that names its domain"
	return nil, p.fault(Name)
}

// bothEnds are the usages of a certificate whose end we do not know (D-84).
var bothEnds = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// candidates returns the domains that a certificate would prove if it is good,
// homes by their server's name included.
func (s *Store) candidates(w federation.Wire, cs tls.ConnectionState) []string {
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	n, err := namesOf(cs.PeerCertificates[0])
	if err != nil {
		return nil // path will say so
	}
	list := n.domains(w)
	if s.cfg.Book == nil {
		return list
	}
	for _, h := range s.cfg.Book.Homes() {
		if s.proves(w, list, h.Domain) && !slices.Contains(list, h.Domain) {
			list = append(list, h.Domain)
		}
	}
	return list
}

// proves reports whether one of the names of a certificate, wildcards apart, is
// the domain or speaks for it.
func (s *Store) proves(w federation.Wire, named []string, domain string) bool {
	return slices.Contains(named, domain) || slices.Contains(named, s.serverOf(w, domain))
}

// serverOf returns the host that the operator has named as the SIP server of a
// home domain, and "" if there is none (D-72).
func (s *Store) serverOf(w federation.Wire, domain string) string {
	if w != federation.SIP || s.cfg.Book == nil {
		return ""
	}
	h, ok := s.cfg.Book.Home(domain)
	if !ok || h.Users != federation.SIP || h.Server == "" {
		return ""
	}
	q, err := locate.ParseSIP(h.Server)
	if err != nil {
		return ""
	}
	host, err := federation.Domain(q.Host)
	if err != nil {
		return ""
	}
	return host
}

// path checks what does not depend on the name: that there is a certificate,
// that it can be read, is valid now, may be used for this and comes from one of
// roots (RFC 5280, section 6). It returns the names that count.
func (s *Store) path(p *Problem, cs tls.ConnectionState, roots *x509.CertPool, usages []x509.ExtKeyUsage) (names, error) {
	if len(cs.PeerCertificates) == 0 {
		return names{}, p.fault(Shown)
	}
	leaf := *cs.PeerCertificates[0] // a copy: crypto/tls shares it between connections
	p.Issuer, p.NotAfter = leaf.Issuer.String(), leaf.NotAfter
	n, err := namesOf(&leaf)
	if err != nil {
		p.Detail = err.Error()
		return n, p.fault(Readable)
	}
	p.Names = n.all()
	// crypto/x509 finds nothing in a critical subjectAltName of other names
	// only; we do.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidSubjectAltName.Equal)
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: s.cfg.Now(), KeyUsages: usages})
	if err != nil {
		return n, p.explain(&leaf, err)
	}
	pinned := slices.ContainsFunc(chains, func(c []*x509.Certificate) bool { return len(c) == 1 })
	if leaf.IsCA && !pinned {
		p.Detail = "it is the certificate of an authority (cA is TRUE)"
		p.Advice = "the peer needs one for a server, or name this one in ca_file under peers: " + p.Domain
		return n, p.fault(Usage)
	}
	if !slices.ContainsFunc(chains, unconstrained) {
		return names{dns: n.dns, limited: true}, nil
	}
	return n, nil
}

// unconstrained reports that no authority in a chain is limited to some DNS
// names.
func unconstrained(chain []*x509.Certificate) bool {
	return !slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool {
		return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains) > 0
	})
}

// explain turns an error of crypto/x509 into a problem.
func (p *Problem) explain(leaf *x509.Certificate, err error) error {
	p.Detail = err.Error()
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case invalid.Cert != nil && invalid.Reason == x509.Expired:
		c := invalid.Cert
		p.Detail = fmt.Sprintf("%q is valid from %s to %s only", c.Subject, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
		p.Advice = "the peer has to renew it; if it is not over, our clock is wrong"
		return p.fault(Validity)
	case invalid.Cert != nil && invalid.Reason == x509.CANotAuthorizedForThisName:
		p.Detail = "its authority may not issue for one of its names: " + invalid.Detail
		p.Advice = "the peer needs another one"
		return p.fault(Authority)
	case invalid.Cert != nil && invalid.Reason == x509.IncompatibleUsage:
		p.Detail = "its extended key usage allows no TLS server"
		p.Advice = "the peer needs one with serverAuth"
		return p.fault(Usage)
	}
	if string(leaf.RawIssuer) == string(leaf.RawSubject) {
		p.Detail = "it is self-signed"
	} else if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		p.Detail = fmt.Sprintf("it was issued by %q, whom we do not know, or the peer leaves out part of its chain", p.Issuer)
	}
	p.Advice = "if the peer is right, name its authority in ca_file under peers: " + p.Domain
	return p.fault(Authority)
}

// fault returns the problem as an error with what may be told to the sender.
func (p *Problem) fault(c Check) error {
	p.Check = c
	switch c {
	case Shown:
		p.Detail, p.Advice = "none was shown", "the peer has to show one, or its security must be lower than required"
	case Readable:
		p.Advice = "the peer needs another one"
	}
	return fault.Wrap(fault.Timeout, p, "%s", texts[c])
}
