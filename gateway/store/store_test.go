package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpimgate/cpim/fault"
)

// kinds are the two ways in which records are kept. Reopen closes a store and
// opens it again.
var kinds = []struct {
	name string
	open func(t *testing.T) Config
}{
	{"embedded", func(t *testing.T) Config { return Config{Dir: t.TempDir(), Sync: time.Second} }},
	{"external", func(t *testing.T) Config { return Config{URL: start(t, "server", t.TempDir()).line()} }},
}

// each runs a test with a store of each kind.
func each(t *testing.T, fn func(t *testing.T, s *Store, cfg Config)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			cfg := k.open(t)
			s := must(Open(t.Context(), cfg))(t)
			defer func() { s.Close() }()
			fn(t, s, cfg)
		})
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestConformance is what a store promises, of either kind.
func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, s *Store, cfg Config) {
		ctx := t.Context()
		want := func(key, value string) uint64 {
			t.Helper()
			e, err := s.Get(ctx, key)
			if err != nil || string(e.Value) != value || e.Key != key {
				t.Fatalf("%s is %q, %v; want %q", key, e.Value, err, value)
			}
			return e.Revision
		}
		none := func(key string) {
			t.Helper()
			if e, err := s.Get(ctx, key); fault.KindOf(err) != fault.NotFound {
				t.Fatalf("%s is %q, %v; want none", key, e.Value, err)
			}
		}
		conflict := func(_ any, err error) {
			t.Helper()
			if !errors.Is(err, ErrConflict) {
				t.Fatalf("%v, want a conflict", err)
			}
		}

		none("talk.a")
		conflict(s.Update(ctx, "talk.a", []byte("zero"), 3))
		one := must(s.Create(ctx, "talk.a", []byte("one")))(t)
		if got := want("talk.a", "one"); got != one {
			t.Errorf("revision %d was saved, %d is read", one, got)
		}
		conflict(s.Create(ctx, "talk.a", []byte("again")))
		two := must(s.Update(ctx, "talk.a", []byte("two"), one))(t)
		if two <= one {
			t.Errorf("revision %d follows %d", two, one)
		}
		conflict(s.Update(ctx, "talk.a", []byte("stale"), one))
		want("talk.a", "two")
		three := must(s.Put(ctx, "talk.a", []byte("three")))(t)
		conflict(nil, s.Delete(ctx, "talk.a", two))
		want("talk.a", "three")
		if err := s.Delete(ctx, "talk.a", three); err != nil {
			t.Fatal(err)
		}
		none("talk.a")
		if err := s.Delete(ctx, "talk.a", three); err != nil {
			t.Errorf("deleted again: %v", err)
		}
		conflict(s.Update(ctx, "talk.a", []byte("ghost"), three))
		four := must(s.Create(ctx, "talk.a", []byte("four")))(t)
		if four <= three {
			t.Errorf("a new record's revision %d follows %d", four, three)
		}
		if err := s.Delete(ctx, "talk.a", 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, "talk.never", 0); err != nil {
			t.Errorf("what never was: %v", err)
		}

		odd := []byte("\x00\xff{\"a\": 1}\r\n")
		must(s.Put(ctx, "talk.odd", odd))(t)
		must(s.Put(ctx, "talk.empty", nil))(t)
		large := bytes.Repeat([]byte("0123456789abcdef"), MaxValue/16)
		must(s.Put(ctx, "talk.large", large))(t)
		if _, err := s.Put(ctx, "talk.larger", append(large, 'x')); fault.KindOf(err) != fault.TooLarge {
			t.Errorf("a byte too much: %v", err)
		}
		for _, key := range []string{"", ".", "a..b", ".a", "a.", "a b", "a*", "a.>", "ä", strings.Repeat("a", maxKey+1)} {
			if _, err := s.Put(ctx, key, nil); fault.KindOf(err) != fault.Malformed {
				t.Errorf("key %q: %v", key, err)
			}
		}

		s.Close()
		if _, err := s.Get(ctx, "talk.odd"); fault.KindOf(err) != fault.Busy {
			t.Errorf("a closed store answers: %v", err)
		}
		s = must(Open(ctx, cfg))(t)
		defer s.Close()
		want("talk.odd", string(odd))
		want("talk.empty", "")
		want("talk.large", string(large))
		none("talk.a")
	})
}

