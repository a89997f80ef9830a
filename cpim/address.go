package cpim

import (
	"fmt"
	"strings"

	"cpimgate/cpim/fault"
)

// ParseAddress reads the value of a From, To or cc header, and of the headers
// that share its form (RFC 3862, sections 3.6 and 4.1; RFC 5438, section 10). It
// forgives a missing pair of angle brackets, words that are no tokens, what
// follows the address, and an IRI; clean says that there was nothing to
// forgive.
func ParseAddress(value string) (a Address, clean bool, err error) {
	clean = true
	rest := value
	switch {
	case strings.HasPrefix(rest, `"`):
		inner, after, ok := cutString(rest)
		if !ok {
			return Address{}, false, fault.E(fault.Malformed, "unfinished quoted name in a CPIM address")
		}
		a.Name, rest = Unescape(inner), strings.TrimLeft(after, " ")
	default:
		name, _, ok := strings.Cut(rest, "<")
		if !ok { // RFC 3862 has no such form
			a.URI, _, err = cleanURI(rest)
			return a, false, err
		}
		rest = rest[len(name):]
		trimmed := strings.Trim(name, " ")
		a.Name = Unescape(trimmed)
		clean = trimmed == "" && name == "" || areTokens(trimmed) && name == trimmed+" "
	}
	uri, after, ok := strings.Cut(strings.TrimPrefix(rest, "<"), ">")
	if !ok || !strings.HasPrefix(rest, "<") {
		return Address{}, false, fault.E(fault.Malformed, "a CPIM address without <...>")
	}
	uri, same, err := cleanURI(uri)
	a.URI = uri
	return a, clean && same && after == "", err
}

// String returns the address as a header has it: words that are tokens stand as
// they are, any other name as a quoted string, with a space before the bracket.
func (a Address) String() string {
	switch {
	case a.Name == "":
		return "<" + a.URI + ">"
	case areTokens(a.Name):
		return a.Name + " <" + a.URI + ">"
	}
	return quote(a.Name) + " <" + a.URI + ">"
}

// cutString cuts a String off the front of s, which starts with its quote.
func cutString(s string) (inner, after string, ok bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:], true
		}
	}
	return "", "", false
}

// areTokens reports whether s is tokens with one space between them.
func areTokens(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if !isToken(word) {
			return false
		}
	}
	return true
}

// isToken is the production Token of RFC 3862, section 3.6.
func isToken(s string) bool {
	for _, r := range s {
		if r < 0x80 && r != '.' && !isNameChar(byte(r)) {
			return false
		}
	}
	return s != ""
}

// isName is the production Name of RFC 3862, section 3.6.
func isName(s string) bool {
	for i := range len(s) {
		if !isNameChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isNameChar(c byte) bool {
	return c > ' ' && c < 0x7F && !strings.ContainsRune(`.()<>@,;:\"/[]?={}`, rune(c))
}

// isLang is the shape of a language tag (RFC 5646, section 2.1).
func isLang(s string) bool {
	for sub := range strings.SplitSeq(s, "-") {
		if sub == "" || len(sub) > 8 {
			return false
		}
		for i := range len(sub) {
			if !isAlpha(sub[i]) && !isDigit(sub[i]) {
				return false
			}
		}
	}
	return isAlpha(s[0])
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// cleanURI returns s as an absolute URI (RFC 3986, section 4.3). What an IRI may
// hold and a URI may not is percent-encoded; same says that this was not
// needed. White space, controls, quotes and brackets are refused: they would
// end the address early for the next reader.
func cleanURI(s string) (uri string, same bool, err error) {
	s = strings.Trim(s, " ")
	if !hasScheme(s) {
		return "", false, fault.E(fault.Malformed, "a CPIM address that is no absolute URI")
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7F || strings.IndexByte(`<>"\`, c) >= 0:
			return "", false, fault.E(fault.Malformed, "a character in a CPIM address that no URI may have")
		case c >= 0x80 || strings.IndexByte("{}|^`", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), b.Len() == len(s), nil
}

// hasScheme reports whether s starts with a scheme and goes on after it.
func hasScheme(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || scheme == "" || !isAlpha(scheme[0]) {
		return false
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isAlpha(c) && !isDigit(c) && !strings.ContainsRune("+-.", rune(c)) {
			return false
		}
	}
	return true
}
