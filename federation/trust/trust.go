// Package trust answers whose certificate it is: RFC 5922 for SIP domains, RFC
// 6120 section 13.7 and RFC 9525 for XMPP domains, over RFC 5280 paths. It
// holds our own certificates and the roots for our peers, and makes the
// configurations of both ends of a TLS connection (RFC 9325).
//
// What we do differently:
//   - serverAuth alone will do at both ends (decision D-84): public authorities
//     issue no clientAuth any more.
//   - The handshake of a server never fails for a bad client certificate: the
//     wire asks [Store.Verify] and decides, because dialback or an address may
//     be proof enough for this peer (decision D-73).
//   - A home domain's configured SIP server speaks for the domain with a
//     certificate that names the server only (decision D-72).
//   - Revocation is not checked (decision D-89).
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
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
	Log *slog.Logger     // reloads, good and bad; slog.DiscardHandler
}

// A Store holds our certificates and whom we trust. It is safe for use by many
// goroutines and has none of its own.
type Store struct{ cfg Config }

// New reads all files that cfg names; an error says which one is bad and why.
func New(cfg Config) (*Store, error) { return &Store{cfg: cfg}, nil }

// Client returns the configuration for a connection that we open, on behalf of
// our domain from, to domain to: SNI is to (RFC 5922, section 7.8; XEP-0368),
// and our certificate for from is shown when asked for. If the security of to
// is "required" the handshake itself fails with the error of Verify; otherwise
// the wire asks Verify what the connection has proved.
func (s *Store) Client(w federation.Wire, from, to string, alpn ...string) *tls.Config { return nil }

// Server returns the configuration for connections that we accept. The peer is
// asked for a certificate and may come without (RFC 5922, section 7.4).
func (s *Store) Server(w federation.Wire) *tls.Config { return nil }

// Verify reports whether the peer's certificate is valid now and proves
// domain on a wire. The error, of kind Timeout, tells the sender in general
// and the operator in detail what is wrong.
func (s *Store) Verify(w federation.Wire, cs tls.ConnectionState, domain string) error {
	return fault.E(fault.Internal, "not built")
}

// Names returns all domains that the peer's certificate proves on a wire, in
// the spelling of [federation.Domain]. A wildcard proves no single name and is
// left out: ask Verify for the one that the peer claims.
func (s *Store) Names(w federation.Wire, cs tls.ConnectionState) ([]string, error) { return nil, nil }

// An Expiry is when a certificate of ours ends, for metrics and warnings.
type Expiry struct {
	Names    []string // as the certificate has them
	File     string   // "" if it came from memory
	NotAfter time.Time
}

// Expiry returns the ends of our certificates, in the order of the
// configuration.
func (s *Store) Expiry() []Expiry { return nil }
