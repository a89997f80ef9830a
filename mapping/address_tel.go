package mapping

import (
	"cmp"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
)

// A subscriber is the telephone-subscriber of a tel URI (RFC 3966, section 3).
type subscriber struct {
	number string   // without visual separators
	params []string // "name=value" in lower case, in canonical order
}

// TelToSIP makes a SIP URI of a tel URI (RFC 3261, section 19.1.6). The domain
// is the operator's, who says whose numbers they are; without one the number
// is nobody's. There is no inverse: what a number was called before is lost.
func TelToSIP(tel sip.Uri, domain string) (sip.Uri, error) {
	sub, err := subscriberOf(tel.Raw())
	switch {
	case err != nil:
		return sip.Uri{}, err
	case domain == "":
		return sip.Uri{}, fault.E(fault.NotFound, "telephone numbers have no domain here")
	}
	u := sip.Uri{Scheme: "sip", User: percent(sub.String(), userMarks), Host: domain}
	u.UriParams.Add("user", "phone")
	return u, nil
}

func (s subscriber) String() string {
	return strings.Join(append([]string{s.number}, s.params...), ";")
}

// subscriberOf reads a telephone-subscriber. A local number needs a context
// (RFC 3966, section 5.1.5).
func subscriberOf(text string) (subscriber, error) {
	digits, rest, more := strings.Cut(text, ";")
	var s subscriber
	var ok, context bool
	if s.number, ok = dialed(digits); !ok {
		return s, fault.E(fault.Malformed, "telephone number is malformed")
	}
	for more {
		var p string
		p, rest, more = strings.Cut(rest, ";")
		name, value, valued := strings.Cut(p, "=")
		value, err := unpercent(value, paramMarks)
		name, value = sip.ASCIIToLower(name), sip.ASCIIToLower(value)
		if err != nil || !isName(name) || valued && value == "" || strings.Contains(value, ";") {
			return s, fault.E(fault.Malformed, "parameter of telephone number is malformed")
		}
		if name == "phone-context" {
			context = true
			if number, ok := dialed(value); ok && number[0] == '+' {
				value = number
			}
		}
		if valued {
			name += "=" + value
		}
		s.params = append(s.params, name)
	}
	if s.number[0] != '+' && !context {
		return s, fault.E(fault.Malformed, "local telephone number without context")
	}
	slices.SortStableFunc(s.params, func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b))
	})
	return s, nil
}

// isName reports whether s, in lower case, is a pname.
func isName(s string) bool {
	return s != "" && strings.Trim(s, "-abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// rank orders parameters: isub and ext first, phone-context next, the others by
// name (RFC 3966, section 3).
func rank(p string) int {
	name, _, _ := strings.Cut(p, "=")
	if i := slices.Index([]string{"isub", "ext", "phone-context"}, name); i >= 0 {
		return i
	}
	return 3
}

// dialed returns a number without its visual separators, and whether it is one:
// a plus sign and digits, or digits, "*" and "#". Hex digits are grammatical in
// local numbers, but then d.a.d would be a number, and a name for dad.
func dialed(s string) (string, bool) {
	number := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) {
			return -1
		}
		return r
	}, s)
	digits, global := strings.CutPrefix(number, "+")
	allowed := "0123456789"
	if !global {
		allowed += "*#"
	}
	return number, digits != "" && strings.Trim(digits, allowed) == ""
}

// plainNumber takes the visual separators out of a user that is a telephone
// number, as it was with ";user=phone" (RFC 3966, section 5.1.1). A local number
// without context is a name like any other.
func plainNumber(user string) string {
	digits, params, more := strings.Cut(user, ";")
	number, ok := dialed(digits)
	switch {
	case !ok:
		return user
	case number[0] != '+' && !strings.Contains(";"+strings.ToLower(params), ";phone-context="):
		return user
	case more:
		return number + ";" + params
	}
	return number
}
