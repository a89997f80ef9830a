package mapping

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/composing"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/testdata"
)

const (
	romeo  = "sip:romeo@example.net"
	juliet = "sip:juliet@example.com"
)

// fromRomeo is what a MESSAGE of this type and body means.
func fromRomeo(t testing.TB, contentType, body string, fields ...string) (*Incoming, error) {
	t.Helper()
	return toXMPP(t, messageOf(t, romeo, juliet, contentType, body, fields...), XMPPOptions{ID: "x", Now: noon})
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// wantText fails unless the MESSAGE means this text and nothing else.
func wantText(t testing.TB, in *Incoming, err error, want string) {
	t.Helper()
	switch {
	case err != nil:
		t.Fatal(err)
	case in.Stanza == nil || in.Composing != nil || in.Notices != nil:
		t.Fatalf("means %+v", in)
	case len(in.Stanza.Bodies) != 1 || in.Stanza.Bodies[0].Value != want:
		t.Errorf("says %q, want %q", in.Stanza.Bodies, want)
	}
}

// wantStatus fails unless err is answered so, with these fields.
func wantStatus(t testing.TB, in *Incoming, err error, status int, names ...string) {
	t.Helper()
	got, reason, fields := FaultToSIP(err)
	if in != nil || err == nil || got != status || reason == "" {
		t.Fatalf("means %+v, %v: status %d, want %d", in, err, got, status)
	}
	var have []string
	for _, f := range fields {
		have = append(have, f.Name())
	}
	if strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("answered with %v, want %v", fields, names)
	}
}

// TestText: charsets, line ends and characters (RFC 7572, sections 7 and 8).
func TestText(t *testing.T) {
	rows := []struct{ name, typ, body, want string }{
		{"no charset", "text/plain", "é", "é"},
		{"no type", "", "é", "é"},
		{"UTF-8", "text/plain;charset=UTF-8", "e\u0301", "e\u0301"}, // not normalised
		{"US-ASCII", `text/plain;charset="us-ascii"`, "e", "e"},
		{"Latin 1", "text/plain;charset=ISO-8859-1", "\xe9", "é"},
		{"windows-1252", "text/plain;charset=windows-1252", "\x80", "€"},
		{"Shift_JIS", "text/plain;charset=Shift_JIS", "\x93\xfa", "日"},
		{"UTF-16", "text/plain;charset=UTF-16", "\xfe\xff\x00h\x00i", "hi"},
		{"line ends", "text/plain", "a\r\nb\nc\rd", "a\nb\nc\nd"},
		{"last line end", "text/plain", "a\r\n\r\n", "a\n"},
		{"what XML cannot carry", "text/plain", "a\x00\x0b\uFFFEb\t", "a\uFFFD\uFFFD\uFFFDb\t"},
		{"markup", "text/plain", "<b>a & b</b>]]>", "<b>a & b</b>]]>"},
		{"capitals", "Text/Plain", "a", "a"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in, err := fromRomeo(t, row.typ, row.body)
			wantText(t, in, err, row.want)
			if m := parseMessage(t, in.Stanza.Element().String()); m.Bodies[0] != in.Stanza.Bodies[0] {
				t.Errorf("read back as %q", m.Bodies)
			}
		})
	}
	in, err := fromRomeo(t, "text/plain;charset=x-foo", "a")
	wantStatus(t, in, err, 415, "Accept")
	in, err = fromRomeo(t, "text/plain", "\xff\xfe")
	wantStatus(t, in, err, 400)
}

