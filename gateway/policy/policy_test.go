package policy

import (
	"testing"
	"time"

	"cpimgate/cpim/fault"
)

// TestAdmit: RFC 6120, section 13.12: one who floods is told so, and neither
// his neighbours nor other domains pay for it.
func TestAdmit(t *testing.T) {
	e := New(Limits{PerSender: 2, PerPeer: 4})
	now := time.Unix(1000, 0)
	for i := range 2 * burst {
		if err := e.Admit(now, "a.example", "romeo@a.example"); err != nil {
			t.Fatalf("message %d of a burst: %v", i, err)
		}
	}
	if err := e.Admit(now, "a.example", "romeo@a.example"); fault.KindOf(err) != fault.Flood {
		t.Errorf("one over the burst of a sender: %v, want flood", err)
	}
	if err := e.Admit(now, "a.example", "tybalt@a.example"); err != nil {
		t.Errorf("another sender: %v", err)
	}
	if err := e.Admit(now.Add(time.Second), "a.example", "romeo@a.example"); err != nil {
		t.Errorf("a second later: %v", err)
	}
	for range 4 * burst {
		e.Admit(now, "a.example", "many@a.example")
	}
	if err := e.Admit(now, "a.example", "new@a.example"); fault.KindOf(err) != fault.Flood {
		t.Errorf("a domain over its burst: %v, want flood", err)
	}
	if err := e.Admit(now, "b.example", "juliet@b.example"); err != nil {
		t.Errorf("another domain: %v", err)
	}
}
