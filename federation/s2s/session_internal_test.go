package s2s

import "testing"

// After 2^32-1 comes 0, on both sides (XEP-0198, section 4).
func TestCounterWrap(t *testing.T) {
	s := &session{sent: 1<<32 - 3}
	s.sends(make([]item, 5))
	if s.sent != 2 {
		t.Errorf("sent %d", s.sent)
	}
	for _, c := range []struct {
		h    uint32
		done int
		ok   bool
	}{{1<<32 - 3, 0, true}, {1<<32 - 4, 0, false}, {3, 0, false}, {1<<32 - 1, 2, true}, {0, 1, true}, {1<<32 - 1, 0, false}, {2, 2, true}, {2, 0, true}, {3, 0, false}} {
		if done, err := s.handled(c.h); len(done) != c.done || (err == nil) != c.ok {
			t.Errorf("h=%d: %d done, %v; want %d, %v", c.h, len(done), err, c.done, c.ok)
		}
	}

	r := newSession(key{})
	r.h.Store(1<<32 - 2)
	for _, want := range []string{"4294967295", "0", "1"} {
		if err := r.take(func() {}); err != nil {
			t.Fatal(err)
		}
		if got := string(r.ack()); got != "<a xmlns='urn:xmpp:sm:3' h='"+want+"'/>" {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What did not go out whole is taken back, whatever the peer has said of it.
func TestUnsend(t *testing.T) {
	s := &session{}
	s.sends(make([]item, 3))
	if back := s.unsend(2); len(back) != 2 || s.sent != 1 || len(s.waiting) != 1 {
		t.Errorf("%d back, %d sent, %d wait", len(back), s.sent, len(s.waiting))
	}
	s.sends(make([]item, 2))
	s.handled(3)
	if back := s.unsend(2); len(back) != 0 || s.sent != 3 {
		t.Errorf("%d back, %d sent", len(back), s.sent)
	}
}
