package peers

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"cpimgate/federation/trust/trusttest"
)

// A CA is a certificate authority with its files in the PEM form that every
// peer reads.
type CA struct {
	File string // its own certificate

	t     testing.TB
	name  string
	ca    *trusttest.CA
	alter func(*trusttest.Options)
	alone bool // each certificate signs itself
}

// NewCA returns an authority whose file is dir/name.pem.
func NewCA(t testing.TB, dir, name string) *CA {
	t.Helper()
	ca, err := trusttest.NewCA(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &CA{File: filepath.Join(dir, name+".pem"), t: t, name: name, ca: ca}
	c.file(c.File, ca.PEM)
	return c
}

// With returns the same authority, but what it says in its certificates is
// altered: another validity, other names.
func (c *CA) With(alter func(*trusttest.Options)) *CA {
	d := *c
	d.name += "-altered"
	d.alter = alter
	return &d
}

// Alone returns nobody: certificates that sign themselves.
func (c *CA) Alone() *CA {
	d := *c
	d.name += "-alone"
	d.alone = true
	return &d
}

// selfSign replaces the signature of a certificate by its own.
func selfSign(is *trusttest.Issued) error {
	key, _ := is.TLS.PrivateKey.(*ecdsa.PrivateKey) // all of ours are
	leaf := *is.TLS.Leaf
	leaf.Issuer, leaf.AuthorityKeyId, leaf.SignatureAlgorithm = leaf.Subject, nil, x509.ECDSAWithSHA256
	der, err := x509.CreateCertificate(rand.Reader, &leaf, &leaf, key.Public(), key)
	is.CertPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return err
}

// Issue writes a certificate for domains, and its key, beside the authority's
// own, and returns both paths. It names each domain as a DNS name and as a SIP
// URI (RFC 5922, section 7.1). It is good for both ends of a connection:
// Kamailio refuses clients whose certificate is for servers only.
func (c *CA) Issue(domains ...string) (certFile, keyFile string) {
	c.t.Helper()
	o := trusttest.Options{
		CN: domains[0], DNS: domains,
		Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, d := range domains {
		o.SIPURI = append(o.SIPURI, "sip:"+d)
	}
	if c.alter != nil {
		c.alter(&o)
	}
	is, err := c.ca.Issue(o)
	if err == nil && c.alone {
		err = selfSign(is)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	base := filepath.Join(filepath.Dir(c.File), c.name+"-"+domains[0])
	c.file(base+".crt", is.CertPEM)
	c.file(base+".key", is.KeyPEM)
	return base + ".crt", base + ".key"
}

func (c *CA) file(path string, pem []byte) {
	c.t.Helper()
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		c.t.Fatal(err)
	}
}
