package cpim

import (
	"strings"
	"time"
	"unicode/utf8"

	"cpimgate/cpim/fault"
)

// maxHeaders bounds the message headers of one object; their length is not
// bounded (RFC 3862, section 2.2).
const maxHeaders = 1000

// core are the headers of RFC 3862, section 4.
var core = [...]string{"From", "To", "cc", "DateTime", "Subject", "NS", "Require"}

// Parse reads an object. It forgives bare line feeds, a missing or second space
// after the colon, blanks at the ends of a line, another case of the seven
// header names where the right one is nowhere in the object, a missing empty
// line before the MIME headers, and lines that are no header; see Deviations.
// What it refuses is malformed. Content and Headers share memory with b.
func Parse(b []byte) (*Message, error) {
	r := reader{m: &Message{}, spaces: map[string]string{"": Space}}
	lines, content, err := r.lines(b)
	if err != nil {
		return nil, err
	}
	r.exact = make(map[string]bool)
	for _, l := range lines {
		r.exact[l.name] = true
	}
	for _, l := range lines {
		if err := r.header(l); err != nil {
			return nil, err
		}
	}
	if r.m.From.URI == "" || len(r.m.To) == 0 {
		return nil, fault.E(fault.Malformed, "CPIM object without From or To")
	}
	part, deviations := parsePart(content)
	r.m.Content = part
	r.m.Deviations += deviations
	return r.m, nil
}

// reader is the state of one Parse.
type reader struct {
	m      *Message
	spaces map[string]string // prefix to namespace; "" where the declaration is void
	exact  map[string]bool   // the header names of the object, as they are spelled
	dated  bool              // a DateTime was read
}

// line is a header before its name has a namespace.
type line struct {
	name   string
	params []Param
	value  string
}

func (r *reader) deviate() { r.m.Deviations++ }

// lines cuts the message headers into lines and finds the content.
func (r *reader) lines(b []byte) (lines []line, content []byte, err error) {
	for rest := b; len(rest) > 0; {
		raw, after, crlf := cutLine(rest)
		if !crlf {
			r.deviate()
		}
		text := strings.Trim(string(raw), " \t")
		switch {
		case text == "" && len(lines) > 0:
			return lines, after, nil
		case text == "":
			r.deviate() // an empty line before the first header ends nothing
			rest = after
			continue
		case len(text) > 8 && strings.EqualFold(text[:8], "Content-"):
			r.deviate()
			return lines, rest, nil
		}
		if !utf8.Valid(raw) {
			return nil, nil, fault.E(fault.Malformed, "CPIM header that is not UTF-8")
		}
		if len(lines) == maxHeaders {
			return nil, nil, fault.E(fault.TooLarge, "more than %d CPIM headers", maxHeaders)
		}
		if l, ok := r.line(string(raw)); ok {
			lines = append(lines, l)
		} else {
			r.deviate()
		}
		rest = after
	}
	r.deviate()
	return lines, nil, nil
}

// line reads one header line (RFC 3862, section 3.6); ok is false where it has
// no header name.
func (r *reader) line(raw string) (l line, ok bool) {
	text := strings.TrimLeft(raw, " \t")
	name, rest, ok := strings.Cut(text, ":")
	if prefix, local, has := strings.Cut(name, "."); !ok || !isName(prefix) || has && !isName(local) {
		return line{}, false
	}
	l.name = name
	for strings.HasPrefix(rest, ";") {
		var p Param
		if p, rest, ok = cutParam(rest[1:]); ok {
			l.params = append(l.params, p)
		} else {
			r.deviate()
		}
	}
	l.value = strings.Trim(rest, " \t")
	if text != raw || rest != " "+l.value || strings.ContainsFunc(l.value, isControl) {
		r.deviate()
	}
	return l, true
}

// cutParam cuts a parameter off the front of s, up to the next semicolon or
// space.
func cutParam(s string) (p Param, rest string, ok bool) {
	end := strings.IndexAny(s, "=; ")
	if end < 0 || s[end] != '=' {
		if end < 0 {
			end = len(s)
		}
		return p, s[end:], false
	}
	name, value := s[:end], s[end+1:]
	if strings.HasPrefix(value, `"`) {
		inner, after, closed := cutString(value)
		if !closed {
			return p, "", false
		}
		return Param{name, Unescape(inner)}, after, isName(name)
	}
	if end = strings.IndexAny(value, "; "); end < 0 {
		end = len(value)
	}
	return Param{name, value[:end]}, value[end:], isName(name) && isToken(value[:end])
}

