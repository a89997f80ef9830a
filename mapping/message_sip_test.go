package mapping

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// stanza reads a message from Juliet to Romeo with this inside.
func stanza(t testing.TB, inside string) *xep.Message {
	t.Helper()
	return parseMessage(t, `<message from='juliet@example.com/balcony' to='romeo@example.net/orchard' id='m1' xml:lang='en'>`+inside+`</message>`)
}

// TestMessageTypes: type is not signalled (RFC 7572, section 4; RFC 6121,
// section 5.2.2).
func TestMessageTypes(t *testing.T) {
	var first string
	for _, typ := range []string{"", "normal", "chat", "headline", "unheard-of"} {
		m := stanza(t, `<body>Hi</body>`)
		m.Type = typ
		kind, err := KindOf(m, TextOptions{})
		if kind != Content || err != nil {
			t.Errorf("type %q is %v, %v", typ, kind, err)
		}
		req, err := toSIP(t, m, SIPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = req.String()
		}
		if req.String() != first {
			t.Errorf("type %q gives\n%s\nnot\n%s", typ, req, first)
		}
	}
	m := parseMessage(t, `<message type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	if kind, err := KindOf(m, TextOptions{}); kind != Failure || err != nil {
		t.Errorf("error is %v, %v", kind, err)
	}
}

// TestFields are the header fields of one full request: the GRUU in From and
// Request-URI but not in To, no Contact, a Date for what was delayed.
func TestFields(t *testing.T) {
	m := stanza(t, "<subject>Oh\nRomeo</subject><thread>t1</thread><body>1\n2</body><delay xmlns='urn:xmpp:delay' from='example.com' stamp='2026-01-02T03:04:05Z'/>")
	req, err := toSIP(t, m, SIPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "MESSAGE sip:romeo@example.net;gr=orchard SIP/2.0\r\nFrom: <sip:juliet@example.com;gr=balcony>\r\n" +
		"To: <sip:romeo@example.net>\r\nCall-ID: t1\r\nSubject: Oh Romeo\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\n" +
		"Content-Language: en\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: 4\r\n\r\n1\r\n2"
	if req.String() != want {
		t.Errorf("got\n%s\nwant\n%s", req, want)
	}
}

// TestUnknownChildren: what a stanza has beside what we know changes nothing,
// whatever it is called and has inside (RFC 6120, section 8.4).
func TestUnknownChildren(t *testing.T) {
	const known = "<subject>Oh</subject><thread>t1</thread><body>Hi</body>"
	var first string
	for _, more := range []string{
		"", "<x xmlns='urn:example:unknown'/>", "<body xmlns='urn:example:unknown'>no</body>", "<thread xmlns='urn:example:unknown'>t2</thread>",
		"<x xmlns='urn:example:unknown'><body xmlns='jabber:server'>no</body><delay xmlns='urn:xmpp:delay' from='example.com' stamp='2026-01-02T03:04:05Z'/></x>",
		"<unheard-of/>",
	} {
		for _, inside := range []string{known + more, more + known} {
			req, err := toSIP(t, stanza(t, inside), SIPOptions{})
			if err != nil {
				t.Fatal(inside, err)
			}
			if first == "" {
				first = req.String()
			}
			if req.String() != first {
				t.Errorf("%s gives\n%s\nnot\n%s", inside, req, first)
			}
		}
	}
}

// TestDelayed: when a message was sent is told as its sender, his server or his
// room notes it, in a Date or a CPIM DateTime; a note that anybody else would
// have made, or that says nothing of who has, is passed over (XEP-0203, section
// 5).
func TestDelayed(t *testing.T) {
	for from, believed := range map[string]bool{
		"example.com": true, "juliet@example.com": true, "juliet@example.com/balcony": true, "EXAMPLE.com": true,
		"": false, "example.net": false, "romeo@example.net": false, "chat.example.com": false, "com": false, "example.com.evil.example": false, "@": false,
	} {
		m := stanza(t, "<body>Hi</body><delay xmlns='urn:xmpp:delay' from='"+from+"' stamp='2026-01-02T03:04:05Z'/><request xmlns='urn:xmpp:receipts'/>")
		date, stamp := "", "2026-01-02T12:00:00Z"
		if believed {
			date, stamp = "Fri, 02 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05Z"
		}
		req, err := toSIP(t, m, SIPOptions{Now: noon})
		if err != nil || sipx.Value(req, "Date") != date {
			t.Errorf("from %q: %v\n%s", from, err, req)
		}
		req, err = toSIP(t, m, SIPOptions{Now: noon, Accept: Accept{CPIM: true}, MessageID: "i1"})
		if err != nil || !strings.Contains(string(req.Body()), "\r\nDateTime: "+stamp+"\r\n") {
			t.Errorf("from %q: %v\n%s", from, err, req)
		}
	}
}

// TestCallIDOf are threads that are Call-IDs, and some that are none (RFC 3261,
// section 25.1); TestThreadOf is the other way.
func TestCallIDOf(t *testing.T) {
	for thread, want := range map[string]bool{
		"e0ffe42b28561960c6b12b944a092794b9683a38": true, "a@b": true, strings.Repeat("x", 128): true,
		"": false, "héllo wörld": false, "a b": false, "a@b@c": false, "a\r\nFrom: x": false, strings.Repeat("x", 129): false,
		"a@192.0.2.1": false,
	} {
		if id, ok := CallIDOf(thread); ok != want || ok && id != thread {
			t.Errorf("%q gives %q, %v", thread, id, ok)
		}
	}
	m := stanza(t, `<body>Hi</body>`)
	if _, err := MessageToSIP(m, uriOf(t, m.From), uriOf(t, m.To), SIPOptions{CallID: "a b"}); fault.KindOf(err) != fault.Malformed {
		t.Errorf("Call-ID with a space: %v", err)
	}
}

// TestThreadOf: a Call-ID with the number of a host in it is no thread.
func TestThreadOf(t *testing.T) {
	for callID, want := range map[string]bool{
		"a@b": true, "e0ffe42b-2856-1960": true, "1.2.3@b": true, "1.2.3.4.5": true, "v1.20.300.4000": true, "12:30:45@a": true, "::@b": false,
		"a@192.0.2.1": false, "192.0.2.1": false, "x-10.0.0.7-y": false, "a@192.0.2.1:5060": false, "abc192.0.2.1def": false,
		"a@[2001:db8::1]": false, "a@2001:db8::1": false, "[2001:DB8:0:0:0:0:0:1]:5060": false, "a@[::ffff:192.0.2.1]": false, "::1": false,
	} {
		if thread, ok := ThreadOf(callID); ok != want || ok && thread != callID {
			t.Errorf("%q gives %q, %v", callID, thread, ok)
		}
	}
}

// TestLanguages: the recipient's language, else the stanza's, else the first
// (RFC 7572, section 8).
func TestLanguages(t *testing.T) {
	const both = `<body xml:lang='cs'>Ahoj</body><body xml:lang='en-GB'>Hi</body><subject xml:lang='fr'>s</subject><subject xml:lang='cs'>t</subject>`
	rows := []struct {
		lang                string
		read                []string
		body, tag, headline string
	}{
		{"en", nil, "Hi", "en-GB", "s"},
		{"en", []string{"de", "cs"}, "Ahoj", "cs", "t"},
		{"de", nil, "Ahoj", "cs", "t"},
		{"", nil, "Ahoj", "cs", "t"},
	}
	for _, row := range rows {
		m := stanza(t, both)
		m.Lang = row.lang
		req, err := toSIP(t, m, SIPOptions{TextOptions: TextOptions{Languages: row.read}})
		if err != nil {
			t.Fatal(err)
		}
		if string(req.Body()) != row.body || sipx.Value(req, "Content-Language") != row.tag || sipx.Value(req, "Subject") != row.headline {
			t.Errorf("%+v gives\n%s", row, req)
		}
	}
	m := stanza(t, `<body xml:lang='not a tag!'>Hi</body>`)
	if req, err := toSIP(t, m, SIPOptions{}); err != nil || sipx.Value(req, "Content-Language") != "" {
		t.Errorf("a tag that is none: %v, %v", req, err)
	}
}

// TestTold is the content that the RFCs do not cover: the words, and the kind of
// unit. What is "-" is refused as unsupported.
func TestTold(t *testing.T) {
	const (
		reply    = `<reply xmlns='urn:xmpp:reply:0' id='r1'/>`
		quoted   = `<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body/></fallback>`
		reaction = `<reactions xmlns='urn:xmpp:reactions:0' id='r1'><reaction>👋</reaction><reaction>🐢</reaction></reactions>`
		sfs      = `<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>summit.jpg</name><size>3032449</size></file><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://a.example/s'/></sources></file-sharing>`
		oob      = `<x xmlns='jabber:x:oob'><url>https://a.example/s</url></x>`
		omemo    = `<encrypted xmlns='urn:xmpp:omemo:2'/>`
		replace  = `<replace xmlns='urn:xmpp:message-correct:0' id='r1'/>`
		long     = "0123456789012345678901234567890123456789 and more"
	)
	rows := []struct {
		name, inside string
		o            TextOptions
		want         string
	}{
		{"omemo", `<body>encrypted</body>` + omemo, TextOptions{}, "-"},
		{"omemo with the switch", `<body>encrypted</body>` + omemo, TextOptions{Plaintext: true}, "encrypted"},
		{"openpgp", `<body>x</body><openpgp xmlns='urn:xmpp:openpgp:0'>hQ==</openpgp>`, TextOptions{}, "-"},
		{"legacy openpgp", `<body>x</body><x xmlns='jabber:x:encrypted'>hQ==</x>`, TextOptions{}, "-"},
		{"eme", `<body>x</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:new'/>`, TextOptions{}, "-"},
		{"eme otr without its text", `<body>x</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/>`, TextOptions{}, "-"},
		{"eme otr", `<body>?OTR?v23?</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0'/>`, TextOptions{}, "?OTR?v23?"},
		{"otr", `<body>?OTR:AAMD.</body>`, TextOptions{}, "?OTR:AAMD."},
		{"correction", `<body>yes</body>` + replace, TextOptions{Corrected: true}, "(corrected) yes"},
		{"correction of what was never delivered", `<body>yes</body>` + replace, TextOptions{}, "yes"},
		{"reply with its quotation", `<body>&gt; no\nyes</body>` + reply + quoted, TextOptions{Former: "no"}, `> no\nyes`},
		{"reply", `<body>yes</body>` + reply, TextOptions{Former: "no\nnever"}, "> no\nyes"},
		{"reply to the forgotten", `<body>yes</body>` + reply, TextOptions{}, "yes"},
		{"reaction", reaction, TextOptions{Former: long}, `reacted 👋 🐢 to "` + long[:40] + `"`},
		{"reaction to the forgotten", reaction, TextOptions{}, ""},
		{"reaction switched off", reaction, TextOptions{Former: long, NoReaction: true}, ""},
		{"reaction taken back", `<reactions xmlns='urn:xmpp:reactions:0' id='r1'/>`, TextOptions{Former: long}, ""},
		{"retraction", `<body>/me retracted</body><retract xmlns='urn:xmpp:message-retract:1' id='w1'/>`, TextOptions{}, "(retracted a message)"},
		{"attention", `<attention xmlns='urn:xmpp:attention:0'/>`, TextOptions{}, "(wants your attention)"},
		{"attention with words", `<body>hey</body><attention xmlns='urn:xmpp:attention:0'/>`, TextOptions{}, "hey"},
		{"pubsub event", `<body>x</body><event xmlns='http://jabber.org/protocol/pubsub#event'/>`, TextOptions{}, ""},
		{"link", oob, TextOptions{}, "https://a.example/s"},
		{"link beside text", `<body>look</body>` + oob, TextOptions{}, "look\nhttps://a.example/s"},
		{"link in the text", `<body>look: https://a.example/s!</body>` + oob, TextOptions{}, "look: https://a.example/s!"},
		{"file", sfs, TextOptions{}, "summit.jpg (2961 KB) https://a.example/s"},
		{"file with fallback and link", `<body>https://a.example/s</body>` + sfs + oob, TextOptions{}, "summit.jpg (2961 KB) https://a.example/s"},
		{"aesgcm alone", `<body>aesgcm://a.example/s#00</body>`, TextOptions{}, "-"},
		{"aesgcm with text", `<body>see aesgcm://a.example/s#00</body>`, TextOptions{}, "see aesgcm://a.example/s#00"},
		{"several recipients", `<body>x</body><addresses xmlns='http://jabber.org/protocol/address'/>`, TextOptions{}, "-"},
		{"styling", `<body>*bold*</body>`, TextOptions{}, "*bold*"},
		{"only html", `<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>Hi</p></body></html>`, TextOptions{}, "Hi"},
		{"white space", "<body> \n</body>", TextOptions{}, ""},
		{"carbon", `<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>forged</body></message></forwarded></received>`, TextOptions{}, ""},
		{"hints", `<store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/><stanza-id xmlns='urn:xmpp:sid:0' id='a' by='b'/>`, TextOptions{}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.inside, row.want = strings.ReplaceAll(row.inside, `\n`, "\n"), strings.ReplaceAll(row.want, `\n`, "\n")
			m := stanza(t, row.inside)
			kind, err := KindOf(m, row.o)
			switch {
			case row.want == "-":
				if fault.KindOf(err) != fault.Unsupported || kind != 0 {
					t.Errorf("is %v, %v", kind, err)
				}
				return
			case err != nil || kind.Has(Content) != (row.want != ""):
				t.Fatalf("is %v, %v", kind, err)
			case row.want == "":
				return
			}
			req, err := toSIP(t, m, SIPOptions{TextOptions: row.o})
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(string(req.Body()), "\n"); got != row.want {
				t.Errorf("told %q, want %q", got, row.want)
			}
		})
	}
}

