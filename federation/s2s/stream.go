package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trust"
)

// A stream is a link in use. Stanzas of pairs of domains go out over it
// (carry.go), come in (intake.go), or both (XEP-0288); each pair is authorised
// on its own. One goroutine reads, from the negotiation to the end; one writes
// what pairs have to send.
type stream struct {
	*link
	srv  *Server
	ours bool // we have opened it
	bidi bool // it is used both ways; does not change once somebody is authorised

	place string                  // the other end, for the operator
	id    string                  // of the stream as it is now
	sess  atomic.Pointer[session] // stream management is on
	used  atomic.Int64            // when a stanza went or came last, in nanoseconds

	once   sync.Once
	dead   chan struct{} // closed when nothing may be written any more
	reason error         // why; to be read when dead is closed

	// What goes out.
	work    chan struct{} // the writer has something to look at
	parted  chan struct{} // closed when all riders have left
	writer  sync.WaitGroup
	pinged  atomic.Bool // a ping was not answered
	gently  atomic.Bool // we have closed it in good order
	going   atomic.Bool // we go, and so does the stream
	leaving sync.Once
	orderly bool       // the peer has closed the stream; to be read when parted is closed
	out     sync.Mutex // the fields below
	riders  []*pair    // whose queues are drained into it
	turn    int        // the rider that comes first
	manned  bool       // there is a writer
	closed  bool       // nobody may join

	// What comes in.
	ctx        context.Context // of handlers and checks; ends when reading has
	cancel     context.CancelFunc
	pace       *rate.Limiter        // of elements
	bulk       *rate.Limiter        // of bytes
	heard      bool                 // db:verify was served
	checks     sync.WaitGroup       // call backs to authoritative servers
	unread     func(*xmltree.Error) // what has come in and cannot be read
	state      sync.Mutex           // the fields below
	pairs      map[key]grant
	back       bool                 // answers may go out over the peer's stream
	asking     map[key]bool         // call backs that are under way
	introduced map[key]introduction // of ours, whose verdict is awaited
	since      time.Time            // of the first pair
	idle       *time.Timer
	pause      *time.Timer // until back
	expiry     *time.Timer // of the peer's certificate, where it is the proof
}

// A grant is what a peer is to a pair of domains.
type grant struct {
	federation.Peer
	told bool // the peer knows of it
}

// newStream returns a stream that begins with its negotiation. What comes in is
// served on when ctx is done: the peer learns that we go, and may finish (RFC
// 6120, section 4.4).
func newStream(ctx context.Context, s *Server, l *link, ours bool) *stream {
	st := &stream{
		link: l, srv: s, ours: ours, place: l.addr.String(), dead: make(chan struct{}), work: make(chan struct{}, 1), parted: make(chan struct{}),
		pace:  rate.NewLimiter(rate.Limit(s.cfg.Rate), max(1, int(s.cfg.Rate))),
		bulk:  rate.NewLimiter(rate.Limit(s.cfg.Bandwidth), max(1, int(s.cfg.Bandwidth))),
		pairs: map[key]grant{}, asking: map[key]bool{},
	}
	st.unread = st.bounce
	st.ctx, st.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return st
}

// hears reports that stanzas of the peer may come in.
func (s *stream) hears() bool { return !s.ours || s.bidi }

// fail says why the stream is at its end, and that nothing may be written.
func (s *stream) fail(err error) {
	s.once.Do(func() {
		if err == io.EOF {
			err = errors.New("closed by the peer")
		}
		s.reason = err
		close(s.dead)
	})
}

// failed returns why nothing may be written any more, or nil.
func (s *stream) failed() error {
	select {
	case <-s.dead:
		return s.reason
	default:
		return nil
	}
}

// halt ends the stream from another goroutine than its reader's.
func (s *stream) halt(err error) {
	s.fail(err)
	s.stop()
}

// bye is how we end the stream in good order: with an acknowledgement of all
// that we have handled (XEP-0198, section 4).
func (s *stream) bye() {
	if sess := s.sess.Load(); sess != nil && s.hears() {
		s.end(append(sess.ack(), endTag...))
		return
	}
	s.finish()
}

// The reasons for which we close a stream in good order.
var (
	errShut = fault.E(fault.Busy, "not in service")
	errIdle = errors.New("not used any more")
)

// retire closes the stream in good order, unless something waits. When we go, we
// do not wait for acknowledgements, nor for room to send more.
func (s *stream) retire(reason error, going bool) bool {
	if !s.drained(going) {
		return false
	}
	s.close(reason)
	return true
}

