package cpim_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// object is an object with these message headers and a plain text.
func object(headers ...string) string {
	return strings.Join(headers, "\r\n") + "\r\n\r\nContent-Type: text/plain\r\n\r\nhi"
}

const from, to = "From: <im:a@h.example>", "To: <im:b@h.example>"

func parse(t *testing.T, s string) *cpim.Message {
	t.Helper()
	m, err := cpim.Parse([]byte(s))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return m
}

// TestVectors checks what the reader finds in the RFC's examples, and that the
// writer's form of them says the same without a deviation.
func TestVectors(t *testing.T) {
	testdata.Vectors(t, "rfc3862", "*", func(t *testing.T, c *testdata.Case) {
		if c.Has("in.mime") {
			signed(t, c)
			return
		}
		outer := cpim.ParsePart([]byte(c.Wire("in.cpim")))
		if got := outer.Media().Type; got != cpim.MediaType {
			t.Fatalf("outer type %q", got)
		}
		m := parse(t, string(outer.Body))
		facts := factsOf(m)
		if c.Has("out.parse") {
			for _, want := range c.Lines("out.parse") {
				if !slices.Contains(facts, want) {
					t.Errorf("no %q in\n%s", want, strings.Join(facts, "\n"))
				}
			}
		}
		others(t, c, m)
		written, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, string(written))
		if got := factsOf(again); !slices.Equal(got, factsOf(m)) || again.Deviations != 0 {
			t.Errorf("written with %d deviations:\n%s", again.Deviations, written)
		}
	})
}

// others compares what the sections for package mapping say about the format.
func others(t *testing.T, c *testdata.Case, m *cpim.Message) {
	c.Vary("xmpp id", "origin-id", "delay element", "xmpp id (Content-ID optional)")
	if c.Has("out.error") {
		if got := strings.TrimSpace(c.Wire("out.error")); got != "415" || len(m.Require) == 0 {
			t.Errorf("status %s, and required are %v", got, m.Require)
		}
		if none := c.Lines("out.none"); !slices.Equal(none, []string{"xmpp"}) {
			t.Errorf("out.none is %q", none)
		}
	}
	if !c.Has("out.xmpp") {
		return
	}
	stanza, err := xmltree.Parse([]byte(c.Wire("out.xmpp")), xmltree.Documents)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(string(m.Content.Body), "\r\n", "\n")
	if got := stanza.Child("", "body").Text(); got != body {
		t.Errorf("body %q, want %q", body, got)
	}
	var subjects []cpim.Text
	for e := range stanza.Elements() {
		if e.Name.Local == "subject" {
			subjects = append(subjects, cpim.Text{Lang: e.GetName(xmltree.Lang), Text: e.Text()})
		}
	}
	if !slices.Equal(subjects, m.Subjects) {
		t.Errorf("subjects %q, want %q", m.Subjects, subjects)
	}
}

// signed checks that a signed object can be taken apart and that its pieces are
// the bytes that came.
func signed(t *testing.T, c *testdata.Case) {
	wire := c.Wire("in.mime")
	p := cpim.ParsePart([]byte(wire))
	if m := p.Media(); m.Type != "multipart/signed" || m.Params["protocol"] != "application/pkcs7-signature" {
		t.Errorf("media %v", m)
	}
	parts, err := p.Split()
	if err != nil || len(parts) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	want := "--next\r\n" + string(parts[0].Raw) + "\r\n--next\r\n" + string(parts[1].Raw) + "\r\n--next--"
	if !strings.Contains(wire, want) {
		t.Errorf("the parts are not the bytes that came: %q", want)
	}
	m := parse(t, string(parts[0].Body))
	if m.From.URI != "im:"+after(c.Value("SIP From"), "sip:") || m.To[0].URI != "im:"+after(c.Value("Request-URI"), "sip:") {
		t.Errorf("from %v to %v", m.From, m.To)
	}
	stanza, err := xmltree.Parse([]byte(c.Wire("out.xmpp")), xmltree.Documents)
	if err != nil {
		t.Fatal(err)
	}
	object := strings.Trim(stanza.Child("urn:ietf:params:xml:ns:xmpp-e2e", "e2e").Text(), "\n")
	if object != strings.Trim(strings.ReplaceAll(wire, "\r\n", "\n"), "\n") {
		t.Errorf("object in the stanza: %q", object)
	}
	c.Vary("xmpp id", "origin-id", "leading and trailing line end of the CDATA section")
}

func after(s, sep string) string {
	_, s, _ = strings.Cut(s, sep)
	return strings.TrimSuffix(s, ">")
}

