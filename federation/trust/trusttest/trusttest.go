// Package trusttest is a small certification authority for tests and the demo.
// It writes the names of RFC 5922, RFC 4985 and RFC 6120, section 13.7.1.4,
// that crypto/x509 has no fields for, and as easily the certificates that must
// be refused.
package trusttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// A CA issues certificates.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte // for a ca_file

	key   *ecdsa.PrivateKey
	chain [][]byte // what a leaf must show besides itself
}

// NewCA returns an authority with a new key, valid for ten years around now.
func NewCA(name string) (*CA, error) {
	tmpl, key, err := template(Options{CN: name, IsCA: true, NotBefore: time.Now().AddDate(-5, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0)})
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, PEM: certPEM(der), key: key}, nil
}

// Pool returns a pool that holds only this authority.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// Options say what a certificate holds. The zero value is one without names
// for the serverAuth usage, valid for a year.
type Options struct {
	CN        string
	DNS       []string           // dNSName, wildcards included
	SIPURI    []string           // whole URIs, "sip:example.com" (RFC 5922, section 7.1)
	SRVName   []string           // "_xmpp-server.example.com" (RFC 4985)
	XMPPAddr  []string           // id-on-xmppAddr (RFC 6120, section 13.7.1.4)
	NotBefore time.Time          // one hour ago
	NotAfter  time.Time          // one year after NotBefore
	Usage     []x509.ExtKeyUsage // serverAuth
	IsCA      bool               // says that it is an authority
	Critical  bool               // the names must be understood
	Permitted []string           // DNS names that an authority may issue for (RFC 5280, section 4.2.1.10)
}

// An Issued is a certificate with its key.
type Issued struct {
	TLS             tls.Certificate
	CertPEM, KeyPEM []byte // leaf and chain; PKCS #8
}

// Issue returns a certificate signed by the authority.
func (ca *CA) Issue(o Options) (*Issued, error) {
	tmpl, key, err := template(o)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	is := &Issued{KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}
	for _, c := range append([][]byte{der}, ca.chain...) {
		is.CertPEM = append(is.CertPEM, certPEM(c)...)
	}
	is.TLS, err = tls.X509KeyPair(is.CertPEM, is.KeyPEM)
	return is, err
}

// Sub returns an intermediate authority, whose certificates bring it along.
func (ca *CA) Sub(o Options) (*CA, error) {
	o.IsCA = true
	is, err := ca.Issue(o)
	if err != nil {
		return nil, err
	}
	key, _ := is.TLS.PrivateKey.(*ecdsa.PrivateKey)
	return &CA{Cert: is.TLS.Leaf, PEM: certPEM(is.TLS.Leaf.Raw), key: key, chain: is.TLS.Certificate}, nil
}

// Files issues a certificate and writes it, its key and the authority into a
// directory, as an operator would have them.
func (ca *CA) Files(dir string, o Options) (cert, key, root string, err error) {
	is, err := ca.Issue(o)
	if err != nil {
		return "", "", "", err
	}
	cert, key, root = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")
	for file, data := range map[string][]byte{cert: is.CertPEM, key: is.KeyPEM, root: ca.PEM} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", "", "", err
		}
	}
	return cert, key, root, nil
}

// template returns the unsigned certificate and its key.
func template(o Options) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = time.Now().Add(-time.Hour)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = o.NotBefore.AddDate(1, 0, 0)
	}
	if o.Usage == nil && !o.IsCA {
		o.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: o.CN, Organization: []string{"cpimgate test"}},
		NotBefore: o.NotBefore, NotAfter: o.NotAfter, ExtKeyUsage: o.Usage,
		KeyUsage: x509.KeyUsageDigitalSignature, IsCA: o.IsCA, BasicConstraintsValid: true,
		PermittedDNSDomains: o.Permitted, PermittedDNSDomainsCritical: len(o.Permitted) > 0,
	}
	if o.IsCA {
		tmpl.KeyUsage |= x509.KeyUsageCertSign
	}
	san, err := subjectAltName(o)
	if san.Value != nil {
		tmpl.ExtraExtensions = []pkix.Extension{san}
	}
	return tmpl, key, err
}

// The tags of GeneralName (RFC 5280, section 4.2.1.6).
const (
	otherName = 0
	dNSName   = 2
	uniformID = 6
)

// subjectAltName returns the extension with all names of o, and one without
// Value if there are none.
func subjectAltName(o Options) (pkix.Extension, error) {
	var names []asn1.RawValue
	plain := func(tag int, list []string) {
		for _, s := range list {
			names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(s)})
		}
	}
	plain(dNSName, o.DNS)
	plain(uniformID, o.SIPURI)
	for _, s := range o.SRVName {
		names = append(names, other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}, asn1.TagIA5String, s))
	}
	for _, s := range o.XMPPAddr {
		names = append(names, other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}, asn1.TagUTF8String, s))
	}
	if len(names) == 0 {
		return pkix.Extension{}, nil
	}
	der, err := asn1.Marshal(names)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: o.Critical, Value: der}, err
}

// other returns an otherName: an identifier and an explicitly tagged string.
// Neither Marshal can fail: the values are ours.
func other(id asn1.ObjectIdentifier, tag int, s string) asn1.RawValue {
	oid, _ := asn1.Marshal(id)
	str, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: tag, Bytes: []byte(s)})
	val, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: str})
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: otherName, IsCompound: true, Bytes: append(oid, val...)}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
