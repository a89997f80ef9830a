package probe

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// A Report is what was seen of a domain. Its JSON is stable: fields are added,
// none is renamed, and lists that are empty are there.
type Report struct {
	Domain   string   `json:"domain"`
	Fine     bool     `json:"fine"`
	Fix      string   `json:"fix"`      // the first thing to fix, one sentence; "" if fine
	Security string   `json:"security"` // what the domain must show: required, dialback-ok, plain-ok
	DNS      []string `json:"dns"`      // what the DNS and the configuration say, a line each
	FromSIP  string   `json:"from_sip"` // the wire on which people who use SIP reach the domain, "" for none
	SIP      Wire     `json:"sip"`
	XMPP     Wire     `json:"xmpp"`
}

// A Wire is one protocol of the domain.
type Wire struct {
	Problem string   `json:"problem"` // why there are no targets
	Guessed bool     `json:"guessed"` // no record says that it is spoken; the domain has an address
	Used    int      `json:"used"`    // number of the first target that works, from 1; 0 for none
	Targets []Target `json:"targets"` // in the order in which they are tried

	wire   federation.Wire
	failed error // the DNS did not say
}

// A Target is one place to reach the domain at.
type Target struct {
	Host      string `json:"host"`
	Address   string `json:"address"`
	Transport string `json:"transport"` // udp, tcp, tls; for XMPP tcp is STARTTLS

	Works       bool         `json:"works"`
	Reached     bool         `json:"reached"`
	Fix         string       `json:"fix"`         // what to fix, one sentence; "" for nothing
	TLS         string       `json:"tls"`         // "1.3"; "" for none
	Cipher      string       `json:"cipher"`      // suite, by its name in the registry
	Certificate *Certificate `json:"certificate"` // null where none was seen
	Features    []string     `json:"features"`    // XMPP: EXTERNAL, dialback, bidi, sm, ...
	Answer      string       `json:"answer"`      // SIP: status and reason to OPTIONS
	Server      string       `json:"server"`      // SIP: its software, as it says
	Allow       []string     `json:"allow"`       // SIP: methods that it takes
	Accept      []string     `json:"accept"`      // SIP: bodies that it takes
}

// A Certificate is what a target shows.
type Certificate struct {
	Names    []string  `json:"names"`     // as it spells them
	Chain    []string  `json:"chain"`     // subject of each certificate shown, last the issuer of the last
	NotAfter time.Time `json:"not_after"` // of the first that ends
	Proves   bool      `json:"proves"`    // the domain, on this wire
	Failed   string    `json:"failed"`    // the check that it does not pass, "" for none
	Detail   string    `json:"detail"`
	Advice   string    `json:"advice"`
}

func newTarget(t federation.Target) Target {
	return Target{
		Host: t.Host, Address: t.Addr.String(), Transport: string(t.Transport),
		Features: []string{}, Allow: []string{}, Accept: []string{},
	}
}

// String names the target as the log does.
func (t *Target) String() string { return t.Host + " (" + t.Address + ", " + t.Transport + ")" }

// show takes what was seen of TLS.
func (t *Target) show(cs *tls.ConnectionState) {
	if cs == nil {
		return
	}
	t.TLS = strings.TrimPrefix(tls.VersionName(cs.Version), "TLS ")
	t.Cipher = tls.CipherSuiteName(cs.CipherSuite)
	if len(cs.PeerCertificates) == 0 {
		return
	}
	t.Certificate = &Certificate{Names: append([]string{}, trust.NamesIn(cs.PeerCertificates[0])...), Chain: []string{}}
	var last *x509.Certificate
	for _, c := range cs.PeerCertificates {
		if last == nil || c.NotAfter.Before(t.Certificate.NotAfter) {
			t.Certificate.NotAfter = c.NotAfter.UTC()
		}
		t.Certificate.Chain = append(t.Certificate.Chain, c.Subject.String())
		last = c
	}
	if issuer := last.Issuer.String(); !slices.Contains(t.Certificate.Chain, issuer) {
		t.Certificate.Chain = append(t.Certificate.Chain, issuer)
	}
}
