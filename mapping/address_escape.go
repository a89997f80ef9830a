package mapping

import (
	"strings"

	"cpimgate/cpim/fault"
)

// escapes are the characters that a localpart holds only in escaped form, and
// the backslash itself (XEP-0106, section 3.2). The code is the character's
// number in two hex digits.
const escapes = " \"&'/:<>@\\"

// escapeLocal escapes a native user name for a localpart. A backslash stays
// unless a code follows it (XEP-0106, section 4.2). Codes are recognized in
// either case, since a localpart is folded to lower case afterwards.
func escapeLocal(s string) string {
	if !strings.ContainsAny(s, escapes) {
		return s
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if _, code := escaped(s[i:]); strings.IndexByte(escapes, c) < 0 || c == '\\' && !code {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'\\', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// unescapeLocal undoes escapeLocal. Other sequences stay as they are.
func unescapeLocal(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := escaped(s[i:]); ok {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escaped returns the character that the first three bytes of s stand for, if
// they are an escape.
func escaped(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '\\' {
		return 0, false
	}
	c, ok := hexByte(s[1], s[2])
	return c, ok && strings.IndexByte(escapes, c) >= 0
}

// marks returns the characters of s that are escaped in localparts, in order.
func marks(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(escapes, r) {
			return r
		}
		return -1
	}, s)
}

func hexByte(hi, lo byte) (byte, bool) {
	h, ok1 := hexDigit(hi)
	l, ok2 := hexDigit(lo)
	return h<<4 | l, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// The characters that stand for themselves in the parts of a URI, besides
// letters and digits; all others are percent-encoded.
const (
	mark       = "-_.!~*'()"
	userMarks  = mark + "&=+$,;?/"        // user (RFC 3261, section 25.1)
	passMarks  = mark + "&=+$,"           // password, the same
	paramMarks = mark + "[]/:&+$"         // paramchar, the same
	grMarks    = mark + "/:&+$"           // the same, as we write it: brackets look like an IPv6 address to sipgo
	inboxMarks = "-._~!$&'*+=/"           // local part of im and pres, as we write it
	inboxInput = inboxMarks + "(),;^`{|}" // the same, as we read it: what RFC 7247, section 6.2, or a generic URI allows
	nodeMarks  = "-._~!$()*+,;="          // nodeid (RFC 5122)
	resMarks   = nodeMarks + "&':"        // resid, the same
)

// percent encodes all bytes of s but letters, digits and what is in keep
// (RFC 3986, section 2.1).
func percent(s, keep string) string {
	const hex = "0123456789ABCDEF"
	if allOf(s, keep) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; alphanum(c) || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// unpercent undoes percent and refuses what may not stand in s as it is.
func unpercent(s, keep string) (string, error) {
	if allOf(s, keep) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case alphanum(c) || strings.IndexByte(keep, c) >= 0:
		case c == '%' && i+2 < len(s):
			decoded, ok := hexByte(s[i+1], s[i+2])
			if !ok {
				return "", fault.E(fault.Malformed, "bad percent-encoding in address")
			}
			c, i = decoded, i+2
		default:
			return "", fault.E(fault.Malformed, "character in address is not percent-encoded")
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// allOf reports that s is made of letters, digits and what is in keep: most
// addresses are.
func allOf(s, keep string) bool {
	for i := range len(s) {
		if !alphanum(s[i]) && strings.IndexByte(keep, s[i]) < 0 {
			return false
		}
	}
	return true
}

func alphanum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
