package xep_test

import (
	"reflect"
	"testing"
	"time"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
)

// read parses a stanza as it stands on a server-to-server stream.
func read(t testing.TB, stanza string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.ParseIn([]byte(stanza), xep.NS, xmltree.Documents)
	if err != nil {
		t.Fatalf("%s: %v", stanza, err)
	}
	return e
}

func parse(t testing.TB, inside string) *xep.Message {
	t.Helper()
	m, err := xep.ParseMessage(read(t, `<message from='juliet@example.com/balcony' to='romeo@example.net' id='m1' xml:lang='en'>`+inside+`</message>`))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var header = xep.Message{
	From: jid.MustParse("juliet@example.com/balcony"), To: jid.MustParse("romeo@example.net"), ID: "m1", Lang: "en",
}

// payloads are named by their XEP; want changes a message that has the header
// and nothing else.
var payloads = []struct {
	name, stanza string
	want         func(m *xep.Message)
}{
	{"6121 nothing", ``, func(*xep.Message) {}},
	{"6121 body", `<body>Hi</body>`, func(m *xep.Message) { m.Bodies = []xep.Text{{Value: "Hi"}} }},
	{"6121 languages", `<subject>a</subject><subject xml:lang='cs'>b</subject><body xml:lang='cs'>c</body><body xml:lang='CS'>d</body><body xml:lang='en'>e</body><body>f</body>`,
		func(m *xep.Message) {
			m.Subjects = []xep.Text{{Value: "a"}, {Lang: "cs", Value: "b"}}
			m.Bodies = []xep.Text{{Lang: "cs", Value: "c"}, {Lang: "en", Value: "e"}}
		}},
	{"6121 thread", `<thread parent='x'>t1</thread><thread>t2</thread>`, func(m *xep.Message) { m.Thread = "t1" }},
	{"6121 error outside an error", `<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`, func(*xep.Message) {}},
	{"6121 body of another namespace", `<body xmlns='urn:example'>Hi</body>`, func(*xep.Message) {}},
	{"0085", `<composing xmlns='http://jabber.org/protocol/chatstates'/>`, func(m *xep.Message) { m.State = xep.Composing }},
	{"0085 unknown", `<thinking xmlns='http://jabber.org/protocol/chatstates'/>`, func(*xep.Message) {}},
	{"0172", `<nick xmlns='http://jabber.org/protocol/nick'> Jule </nick>`, func(m *xep.Message) { m.Nick = "Jule" }},
	{"0203", `<delay xmlns='urn:xmpp:delay' from='example.com' stamp='2026-01-02T04:04:05.5+01:00'/>`, func(m *xep.Message) {
		m.Delay = &xep.Delay{Stamp: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC), From: jid.MustParse("example.com")}
	}},
	{"0203 no time", `<delay xmlns='urn:xmpp:delay' stamp='yesterday'/>`, func(*xep.Message) {}},
	{"0184 request", `<request xmlns='urn:xmpp:receipts'/>`, func(m *xep.Message) { m.Request = true }},
	{"0184 received", `<received xmlns='urn:xmpp:receipts' id='s1'/>`, func(m *xep.Message) { m.Received = "s1" }},
	{"0333 markable", `<markable xmlns='urn:xmpp:chat-markers:0'/>`, func(m *xep.Message) { m.Markable = true }},
	{"0333 displayed", `<displayed xmlns='urn:xmpp:chat-markers:0' id='s1'/>`, func(m *xep.Message) { m.Displayed = "s1" }},
	{"0066", `<x xmlns='jabber:x:oob'><url>http://a.example/1</url><desc>one</desc></x><x xmlns='jabber:x:oob'><url>http://a.example/2</url></x>`,
		func(m *xep.Message) { m.OOB = []string{"http://a.example/1", "http://a.example/2"} }},
	{"0308", `<replace xmlns='urn:xmpp:message-correct:0' id='bad1'/>`, func(m *xep.Message) { m.Replaces = "bad1" }},
	{"0461", `<reply xmlns='urn:xmpp:reply:0' to='romeo@example.net' id='r1'/>`, func(m *xep.Message) { m.ReplyTo = "r1" }},
	{"0461 quoted", `<reply xmlns='urn:xmpp:reply:0' id='r1'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:other'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='9'/></fallback>`,
		func(m *xep.Message) { m.ReplyTo, m.Quoted = "r1", true }},
	{"0444", `<reactions xmlns='urn:xmpp:reactions:0' id='r1'><reaction>👋</reaction><reaction> 🐢 </reaction></reactions>`,
		func(m *xep.Message) { m.Reactions = &xep.Reactions{ID: "r1", Emoji: []string{"👋", "🐢"}} }},
	{"0444 none left", `<reactions xmlns='urn:xmpp:reactions:0' id='r1'/>`, func(m *xep.Message) { m.Reactions = &xep.Reactions{ID: "r1"} }},
	{"0424 version 1", `<retract xmlns='urn:xmpp:message-retract:1' id='w1'/>`, func(m *xep.Message) { m.Retracts = "w1" }},
	{"0424 version 0", `<apply-to xmlns='urn:xmpp:fasten:0' id='w1'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>`, func(m *xep.Message) { m.Retracts = "w1" }},
	{"0422 fastening of something else", `<apply-to xmlns='urn:xmpp:fasten:0' id='w1'><other xmlns='urn:example'/></apply-to>`, func(*xep.Message) {}},
	{"0224", `<attention xmlns='urn:xmpp:attention:0'/>`, func(m *xep.Message) { m.Attention = true }},
	{"0033", `<addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='x@example.net'/></addresses>`, func(m *xep.Message) { m.Multicast = true }},
	{"0447", `<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>summit.jpg</name><size>3032449</size></file><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://a.example/summit.jpg'/></sources></file-sharing>`,
		func(m *xep.Message) {
			m.Files = []xep.File{{Name: "summit.jpg", Size: 3032449, URL: "https://a.example/summit.jpg"}}
		}},
	{"0385", `<reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'><file xmlns='urn:xmpp:jingle:apps:file-transfer:5'><name>summit.jpg</name><size>-1</size></file><sources><reference xmlns='urn:xmpp:reference:0' uri='xmpp:romeo@montague.lit?jingle'/><reference xmlns='urn:xmpp:reference:0' uri='https://a.example/s'/></sources></media-sharing></reference>`,
		func(m *xep.Message) {
			m.Files = []xep.File{{Name: "summit.jpg", Size: -1, URL: "https://a.example/s"}}
		}},
	{"0372 mention", `<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:x@example.net'/>`, func(*xep.Message) {}},
	{"0359", `<origin-id xmlns='urn:xmpp:sid:0' id='o1'/><stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='example.org'/>`, func(m *xep.Message) { m.OriginID = "o1" }},
	{"0060", `<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='n'/></event>`, func(m *xep.Message) { m.Event = true }},
	{"0380", `<encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:new' name='NewCrypt'/>`, func(m *xep.Message) { m.Encryption = "NewCrypt" }},
	{"0384", `<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>`, func(m *xep.Message) { m.Encryption = "OMEMO" }},
	{"0027", `<x xmlns='jabber:x:encrypted'>hQ==</x>`, func(m *xep.Message) { m.Encryption = "Legacy OpenPGP" }},
	{"0373", `<openpgp xmlns='urn:xmpp:openpgp:0'>hQ==</openpgp>`, func(m *xep.Message) { m.Encryption = "OpenPGP for XMPP" }},
	{"3923", "<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[\nContent-Type: a/b\n\nx ]]>]]&gt;<![CDATA[\n]]></e2e>", func(m *xep.Message) { m.E2E = "\nContent-Type: a/b\n\nx ]]>\n" }},
	{"0280 forged carbon", `<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='nurse@example.com'><body>forged</body></message></forwarded></received>`, func(*xep.Message) {}},
	{"0297 forwarded", `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'><body>old</body></message></forwarded>`, func(*xep.Message) {}},
	{"0334 and unknown", `<store xmlns='urn:xmpp:hints'/><x xmlns='urn:example:unknown'><body>deep</body></x>`, func(*xep.Message) {}},
}

