package shard

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/gateway/step"
)

// A counter is a machine that says what it is told, and can be idle, set an
// alarm, or end.
type counter struct {
	at   time.Time
	busy bool
	n    int
}

func (c *counter) Deadline() time.Time { return c.at }
func (c *counter) Idle() bool          { return !c.busy }

func (c *counter) Step(now step.Now, ev step.Event) []step.Effect {
	c.n++
	switch ev := ev.(type) {
	case step.Request:
		switch ev.Peer {
		case "alarm":
			c.at = now.Time.Add(time.Minute)
		case "later":
			c.at = c.at.Add(time.Minute)
		case "busy":
			c.busy = true
		case "end":
			return []step.Effect{step.Answer{Tx: ev.Tx, Status: 200}, step.Forget{}}
		}
		return []step.Effect{step.Answer{Tx: ev.Tx, Status: c.n, Reason: now.ID()}}
	case step.Due:
		c.at = time.Time{}
		return []step.Effect{step.Ignore{Why: fmt.Sprint("due at ", now.Time.Unix())}}
	}
	return []step.Effect{step.Ignore{Why: fmt.Sprintf("%T", ev)}}
}

// play runs shards in a bubble; what is done arrives on the channel.
func play(t *testing.T, cfg Config, fn func(s *Shards, done chan step.Effect)) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan step.Effect, 1000)
		cfg.New = func(step.Key) step.Machine { return &counter{} }
		cfg.Do = func(_ step.Key, e step.Effect) { done <- e }
		s := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		fn(s, done)
		cancel()
		<-ended
	})
}

func key(name string) step.Key { return step.Key{Kind: "test", Place: "place", Name: name} }

func answer(t *testing.T, done chan step.Effect) step.Answer {
	t.Helper()
	e := <-done
	a, ok := e.(step.Answer)
	if !ok {
		t.Fatalf("got %#v, want an answer", e)
	}
	return a
}

