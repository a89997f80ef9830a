package sipx

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// TestMisread: sipgo takes the host of a URI without a user from the first
// bracket, wherever it stands. Nobody becomes another by that.
func TestMisread(t *testing.T) {
	for uri, host := range map[string]string{ // "" is misread
		"sip:good.example;x=[::1]":        "",
		"sip:good.example?x=[::1]":        "",
		"sip:good.example;x=sip:[::1]":    "",
		"sip:a[::1]@good.example":         "", // no URI at all
		"sip:u@good.example;x=[::1]":      "good.example",
		"sip:[::1];x=y":                   "[::1]",
		"sip:u@[::1]:5060;x=[2001:db8::]": "[::1]",
		"sips:good.example":               "good.example",
	} {
		if Misread(uri) != (host == "") {
			t.Errorf("%s: %v", uri, Misread(uri))
		}
		if u, err := ParseURI(uri); (err != nil) != (host == "") || u.Host != host {
			t.Errorf("ParseURI(%s): %s, %v", uri, u.Host, err)
		}
	}
	for _, row := range []struct{ field, value, want string }{
		{"From", "<sip:good.example;x=[::1]>;tag=1", "Bad From"},
		{"From", "sip:good.example;x=[::1];tag=1", ""}, // a parameter of the field, not of the URI
		{"From", `"[" <sip:good.example>;tag=1`, ""},
		{"To", `"<sip:a@b>" <sip:good.example;x=[::1]>`, "Bad To"},
		{"Contact", "<sip:good.example;x=[::1]>", "Bad Contact"},
		{"Contact", "<sip:a@a.example>, <sip:good.example;x=[::1]>", "Bad Contact"},
		{"m", "<sip:good.example;x=[::1]>, <sip:a@a.example>", "Bad Contact"},
		{"Record-Route", "<sip:p.example;lr>, <sip:good.example;x=[::1]>", "Bad Record-Route"},
		{"Contact", "<sip:a@[::1]:5060;x=[::2]>", ""},
	} {
		req := plainRequest
		if row.field == "From" || row.field == "To" {
			lines := strings.Split(req, "\r\n")
			for i, line := range lines {
				if strings.HasPrefix(line, row.field+":") {
					lines[i] = row.field + ": " + row.value
				}
			}
			req = strings.Join(lines, "\r\n")
		} else {
			req = strings.Replace(req, "\r\nCSeq", "\r\n"+row.field+": "+row.value+"\r\nCSeq", 1)
		}
		msg, err := Parser(65535).ParseSIP([]byte(req))
		if err != nil {
			t.Fatal(row, err)
		}
		got := ""
		if err := CheckRequest(msg.(*sip.Request)); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%v: %q", row, got)
		}
	}
}

const plainRequest = "MESSAGE sip:juliet@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bK1\r\n" +
	"From: <sip:romeo@a.example>;tag=1\r\nTo: <sip:juliet@b.example>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"

// TestDisplayName: quoted-pairs come through the parser and are written again
// as they were (RFC 3261, section 25.1).
func TestDisplayName(t *testing.T) {
	for _, name := range []string{`"a \" b"`, `"a \\"`, `"\\\""`, `"<sip:x@y>;tag=2"`} {
		text := strings.Replace(plainRequest, "From: ", "From: "+name+" ", 1)
		msg, err := Parser(65535).ParseSIP([]byte(text))
		if err != nil {
			t.Fatal(name, err)
		}
		req := msg.(*sip.Request)
		if err := CheckRequest(req); err != nil {
			t.Error(name, err)
		}
		if got := req.From().Value(); got != name+" <sip:romeo@a.example>;tag=1" || CheckOutgoing(req) != nil {
			t.Errorf("%s became %s", name, got)
		}
	}
	for _, name := range []string{`a\`, `a" <sip:x@y>, "`} { // as somebody might fill in the field
		req := sip.NewRequest(sip.MESSAGE, sip.Uri{Scheme: "sip", Host: "b.example"})
		req.AppendHeader(&sip.FromHeader{DisplayName: name, Address: sip.Uri{Scheme: "sip", Host: "a.example"}})
		if CheckOutgoing(req) == nil {
			t.Errorf("%q is written", name)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"30": 30 * time.Second, "18000;duration=3600": 5 * time.Hour, "120 (I'm in a meeting)": 2 * time.Minute,
		"0": 0, "": -1, "x": -1, "-1": -1, "1x": -1, "99999999999": -1,
	} {
		res := sip.NewResponse(503, "x")
		res.AppendHeader(sip.NewHeader("Retry-After", value))
		got, ok := RetryAfter(res)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v %v", value, got, ok)
		}
	}
}

// FuzzHost: the host that sipgo finds in a URI is the one that stands there.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"sip:u@good.example;x=[::1]", "sip:good.example;x=[::1]", "sip:[::1]:5060?a=[b]", "sips:a:b@[2001:db8::1];lr", "sip:a;b@c?d=e@f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil || u.Scheme != "sip" && u.Scheme != "sips" {
			return
		}
		_, host, _ := strings.Cut(s, ":")
		if _, rest, ok := strings.Cut(host, "@"); ok {
			host = rest
		}
		if i := strings.IndexAny(host, ";?"); i >= 0 {
			host = host[:i]
		}
		if host != u.Host && !strings.HasPrefix(host, u.Host+":") {
			t.Errorf("%q: host %q, not %q", s, u.Host, host)
		}
	})
}

// TestItems: commas count outside of quotes and angle brackets.
func TestItems(t *testing.T) {
	for list, want := range map[string]string{
		"<sip:a@b>, <tel:+1>":          "<sip:a@b>|<tel:+1>",
		`"a, \"b" <sip:a,b@c>,sip:d@e`: `"a, \"b" <sip:a,b@c>|sip:d@e`,
		"<sip:a@b":                     "<sip:a@b",
		`"open, <sip:a@b>`:             `"open|<sip:a@b>`,
		"":                             "",
		",":                            "|",
	} {
		if got := strings.Join(Items(list), "|"); got != want {
			t.Errorf("%s: %s", list, got)
		}
	}
}

// FuzzItems: nothing is lost, and an item by itself is one.
func FuzzItems(f *testing.F) {
	f.Add(`"a, \"b" <sip:a,b@c>,sip:d@e`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, list string) {
		items := Items(list)
		if strip := strings.NewReplacer(" ", "", "\t", ""); strip.Replace(strings.Join(items, ",")) != strip.Replace(list) {
			t.Errorf("%q became %q", list, items)
		}
	})
}

// TestResolve: an inbox is at the SIP URI of the same name (RFC 3428, section
// 5).
func TestResolve(t *testing.T) {
	for from, want := range map[string]string{
		"im:j@b.example": "sip:j@b.example", "pres:j@b.example?x=y": "sip:j@b.example", "sip:j@b.example;x=y": "sip:j@b.example;x=y",
		"tel:+1": "tel:+1", "im:b.example": "im:b.example", "im:j@b.example;x=[::1]": "im:j@b.example;x=[::1]", "im:a@b@c": "im:a@b@c",
	} {
		var u sip.Uri
		if err := sip.ParseUri(from, &u); err != nil {
			t.Fatal(err)
		}
		if got := Resolve(u); got.String() != want {
			t.Errorf("%s: %s", from, got.String())
		}
	}
}
