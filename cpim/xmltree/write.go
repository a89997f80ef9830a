package xmltree

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Declaration opens a document.
const Declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

// String returns the element as a document of its own.
func (e *Element) String() string { return string(e.Append(nil, "")) }

// Append writes the element to dst as it stands where the default namespace is
// space: a name in another namespace declares it. What XML cannot carry is
// written as U+FFFD (XML 1.0, section 2.2), so the result is well-formed
// whatever the tree holds, as long as its names are names.
func (e *Element) Append(dst []byte, space string) []byte {
	dst = append(dst, '<')
	dst = append(dst, e.Name.Local...)
	if e.Name.Space != space {
		dst = append(dst, " xmlns='"...)
		dst = appendEscaped(dst, e.Name.Space, true)
		dst = append(dst, '\'')
	}
	for i, a := range e.Attr {
		dst = append(dst, ' ')
		switch a.Name.Space {
		case "":
		case xmlNS:
			dst = append(dst, "xml:"...)
		default:
			first := slices.IndexFunc(e.Attr, func(b xml.Attr) bool { return b.Name.Space == a.Name.Space })
			prefix := "ns" + strconv.Itoa(first)
			if first == i {
				dst = append(dst, "xmlns:"+prefix+"='"...)
				dst = appendEscaped(dst, a.Name.Space, true)
				dst = append(dst, "' "...)
			}
			dst = append(dst, prefix+":"...)
		}
		dst = append(dst, a.Name.Local...)
		dst = append(dst, "='"...)
		dst = appendEscaped(dst, a.Value, true)
		dst = append(dst, '\'')
	}
	if len(e.Nodes) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	for _, n := range e.Nodes {
		switch n := n.(type) {
		case *Element:
			dst = n.Append(dst, e.Name.Space)
		case Text:
			dst = appendEscaped(dst, string(n), false)
		}
	}
	dst = append(dst, "</"...)
	dst = append(dst, e.Name.Local...)
	return append(dst, '>')
}

// Escape returns s as character data or attribute value.
func Escape(s string) string { return string(appendEscaped(nil, s, true)) }

// Clean returns s with each character that XML 1.0 cannot carry, and each
// broken byte, replaced by U+FFFD (XML 1.0, section 2.2).
func Clean(s string) string {
	ok := true
	for i, r := range s {
		if !legal(r) || r == utf8.RuneError && broken(s[i:]) {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !legal(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

func broken(s string) bool {
	_, n := utf8.DecodeRuneInString(s)
	return n <= 1
}

// legal is the production Char of XML 1.0, section 2.2.
func legal(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

// ordinary are the ASCII characters that are written as they are anywhere.
var ordinary = func() (set [256]bool) {
	for c := range utf8.RuneSelf {
		set[c] = c >= ' ' && !strings.ContainsRune("&<>'\"", rune(c))
	}
	return set
}()

// appendEscaped writes s so that every conforming reader gets s back: a line
// feed or tab in an attribute and a carriage return anywhere would be
// normalised away (XML 1.0, sections 2.11 and 3.3.3).
func appendEscaped(dst []byte, s string, attribute bool) []byte {
	last := 0
	for i := 0; i < len(s); {
		if ordinary[s[i]] {
			i++
			continue
		}
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		var esc string
		switch {
		case r == '&':
			esc = "&amp;"
		case r == '<':
			esc = "&lt;"
		case r == '>':
			esc = "&gt;"
		case r == '\'' && attribute:
			esc = "&apos;"
		case r == '"' && attribute:
			esc = "&quot;"
		case r == '\r':
			esc = "&#xD;"
		case r == '\n' && attribute:
			esc = "&#xA;"
		case r == '\t' && attribute:
			esc = "&#x9;"
		case !legal(r), r == utf8.RuneError && n == 1:
			esc = "\uFFFD"
		default:
			i += n
			continue
		}
		dst = append(dst, s[last:i]...)
		dst = append(dst, esc...)
		i += n
		last = i
	}
	return append(dst, s[last:]...)
}