// TestPayloads reads each payload, and reads back what is written of it.
func TestPayloads(t *testing.T) {
	for _, p := range payloads {
		t.Run(p.name, func(t *testing.T) {
			want := header
			p.want(&want)
			if got := parse(t, p.stanza); !reflect.DeepEqual(got, &want) {
				t.Errorf("read\n%+v\nwant\n%+v", got, &want)
			}
			written := string(want.Element().Append(nil, xep.NS))
			back, err := xep.ParseMessage(read(t, written))
			if err != nil || !reflect.DeepEqual(back, &want) {
				t.Errorf("wrote %s\nread back\n%+v, %v\nwant\n%+v", written, back, err, &want)
			}
		})
	}
}

// TestXHTML keeps the HTML body as it is (XEP-0071).
func TestXHTML(t *testing.T) {
	m := parse(t, `<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>Hi <em>there</em></p></body></html>`)
	if m.HTML == nil || m.HTML.String() != `<body xmlns='http://www.w3.org/1999/xhtml'><p>Hi <em>there</em></p></body>` {
		t.Fatalf("HTML is %v", m.HTML)
	}
	back, err := xep.ParseMessage(m.Element())
	if err != nil || back.HTML != m.HTML {
		t.Errorf("read back %v, %v", back, err)
	}
}

