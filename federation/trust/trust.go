// Package trust answers whose certificate it is: RFC 5922 for SIP domains, RFC
// 6120 section 13.7 and RFC 9525 for XMPP domains, over the paths of RFC 5280.
// It holds our own certificates and the roots for our peers, and makes the
// configurations of both ends of a TLS connection (RFC 9325).
//
// What we do differently:
//   - serverAuth alone will do at both ends (decision D-84): public authorities
//     issue no clientAuth any more. Neither has to be there for a client.
//   - The handshake of a server never fails for a bad client certificate: the
//     wire asks [Store.Verify] and decides, because dialback or an address may
//     be proof enough for this peer (decision D-73).
//   - A home domain's configured SIP server speaks for the domain with a
//     certificate that names the server only (decision D-72).
//   - A certificate that says it is an authority is refused (RFC 6120, section
//     13.7.1.1, rule 2), unless it stands in the peer's ca_file itself.
//   - Below an authority that is constrained to some DNS names (RFC 5280,
//     section 4.2.1.10) only dNSNames count: crypto/x509 does not hold SRVName,
//     XmppAddr and common name against the constraint, and refuses any
//     certificate with a "sip" URI there.
//   - Revocation is not checked (decision D-89).
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// ALPN is the protocol name of direct TLS between XMPP servers (XEP-0368,
// section 3).
const ALPN = "xmpp-server"

// A Pair names the files of one certificate of ours.
type Pair struct {
	Cert string // PEM, leaf first, then its chain
	Key  string // PEM
}

// A Config is what a [Store] is made of. Files are read again when they
// change.
type Config struct {
	Pairs  []Pair
	Certs  []tls.Certificate // besides Pairs, for those who hold them in memory
	CAFile string            // roots besides the system's, PEM
	Roots  *x509.CertPool    // instead of the system's; nil: the system's
	Book   federation.Book   // CAFile and Security per peer; nil: TLS is required of all

	Now func() time.Time // time.Now
	Log *slog.Logger     // reloads, good and bad, and what expires soon; discarded
}

// A Store holds our certificates and whom we trust. It is safe for use by many
// goroutines and has none of its own.
type Store struct {
	cfg   Config
	certs *watched[[]own]
	roots *watched[*x509.CertPool]

	mu    sync.Mutex
	peers map[string]*watched[*x509.CertPool] // by CAFile
}

// New reads all files that cfg names; an error says which one is bad and why.
func New(cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Roots == nil {
		system, err := x509.SystemCertPool()
		if err != nil {
			return nil, fault.Wrap(fault.Internal, err, "roots of the system")
		}
		cfg.Roots = system
	}
	s := &Store{cfg: cfg, peers: make(map[string]*watched[*x509.CertPool])}
	var files []string
	for _, p := range cfg.Pairs {
		files = append(files, p.Cert, p.Key)
	}
	s.certs = s.watchCerts(files)
	s.roots = &watched[*x509.CertPool]{load: func() (*x509.CertPool, error) { return cfg.Roots, nil }}
	if cfg.CAFile != "" {
		s.roots = watchRoots(cfg.CAFile, cfg.Roots)
	}
	if err := s.certs.first(); err != nil {
		return nil, err
	}
	return s, s.roots.first()
}

// Client returns the configuration for a connection that we open, on behalf of
// our domain from, to domain to: SNI is to (RFC 5922, section 7.8; XEP-0368,
// section 3), and our certificate for from is shown when asked for. If the
// security of to is "required" the handshake itself fails with the error of
// Verify; otherwise the wire asks Verify what the connection has proved.
func (s *Store) Client(w federation.Wire, from, to string, alpn ...string) *tls.Config {
	if d, err := federation.Domain(to); err == nil {
		to = d
	}
	return &tls.Config{
		ServerName: to,
		MinVersion: tls.VersionTLS12,
		NextProtos: alpn,
		GetClientCertificate: func(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := s.choose(w, from, cri.SupportsCertificate); c != nil {
				return c, nil
			}
			return new(tls.Certificate), nil // we have none: go without
		},
		// crypto/tls knows neither the names of SIP and XMPP domains nor the
		// roots of this peer: the next field does what this one turns off.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if s.rules(to).Security != federation.Required {
				return nil
			}
			return s.verify(w, cs, to, x509.ExtKeyUsageServerAuth)
		},
		Time: s.cfg.Now,
	}
}

// Server returns the configuration for connections that we accept. The peer is
// asked for a certificate and may come without (RFC 5922, section 7.4).
func (s *Store) Server(w federation.Wire) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.choose(w, chi.ServerName, chi.SupportsCertificate); c != nil {
				return c, nil
			}
			return nil, fault.E(fault.Internal, "we have no certificate: name one under tls: in the configuration")
		},
		Time: s.cfg.Now,
	}
	if w == federation.XMPP {
		cfg.NextProtos = []string{ALPN}
	}
	return cfg
}

// An Expiry is when a certificate of ours ends, for metrics and warnings.
type Expiry struct {
	Names    []string // as the certificate has them
	File     string   // "" if it came from memory
	NotAfter time.Time
}

// Expiry returns the ends of our certificates, in the order of the
// configuration.
func (s *Store) Expiry() []Expiry {
	var list []Expiry
	for _, c := range s.certs.get(s.cfg) {
		list = append(list, Expiry{Names: c.names.all(), File: c.file, NotAfter: c.tls.Leaf.NotAfter})
	}
	return list
}

// rules returns what the operator says about a domain.
func (s *Store) rules(domain string) federation.Rules {
	if s.cfg.Book == nil {
		return federation.Rules{Allow: true}
	}
	return s.cfg.Book.Rules(domain)
}