// TestKinds are stanzas without content (RFC 7572, section 4).
func TestKinds(t *testing.T) {
	rows := []struct {
		inside string
		want   Kind
	}{
		{``, 0},
		{`<x xmlns='urn:example:unknown'/>`, 0},
		{`<markable xmlns='urn:xmpp:chat-markers:0'/>`, 0},
		{`<paused xmlns='http://jabber.org/protocol/chatstates'/>`, ChatState},
		{`<body>Hi</body><active xmlns='http://jabber.org/protocol/chatstates'/>`, Content},
		{`<received xmlns='urn:xmpp:receipts' id='a'/>`, Receipt},
		{`<displayed xmlns='urn:xmpp:chat-markers:0' id='a'/><received xmlns='urn:xmpp:receipts' id='a'/>`, Receipt | Marker},
		{`<subject>s</subject>`, Content},
		{`<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>x</e2e>`, Content},
	}
	for _, row := range rows {
		if got, err := KindOf(stanza(t, row.inside), TextOptions{}); got != row.want || err != nil {
			t.Errorf("%s is %v, %v, want %v", row.inside, got, err, row.want)
		}
	}
	_, err := KindOf(stanza(t, `<addresses xmlns='http://jabber.org/protocol/address'/>`), TextOptions{})
	if r, ok := err.(*StanzaRefusal); !ok || r.Condition != "feature-not-implemented" || r.Error() == "" {
		t.Errorf("several recipients: %v", err)
	}
}

