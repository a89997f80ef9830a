package xmltree_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"cpimgate/cpim/xmltree"
)

// condition returns why the gate refused, or the error's text.
func condition(err error) xmltree.Condition {
	if e, ok := errors.AsType[*xmltree.Error](err); ok {
		return e.Condition
	}
	return xmltree.Condition(fmt.Sprint(err))
}

// TestRefused: nothing of this passes, neither as a document nor on a stream
// (RFC 6120, section 11).
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want xmltree.Condition
	}{
		"document type":           {"<!DOCTYPE a><a/>", xmltree.RestrictedXML},
		"entity declared":         {`<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`, xmltree.RestrictedXML},
		"billion laughs":          {`<!DOCTYPE a [<!ENTITY x "&y;&y;">]><a>&x;</a>`, xmltree.RestrictedXML},
		"external entity":         {`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, xmltree.RestrictedXML},
		"entity":                  {"<a>&nbsp;</a>", xmltree.RestrictedXML},
		"entity in attribute":     {"<a b='&nbsp;'/>", xmltree.RestrictedXML},
		"comment":                 {"<a><!-- x --></a>", xmltree.RestrictedXML},
		"comment before":          {"<!-- x --><a/>", xmltree.RestrictedXML},
		"processing instruction":  {"<a><?php x?></a>", xmltree.RestrictedXML},
		"instruction before":      {"<?xml-stylesheet href='x'?><a/>", xmltree.RestrictedXML},
		"declaration inside":      {"<a><?xml version='1.0'?></a>", xmltree.RestrictedXML},
		"declared twice":          {"<?xml version='1.0'?><?xml version='1.0'?><a/>", xmltree.RestrictedXML},
		"encoding":                {"<?xml version='1.0' encoding='iso-8859-1'?><a/>", xmltree.UnsupportedEncoding},
		"encoding, spaced":        {"<?xml version='1.0' encoding = 'iso-8859-1' ?><a/>", xmltree.UnsupportedEncoding},
		"version":                 {"<?xml version='1.1'?><a/>", xmltree.UnsupportedEncoding},
		"UTF-16, big":             {wide(binary.BigEndian, true), xmltree.UnsupportedEncoding},
		"UTF-16, little":          {wide(binary.LittleEndian, true), xmltree.UnsupportedEncoding},
		"UTF-16, no mark, big":    {wide(binary.BigEndian, false), xmltree.NotWellFormed},
		"UTF-16, no mark":         {wide(binary.LittleEndian, false), xmltree.NotWellFormed},
		"broken UTF-8":            {"<a>\xff</a>", xmltree.UnsupportedEncoding},
		"broken in attribute":     {"<a b='\xff'/>", xmltree.UnsupportedEncoding},
		"overlong":                {"<a>\xc0\xaf</a>", xmltree.UnsupportedEncoding},
		"surrogate":               {"<a>\xed\xa0\x80</a>", xmltree.UnsupportedEncoding},
		"control":                 {"<a>\x01</a>", xmltree.NotWellFormed},
		"control, referenced":     {"<a>&#1;</a>", xmltree.NotWellFormed},
		"U+FFFF":                  {"<a>\uFFFF</a>", xmltree.NotWellFormed},
		"undeclared prefix":       {"<x:a/>", xmltree.BadNamespacePrefix},
		"undeclared, attribute":   {"<a x:b='c'/>", xmltree.BadNamespacePrefix},
		"out of its scope":        {"<a><b xmlns:x='u:x'/><x:c/></a>", xmltree.BadNamespacePrefix},
		"prefix undeclared":       {"<a xmlns:x=''/>", xmltree.BadNamespacePrefix},
		"xmlns declared":          {"<a xmlns:xmlns='u:x'/>", xmltree.BadNamespacePrefix},
		"xmlns as a prefix":       {"<xmlns:a/>", xmltree.BadNamespacePrefix},
		"xml rebound":             {"<a xmlns:xml='u:x'/>", xmltree.BadNamespacePrefix},
		"xml under another name":  {"<a xmlns:x='http://www.w3.org/XML/1998/namespace'/>", xmltree.BadNamespacePrefix},
		"xml as the default":      {"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", xmltree.BadNamespacePrefix},
		"xmlns as a namespace":    {"<a xmlns:x='http://www.w3.org/2000/xmlns/'/>", xmltree.BadNamespacePrefix},
		"element of xml":          {"<xml:a/>", xmltree.BadNamespacePrefix},
		"attribute twice":         {"<a b='1' b='2'/>", xmltree.NotWellFormed},
		"twice by namespace":      {"<a xmlns:x='u:x' xmlns:y='u:x' x:b='1' y:b='2'/>", xmltree.NotWellFormed},
		"twice, xml":              {"<a xml:lang='en' xml:lang='fr'/>", xmltree.NotWellFormed},
		"namespace twice":         {"<a xmlns='u:x' xmlns='u:y'/>", xmltree.NotWellFormed},
		"prefix twice":            {"<a xmlns:x='u:x' xmlns:x='u:y'/>", xmltree.NotWellFormed},
		"two colons":              {"<x:a:b xmlns:x='u:x'/>", xmltree.NotWellFormed},
		"no name":                 {"<x: xmlns:x='u:x'/>", xmltree.NotWellFormed},
		"no prefix":               {"<:a/>", xmltree.NotWellFormed},
		"digit after a prefix":    {"<x:1 xmlns:x='u:x'/>", xmltree.NotWellFormed},
		"digit, attribute":        {"<a xmlns:x='u:x' x:-='1'/>", xmltree.NotWellFormed},
		"wrong end":               {"<a></b>", xmltree.NotWellFormed},
		"wrong prefix at the end": {"<x:a xmlns:x='u:x' xmlns:y='u:x'></y:a>", xmltree.NotWellFormed},
		"end of nothing":          {"</a>", xmltree.NotWellFormed},
		"no quotes":               {"<a b=c/>", xmltree.NotWellFormed},
		"< in attribute":          {"<a b='<'/>", xmltree.NotWellFormed},
		"]]> in text":             {"<a>]]></a>", xmltree.NotWellFormed},
		"text before":             {"x<a/>", xmltree.BadFormat},
		"mark twice":              {"\uFEFF\uFEFF<a/>", xmltree.BadFormat},
	} {
		if e, err := xmltree.Parse([]byte(c.in), xmltree.Documents); condition(err) != c.want {
			t.Errorf("%s: %v, %v", name, e, err)
		}
		r := xmltree.NewReader(strings.NewReader(c.in), xmltree.Documents)
		if e, err := r.Next(); err == nil {
			t.Errorf("%s: on a stream: %v", name, e)
		}
	}
}

// wide is a document in UTF-16.
func wide(order binary.AppendByteOrder, mark bool) string {
	var b []byte
	text := "<?xml version='1.0' encoding='UTF-16'?><a>x</a>"
	if mark {
		text = "\uFEFF" + text
	}
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// TestIncomplete: not a document, and on a stream the connection's fault.
func TestIncomplete(t *testing.T) {
	for _, s := range []string{"", " ", "<a>", "<a", "<a b='", "<a><b></b>", "<a>x", "<a><![CDATA[x", "<?xml version='1.0'?>", "<", "<!", "<a>&amp"} {
		if e, err := xmltree.Parse([]byte(s), xmltree.Documents); condition(err) != xmltree.NotWellFormed && condition(err) != xmltree.RestrictedXML {
			t.Errorf("%q: %v, %v", s, e, err)
		}
	}
	for _, s := range []string{"<a/><b/>", "<a/>x", "<a/><!-- -->", "<a/></b>"} {
		if e, err := xmltree.Parse([]byte(s), xmltree.Documents); err == nil {
			t.Errorf("%q: %v", s, e)
		}
		if e, err := xmltree.ParseIn([]byte(s), "u:x", xmltree.Documents); err == nil {
			t.Errorf("%q: %v", s, e)
		}
	}
	r := xmltree.NewReader(strings.NewReader("<s><a>"), xmltree.Documents)
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("in an element: %v", err)
	}
	r = xmltree.NewReader(strings.NewReader("<s> "), xmltree.Documents)
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("in a stream: %v", err)
	}
	broken := errors.New("broken")
	r = xmltree.NewReader(io.MultiReader(strings.NewReader("<a>"), iotest.ErrReader(broken)), xmltree.Documents)
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Errorf("an error of the connection: %v", err)
	}
}

// TestAccepted: each of these is the tree that the first of its row is.
func TestAccepted(t *testing.T) {
	for _, row := range [][]string{
		{"<a/>", "<a></a>", " <a/> ", "<a\n/>", "\uFEFF<a/>", "<?xml version='1.0' encoding='utf-8'?><a/>",
			"\uFEFF<?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes'?>\r\n<a/>\r\n", "\r\n<?xml version='1.0'?><a/>"},
		{"<a xmlns='u:x'/>", "<p:a xmlns:p='u:x'/>", "<p:a xmlns='u:y' xmlns:p='u:x'></p:a>"},
		{"<a>x&lt;&amp;&gt;&apos;&quot;é</a>", "<a><![CDATA[x<&>'\"é]]></a>", "<a>x<![CDATA[<&]]>&#62;&#x27;\"&#233;</a>"},
		{"<a b='1' c='&#xA;&#9;&apos;'/>", "<a c=\"&#10;&#x9;'\" b=\"1\"></a>"},
		{"<a>x&#xA;y</a>", "<a>x\r\ny</a>", "<a>x\ry</a>"},
		{"<a xmlns='u:x'><b xmlns=''/></a>", "<p:a xmlns:p='u:x'><b/></p:a>"},
		{"<a xmlns:p='u:x' p:b='1' b='2'/>", "<a xmlns:q='u:x' b='2' q:b='1'/>"},
		{"<a xml:lang='en'/>", "<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'/>"},
		{"<a><b/><c/></a>", "<a>\n  <b/>\r\n\t<c/>\n</a>"},
	} {
		first, err := xmltree.Parse([]byte(row[0]), xmltree.Documents)
		if err != nil {
			t.Fatalf("%s: %v", row[0], err)
		}
		for _, s := range row {
			e, err := xmltree.Parse([]byte(s), xmltree.Documents)
			if err != nil {
				t.Errorf("%q: %v", s, err)
			} else if d := xmltree.Diff(first, e); d != "" {
				t.Errorf("%q: %s", s, d)
			}
		}
	}
}

func TestTree(t *testing.T) {
	e, err := xmltree.ParseIn([]byte("<message to='a' xml:lang='en' xmlns:p='u:p' p:x='1'>t<body>hi</body>u<p:body>other</p:body></message>"), "jabber:client", xmltree.Documents)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Is("jabber:client", "message") || e.Get("to") != "a" || e.GetName(xmltree.Lang) != "en" || e.Text() != "tu" {
		t.Errorf("%s", e)
	}
	if e.Child("jabber:client", "body").Text() != "hi" || e.Child("u:p", "body").Text() != "other" || e.Child("", "body") != nil {
		t.Errorf("%s", e)
	}
	if _, ok := e.Lookup(xmltree.Lang); !ok || e.Get("x") != "" || len(e.Attr) != 3 {
		t.Errorf("attributes %v", e.Attr)
	}
	if got := string(e.Append(nil, "jabber:client")); !strings.HasPrefix(got, "<message to='a' xml:lang='en' xmlns:ns2='u:p' ns2:x='1'>t<body>hi</body>u<body xmlns='u:p'>") {
		t.Errorf("%s", got)
	}
}

// TestLimits: what is at the limit passes, one more does not.
func TestLimits(t *testing.T) {
	lim := xmltree.Limits{Bytes: 200, Depth: 5, Attributes: 4, Children: 6}
	nest := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	attrs := func(n int) string {
		s := "<a xmlns='u:x'"
		for i := range n - 1 {
			s += fmt.Sprintf(" b%d=''", i)
		}
		return s + "/>"
	}
	for name, c := range map[string]struct{ in, over string }{
		"depth":            {nest(5), nest(6)},
		"attributes":       {attrs(4), attrs(5)},
		"attributes below": {"<a>" + attrs(4) + "</a>", "<a>" + attrs(5) + "</a>"},
		"children":         {"<a>" + strings.Repeat("<b/>", 6) + "</a>", "<a>" + strings.Repeat("<b/>", 7) + "</a>"},
		"grandchildren":    {"<a><b>" + strings.Repeat("<c/>", 5) + "</b></a>", "<a><b>" + strings.Repeat("<c/>", 6) + "</b></a>"},
		"bytes of text":    {"<a>" + strings.Repeat("x", 193) + "</a>", "<a>" + strings.Repeat("x", 194) + "</a>"},
		"bytes of a name":  {"<" + strings.Repeat("x", 197) + "/>", "<" + strings.Repeat("x", 198) + "/>"},
		"bytes of a value": {"<a b='" + strings.Repeat("x", 191) + "'/>", "<a b='" + strings.Repeat("x", 192) + "'/>"},
	} {
		if _, err := xmltree.Parse([]byte(c.in), lim); err != nil {
			t.Errorf("%s: at the limit: %v", name, err)
		}
		if _, err := xmltree.Parse([]byte(c.over), lim); condition(err) != xmltree.PolicyViolation {
			t.Errorf("%s: over it: %v", name, err)
		}
		r := xmltree.NewReader(strings.NewReader(c.in+c.in+c.over), lim)
		for i := range 3 {
			if _, err := r.Next(); (err != nil) != (i == 2) || i == 2 && condition(err) != xmltree.PolicyViolation {
				t.Errorf("%s: element %d of a stream: %v", name, i, err)
			}
		}
		if _, err := xmltree.Parse([]byte(c.over), xmltree.Limits{}); err != nil {
			t.Errorf("%s: without limits: %v", name, err)
		}
	}
	for _, n := range []int{512, 513} {
		_, err := xmltree.Parse([]byte("<a xmlns:p='"+strings.Repeat("u", n)+"'/>"), xmltree.Documents)
		if (condition(err) == xmltree.PolicyViolation) != (n > 512) {
			t.Errorf("namespace of %d bytes: %v", n, err)
		}
	}
}

// TestHead: who sent too much can still be answered.
func TestHead(t *testing.T) {
	for _, in := range []string{"<iq id='1'>" + strings.Repeat("x", 100) + "</iq>", "<iq id='1'><a><b><c/></b></a></iq>", "<iq id='1'><a/><a/><a/></iq>"} {
		r := xmltree.NewReader(strings.NewReader(in), xmltree.Limits{Bytes: 60, Depth: 3, Children: 2})
		_, err := r.Next()
		e, ok := errors.AsType[*xmltree.Error](err)
		if !ok || e.Head == nil || e.Head.Name.Local != "iq" || e.Head.Get("id") != "1" || len(e.Head.Nodes) > 0 {
			t.Errorf("%s: %+v", in, err)
		}
	}
	_, err := xmltree.Parse([]byte("<iq id='1'><!-- --></iq>"), xmltree.Documents)
	if e, ok := errors.AsType[*xmltree.Error](err); !ok || e.Head != nil {
		t.Errorf("not well-formed: %+v", err)
	}
}

const stream = `<?xml version='1.0'?><s:stream xmlns='jabber:server' xmlns:s='u:s' id='1'> <a/>` + "\n\n" + `<s:b x='&amp;'>t<c/></s:b><![CDATA[ ]]><d xmlns=''>é</d> </s:stream> `

// TestStream reads a stream in pieces of every kind.
func TestStream(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"whole":     strings.NewReader(stream),
		"bytewise":  iotest.OneByteReader(strings.NewReader(stream)),
		"halves":    iotest.HalfReader(strings.NewReader(stream)),
		"data+err":  iotest.DataErrReader(strings.NewReader(stream)),
		"no peeks":  struct{ io.Reader }{strings.NewReader(stream)},
		"a bufio":   bufio.NewReaderSize(strings.NewReader(stream), 16),
		"a buffer":  bytes.NewBufferString(stream),
		"small":     iotest.OneByteReader(bufio.NewReader(strings.NewReader(stream))),
		"two parts": io.MultiReader(strings.NewReader(stream[:90]), strings.NewReader(stream[90:])),
	} {
		r := xmltree.NewReader(in, xmltree.Limits{Bytes: 80})
		head, err := r.Open()
		if err != nil || !head.Is("u:s", "stream") || head.Get("id") != "1" {
			t.Fatalf("%s: %v, %v", name, head, err)
		}
		var got []string
		for {
			var e *xmltree.Element
			if e, err = r.Next(); err != nil {
				break
			}
			got = append(got, string(e.Append(nil, "jabber:server")))
		}
		want := `<a/>|<b xmlns='u:s' x='&amp;'>t<c xmlns='jabber:server'/></b>|<d xmlns=''>é</d>`
		if strings.Join(got, "|") != want || err != io.EOF {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: after the end: %v", name, err)
		}
	}
}

// TestNoReadAhead: after an element nothing of what follows is gone, as STARTTLS
// needs.
func TestNoReadAhead(t *testing.T) {
	text := "<s><a/><b>x</b>\x16\x03\x01"
	want := []string{"<a/><b>x</b>\x16\x03\x01", "<b>x</b>\x16\x03\x01", "\x16\x03\x01"}
	plain, buffered, small := strings.NewReader(text), bufio.NewReader(strings.NewReader(text)), bufio.NewReaderSize(strings.NewReader(text), 16)
	for name, in := range map[string]struct {
		io.Reader
		left func() string
	}{
		"bytes": {plain, func() string { return text[len(text)-plain.Len():] }},
		"bufio": {buffered, func() string { b, _ := buffered.Peek(buffered.Buffered()); return string(b) }},
		"small": {small, func() string { b, _ := small.Peek(16); return string(b) }},
	} {
		r := xmltree.NewReader(in.Reader, xmltree.Documents)
		for i, read := range []func() (*xmltree.Element, error){r.Open, r.Next, r.Next} {
			if _, err := read(); err != nil {
				t.Fatal(err)
			}
			if rest := in.left(); rest != want[i] && (name != "small" || !strings.HasPrefix(want[i], rest) || rest == "") {
				t.Errorf("%s: after %d: %q is left, want %q", name, i, rest, want[i])
			}
		}
	}
}

// TestKeepAlive: white space between stanzas never adds up to a limit.
func TestKeepAlive(t *testing.T) {
	in := "<s>" + strings.Repeat(" \n", 500) + "<a>x</a>" + strings.Repeat("\t", 500) + "</s>"
	r := xmltree.NewReader(strings.NewReader(in), xmltree.Limits{Bytes: 10})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Next(); err != nil || e.Text() != "x" {
		t.Errorf("%v, %v", e, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// White space before an element is seen, inside one it is text.
func TestSpaced(t *testing.T) {
	r := xmltree.NewReader(strings.NewReader("<s><a/> <b> </b><c/>\n<d/><![CDATA[ ]]><e/></s>"), xmltree.Limits{})
	if _, err := r.Open(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true, false, true, true} {
		if e, err := r.Next(); err != nil || r.Spaced() != want {
			t.Errorf("%v: %v, %v", e, r.Spaced(), err)
		}
	}
}

// The default namespace is the stream's between elements, whatever stood inside
// one.
func TestDefault(t *testing.T) {
	r := xmltree.NewReader(strings.NewReader("<s:s xmlns='a' xmlns:s='b'><x xmlns='c'><y xmlns='d'/></x></s:s>"), xmltree.Limits{})
	if got := r.Default(); got != "" {
		t.Errorf("before the header: %q", got)
	}
	if _, err := r.Open(); err != nil || r.Default() != "a" {
		t.Errorf("after the header: %q, %v", r.Default(), err)
	}
	if _, err := r.Next(); err != nil || r.Default() != "a" {
		t.Errorf("after an element: %q, %v", r.Default(), err)
	}
}
