package sipx

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
)

// Characters of a SIP URI beside letters and digits (RFC 3261, section 25.1).
const mark = "-_.!~*'()"

var (
	userChars   = alphanumAnd(mark + "&=+$,;?/")
	passChars   = alphanumAnd(mark + "&=+$,")
	paraChars   = alphanumAnd(mark + "[]/:&+$")
	headChars   = alphanumAnd(mark + "[]/?:+$")
	uricChars   = alphanumAnd(mark + ";/?:@&=+$,[]#") // an absoluteURI, with a fragment as IRIs in Contact have it
	schemeChars = alphanumAnd("+-.")
	labelChars  = alphanumAnd("-_")
)

// URIText returns a URI as it is written.
func URIText(u *sip.Uri) string {
	var b strings.Builder
	b.Grow(64)
	u.StringWrite(&b)
	return b.String()
}

// ParseURI reads a URI, refusing what RFC 3261, section 25.1 does not allow:
// sipgo's parser takes spaces, controls and bad escapes.
func ParseURI(s string) (sip.Uri, error) {
	var u sip.Uri
	if !IsURI(s) || Misread(s) {
		return u, fault.E(fault.Malformed, "not a URI")
	}
	if err := sip.ParseUri(s, &u); err != nil {
		return u, fault.Wrap(fault.Malformed, err, "not a URI")
	}
	return u, nil
}

// Resolve turns an im or pres URI into the SIP URI of the same name, which is
// where a request for it goes (RFC 3428, section 5; RFC 3861); other URIs stay as
// they are.
func Resolve(u sip.Uri) sip.Uri {
	if u.Scheme != "im" && u.Scheme != "pres" || u.Raw() == "" {
		return u
	}
	mailbox, _, _ := strings.Cut(u.Raw(), "?")
	if plain, err := ParseURI("sip:" + mailbox); err == nil && plain.User != "" && len(plain.UriParams) == 0 {
		return plain
	}
	return u
}

// Items splits a list of addresses at its commas, which count outside of quotes
// and angle brackets only (RFC 3261, section 7.3.1).
func Items(list string) []string {
	var items []string
	start, inside := 0, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"' && !inside:
			i += max(quotedLen(list[i:]), 1) - 1
		case c == '<' || c == '>':
			inside = c == '<'
		case c == ',' && !inside:
			items = append(items, strings.Trim(list[start:i], " \t"))
			start = i + 1
		}
	}
	return append(items, strings.Trim(list[start:], " \t"))
}

// IsURI reports whether s is a SIP-URI, SIPS-URI or absoluteURI (RFC
// 3261, section 25.1).
func IsURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || scheme == "" || rest == "" || isDigit(scheme[0]) ||
		!schemeChars.hold(scheme) {
		return false
	}
	if strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips") {
		return isSIP(rest)
	}
	return escaped(rest, uricChars)
}

// Misread reports a URI that sipgo reads as that of another host: a bracket in
// a parameter is legal, as in sip:good.example;x=[::1], but without a user it
// takes the first bracket for the host (RFC 3261, section 25.1). Such a URI is
// refused where it names somebody.
func Misread(uri string) bool {
	_, rest, _ := strings.Cut(uri, ":")
	if user, _, ok := cutUser(rest); ok {
		return strings.Contains(user, "[")
	}
	return strings.IndexByte(rest, '[') > 0
}

// misreads looks for such a URI among the addresses of a header field. Without
// angle brackets the URI ends before its parameters.
func misreads(text string) bool {
	for {
		open := bracket(text)
		if open < 0 {
			return false
		}
		uri, rest, _ := strings.Cut(text[open+1:], ">")
		if Misread(uri) {
			return true
		}
		text = rest
	}
}

