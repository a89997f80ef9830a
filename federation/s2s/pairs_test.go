package s2s_test

import (
	"strings"
	"testing"

	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// Two servers exchange messages, each proving itself with its certificate.
func TestExternal(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a.example").publish(), w.start("b.example").publish()
	written(t, a.send("juliet@b.example", "hello"))
	got := wait(t, b.got)
	if !strings.Contains(got.text, "<body>hello</body>") || got.peer.Proof != federation.Certificate || !got.peer.SpeaksFor("a.example") {
		t.Errorf("got %+v", got)
	}
	written(t, b.send("romeo@a.example", "back"))
	if got := wait(t, a.got); !got.peer.SpeaksFor("b.example") || got.peer.SpeaksFor("a.example") {
		t.Errorf("got %+v", got)
	}
}

// A domain without a certificate that the other trusts proves itself by
// dialback, where that is allowed (decision D-73).
func TestDialback(t *testing.T) {
	w := newWorld(t)
	other, err := trusttest.NewCA("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	is, err := other.Issue(trusttest.Options{DNS: []string{"b.example"}})
	if err != nil {
		t.Fatal(err)
	}
	a := w.start("a.example", rule("b.example", federation.DialbackOK)).publish()
	b := w.start("b.example", certificate(is)).publish()
	written(t, b.send("romeo@a.example", "hello"))
	if got := wait(t, a.got); got.peer.Proof != federation.Dialback || !got.peer.SpeaksFor("b.example") {
		t.Errorf("got %+v", got)
	}
	written(t, a.send("juliet@b.example", "back"))
	if got := wait(t, b.got); got.peer.Proof != federation.Certificate {
		t.Errorf("got %+v", got)
	}
}
