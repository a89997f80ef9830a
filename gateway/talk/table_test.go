package talk

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
	"cpimgate/testdata"
)

var (
	epoch  = time.Unix(1_000_000_000, 0).UTC()
	romeo  = step.Party{JID: jid.MustParse("romeo@example.net"), URI: sip.Uri{Scheme: "sip", User: "romeo", Host: "example.net"}}
	juliet = step.Party{JID: jid.MustParse("juliet@example.com"), URI: sip.Uri{Scheme: "sip", User: "juliet", Host: "example.com"}}
)

// states are the conversations that differ in what they answer.
var states = []struct {
	name string
	make func() *Talk
}{
	{"rest", func() *Talk { return &Talk{Last: epoch} }},
	{"waiting", func() *Talk { return &Talk{Last: epoch, Waiting: []Waiting{waiting(false)}} }},
	{"window", func() *Talk { return &Talk{Last: epoch, Waiting: []Waiting{waiting(true)}} }},
	{"known", func() *Talk {
		return &Talk{Last: epoch, KnownUntil: epoch.Add(time.Hour), Waiting: []Waiting{waiting(false)}}
	}},
	{"flying", func() *Talk { return &Talk{Last: epoch, Flying: outgoing("f1")} }},
	{"unanswered", func() *Talk {
		o := outgoing("f1")
		o.Until = epoch
		return &Talk{Last: epoch, Flying: o, Queue: []Outgoing{*outgoing("q1")}}
	}},
	{"queued", func() *Talk {
		return &Talk{Last: epoch, Flying: outgoing("f1"), Queue: []Outgoing{*outgoing("q1")}}
	}},
	{"full", func() *Talk {
		t := &Talk{Last: epoch, Flying: outgoing("f1")}
		for i := range maxQueue {
			t.Queue = append(t.Queue, *outgoing(fmt.Sprint("q", i)))
		}
		return t
	}},
	{"remembering", func() *Talk {
		return &Talk{Last: epoch, Memory: []Memo{
			{Way: step.ToXMPP, At: epoch, Stanza: "s1", CallID: "c1", From: romeo, To: juliet,
				Asked: &imdn.Request{MessageID: "i1", Positive: true, Negative: true}},
			{Way: step.ToSIP, At: epoch, Stanza: "x1", Message: "i2", From: juliet, To: romeo},
		}}
	}},
	{"typing", func() *Talk {
		return &Talk{Last: epoch, States: true, TypingEnds: epoch, TypingFrom: romeo, TypingTo: juliet, Typing: epoch.Add(time.Minute)}
	}},
	{"resting", func() *Talk {
		return &Talk{Last: epoch, Rest: Rest{Until: epoch.Add(time.Minute), Status: 480, Reason: "Away"}}
	}},
	{"old", func() *Talk { return &Talk{Last: epoch.Add(-25 * time.Hour)} }},
}

func waiting(written bool) Waiting {
	return Waiting{Tx: "t1", Ref: "s1", Until: epoch, Written: written, Memo: Memo{Way: step.ToXMPP, At: epoch, Stanza: "s1", CallID: "c1", From: romeo, To: juliet}}
}

func outgoing(id string) *Outgoing {
	return &Outgoing{Kind: mapping.Content, Stanza: words(id), From: juliet, To: romeo, Until: epoch.Add(time.Minute), Ref: step.Ref(id), CallID: "c-" + id}
}

func words(id string) *xep.Message {
	return &xep.Message{From: juliet.JID, To: romeo.JID, ID: id, Bodies: []xep.Text{{Value: "Hark"}}}
}

// events are what may happen at any time.
var events = []struct {
	name string
	make func() step.Event
}{
	{"MESSAGE", func() step.Event { return request("Hark", "text/plain") }},
	{"MESSAGE of JSON", func() step.Event { return request("{}", "application/json") }},
	{"MESSAGE typing", func() step.Event {
		return request("<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>", "application/im-iscomposing+xml")
	}},
	{"message", func() step.Event { return got(words("m1")) }},
	{"message typing", func() step.Event {
		return got(&xep.Message{From: juliet.JID, To: romeo.JID, State: xep.Composing})
	}},
	{"message received s1", func() step.Event {
		return got(&xep.Message{From: juliet.JID, To: romeo.JID, ID: "r1", Received: "s1"})
	}},
	{"message of nothing", func() step.Event { return got(&xep.Message{From: juliet.JID, To: romeo.JID, ID: "n1"}) }},
	{"written s1", func() step.Event { return step.Taken{Of: "s1", How: federation.Written} }},
	{"given up s1", func() step.Event {
		return step.Taken{Of: "s1", How: federation.GivenUp, Err: fault.E(fault.NoRoute, "domain does not exist")}
	}},
	{"error about s1", func() step.Event {
		return step.Reply{Of: "s1", From: juliet.JID, Error: &xep.Error{Type: "cancel", Condition: "item-not-found"}}
	}},
	{"200 to f1", func() step.Event { return step.Response{Of: "f1", SIP: sip.NewResponse(200, "OK")} }},
	{"404 to f1", func() step.Event { return step.Response{Of: "f1", SIP: sip.NewResponse(404, "Not Found")} }},
	{"486 to f1, for a while", func() step.Event {
		res := sip.NewResponse(486, "Busy Here")
		res.AppendHeader(sip.NewHeader("Retry-After", "60"))
		return step.Response{Of: "f1", SIP: res}
	}},
	{"no answer to f1", func() step.Event {
		return step.Response{Of: "f1", Err: fault.E(fault.Timeout, "the domain does not answer")}
	}},
	{"due", func() step.Event { return step.Due{} }},
}