// TestHeader is RFC 7572, section 5, table 2, where the vectors are silent.
func TestHeader(t *testing.T) {
	req := messageOf(t, romeo+";gr=orchard", juliet+";gr=gone", "text/plain", "Hi", "Subject: ", "Content-Language: cs, en", "Date: Fri, 02 Jan 2026 11:58:59 GMT",
		"Expires: 120", "Priority: urgent", "User-Agent: u", "Call-Info: <http://a.example>")
	req.From().DisplayName = `Romeo \"M\"`
	in, err := toXMPP(t, req, XMPPOptions{ID: "x", Thread: "héllo", Now: noon, Chat: true, Nick: true})
	wantText(t, in, err, "Hi")
	testdata.EqualText(t, outline(in.Stanza.Element()), outline(parseStanza(t,
		`<message from='romeo@example.net/orchard' to='juliet@example.com/gone' id='x' type='chat' xml:lang='cs'><thread>héllo</thread><body>Hi</body>`+
			`<nick xmlns='http://jabber.org/protocol/nick'>Romeo "M"</nick><origin-id xmlns='urn:xmpp:sid:0' id='x'/>`+
			`<delay xmlns='urn:xmpp:delay' from='romeo@example.net/orchard' stamp='2026-01-02T11:58:59Z'/></message>`)))
	if want := noon.Add(59 * time.Second); !in.Until.Equal(want) {
		t.Errorf("good until %v, want %v", in.Until, want)
	}
	in, err = fromRomeo(t, "text/plain", "Hi", "Date: Fri, 02 Jan 2026 11:59:10 GMT", "Expires: 5")
	wantText(t, in, err, "Hi")
	if in.Stanza.Delay != nil || in.Stanza.Nick != "" || in.Stanza.Type != "" || in.Stanza.State != "" {
		t.Errorf("a live message of one well known is %+v", in.Stanza)
	}
	in, err = fromRomeo(t, "text/plain", "Hi", "Expires: 5")
	wantText(t, in, err, "Hi")
	if !in.Until.Equal(noon.Add(5*time.Second)) || !in.Sent.IsZero() {
		t.Errorf("without Date good until %v", in.Until)
	}
}

// TestNothing: what says nothing makes no stanza and no error.
func TestNothing(t *testing.T) {
	for _, body := range []string{"", " ", "\r\n\r\n"} {
		in, err := fromRomeo(t, "text/plain", body)
		if err != nil || in.Stanza != nil {
			t.Errorf("%q means %+v, %v", body, in, err)
		}
	}
	in, err := fromRomeo(t, "image/png", "x", "Content-Disposition: icon;handling=optional")
	if err != nil || in.Stanza != nil {
		t.Errorf("an optional image means %+v, %v", in, err)
	}
	in, err = fromRomeo(t, "", "", "Subject: only this")
	if err != nil || in.Stanza == nil || in.Stanza.Subjects[0].Value != "only this" {
		t.Errorf("a subject alone means %+v, %v", in, err)
	}
}

// TestTypes are the other types of RFC 7572, section 7.
func TestTypes(t *testing.T) {
	const mixed, alt = "multipart/mixed;boundary=b", "multipart/alternative;boundary=b"
	rows := []struct{ name, typ, body, want string }{
		{"alternative", alt, "--b\nContent-Type: text/plain\n\nHi\n--b\nContent-Type: text/html\n\n<p>Hi <b>x</b></p>\n--b--", "Hi"},
		{"alternative, HTML first", alt, "--b\nContent-Type: text/html\n\n<p>Hi <b>x</b></p>\n--b\nContent-Type: text/plain\n\nHi\n--b--", "Hi"},
		{"alternative, HTML only", alt, "--b\nContent-Type: text/html\n\n<p>Hi <b>x</b></p>\n--b\nContent-Type: image/png\n\nx\n--b--", "Hi x"},
		{"mixed", mixed, "--b\nContent-Type: text/plain\n\nHi\n--b\n\nthere\n--b--", "Hi\nthere"},
		{"mixed with an optional part", mixed, "--b\nContent-Type: text/plain\n\nHi\n--b\nContent-Type: image/png\nContent-Disposition: inline;handling=optional\n\nx\n--b--", "Hi"},
		{"mixed with an authenticated identity body", mixed, "--b\nContent-Type: text/plain\n\nHi\n--b\nContent-Type: message/sipfrag\nContent-Disposition: aib;handling=optional\n\nFrom: x\n--b--", "Hi"},
		{"mixed with a transfer encoding", mixed, "--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGk=\n--b--", "Hi"},
		{"external body", `message/external-body;access-type="URL";URL="https://a.example/s";size=12`, "Content-Type: image/png\n\n", "https://a.example/s"},
		{"OTR", "text/plain", "?OTR?v23?", "?OTR?v23?"},
		{"inline text", "text/plain", "Hi", "Hi"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			in, err := fromRomeo(t, row.typ, strings.ReplaceAll(row.body, "\n", "\r\n"))
			wantText(t, in, err, row.want)
		})
	}
	refused := []struct{ name, typ, body, disposition string }{
		{"json", "application/json", "{}", ""},
		{"image", "image/png", "x", "attachment"},
		{"required disposition", "text/plain", "x", "session"},
		{"disposition that must be handled", "text/plain", "x", "alert;handling=required"},
		{"mixed with an image", mixed, "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--", ""},
		{"recipient list", mixed, "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n<a/>\r\n--b--", ""},
		{"alternative of nothing", alt, "--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--", ""},
		{"external body on a disk", `message/external-body;access-type=local-file;name="/etc/passwd"`, "x", ""},
		{"external body that runs", `message/external-body;access-type=URL;URL="javascript:alert(1)"`, "x", ""},
		{"transfer encoding", "text/plain", "x", ""},
	}
	for _, row := range refused {
		t.Run(row.name, func(t *testing.T) {
			var fields []string
			if row.disposition != "" {
				fields = []string{"Content-Disposition: " + row.disposition}
			}
			names := []string{"Accept"}
			if row.name == "transfer encoding" {
				fields, names = []string{"Content-Transfer-Encoding: x-uu"}, nil
			}
			in, err := fromRomeo(t, row.typ, row.body, fields...)
			wantStatus(t, in, err, 415, names...)
		})
	}
	in, err := fromRomeo(t, mixed, "no boundary")
	wantStatus(t, in, err, 400)
	in, err = fromRomeo(t, alt, "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hi <b>x</b></p>\r\n--b--")
	wantText(t, in, err, "Hi")
	if in.Stanza.HTML == nil || in.Stanza.HTML.String() != `<body xmlns='http://www.w3.org/1999/xhtml'><p>Hi <strong>x</strong></p></body>` {
		t.Errorf("HTML is %v", in.Stanza.HTML)
	}
}

