package mapping

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
)

// names converts between A-labels and U-labels as a lookup does (RFC 5891,
// section 5), with the length limits of the DNS.
var names = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.StrictDomainName(true),
	idna.VerifyDNSLength(true),
)

// domainToXMPP returns the domainpart for the host of a URI: U-labels, lower
// case, no final dot, or an address literal in its canonical form (RFC 7622,
// section 3.2).
func domainToXMPP(host string) (string, error) {
	if xep.IsPlain("", host, "") {
		return host, nil
	}
	if ip, ok := literal(host); ok {
		return ip, nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !hostname(host) {
		return "", fault.E(fault.NotFound, "domain has no XMPP form")
	}
	domain, err := names.ToUnicode(host)
	if err != nil {
		return "", fault.Wrap(fault.NotFound, err, "domain has no XMPP form")
	}
	if _, err := names.ToASCII(domain); err != nil { // the lengths
		return "", fault.Wrap(fault.NotFound, err, "domain has no XMPP form")
	}
	return domain, nil
}

// domainToSIP undoes domainToXMPP: A-labels, or an address literal.
func domainToSIP(domain string) (string, error) {
	if xep.IsPlain("", domain, "") {
		return domain, nil
	}
	if ip, ok := literal(domain); ok {
		return ip, nil
	}
	host, err := names.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		return "", fault.Wrap(fault.NotFound, err, "domain has no SIP form")
	}
	if !hostname(host) {
		return "", fault.E(fault.NotFound, "domain has no SIP form")
	}
	return host, nil
}

// literal returns the canonical form of an IPv4 address, or of an IPv6 address
// in brackets. A zone, or an IPv4 address mapped to IPv6, makes no JID later.
func literal(host string) (string, bool) {
	if in, ok := strings.CutPrefix(host, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		ip, err := netip.ParseAddr(in)
		if !ok || err != nil || !ip.Is6() {
			return "", false
		}
		return "[" + ip.String() + "]", true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return "", false
	}
	return ip.String(), true
}

// hostname reports whether s is a hostname of RFC 3261, section 25.1, without
// final dot. Its last label starts with a letter: a number there would be a
// broken address literal.
func hostname(s string) bool {
	label := ""
	for label = range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !alphanum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return label[0] < '0' || label[0] > '9'
}
