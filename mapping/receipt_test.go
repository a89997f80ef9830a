package mapping

import (
	"strings"
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/composing"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
)

// TestNoticeRoundTrip: Romeo asks, Juliet's client answers, and what Romeo gets
// is about his message (RFC 5438, section 7.2.1).
func TestNoticeRoundTrip(t *testing.T) {
	object := envelope("NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: orig1\nDateTime: 2026-01-02T12:59:59+01:00\n"+
		"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\n", hi)
	in, err := fromRomeo(t, "message/cpim", object)
	wantText(t, in, err, "Hi")
	if !in.Stanza.Request || !in.Stanza.Markable {
		t.Fatalf("asked of Juliet: %+v", in.Stanza)
	}
	rows := []struct {
		answer string // of Juliet's client, or "" for an error
		status imdn.Status
	}{
		{`<received xmlns='urn:xmpp:receipts' id='x'/>`, imdn.Delivered},
		{`<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>`, imdn.Displayed},
		{``, imdn.Failed},
	}
	for _, row := range rows {
		id, kind, status, ok := NoticeOf(stanza(t, row.answer))
		if row.answer == "" {
			id, kind, status, ok = "x", imdn.Delivery, imdn.Failed, !ok
		}
		if !ok || id != "x" || status != row.status {
			t.Fatalf("%s tells %s, %s, %v", row.answer, id, status, ok)
		}
		req, err := NoticeToSIP(in.Asked, kind, status, "own1", uriOf(t, in.Stanza.To), uriOf(t, in.Stanza.From), "c2")
		if err != nil {
			t.Fatal(err)
		}
		checkShape(t, req)
		if req.Recipient.String() != romeo || sipx.Value(req, "Content-Type") != "message/cpim" {
			t.Errorf("sent %s", req)
		}
		if strings.Contains(string(req.Body()), "Disposition-Notification") {
			t.Errorf("a notification asks:\n%s", req.Body())
		}
		c, err := cpim.Parse(req.Body())
		if err != nil {
			t.Fatal(err)
		}
		if disposition, _ := c.Content.Disposition(); disposition != "notification" || imdn.MessageID(c) != "own1" ||
			c.From.URI != "im:juliet@example.com" || c.To[0].URI != "im:romeo@example.net" {
			t.Errorf("wrapped as\n%s", req.Body())
		}
		all, err := imdn.Of(c)
		if err != nil || len(all) != 1 || all[0].MessageID != "orig1" || !all[0].DateTime.Equal(in.Asked.DateTime) ||
			all[0].Recipient != "im:juliet@example.com" || all[0].Status != row.status {
			t.Errorf("told %+v, %v", all, err)
		}
	}
}

// TestNoticeToXMPP is the table of RFC 5438, section 5, seen from an XMPP
// sender: his receipt, his marker, his error.
func TestNoticeToXMPP(t *testing.T) {
	from, to := jid.MustParse("romeo@example.net"), jid.MustParse("juliet@example.com/balcony")
	rows := []struct {
		kind   imdn.Kind
		status imdn.Status
		want   string // inside the stanza; "" is nothing
	}{
		{imdn.Delivery, imdn.Delivered, `type='chat'><received xmlns='urn:xmpp:receipts' id='s1'/>`},
		{imdn.Display, imdn.Displayed, `type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='s1'/>`},
		{imdn.Delivery, imdn.Failed, `id='s1' type='error'><error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>`},
		{imdn.Delivery, imdn.Error, `id='s1' type='error'><error type='cancel'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>`},
		{imdn.Delivery, imdn.Forbidden, ""},
		{imdn.Display, imdn.Forbidden, ""},
		{imdn.Display, imdn.Error, ""},
		{imdn.Processing, imdn.Processed, ""},
		{imdn.Processing, imdn.Stored, ""},
	}
	for _, row := range rows {
		m := NoticeToXMPP(&imdn.Notification{MessageID: "a", Kind: row.kind, Status: row.status}, "s1", "chat", from, to)
		got := ""
		if m != nil {
			got = m.Element().String()
		}
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) || strings.Contains(got, "<request") {
			t.Errorf("%s %s gives %s", row.kind, row.status, got)
		}
	}
}

// TestStateToSIP is RFC 3994, section 3.2, as far as it needs no clock.
func TestStateToSIP(t *testing.T) {
	rows := []struct {
		state xep.State
		told  bool
		want  string
	}{
		{xep.Composing, false, "<state>active</state><contenttype>text</contenttype><refresh>60</refresh>"},
		{xep.Composing, true, ""},
		{xep.Paused, true, "<state>idle</state>"},
		{xep.Active, true, "<state>idle</state>"},
		{xep.Inactive, true, "<state>idle</state>"},
		{xep.Paused, false, ""},
		{xep.Active, false, ""},
		{xep.Inactive, false, ""},
		{xep.Gone, true, ""},
		{xep.Gone, false, ""},
		{"", true, ""},
	}
	m := stanza(t, "")
	for _, row := range rows {
		req, err := StateToSIP(row.state, row.told, 0, uriOf(t, m.From), uriOf(t, m.To), "c1")
		if err != nil {
			t.Fatal(err)
		}
		if row.want == "" {
			if req != nil {
				t.Errorf("%q, told %v: sent %s", row.state, row.told, req)
			}
			continue
		}
		checkShape(t, req)
		if !strings.Contains(string(req.Body()), row.want) || sipx.Value(req, "Content-Type") != composing.MediaType {
			t.Errorf("%q, told %v: sent %s", row.state, row.told, req)
		}
	}
}

// TestComposingToXMPP: the state and the thread are all there is (XEP-0085,
// section 5.6).
func TestComposingToXMPP(t *testing.T) {
	for state, want := range map[string]string{"active": "composing", "idle": "active", "daydreaming": "active"} {
		s, err := composing.Parse([]byte(`<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>` + state + `</state><lastactive>2026-01-02T03:04:05Z</lastactive><contenttype>audio</contenttype></isComposing>`))
		if err != nil {
			t.Fatal(err)
		}
		m := ComposingToXMPP(s, "t1", jid.MustParse("romeo@example.net"), jid.MustParse("juliet@example.com"))
		equal := `<message xmlns='jabber:server' from='romeo@example.net' to='juliet@example.com' type='chat'><thread>t1</thread><` +
			want + ` xmlns='http://jabber.org/protocol/chatstates'/></message>`
		if got := m.Element().String(); got != equal {
			t.Errorf("%s gives %s", state, got)
		}
	}
}
