package policy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/mapping"
)

// uri reads an address of SIP, without the scheme.
func uri(t *testing.T, address string) sip.Uri {
	t.Helper()
	u, err := mapping.ParseURI("sip:" + address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wants checks which rule has refused a message; "" is none.
func wants(t *testing.T, what string, err error, rule Rule) {
	t.Helper()
	var got Rule
	if r, ok := errors.AsType[*Refused](err); ok {
		got = r.Rule
	}
	if got != rule || (err == nil) != (rule == "") {
		t.Errorf("%s: %v, want it refused by %q", what, err, rule)
	}
}

// TestAdmit: RFC 6120, section 13.12: one who floods is told so, and neither
// his neighbours nor other domains pay for it.
func TestAdmit(t *testing.T) {
	e := New(Limits{PerSender: 2, PerPeer: 4, Strangers: 1000}, nil)
	now := time.Unix(1000, 0)
	to := uri(t, "juliet@c.example")
	for i := range 2 * burst {
		if err := e.Admit(now, "a.example", uri(t, "romeo@a.example"), to); err != nil {
			t.Fatalf("message %d of a burst: %v", i, err)
		}
	}
	err := e.Admit(now, "a.example", uri(t, "%52omeo@A.example"), to)
	if wants(t, "one over the burst of a sender, spelled otherwise", err, PerSender); fault.KindOf(err) != fault.Flood {
		t.Errorf("%v is no flood", err)
	}
	wants(t, "another sender", e.Admit(now, "a.example", uri(t, "tybalt@a.example"), to), "")
	wants(t, "a second later", e.Admit(now.Add(time.Second), "a.example", uri(t, "romeo@a.example"), to), "")
	for range 4 * burst {
		e.Admit(now, "a.example", uri(t, "many@a.example"), to)
	}
	wants(t, "a domain over its burst", e.Admit(now, "a.example", uri(t, "new@a.example"), to), PerPeer)
	wants(t, "another domain", e.Admit(now, "b.example", uri(t, "juliet@b.example"), to), "")
}

// TestStrangers: first messages to many users are limited, a conversation is
// not, and who answers is no stranger to either.
func TestStrangers(t *testing.T) {
	e := New(Limits{PerSender: 1e6, PerPeer: 1e6, Strangers: 3}, nil)
	now := time.Unix(1000, 0)
	spammer := uri(t, "spammer@a.example")
	write := func(from, to sip.Uri) error { return e.Admit(now, from.Host, from, to) }
	victim := func(i int) sip.Uri { return uri(t, fmt.Sprintf("victim%d@c.example", i)) }
	for i := range 3 {
		wants(t, "a first message", write(spammer, victim(i)), "")
		wants(t, "and one more", write(spammer, victim(i)), "")
	}
	wants(t, "the fourth stranger in a minute", write(spammer, victim(3)), Strangers)
	wants(t, "one who was written to before", write(spammer, victim(2)), "")
	wants(t, "his answer", write(victim(2), spammer), "")
	if _, ok := e.met.Get(ordered(Name(spammer), Name(victim(2)))); !ok || e.tried.Len() != 2 {
		t.Errorf("after the answer they are strangers; %d others wait for one", e.tried.Len())
	}
	wants(t, "what comes after the answer", write(spammer, victim(2)), "")
	wants(t, "one who has written first", write(victim(9), spammer), "")
	wants(t, "the answer to him", write(spammer, victim(9)), "")
	now = now.Add(20 * time.Second)
	wants(t, "after a third of a minute", write(spammer, victim(3)), "")
	wants(t, "and one more", write(spammer, victim(4)), Strangers)
}

// TestBounds: what is remembered of peers and users does not grow for ever.
func TestBounds(t *testing.T) {
	const size = 100
	e := newEngine(Limits{PerSender: 1e6, PerPeer: 1e9, Strangers: 1e6}, nil, size)
	now := time.Unix(1000, 0)
	juliet := uri(t, "juliet@c.example")
	for i := range 2 * size {
		from := uri(t, fmt.Sprint("u", i, "@a.example"))
		e.Admit(now, fmt.Sprintf("d%d.example", i), from, juliet)
		e.Admit(now, "c.example", juliet, from)
		e.Admit(now, "a.example", from, uri(t, fmt.Sprint("silent", i, "@c.example")))
	}
	for name, n := range map[string]int{
		"senders": e.senders.Len(), "peers": e.peers.Len(), "strangers": e.shy.Len(), "tried": e.tried.Len(), "met": e.met.Len(),
	} {
		if n != size {
			t.Errorf("%s: %d are remembered, want %d", name, n, size)
		}
	}
}

// TestSet: new limits hold for those who are being counted already.
func TestSet(t *testing.T) {
	e := New(Limits{PerSender: 1, PerPeer: 1e6, Strangers: 1e6}, nil)
	now := time.Unix(1000, 0)
	from, to := uri(t, "romeo@a.example"), uri(t, "juliet@c.example")
	for range burst {
		wants(t, "within the burst", e.Admit(now, "a.example", from, to), "")
	}
	wants(t, "over it", e.Admit(now, "a.example", from, to), PerSender)
	e.Set(Limits{PerSender: 10, PerPeer: 1e6, Strangers: 1e6}, nil)
	now = now.Add(time.Second) // what that has earned was at the old rate
	wants(t, "the first that hears of the new rate", e.Admit(now, "a.example", from, to), "")
	now = now.Add(time.Second)
	for range 10 {
		wants(t, "at the new rate", e.Admit(now, "a.example", from, to), "")
	}
	block, err := NewList([]string{"a.example"})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	e.Set(Limits{PerSender: 10, PerPeer: 1e6, Strangers: 1e6}, block)
	wants(t, "blocked now", e.Admit(now, "a.example", from, to), Blocked)
}
