package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slow file takes a second for each write.
type slow struct {
	text   strings.Builder
	writes int
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Second) // of the bubble
	s.writes++
	return s.text.Write(p)
}

// TestCollector: lines leave together and in order, within a moment of the first
// and before the log is closed; who writes after that waits for them.
func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &slow{}
		l := newCollector(to)
		begin := time.Now()
		for i := range 100 {
			fmt.Fprintf(l, "%d\n", i)
		}
		if time.Since(begin) != 0 {
			t.Error("a writer has waited")
		}
		time.Sleep(moment + time.Second)
		synctest.Wait()
		want := to.text.String()
		if to.writes != 1 || strings.Count(want, "\n") != 100 || !strings.HasSuffix(want, "98\n99\n") {
			t.Errorf("%d writes of %q", to.writes, want)
		}
		fmt.Fprintln(l, "before")
		var late sync.WaitGroup
		late.Go(l.close)
		synctest.Wait()
		fmt.Fprintln(l, "after")
		late.Wait()
		l.close()
		if got := to.text.String(); got != want+"before\nafter\n" {
			t.Errorf("in the end %q", got)
		}
	})
}

// TestCollectorFull: while too much waits, who writes waits.
func TestCollectorFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &slow{}
		l := newCollector(to)
		defer l.close()
		begin := time.Now()
		line := strings.Repeat("x", maxLines/2) + "\n"
		for range 4 {
			fmt.Fprint(l, line)
		}
		if waited := time.Since(begin); waited == 0 || waited > time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}