// TestPlainOnly: the switch leaves XHTML-IM out, never the text (XEP-0071 is
// deprecated).
func TestPlainOnly(t *testing.T) {
	req := messageOf(t, romeo, juliet, "text/html", "<p>a<br><b>b</b></p>")
	for _, only := range []bool{false, true} {
		in, err := toXMPP(t, req, XMPPOptions{PlainOnly: only})
		wantText(t, in, err, "a\nb")
		if (in.Stanza.HTML == nil) != only {
			t.Errorf("switch %v: HTML is %v", only, in.Stanza.HTML)
		}
	}
}

// TestMixedHTML: HTML that is only one part of the text is left out, or clients
// would show it in place of all (XEP-0071, section 8).
func TestMixedHTML(t *testing.T) {
	const rich = "--b\r\nContent-Type: text/html\r\n\r\n<b>a</b>\r\n"
	in, err := fromRomeo(t, "multipart/mixed;boundary=b", rich+"--b--")
	wantText(t, in, err, "a")
	if in.Stanza.HTML == nil {
		t.Error("one HTML part has no HTML")
	}
	in, err = fromRomeo(t, "multipart/mixed;boundary=b", rich+"--b\r\n\r\nb\r\n--b--")
	wantText(t, in, err, "a\nb")
	if in.Stanza.HTML != nil {
		t.Errorf("HTML is %s", in.Stanza.HTML)
	}
}

// TestContentEncoding: deflate in both forms, gzip, and what is refused with
// Accept-Encoding (RFC 3261, section 8.2.3).
func TestContentEncoding(t *testing.T) {
	pack := func(open func(io.Writer) io.WriteCloser, text string) string {
		var b bytes.Buffer
		w := open(&b)
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	zip := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	raw := func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, -1)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	zl := func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
	for _, row := range []struct{ name, body string }{
		{"gzip", pack(zip, "Hi")}, {"deflate", pack(zl, "Hi")}, {"deflate", pack(raw, "Hi")}, {"identity", "Hi"},
		{"deflate, gzip", pack(zip, pack(zl, "Hi"))},
	} {
		in, err := fromRomeo(t, "text/plain", row.body, "Content-Encoding: "+row.name)
		wantText(t, in, err, "Hi")
	}
	in, err := fromRomeo(t, "text/plain", "Hi", "e: br")
	wantStatus(t, in, err, 415, "Accept-Encoding")
	in, err = fromRomeo(t, "text/plain", "Hi", "Content-Encoding: gzip")
	wantStatus(t, in, err, 400)
	in, err = fromRomeo(t, "text/plain", pack(zip, strings.Repeat("x", MaxInflated+1)), "Content-Encoding: gzip")
	wantStatus(t, in, err, 413)
}

