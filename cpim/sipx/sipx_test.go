package sipx

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
)

func TestHeader(t *testing.T) {
	for _, row := range []struct {
		name, value string
		ok          bool
	}{
		{"Subject", "hello", true},
		{"X-Ünal", "x", false},
		{"Subject", "grüße 日本", true},
		{"Subject", "a\tb", true},
		{"Subject", "", true},
		{"Subject", "a\r\nb", false},
		{"Subject", "a\nb", false},
		{"Subject", "a\rb", false},
		{"Subject", "a\x00b", false},
		{"Subject", "a\x7fb", false},
		{"Subject", "a\xffb", false},
		{"Subject", strings.Repeat("x", MaxHeader), true},
		{"Subject", strings.Repeat("x", MaxHeader+1), false},
		{"", "x", false},
		{"A B", "x", false},
		{"A:", "x", false},
		{"A\r\nB", "x", false},
	} {
		h, err := Header(row.name, row.value)
		if (err == nil) != row.ok {
			t.Errorf("%q: %q: %v", row.name, row.value, err)
		}
		if err == nil && (h.Name() != row.name || h.Value() != row.value) {
			t.Errorf("%q: %q became %s", row.name, row.value, h)
		}
	}
}

func TestPhrase(t *testing.T) {
	for in, want := range map[string]string{
		"hello":                "hello",
		"two\r\nlines":         "two lines",
		"a\nb\rc\td":           "a b c d",
		"a\u2028b\u2029c":      "a b c",
		"a\x00\x07\x7f\u0085b": "ab",
		"bad \xff\xfe":         "bad \uFFFD",
		"  edges  ":            "edges",
		`"quoted" \`:           `"quoted" \`,
		"":                     "",
	} {
		if got := Phrase(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := Reason(strings.Repeat("ü", 200)); len(got) != 254 || !utf8.ValidString(got) {
		t.Errorf("cut to %d octets: %q", len(got), got)
	}
	if got := Quoted("say \"hi\" \\\r\n"); got != `"say \"hi\" \\"` {
		t.Error(got)
	}
}

func TestWarning(t *testing.T) {
	for _, row := range []struct {
		code        int
		agent, text string
		want        string
	}{
		{399, "gw.example", "use TLS", `399 gw.example "use TLS"`},
		{399, "[2001:db8::1]", `say "x"`, `399 [2001:db8::1] "say \"x\""`},
		{1399, "a b\r\nX: y", "a\r\nX: y", `399 - "a X: y"`},
		{0, "", "", `300 - ""`},
	} {
		if got := Warning(row.code, row.agent, row.text).Value(); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
}

func TestTokens(t *testing.T) {
	for s, want := range map[string]bool{"a": true, "a-.!%*_+`'~9": true, "": false, "a b": false, "a@b": false, "ü": false, "a\r": false} {
		if IsToken(s) != want {
			t.Errorf("token %q", s)
		}
	}
	for s, want := range map[string]bool{
		"a": true, "a@b": true, `a(b)<c>:\"/[]?{}@x`: true, "": false, "a@": false, "@b": false, "a@b@c": false,
		"a b": false, "a;b": false, "a,b": false, "ü": false, strings.Repeat("x", MaxPhrase+1): false,
	} {
		if IsCallID(s) != want {
			t.Errorf("Call-ID %q", s)
		}
	}
}

func TestNew(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		for _, id := range []string{NewTag(), NewBranch(), NewCallID()} {
			// 96 bits are 20 letters of five bits each.
			if seen[id] || !IsToken(id) || !IsCallID(id) || len(strings.TrimPrefix(id, "z9hG4bK")) < 20 {
				t.Fatal(id)
			}
			seen[id] = true
		}
	}
	if !strings.HasPrefix(NewBranch(), "z9hG4bK") {
		t.Error("no cookie")
	}
}

func TestURI(t *testing.T) {
	for s, want := range map[string]bool{
		"sip:a@b.example": true, "sips:b.example:5061;transport=tcp": true, "sip:a:pw@b?x=y&z=": true,
		"sip:%c3%bc@b": true, "sip:a;b=c@d": true, "sip:[2001:db8::1]:5060": true, "sip:a@1.2.3.4": true,
		"im:a@b": true, "tel:+1-2": true, "http://x/y?z#f": true, "soap.beep://x": true, "sip:a@b.example.": true,
		"": false, "sip:": false, "sip:@b": false, "a@b": false, "sip:a b@c": false, "sip:a@b c": false, "sip:ü@b": false,
		"sip:%zz@b": false, "sip:%c@b": false, "sip:a@b:0": false, "sip:a@b:99999": false, "sip:a@b;": false, "sip:a@b;=x": false,
		"sip:a@-b": false, "sip:a@b..c": false, "sip:a@[::1": false, "sip:a@[::1%25eth0]": false, "sip:a@b?": false,
		"sip:a@b>": false, "sip:a\r\n@b": false, "1a:b": false, "im:a b": false, "sip:a@b@c": false,
	} {
		if _, err := ParseURI(s); (err == nil) != want && s != "soap.beep://x" {
			t.Errorf("%q: %v", s, err)
		}
		if IsURI(s) != want {
			t.Errorf("IsURI(%q)", s)
		}
	}
}

