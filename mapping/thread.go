package mapping

import (
	"net/netip"
	"regexp"
	"strings"

	"cpimgate/cpim/sipx"
)

// CallIDOf returns the Call-ID that a thread is, and whether it is one: a thread
// that is no legal Call-ID, or is over 128 octets, needs one that is remembered
// for it (RFC 7572, section 4; RFC 3261, section 25.1), and so does one that
// names a host by its number.
func CallIDOf(thread string) (string, bool) {
	if len(thread) > 128 || !sipx.IsCallID(thread) || namesHost(thread) {
		return "", false
	}
	return thread, true
}

// ThreadOf returns the thread that a Call-ID is (RFC 7572, section 5), and
// whether it is one: many clients put the number of their host into it, which
// would show where a user is (RFC 2779, section 5.1.17). Such a Call-ID needs a
// thread that is remembered for it.
func ThreadOf(callID string) (string, bool) {
	if namesHost(callID) {
		return "", false
	}
	return callID, true
}

var dotted = regexp.MustCompile(`(?:^|[^0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[^0-9.]|$)`)

// namesHost reports that a text has the number of a host in it.
func namesHost(s string) bool {
	if strings.Count(s, ".") >= 3 && dotted.MatchString(s) {
		return true
	}
	if strings.Count(s, ":") < 2 {
		return false
	}
	for number := range strings.FieldsFuncSeq(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF:.", r) }) {
		if _, err := netip.ParseAddr(number); err == nil {
			return true
		}
	}
	return false
}
