package gatewaytest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// TestMemory: connections in memory are what package net calls one.
func TestMemory(t *testing.T) {
	nettest.TestConn(t, func() (caller, called net.Conn, stop func(), err error) {
		m := NewMemory()
		l, err := m.Listen("127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		if caller, err = m.Dial(t.Context(), netip.Addr{}, l.Addr().String()); err != nil {
			return nil, nil, nil, err
		}
		called, err = l.Accept()
		return caller, called, func() { caller.Close(); called.Close(); l.Close() }, err
	})
}

// TestMemoryFlow: what is written waits for its reader, as far as there is room;
// then its writer waits. What was written before the end is read.
func TestMemoryFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		l, err := m.Listen("127.0.0.1:5061")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := m.Dial(t.Context(), netip.MustParseAddr("127.0.0.9"), "127.0.0.1:5061")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_ = c.SetWriteDeadline(begin.Add(time.Second)) // it cannot fail
		n, err := c.Write(make([]byte, window+1))
		if timeout, ok := errors.AsType[net.Error](err); n != window || !ok || !timeout.Timeout() || time.Since(begin) != time.Second {
			t.Errorf("wrote %d octets in %v: %v", n, time.Since(begin), err)
		}
		c.Close()
		d, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if a, ok := d.RemoteAddr().(*net.TCPAddr); !ok || !a.IP.Equal(net.IPv4(127, 0, 0, 9)) {
			t.Errorf("it comes from %v", d.RemoteAddr())
		}
		if b, err := io.ReadAll(d); len(b) != window || err != nil {
			t.Errorf("read %d octets: %v", len(b), err)
		}
		if _, err := d.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("to one who has hung up: %v", err)
		}
	})
}

// TestMemoryAddresses: an address is somebody's as long as he listens.
func TestMemoryAddresses(t *testing.T) {
	m := NewMemory()
	l, err := m.Listen("127.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Listen("127.0.0.1:5060"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	waits, err := m.Dial(t.Context(), netip.Addr{}, "127.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := waits.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who was not accepted reads %v", err)
	}
	if _, err := m.Dial(t.Context(), netip.Addr{}, "127.0.0.1:5060"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens, and yet %v", err)
	}
	one, err := m.ListenPacket("127.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	two, err := m.ListenPacket("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.WriteTo([]byte("Hark"), one.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, from, err := one.ReadFrom(b); err != nil || !bytes.Equal(b[:n], []byte("Hark")) || from.String() != two.LocalAddr().String() {
		t.Errorf("read %q from %v: %v", b[:n], from, err)
	}
	one.Close()
	if _, err := two.WriteTo([]byte("Hark"), one.LocalAddr()); err != nil {
		t.Errorf("a datagram to nobody is lost, not %v", err)
	}
	two.Close()
	if _, _, err := two.ReadFrom(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed socket reads %v", err)
	}
}
