package gatewaytest

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// A memoryConn is one end of a connection on a [Memory].
type memoryConn struct {
	in, out *flow
	ours    netip.AddrPort
	theirs  netip.AddrPort
}

// connect returns both ends of a connection.
func connect(from, to netip.AddrPort) (caller, called *memoryConn) {
	there, back := newFlow(), newFlow()
	return &memoryConn{back, there, from, to}, &memoryConn{there, back, to, from}
}

// Read implements [net.Conn].
func (c *memoryConn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements [net.Conn].
func (c *memoryConn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements [net.Conn]. The other end still reads what was written.
func (c *memoryConn) Close() error {
	c.in.change(func() { c.in.gone = true })
	return c.CloseWrite()
}

// CloseWrite is the end of what we write.
func (c *memoryConn) CloseWrite() error {
	c.out.change(func() { c.out.over = true })
	return nil
}

// LocalAddr implements [net.Conn].
func (c *memoryConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.ours) }

// RemoteAddr implements [net.Conn].
func (c *memoryConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.theirs) }

// SetDeadline implements [net.Conn].
func (c *memoryConn) SetDeadline(t time.Time) error {
	c.in.until(&c.in.reader, t)
	c.out.until(&c.out.writer, t)
	return nil
}

// SetReadDeadline implements [net.Conn].
func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.until(&c.in.reader, t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.until(&c.out.writer, t)
	return nil
}

// window is how much may be written that nobody has read.
const window = 64 << 10

// A flow is one direction of a connection.
type flow struct {
	mu      sync.Mutex
	changed sync.Cond // anything below
	text    []byte    // written and not read
	over    bool      // nothing more is written
	gone    bool      // nothing more is read
	reader  deadline
	writer  deadline
}

// A deadline ends the waiting of one side; zero: none.
type deadline struct {
	at    time.Time
	alarm *time.Timer
}

func newFlow() *flow {
	f := &flow{}
	f.changed.L = &f.mu
	return f
}

// change does something that those who wait want to know.
func (f *flow) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.changed.Broadcast()
}

// until sets a deadline, which is one of f's.
func (f *flow) until(d *deadline, t time.Time) {
	f.change(func() {
		if d.alarm != nil {
			d.alarm.Stop()
		}
		d.at = t
		if left := time.Until(t); !t.IsZero() && left > 0 {
			d.alarm = time.AfterFunc(left, func() { f.change(func() {}) })
		}
	})
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (f *flow) read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.gone:
			return 0, net.ErrClosed
		case f.reader.passed():
			return 0, os.ErrDeadlineExceeded
		case len(f.text) > 0:
			n := copy(b, f.text)
			f.text = f.text[n:]
			f.changed.Broadcast()
			return n, nil
		case f.over:
			return 0, io.EOF
		}
		f.changed.Wait()
	}
}

func (f *flow) write(b []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n < len(b) {
		switch room := min(window-len(f.text), len(b)-n); {
		case f.over:
			return n, net.ErrClosed
		case f.gone:
			return n, syscall.EPIPE
		case f.writer.passed():
			return n, os.ErrDeadlineExceeded
		case room > 0:
			f.text = append(f.text, b[n:n+room]...)
			n += room
			f.changed.Broadcast()
			continue
		}
		f.changed.Wait()
	}
	return n, nil
}
