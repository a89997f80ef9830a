package trunk

import (
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	maxWaiting = 1 << 20     // octets that wait to be written, before who writes waits
	maxSpare   = 16 << 10    // that an idle connection keeps to collect in
	moment     = time.Second // in which what waits may still leave when a connection is closed
)

// A writer sends what many say over one connection, in the order in which it
// was said. It is at work while there is something to write, and what is said
// meanwhile leaves together: a write for each message was a tenth of what a
// message costs.
type writer struct {
	mu      sync.Mutex
	waiting []byte
	spare   []byte // to collect in next
	letters []letter
	busy    bool
	room    chan struct{} // closed when waiting has been taken; nil: nobody waits for that
}

// A letter is a final response that finds another way if it does not leave
// here.
type letter struct {
	end  int // in what is written
	from *arrival
	res  *sip.Response
	text string
}

// say has a message written, and returns an error if that can no longer
// happen. It waits while too much waits.
func (s *stream) say(text string, l letter) error {
	w := &s.writer
	w.mu.Lock()
	for len(w.waiting) > maxWaiting && !s.isClosed() {
		if w.room == nil {
			w.room = make(chan struct{})
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-s.closed:
		}
		w.mu.Lock()
	}
	if s.isClosed() {
		w.mu.Unlock()
		return net.ErrClosed
	}
	w.waiting = append(w.waiting, text...)
	if l.from != nil {
		l.end = len(w.waiting)
		w.letters = append(w.letters, l)
	}
	start := !w.busy
	w.busy = true
	w.mu.Unlock()
	if start {
		s.t.mu.Lock()
		ok := s.t.employ(s.deliver)
		s.t.mu.Unlock()
		if !ok {
			s.deliver()
		}
	}
	return nil
}

// deliver writes until nothing waits. Half a message may be out when a write
// fails: nothing can follow it.
func (s *stream) deliver() {
	runtime.Gosched() // who is about to say something comes along
	for {
		batch, letters := s.writer.take()
		if len(batch) == 0 {
			if s.isClosed() {
				_ = s.Conn.Close()
			}
			return
		}
		wait := s.t.cfg.Limits.Write
		if s.isClosed() {
			wait = moment
		}
		err := s.Conn.SetWriteDeadline(time.Now().Add(wait))
		n := 0
		if err == nil {
			n, err = s.Conn.Write(batch)
		}
		if err != nil {
			s.undelivered(n, letters, err)
			return
		}
		s.writer.give(batch)
	}
}

// take returns what waits; nothing is the end of the work.
func (w *writer) take() ([]byte, []letter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.busy = false
		return nil, nil
	}
	batch, letters := w.waiting, w.letters
	w.waiting, w.spare, w.letters = w.spare, nil, nil
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	return batch, letters
}

// give lets what was taken be collected in again.
func (w *writer) give(batch []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cap(batch) <= maxSpare {
		w.spare = batch[:0]
	}
}

// undelivered ends a connection that has taken no more than n octets of a
// batch, and sends the responses behind them another way.
func (s *stream) undelivered(n int, letters []letter, err error) {
	_ = s.Close()
	w := &s.writer
	w.mu.Lock()
	lost := slices.DeleteFunc(letters, func(l letter) bool { return l.end <= n })
	lost = append(lost, w.letters...)
	w.waiting, w.letters, w.busy = nil, nil, false
	w.mu.Unlock()
	_ = s.Conn.Close() // if who has closed it has left that to us
	for _, l := range lost {
		l.from.astray(l.res, l.text, err)
	}
}

// finish lets what waits leave, and closes the connection.
func (s *stream) finish() error {
	s.writer.mu.Lock()
	busy := s.writer.busy
	s.writer.mu.Unlock()
	if busy { // deliver closes it
		return s.Conn.SetWriteDeadline(time.Now().Add(moment))
	}
	return s.Conn.Close()
}