// close ends the stream in good order. What was written may still be
// acknowledged.
func (s *stream) close(reason error) {
	s.gently.Store(true)
	s.fail(reason)
	s.bye()
}

// leave ends the stream because we go: in good order, when what is queued for it
// has gone out, and soon in any case.
func (s *stream) leave() {
	s.hurry()
	s.going.Store(true)
	if !s.retire(errShut, true) {
		signal(s.work) // the writer does it
	}
}

// untilUnused closes the stream when it was not used for long. s.state is held.
func (s *stream) untilUnused() {
	s.touch()
	s.idle = time.AfterFunc(s.lim.Idle, s.unused)
}

// touch notes that the stream is used.
func (s *stream) touch() { s.used.Store(time.Now().UnixNano()) }

// unused closes a stream that was not used for long.
func (s *stream) unused() {
	left := s.lim.Idle - time.Since(time.Unix(0, s.used.Load()))
	if left <= 0 {
		if s.retire(errIdle, false) {
			return
		}
		left = answerTime
	}
	s.state.Lock()
	defer s.state.Unlock()
	if s.failed() == nil {
		s.idle.Reset(left)
	}
}

// errExpired ends a stream whose peer is not proved any more (RFC 6120, section
// 13.7.2.3).
var errExpired = &streamError{condition: "reset", text: "certificate has expired"}

// untilExpiry ends the stream when a certificate of the peer's chain expires.
// s.state is held.
func (s *stream) untilExpiry() {
	if s.expiry != nil {
		return
	}
	first := s.tls.PeerCertificates[0].NotAfter
	for _, c := range s.tls.PeerCertificates {
		if c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	s.expiry = time.AfterFunc(time.Until(first), func() {
		s.fail(errExpired)
		s.end(errExpired.append(nil))
	})
}

// quit is the end of the stream: reading has ended with err. It returns when
// everything that belongs to the stream has.
func (s *stream) quit(err error) {
	orderly := err == io.EOF
	s.fail(err)
	if isTimeout(err) { // somebody may have stopped the reader
		err = s.reason
	}
	s.cancel()
	s.checks.Wait()
	s.state.Lock()
	for _, t := range []*time.Timer{s.idle, s.pause, s.expiry} {
		if t != nil {
			t.Stop()
		}
	}
	s.state.Unlock()
	if x, ok := errors.AsType[*xmltree.Error](err); ok {
		s.unread(x)
	}
	if sess := s.sess.Load(); sess != nil {
		sess.end()
		if orderly && !s.ours {
			s.srv.drop(sess.id) // nobody can resume it
		}
	}
	s.shut(err)
	s.out.Lock()
	s.closed = true // there will be no writer any more
	s.out.Unlock()
	s.writer.Wait()
	s.resign()
	s.part(orderly)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// describe adds to the state of a pair what is known of its stream.
func (s *stream) describe(st *Status) {
	st.Up, st.Addr, st.Bidi = true, s.place, s.bidi
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tls == nil {
		return
	}
	st.TLS, st.Cipher = s.tls.Version, s.tls.CipherSuite
	if len(s.tls.PeerCertificates) > 0 {
		st.Cert = s.tls.PeerCertificates[0]
	}
}

// up logs that a pair with a domain of theirs may use the stream, and how that is
// secured; also that the domain has come with another certificate than before
// (RFC 7590, section 3.6).
func (s *stream) up(peer string, args ...any) {
	var st Status
	s.describe(&st)
	args = append([]any{"peer", peer, "addr", st.Addr}, args...)
	if st.TLS != 0 {
		args = append(args, "tls", tls.VersionName(st.TLS), "cipher", tls.CipherSuiteName(st.Cipher))
	}
	s.srv.cfg.Log.Info("peer up", args...)
	if st.Cert != nil && s.srv.changed(peer, sha256.Sum256(st.Cert.Raw)) {
		s.srv.cfg.Log.Info("peer has another certificate", "peer", peer, "names", trust.NamesIn(st.Cert), "issuer", st.Cert.Issuer.String(), "not_after", st.Cert.NotAfter)
	}
}

// changed notes what certificate a domain has shown, and reports that it was
// another before.
func (s *Server) changed(domain string, fingerprint [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.certs[domain]
	if len(s.certs) >= maxShunned && !known {
		clear(s.certs)
	}
	s.certs[domain] = fingerprint
	return known && was != fingerprint
}

func (s *stream) log() *slog.Logger { return s.srv.cfg.Log.With("addr", s.addr.String()) }