func TestOrder(t *testing.T) {
	play(t, Config{}, func(s *Shards, done chan step.Effect) {
		for i := range 500 {
			if err := s.Post(key("a"), step.Request{Tx: step.Tx(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		ids := map[string]bool{}
		for i := range 500 {
			a := answer(t, done)
			if a.Tx != step.Tx(fmt.Sprint(i)) || a.Status != i+1 {
				t.Fatalf("answer %d is %+v", i, a)
			}
			if len(a.Reason) != 26 || ids[a.Reason] {
				t.Fatalf("id %q is short or not new", a.Reason)
			}
			ids[a.Reason] = true
		}
	})
}

// TestAlarm: an alarm goes off at its time; one that was put off meanwhile
// goes off at the later time, once.
func TestAlarm(t *testing.T) {
	play(t, Config{}, func(s *Shards, done chan step.Effect) {
		begin := time.Now()
		s.Post(key("a"), step.Request{Peer: "alarm"})
		s.Post(key("a"), step.Request{Peer: "later"})
		answer(t, done)
		answer(t, done)
		e := <-done
		if want := (step.Ignore{Why: fmt.Sprint("due at ", begin.Add(2*time.Minute).Unix())}); e != want {
			t.Errorf("got %v, want %v", e, want)
		}
		time.Sleep(time.Hour) // of the bubble
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("and then %v", <-done)
		}
	})
}

// TestForget: a machine that ends is gone, with its alarm; the next event
// makes a new one; reports to one that is gone are for nobody.
func TestForget(t *testing.T) {
	play(t, Config{}, func(s *Shards, done chan step.Effect) {
		s.Post(key("a"), step.Request{Peer: "alarm"})
		s.Post(key("a"), step.Request{Peer: "end"})
		answer(t, done)
		answer(t, done)
		s.Report(key("a"), step.Taken{})
		s.Report(key("a"), step.Response{})
		s.Post(key("a"), step.Request{})
		if a := answer(t, done); a.Status != 1 {
			t.Errorf("the machine that followed was told %d events, want 1", a.Status)
		}
		time.Sleep(time.Hour) // of the bubble
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("and then %v", <-done)
		}
	})
}

// TestFull: a shard that is full forgets idle machines, oldest first, and
// never one that somebody waits for; at twice its number Post says Busy.
func TestFull(t *testing.T) {
	play(t, Config{Machines: 4}, func(s *Shards, done chan step.Effect) {
		post := func(name, peer string) (int, error) {
			err := s.Post(key(name), step.Request{Peer: peer})
			if err != nil {
				return 0, err
			}
			return answer(t, done).Status, nil
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			post(name, map[string]string{"a": "busy"}[name])
		}
		post("e", "")
		if n, _ := post("b", ""); n != 1 {
			t.Errorf("b was not forgotten though oldest of the idle: event %d", n)
		}
		if n, _ := post("a", ""); n != 2 {
			t.Errorf("a was forgotten though somebody waits for it: event %d", n)
		}
		var err error
		n := 0
		for ; err == nil && n < 20; n++ {
			_, err = post(fmt.Sprint("busy", n), "busy")
			synctest.Wait()
		}
		if fault.KindOf(err) != fault.Busy || n > 9 {
			t.Errorf("%d busy machines, then %v; want busy at twice four", n, err)
		}
		if machines, _ := s.Load(); machines > 8 {
			t.Errorf("%d machines in a shard for four", machines)
		}
	})
}

// TestBusy: Post refuses when the queue is full, Report does not.
func TestBusy(t *testing.T) {
	hold := make(chan struct{})
	s := New(Config{Queue: 3, New: func(step.Key) step.Machine { return &counter{} }, Do: func(step.Key, step.Effect) { <-hold }})
	var err error
	for range 3 {
		err = s.Post(key("a"), step.Request{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Post(key("a"), step.Request{}); fault.KindOf(err) != fault.Busy {
		t.Errorf("the fourth of three: %v, want busy", err)
	}
	s.Report(key("a"), step.Response{SIP: sip.NewResponse(200, "OK")})
	if _, events := s.Load(); events != 4 {
		t.Errorf("%d events wait, want 4: the report too", events)
	}
	close(hold)
}

// TestIDs: the names that machines get say where they live and are otherwise
// random, so that none comes twice (XEP-0359, section 3): of ten thousand all
// differ, and each of their 96 bits is sometimes set and sometimes not.
func TestIDs(t *testing.T) {
	play(t, Config{}, func(s *Shards, done chan step.Effect) {
		const n = 10_000
		seen := map[string]bool{}
		homes := map[string]map[byte]bool{} // the shards that the names of one place speak of
		var ever, never [12]byte            // bits that are set in some, and that are not in some
		for i := range n {
			place := fmt.Sprint(i % 100)
			if err := s.Post(step.Key{Kind: "test", Place: place, Name: place}, step.Request{}); err != nil {
				t.Fatal(err)
			}
			id := answer(t, done).Reason
			b, err := hex.DecodeString(id)
			if err != nil || len(b) != 13 {
				t.Fatalf("%q is not a byte and 96 bits: %v", id, err)
			}
			if homes[place] == nil {
				homes[place] = map[byte]bool{}
			}
			homes[place][b[0]], seen[id] = true, true
			for i, bits := range b[1:] {
				ever[i] |= bits
				never[i] |= ^bits
			}
		}
		all := [12]byte(bytes.Repeat([]byte{0xff}, 12))
		if len(seen) != n || ever != all || never != all {
			t.Errorf("%d of %d differ; bits that vary: %x", len(seen), n, [2][12]byte{ever, never})
		}
		numbers := map[byte]bool{}
		for place, of := range homes {
			if len(of) != 1 {
				t.Errorf("the names of place %s speak of %d shards", place, len(of))
			}
			for number := range of {
				numbers[number] = true
			}
		}
		if len(numbers) < 10 {
			t.Errorf("a hundred places live in %d shards", len(numbers))
		}
	})
}

// BenchmarkStep is the price of one event from Post to its effect.
func BenchmarkStep(b *testing.B) {
	done := make(chan struct{}, 1)
	s := New(Config{New: func(step.Key) step.Machine { return &counter{} }, Do: func(step.Key, step.Effect) { done <- struct{}{} }})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	b.ReportAllocs()
	for b.Loop() {
		s.Post(key("a"), step.Got{})
		<-done
	}
	cancel()
	<-ended
}
