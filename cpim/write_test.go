package cpim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
)

// TestEscapes writes every code point up to U+007F, and some beyond, and reads
// it back (RFC 3862, section 2.3.1).
func TestEscapes(t *testing.T) {
	special := map[rune]string{'\b': `\b`, '\t': `\t`, '\n': `\n`, '\r': `\r`, '\\': `\\`}
	for r := range rune(0x100) {
		want := special[r]
		switch {
		case want != "":
		case r < 0x20 || r == 0x7F:
			want = fmt.Sprintf(`\u%04x`, r)
		default:
			want = string(r)
		}
		if got := cpim.Escape("a" + string(r) + "b"); got != "a"+want+"b" {
			t.Errorf("%U: %q, want %q", r, got, want)
		}
		if got := cpim.Unescape(cpim.Escape(string(r))); got != string(r) {
			t.Errorf("%U comes back as %q", r, got)
		}
	}
	if got := cpim.Escape("a\xffb"); got != "a\uFFFDb" {
		t.Errorf("broken UTF-8: %q", got)
	}
}

func TestUnescape(t *testing.T) {
	for s, want := range map[string]string{
		`\"\'`:           `"'`,
		`\u00E9\u00e9`:   "éé",
		`\uD83D\uDE00`:   "😀",
		`\uD83D`:         "\uFFFD",
		`\uDE00\uD83D`:   "\uFFFD\uFFFD",
		`\uD83Dx`:        "\uFFFDx",
		`\uD83D\u0041`:   "\uFFFDA",
		`\u12`:           "u12",
		`\u00g0`:         "u00g0",
		`\é\q`:           "éq",
		`\\n`:            `\n`,
		`ab\`:            "ab",
		`\`:              "",
		`no escape here`: "no escape here",
	} {
		if got := cpim.Unescape(s); got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

// TestAddress: what is written for an address, and that it is read as the same.
func TestAddress(t *testing.T) {
	for _, c := range []struct {
		a    cpim.Address
		want string
	}{
		{cpim.Address{URI: "im:a@h"}, "<im:a@h>"},
		{cpim.Address{Name: "Juliet", URI: "sip:j@h"}, "Juliet <sip:j@h>"},
		{cpim.Address{Name: "O'Hara", URI: "sip:o@h"}, "O'Hara <sip:o@h>"},
		{cpim.Address{Name: "Dr. Zoë", URI: "tel:+1"}, "Dr. Zoë <tel:+1>"},
		{cpim.Address{Name: "a, b", URI: "im:a@h"}, `"a, b" <im:a@h>`},
		{cpim.Address{Name: `say "hi"\`, URI: "im:a@h"}, `"say \"hi\"\\" <im:a@h>`},
		{cpim.Address{Name: "two  spaces", URI: "im:a@h"}, `"two  spaces" <im:a@h>`},
		{cpim.Address{Name: " ", URI: "im:a@h"}, `" " <im:a@h>`},
		{cpim.Address{Name: "x\r\nTo: <im:evil@h>", URI: "im:a@h"}, `"x\r\nTo: <im:evil@h>" <im:a@h>`},
	} {
		if got := c.a.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if got, clean, err := cpim.ParseAddress(c.want); got != c.a || !clean || err != nil {
			t.Errorf("%s: %q, %v, %v", c.want, got, clean, err)
		}
	}
}

// TestAddressForms: what is read besides.
func TestAddressForms(t *testing.T) {
	for s, want := range map[string]cpim.Address{
		`"Juliet"<sip:j@h>`:        {Name: "Juliet", URI: "sip:j@h"},
		`Juliet<sip:j@h>`:          {Name: "Juliet", URI: "sip:j@h"},
		`a@h <sip:j@h>`:            {Name: "a@h", URI: "sip:j@h"},
		`a  b   <sip:j@h>`:         {Name: "a  b", URI: "sip:j@h"},
		`sips:j@h`:                 {URI: "sips:j@h"},
		`<xmpp:ü@h>`:               {URI: "xmpp:%C3%BC@h"},
		`<im:a|b@h>`:               {URI: "im:a%7Cb@h"},
		`<mailto:j@h>;tag=1`:       {URI: "mailto:j@h"},
		`<pres:j@h> <im:second@h>`: {URI: "pres:j@h"},
	} {
		got, clean, err := cpim.ParseAddress(s)
		if got != want || err != nil || clean != (s == `"Juliet"<sip:j@h>`) {
			t.Errorf("%s: %q, %v, %v", s, got, clean, err)
		}
	}
	for _, s := range []string{"", "j", "<>", "<j>", "<:j>", "<1:j>", "<im:>", `<im:"a"@h>`, `<im:a\@h>`, "<im:a@h", `"a`, `"a" im:a@h`, "<im:a\x00@h>"} {
		if a, _, err := cpim.ParseAddress(s); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %q, %v", s, a, err)
		}
	}
}

