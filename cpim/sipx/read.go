package sipx

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// compact are the short names of RFC 3261, section 7.3.3 and of the RFCs that
// added one: Event and Allow-Events (RFC 6665, section 8.2.1), Supported,
// Refer-To (RFC 3515), Referred-By (RFC 3892), Accept-Contact (RFC 3841),
// Session-Expires (RFC 4028), Identity (RFC 8224).
var compact = map[string]string{
	"a": "Accept-Contact", "b": "Referred-By", "c": "Content-Type", "d": "Request-Disposition",
	"e": "Content-Encoding", "f": "From", "i": "Call-ID", "j": "Reject-Contact", "k": "Supported",
	"l": "Content-Length", "m": "Contact", "o": "Event", "r": "Refer-To", "s": "Subject", "t": "To",
	"u": "Allow-Events", "v": "Via", "x": "Session-Expires", "y": "Identity",
}

// Canonical returns the one spelling of a header field name in which we
// compare: long form, a capital after each hyphen, "Call-ID" and "CSeq" as RFC
// 3261 writes them.
func Canonical(name string) string {
	switch {
	case len(name) == 1:
		if long, ok := compact[strings.ToLower(name)]; ok {
			return long
		}
	case strings.EqualFold(name, "Call-ID"):
		return "Call-ID"
	case strings.EqualFold(name, "CSeq"):
		return "CSeq"
	case strings.EqualFold(name, "MIME-Version"):
		return "MIME-Version"
	}
	if capitalised(name) {
		return name
	}
	b := []byte(strings.ToLower(name))
	for i := range b {
		if (i == 0 || b[i-1] == '-') && b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// capitalised reports whether an ASCII name has a capital at the start and
// after each hyphen, and nowhere else: most names are sent so.
func capitalised(name string) bool {
	for i := range len(name) {
		first := i == 0 || name[i-1] == '-'
		switch c := name[i]; {
		case c >= 0x80, first && c >= 'a' && c <= 'z', !first && c >= 'A' && c <= 'Z':
			return false
		}
	}
	return true
}

// named reports whether a field has the name want, which is canonical.
func named(name, want string) bool {
	return strings.EqualFold(name, want) || len(name) == 1 && compact[strings.ToLower(name)] == want
}

// Headered is a request or a response.
type Headered interface{ Headers() []sip.Header }

// Values returns the values of a header field in either of its names; sipgo
// finds compact forms of a few fields only.
func Values(msg Headered, name string) []string {
	var values []string
	want := Canonical(name)
	for _, h := range msg.Headers() {
		if named(h.Name(), want) {
			values = append(values, h.Value())
		}
	}
	return values
}

// Value returns the first value of a header field, "" for none.
func Value(msg Headered, name string) string {
	want := Canonical(name)
	for _, h := range msg.Headers() {
		if named(h.Name(), want) {
			return h.Value()
		}
	}
	return ""
}

// Has reports whether there is a header field.
func Has(msg Headered, name string) bool {
	want := Canonical(name)
	return slices.ContainsFunc(msg.Headers(), func(h sip.Header) bool { return named(h.Name(), want) })
}

// Private reports whether a user asks that who he is stays inside the trust
// domain: Privacy: id (RFC 3325, section 9.3).
func Private(msg Headered) bool {
	for _, value := range Values(msg, "Privacy") {
		for token := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune("; \t", r) }) {
			if strings.EqualFold(token, "id") {
				return true
			}
		}
	}
	return false
}

// Tokens returns the items of a field that is a list without parameters, such
// as Require, Supported or Allow.
func Tokens(msg Headered, name string) []string {
	var items []string
	for _, v := range Values(msg, name) {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// Preferences returns the items of an Accept or Accept-Language field in lower
// case and without parameters, best first; what is not acceptable is left out
// (RFC 3261, sections 20.1 and 20.3).
func Preferences(msg Headered, name string) []string {
	type preference struct {
		item string
		q    float64
	}
	var list []preference
	for _, v := range Values(msg, name) {
		for entry := range strings.SplitSeq(v, ",") {
			item, params, _ := strings.Cut(entry, ";")
			p := preference{strings.ToLower(strings.Trim(item, " \t")), 1}
			for param := range strings.SplitSeq(params, ";") {
				if key, value, ok := strings.Cut(strings.ReplaceAll(param, " ", ""), "="); ok && strings.EqualFold(key, "q") {
					p.q, _ = strconv.ParseFloat(value, 64) // what is no number is none
				}
			}
			if p.item != "" && p.q > 0 {
				list = append(list, p)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b preference) int { return cmp.Compare(b.q, a.q) })
	var items []string
	for _, p := range list {
		items = append(items, p.item)
	}
	return items
}

// MediaType returns the Content-Type in lower case, without its parameters; false
// if there is none. [Parser] has seen to its form.
func MediaType(msg Headered) (string, bool) {
	media, _, _ := strings.Cut(Value(msg, "Content-Type"), ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	return media, strings.Contains(media, "/")
}

// Expires returns the Expires header field; false where it is missing or out
// of range (RFC 3261, section 20.19).
func Expires(msg Headered) (time.Duration, bool) {
	value := Value(msg, "Expires")
	if value == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(value, 10, 32)
	return time.Duration(n) * time.Second, err == nil
}

// RetryAfter returns how long a response asks us to wait, whatever its comment
// and parameters say; false for none (RFC 3261, section 20.33).
func RetryAfter(msg Headered) (time.Duration, bool) {
	value := strings.Trim(Value(msg, "Retry-After"), " \t")
	end := 0
	for end < len(value) && isDigit(value[end]) {
		end++
	}
	n, err := strconv.ParseUint(value[:end], 10, 32)
	return time.Duration(n) * time.Second, err == nil && (end == len(value) || strings.IndexByte(" \t(;", value[end]) >= 0)
}

// Date returns the Date header field, which is in GMT or says nothing (RFC
// 3261, section 20.17).
func Date(msg Headered) (time.Time, bool) {
	value := Value(msg, "Date")
	if value == "" {
		return time.Time{}, false
	}
	t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", value)
	return t.UTC(), err == nil
}

// FormatDate returns t as a Date header field has it.
func FormatDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

// Expand gives header fields in compact form their long name, where sipgo has
// not done so: it knows the short names of the fields that it reads only.
func Expand(msg Headered) {
	fields := msg.Headers()
	for i, h := range fields {
		if len(h.Name()) != 1 {
			continue
		}
		if name := Canonical(h.Name()); len(name) > 1 {
			fields[i] = sip.NewHeader(name, h.Value())
		}
	}
}