// envelope is a CPIM object from Romeo to Juliet.
func envelope(headers, content string) string {
	object := "From: <im:romeo@example.net>\nTo: <im:juliet@example.com>\n" + headers + "\n" + content
	return strings.ReplaceAll(strings.ReplaceAll(object, "\r\n", "\n"), "\n", "\r\n")
}

const hi = "Content-Type: text/plain\n\nHi"

// TestEnvelope is Message/CPIM beyond the vectors (RFC 3862; RFC 3922, section
// 4.2).
func TestEnvelope(t *testing.T) {
	taken := []struct{ name, object, want string }{
		{"sip address", strings.Replace(envelope("", hi), "im:romeo", "sip:romeo", 1), "Hi"},
		{"xmpp address", strings.Replace(envelope("", hi), "im:romeo", "xmpp:romeo", 1), "Hi"},
		{"pres address", strings.Replace(envelope("", hi), "im:romeo", "pres:romeo", 1), "Hi"},
		{"mailto address", strings.Replace(envelope("", hi), "im:romeo", "mailto:romeo", 1), "Hi"},
		{"another device of his", strings.Replace(envelope("", hi), "im:romeo@example.net", "sip:romeo@example.net;gr=x", 1), "Hi"},
		{"imdn required", envelope("NS: q <urn:ietf:params:imdn>\nRequire: q.Message-ID\n", hi), "Hi"},
		{"core header required", envelope("Require: Subject\n", hi), "Hi"},
		{"nested", envelope("", "Content-Type: message/cpim\n\n"+envelope("", hi)), "Hi"},
		{"nested from another inside", envelope("", "Content-Type: message/cpim\n\n"+strings.ReplaceAll(envelope("", hi), "im:romeo", "im:paris")), "Hi"},
		{"transfer encoding", envelope("", "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGk="), "Hi"},
		{"empty transfer encoding", envelope("", "Content-Type: text/plain\nContent-Transfer-Encoding: \n\nHi"), "Hi"},
		{"Latin 1 inside", envelope("", "Content-Type: text/plain;charset=iso-8859-1\n\n\xe9"), "é"},
		{"no content type", envelope("", "\nHi"), "Hi"},
	}
	for _, row := range taken {
		t.Run(row.name, func(t *testing.T) {
			in, err := fromRomeo(t, "message/cpim", row.object)
			wantText(t, in, err, row.want)
			if !in.CPIM {
				t.Error("not noted as CPIM")
			}
		})
	}
	deep := hi
	for range 4 {
		deep = "Content-Type: message/cpim\n\n" + envelope("", deep)
	}
	refused := []struct {
		name, object string
		status       int
		fields       []string
	}{
		{"forged", strings.Replace(envelope("", hi), "im:romeo", "im:paris", 1), 403, nil},
		{"forged outside", strings.ReplaceAll(envelope("", "Content-Type: message/cpim\n\n"+envelope("", hi)), "From: <im:romeo", "From: <im:paris"), 403, nil},
		{"unknown scheme", strings.Replace(envelope("", hi), "im:romeo", "http://romeo", 1), 400, nil},
		{"two recipients", envelope("To: <im:nurse@example.com>\n", hi), 403, nil},
		{"required and unknown", envelope("NS: q <mid:x@y>\nRequire: q.R\n", hi), 415, []string{"Warning", "Accept"}},
		{"nested four times", strings.TrimPrefix(deep, "Content-Type: message/cpim\n\n"), 415, nil},
		{"no headers", "Hi", 400, nil},
		{"json inside", envelope("", "Content-Type: application/json\n\n{}"), 415, []string{"Accept"}},
	}
	for _, row := range refused {
		t.Run(row.name, func(t *testing.T) {
			in, err := fromRomeo(t, "message/cpim", row.object)
			wantStatus(t, in, err, row.status, row.fields...)
		})
	}
}

