package cpim_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cpimgate/cpim"
	"cpimgate/testdata"
)

// FuzzParse: what the reader accepts the writer writes, without a deviation and
// with the same meaning, but for headers whose prefix nobody declared.
func FuzzParse(f *testing.F) {
	for _, s := range testdata.Seeds("cpim") {
		f.Add([]byte(s))
		f.Add(cpim.ParsePart([]byte(s)).Body)
	}
	f.Add([]byte(object("from: \"a\\\"b\" <im:\u00fc@h>;x", "TO:im:b@h", "ns: a <urn:x:y>", "Require: a.b, Subject", "a.b:;lang=fr;x=\"y z\" \\u0007\\", "cc: <no uri>")))
	f.Add([]byte("From:<A:0>\nTo:<A:0>"))           // no content
	f.Add([]byte("from:0<A:ü>\nTO:0<A:0>\n0:;0=0")) // a parameter and no value
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := cpim.Parse(b)
		if err != nil {
			return
		}
		if slices.ContainsFunc(m.Require, func(n cpim.Name) bool { return n.Space == "" }) {
			return // nobody can understand such a feature, nor name it again
		}
		written, err := m.Bytes()
		if err != nil {
			t.Fatalf("%q is accepted and not written: %v", b, err)
		}
		again, err := cpim.Parse(written)
		if err != nil || !same(m, again) || again.Deviations != 0 {
			t.Fatalf("%q\nwritten as\n%q\nis %+v, %v", b, written, again, err)
		}
	})
}

// FuzzEscape: every text survives as the value of a header, on one line.
func FuzzEscape(f *testing.F) {
	f.Add("a\\b\x00\u007f\"'\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		e := cpim.Escape(s)
		if strings.ContainsAny(e, "\r\n\t\x00") || !utf8.ValidString(e) {
			t.Fatalf("%q escaped is %q", s, e)
		}
		if got := cpim.Unescape(e); got != strings.ToValidUTF8(s, "\uFFFD") && utf8.ValidString(s) {
			t.Fatalf("%q comes back as %q", s, got)
		}
	})
}

// FuzzSplit: parts are slices of the body, in order, and no line of them is a
// delimiter.
func FuzzSplit(f *testing.F) {
	for _, s := range testdata.Seeds("mime") {
		f.Add([]byte(s))
	}
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := cpim.ParsePart(b)
		if !bytes.Equal(p.Raw, b) || !bytes.HasSuffix(b, p.Body) {
			t.Fatalf("%q is %+v", b, p)
		}
		parts, err := p.Split()
		if err != nil || p.Header.Get("Content-Transfer-Encoding") != "" {
			return
		}
		rest := p.Body
		for _, x := range parts {
			_, after, ok := bytes.Cut(rest, x.Raw)
			if !ok || !bytes.HasSuffix(x.Raw, x.Body) {
				t.Fatalf("part %q is not in %q", x.Raw, rest)
			}
			rest = after
		}
	})
}
