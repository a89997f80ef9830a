package main

import (
	"io"
	"sync"
	"time"
)

// A collector is a log on its way out: who writes a line does not wait until
// it has left, and many leave at once. They leave within a moment, in order,
// and none is lost unless the process is killed in that moment. While too many
// wait, who writes waits too.
type collector struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
	room    *sync.Cond // waiting has been taken
	ended   bool
	more    chan struct{} // there is something to take
	over    chan struct{} // closed when all has left after close
}

const (
	moment   = 5 * time.Millisecond // for which lines are collected
	maxLines = 1 << 20              // bytes that wait
)

// newCollector returns a log to a file. It runs until it is closed.
func newCollector(to io.Writer) *collector {
	c := &collector{to: to, more: make(chan struct{}, 1), over: make(chan struct{})}
	c.room = sync.NewCond(&c.mu)
	go c.run() // close waits for it
	return c
}

// Write implements [io.Writer]. After close it writes at once.
func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	for len(c.waiting) > maxLines && !c.ended {
		c.room.Wait()
	}
	if c.ended {
		c.mu.Unlock()
		<-c.over
		return c.to.Write(p)
	}
	c.waiting = append(c.waiting, p...)
	select {
	case c.more <- struct{}{}:
	default:
	}
	c.mu.Unlock()
	return len(p), nil
}

// close returns when all lines have left.
func (c *collector) close() {
	c.mu.Lock()
	if !c.ended {
		c.ended = true
		close(c.more)
	}
	c.room.Broadcast()
	c.mu.Unlock()
	<-c.over
}

func (c *collector) run() {
	defer close(c.over)
	var spare []byte
	for open := true; open; {
		if _, open = <-c.more; open {
			time.Sleep(moment)
		}
		c.mu.Lock()
		c.waiting, spare = spare[:0], c.waiting
		c.room.Broadcast()
		c.mu.Unlock()
		if len(spare) > 0 {
			_, _ = c.to.Write(spare) // a log that cannot be written cannot say so
		}
	}
}