func TestAddress(t *testing.T) {
	for s, want := range map[string]bool{
		"sip:a@b": true, "sip:a@b;tag=1": true, "<sip:a@b>": true, "<sip:a@b;x=y>;tag=1": true, `"A, B" <sip:a@b>;tag=1`: true,
		"A B <sip:a@b>": true, `"<\"" <sip:a@b>`: true, " <sip:a@b> ; tag = x ; y ": true, "Grüße <sip:a@b>": true, `<sip:a@b>;x="q ; z"`: true,
		"A, B <sip:a@b>": false, `"A <sip:a@b>`: false, "< sip:a@b>": false, "<sip:a@b": false, "sip:a@b?c=d": false,
		"sip:a@b,sip:c@d": false, "<sip:a@b>x": false, "<sip:a@b>;": false, "<sip:a@b>;=x": false, `<sip:a@b>;x="q`: false, "": false,
		`"A" "B" <sip:a@b>`: false, "<sip:a@b>;x=": false,
	} {
		if isAddress(s) != want {
			t.Errorf("%q", s)
		}
	}
}

func parse(t *testing.T, text string) *sip.Request {
	t.Helper()
	msg, err := Parser(65535).ParseSIP([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(*sip.Request)
}

func TestReaders(t *testing.T) {
	req := parse(t, `MESSAGE sip:a@b SIP/2.0
k: x, y
o: presence
u: a
SUPPORTED: z ,
c: Text/Plain ; charset="UTF-8"
Expires: 60
Date: Thu, 21 Feb 2002 13:02:03 GMT
Accept-Language: da;q=0.5, en-GB ;Q=0.8;x, *;q=0,
Accept-Language: cs, fr;q=none

`)
	if got := strings.Join(Preferences(req, "Accept-Language"), "|"); got != "cs|en-gb|da" {
		t.Error(got)
	}
	if got := strings.Join(Tokens(req, "Supported"), "|"); got != "x|y|z" {
		t.Error(got)
	}
	if media, ok := MediaType(req); media != "text/plain" || !ok {
		t.Error(media, ok)
	}
	if d, ok := Expires(req); d != time.Minute || !ok {
		t.Error(d, ok)
	}
	at := time.Date(2002, 2, 21, 13, 2, 3, 0, time.UTC)
	if d, ok := Date(req); !d.Equal(at) || !ok || FormatDate(d.Local()) != "Thu, 21 Feb 2002 13:02:03 GMT" {
		t.Error(d, ok)
	}
	if req.GetHeader("Event") != nil {
		t.Error("sipgo reads compact forms now")
	}
	Expand(req)
	if h := req.GetHeader("Event"); h == nil || h.Value() != "presence" || req.GetHeader("Allow-Events") == nil {
		t.Error("not expanded")
	}
	odd := parse(t, "MESSAGE sip:a@b SIP/2.0\nExpires: 10000000000\nDate: Fri, 01 Jan 2010 16:00:00 EST\nc: text\n\n")
	if _, ok := Expires(odd); ok {
		t.Error("Expires out of range")
	}
	if _, ok := Date(odd); ok {
		t.Error("Date not in GMT")
	}
	if _, ok := MediaType(odd); ok {
		t.Error("Content-Type without subtype")
	}
}

// TestCheckOutgoing shows what sipgo would write.
func TestCheckOutgoing(t *testing.T) {
	base := func() *sip.Request {
		req := sip.NewRequest(sip.MESSAGE, sip.Uri{Scheme: "sip", User: "a", Host: "b"})
		req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "c", Host: "d"}, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
		return req
	}
	if err := CheckOutgoing(base()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*sip.Request){
		"value":        func(r *sip.Request) { r.AppendHeader(sip.NewHeader("X", "a\r\nb: c")) },
		"name":         func(r *sip.Request) { r.AppendHeader(sip.NewHeader("X\r\nY", "a")) },
		"display name": func(r *sip.Request) { r.From().DisplayName = `x"y` },
		"parameter":    func(r *sip.Request) { r.From().Params.Add("x", "a;b=\"") },
		"host":         func(r *sip.Request) { r.Recipient.Host = "b c" },
		"user":         func(r *sip.Request) { r.Recipient.User = "ü" },
		"method":       func(r *sip.Request) { r.Method = "" },
		"received bad": func(r *sip.Request) { r.AppendHeader(&bad{sip.NewHeader("To", "x")}) },
		"next field": func(r *sip.Request) {
			r.AppendHeader(sip.NewHeader("X", "a\r\nY: b"))
			r.AppendHeader(sip.NewHeader("Y", "c"))
		},
		"end":        func(r *sip.Request) { r.AppendHeader(sip.NewHeader("X", "a\r\n\r\nb")) },
		"empty line": func(r *sip.Request) { r.AppendHeader(sip.NewHeader("X", "a\r\n")) },
		"no value":   func(r *sip.Request) { r.AppendHeader(sip.NewHeader("X: ", "a")) },
		"version":    func(r *sip.Request) { r.SipVersion = "SIP/2.0\r\nX: y" },
	} {
		req := base()
		spoil(req)
		if err := CheckOutgoing(req); fault.KindOf(err) != fault.Malformed || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckOutgoing(sip.NewResponse(200, "a\r\nb")); err == nil {
		t.Error("reason phrase")
	}
	if err := CheckOutgoing(sip.NewResponse(99, "a")); err == nil {
		t.Error("status")
	}
}

// FuzzWritten: whatever text goes through the constructors, the message is
// read back with the same fields and body.
func FuzzWritten(f *testing.F) {
	for _, s := range []string{"hello", "a\r\nInjected: b", "\r\n\r\nbody", `"<>\`, "\xff\x00", "grüße", "x\r", "\n", ": ", "%0d%0a"} {
		f.Add("Subject", s)
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		req := sip.NewRequest(sip.MESSAGE, sip.Uri{Scheme: "sip", User: "a", Host: "b"})
		fields := []sip.Header{
			&sip.FromHeader{DisplayName: Display(value), Address: sip.Uri{Scheme: "sip", User: "a", Host: "b"}},
			Warning(399, name, value),
		}
		for _, pair := range [][2]string{{name, value}, {"Subject", Phrase(value)}, {"X", Quoted(value)}} {
			if h, err := Header(pair[0], pair[1]); err == nil {
				fields = append(fields, h)
			} else if pair[0] != name {
				t.Fatalf("%q is not fit: %v", pair[1], err)
			}
		}
		for _, h := range fields {
			req.AppendHeader(h)
		}
		req.SetBody([]byte("body"))
		if CheckOutgoing(req) != nil && IsToken(name) && strings.ToLower(name) != "content-length" {
			t.Fatal("built with care, yet refused")
		}
		if text, err := Print(req); err == nil && text != req.String() {
			t.Fatalf("%q, sipgo has %q", text, req.String())
		}
		if IsToken(name) && len(name) < 2 || len(grammars) > 0 && sip.DefaultHeadersParser()[strings.ToLower(name)] != nil {
			return // a field that has a grammar of its own
		}
		msg, err := Parser(1 << 20).ParseSIP([]byte(req.String()))
		if err != nil {
			t.Fatalf("%v: %q", err, req.String())
		}
		back := msg.(*sip.Request).Headers()
		if len(back) != len(fields)+1 || string(msg.Body()) != "body" {
			t.Fatalf("%d fields, wrote %d: %q", len(back), len(fields)+1, req.String())
		}
		for i, h := range fields {
			// sipgo trims what Unicode calls a space, RFC 3261 trims blanks and tabs
			if back[i].Name() != h.Name() || strings.TrimSpace(back[i].Value()) != strings.TrimSpace(h.Value()) {
				t.Errorf("wrote %q, read %q", h, back[i])
			}
		}
	})
}

// FuzzCheckRequest: what we accept we could print, and accept again.
func FuzzCheckRequest(f *testing.F) {
	for name := range torture {
		f.Add(sample(f, name))
	}
	p := Parser(65535)
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := p.ParseSIP(b)
		req, ok := msg.(*sip.Request)
		if err != nil || !ok || CheckRequest(req) != nil {
			return
		}
		again, err := p.ParseSIP([]byte(req.String()))
		if err != nil {
			t.Fatalf("printed %q: %v", req.String(), err)
		}
		if err := CheckRequest(again.(*sip.Request)); err != nil {
			t.Fatalf("printed %q: %v", req.String(), err)
		}
	})
}
