package xmltree

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Condition is why XML was refused, in the words of stream errors (RFC 6120,
// section 4.9.3).
type Condition string

const (
	BadFormat           Condition = "bad-format"
	BadNamespacePrefix  Condition = "bad-namespace-prefix"
	NotWellFormed       Condition = "not-well-formed"
	PolicyViolation     Condition = "policy-violation"
	RestrictedXML       Condition = "restricted-xml"
	UnsupportedEncoding Condition = "unsupported-encoding"
)

// An Error says why the gate refused. Nothing that follows it on a stream can
// be read.
type Error struct {
	Condition Condition
	Text      string
	Head      *Element // the top element without its content, if it was read before a limit was met
}

// Error returns condition and text.
func (e *Error) Error() string { return string(e.Condition) + ": " + e.Text }

func refuse(c Condition, format string, args ...any) error {
	return &Error{Condition: c, Text: fmt.Sprintf(format, args...)}
}

// Limits bound one element with all that it contains. A zero field is no
// limit.
type Limits struct {
	Bytes      int
	Depth      int // the element itself is at depth 1
	Attributes int // of one element, namespace declarations included
	Children   int // elements below it, at all depths
}

// Documents are the limits for a document that came as a body.
var Documents = Limits{Bytes: 64 << 10, Depth: 20, Attributes: 50, Children: 4000}

// maxSpace bounds the name of a namespace. Each element that is written may
// repeat it: without a bound a small document could become a very large one.
const maxSpace = 512

// Parse reads a document that is one element, with or without an XML
// declaration. A byte order mark is allowed (XML 1.0, section 4.3.3), and so is
// white space before the declaration, which XML 1.0 does not allow.
func Parse(b []byte, lim Limits) (*Element, error) {
	if lim.Bytes > 0 && len(b) > lim.Bytes {
		return nil, refuse(PolicyViolation, "over %d bytes", lim.Bytes)
	}
	return NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\uFEFF"))), lim).only()
}

// ParseIn is like Parse where the default namespace is space: the way a stanza
// stands on a stream. There is no byte order mark inside a stream.
func ParseIn(b []byte, space string, lim Limits) (*Element, error) {
	r := NewReader(bytes.NewReader(b), lim)
	r.scopes = append(r.scopes, binding{"", space})
	return r.only()
}

// only reads an element that nothing follows.
func (r *Reader) only() (*Element, error) {
	e, err := r.Next()
	switch err {
	case nil:
	case io.EOF, io.ErrUnexpectedEOF:
		return nil, refuse(NotWellFormed, "no whole element")
	default:
		return nil, err
	}
	if _, err := r.Next(); err != io.EOF {
		return nil, refuse(NotWellFormed, "something follows the element")
	}
	return e, nil
}

// A Reader reads elements one after another: a stream's header with Open, then
// each stanza, whole, with Next.
type Reader struct {
	in     *counter
	dec    *xml.Decoder
	lim    Limits
	scopes []binding // innermost last
	open   []string  // raw names of the elements that Open has left open
	begun  bool      // an XML declaration or a start tag was read
}

type binding struct{ prefix, space string }

// NewReader returns a reader of r. If r is an io.ByteReader, no byte beyond
// the element last returned is taken from it, as STARTTLS needs.
func NewReader(r io.Reader, lim Limits) *Reader {
	br, ok := r.(io.ByteReader)
	if !ok {
		br = bufio.NewReader(r)
	}
	in := &counter{r: br, max: lim.Bytes}
	in.buf, _ = br.(*bufio.Reader)
	dec := xml.NewDecoder(in)
	return &Reader{in: in, dec: dec, lim: lim}
}

// Open reads a start tag and leaves its element open: what follows is inside.
func (r *Reader) Open() (*Element, error) {
	defer r.in.settle()
	start, err := r.start()
	if err != nil {
		return nil, err
	}
	e, err := r.element(start)
	if err != nil {
		return nil, err
	}
	r.open = append(r.open, rawName(start.Name))
	return e, nil
}

// Default returns the default namespace at this point: after Open, the one
// that what is inside has by itself; "" where none is declared.
func (r *Reader) Default() string {
	for i := len(r.scopes) - 1; i >= 0; i-- {
		if r.scopes[i].prefix == "" {
			return r.scopes[i].space
		}
	}
	return ""
}

// Next reads one whole element. It returns io.EOF at the end of the enclosing
// element, or of the input where none is open. White space between elements is
// skipped; other text there is refused.
func (r *Reader) Next() (*Element, error) {
	defer r.in.settle()
	start, err := r.start()
	if err != nil {
		return nil, err
	}
	scopes := len(r.scopes)
	top, err := r.element(start)
	if err != nil {
		return nil, err
	}
	if err := r.fill(frame{top, rawName(start.Name), scopes}); err != nil {
		if x, ok := errors.AsType[*Error](err); ok && x.Condition == PolicyViolation {
			x.Head = &Element{Name: top.Name, Attr: top.Attr}
		}
		return nil, err
	}
	r.in.n = 0
	return top, nil
}

// Spaced reports that white space stood before the element that Next has returned
// last. It has no meaning, but there are places where it must not be (RFC 6120,
// section 6.3.5).
func (r *Reader) Spaced() bool { return r.in.spaced }

// A frame is an element whose end tag has not come yet.
type frame struct {
	*Element
	end    string // raw name that its end tag must have
	scopes int    // how many bindings there were outside
}

// fill reads the content of an element up to its end tag.
func (r *Reader) fill(top frame) error {
	path := []frame{top}
	for children := 0; len(path) > 0; {
		tok, err := r.token()
		if err != nil {
			return unexpectedEOF(err)
		}
		at := path[len(path)-1]
		switch tok := tok.(type) {
		case xml.CharData:
			at.Nodes = append(at.Nodes, Text(tok))
		case xml.StartElement:
			children++
			if r.lim.Children > 0 && children > r.lim.Children {
				return refuse(PolicyViolation, "over %d elements", r.lim.Children)
			}
			if r.lim.Depth > 0 && len(path) >= r.lim.Depth {
				return refuse(PolicyViolation, "over %d levels deep", r.lim.Depth)
			}
			scopes := len(r.scopes)
			e, err := r.element(tok)
			if err != nil {
				return err
			}
			at.Nodes = append(at.Nodes, e)
			path = append(path, frame{e, rawName(tok.Name), scopes})
		case xml.EndElement:
			if rawName(tok.Name) != at.end {
				return refuse(NotWellFormed, "end tag %q where %q is open", rawName(tok.Name), at.end)
			}
			r.scopes = r.scopes[:at.scopes]
			path = path[:len(path)-1]
		}
	}
	return nil
}

// start skips white space and returns the next start tag, or io.EOF.
func (r *Reader) start() (xml.StartElement, error) {
	if err := r.in.skipSpace(); err != nil {
		return xml.StartElement{}, r.end(err)
	}
	for {
		tok, err := r.token()
		if err != nil {
			return xml.StartElement{}, r.end(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			r.begun = true
			return tok, nil
		case xml.CharData:
			if len(bytes.TrimLeft(tok, " \t\r\n")) > 0 {
				return xml.StartElement{}, refuse(BadFormat, "text between elements")
			}
			r.in.n, r.in.spaced = 0, true
		case xml.EndElement:
			if len(r.open) == 0 || rawName(tok.Name) != r.open[len(r.open)-1] {
				return xml.StartElement{}, refuse(NotWellFormed, "end tag %q of nothing", rawName(tok.Name))
			}
			r.open = r.open[:len(r.open)-1]
			return xml.StartElement{}, io.EOF
		}
	}
}

// token returns the next start tag, end tag or text, and refuses all else.
func (r *Reader) token() (xml.Token, error) {
	for {
		tok, err := r.dec.RawToken()
		if err != nil {
			return nil, asRefusal(err)
		}
		switch tok := tok.(type) {
		case xml.ProcInst:
			if r.begun || tok.Target != "xml" {
				return nil, refuse(RestrictedXML, "processing instruction")
			}
			r.begun = true
			found := declaration.FindSubmatch(tok.Inst)
			if found == nil {
				return nil, refuse(NotWellFormed, "XML declaration")
			}
			if enc := strings.Trim(string(found[1]), `"'`); enc != "" && !strings.EqualFold(enc, "utf-8") {
				return nil, refuse(UnsupportedEncoding, "encoding %q", enc)
			}
		case xml.Comment:
			return nil, refuse(RestrictedXML, "comment")
		case xml.Directive:
			return nil, refuse(RestrictedXML, "document type")
		case xml.CharData:
			if !utf8.Valid(tok) {
				return nil, refuse(UnsupportedEncoding, "not UTF-8")
			}
			return tok, nil
		default:
			return tok, nil
		}
	}
}

// asRefusal turns what the decoder found into what we say about it. Errors of
// the connection pass as they are.
func asRefusal(err error) error {
	if errors.Is(err, errTooLarge) {
		return refuse(PolicyViolation, "too large")
	}
	if s, ok := errors.AsType[*xml.SyntaxError](err); ok {
		switch {
		case s.Msg == "unexpected EOF":
			return io.ErrUnexpectedEOF
		case strings.Contains(s.Msg, "invalid character entity"):
			return refuse(RestrictedXML, "entity reference")
		case strings.Contains(s.Msg, "invalid UTF-8"):
			return refuse(UnsupportedEncoding, "not UTF-8")
		}
		return refuse(NotWellFormed, "%s", s.Msg)
	}
	if strings.HasPrefix(err.Error(), "xml: encoding ") || strings.HasPrefix(err.Error(), "xml: unsupported version") {
		return refuse(UnsupportedEncoding, "%s", strings.TrimPrefix(err.Error(), "xml: "))
	}
	return err
}

// end says what the end of the input means between two elements.
func (r *Reader) end(err error) error {
	if len(r.open) > 0 {
		return unexpectedEOF(err)
	}
	return err
}

func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// element resolves the names of a start tag and opens its scope.
func (r *Reader) element(t xml.StartElement) (*Element, error) {
	if r.lim.Attributes > 0 && len(t.Attr) > r.lim.Attributes {
		return nil, refuse(PolicyViolation, "over %d attributes", r.lim.Attributes)
	}
	for _, a := range t.Attr {
		if err := r.declare(a); err != nil {
			return nil, err
		}
	}
	name, err := r.resolve(t.Name, true)
	if err != nil {
		return nil, err
	}
	if name.Space == xmlNS {
		return nil, refuse(BadNamespacePrefix, "element in the namespace of xml")
	}
	e := &Element{Name: name}
	for i, a := range t.Attr {
		for _, b := range t.Attr[:i] {
			if a.Name == b.Name {
				return nil, refuse(NotWellFormed, "attribute %q twice", rawName(a.Name))
			}
		}
		if declares(a.Name) {
			continue
		}
		if !utf8.ValidString(a.Value) {
			return nil, refuse(UnsupportedEncoding, "not UTF-8")
		}
		name, err := r.resolve(a.Name, false)
		if err != nil {
			return nil, err
		}
		if _, twice := e.Lookup(name); twice {
			return nil, refuse(NotWellFormed, "attribute %q twice", rawName(a.Name))
		}
		e.Attr = append(e.Attr, xml.Attr{Name: name, Value: a.Value})
	}
	return e, nil
}

// declares reports whether an attribute is a namespace declaration.
func declares(n xml.Name) bool {
	return n.Space == "xmlns" || n.Space == "" && n.Local == "xmlns"
}

// declare takes a namespace declaration (Namespaces in XML 1.0, sections 2.2, 3
// and 5).
func (r *Reader) declare(a xml.Attr) error {
	if !declares(a.Name) {
		return nil
	}
	prefix := ""
	if a.Name.Space == "xmlns" {
		prefix = a.Name.Local
	}
	switch {
	case len(a.Value) > maxSpace:
		return refuse(PolicyViolation, "name of a namespace over %d bytes", maxSpace)
	case prefix != "" && a.Value == "", prefix == "xmlns", a.Value == xmlnsNS, (prefix == "xml") != (a.Value == xmlNS):
		return refuse(BadNamespacePrefix, "prefix %q declared as %q", prefix, a.Value)
	}
	r.scopes = append(r.scopes, binding{prefix, a.Value})
	return nil
}

// resolve gives a raw name its namespace. Attributes without a prefix have
// none (Namespaces in XML 1.0, section 6.2).
func (r *Reader) resolve(n xml.Name, element bool) (xml.Name, error) {
	if strings.Contains(n.Local, ":") || n.Space != "" && !startsName(n.Local) {
		return n, refuse(NotWellFormed, "a prefix and no name")
	}
	switch {
	case n.Space == "xml":
		return xml.Name{Space: xmlNS, Local: n.Local}, nil
	case n.Space == "" && !element:
		return n, nil
	}
	for i := len(r.scopes) - 1; i >= 0; i-- {
		if b := r.scopes[i]; b.prefix == n.Space {
			return xml.Name{Space: b.space, Local: n.Local}, nil
		}
	}
	if n.Space == "" {
		return n, nil
	}
	return n, refuse(BadNamespacePrefix, "undeclared prefix %q", n.Space)
}

// startsName reports whether a local name stands without its prefix, too: the
// decoder looks at the whole only. Modifiers and marks do not start a name.
func startsName(local string) bool {
	r, _ := utf8.DecodeRuneInString(local)
	return r == '_' || unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Lo, unicode.Nl)
}

func rawName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// declaration is what stands in an XML declaration (XML 1.0, sections 2.8 and
// 4.3.3); the group is the encoding with its quotes.
var declaration = regexp.MustCompile(`^version\s*=\s*(?:"1\.0"|'1\.0')` +
	`(?:\s+encoding\s*=\s*("[A-Za-z][A-Za-z0-9._-]*"|'[A-Za-z][A-Za-z0-9._-]*'))?` +
	`(?:\s+standalone\s*=\s*(?:"(?:yes|no)"|'(?:yes|no)'))?\s*$`)
