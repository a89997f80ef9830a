package federation

import (
	"context"
	"net"
	"net/netip"
)

// A Net is where the wires get their sockets: [System], or a network in memory
// where time is a number. Addresses are written "host:port"; those of what it
// returns are of the types that package net gives to TCP and UDP.
type Net interface {
	Listen(address string) (net.Listener, error)         // TCP
	ListenPacket(address string) (net.PacketConn, error) // UDP

	// Dial opens a TCP connection from an address of ours; the zero Addr is any.
	Dial(ctx context.Context, from netip.Addr, address string) (net.Conn, error)
}

// A Dial is the half of a [Net] that calls peers.
type Dial func(ctx context.Context, from netip.Addr, address string) (net.Conn, error)

// System is the network of this machine.
var System Net = system{}

type system struct{}

// Listen implements [Net].
func (system) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

// ListenPacket implements [Net].
func (system) ListenPacket(address string) (net.PacketConn, error) {
	return net.ListenPacket("udp", address)
}

// Dial implements [Net].
func (system) Dial(ctx context.Context, from netip.Addr, address string) (net.Conn, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", address)
}