// TestBytes is the writer's golden form.
func TestBytes(t *testing.T) {
	m := &cpim.Message{
		From:     cpim.Address{Name: "Juliet Capulet", URI: "im:juliet@example.com"},
		To:       []cpim.Address{{URI: "im:romeo@example.net"}, {URI: "im:nurse@example.com"}},
		CC:       []cpim.Address{{Name: `"`, URI: "im:x@example.com"}},
		DateTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)),
		Subjects: []cpim.Text{{Text: " two\nlines "}, {Lang: "fr", Text: "d'accord"}, {Lang: "no tag!", Text: "x"}},
		Require:  []cpim.Name{{Space: cpim.IMDN, Local: "Message-ID"}, {Space: cpim.Space, Local: "Subject"}},
		Headers: []cpim.Header{
			{Name: cpim.Name{Space: cpim.Space, Local: "Subject"}, Value: "has its field"},
			{Name: cpim.Name{Space: "urn:x:y", Local: "H"}, Params: []cpim.Param{{Name: "p", Value: "a b"}}, Value: `v\q`},
			{Name: cpim.Name{Local: "un.declared"}, Value: "nobody knows"},
			{Name: cpim.Name{Space: cpim.Space, Local: "Other"}, Value: "line\r\nFrom: <im:evil@h>"},
		},
		Content: cpim.Part{Header: cpim.Fields{{Name: "Content-type", Value: "text/plain; charset=utf-8"}}, Body: []byte("hi\n")},
	}
	m.Add(cpim.IMDN, "Message-ID", `a\b`)
	got, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`From: Juliet Capulet <im:juliet@example.com>
To: <im:romeo@example.net>
To: <im:nurse@example.com>
cc: "\"" <im:x@example.com>
DateTime: 2026-01-02T02:04:05Z
Subject: two\nlines
Subject:;lang=fr d'accord
Subject: x
NS: ns1 <urn:x:y>
NS: imdn <urn:ietf:params:imdn>
Require: imdn.Message-ID,Subject
ns1.H:;p="a b" v\q
Other: line\r\nFrom: <im:evil@h>
imdn.Message-ID: a\\b

Content-type: text/plain; charset=utf-8

hi
`, "\n", "\r\n")
	if string(got) != strings.TrimSuffix(want, "\r\n")+"\n" {
		t.Errorf("written\n%s\nwant\n%s", got, want)
	}
	if n := parse(t, string(got)).Deviations; n != 0 {
		t.Errorf("%d deviations", n)
	}
}

// TestNoContentType: a content that has no type says what that means.
func TestNoContentType(t *testing.T) {
	for _, s := range []string{from + "\r\n" + to + "\r\n\r\n\r\nhi there", from + "\r\n" + to + "\r\n\r\nhi there"} {
		m := parse(t, s)
		if m.Content.Media().Type != "text/plain" || string(m.Content.Body) != "hi there" {
			t.Errorf("%+v", m.Content)
		}
		b, err := m.Bytes()
		if err != nil || !strings.HasSuffix(string(b), "\r\n\r\nContent-Type: text/plain\r\n\r\nhi there") {
			t.Errorf("%q, %v", b, err)
		}
	}
}

// TestNotWritten: the writer refuses what it cannot write.
func TestNotWritten(t *testing.T) {
	for name, spoil := range map[string]func(m *cpim.Message){
		"no recipient":    func(m *cpim.Message) { m.To = nil },
		"no sender":       func(m *cpim.Message) { m.From = cpim.Address{} },
		"bracket in URI":  func(m *cpim.Message) { m.To[0].URI = "im:a@h>\r\nTo: <im:b@h" },
		"IRI":             func(m *cpim.Message) { m.CC = []cpim.Address{{URI: "im:ü@h"}} },
		"header name":     func(m *cpim.Message) { m.Add(cpim.Space, "a.b", "x") },
		"header injected": func(m *cpim.Message) { m.Add(cpim.Space, "a: b\r\nTo", "x") },
		"feature name":    func(m *cpim.Message) { m.Require = []cpim.Name{{Space: cpim.IMDN, Local: "a,b"}} },
		"unknown feature": func(m *cpim.Message) { m.Require = []cpim.Name{{Local: "x.y"}} },
		"namespace":       func(m *cpim.Message) { m.Add("relative", "H", "x") },
		"namespace, #":    func(m *cpim.Message) { m.Add("http://h/#x", "H", "x") },
		"MIME name":       func(m *cpim.Message) { m.Content.Header = cpim.Fields{{Name: "a b", Value: "x"}} },
		"MIME value":      func(m *cpim.Message) { m.Content.Header = cpim.Fields{{Name: "a", Value: "x\r\n\r\nbody"}} },
		"parameter's name": func(m *cpim.Message) {
			m.Headers = []cpim.Header{{Name: cpim.Name{Space: "urn:x:y", Local: "H"}, Params: []cpim.Param{{}}}}
		},
	} {
		m := parse(t, object(from, to))
		spoil(m)
		if b, err := m.Bytes(); fault.KindOf(err) != fault.Malformed || b != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// same reports whether two messages say the same, apart from how. A content
// without a type is written with the type that this means.
func same(a, b *cpim.Message) bool {
	facts := func(m *cpim.Message) []string {
		all := append(factsOf(m), fmt.Sprint("media ", m.Content.Media()))
		return slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "content-type: ") })
	}
	return slices.Equal(facts(a), facts(b))
}
