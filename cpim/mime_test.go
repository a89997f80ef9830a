package cpim_test

import (
	"bytes"
	"fmt"
	"maps"
	"mime/multipart"
	"net/textproto"
	"strings"
	"testing"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
)

func TestParsePart(t *testing.T) {
	for _, c := range []struct {
		in     string
		fields string
		body   string
	}{
		{"Content-Type: text/plain\r\n\r\nhi", "[{Content-Type text/plain}]", "hi"},
		{"MIME-Version: 1.0\nContent-type:a/b;\n\tc=d\n\nhi\n", "[{MIME-Version 1.0} {Content-type a/b; c=d}]", "hi\n"},
		{"Content-Transfer-Encoding:\r\n\r\nhi", "[{Content-Transfer-Encoding }]", "hi"},
		{"Content-ID : <1>\r\nX: y\r\n\r\n", "[{Content-ID <1>} {X y}]", ""},
		{"Content-ID: <1>\r\nno field\r\n\r\nhi", "[{Content-ID <1>}]", "hi"},
		{"Content-ID: <1>", "[{Content-ID <1>}]", ""},
		{"\r\nhi", "[]", "hi"},
		{"", "[]", ""},
		{"hi\r\n\r\nthere", "[]", "hi\r\n\r\nthere"},
		{"Romeo: where art thou?\r\n\r\nJuliet", "[]", "Romeo: where art thou?\r\n\r\nJuliet"},
		{" folded: first\r\n\r\nhi", "[]", " folded: first\r\n\r\nhi"},
	} {
		p := cpim.ParsePart([]byte(c.in))
		if got := fmt.Sprint(p.Header); got != c.fields || string(p.Body) != c.body || string(p.Raw) != c.in {
			t.Errorf("%q: %s %q %q", c.in, got, p.Body, p.Raw)
		}
	}
	p := cpim.ParsePart([]byte("content-TYPE: a/b\r\nContent-Type: c/d\r\n\r\n"))
	if p.Header.Get("Content-Type") != "a/b" || p.Header.Get("x") != "" {
		t.Errorf("%v", p.Header)
	}
}

