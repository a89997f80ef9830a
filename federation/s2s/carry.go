package s2s

import (
	"crypto/rand"
	"runtime"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// batchSize is how many bytes go into one write.
const batchSize = 64 << 10

// board makes p one of the pairs whose stanzas go out over the stream, and
// reports false if the stream is at its end.
func (s *stream) board(p *pair, proof federation.Proof, auth string) bool {
	s.out.Lock()
	defer s.out.Unlock()
	if s.closed || s.failed() != nil {
		return false
	}
	s.riders = append(s.riders, p)
	p.mu.Lock()
	p.out, p.proof, p.auth, p.changed = s, proof, auth, time.Now()
	p.err, p.delay, p.retry = nil, 0, time.Time{}
	p.mu.Unlock()
	if !s.manned {
		s.manned = true
		s.writer.Go(s.carry)
	}
	signal(s.work)
	return true
}

// carry is the one writer of stanzas. It ends when the reader has, or with our
// end tag when we go.
func (s *stream) carry() {
	breath := time.NewTicker(keepalive)
	defer breath.Stop()
	late := time.NewTimer(answerTime) // the last question was so long ago
	defer late.Stop()
	for {
		if wrote, asked, err := s.flush(); err != nil {
			if s.failed() == nil { // else somebody ends the stream
				s.fail(err)
				s.drop()
			}
			return
		} else if wrote {
			s.touch()
			if asked {
				late.Reset(answerTime)
			}
			continue
		} else if s.going.Load() && s.retire(errShut, true) {
			return
		}
		select {
		case <-s.work:
			runtime.Gosched() // who is about to send comes along
		case <-s.dead:
			return
		case <-breath.C:
			s.breathe()
			late.Reset(answerTime)
		case <-late.C:
			if s.silent() {
				s.fail(errDead)
				s.end(errDead.append(nil))
				return
			}
		}
	}
}

// flush writes what the riders have queued, in one write. What did not go out
// whole returns to the head of the queues: the peer cannot have taken it. The
// trace hears of a stanza before it is written, since what follows from it may
// be as fast.
func (s *stream) flush() (wrote, asked bool, err error) {
	var batch []item
	var sess *session
	n, err := s.compose(func() (buf []byte) {
		batch, sess, asked = s.batch()
		for _, it := range batch {
			s.srv.trace(true, it.pair.to, s.via, it.text)
			buf = append(buf, it.text...)
		}
		if asked {
			buf = append(buf, smElement("r", "", "")...)
		}
		return buf
	})
	wrote = len(batch) > 0 || asked
	for len(batch) > 0 && n >= len(batch[0].text) {
		n -= len(batch[0].text)
		if sess == nil {
			batch[0].done(federation.Written, nil)
		}
		batch = batch[1:]
	}
	if len(batch) > 0 {
		if sess != nil {
			batch = sess.unsend(len(batch))
		}
		requeue(batch)
	}
	return wrote, asked, err
}

// batch takes what goes into one write from the queues, one rider after the
// other, and reports whether an acknowledgement is to be asked for. The next
// batch begins with the next rider.
func (s *stream) batch() (batch []item, sess *session, ask bool) {
	s.out.Lock()
	defer s.out.Unlock()
	sess = s.sess.Load()
	room := batchSize // a stanza has at least one byte
	if sess != nil {
		room = sess.room(s.lim.Queue)
	}
	size := 0
	for i := range s.riders {
		p := s.riders[(s.turn+i)%len(s.riders)]
		p.mu.Lock()
		for len(p.queue) > 0 && len(batch) < room && (len(batch) == 0 || size+len(p.queue[0].text) <= batchSize) {
			size += len(p.queue[0].text)
			batch = append(batch, p.queue[0])
			p.queue = p.queue[1:]
		}
		p.mu.Unlock()
	}
	s.turn++
	if sess != nil {
		ask = sess.sends(batch)
	}
	return batch, sess, ask
}

// requeue puts stanzas back where they came from, before all that was queued
// since.
func requeue(items []item) {
	for len(items) > 0 {
		p := items[0].pair
		var own, others []item
		for _, it := range items {
			switch {
			case it.pair != p:
				others = append(others, it)
			case it.text != nil: // it was not given up meanwhile
				own = append(own, it)
			}
		}
		p.mu.Lock()
		p.queue = append(own, p.queue...)
		p.mu.Unlock()
		items = others
	}
}

// drained closes the stream for riders if none has anything to send, and the
// peer has confirmed what was sent. When we go, we do not wait for the latter,
// nor for room to send more.
func (s *stream) drained(going bool) bool {
	s.out.Lock()
	defer s.out.Unlock()
	queued := 0
	for _, p := range s.riders {
		p.mu.Lock()
		queued += len(p.queue)
		p.mu.Unlock()
	}
	if sess := s.sess.Load(); sess != nil {
		switch {
		case !going:
			queued += sess.waits(nil)
		case sess.room(s.lim.Queue) == 0:
			queued = 0
		}
	}
	s.closed = s.closed || queued == 0
	return queued == 0
}

// part lets the riders go, once, and decides what becomes of their stanzas that
// are not acknowledged: they wait if the stream can be resumed. A stream that
// both sides have closed in good order has carried all that was written.
func (s *stream) part(orderly bool) {
	s.leaving.Do(func() {
		s.orderly = orderly
		sess := s.sess.Load()
		keep := sess != nil && sess.id != "" && !orderly
		s.out.Lock()
		for _, p := range s.riders {
			p.mu.Lock()
			if p.out = nil; keep && (sess.opener == p || sess.waits(p) > 0) {
				p.lost = sess
			}
			p.err, p.changed = s.reason, time.Now()
			p.lastUp = p.changed
			p.mu.Unlock()
		}
		s.closed, s.riders = true, nil
		s.out.Unlock()
		switch {
		case sess == nil || keep:
		case orderly && s.gently.Load():
			sess.settle(carried)
		default:
			sess.settle(lost)
		}
		close(s.parted)
	})
}

// lost and carried say what became of stanzas that a stream has left behind.
func lost(items []item)    { tell(items, federation.GivenUp, errLost) }
func carried(items []item) { tell(items, federation.Written, nil) }

// breathe asks the peer on a silent stream whether it is there.
func (s *stream) breathe() {
	if sess := s.sess.Load(); sess != nil {
		sess.ask()
		s.write(smElement("r", "", ""))
		return
	}
	s.out.Lock()
	var k key
	if len(s.riders) > 0 {
		k = s.riders[0].key
	}
	s.out.Unlock()
	if k != (key{}) {
		s.ping(k)
	}
}

// ping sends a request that every server answers, if only with an error.
func (s *stream) ping(k key) {
	e := xmltree.New(xep.NS, "iq", xmltree.New(nsPing, "ping")).
		With("from", uLabels(k.from)).With("to", uLabels(k.to)).With("type", "get").With("id", rand.Text())
	_, err := s.srv.ask(e, time.Now().Add(2*answerTime), func(answer *xmltree.Element, _ error) {
		if answer != nil {
			s.pinged.Store(false)
		}
	})
	if err != nil {
		return // so many wait that somebody will find out
	}
	s.pinged.Store(true)
	s.write(e.Append(nil, xep.NS))
}

// silent reports that the peer owes an answer.
func (s *stream) silent() bool {
	if sess := s.sess.Load(); sess != nil {
		return sess.owes()
	}
	return s.pinged.Load()
}