// header gives a line its namespace and its meaning.
func (r *reader) header(l line) error {
	h := Header{Name: r.resolve(l.name), Params: l.params, Value: l.value}
	if h.Space == "" {
		r.deviate()
	}
	name := h.Local
	if h.Space == Space && name == l.name {
		name = r.known(name)
	}
	r.m.Headers = append(r.m.Headers, h)
	if h.Space != Space {
		return nil
	}
	switch name {
	case "From", "To", "cc":
		return r.address(name, h.Value)
	case "DateTime":
		return r.dateTime(h.Value)
	case "Subject":
		r.subject(&h)
	case "NS":
		r.declare(h.Value)
	case "Require":
		r.require(h.Value)
	}
	return nil
}

// known returns the name of the seven that an unprefixed name stands for: names
// differ by case, but where the right one is nowhere, the wrong one will be
// meant.
func (r *reader) known(name string) string {
	for _, k := range core {
		if name != k && strings.EqualFold(name, k) && !r.exact[k] {
			r.deviate()
			return k
		}
	}
	return name
}

// resolve gives a header or feature name its namespace (RFC 3862, section 3.4).
func (r *reader) resolve(name string) Name {
	prefix, local, ok := strings.Cut(name, ".")
	if !ok {
		prefix, local = "", name
	}
	space := r.spaces[prefix]
	if space == "" || !isName(local) {
		return Name{Local: name}
	}
	return Name{space, local}
}

func (r *reader) address(name, value string) error {
	a, clean, err := ParseAddress(value)
	switch {
	case err != nil && name == "cc":
		r.deviate() // nobody is answered or admitted by it
		return nil
	case err != nil:
		return err
	case name == "From" && r.m.From.URI != "":
		return fault.E(fault.Malformed, "more than one From in a CPIM object")
	}
	if !clean {
		r.deviate()
	}
	switch name {
	case "From":
		r.m.From = a
	case "To":
		r.m.To = append(r.m.To, a)
	case "cc":
		r.m.CC = append(r.m.CC, a)
	}
	return nil
}

func (r *reader) dateTime(value string) error {
	if r.dated {
		return fault.E(fault.Malformed, "more than one DateTime in a CPIM object")
	}
	t, clean := ParseDateTime(value)
	if !clean {
		r.deviate()
	}
	r.m.DateTime, r.dated = t, true
	return nil
}

// ParseDateTime reads a timestamp of RFC 3339; the time is zero if it is none.
// A leap second is read as the second before it. clean is false for letters in
// lower case, too, which RFC 3339, section 5.6, allows and advises against.
func ParseDateTime(s string) (t time.Time, clean bool) {
	upper := strings.ToUpper(strings.Trim(s, " \t\r\n"))
	if len(upper) > 19 && upper[17:19] == "60" {
		upper = upper[:17] + "59" + upper[19:]
	}
	t, err := time.Parse(time.RFC3339, upper)
	if y := t.UTC().Year(); err != nil || y < 0 || y > 9999 {
		return time.Time{}, false
	}
	return t, upper == s
}

func (r *reader) subject(h *Header) {
	s := Text{h.Lang(), strings.Trim(h.Text(), " ")}
	for _, other := range r.m.Subjects {
		if strings.EqualFold(other.Lang, s.Lang) {
			return // the first counts
		}
	}
	r.m.Subjects = append(r.m.Subjects, s)
}

// declare takes an NS header. A namespace that is relative or has a fragment
// makes the declaration void, and what uses it unknown.
func (r *reader) declare(value string) {
	prefix, rest, ok := strings.Cut(value, "<")
	uri, after, closed := strings.Cut(rest, ">")
	prefix = strings.Trim(prefix, " ")
	if !ok || !closed || prefix != "" && !isName(prefix) {
		r.deviate()
		return
	}
	if !isSpace(uri) {
		r.deviate()
		uri = ""
	} else if after != "" {
		r.deviate()
	}
	r.spaces[prefix] = uri
}

// isSpace reports whether uri can name a namespace (RFC 3862, section 3.4).
func isSpace(uri string) bool {
	clean, same, err := cleanURI(uri)
	return err == nil && same && clean == uri && !strings.Contains(uri, "#")
}

func (r *reader) require(value string) {
	for item := range strings.SplitSeq(value, ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			r.deviate()
			continue
		}
		r.m.Require = append(r.m.Require, r.resolve(item))
	}
}