// TestHTMLToSIP: text/html for a peer that takes it, through the profile; both
// forms for one that takes multipart/alternative.
func TestHTMLToSIP(t *testing.T) {
	m := stanza(t, `<body>Hi there</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>`+
		`<p>Hi <em onclick='x()'>there</em><script>alert(1)</script></p></body></html>`)
	const doc = `<html><body><p>Hi <em>there</em></p></body></html>`
	rows := []struct {
		accept     Accept
		typ, exact string
	}{
		{Accept{}, "text/plain;charset=UTF-8", "Hi there"},
		{Accept{HTML: true}, "text/html;charset=UTF-8", doc},
		{Accept{HTML: true, Alternative: true}, `multipart/alternative;boundary="form"`,
			"--form\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\nHi there\r\n--form\r\nContent-Type: text/html;charset=UTF-8\r\n\r\n" + doc + "\r\n--form--\r\n"},
	}
	for _, row := range rows {
		req, err := toSIP(t, m, SIPOptions{Accept: row.accept})
		if err != nil {
			t.Fatal(err)
		}
		if sipx.Value(req, "Content-Type") != row.typ || string(req.Body()) != row.exact {
			t.Errorf("%+v gives\n%s", row.accept, req)
		}
	}
	m.Replaces = "x" // what was told otherwise has no HTML
	req, err := toSIP(t, m, SIPOptions{Accept: Accept{HTML: true}, TextOptions: TextOptions{Corrected: true}})
	if err != nil || string(req.Body()) != "(corrected) Hi there" {
		t.Errorf("correction gives %v, %v", req, err)
	}
	m = stanza(t, `<body>--form--form0</body>`+`<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>x</body></html>`)
	req, err = toSIP(t, m, SIPOptions{Accept: Accept{Alternative: true}})
	if err != nil {
		t.Fatal(err)
	}
	p := cpim.Part{Header: cpim.Fields{{Name: "Content-Type", Value: sipx.Value(req, "Content-Type")}}, Body: req.Body()}
	if parts, err := p.Split(); err != nil || len(parts) != 2 || string(parts[0].Body) != "--form--form0" {
		t.Errorf("boundary in the text: %v, %v", parts, err)
	}
}

