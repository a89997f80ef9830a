package mapping

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
)

// MaxURI is the length in octets of the longest URI that we read. The longest
// that we write has a user and a "gr" of 1023 octets each, percent-encoded.
const MaxURI = 8192

// ParseURI reads a sip, sips, im, pres or tel URI by its grammar (RFC 3261,
// section 25.1; RFC 3860, appendix A.2; RFC 3859, appendix A.2; RFC 3966,
// section 3). Headers, which say what to write and not to whom, are left out.
// Of an im or pres URI, user and host become those of the result; a tel URI is
// kept whole, as sipgo keeps it (see [TelToSIP]).
func ParseURI(text string) (sip.Uri, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || len(text) > MaxURI {
		return sip.Uri{}, fault.E(fault.Malformed, "address is no URI")
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "sip", "sips":
		u, err := sipx.ParseURI(readable(text))
		if err == nil && u.HierarhicalSlashes {
			err = errSlashes
		}
		return u, err
	case "tel":
		if _, err := subscriberOf(rest); err != nil {
			return sip.Uri{}, err
		}
		return sipx.ParseURI(text)
	case "im", "pres":
		return parseInbox(scheme, rest)
	}
	return sip.Uri{}, fault.E(fault.Unsupported, "address has an unknown scheme")
}

// readable returns a SIP URI without its headers, which start at the first
// question mark that is not in the user, and with brackets in parameters
// encoded: where there is no user, sipgo takes them for the host.
func readable(text string) string {
	host := strings.IndexByte(text, '@') + 1
	if i := strings.IndexByte(text[host:], '?'); i >= 0 {
		text = text[:host+i]
	}
	if i := strings.IndexByte(text[host:], ';'); i >= 0 {
		params := strings.ReplaceAll(text[host+i:], "[", "%5B")
		text = text[:host+i] + strings.ReplaceAll(params, "]", "%5D")
	}
	return text
}

// sip://u@h is the user //u in the grammar, and u to sipgo and others.
var errSlashes = fault.E(fault.Malformed, "address starts with slashes")

// parseInbox reads what follows the scheme of an im or pres URI: a mailbox, and
// headers that say nothing about whose it is.
func parseInbox(scheme, s string) (sip.Uri, error) {
	s, _, _ = strings.Cut(s, "?")
	user, host, ok := strings.Cut(s, "@")
	if !ok || user == "" {
		return sip.Uri{}, fault.E(fault.Malformed, "address has no user")
	}
	if _, err := unpercent(user, inboxInput); err != nil {
		return sip.Uri{}, err
	}
	if _, number := literal(host); !number && !hostname(strings.TrimSuffix(host, ".")) {
		return sip.Uri{}, fault.E(fault.Malformed, "host of address is no host name")
	}
	return sip.Uri{Scheme: scheme, User: user, Host: host}, nil
}

// structured returns a URI whose user and host are in their fields: sipgo leaves
// those of an im or pres URI in the text.
func structured(u sip.Uri) (sip.Uri, error) {
	if u.Raw() == "" {
		return u, nil
	}
	parsed, err := ParseURI(u.String())
	if err == nil && parsed.Raw() != "" {
		err = fault.E(fault.NotFound, "telephone numbers have no domain here")
	}
	return parsed, err
}

// userOf returns the user of a URI as its owner spells it, without the
// separators of a telephone number. A URI without user names a domain.
func userOf(u sip.Uri) (string, error) {
	literal := userMarks
	if u.HierarhicalSlashes {
		return "", errSlashes
	}
	switch strings.ToLower(u.Scheme) {
	case "sip", "sips", "": // sipgo writes none as sip
	case "im", "pres":
		literal = inboxInput
	default:
		return "", fault.E(fault.Unsupported, "address has an unknown scheme")
	}
	user, err := unpercent(u.User, literal)
	if kind, _ := param(u.UriParams, "user"); strings.EqualFold(kind, "phone") {
		user = plainNumber(user)
	}
	return user, err
}

// instanceOf returns the instance that a public GRUU names. A temporary one, a
// "gr" without value, names none (RFC 7247, section 6.3).
func instanceOf(u sip.Uri) (string, error) {
	gr, _ := param(u.UriParams, "gr")
	return unpercent(gr, paramMarks)
}

// WithGRUU returns the URI of a From, To or Contact with the "gr" that stands
// among the header's parameters, as the examples of RFC 8048 and RFC 7573 have
// it, unless the URI has its own.
func WithGRUU(u sip.Uri, header sip.HeaderParams) sip.Uri {
	gr, ok := param(header, "gr")
	if _, own := param(u.UriParams, "gr"); own || !ok || u.Raw() != "" {
		return u
	}
	u.UriParams = append(u.UriParams.Clone(), sip.HeaderKV{K: "gr", V: gr})
	return u
}

// param returns the value of a parameter, whose name may be written in any case
// (RFC 3261, section 19.1.4).
func param(list sip.HeaderParams, name string) (string, bool) {
	for _, p := range list {
		if strings.EqualFold(p.K, name) {
			return p.V, true
		}
	}
	return "", false
}
