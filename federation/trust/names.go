package trust

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"slices"
	"strings"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// maxNames is how many names of one certificate we read; more is no server's
// certificate.
const maxNames = 1000

// The object identifiers that we read.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidSRVName        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // RFC 4985
	oidXMPPAddr       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120, section 13.7.1.4
)

// The tags of GeneralName that we read (RFC 5280, section 4.2.1.6).
const (
	tagOther = 0
	tagDNS   = 2
	tagURI   = 6
)

// names are the names that a certificate holds, as it spells them.
type names struct {
	dns  []string // dNSName, wildcards included
	uri  []string // uniformResourceIdentifier
	srv  []string // SRVName
	xmpp []string // id-on-xmppAddr
	cn   string   // only if there is no subjectAltName at all

	limited bool // an authority may not issue for all names: only dns is left
}

// namesOf reads the names of a certificate.
func namesOf(cert *x509.Certificate) (names, error) {
	i := slices.IndexFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
	if i < 0 {
		return names{cn: cert.Subject.CommonName}, nil
	}
	return parseSAN(cert.Extensions[i].Value)
}

// parseSAN reads the value of a subjectAltName extension, GeneralNames of RFC
// 5280, section 4.2.1.6. Kinds of names that we have no use for are passed
// over.
func parseSAN(der []byte) (names, error) {
	var n names
	var seq asn1.RawValue
	rest, err := asn1.Unmarshal(der, &seq)
	if err != nil || len(rest) > 0 || seq.Class != asn1.ClassUniversal || seq.Tag != asn1.TagSequence || !seq.IsCompound {
		return n, fault.Wrap(fault.Malformed, err, "subjectAltName is no sequence of names")
	}
	rest = seq.Bytes
	for range maxNames {
		if len(rest) == 0 {
			return n, nil
		}
		var v asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return n, fault.Wrap(fault.Malformed, err, "name in subjectAltName")
		}
		if v.Class != asn1.ClassContextSpecific {
			return n, fault.E(fault.Malformed, "subjectAltName holds something that is no name")
		}
		switch v.Tag {
		case tagDNS:
			n.dns = append(n.dns, string(v.Bytes))
		case tagURI:
			n.uri = append(n.uri, string(v.Bytes))
		case tagOther:
			if err := n.other(v.Bytes); err != nil {
				return n, err
			}
		}
	}
	return n, fault.E(fault.TooLarge, "certificate with over %d names", maxNames)
}

// other reads an otherName: an identifier, and a value under the explicit tag
// 0 whose type the identifier says.
func (n *names) other(der []byte) error {
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(der, &id)
	if err != nil {
		return fault.Wrap(fault.Malformed, err, "otherName in subjectAltName")
	}
	list, tag := &n.srv, asn1.TagIA5String
	switch {
	case id.Equal(oidSRVName):
	case id.Equal(oidXMPPAddr):
		list, tag = &n.xmpp, asn1.TagUTF8String
	default:
		return nil
	}
	var outer, inner asn1.RawValue
	rest, err = asn1.Unmarshal(rest, &outer)
	if err == nil && (len(rest) > 0 || outer.Class != asn1.ClassContextSpecific || outer.Tag != 0) {
		err = errors.New("value is not tagged with 0")
	}
	if err == nil {
		rest, err = asn1.Unmarshal(outer.Bytes, &inner)
	}
	if err == nil && (len(rest) > 0 || inner.Class != asn1.ClassUniversal || inner.Tag != tag) {
		err = errors.New("value has another type")
	}
	if err != nil {
		return fault.Wrap(fault.Malformed, err, "otherName in subjectAltName")
	}
	*list = append(*list, string(inner.Bytes))
	return nil
}

// all returns every name as the certificate spells it, for the operator.
func (n names) all() []string {
	list := slices.Concat(n.dns, n.uri, n.srv, n.xmpp)
	if n.cn != "" {
		list = append(list, n.cn+" (common name)")
	}
	return list
}

// domains returns the domains that a certificate with these names is for, in
// the spelling of [federation.Domain], wildcards left out.
func (n names) domains(w federation.Wire) []string {
	if w == federation.SIP {
		return n.sip()
	}
	return n.server()
}

// sip returns the SIP domain identities (RFC 5922, section 7.1).
func (n names) sip() (list []string) {
	for _, u := range n.uri {
		list = appendDomain(list, sipHost(u))
	}
	if len(list) > 0 {
		return list
	}
	for _, d := range n.dns {
		list = appendDomain(list, d)
	}
	return appendDomain(list, n.cn)
}

// server returns the domains of an XMPP server (RFC 6120, section
// 13.7.1.2.1).
func (n names) server() (list []string) {
	for _, d := range n.dns {
		list = appendDomain(list, d)
	}
	for _, s := range n.srv {
		if service, domain, _ := strings.Cut(s, "."); strings.EqualFold(service, "_xmpp-server") {
			list = appendDomain(list, domain)
		}
	}
	for _, x := range n.xmpp {
		list = appendDomain(list, x)
	}
	return list
}

// appendDomain adds a name if it is a domain: what has a user, a resource or a
// wildcard is none.
func appendDomain(list []string, name string) []string {
	d, err := federation.Domain(name)
	if err != nil || slices.Contains(list, d) {
		return list
	}
	return append(list, d)
}

// sipHost returns the host of a "sip" URI, and "" for other schemes and for
// the URI of a user (RFC 5922, section 7.1).
func sipHost(uri string) string {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || !strings.EqualFold(scheme, "sip") || strings.Contains(rest, "@") {
		return ""
	}
	if i := strings.IndexAny(rest, ";?"); i >= 0 {
		rest = rest[:i]
	}
	if host, _, err := net.SplitHostPort(rest); err == nil {
		return host
	}
	return rest
}

// wildcard reports whether a dNSName of the form "*.rest" stands for domain:
// for one label more than rest, no deeper (RFC 9525).
func wildcard(pattern, domain string) bool {
	rest, ok := strings.CutPrefix(pattern, "*.")
	if !ok {
		return false
	}
	_, parent, ok := strings.Cut(domain, ".")
	d, err := federation.Domain(rest)
	return ok && err == nil && d == parent
}