// factsOf says what the reader found, in the words of section out.parse.
func factsOf(m *cpim.Message) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	add(`From: name=%q uri=%q`, m.From.Name, m.From.URI)
	for _, a := range m.To {
		add(`To: name=%q uri=%q`, a.Name, a.URI)
	}
	for _, a := range m.CC {
		add(`cc: name=%q uri=%q`, a.Name, a.URI)
	}
	if !m.DateTime.IsZero() {
		add("DateTime: %s", m.DateTime.UTC().Format(time.RFC3339Nano))
	}
	for _, s := range m.Subjects {
		name := "Subject"
		if s.Lang != "" {
			name += " (" + s.Lang + ")"
		}
		add("%s: %s", name, visible.Replace(s.Text))
	}
	for _, n := range m.Require {
		add("require {%s}%s", n.Space, n.Local)
	}
	for _, h := range m.Headers {
		if h.Space != cpim.Space && h.Space != "" {
			add("header {%s}%s: %s", h.Space, h.Local, visible.Replace(h.Text()))
		}
	}
	if v := m.Content.Header.Get("content-type"); v != "" {
		add("content-type: %s", v)
	}
	if v := m.Content.Header.Get("content-id"); v != "" {
		add("content-id: %s", strings.Trim(v, "<>"))
	}
	add("content: %s", m.Content.Body)
	return out
}

var visible = strings.NewReplacer("\n", "<LF>", "\t", "<TAB>", "\a", "<U+0007, U+FFFD in XML>")

// TestDeviations: what the reader forgives it counts, and what it finds is what
// the clean form says.
func TestDeviations(t *testing.T) {
	clean := object(from, to, "Subject: s", "DateTime: 2026-01-02T03:04:05Z")
	want := factsOf(parse(t, clean))
	if n := parse(t, clean).Deviations; n != 0 {
		t.Fatalf("the clean form has %d", n)
	}
	for name, c := range map[string]struct {
		old, new string
		count    int
	}{
		"bare line feed":     {to + "\r\n", to + "\n", 1},
		"no space":           {"Subject: s", "Subject:s", 1},
		"two spaces":         {"Subject: s", "Subject:  s", 1},
		"blank at the end":   {"Subject: s", "Subject: s ", 1},
		"blank at the front": {"Subject: s", " Subject: s", 1},
		"lower case":         {"From:", "from:", 1},
		"upper case":         {"DateTime:", "DATETIME:", 1},
		"no empty line":      {"\r\n\r\nContent-Type", "\r\nContent-Type", 1},
		"empty line first":   {from, "\r\n" + from, 1},
		"no header":          {to, "garbage\r\n" + to, 1},
		"separator in name":  {to, "Sub(ject: x\r\n" + to, 1},
		"two dots in name":   {to, "a.b.c: x\r\n" + to, 1},
		"folded line":        {to, "\tmore\r\n" + to, 1},
		"non-ASCII name":     {to, "Sübject: x\r\n" + to, 1},
		"parameter, no =":    {"Subject: s", "Subject:;lang s", 1},
		"address, bare":      {"<im:a@h.example>", "im:a@h.example", 1},
		"lower-case Z":       {"05Z", "05z", 1},
		"after the address":  {to, to + ";tag=1", 1},
		"bare lines inside":  {"Type: text/plain\r\n\r\n", "Type: text/plain\n\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := strings.Replace(clean, c.old, c.new, 1)
			m := parse(t, s)
			if s == clean || m.Deviations != c.count {
				t.Errorf("%d deviations, want %d in %q", m.Deviations, c.count, s)
			}
			if got := factsOf(m); !slices.Equal(got, want) {
				t.Errorf("found\n%q, want\n%q", got, want)
			}
		})
	}
}

// TestAllBareLineFeeds: SylkServer mixes the two; all of one kind works as well.
func TestAllBareLineFeeds(t *testing.T) {
	crlf := object(from, to, "NS: imdn <urn:ietf:params:imdn>", "imdn.Message-ID: 1")
	blink := strings.Replace(crlf, "Content-Type: text/plain\r\n\r\n",
		"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding:\n\n", 1)
	m := parse(t, blink)
	if body, err := m.Content.Decode(); err != nil || string(body) != "hi" || m.Content.Header[0].Name != "MIME-Version" {
		t.Errorf("%q, %v, %v", body, err, m.Content.Header)
	}
	if got := parse(t, strings.ReplaceAll(crlf, "\r\n", "\n")); string(got.Content.Body) != "hi" || len(got.Headers) != 4 {
		t.Errorf("%+v", got)
	}
}

func TestNameCase(t *testing.T) {
	m := parse(t, object(from, to, "from: <im:evil@h.example>", "subject: s"))
	if m.From.URI != "im:a@h.example" || len(m.Subjects) != 1 {
		t.Errorf("beside From, from is a header that nobody knows: %v %v", m.From, m.Subjects)
	}
	if h := m.Get(cpim.Space, "from"); h == nil || h.Value != "<im:evil@h.example>" {
		t.Errorf("unknown header is kept: %v", m.Headers)
	}
}