func TestParseMedia(t *testing.T) {
	for s, want := range map[string]string{
		"":                           "text/plain map[]",
		"Text/Plain;charset=UTF-8":   "text/plain map[charset:UTF-8]",
		`text/plain ; CharSet="a;b"`: "text/plain map[charset:a;b]",
		"text/plain; charset=utf-8;": "text/plain map[charset:utf-8]",
		"text":                       "application/octet-stream map[]",
		"text/":                      "application/octet-stream map[]",
		"te xt/plain":                "application/octet-stream map[]",
		"text/plain/x; a=b":          "application/octet-stream map[a:b]",
		"a/b; broken; c=d":           "a/b map[c:d]",
		"a/b; c=d; C=e":              "a/b map[c:d]",
		`a/b; c="x\"y"; d=e/f`:       `a/b map[c:x"y d:e/f]`,
		"multipart/signed; boundary=next; protocol=application/pkcs7-signature": "multipart/signed map[boundary:next protocol:application/pkcs7-signature]",
	} {
		m := cpim.ParseMedia(s)
		if got := fmt.Sprint(m.Type, " ", m.Params); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
	if got := cpim.ParseMedia("text/plain; charset=ISO-8859-1").Charset(); got != "iso-8859-1" {
		t.Errorf("charset %q", got)
	}
	p := cpim.ParsePart([]byte("Content-Disposition: Attachment;handling=required;filename=smime.p7s\r\n\r\n"))
	word, params := p.Disposition()
	if word != "attachment" || !maps.Equal(params, map[string]string{"handling": "required", "filename": "smime.p7s"}) {
		t.Errorf("%s %v", word, params)
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		encoding, in, want string
		kind               fault.Kind
	}{
		{"", "a\xff", "a\xff", 0},
		{" 8Bit ", "a\xff", "a\xff", 0},
		{"Base64", "aGkg\r\ndGhlcmU=\r\n", "hi there", 0},
		{"base64", "", "", 0},
		{"base64", "aGk", "", fault.Malformed},
		{"base64", "a*k=", "", fault.Malformed},
		{"quoted-printable", "caf=C3=A9=\r\n!\r\n", "café!\r\n", 0},
		{"x-uuencode", "a", "", fault.Unsupported},
	} {
		got, err := cpim.Decode([]byte(c.in), c.encoding)
		if string(got) != c.want || (err != nil) != (c.kind != 0) || err != nil && fault.KindOf(err) != c.kind {
			t.Errorf("%s %q: %q, %v", c.encoding, c.in, got, err)
		}
	}
}

// TestOuterEncoding: an object that came as base64 is the object again, byte for
// byte (RFC 3862, sections 7.1 and 9).
func TestOuterEncoding(t *testing.T) {
	want := []byte(object(from, to, "Subject: é"))
	p := cpim.ParsePart([]byte("Content-Type: message/cpim\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		"RnJvbTogPGltOmFAaC5leGFtcGxlPg0KVG86IDxpbTpiQGguZXhhbXBsZT4NClN1\r\n" +
		"YmplY3Q6IMOpDQoNCkNvbnRlbnQtVHlwZTogdGV4dC9wbGFpbg0KDQpoaQ==\r\n"))
	got, err := p.Decode()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want []string // raw
	}{
		"two":             {"--b\r\nA: 1\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n", []string{"A: 1\r\n\r\nx", "\r\ny"}},
		"frame":           {"preamble\r\n--b\r\n\r\nx\r\n\r\n--b--\r\nepilogue\r\n--b\r\n", []string{"\r\nx\r\n"}},
		"bare line feeds": {"--b\n\nx\n--b\n\ny\n--b--", []string{"\nx", "\ny"}},
		"padding":         {"--b \t\r\n\r\nx\r\n--b-- \r\n", []string{"\r\nx"}},
		"look-alikes":     {"--b\r\n\r\n--bc\r\nx--b\r\n --b\r\n-b\r\n--b--", []string{"\r\n--bc\r\nx--b\r\n --b\r\n-b"}},
		"not closed":      {"--b\r\n\r\nx\r\n--b\r\n\r\ny", []string{"\r\nx", "\r\ny"}},
		"closed in part":  {"--b\r\n\r\nx\r\n--b", []string{"\r\nx"}},
		"empty part":      {"--b\r\n--b\r\n\r\ny\r\n--b--", []string{"", "\r\ny"}},
		"binary":          {"--b\r\n\r\n\x00\xff\n\r\r\n--b--", []string{"\r\n\x00\xff\n\r"}},
	} {
		p := cpim.Part{Header: cpim.Fields{{Name: "Content-Type", Value: "multipart/mixed; boundary=b"}}, Body: []byte(c.body)}
		parts, err := p.Split()
		var got []string
		for _, x := range parts {
			got = append(got, string(x.Raw))
		}
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range []struct {
		media, body string
		kind        fault.Kind
	}{
		{"multipart/mixed", "--b\r\n\r\nx\r\n--b--", fault.Malformed},
		{"multipart/mixed; boundary=b", "no delimiter", fault.Malformed},
		{"multipart/mixed; boundary=b", "", fault.Malformed},
		{"multipart/mixed; boundary=b", strings.Repeat("--b\r\n\r\n", cpim.MaxParts+1), fault.TooLarge},
	} {
		p := cpim.Part{Header: cpim.Fields{{Name: "Content-Type", Value: c.media}}, Body: []byte(c.body)}
		if parts, err := p.Split(); fault.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s %.20q: %d parts, %v", c.media, c.body, len(parts), err)
		}
	}
}

// TestSplitStandard splits what the standard library has put together.
func TestSplitStandard(t *testing.T) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := range 5 {
		p, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"text/plain"}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(p, "part %d\r\n\r\n", i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := cpim.Part{Header: cpim.Fields{{Name: "content-type", Value: "multipart/mixed; boundary=" + w.Boundary()}}, Body: b.Bytes()}
	parts, err := p.Split()
	if err != nil || len(parts) != 5 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for i, x := range parts {
		if want := fmt.Sprintf("part %d\r\n\r\n", i); string(x.Body) != want || x.Media().Type != "text/plain" {
			t.Errorf("%d: %q", i, x.Body)
		}
	}
}
