package trust

import "crypto/x509"

// NamesIn returns every name of a certificate that means something to us, as
// the certificate spells it, for the operator; none if it cannot be read.
func NamesIn(cert *x509.Certificate) []string {
	n, err := namesOf(cert)
	if err != nil {
		return nil
	}
	return n.all()
}
