package cpim

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"cpimgate/cpim/fault"
)

// A Field is one MIME header field. Folded lines are joined.
type Field struct{ Name, Value string }

// Fields are the header fields of a MIME entity, in order.
type Fields []Field

// Get returns the value of the first field of this name in any case, or "".
func (f Fields) Get(name string) string {
	for _, x := range f {
		if strings.EqualFold(x.Name, name) {
			return x.Value
		}
	}
	return ""
}

// A Part is a MIME entity: the content of an envelope, or one part of a
// multipart (RFC 2046, section 5.1).
type Part struct {
	Header Fields
	Body   []byte // as it came, transfer encoding included

	// Raw is the whole entity as it came, which is what a signature covers
	// (RFC 1847). Body lies in it. Nil in a part that was made here.
	Raw []byte
}

// ParsePart reads an entity: header fields, an empty line, the body. Bare line
// feeds are read as line ends. A first paragraph that has no field whose name
// starts with "Content-" or "MIME-" is no header but text: then all is body.
func ParsePart(b []byte) Part {
	p, _ := parsePart(b)
	return p
}

// parsePart also counts what was forgiven.
func parsePart(b []byte) (Part, int) {
	var fields Fields
	deviations, mime := 0, false
	for rest := b; ; {
		line, after, crlf := cutLine(rest)
		if !crlf && len(rest) > 0 {
			deviations++
		}
		if len(line) == 0 {
			if len(fields) > 0 && !mime {
				return Part{Body: b, Raw: b}, deviations + 1
			}
			return Part{Header: fields, Body: after, Raw: b}, deviations
		}
		rest = after
		if isBlank(line[0]) && len(fields) > 0 {
			last := &fields[len(fields)-1].Value
			*last = strings.Trim(*last+" "+oneLine(string(line)), " ")
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		name = strings.TrimRight(name, " \t")
		if !ok || !isFieldName(name) {
			if !mime {
				return Part{Body: b, Raw: b}, deviations + 1
			}
			deviations++
			continue
		}
		mime = mime || isMIME(name)
		fields = append(fields, Field{name, oneLine(value)})
	}
}

// cutLine cuts the first line off b; crlf says that it ended as it should.
func cutLine(b []byte) (line, rest []byte, crlf bool) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return b, nil, false
	}
	line, crlf = bytes.CutSuffix(line, []byte("\r"))
	return line, rest, crlf
}

// oneLine returns a value without blanks at its ends and without what would end
// the line for another reader.
func oneLine(s string) string { return strings.Trim(noBreaks.Replace(s), " \t") }

var noBreaks = strings.NewReplacer("\r", " ", "\x00", " ")

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isFieldName is ftext of RFC 5322, section 3.6.8.
func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

func isMIME(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "mime-")
}

// Bytes writes the entity. A field that would break the header is refused.
func (p Part) Bytes() ([]byte, error) { return p.append(nil) }

func (p Part) append(dst []byte) ([]byte, error) {
	if p.Header.Get("Content-Type") == "" {
		dst = append(dst, "Content-Type: text/plain\r\n"...) // what its absence means
	}
	for _, f := range p.Header {
		if !isFieldName(f.Name) || strings.ContainsAny(f.Value, "\r\n\x00") {
			return nil, fault.E(fault.Malformed, "a MIME header field that cannot be written")
		}
		if strings.EqualFold(f.Name, "Content-Type") && f.Value == "" {
			continue
		}
		dst = append(dst, f.Name+": "+f.Value+"\r\n"...)
	}
	return append(append(dst, "\r\n"...), p.Body...), nil
}

// A Media is a media type with its parameters, both names in lower case.
type Media struct {
	Type   string // "text/plain"
	Params map[string]string
}

// Charset returns the charset parameter in lower case, or "".
func (m Media) Charset() string { return strings.ToLower(m.Params["charset"]) }

// Media returns the part's Content-Type. A part without one is text/plain (RFC
// 2045).
func (p Part) Media() Media { return ParseMedia(p.Header.Get("Content-Type")) }

// ParseMedia reads the value of a Content-Type field. None is text/plain; one
// that has no type and subtype is application/octet-stream, because what is in
// it cannot be known. Parameters that should be quoted and are not, as in RFC
// 3862, section 5.2, are taken as they stand.
func ParseMedia(value string) Media {
	typ, params := parseValue(value)
	if typ == "" && strings.Trim(value, " \t") == "" {
		typ = "text/plain"
	}
	if main, sub, ok := strings.Cut(typ, "/"); !ok || !isMediaToken(main) || !isMediaToken(sub) {
		typ = "application/octet-stream"
	}
	return Media{Type: typ, Params: params}
}

// isMediaToken is a token of RFC 2045.
func isMediaToken(s string) bool {
	return isFieldName(s) && !strings.ContainsAny(s, `()<>@,;:\"/[]?=`)
}

// Disposition returns the part's Content-Disposition and its parameters, both
// empty if it has none (RFC 2183).
func (p Part) Disposition() (string, map[string]string) {
	return parseValue(p.Header.Get("Content-Disposition"))
}

// parseValue reads a word and its parameters, first by the rules, then without.
func parseValue(value string) (string, map[string]string) {
	if value == "" {
		return "", nil
	}
	word, params, err := mime.ParseMediaType(value)
	if err == nil {
		return word, params
	}
	pieces := splitQuoted(value)
	params = make(map[string]string)
	for _, piece := range pieces[1:] {
		name, v, ok := strings.Cut(piece, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if _, twice := params[name]; !ok || name == "" || twice {
			continue
		}
		params[name] = unquote(strings.Trim(v, " \t"))
	}
	return strings.ToLower(strings.Trim(pieces[0], " \t")), params
}

// splitQuoted splits at the semicolons outside quotes.
func splitQuoted(s string) []string {
	var pieces []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			pieces = append(pieces, s[start:i])
			start = i + 1
		}
	}
	return append(pieces, s[start:])
}

// unquote removes the quotes of a quoted-string and its quoted pairs.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	s = s[1 : len(s)-1]
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Decode returns the body with its transfer encoding reversed.
func (p Part) Decode() ([]byte, error) {
	return Decode(p.Body, p.Header.Get("Content-Transfer-Encoding"))
}

// Decode reverses a Content-Transfer-Encoding exactly (RFC 2045; RFC 3862,
// section 7.1). None, or an empty one as Blink sends it, is the identity.
func Decode(b []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(strings.Trim(encoding, " \t")) {
	case "", "7bit", "8bit", "binary":
		return b, nil
	case "base64":
		packed := bytes.Join(bytes.Fields(b), nil)
		out := make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
		n, err := base64.StdEncoding.Decode(out, packed)
		if err != nil {
			return nil, fault.Wrap(fault.Malformed, err, "body is not base64")
		}
		return out[:n], nil
	case "quoted-printable":
		out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
		if err != nil {
			return nil, fault.Wrap(fault.Malformed, err, "body is not quoted-printable")
		}
		return out, nil
	}
	return nil, fault.E(fault.Unsupported, "unknown Content-Transfer-Encoding")
}
