// Package sipx is what SIP needs beside github.com/emiago/sipgo/sip: checked
// constructors for everything that we write into a message, checks for what
// the parser lets through, and readers for header fields that it leaves as
// text (RFC 3261, sections 7, 8, 20 and 25.1).
//
// Text from the XMPP side becomes a header field only through [Header],
// [Phrase], [Quoted] or [Display], and [CheckOutgoing] looks at each message
// once more before it is written: sipgo writes a CRLF in a value as it is.
//
// [CheckRequest] is strict where a mistake makes a message ambiguous (a header
// field twice, a length that is not the body's) and lenient where nothing
// hangs on it: a bad Date or Expires reads as absent (RFC 4475, sections
// 3.1.2.4 and 3.1.2.12), and Max-Forwards may be missing. Requests without a
// From tag (RFC 2543) are refused.
package sipx

import (
	"crypto/rand"
	"encoding/base32"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
)

// Bounds of what we write, in octets.
const (
	MaxHeader = 8 << 10 // one header field value
	MaxPhrase = 1024    // free text
	MaxReason = 255     // a reason phrase or warning text
)

// Header returns a header field. The name is a token, the value UTF-8 on one
// line (RFC 3261, section 25.1); anything else is a fault, because it would
// end the field early.
func Header(name, value string) (sip.Header, error) {
	if !IsToken(name) {
		return nil, fault.E(fault.Malformed, "not a header field name")
	}
	if len(value) > MaxHeader {
		return nil, fault.E(fault.TooLarge, "header field %s is over %d octets", name, MaxHeader)
	}
	if !isText(value) {
		return nil, fault.E(fault.Malformed, "header field %s is not text on one line", name)
	}
	return sip.NewHeader(name, strings.TrimSpace(value)), nil
}

// Phrase makes free text fit for a Subject or a quoted string: line breaks and
// tabs become spaces, other controls go, what is no UTF-8 becomes U+FFFD, and
// the rest is cut after [MaxPhrase] octets.
func Phrase(s string) string { return phrase(s, MaxPhrase) }

// Reason is [Phrase] for a Reason-Phrase (RFC 3261, section 7.2), cut after
// [MaxReason] octets.
func Reason(s string) string { return phrase(s, MaxReason) }

func phrase(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case r < ' ', r >= 0x7F && r < 0xA0:
			return -1
		}
		return r
	}, s)
	return cut(strings.TrimSpace(s), limit) // what sipgo takes off when it reads: Unicode's spaces, not the RFC's alone
}

// cut returns at most limit octets of s, whole characters only.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.TrimRightFunc(s[:limit], unicode.IsSpace)
}

var escapeQuoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Display returns free text as the inside of a quoted-string. sipgo's
// DisplayName fields want it so: they add the quotes, but escape nothing.
func Display(s string) string { return escapeQuoted.Replace(Phrase(s)) }

// Quoted returns free text as a quoted-string (RFC 3261, section 25.1).
func Quoted(s string) string { return `"` + Display(s) + `"` }

// Warning returns a Warning header field (RFC 3261, section 20.43). An agent
// that is no host or pseudonym is written as "-", which is a token too.
func Warning(code int, agent, text string) sip.Header {
	if !isHost(agent) && !IsToken(agent) {
		agent = "-"
	}
	code = min(max(code, 300), 399)
	return sip.NewHeader("Warning", strconv.Itoa(code)+" "+agent+" "+Quoted(Reason(text)))
}

// IsToken reports whether s is a token (RFC 3261, section 25.1).
func IsToken(s string) bool { return s != "" && tokenChars.hold(s) }

// IsCallID reports whether s is a callid, a word with an optional second word
// after "@" (RFC 3261, section 25.1).
func IsCallID(s string) bool {
	first, second, at := strings.Cut(s, "@")
	return len(s) <= MaxPhrase && isWord(first) && (!at || isWord(second))
}

func isWord(s string) bool { return s != "" && wordChars.hold(s) }

var (
	tokenChars = alphanumAnd("-.!%*_+`'~")
	wordChars  = alphanumAnd("-.!%*_+`'~" + `()<>:\"/[]?{}`)
)

// A charset is a set of octets.
type charset [256]bool

// alphanumAnd returns letters, digits and more.
func alphanumAnd(more string) *charset {
	set := new(charset)
	for c := range 256 {
		set[c] = isAlphanum(byte(c)) || strings.IndexByte(more, byte(c)) >= 0
	}
	return set
}

// hold reports that s has no other octets.
func (c *charset) hold(s string) bool {
	for i := range len(s) {
		if !c[s[i]] {
			return false
		}
	}
	return true
}

func isAlphanum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// isText reports UTF-8 without control characters other than HTAB
// (TEXT-UTF8-TRIM).
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7F {
			return false
		}
	}
	return utf8.ValidString(s)
}

// NewTag returns a new tag of 120 random bits (RFC 3261, section 19.3).
func NewTag() string { return random(15) }

// NewBranch returns a new branch with the cookie of RFC 3261, section 8.1.1.7.
func NewBranch() string { return sip.RFC3261BranchMagicCookie + random(15) }

// NewCallID returns a new Call-ID that names no host (RFC 3261, section
// 8.1.1.4).
func NewCallID() string { return random(20) }

var letters = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// random returns n random octets as a token. crypto/rand does not fail.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return letters.EncodeToString(b)
}
