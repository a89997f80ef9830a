package gatewaytest

import (
	"context"
	"testing"
	"time"

	"cpimgate/cpim/xep"
)

// world returns a world that ends with the test.
func world(t *testing.T, o Options) *World {
	t.Helper()
	w, err := NewWorld(context.WithoutCancel(t.Context()), o) // Close is its end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// TestWorld: the thin line. Each writes to the other through a whole gateway,
// over TLS, found by DNS; who does not exist is told so in each one's own
// protocol.
func TestWorld(t *testing.T) {
	w := world(t, Options{YAML: InTime})
	if err := w.XMPP.Write("juliet", "romeo@example.net", "j1", "Art thou not Romeo?"); err != nil {
		t.Fatal(err)
	}
	if req := <-w.SIP.Requests; string(req.Body()) != "Art thou not Romeo?" {
		t.Fatalf("romeo received %s", req)
	}
	res, err := w.SIP.Write("romeo", "juliet@example.com", "Neither, fair saint")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("answer %v, %v; want 200", res, err)
	}
	if m, err := xep.ParseMessage(<-w.XMPP.Stanzas); err != nil || m.Bodies[0].Value != "Neither, fair saint" || m.From.String() != "romeo@example.net" {
		t.Fatalf("juliet received %+v, %v", m, err)
	}
	if res, err := w.SIP.Write("romeo", "nobody@example.com", "Art thou there?"); err != nil || res.StatusCode != 403 {
		t.Errorf("to nobody: %v, %v; want 403", res, err)
	}
	if res, err := w.SIP.Write("romeo", "juliet@nowhere.example", "Art thou there?"); err != nil || res.StatusCode != 404 {
		t.Errorf("to no domain: %v, %v; want 404", res, err)
	}
	if err := w.XMPP.Write("juliet", "nobody@example.net", "j2", "Art thou there?"); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.XMPP.Stanzas:
		if m, err := xep.ParseMessage(e); err != nil || m.Type != "error" || m.ID != "j2" || m.Error.Condition != "item-not-found" {
			t.Errorf("juliet heard %+v, %v", m, err)
		}
	case <-time.After(patience):
		t.Error("juliet heard nothing of nobody")
	}
}
