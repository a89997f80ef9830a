package cpim

import (
	"strconv"
	"strings"
	"time"

	"cpimgate/cpim/fault"
)

// Bytes writes the object as RFC 3862 wants it, the seven headers of its
// section 4 first, then those of Headers that are none of the seven and have a
// Space. Prefixes are declared as needed, "imdn" for RFC 5438 and made up for
// others. What no reader could read back is refused: an address that is no URI,
// a name that is none. A language that is no tag is left out, and so are
// controls in the value of a header: they are escaped.
func (m *Message) Bytes() ([]byte, error) {
	w := writer{prefixes: make(map[string]string)}
	w.address("From", m.From)
	if len(m.To) == 0 {
		w.fail("CPIM object without a recipient")
	}
	for _, a := range m.To {
		w.address("To", a)
	}
	for _, a := range m.CC {
		w.address("cc", a)
	}
	if !m.DateTime.IsZero() {
		w.line("DateTime", nil, m.DateTime.UTC().Format(time.RFC3339Nano))
	}
	for _, s := range m.Subjects {
		var params []Param
		if s.Lang != "" && isLang(s.Lang) {
			params = []Param{{"lang", s.Lang}}
		}
		w.line("Subject", params, Escape(strings.Trim(s.Text, " ")))
	}
	w.extensions(m)
	if w.err != nil {
		return nil, w.err
	}
	return m.Content.append(append(w.out, "\r\n"...))
}

// writer is the state of one Bytes; the first error stays.
type writer struct {
	out      []byte
	prefixes map[string]string // namespace to prefix with its dot
	err      error
}

func (w *writer) fail(text string) {
	if w.err == nil {
		w.err = fault.E(fault.Malformed, "%s", text)
	}
}

// line writes one header line; controls in the value are escaped.
func (w *writer) line(name string, params []Param, value string) {
	w.out = append(w.out, name+":"...)
	for _, p := range params {
		if !isName(p.Name) {
			w.fail("CPIM parameter name that is none")
		}
		v := p.Value
		if !isToken(v) {
			v = quote(v)
		}
		w.out = append(w.out, ";"+p.Name+"="+v...)
	}
	w.out = append(w.out, " "+escapeControls(strings.Trim(value, " "))+"\r\n"...)
}

func (w *writer) address(name string, a Address) {
	uri, same, err := cleanURI(a.URI)
	if err != nil || !same || uri != a.URI {
		w.fail("address in a CPIM header that is no URI")
	}
	w.line(name, nil, a.String())
}

// extensions writes NS, Require and the headers of other namespaces. NS comes
// before what uses it.
func (w *writer) extensions(m *Message) {
	var headers []Header
	for _, h := range m.Headers {
		if h.Space != "" && !isCore(h.Name) {
			headers = append(headers, h)
			w.declare(h.Space)
		}
	}
	names := make([]string, len(m.Require))
	for i, n := range m.Require {
		w.declare(n.Space)
		names[i] = w.name(n)
	}
	if len(names) > 0 {
		w.line("Require", nil, strings.Join(names, ","))
	}
	for _, h := range headers {
		w.line(w.name(h.Name), h.Params, h.Value)
	}
}

// isCore reports whether a header has its own field in Message.
func isCore(n Name) bool {
	for _, k := range core {
		if n.Space == Space && strings.EqualFold(n.Local, k) {
			return true
		}
	}
	return false
}

// declare writes the NS header of a namespace, once.
func (w *writer) declare(space string) {
	if _, done := w.prefixes[space]; done || space == Space {
		return
	}
	if !isSpace(space) {
		w.fail("CPIM namespace that is no absolute URI")
	}
	prefix := "imdn"
	if space != IMDN {
		prefix = "ns" + strconv.Itoa(len(w.prefixes)+1)
	}
	w.prefixes[space] = prefix + "."
	w.line("NS", nil, prefix+" <"+space+">")
}

// name returns a header name with its prefix.
func (w *writer) name(n Name) string {
	if !isName(n.Local) {
		w.fail("CPIM header name that is none")
	}
	return w.prefixes[n.Space] + n.Local
}
