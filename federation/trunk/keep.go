package trunk

import (
	"bytes"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"time"

	"cpimgate/cpim/fault"
)

// When an idle connection is tried, and how long its answer may take (RFC 5626,
// section 4.4.1).
const (
	minPing = 95 * time.Second
	maxPing = 120 * time.Second
	pong    = 10 * time.Second
)

// A keeper decides how long the reader of a connection waits: for the rest of a
// message, for anything, for the answer to a ping. It belongs to the reader.
//
// We ping connections that we have dialled and that are idle. RFC 5626 has a
// server promise its answers in a registration; without one we learn it: who
// has answered once and then does not is gone. For the others a ping that TCP
// cannot deliver is what tells.
type keeper struct {
	next    time.Time // when to ping
	pinged  time.Time // when we have, if nothing has come since
	asked   bool      // we have ever pinged
	answers bool      // the peer has ever answered
}

// alive notes that something has come.
func (k *keeper) alive(now time.Time) {
	k.next, k.pinged = now.Add(minPing+rand.N(maxPing-minPing)), time.Time{}
}

// patience returns until when a message that has started at started, if one
// has, must be whole, or something must happen.
func (s *stream) patience(started time.Time) time.Time {
	lim := &s.t.cfg.Limits
	switch {
	case !started.IsZero():
		return started.Add(lim.Handshake)
	case s.dialled: // answers to our own pings do not count
		return time.Unix(0, s.spoken.Load()).Add(lim.Idle)
	case !s.heard:
		return s.since.Add(lim.Handshake)
	}
	return time.Unix(0, s.octets.Load()).Add(lim.Idle)
}

// wake returns when the reader has something to do, if nothing comes.
func (s *stream) wake(started time.Time) time.Time {
	wake := s.patience(started)
	if !s.until.IsZero() && s.until.Before(wake) {
		wake = s.until
	}
	ping := s.keep.next
	if !s.keep.pinged.IsZero() {
		ping = s.keep.pinged.Add(pong)
	}
	if s.dialled && started.IsZero() && ping.Before(wake) {
		wake = ping
	}
	return wake
}

// expired does what is due when nothing has come until wake. Its error is the
// end of the connection.
func (s *stream) expired(started time.Time) error {
	now := time.Now()
	k := &s.keep
	switch {
	case !s.until.IsZero() && !now.Before(s.until):
		s.t.log.Warn("connection closed: the peer's certificate has expired", "peer", s.name())
		return fault.E(fault.Forbidden, "certificate has expired")
	case !now.Before(s.patience(started)):
		return fault.E(fault.Timeout, "idle")
	case k.pinged.IsZero():
		k.pinged, k.asked = now, true
		return s.say(string(blank), letter{})
	case k.answers:
		s.t.log.Info("connection closed: no answer to a ping", "peer", s.name())
		return fault.E(fault.Timeout, "no answer to a ping")
	}
	k.alive(now)
	return nil
}

// keepAlive takes CRLFs from between messages: a double one is a ping and is
// answered, a single one after a ping of ours is the answer (RFC 5626, section
// 4.4.1).
func (s *stream) keepAlive() error {
	crlf := blank[:2]
	for bytes.HasPrefix(s.buf, crlf) && (len(s.buf) > 2 || s.keep.asked) {
		if !bytes.HasPrefix(s.buf, blank) {
			if len(s.buf) == 3 && s.buf[2] == '\r' {
				return nil // perhaps half of a ping
			}
			s.keep.answers = s.keep.asked
			s.buf = s.buf[2:]
			continue
		}
		s.buf = s.buf[4:]
		if err := s.say(string(crlf), letter{}); err != nil {
			return err
		}
	}
	return nil
}

// fill reads once more from the peer, and keeps the connection meanwhile.
func (s *stream) fill(started time.Time) error {
	if cap(s.buf)-len(s.buf) < 1024 {
		s.makeRoom()
	}
	for {
		if err := s.Conn.SetReadDeadline(s.wake(started)); err != nil {
			return err
		}
		n, err := s.Conn.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if n > 0 {
			now := time.Now()
			s.octets.Store(now.UnixNano())
			s.keep.alive(now)
			return nil
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			err = s.expired(started)
		}
		if err != nil {
			s.alert(err)
			return err
		}
	}
}

// makeRoom moves what has been received to the front of a buffer that it fills
// to half at the most.
func (s *stream) makeRoom() {
	need := 2*len(s.buf) + 4096
	if cap(s.store) < need || cap(s.store) > 4*need {
		s.store = make([]byte, 0, need)
	}
	s.buf = append(s.store, s.buf...)
}

// expiry returns when what a connection has proved ends.
func expiry(cs tls.ConnectionState) time.Time { return cs.PeerCertificates[0].NotAfter }

// deaf reports that nothing has come since a request was sent, for longer than
// a ping would have been given: the connection is as good as gone.
func (s *stream) deaf(sent time.Time) bool {
	return time.Since(sent) >= pong && s.octets.Load() < sent.UnixNano()
}

// lull is how long nothing comes before a connection is called idle. Who obeys
// RFC 3261, section 18 closes none that was in use within the last half minute.
const lull = time.Second

// quiet reports that nothing had come for a while when a request was sent.
func (s *stream) quiet(sent time.Time) bool {
	return sent.Sub(time.Unix(0, s.octets.Load())) >= lull
}
