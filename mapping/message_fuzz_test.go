package mapping

import (
	"bytes"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// FuzzMessageToSIP: whatever an XMPP user writes, the request has our header
// fields and no others, and leads back to the same text.
func FuzzMessageToSIP(f *testing.F) {
	f.Add("Hi", "Oh Romeo", "t1", "en", false)
	f.Add("Nic z obého\r\nmá", "a\r\nVia: x", "a b", "cs-CZ", true)
	f.Add("--form\n", "\u0085", "\u2028", "", true)
	f.Fuzz(func(t *testing.T, body, subject, thread, lang string, chat bool) {
		m := stanza(t, "")
		m.Lang = xmltree.Clean(lang)
		m.Thread = xmltree.Clean(thread)
		m.Bodies = []xep.Text{{Value: xmltree.Clean(body)}}
		m.Subjects = []xep.Text{{Value: xmltree.Clean(subject)}}
		if chat {
			m.Type = "chat"
		}
		checkInverse(t, m)
	})
}

// FuzzMessageToXMPP: whatever a SIP user sends, the stanza is well-formed and
// safe, and the same when it is read again.
func FuzzMessageToXMPP(f *testing.F) {
	for _, kind := range []string{"sip", "cpim", "mime"} {
		for _, s := range testdata.Seeds(kind) {
			f.Add("message/cpim", []byte(s))
			f.Add("text/plain", []byte(s))
		}
	}
	f.Add("text/plain;charset=utf-7", []byte("a"))
	f.Add("text/html;charset=shift_jis", []byte("<p>\x93\xfa</p>"))
	f.Add(signed, []byte("--next\r\n\r\n]]>\r\n"))
	f.Add("multipart/mixed;boundary=b", []byte("--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		req := messageOf(t, romeo, juliet, "", "")
		req.RemoveHeader("Content-Type")
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
		req.SetBody(body)
		in, err := toXMPP(t, req, XMPPOptions{ID: "x", Now: noon})
		if err != nil || in.Stanza == nil {
			return
		}
		written := in.Stanza.Element().Append(nil, xep.NS)
		e, err := xmltree.ParseIn(written, xep.NS, xmltree.Limits{})
		if err != nil {
			t.Fatalf("%v in %s", err, written)
		}
		if in.Stanza.HTML != nil {
			checkSafe(t, in.Stanza.HTML, 0)
		}
		back, err := xep.ParseMessage(e)
		if err != nil {
			t.Fatal(err)
		}
		if again := back.Element().Append(nil, xep.NS); !bytes.Equal(again, written) {
			t.Fatalf("wrote\n%s\nthen\n%s", written, again)
		}
	})
}

// FuzzSecured: an object comes back byte for byte, and shows its date all the way.
func FuzzSecured(f *testing.F) {
	f.Add([]byte("--next\r\n\r\nHi\r\n--next--"))
	f.Add([]byte("--next\r\nContent-Type: message/cpim\r\n\r\nFrom: <im:a@b.example>\r\nTo: <im:c@d.example>\r\nDateTime: 2001-01-01T00:00:00Z\r\n\r\n" +
		"Content-Type: text/plain\r\n\r\nHi\r\n--next--"))
	f.Add([]byte("\r\n a\r\n\r\n"))
	f.Add([]byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return
		}
		req := messageOf(t, romeo, juliet, signed, "")
		req.SetBody(body)
		in, err := toXMPP(t, req, XMPPOptions{})
		if err != nil || in.Stanza == nil {
			t.Fatalf("%+v, %v", in, err)
		}
		back, err := toSIP(t, overXML(t, in.Stanza), SIPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Body(), body) || sipx.Value(back, "Content-Type") != signed {
			t.Fatalf("%q came back as %q", body, back.Body())
		}
		again, err := toXMPP(t, back, XMPPOptions{})
		if err != nil || !SecuredAt(again.Stanza.E2E).Equal(SecuredAt(in.Stanza.E2E)) {
			t.Fatalf("%q is dated %v, and then %v, %v", body, SecuredAt(in.Stanza.E2E), again, err)
		}
	})
}
