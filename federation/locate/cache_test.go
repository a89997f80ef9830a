package locate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/cpim/fault"
)

// counting counts the questions that reach a zone; each takes a second.
type counting struct {
	*Static
	mu    sync.Mutex
	asked map[string]int
}

func (c *counting) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	c.mu.Lock()
	c.asked[name]++
	c.mu.Unlock()
	select {
	case <-time.After(time.Second): // of the bubble
	case <-ctx.Done():
		return Answer{}, fault.Wrap(fault.Timeout, ctx.Err(), "left")
	}
	return c.Static.Lookup(ctx, name, qtype)
}

// count returns how often a name was asked for since the last call.
func (c *counting) count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.asked[name]
	delete(c.asked, name)
	return n
}

const cacheZone = `
$ORIGIN example.
@ 3600 SOA ns hostmaster 1 7200 3600 1209600 120
slow.example. 86400 SOA ns.example. hostmaster.example. 1 7200 3600 1209600 86400
a 60 A 127.0.0.1
b 60 A 127.0.0.1
b 30 A 127.0.0.2
c 300 CNAME d
e 15 CNAME a
d 20 A 127.0.0.1
zero 0 A 127.0.0.1
week 604800 A 127.0.0.1
nosoa.test. 60 A 127.0.0.1
`

// TestCacheTTL: an answer holds for its smallest TTL, aliases included, and a
// "no" for the SOA minimum, at most five minutes (RFC 2308; RES-04).
func TestCacheTTL(t *testing.T) {
	for _, tt := range []struct {
		name  string
		holds time.Duration
	}{
		{"a.example", time.Minute},
		{"b.example", 30 * time.Second},
		{"c.example", 20 * time.Second},
		{"e.example", 15 * time.Second},
		{"week.example", 24 * time.Hour},
		{"none.example", 2 * time.Minute},
		{"none.slow.example", 5 * time.Minute},
		{"zero.example", time.Second}, // a zone that forbids it
		{"none.test", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z, err := NewStatic(cacheZone)
				if err != nil {
					t.Fatal(err)
				}
				c := &counting{Static: z, asked: map[string]int{}}
				l := New(Config{Resolver: c})
				ask := func() int {
					t.Helper()
					if _, err := l.dns.Lookup(t.Context(), tt.name, TypeA); err != nil {
						t.Fatal(err)
					}
					return c.count(tt.name)
				}
				if n := ask(); n != 1 {
					t.Fatal(n)
				}
				time.Sleep(tt.holds - time.Millisecond)
				if n := ask(); n != 0 {
					t.Error("asked again before the end")
				}
				time.Sleep(time.Millisecond)
				if n := ask(); n != 1 {
					t.Error("not asked again after the end")
				}
			})
		})
	}
}

// TestCacheFlight: a question is asked once for all who want to know; one who
// leaves does not take the answer from the others.
func TestCacheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, err := NewStatic(cacheZone)
		if err != nil {
			t.Fatal(err)
		}
		c := &counting{Static: z, asked: map[string]int{}}
		l := New(Config{Resolver: c})
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		errs := make(chan error, 10)
		for i := range 10 {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient
			}
			wg.Go(func() {
				_, err := l.dns.Lookup(ctx, "a.example", TypeA)
				errs <- err
			})
			synctest.Wait() // the impatient one is first
		}
		wg.Wait()
		failed := 0
		for range 10 {
			if err := <-errs; err != nil {
				failed++
				if fault.KindOf(err) != fault.Timeout || !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		}
		if n := c.count("a.example"); n != 1 || failed != 1 {
			t.Errorf("asked %d times, %d failed", n, failed)
		}
	})
}

// TestCacheFailure: a failure is asked about again after five seconds; while it
// lasts, an old answer serves if the configuration says so (RFC 8767).
func TestCacheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, err := NewStatic(cacheZone)
		if err != nil {
			t.Fatal(err)
		}
		c := &counting{Static: z, asked: map[string]int{}}
		strict, stale := New(Config{Resolver: c}), New(Config{Resolver: c, Stale: time.Hour})
		look := func(l *Locator) error {
			_, err := l.dns.Lookup(t.Context(), "a.example", TypeA)
			return err
		}
		for _, l := range []*Locator{strict, stale} {
			if err := look(l); err != nil {
				t.Fatal(err)
			}
		}
		z.Break("a.example")
		time.Sleep(2 * time.Minute)
		c.count("a.example")
		for range 3 {
			if err := look(strict); fault.KindOf(err) != fault.Timeout {
				t.Error(err)
			}
		}
		if n := c.count("a.example"); n != 1 {
			t.Errorf("asked %d times within five seconds", n)
		}
		for range 3 {
			if err := look(stale); err != nil {
				t.Error(err)
			}
		}
		if n := c.count("a.example"); n != 1 {
			t.Errorf("with an old answer at hand asked %d times within five seconds", n)
		}
		time.Sleep(time.Hour)
		if err := look(stale); fault.KindOf(err) != fault.Timeout {
			t.Error("too old:", err)
		}
		z.Break()
		time.Sleep(failureTTL)
		if err := look(strict); err != nil {
			t.Error("after the failure:", err)
		}
	})
}

// TestCacheBound: however many names are asked for, what is kept is bounded.
func TestCacheBound(t *testing.T) {
	z, err := NewStatic(cacheZone)
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{Resolver: z, CacheSize: 10})
	for i := range 100 {
		if _, err := l.dns.Lookup(t.Context(), fmt.Sprintf("n%d.example", i), TypeA); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.dns.known.Len(); n != 10 {
		t.Errorf("%d entries", n)
	}
}