// TestEnvelopePolicy: what depends on the options.
func TestEnvelopePolicy(t *testing.T) {
	two := messageOf(t, romeo, juliet, "message/cpim", envelope("To: <im:nurse@example.com>\n", hi))
	in, err := toXMPP(t, two, XMPPOptions{SeveralTo: true})
	wantText(t, in, err, "Hi")
	other := messageOf(t, romeo, "sip:paris@example.com", "message/cpim", envelope("To: <im:nurse@example.com>\n", hi))
	in, err = toXMPP(t, other, XMPPOptions{SeveralTo: true})
	wantStatus(t, in, err, 403)
	one := messageOf(t, "sip:anonymous@anonymous.invalid", juliet, "message/cpim", envelope("", hi))
	in, err = toXMPP(t, one, XMPPOptions{Sender: jid.MustParse("romeo@example.net")})
	wantText(t, in, err, "Hi")
	in, err = toXMPP(t, one, XMPPOptions{})
	wantStatus(t, in, err, 403)
	tel := messageOf(t, "sip:+15551234@example.net;user=phone", juliet, "message/cpim", strings.Replace(envelope("", hi), "im:romeo@example.net", "tel:+1-555-1234", 1))
	in, err = toXMPP(t, tel, XMPPOptions{})
	wantText(t, in, err, "Hi")
}

// TestEnvelopeLanguage: a subject without a language has none, and inherits
// none (RFC 3862, section 3.3); DateTime is a delay if it is old.
func TestEnvelopeLanguage(t *testing.T) {
	in, err := fromRomeo(t, "message/cpim", envelope("Subject: Oh\nSubject:;lang=cs Ach\nDateTime: 2026-01-02T10:00:00+01:00\n", hi), "Content-Language: fr", "Subject: outer")
	wantText(t, in, err, "Hi")
	testdata.EqualText(t, outline(in.Stanza.Element()), outline(parseStanza(t,
		`<message from='romeo@example.net' to='juliet@example.com' id='x'><subject>Oh</subject><subject xml:lang='cs'>Ach</subject><thread>c1</thread>`+
			`<body xml:lang='fr'>Hi</body><origin-id xmlns='urn:xmpp:sid:0' id='x'/><delay xmlns='urn:xmpp:delay' from='romeo@example.net' stamp='2026-01-02T09:00:00Z'/></message>`)))
	in, err = fromRomeo(t, "message/cpim", envelope("DateTime: 2026-01-02T11:59:30Z\n", "Content-Language: de\n"+hi), "Content-Language: fr", "Subject: outer")
	wantText(t, in, err, "Hi")
	if in.Stanza.Lang != "de" || in.Stanza.Subjects[0].Value != "outer" || in.Stanza.Delay != nil {
		t.Errorf("means %+v", in.Stanza)
	}
}

// TestStatusDocuments are the bodies that are no message (RFC 3994; RFC 5438).
func TestStatusDocuments(t *testing.T) {
	active := `<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state><refresh>90</refresh></isComposing>`
	notice := `<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>a</message-id><datetime>2026-01-02T11:00:00Z</datetime>` +
		`<delivery-notification><status><delivered/></status></delivery-notification></imdn>`
	ask := "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: b\nDateTime: 2026-01-02T11:59:59Z\nimdn.Disposition-Notification: positive-delivery\n"
	for name, in := range map[string]func() (*Incoming, error){
		"bare": func() (*Incoming, error) { return fromRomeo(t, composing.MediaType, active) },
		"wrapped": func() (*Incoming, error) {
			return fromRomeo(t, "message/cpim", envelope(ask, "Content-Type: "+composing.MediaType+"\n\n"+active))
		},
	} {
		got, err := in()
		if err != nil || got.Stanza != nil || got.Composing == nil || got.Composing.State != composing.Active || got.Composing.Refresh != 90*time.Second || got.Asked != nil {
			t.Errorf("%s composing means %+v, %v", name, got, err)
		}
	}
	for name, body := range map[string]string{
		"wrapped":             envelope(ask, "Content-Type: message/imdn+xml\nContent-Disposition: notification\n\n"+notice),
		"without disposition": envelope("", "Content-Type: message/imdn+xml\n\n"+notice),
	} {
		got, err := fromRomeo(t, "message/cpim", body)
		if err != nil || got.Stanza != nil || len(got.Notices) != 1 || got.Notices[0].MessageID != "a" || got.Asked != nil {
			t.Errorf("%s notification means %+v, %v", name, got, err)
		}
	}
	for _, typ := range []string{composing.MediaType, imdn.MediaType} {
		if got, err := fromRomeo(t, typ, "<!DOCTYPE x><x/>"); err != nil || got.Stanza != nil || got.Notices != nil || got.Composing != nil {
			t.Errorf("broken %s means %+v, %v", typ, got, err)
		}
	}
	got, err := fromRomeo(t, "multipart/mixed;boundary=b", "--b\r\n\r\nHi\r\n--b\r\nContent-Type: message/imdn+xml\r\n\r\n"+notice+"\r\n--b--")
	wantText(t, got, err, "Hi") // RFC 5438, section 9: the message counts
}

