package xep_test

import (
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xep"
)

const stanzas = `xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'`

// errorStanzas are seeds, too.
var errorStanzas = []string{
	`<message type='error'><error type='cancel' by='example.net'><gone ` + stanzas + `>
		xmpp:romeo@afterlife.example.net</gone><text xml:lang='en' ` + stanzas + `>gone</text></error><body>echo</body></message>`,
	`<message type='error'><error type='modify'><redirect ` + stanzas + `>xmpp:r@example.org</redirect></error></message>`,
	`<message type='error'><error type='wait'><who-knows ` + stanzas + `/></error></message>`,
	`<message type='error'><error type='funny'><item-not-found ` + stanzas + `>ignored</item-not-found></error></message>`,
	`<message type='error'/>`,
	`<message type='error'><error type='modify'><bad-request ` + stanzas + `/><bad-timestamp xmlns='urn:ietf:params:xml:xmpp-e2e'/></error></message>`,
	`<message type='error'><error type='modify'><bad-request ` + stanzas + `/><decryption-failed xmlns='urn:ietf:params:xml:ns:xmpp-e2e'/></error></message>`,
}

// TestErrorOf reads errors, both spellings of RFC 3923's namespace, and writes
// them so that the same is read back.
func TestErrorOf(t *testing.T) {
	want := []xep.Error{
		{Type: "cancel", Condition: "gone", Address: "xmpp:romeo@afterlife.example.net", By: "example.net", Text: "gone", Lang: "en"},
		{Type: "modify", Condition: "redirect", Address: "xmpp:r@example.org"},
		{Type: "wait"}, // a condition that nobody knows
		{Type: "cancel", Condition: "item-not-found"},
		{Type: "cancel"}, // no error at all
		{Type: "modify", Condition: "bad-request", Secure: "bad-timestamp"},
		{Type: "modify", Condition: "bad-request", Secure: "decryption-failed"},
	}
	for i, s := range errorStanzas {
		m, err := xep.ParseMessage(read(t, s))
		if err != nil || *m.Error != want[i] {
			t.Errorf("%s\nread %+v, %v\nwant %+v", s, m.Error, err, want[i])
			continue
		}
		if len(m.Bodies) > 0 {
			t.Errorf("%s: the echo was read as a message", s)
		}
		if want[i].Condition == "" {
			want[i].Condition = xep.UndefinedCondition // as it is written
		}
		if back := xep.ErrorOf(m.Element()); *back != want[i] {
			t.Errorf("%s\nread back %+v", s, back)
		}
	}
}

// TestErrorWritten: what is no condition or type never gets out.
func TestErrorWritten(t *testing.T) {
	h := xep.Header{Name: "message", ID: "a"}
	got := xep.ErrorStanza(h, &xep.Error{Type: "bad", Condition: "x><y", Address: "xmpp:a@b", Secure: "z"}).String()
	want := `<message xmlns='jabber:server' id='a' type='error'><error type='cancel'>` +
		`<undefined-condition ` + stanzas + `/></error></message>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestErrorStanza is RFC 6120, section 8.3.1, for the three kinds of stanza.
func TestErrorStanza(t *testing.T) {
	from, to := jid.MustParse("juliet@example.com/balcony"), jid.MustParse("romeo@example.net")
	x := &xep.Error{Type: "cancel", Condition: "service-unavailable", By: "gw.example.net", Text: "no", Lang: "en"}
	inside := `<error by='gw.example.net' type='cancel'><service-unavailable ` + stanzas + `/>` +
		`<text ` + stanzas + ` xml:lang='en'>no</text></error>`
	rows := []struct {
		name, typ, id string
		want          string // "" is no answer
	}{
		{"message", "chat", "m1", `<message xmlns='jabber:server' from='romeo@example.net' to='juliet@example.com/balcony' id='m1' type='error'>` + inside + `</message>`},
		{"message", "", "", `<message xmlns='jabber:server' from='romeo@example.net' to='juliet@example.com/balcony' type='error' id=''>` + inside + `</message>`},
		{"presence", "subscribe", "p1", `<presence xmlns='jabber:server' from='romeo@example.net' to='juliet@example.com/balcony' id='p1' type='error'>` + inside + `</presence>`},
		{"iq", "get", "i1", `<iq xmlns='jabber:server' from='romeo@example.net' to='juliet@example.com/balcony' id='i1' type='error'>` + inside + `</iq>`},
		{"message", "error", "m1", ""},
		{"presence", "error", "p1", ""},
		{"iq", "error", "i1", ""},
		{"iq", "result", "i1", ""},
	}
	for _, row := range rows {
		got := ""
		if e := xep.ErrorStanza(xep.Header{Name: row.name, From: from, To: to, ID: row.id, Type: row.typ, Lang: "cs"}, x); e != nil {
			got = e.String()
		}
		if got != row.want {
			t.Errorf("%s type %q:\ngot  %s\nwant %s", row.name, row.typ, got, row.want)
		}
	}
}
