// Package trusttest is a small certification authority for tests and the demo.
package trusttest

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// A CA issues certificates.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // for a ca_file
}

// NewCA returns an authority with a new key, valid for ten years around now.
func NewCA(name string) (*CA, error) { return nil, nil }

// Pool returns a pool that holds only this authority.
func (ca *CA) Pool() *x509.CertPool { return nil }

// Options say what a certificate holds. The zero value is one without names
// for the serverAuth usage, valid for a year.
type Options struct {
	CN        string
	DNS       []string           // dNSName, wildcards included
	SIPURI    []string           // whole URIs, "sip:example.com"
	SRVName   []string           // "_xmpp-server.example.com" (RFC 4985)
	XMPPAddr  []string           // id-on-xmppAddr (RFC 6120, section 13.7.1.4)
	NotBefore time.Time          // one hour ago
	NotAfter  time.Time          // one year after NotBefore
	Usage     []x509.ExtKeyUsage // serverAuth
	IsCA      bool               // an intermediate, or a bad leaf
}

// An Issued is a certificate with its key.
type Issued struct {
	TLS              tls.Certificate
	CertPEM, KeyPEM []byte
}

// Issue returns a certificate signed by the authority.
func (ca *CA) Issue(o Options) (*Issued, error) { return nil, nil }

// Files writes cert.pem, key.pem and ca.pem of the certificate into a directory.
func (ca *CA) Files(dir string, o Options) (cert, key, root string, err error) { return }
