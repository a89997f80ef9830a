package cpim

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape returns text as the value of a header: the backslash and all controls
// are escaped and nothing else (RFC 3862, section 2.3.1). Broken UTF-8 becomes
// U+FFFD.
func Escape(s string) string { return escape(s, `\`) }

// quote returns s as a String (RFC 3862, section 3.6).
func quote(s string) string { return `"` + escape(s, `\"`) + `"` }

// escape escapes the controls of s and the characters in special.
func escape(s, special string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case isControl(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		case strings.ContainsRune(special, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escapeControls makes a value that has escapes already fit for a line: its bare
// controls are escaped. One that stands behind a backslash is escaped by it, and
// is the same without it.
func escapeControls(s string) string {
	var b strings.Builder
	start, behind := 0, false // of what is written as it is; an open backslash
	for i, r := range s {
		switch {
		case isControl(r):
			end := i
			if behind {
				end--
			}
			b.WriteString(s[start:end])
			b.WriteString(escape(string(r), ""))
			start, behind = i+1, false
		default:
			behind = r == '\\' && !behind
		}
	}
	b.WriteString(s[start:])
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// isControl reports what RFC 3862 calls a control: C1 is none of them.
func isControl(r rune) bool { return r < 0x20 || r == 0x7F }

// Unescape resolves the escapes of a header value (RFC 3862, section 2.3.1). An
// unknown escape stands for the character after the backslash, and a backslash
// at the end for nothing. Two escapes that make a surrogate pair are one
// character; half a pair is U+FFFD.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		if s = s[i+1:]; s == "" {
			return b.String()
		}
		r, n := unescapeOne(s)
		b.WriteRune(r)
		s = s[n:]
	}
}

// unescapeOne returns the character that follows a backslash and its length.
func unescapeOne(s string) (rune, int) {
	switch s[0] {
	case 'b':
		return '\b', 1
	case 't':
		return '\t', 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 'u':
		r, ok := unit(s)
		if !ok {
			return 'u', 1
		}
		if utf16.IsSurrogate(r) && strings.HasPrefix(s[5:], `\u`) {
			if low, ok := unit(s[6:]); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return pair, 11
				}
			}
		}
		return r, 5 // half a pair is written as U+FFFD
	}
	return utf8.DecodeRuneInString(s)
}

// unit reads "u" and four hexadecimal digits.
func unit(s string) (rune, bool) {
	if len(s) < 5 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:5], 16, 16)
	return rune(n), err == nil
}
