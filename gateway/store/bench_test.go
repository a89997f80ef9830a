package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSave is the price of a record of 1 KB, saved over its last revision:
// by one who waits for each, and by as many as there are shards at work.
func BenchmarkSave(b *testing.B) {
	value := []byte(strings.Repeat("x", 1000))
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(b.Context(), Config{Dir: b.TempDir(), Sync: time.Second})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var who atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(n)
			b.ResetTimer()
			save := func(next func() bool) {
				key := fmt.Sprint("talk.", who.Add(1))
				rev, err := s.Create(b.Context(), key, value)
				for err == nil && next() {
					rev, err = s.Update(b.Context(), key, value, rev)
				}
				if err != nil {
					b.Error(err)
				}
			}
			if n == 1 {
				save(b.Loop)
				return
			}
			b.RunParallel(func(p *testing.PB) { save(p.Next) })
		})
	}
}

// BenchmarkList is the time in which 100,000 records of 1 KB are read at the
// start, the opening of the store and the look at its files included.
func BenchmarkList(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir, 100_000)
	for b.Loop() {
		s, err := Open(b.Context(), Config{Dir: dir, Sync: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if err := s.List(b.Context(), "", func(Entry) error { n++; return nil }); err != nil || n != 100_000 {
			b.Fatal(n, err)
		}
		s.Close()
	}
}

func fill(b *testing.B, dir string, n int) {
	s, err := Open(b.Context(), Config{Dir: dir, Sync: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	value := []byte(strings.Repeat("x", 1000))
	done := make(chan error)
	const many = 64
	for k := range many {
		go func() {
			for i := k; i < n; i += many {
				if _, err := s.Put(b.Context(), fmt.Sprintf("talk.%d", i), value); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range many {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
