package talk

import (
	"testing"

	"mellium.im/xmpp/jid"

	"cpimgate/cpim"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/xep"
	"cpimgate/gateway/step"
)

// TestReceiptFirst: a receipt is as good a word that a stanza was written as the
// wire's own, which it may overtake; one from somebody else is none.
func TestReceiptFirst(t *testing.T) {
	for _, tt := range []struct {
		from string
		told bool
	}{{"juliet@example.com/balcony", true}, {"tybalt@example.com/street", false}} {
		w := waiting(false)
		w.Memo.From, w.Memo.To = romeo, juliet
		w.Memo.Asked = &imdn.Request{MessageID: "i1", DateTime: epoch, From: cpim.Address{URI: "sip:romeo@example.net"}, To: cpim.Address{URI: "sip:juliet@example.com"}, Positive: true}
		talk := &Talk{Last: epoch, Waiting: []Waiting{w}}
		from := jid.MustParse(tt.from)
		got := step.Got{
			Peer: "example.com", From: step.Party{JID: from, URI: juliet.URI}, To: romeo,
			Message: &xep.Message{From: from, To: romeo.JID, ID: "j1", Received: string(w.Ref)},
		}
		ids := 0
		effects := talk.Step(step.Now{Time: epoch, ID: func() string { ids++; return "id" + string(rune('a'+ids)) }}, got)
		var answered, notified bool
		for _, e := range effects {
			switch e := e.(type) {
			case step.Answer:
				answered = e.Tx == w.Tx && e.Status == 200
			case step.SendSIP:
				notified = true
			}
		}
		if answered != tt.told || notified != tt.told || len(talk.Waiting) == 0 != tt.told {
			t.Errorf("%s: answered %t, notified %t: %v", tt.from, answered, notified, effects)
		}
	}
}
