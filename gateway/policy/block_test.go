package policy

import (
	"testing"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/mapping"
)

// TestBlock: an entry meets a user in all spellings of both worlds (XF-71).
func TestBlock(t *testing.T) {
	l, err := NewList([]string{
		"spam.example", "*.bad.example", "B\u00fccher.example", "tybalt@a.example", `o\27hara@a.example`,
		"Stra\u00dfe@a.example", "xmpp:x%25y@a.example", "sip:p%25q@a.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		sip, xmpp string // one of them
		want      bool
	}{
		{sip: "anyone@spam.example", want: true},
		{sip: "anyone@SPAM.example.", want: true},
		{sip: "anyone@sub.spam.example"},
		{sip: "anyone@bad.example"},
		{sip: "anyone@a.b.bad.example", want: true},
		{sip: "anyone@notbad.example"},
		{sip: "anyone@xn--bcher-kva.example", want: true},
		{xmpp: "anyone@b\u00fccher.example/r", want: true},
		{sip: "tybalt@a.example", want: true},
		{sip: "Ty%62alt@A.EXAMPLE;transport=tcp", want: true},
		{sip: "tybalt@a.example;gr=phone", want: true},
		{xmpp: "TYBALT@a.example/phone", want: true},
		{xmpp: "\uff54ybalt@a.example", want: true}, // full width
		{sip: "tybalt@b.example"},
		{sip: "tybalt2@a.example"},
		{sip: "o'hara@a.example", want: true},
		{sip: "o%27hara@a.example", want: true},
		{xmpp: `o\27hara@a.example`, want: true},
		{xmpp: "stra\u00dfe@a.example", want: true},
		{sip: "Stra%C3%9Fe@a.example", want: true},
		{xmpp: "x%25y@a.example", want: false}, // xmpp:x%25y is the JID x%y
		{xmpp: "x%y@a.example", want: true},
		{sip: "x%25y@a.example", want: true},
		{sip: "p%25q@a.example", want: true},
		{xmpp: "p%q@a.example", want: true},
	} {
		u, err := mapping.ParseURI("sip:" + tt.sip)
		if tt.xmpp != "" {
			u, err = mapping.ToURI(jid.MustParse(tt.xmpp))
		}
		if err != nil {
			t.Fatalf("%s%s: %v", tt.sip, tt.xmpp, err)
		}
		if got := l.Has(u); got != tt.want {
			t.Errorf("%s%s: blocked is %v", tt.sip, tt.xmpp, got)
		}
	}
	if (*List)(nil).Has(uri(t, "anyone@spam.example")) {
		t.Error("no list blocks somebody")
	}
}

// TestListErrors: what can name nobody is no entry.
func TestListErrors(t *testing.T) {
	for _, bad := range []string{"", "*", "a..example", "192.0.2.1", "user@", "@a.example", "a b@a.example", "user@192.0.2.1", "*.*.example", "user@*.example"} {
		if _, err := NewList([]string{"good.example", bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzList: who is named by an entry that we take is blocked by it.
func FuzzList(f *testing.F) {
	for _, s := range []string{"spam.example", "*.bad.example", "tybalt@a.example", `o\27hara@a.example`, "sip:o'hara@a.example", "xmpp:x%25y@a.example", "\u00e9@b\u00fccher.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := NewList([]string{s})
		if err != nil {
			return
		}
		if len(l.users)+len(l.domains)+len(l.below) == 0 {
			t.Errorf("%q is taken and blocks nobody", s)
		}
		for name := range l.users {
			j, err := jid.Parse(name)
			if err != nil {
				continue // has no image in XMPP
			}
			u, err := mapping.ToURI(j)
			if err != nil {
				continue
			}
			if !l.Has(u) {
				t.Errorf("%q does not block %s", s, u.String())
			}
		}
	})
}

// FuzzName: the name of a user is that of his image, however it was found.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"sip:romeo@montague.example", "sip:romeo@montague.example;gr=orchard", "sips:romeo@montague.example", "sip:Romeo@montague.example",
		"sip:1-2.3@montague.example;user=phone", "sip:1-2.3@montague.example;USER=phone", "sip:%72omeo@Montague.example.", "im:romeo@montague.example",
		"sip:o'hara@montague.example", "sip:romeo@192.0.2.1", "sip:romeo@a.1", "sip://romeo@montague.example", "sip:romeo@xn--bcher-kva.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var u sip.Uri
		if err := sip.ParseUri(s, &u); err != nil {
			return
		}
		if j, err := mapping.ToJID(u); err == nil && Name(u) != j.Bare().String() {
			t.Errorf("%s: name %q, image %q", s, Name(u), j)
		}
	})
}
