package talk

import (
	"fmt"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/gateway/step"
	"cpimgate/testdata"
)

const crossing1 = `MESSAGE sip:tybalt@example.org SIP/2.0
Via: SIP/2.0/TLS proxy.example.net:5061;branch=z9hG4bK1
Route: <sip:gw.example.net;lr>
Max-Forwards: 12
From: "Romeo" <sip:romeo@example.net>;tag=r1
To: <sip:tybalt@example.org>
Call-ID: c1
CSeq: 7 MESSAGE
P-Asserted-Identity: <sip:romeo@example.net>
X-Unknown: kept
Content-Type: application/x-anything
Content-Length: 6

a` + "\x00" + `b
c`

func crossingRequest(t *testing.T, tx step.Tx) step.Request {
	t.Helper()
	msg, err := sipx.Parser(1 << 16).ParseSIP([]byte(testdata.CRLF(crossing1)))
	if err != nil {
		t.Fatal(err)
	}
	req := msg.(*sip.Request)
	return step.Request{Tx: tx, From: step.Party{URI: req.From().Address}, To: step.Party{URI: req.Recipient}, SIP: req}
}

// TestBorder: between two SIP domains a request goes on as it came, but for the
// hop, and its answer comes back, whatever it is (RFC 3261, section 16.6; RES-24).
func TestBorder(t *testing.T) {
	ids := 0
	now := step.Now{Time: epoch, ID: func() string { ids++; return fmt.Sprint("id", ids) }}
	b := &Border{}
	first := one[step.SendSIP](t, b.Step(now, crossingRequest(t, "t1")))
	out := first.Request
	if first.Domain != "example.org" || !first.By.Equal(epoch.Add(Deadline)) {
		t.Errorf("sent to %s by %v", first.Domain, first.By)
	}
	for name, want := range map[string]string{
		"From": `"Romeo" <sip:romeo@example.net>;tag=r1`, "Call-ID": "c1", "CSeq": "7 MESSAGE", "X-Unknown": "kept",
		"Content-Type": "application/x-anything", "Max-Forwards": "11", "Via": "", "Route": "", "P-Asserted-Identity": "",
	} {
		if got := sipx.Value(out, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if string(out.Body()) != "a\x00b\r\nc" {
		t.Errorf("body %q", out.Body())
	}
	if e := one[step.Ignore](t, b.Step(now, crossingRequest(t, "t2"))); e.Why != "waits for its turn" {
		t.Errorf("the second %v", e)
	}
	res := sip.NewResponse(486, "Busy Here")
	res.AppendHeader(sip.NewHeader("Retry-After", "9"))
	res.AppendHeader(sip.NewHeader("Record-Route", "<sip:x>"))
	effects := b.Step(now, step.Response{Of: first.Ref, SIP: res})
	a := effects[0].(step.Answer)
	if a.Tx != "t1" || a.Status != 486 || a.Reason != "Busy Here" || len(a.Header) != 1 || a.Header[0].Name() != "Retry-After" {
		t.Errorf("answer %+v", a)
	}
	second := effects[2].(step.SendSIP)
	effects = b.Step(now, step.Response{Of: second.Ref, Err: fault.E(fault.NoRoute, "domain does not exist")})
	if a := effects[0].(step.Answer); a.Tx != "t2" || a.Status != 404 {
		t.Errorf("answer %+v", a)
	}
	if _, ok := effects[len(effects)-1].(step.Forget); !ok {
		t.Errorf("it remembers what nobody asks for: %v", effects)
	}
}

func one[E step.Effect](t *testing.T, effects []step.Effect) E {
	t.Helper()
	if len(effects) == 0 {
		t.Fatal("nothing is done")
	}
	e, ok := effects[0].(E)
	if !ok {
		t.Fatalf("got %#v", effects)
	}
	return e
}

// TestBorderTable feeds every event to every state of a border conversation:
// each is answered or ignored with a reason, and a request is never lost.
func TestBorderTable(t *testing.T) {
	states := map[string]func() *Border{
		"rest":   func() *Border { return &Border{} },
		"flying": func() *Border { return borderWith(t, 1) },
		"queued": func() *Border { return borderWith(t, 3) },
		"full":   func() *Border { return borderWith(t, maxQueue+1) },
	}
	events := map[string]step.Event{
		"request": crossingRequest(t, "new"), "200": step.Response{Of: "f", SIP: sip.NewResponse(200, "OK")},
		"407":   step.Response{Of: "f", SIP: sip.NewResponse(407, "Proxy Authentication Required")},
		"fault": step.Response{Of: "f", Err: fault.E(fault.Timeout, "no answer")}, "stray": step.Response{Of: "x", SIP: sip.NewResponse(200, "OK")},
		"due": step.Due{}, "stanza": step.Got{}, "reply": step.Reply{}, "taken": step.Taken{},
	}
	for state, make := range states {
		for name, ev := range events {
			b := make()
			before := borderTxs(b)
			if req, ok := ev.(step.Request); ok {
				before[req.Tx] = true
			}
			ids := 0
			effects := b.Step(step.Now{Time: epoch.Add(Deadline), ID: func() string { ids++; return fmt.Sprint("id", ids) }}, ev)
			if len(effects) == 0 {
				t.Errorf("%s + %s: nothing, not even a reason", state, name)
			}
			for _, e := range effects {
				if a, ok := e.(step.Answer); ok {
					if !before[a.Tx] {
						t.Errorf("%s + %s: %s is answered twice, or was never asked", state, name, a.Tx)
					}
					delete(before, a.Tx)
					if a.Status == 407 {
						t.Errorf("%s + %s: a challenge that no sender can meet", state, name)
					}
				}
			}
			after := borderTxs(b)
			for tx := range before {
				if !after[tx] {
					t.Errorf("%s + %s: %s is lost", state, name, tx)
				}
			}
			if name == "due" && !b.Deadline().IsZero() {
				t.Errorf("%s + due: the deadline stays", state)
			}
		}
	}
}

// borderWith returns a border conversation in which n requests of one sender
// wait, the first of them sent on.
func borderWith(t *testing.T, n int) *Border {
	b := &Border{}
	for i := range n {
		req := crossingRequest(t, step.Tx(fmt.Sprint("t", i)))
		b.Step(step.Now{Time: epoch, ID: func() string { return "f" }}, req)
	}
	return b
}

func borderTxs(b *Border) map[step.Tx]bool {
	txs := map[step.Tx]bool{}
	for i := range b.Lanes {
		for p := range b.Lanes[i].all() {
			txs[p.Tx] = true
		}
	}
	return txs
}
