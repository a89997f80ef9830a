package xep_test

import (
	"strings"
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xep"
)

var addresses = []string{
	"", "romeo@example.net", "romeo@example.net/orchard", "example.net", "example.net/x", "romeo@example.net/a/b@c",
	"@example.net", "romeo@", "romeo@example.net/", "/x", "Romeo@Example.NET", "romeo@xn--mnchen-3ya.example",
	"fü@münchen.example", `m\26m@example.net`, "a@b@c", "romeo@192.0.2.1", "romeo@[::1]", "romeo@example..net",
	"romeo@-x.example", "romeo@x-.example", "romeo@.example", "romeo@example.", "ro meo@example.net", "a_b@c_d.example",
	"romeo@example.net/Work PC", "romeo@example.net/ü", strings.Repeat("a", 1024) + "@b.example",
	"a@" + strings.Repeat("b", 64) + ".example", "romeo@1", "1@a", "a'b@c.example", "romeo@ex\u00adample.net",
}

// TestParseJID: what is read the short way is what the long way reads.
func TestParseJID(t *testing.T) {
	for _, s := range addresses {
		sameAsParse(t, s)
	}
}

func FuzzParseJID(f *testing.F) {
	for _, s := range addresses {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { sameAsParse(t, s) })
}

func sameAsParse(t *testing.T, s string) {
	t.Helper()
	got, err := xep.ParseJID(s)
	if s == "" {
		if err != nil || !got.Equal(jid.JID{}) {
			t.Errorf("empty: %v, %v", got, err)
		}
		return
	}
	want, wantErr := jid.Parse(s)
	if (err == nil) != (wantErr == nil) || err == nil && (!got.Equal(want) || got.String() != want.String()) {
		t.Errorf("%q: %v, %v; want %v, %v", s, got, err, want, wantErr)
	}
}

func BenchmarkParseJID(b *testing.B) {
	for b.Loop() {
		if _, err := xep.ParseJID("romeo@example.net/orchard"); err != nil {
			b.Fatal(err)
		}
	}
}