// TestAsked: a receipt or marker that an XMPP user asks for becomes a request
// for notifications, for a peer that takes CPIM (RFC 5438, section 7.1.1).
func TestAsked(t *testing.T) {
	m := stanza(t, `<subject>Oh</subject><body>Hi</body><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>`)
	o := SIPOptions{Accept: Accept{CPIM: true}, MessageID: "id1", Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	req, err := toSIP(t, m, o)
	if err != nil {
		t.Fatal(err)
	}
	want := "From: <sip:juliet@example.com>\r\nTo: <sip:romeo@example.net>\r\nDateTime: 2026-01-02T03:04:05Z\r\nSubject:;lang=en Oh\r\n" +
		"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: id1\r\n" +
		"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n\r\n" +
		"Content-Type: text/plain;charset=UTF-8\r\n\r\nHi"
	if string(req.Body()) != want || sipx.Value(req, "Content-Type") != "message/cpim" {
		t.Errorf("got\n%s\nwant\n%s", req, want)
	}
	c, err := cpim.Parse(req.Body())
	if err != nil {
		t.Fatal(err)
	}
	if r := imdn.RequestOf(c); r == nil || !r.Positive || !r.Negative || !r.Display || r.Processing {
		t.Errorf("asked %+v", r)
	}
	o.Accept.CPIM = false
	if req, err = toSIP(t, m, o); err != nil || string(req.Body()) != "Hi" || strings.Contains(req.String(), "id1") {
		t.Errorf("a peer without CPIM got %v, %v", req, err)
	}
}

// TestInjection: nothing that an XMPP user writes becomes a header field.
func TestInjection(t *testing.T) {
	for _, evil := range []string{"a\r\nVia: x", "a\nb", "a\rb", "a\u2028b", "\x00", "a\x7f", "\u0085b"} {
		m := &xep.Message{
			From: jid.MustParse("juliet@example.com/b"), To: jid.MustParse("romeo@example.net"), Lang: evil, Nick: evil, Thread: evil,
			Subjects: []xep.Text{{Value: evil, Lang: evil}}, Bodies: []xep.Text{{Value: evil, Lang: evil}}, Request: true,
		}
		req, err := toSIP(t, m, SIPOptions{Accept: Accept{CPIM: true}, MessageID: "i"})
		if err != nil {
			t.Fatalf("%q: %v", evil, err)
		}
		checkShape(t, req)
	}
	m := stanza(t, "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>Content-Type: multipart/signed;a=\u0085\nContent-Disposition: x\nVia: x\n\nb</e2e>")
	if req, err := toSIP(t, m, SIPOptions{}); err == nil {
		checkShape(t, req)
	}
}

// checkShape fails unless a request has, when read again, exactly the header
// fields that we meant and the same body.
func checkShape(t testing.TB, req *sip.Request) {
	t.Helper()
	back := parseSIP(t, req.String()).(*sip.Request)
	if len(back.Headers()) != len(req.Headers()) || string(back.Body()) != string(req.Body()) {
		t.Fatalf("read back as\n%q\nfrom\n%q", back, req)
	}
	for i, h := range back.Headers() {
		switch h.Name() {
		case "From", "To", "Call-ID", "Subject", "Date", "Content-Type", "Content-Language", "Content-Length", "Content-Disposition", "Content-Id":
		default:
			t.Fatalf("header field %s in\n%q", h, req)
		}
		if h.Name() != req.Headers()[i].Name() || h.Value() != req.Headers()[i].Value() {
			t.Fatalf("%q is read back as %q", req.Headers()[i], h)
		}
	}
}
