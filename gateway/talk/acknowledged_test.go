package talk

import (
	"testing"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/step"
)

// A far server that has taken a stanza has not said that there is such a user:
// its refusal, which comes by another stream, must still find the request.
func TestAcknowledgedThenRefused(t *testing.T) {
	w := waiting(false)
	w.Until = epoch.Add(time.Minute)
	talk := &Talk{Last: epoch, Waiting: []Waiting{w}}
	now := step.Now{Time: epoch}
	for _, effect := range talk.Step(now, step.Taken{Of: "s1", How: federation.Acknowledged}) {
		if a, ok := effect.(step.Answer); ok {
			t.Fatalf("answered %d before the error window is over", a.Status)
		}
	}
	status := 0
	for _, effect := range talk.Step(now, step.Reply{Of: "s1", From: juliet.JID, Error: &xep.Error{Type: "cancel", Condition: "item-not-found"}}) {
		if a, ok := effect.(step.Answer); ok {
			status = a.Status
		}
	}
	if status != 604 { // RFC 7247, table 2: nobody of that name anywhere
		t.Errorf("answered %d", status)
	}
}