// isSIP checks what follows "sip:".
func isSIP(s string) bool {
	if user, rest, ok := cutUser(s); ok {
		name, password, _ := strings.Cut(user, ":")
		if name == "" || !escaped(name, userChars) || !escaped(password, passChars) {
			return false
		}
		s = rest
	}
	s, headers, hasHeaders := strings.Cut(s, "?")
	hostport, params, hasParams := strings.Cut(s, ";")
	return isHostPort(hostport) &&
		(!hasParams || pairs(params, ";", paraChars)) &&
		(!hasHeaders || pairs(headers, "&", headChars))
}

// cutUser splits the userinfo off. Its characters include those that start
// parameters and headers, so the "@" comes first.
func cutUser(s string) (user, rest string, ok bool) {
	i := strings.IndexByte(s, '@')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// pairs checks name[=value] items.
func pairs(s, sep string, chars *charset) bool {
	for item := range strings.SplitSeq(s, sep) {
		name, value, _ := strings.Cut(item, "=")
		if name == "" || !escaped(name, chars) || !escaped(value, chars) {
			return false
		}
	}
	return true
}

// escaped reports that s holds the characters given and %-escapes.
func escaped(s string, chars *charset) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case chars[c]:
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isHostPort(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return isHost(host)
}

// isHost reports a hostname, IPv4 address or IPv6 reference. Labels may hold
// "_", which real zones have and DNS allows.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			!labelChars.hold(label) {
			return false
		}
	}
	return true
}

// isAddress checks a name-addr or addr-spec with its header parameters, as in
// From and To (RFC 3261, section 25.1). A bare addr-spec holds no comma,
// question mark or semicolon (section 20).
func isAddress(s string) bool {
	s = strings.Trim(s, " \t")
	var spec, params string
	if open := bracket(s); open >= 0 {
		end := strings.IndexByte(s[open:], '>')
		if end < 0 || !isDisplay(s[:open]) {
			return false
		}
		spec, params = s[open+1:open+end], s[open+end+1:]
	} else {
		end := strings.IndexByte(s, ';')
		if end < 0 {
			end = len(s)
		}
		spec, params = strings.TrimRight(s[:end], " \t"), s[end:]
		if strings.ContainsAny(spec, ",?") {
			return false
		}
	}
	return IsURI(spec) && isParams(params)
}

// bracket returns where the URI opens, outside of quotes, or -1.
func bracket(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '<':
			return i
		case '"':
			n := quotedLen(s[i:])
			if n == 0 {
				return -1
			}
			i += n - 1
		}
	}
	return -1
}

// isDisplay reports a display-name: tokens, one quoted-string, or nothing.
// Other characters beyond ASCII are let through in tokens, as clients write
// them.
func isDisplay(s string) bool {
	s = strings.Trim(s, " \t")
	if strings.HasPrefix(s, `"`) {
		return quotedLen(s) == len(s)
	}
	return all(s, func(c byte) bool { return tokenChars[c] || c == ' ' || c == '\t' || c >= 0x80 })
}

// quotedLen returns the length of the quoted-string that s starts with, 0 for
// none.
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// isParams checks *( SEMI generic-param ).
func isParams(s string) bool {
	for s = strings.Trim(s, " \t"); s != ""; s = strings.TrimLeft(s, " \t") {
		if s[0] != ';' {
			return false
		}
		s = strings.TrimLeft(s[1:], " \t")
		n := 0
		for n < len(s) && tokenChars[s[n]] {
			n++
		}
		if n == 0 {
			return false
		}
		s = strings.TrimLeft(s[n:], " \t")
		if !strings.HasPrefix(s, "=") {
			continue
		}
		s = strings.TrimLeft(s[1:], " \t")
		if n = valueLen(s); n == 0 {
			return false
		}
		s = s[n:]
	}
	return true
}

// valueLen returns the length of the gen-value that s starts with: token, host
// or quoted-string.
func valueLen(s string) int {
	if strings.HasPrefix(s, `"`) {
		return quotedLen(s)
	}
	n := 0
	for n < len(s) && (tokenChars[s[n]] || strings.IndexByte("[]:", s[n]) >= 0) {
		n++
	}
	return n
}
