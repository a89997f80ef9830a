package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A CA is a certificate authority with its files in the PEM form that every
// peer reads.
type CA struct {
	File string // its own certificate

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA returns an authority whose file is dir/name.pem.
func NewCA(t testing.TB, dir, name string) *CA {
	t.Helper()
	ca := &CA{File: filepath.Join(dir, name+".pem"), t: t, key: newKey(t)}
	tmpl := template(pkix.Name{CommonName: name})
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der := ca.sign(tmpl, tmpl, &ca.key.PublicKey)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca.cert = cert
	writePEM(t, ca.File, "CERTIFICATE", der)
	return ca
}

// Issue writes a certificate for domains, and its key, beside the authority's
// own, and returns both paths. It names each domain as a DNS name and as a SIP
// URI (RFC 5922, section 7.1), and is good for both ends of a connection.
func (ca *CA) Issue(domains ...string) (certFile, keyFile string) {
	ca.t.Helper()
	key := newKey(ca.t)
	tmpl := template(pkix.Name{CommonName: domains[0]})
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	tmpl.DNSNames = domains
	for _, d := range domains {
		tmpl.URIs = append(tmpl.URIs, &url.URL{Scheme: "sip", Opaque: d})
	}
	base := filepath.Join(filepath.Dir(ca.File), ca.cert.Subject.CommonName+"-"+domains[0])
	writePEM(ca.t, base+".crt", "CERTIFICATE", ca.sign(tmpl, ca.cert, &key.PublicKey))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	writePEM(ca.t, base+".key", "PRIVATE KEY", der)
	return base + ".crt", base + ".key"
}

// template returns what all our certificates share.
func template(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // crypto/rand does not fail
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func (ca *CA) sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey) []byte {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return der
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}