func TestMalformed(t *testing.T) {
	for name, s := range map[string]string{
		"empty":           "",
		"no From":         object(to),
		"no To":           object(from),
		"two From":        object(from, to, "From: <im:c@h.example>"),
		"two From, cased": object("FROM: <im:a@h.example>", to, "from: <im:c@h.example>"),
		"two DateTime":    object(from, to, "DateTime: 2026-01-02T03:04:05Z", "DateTime: 2026-01-02T03:04:05Z"),
		"no URI":          object("From: <juliet>", to),
		"empty URI":       object("From: <>", to),
		"open quote":      object(`From: "J <im:a@h.example>`, to),
		"open bracket":    object("From: <im:a@h.example", to),
		"space in URI":    object("From: <im:a b@h.example>", to),
		"5-octet UTF-8":   object(from, to, "Subject: \xf8\x88\x80\x80\x80"),
		"CESU-8":          object(from, to, "Subject: \xed\xa0\xbd\xed\xb8\x80"),
		"overlong":        object(from, to, "Subject: \xc0\xaf"),
		"beyond Unicode":  object(from, to, "Subject: \xf4\x90\x80\x80"),
	} {
		if m, err := cpim.Parse([]byte(s)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	many := object(from, to, strings.Repeat("x: y\r\n", 1000)+"x: y")
	if _, err := cpim.Parse([]byte(many)); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("1003 headers: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		want    cpim.Name // of the last header
		off     int
	}{
		"two prefixes, one URI: first":  {[]string{"NS: a <urn:x:y>", "NS: b <urn:x:y>", "a.H: 1"}, cpim.Name{Space: "urn:x:y", Local: "H"}, 0},
		"two prefixes, one URI: second": {[]string{"NS: a <urn:x:y>", "NS: b <urn:x:y>", "b.H: 1"}, cpim.Name{Space: "urn:x:y", Local: "H"}, 0},
		"declared again":                {[]string{"NS: a <urn:x:y>", "NS: a <urn:x:z>", "a.H: 1"}, cpim.Name{Space: "urn:x:z", Local: "H"}, 0},
		"the default, by name":          {[]string{"NS: c <urn:ietf:params:cpim-headers:>", "c.Subject: s"}, cpim.Name{Space: cpim.Space, Local: "Subject"}, 0},
		// NS is itself a header of the default namespace: it declares nothing
		// where that is another (RFC 3862, section 4.6).
		"the default again": {[]string{"NS: <urn:x:y>", "NS: <urn:ietf:params:cpim-headers:>", "Subject: s"}, cpim.Name{Space: "urn:x:y", Local: "Subject"}, 0},
		"another default":   {[]string{"NS: <urn:x:y>", "Subject: s"}, cpim.Name{Space: "urn:x:y", Local: "Subject"}, 0},
		"undeclared":        {[]string{"a.H: 1"}, cpim.Name{Local: "a.H"}, 1},
		"used before":       {[]string{"a.H: 1", "NS: a <urn:x:y>", "b.H: 1"}, cpim.Name{Local: "b.H"}, 2},
		"relative":          {[]string{"NS: p <foo>", "p.H: 1"}, cpim.Name{Local: "p.H"}, 2},
		"fragment":          {[]string{"NS: p <http://h/x#y>", "p.H: 1"}, cpim.Name{Local: "p.H"}, 2},
		"void default":      {[]string{"NS: <foo>", "H: 1"}, cpim.Name{Local: "H"}, 2},
	} {
		m := parse(t, object(append([]string{from, to}, c.headers...)...))
		last := m.Headers[len(m.Headers)-1]
		if last.Name != c.want || m.Deviations != c.off {
			t.Errorf("%s: %+v with %d deviations, want %+v with %d", name, last.Name, m.Deviations, c.want, c.off)
		}
		isSubject := c.want == cpim.Name{Space: cpim.Space, Local: "Subject"}
		if isSubject != (len(m.Subjects) == 1) {
			t.Errorf("%s: subjects %v", name, m.Subjects)
		}
	}
}

func TestRequire(t *testing.T) {
	m := parse(t, object(from, to, "NS: imdn <urn:ietf:params:imdn>", "Require: imdn.Message-ID,Subject, x.Y"))
	want := []cpim.Name{{Space: cpim.IMDN, Local: "Message-ID"}, {Space: cpim.Space, Local: "Subject"}, {Local: "x.Y"}}
	if !slices.Equal(m.Require, want) {
		t.Errorf("%v", m.Require)
	}
}

func TestSubjects(t *testing.T) {
	m := parse(t, object(from, to, "Subject: one", "Subject:;lang=fr deux", "Subject: three", "Subject:;lang=FR quatre",
		"Subject:;x=y;lang=en;z=\"a;b c\" five", "Subject:;lang=toolongatag six"))
	want := []cpim.Text{{Text: "one"}, {Lang: "fr", Text: "deux"}, {Lang: "en", Text: "five"}}
	if !slices.Equal(m.Subjects, want) {
		t.Errorf("%q", m.Subjects)
	}
	if got := m.Headers[6].Params; !slices.Equal(got, []cpim.Param{{Name: "x", Value: "y"}, {Name: "lang", Value: "en"}, {Name: "z", Value: "a;b c"}}) {
		t.Errorf("parameters %q", got)
	}
	m = parse(t, strings.Replace(object(from, to, "Subject: s"), "Content-Type", "Content-Language: fr\r\nContent-Type", 1))
	if m.Subjects[0].Lang != "" {
		t.Error("the language of the content is not that of the subject")
	}
}

func TestDateTime(t *testing.T) {
	for s, want := range map[string]string{
		"2001-02-02T10:48:54-05:00":  "2001-02-02T15:48:54Z",
		"2001-02-02T10:48:54Z":       "2001-02-02T10:48:54Z",
		"2001-02-02T10:48:54.25Z":    "2001-02-02T10:48:54.25Z",
		"2001-02-02t10:48:54z":       "2001-02-02T10:48:54Z",
		"2016-12-31T23:59:60Z":       "2016-12-31T23:59:59Z",
		"2001-02-02":                 "",
		"2001-02-02T10:48:54":        "",
		"9999-12-31T23:59:59-01:00":  "",
		"Fri, 02 Feb 2001 10:48 GMT": "",
	} {
		m := parse(t, object(from, to, "DateTime: "+s))
		got := ""
		if !m.DateTime.IsZero() {
			got = m.DateTime.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

func TestLongSubject(t *testing.T) {
	long := strings.Repeat("é", 50_000)
	m := parse(t, object(from, to, "Subject: "+long))
	if m.Subjects[0].Text != long || m.Deviations != 0 {
		t.Error("100 KB of subject came out wrong")
	}
	b, err := m.Bytes()
	if err != nil || !bytes.Contains(b, []byte("Subject: "+long+"\r\n")) {
		t.Errorf("not written on one line: %v", err)
	}
}

// TestEightBit: nothing inside is converted.
func TestEightBit(t *testing.T) {
	body := []byte("caf\xe9\r\nna\xefve\x00\n\r")
	s := append([]byte(from+"\r\n"+to+"\r\n\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n"), body...)
	m, err := cpim.Parse(s)
	if err != nil || !bytes.Equal(m.Content.Body, body) || m.Deviations != 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	if b, err := m.Bytes(); err != nil || !bytes.HasSuffix(b, append([]byte("\r\n\r\n"), body...)) {
		t.Errorf("%q, %v", b, err)
	}
	if raw := m.Content.Raw; !bytes.HasSuffix(s, raw) || !bytes.HasPrefix(raw, []byte("Content-Type")) {
		t.Errorf("raw content %q", raw)
	}
}

func TestOpen(t *testing.T) {
	nest := func(n int) string {
		s := "Content-Type: text/plain\r\n\r\nhi"
		for i := range n {
			s = fmt.Sprintf("From: <im:a%d@h.example>\r\n%s\r\n\r\n%s", i, to, s)
			if i < n-1 {
				s = "Content-Type: message/CPIM\r\n\r\n" + s
			}
		}
		return s
	}
	for n := 1; n <= cpim.MaxDepth; n++ {
		all, err := cpim.Open([]byte(nest(n)))
		if err != nil || len(all) != n {
			t.Fatalf("%d: %d, %v", n, len(all), err)
		}
		if last := all[n-1]; all[0].From.URI != fmt.Sprintf("im:a%d@h.example", n-1) ||
			last.From.URI != "im:a0@h.example" || string(last.Content.Body) != "hi" {
			t.Errorf("%d: outermost %v, innermost %v", n, all[0].From, last.From)
		}
	}
	for _, n := range []int{cpim.MaxDepth + 1, 41} {
		if _, err := cpim.Open([]byte(nest(n))); fault.KindOf(err) != fault.Unsupported {
			t.Errorf("%d: %v", n, err)
		}
	}
	packed := from + "\r\n" + to + "\r\n\r\nContent-Type: message/cpim\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		"RnJvbTogPGltOnhAaC5leGFtcGxlPg0KVG86IDxpbTp5QGguZXhhbXBsZT4NCg0KDQpoaQ=="
	all, err := cpim.Open([]byte(packed))
	if err != nil || len(all) != 2 || all[1].From.URI != "im:x@h.example" || string(all[1].Content.Body) != "hi" {
		t.Errorf("%v, %v", all, err)
	}
}