// TestLang: what has no language of its own has the stanza's (RFC 6120, section
// 8.1.5).
func TestLang(t *testing.T) {
	m := parse(t, `<body>Hi</body><body xml:lang='cs'>Ahoj</body>`)
	if a, b := m.LangOf(m.Bodies[0]), m.LangOf(m.Bodies[1]); a != "en" || b != "cs" {
		t.Errorf("languages are %q and %q", a, b)
	}
}

func TestBadAddress(t *testing.T) {
	for _, attr := range []string{"from='@'", "to='a@b@c/'"} {
		_, err := xep.ParseMessage(read(t, `<message `+attr+`/>`))
		if fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", attr, err)
		}
	}
	if _, err := xep.ParseMessage(read(t, `<presence/>`)); fault.KindOf(err) != fault.Malformed {
		t.Errorf("presence: %v", err)
	}
}

// FuzzMessage: what is read is written so that the same is read again.
func FuzzMessage(f *testing.F) {
	for _, p := range payloads {
		f.Add(`<message from='juliet@example.com/balcony' to='romeo@example.net' id='m1' xml:lang='en'>` + p.stanza + `</message>`)
	}
	for _, s := range errorStanzas {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stanza string) {
		e, err := xmltree.ParseIn([]byte(stanza), xep.NS, xmltree.Documents)
		if err != nil {
			return
		}
		m, err := xep.ParseMessage(e)
		if err != nil {
			return
		}
		written := m.Element().Append(nil, xep.NS)
		e2, err := xmltree.ParseIn(written, xep.NS, xmltree.Limits{})
		if err != nil {
			t.Fatalf("wrote %s: %v", written, err)
		}
		back, err := xep.ParseMessage(e2)
		if err != nil {
			t.Fatalf("wrote %s: %v", written, err)
		}
		if again := back.Element().Append(nil, xep.NS); string(again) != string(written) {
			t.Fatalf("wrote\n%s\nthen\n%s", written, again)
		}
		m.HTML, back.HTML = nil, nil // a CDATA section is one node more
		if m.Error != nil && m.Error.Condition == "" {
			m.Error.Condition = xep.UndefinedCondition // as it is written
		}
		if !reflect.DeepEqual(m, back) {
			t.Fatalf("read\n%+v\nthen\n%+v", m, back)
		}
	})
}
