package trunk

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A stream is a TCP or TLS connection as sipgo sees it: each Read returns
// octets of one whole message only, and its addresses are synthetic, because
// sipgo looks connections up by address and would send a request for one
// domain over the connection of another that lives at the same IP and port.
type stream struct {
	net.Conn
	t       *Trunk
	addr    *net.TCPAddr // synthetic; key in Trunk.streams and sipgo's pool
	local   *net.TCPAddr // synthetic too: sipgo would find the last accepted one by our listen address
	remote  netip.AddrPort
	via     federation.Transport
	dialled bool
	domain  string               // dialled for
	ours    string               // accepted: the domain of ours that the peer wants, by SNI
	names   []string             // domains that it may speak for by certificate
	until   time.Time            // when the certificate ends that names them
	aliased bool                 // it stands in Trunk.links; Trunk.mu
	cs      *tls.ConnectionState // nil without TLS
	since   time.Time

	lives      string    // domain at whose address it is; of who serves the line
	livesUntil time.Time // when that is to be asked again

	buf   []byte // received, not handed over
	store []byte // the buffer that buf is in; empty
	out   []byte // rest of the message that is being handed over
	heard bool   // a whole message has come
	keep  keeper

	writer writer

	octets atomic.Int64 // when something has come, in Unix nanoseconds
	spoken atomic.Int64 // when a message has come or gone

	refused atomic.Pointer[net.OpError] // the peer's TLS alert

	ready  chan struct{} // closed at the first Read: sipgo has it in its pool
	closed chan struct{}
	once   sync.Once
	shut   sync.Once
}

// newStream wraps a connection and registers it. The address is from the
// discard prefix (RFC 6666), so that nothing real has it.
func (t *Trunk) newStream(c net.Conn, via federation.Transport) *stream {
	id := t.next.Add(1)
	s := &stream{
		Conn: c, t: t, via: via, since: time.Now(),
		addr: discard(2 * id), local: discard(2*id + 1),
		ready: make(chan struct{}), closed: make(chan struct{}),
	}
	s.octets.Store(s.since.UnixNano())
	s.spoken.Store(s.since.UnixNano())
	s.keep.alive(s.since)
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		s.remote = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return s
}

func discard(id uint64) *net.TCPAddr {
	ip := make(net.IP, net.IPv6len)
	ip[0] = 1 // 100::/64
	binary.BigEndian.PutUint64(ip[8:], id)
	return &net.TCPAddr{IP: ip, Port: 9}
}

// refuseDial keeps sipgo from dialling a synthetic address whose connection is
// gone.
func refuseDial(string, string, syscall.RawConn) error {
	return fault.E(fault.Timeout, "connection is gone")
}

func (s *stream) RemoteAddr() net.Addr { return s.addr }
func (s *stream) LocalAddr() net.Addr  { return s.local }