// TestList: all records are found by the words that their keys begin with, and
// they are spread over all streams.
func TestList(t *testing.T) {
	each(t, func(t *testing.T, s *Store, _ Config) {
		ctx := t.Context()
		want := map[string]string{}
		for i := range 200 {
			key := fmt.Sprint("talk.k", i)
			must(s.Put(ctx, key, []byte("old")))(t)
			must(s.Put(ctx, key, fmt.Append(nil, i)))(t)
			want[key] = fmt.Sprint(i)
		}
		must(s.Put(ctx, "talker.k", []byte("no talk")))(t)
		must(s.Put(ctx, "talk.gone", []byte("gone")))(t)
		if err := s.Delete(ctx, "talk.gone", 0); err != nil {
			t.Fatal(err)
		}
		list := func(prefix string) map[string]string {
			got := map[string]string{}
			err := s.List(ctx, prefix, func(e Entry) error {
				if _, twice := got[e.Key]; twice {
					t.Errorf("%s comes twice", e.Key)
				}
				got[e.Key] = string(e.Value)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			return got
		}
		if got := list("talk"); !maps.Equal(got, want) {
			t.Errorf("%d records, want %d", len(got), len(want))
		}
		if got := list(""); len(got) != len(want)+1 {
			t.Errorf("%d records in all, want %d", len(got), len(want)+1)
		}
		if got := list("none"); len(got) != 0 {
			t.Errorf("%v", got)
		}
		mine := errors.New("mine")
		if err := s.List(ctx, "", func(Entry) error { return mine }); err != mine {
			t.Errorf("an error of the caller's: %v", err)
		}
		for i, st := range s.now.Load().streams {
			info := must(st.Info(ctx))(t)
			if info.State.Msgs < 10 {
				t.Errorf("stream %d has %d records", i, info.State.Msgs)
			}
		}
	})
}

// TestWatch: a watch tells what is there, that this was all, and what changes.
func TestWatch(t *testing.T) {
	each(t, func(t *testing.T, s *Store, _ Config) {
		ctx, stop := context.WithCancel(t.Context())
		must(s.Put(ctx, "node.a", []byte("1")))(t)
		must(s.Put(ctx, "talk.a", []byte("not asked for")))(t)
		changes := make(chan Change, 100)
		ended := make(chan error)
		go func() {
			ended <- s.Watch(ctx, "node", func(c Change) error { changes <- c; return nil })
		}()
		expect := func(key, value string, deleted, now bool) {
			t.Helper()
			c := <-changes
			if c.Key != key || string(c.Value) != value || c.Deleted != deleted || c.Now != now {
				t.Fatalf("%+v, want %s %q %v %v", c, key, value, deleted, now)
			}
		}
		expect("node.a", "1", false, false)
		expect("", "", false, true)
		rev := must(s.Put(ctx, "node.a", []byte("2")))(t)
		expect("node.a", "2", false, false)
		must(s.Create(ctx, "node.b", []byte("3")))(t)
		expect("node.b", "3", false, false)
		if err := s.Delete(ctx, "node.a", rev); err != nil {
			t.Fatal(err)
		}
		expect("node.a", "", true, false)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ends with %v", err)
		}
		mine := errors.New("mine")
		if err := s.Watch(t.Context(), "node", func(Change) error { return mine }); err != mine {
			t.Errorf("an error of the caller's: %v", err)
		}
	})
}

// TestRequest: nodes ask each other through the store, in order.
func TestRequest(t *testing.T) {
	each(t, func(t *testing.T, s *Store, cfg Config) {
		if _, err := s.Request(t.Context(), "node.b", nil); fault.KindOf(err) != fault.NoRoute {
			t.Errorf("nobody serves it: %v", err)
		}
		other := s
		if cfg.URL != "" {
			other = must(Open(t.Context(), cfg))(t)
			defer other.Close()
		}
		ctx, stop := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error)
		var asked []string
		go func() {
			ended <- other.Serve(ctx, "node.b", ready, func(q []byte) []byte {
				asked = append(asked, string(q))
				return append([]byte("re: "), q...)
			})
		}()
		<-ready
		for i := range 3 {
			answer, err := s.Request(t.Context(), "node.b", fmt.Append(nil, i))
			if err != nil || string(answer) != fmt.Sprint("re: ", i) {
				t.Errorf("question %d: %q, %v", i, answer, err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !slices.Equal(asked, []string{"0", "1", "2"}) {
			t.Errorf("asked %q", asked)
		}
		late, cancel := context.WithCancel(t.Context())
		silent := make(chan struct{})
		go func() {
			ended <- other.Serve(late, "node.c", silent, func([]byte) []byte { cancel(); <-late.Done(); return nil })
		}()
		<-silent
		if _, err := s.Request(late, "node.c", nil); fault.KindOf(err) != fault.Timeout {
			t.Errorf("who does not answer: %v", err)
		}
		<-ended
	})
}

// TestFence: of many who save over the same revision one gets through.
func TestFence(t *testing.T) {
	each(t, func(t *testing.T, s *Store, _ Config) {
		rev := must(s.Create(t.Context(), "talk.a", []byte("start")))(t)
		var wg sync.WaitGroup
		won := make(chan string, 20)
		for i := range 20 {
			wg.Go(func() {
				value := fmt.Sprint("by ", i)
				switch _, err := s.Update(t.Context(), "talk.a", []byte(value), rev); {
				case err == nil:
					won <- value
				case !errors.Is(err, ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(won)
		first := <-won
		if more, ok := <-won; ok {
			t.Errorf("%q and %q have both saved", first, more)
		}
		if e := must(s.Get(t.Context(), "talk.a"))(t); string(e.Value) != first {
			t.Errorf("%q has saved, %q is there", first, e.Value)
		}
	})
}
