package gateway

import (
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// TestLoops: words that have crossed do not cross again, either way, but their
// sender may say them again (RES-25).
func TestLoops(t *testing.T) {
	words := func(origin string) *step.Words {
		return &step.Words{Thread: "c1", From: "romeo@a.example", To: "juliet@b.example", Text: "yes", Origin: origin}
	}
	begin := time.Unix(1000, 0)
	for _, tt := range []struct {
		name   string
		change func(*step.Words)
		to     federation.Wire
		after  time.Duration
		loop   bool
	}{
		{"said again", func(*step.Words) {}, federation.XMPP, time.Second, false},
		{"come round", func(w *step.Words) { w.Origin = "2" }, federation.XMPP, time.Second, true},
		{"come back on the other wire", func(*step.Words) {}, federation.SIP, time.Second, true},
		{"lines and edges otherwise", func(w *step.Words) { w.Text, w.Origin = " yes\r\n", "2" }, federation.XMPP, time.Second, true},
		{"late", func(w *step.Words) { w.Origin = "2" }, federation.XMPP, crossingHolds, false},
		{"other words", func(w *step.Words) { w.Text, w.Origin = "no", "2" }, federation.XMPP, time.Second, false},
		{"to another", func(w *step.Words) { w.To, w.Origin = "nurse@b.example", "2" }, federation.XMPP, time.Second, false},
		{"from another", func(w *step.Words) { w.From, w.Origin = "tybalt@a.example", "2" }, federation.XMPP, time.Second, false},
		{"in another thread", func(w *step.Words) { w.Thread, w.Origin = "c2", "2" }, federation.XMPP, time.Second, false},
	} {
		l := newLoops()
		if err := l.check(begin, federation.XMPP, words("1")); err != nil {
			t.Fatal(err)
		}
		w := words("1")
		tt.change(w)
		if err := l.check(begin.Add(tt.after), tt.to, w); (err != nil) != tt.loop {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := newLoops().check(begin, federation.SIP, nil); err != nil {
		t.Error(err)
	}
	status, _, _ := mapping.FaultToSIP(errLoop)
	if e := mapping.FaultToXMPP(errLoop, "a.example"); status != 482 || e.Condition != "not-acceptable" || fault.KindOf(errLoop) != fault.Forbidden {
		t.Errorf("told as %d and %v", status, e)
	}
}