func request(body, media string) step.Event {
	req := sip.NewRequest(sip.MESSAGE, juliet.URI)
	req.AppendHeader(&sip.FromHeader{Address: romeo.URI, Params: sip.NewParams()})
	id := sip.CallIDHeader("c9")
	req.AppendHeader(&id)
	req.AppendHeader(sip.NewHeader("Content-Type", media))
	req.SetBody([]byte(body))
	return step.Request{Tx: "t9", Peer: "example.net", From: romeo, To: juliet, SIP: req}
}

func got(m *xep.Message) step.Event {
	return step.Got{Peer: "example.com", From: juliet, To: romeo, Message: m}
}

// TestTable feeds every event to every state. What is answered is a golden
// file, reviewed in its diff; and in every pair:
//   - something is done, or ignored with a reason;
//   - a request is answered, or waits with a deadline;
//   - a stanza that says something is answered, sent on, or waits;
//   - a deadline that has come moves on.
func TestTable(t *testing.T) {
	var table strings.Builder
	for _, state := range states {
		for _, event := range events {
			talk, ev := state.make(), event.make()
			ids := 0
			effects := talk.Step(step.Now{Time: epoch, ID: func() string { ids++; return fmt.Sprint("id", ids) }}, ev)
			fmt.Fprintf(&table, "%s + %s → %s\n", state.name, event.name, summary(talk))
			for _, e := range effects {
				fmt.Fprintf(&table, "\t%s\n", brief(e))
			}
			if len(effects) == 0 {
				t.Errorf("%s + %s: nothing, not even a reason", state.name, event.name)
			}
			if req, ok := ev.(step.Request); ok && !heard(talk, effects, req.Tx) {
				t.Errorf("%s + %s: the request is neither answered nor kept", state.name, event.name)
			}
			if _, ok := ev.(step.Due); ok && !forgotten(effects) && !talk.Deadline().After(epoch) {
				t.Errorf("%s + %s: the deadline stays at %v", state.name, event.name, talk.Deadline())
			}
		}
	}
	testdata.Golden(t, "talk/table.golden", table.String())
}

func heard(talk *Talk, effects []step.Effect, tx step.Tx) bool {
	for _, e := range effects {
		if a, ok := e.(step.Answer); ok && a.Tx == tx {
			return true
		}
	}
	for _, w := range talk.Waiting {
		if w.Tx == tx && !w.Until.IsZero() && !talk.Deadline().After(w.Until) {
			return true
		}
	}
	return false
}

func forgotten(effects []step.Effect) bool {
	for _, e := range effects {
		if _, ok := e.(step.Forget); ok {
			return true
		}
	}
	return false
}

func summary(t *Talk) string {
	s := fmt.Sprintf("%d waiting, %d queued, %d remembered", len(t.Waiting), len(t.Queue), len(t.Memory))
	if t.Flying != nil {
		s += ", " + string(t.Flying.Ref) + " flying"
	}
	if t.KnownUntil.After(epoch) {
		s += ", known"
	}
	if !t.TypingEnds.IsZero() {
		s += ", typing"
	}
	return s
}

func brief(e step.Effect) string {
	switch e := e.(type) {
	case step.SendSIP:
		return fmt.Sprintf("SendSIP %s to %s by %v: %q", e.Request.Method, e.Request.Recipient.String(), e.By.Sub(epoch), e.Request.Body())
	case step.SendXMPP:
		return "SendXMPP " + string(e.Stanza.Append(nil, xep.NS))
	case step.Answer:
		return fmt.Sprintf("Answer %s %d %s", e.Tx, e.Status, e.Reason)
	case step.End:
		return fmt.Sprintf("End %s %s %s %s", e.Way, e.Outcome, e.XMPP, e.Reason)
	case step.Ignore:
		return "Ignore: " + e.Why
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "step.")
}