// TestAnonymousAsks: nobody can be told (RFC 5438, section 12.1.1).
func TestAnonymousAsks(t *testing.T) {
	ask := "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: b\nDateTime: 2026-01-02T11:59:59Z\nimdn.Disposition-Notification: positive-delivery\n"
	object := envelope(ask, hi)
	in, err := toXMPP(t, messageOf(t, romeo, juliet, "message/cpim", object), XMPPOptions{})
	wantText(t, in, err, "Hi")
	if in.Asked == nil || !in.Stanza.Request {
		t.Fatalf("Romeo asks %+v", in.Asked)
	}
	anon := messageOf(t, "sip:anonymous@anonymous.invalid", juliet, "message/cpim", strings.Replace(object, "romeo@example.net", "anonymous@anonymous.invalid", 1))
	in, err = toXMPP(t, anon, XMPPOptions{})
	wantText(t, in, err, "Hi")
	if in.Asked != nil || in.Stanza.Request {
		t.Errorf("nobody asks %+v", in.Asked)
	}
}

// TestInverse: a text that went to SIP comes back as it was.
func TestInverse(t *testing.T) {
	m := stanza(t, `<subject>Oh</subject><thread>t1</thread><body>Nic z obého
má děvo</body>`)
	checkInverse(t, m)
	if m.Type = "chat"; m.Bodies == nil {
		t.Fatal("no body")
	}
	checkInverse(t, m)
}

// checkInverse maps a message to SIP, over the wire and back, plain and in an
// envelope.
func checkInverse(t testing.TB, m *xep.Message) {
	t.Helper()
	text, err := TextToSIP(m, TextOptions{})
	if err != nil || text.Value == "" {
		return
	}
	for _, o := range []SIPOptions{{}, {Accept: Accept{CPIM: true}, MessageID: "id1", Now: noon}} {
		m.Request = o.MessageID != ""
		req, err := toSIP(t, m, o)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		checkShape(t, req)
		transact(req, parseSIP(t, "MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS x2s.example.com:5061;branch=z9hG4bK776sgdkse\r\n"+
			"Max-Forwards: 70\r\nFrom: <sip:c@d>;tag=12345\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"))
		back := parseSIP(t, req.String()).(*sip.Request)
		if err := sipx.CheckRequest(back); err != nil {
			t.Fatalf("%v in\n%s", err, back)
		}
		in, err := toXMPP(t, back, XMPPOptions{ID: "x", Now: noon})
		if err != nil {
			t.Fatalf("%v in\n%s", err, back)
		}
		checkSame(t, m, text, in.Stanza)
	}
}

// checkSame compares what must survive.
func checkSame(t testing.TB, m *xep.Message, text xep.Text, back *xep.Message) {
	t.Helper()
	want := strings.TrimSuffix(text.Value, "\n")
	if strings.TrimSpace(strings.TrimPrefix(want, "\uFEFF")) == "" {
		return
	}
	switch {
	case back == nil || len(back.Bodies) != 1:
		t.Fatalf("%q became %+v", want, back)
	case back.Bodies[0].Value != strings.TrimPrefix(want, "\uFEFF"):
		t.Fatalf("body %q became %q", want, back.Bodies[0].Value)
	case langTag(text.Lang) != "" && !m.Request && back.LangOf(back.Bodies[0]) != text.Lang:
		t.Fatalf("language %q became %q", text.Lang, back.LangOf(back.Bodies[0]))
	case !back.From.Equal(m.From) || !back.To.Equal(m.To):
		t.Fatalf("%v to %v became %v to %v", m.From, m.To, back.From, back.To)
	}
	if id, ok := CallIDOf(m.Thread); ok && back.Thread != id {
		t.Fatalf("thread %q became %q", id, back.Thread)
	}
	if subject := SubjectOf(m, text); subject != "" && !m.Request && back.Subjects[0].Value != subject {
		t.Fatalf("subject %q became %q", subject, back.Subjects[0].Value)
	}
}