// Read implements [net.Conn] for sipgo's reader.
func (s *stream) Read(p []byte) (int, error) {
	s.once.Do(func() { close(s.ready) })
	if len(s.out) == 0 {
		if err := s.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// receive reads until there is a message for sipgo. Its end must come soon after its
// start, however often single octets come (a "slow loris").
func (s *stream) receive() error {
	var started time.Time
	want := 0
	for {
		if err := s.keepAlive(); err != nil {
			return err
		}
		if want == 0 {
			var err error
			if want, err = frame(s.buf, false, s.t.cfg.Limits.Message); err != nil {
				s.t.log.Info("connection closed", "peer", s.name(), "err", err)
				return err
			}
		}
		if want > 0 && want <= len(s.buf) {
			s.out, s.buf, s.heard = s.buf[:want:want], s.buf[want:], true
			s.spoken.Store(time.Now().UnixNano())
			s.t.trace(federation.Record{Peer: s.name(), Via: s.via, Text: s.out})
			switch {
			case !readable(s.out):
				if err := s.reject(); err != nil {
					return err
				}
			case !s.take():
				return nil
			}
			s.out, want, started = nil, 0, time.Time{}
			continue
		}
		if len(s.buf) > 2 && started.IsZero() {
			started = time.Now()
		}
		if err := s.fill(started); err != nil {
			return err
		}
	}
}

// reject answers a message that sipgo would not read, and goes on behind it;
// unless it is no SIP at all.
func (s *stream) reject() error {
	start, _, _ := bytes.Cut(s.out, blank[:2])
	s.t.log.Info("message refused", "peer", s.name())
	res := s.t.rejection(s.out, "Bad Request", s.remote.String())
	switch {
	case res != nil:
		_, err := s.Write([]byte(res.String()))
		return err
	case !bytes.Contains(start, []byte("SIP/")):
		return fault.E(fault.Malformed, "not SIP")
	}
	return nil
}

// alert notes that a peer refuses our certificate. In TLS 1.3 it does so after
// the handshake.
func (s *stream) alert(err error) {
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" {
		s.refused.Store(alert)
		s.t.log.Info("TLS refused by the peer", "peer", s.name(), "err", err)
	}
}

// Write implements [net.Conn]. sipgo writes a message at a time.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.send(string(p), letter{}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// send traces a message and has it written.
func (s *stream) send(text string, l letter) error {
	if s.t.cfg.Trace != nil {
		s.t.trace(federation.Record{Out: true, Peer: s.name(), Via: s.via, Text: []byte(text)})
	}
	s.spoken.Store(time.Now().UnixNano())
	return s.say(text, l)
}

// Close implements [net.Conn]. It may be called more than once.
func (s *stream) Close() error {
	var err error
	s.shut.Do(func() {
		close(s.closed)
		err = s.finish()
		s.t.forget(s)
	})
	return err
}

func (s *stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// name is how logs and traces call the other end.
func (s *stream) name() string {
	switch {
	case s.domain != "":
		return s.domain
	case len(s.names) > 0:
		return s.names[0]
	}
	return s.remote.String()
}

// A handover is the listener through which sipgo gets our connections.
type handover struct {
	conns chan *stream
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan *stream), done: make(chan struct{})}
}

// Accept implements [net.Listener].
func (h *handover) Accept() (net.Conn, error) {
	select {
	case s := <-h.conns:
		return s, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]; close is ours.
func (h *handover) Close() error { return nil }
func (h *handover) close()       { h.once.Do(func() { close(h.done) }) }

// Addr implements [net.Listener].
func (h *handover) Addr() net.Addr { return discard(0) }

// adopt gives a connection to sipgo and returns when it can be written to.
func (t *Trunk) adopt(s *stream) error {
	h := t.tcp
	if s.via == federation.TLS {
		h = t.tls
	}
	t.mu.Lock()
	t.streams[s.addr.String()] = s
	t.mu.Unlock()
	select {
	case h.conns <- s:
	case <-h.done:
		_ = s.Close()
		return fault.E(fault.Busy, "shutting down")
	}
	<-s.ready // sipgo's reader starts at once, or the process is over
	return nil
}

// forget is the end of a connection, and of the requests that came on it.
func (t *Trunk) forget(s *stream) {
	t.mu.Lock()
	if t.streams[s.addr.String()] == s {
		delete(t.streams, s.addr.String())
	}
	for key, l := range t.links {
		if l.stream == s {
			delete(t.links, key)
		}
	}
	if !s.dialled {
		t.leave(s.remote.Addr())
	}
	var open []*arrival
	for _, a := range t.arrivals {
		if a.stream == s && a.ours {
			open = append(open, a)
		}
	}
	t.mu.Unlock()
	for _, a := range open {
		a.depart()
	}
}

// trace tells whoever listens of a message.
func (t *Trunk) trace(r federation.Record) {
	if t.cfg.Trace != nil {
		r.Time, r.Wire = time.Now(), federation.SIP
		t.cfg.Trace(r)
	}
}
