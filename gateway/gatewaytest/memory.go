package gatewaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Memory is a network without a kernel, for bubbles of testing/synctest: who
// waits for it is durably blocked, and nothing on it takes time. It has one
// host, which answers at every address that somebody listens at. It implements
// [federation.Net].
type Memory struct {
	mu        sync.Mutex
	port      uint16 // the one that was given out last
	listeners map[netip.AddrPort]*memoryListener
	sockets   map[netip.AddrPort]*memorySocket
}

// NewMemory returns a network on which nobody listens.
func NewMemory() *Memory {
	return &Memory{port: 49151, listeners: map[netip.AddrPort]*memoryListener{}, sockets: map[netip.AddrPort]*memorySocket{}}
}

// loopback is where one is who does not say where.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// at reads an address. Port 0 is one that nobody has. m.mu is held.
func (m *Memory) at(address string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(address)
	if err == nil && a.Port() == 0 {
		m.port++
		a = netip.AddrPortFrom(a.Addr(), m.port)
	}
	return a, err
}

// errInUse is what the kernel says of it.
func errInUse(a netip.AddrPort) error { return fmt.Errorf("listen %s: %w", a, syscall.EADDRINUSE) }

// Listen implements [federation.Net].
func (m *Memory) Listen(address string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.at(address)
	if err != nil {
		return nil, err
	}
	if m.listeners[a] != nil {
		return nil, errInUse(a)
	}
	l := &memoryListener{on: m, at: a, backlog: make(chan *memoryConn, 128), closed: make(chan struct{})}
	m.listeners[a] = l
	return l, nil
}

// Dial implements [federation.Net]. It never waits: as with TCP, a connection is
// there before its listener accepts it.
func (m *Memory) Dial(ctx context.Context, from netip.Addr, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to, err := m.at(address)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	if !from.IsValid() {
		from = loopback
	}
	m.port++
	ours, theirs := connect(netip.AddrPortFrom(from, m.port), to)
	if l := m.listeners[to]; l != nil {
		select {
		case l.backlog <- theirs:
			return ours, nil
		default: // it is full
		}
	}
	return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
}

type memoryListener struct {
	on      *Memory
	at      netip.AddrPort
	backlog chan *memoryConn
	closed  chan struct{}
}

// Accept implements [net.Listener].
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements [net.Listener].
func (l *memoryListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// Close implements [net.Listener]. Connections that were not accepted are
// closed.
func (l *memoryListener) Close() error {
	l.on.mu.Lock()
	defer l.on.mu.Unlock()
	if l.on.listeners[l.at] != l {
		return net.ErrClosed
	}
	delete(l.on.listeners, l.at)
	close(l.closed)
	for len(l.backlog) > 0 {
		(<-l.backlog).Close()
	}
	return nil
}

// ListenPacket implements [federation.Net].
func (m *Memory) ListenPacket(address string) (net.PacketConn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.at(address)
	if err != nil {
		return nil, err
	}
	if m.sockets[a] != nil {
		return nil, errInUse(a)
	}
	s := &memorySocket{on: m, at: a, in: make(chan datagram, 128), closed: make(chan struct{})}
	m.sockets[a] = s
	return s, nil
}

// A memorySocket is a UDP socket. What is sent to nobody, or to one who has not
// read for long, is lost.
type memorySocket struct {
	on     *Memory
	at     netip.AddrPort
	in     chan datagram
	closed chan struct{}
}

type datagram struct {
	text []byte
	from net.Addr
}

// ReadFrom implements [net.PacketConn].
func (s *memorySocket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.in:
		return copy(b, d.text), d.from, nil
	case <-s.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements [net.PacketConn].
func (s *memorySocket) WriteTo(b []byte, to net.Addr) (int, error) {
	a, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, err
	}
	s.on.mu.Lock()
	peer := s.on.sockets[a]
	s.on.mu.Unlock()
	if peer != nil {
		select {
		case peer.in <- datagram{bytes.Clone(b), s.LocalAddr()}:
		default:
		}
	}
	return len(b), nil
}

// LocalAddr implements [net.PacketConn].
func (s *memorySocket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.at) }

// Close implements [net.PacketConn].
func (s *memorySocket) Close() error {
	s.on.mu.Lock()
	defer s.on.mu.Unlock()
	if s.on.sockets[s.at] != s {
		return net.ErrClosed
	}
	delete(s.on.sockets, s.at)
	close(s.closed)
	return nil
}

// SetDeadline implements [net.PacketConn]: there is none.
func (*memorySocket) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements [net.PacketConn]: there is none.
func (*memorySocket) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements [net.PacketConn]: there is none.
func (*memorySocket) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
