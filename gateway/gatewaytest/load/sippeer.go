package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
)

// openSIPPeer is the SIP server of a domain: it listens, and sends to server
// from the host that it listens on. Over TLS it shows its certificate in both
// roles and asks nobody for one.
func openSIPPeer(ctx context.Context, server, listen, transport string, conf *tls.Config, got delivery) (site, error) {
	s := newSIPSite(transport, got)
	if transport == "udp" {
		if err := s.socket(server, listen); err != nil {
			return nil, err
		}
		return s, nil
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	if transport == "tls" {
		l = tls.NewListener(l, conf)
	}
	s.keep(l)
	s.reading.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(c, make(chan struct{}))
		}
	})
	if err := s.dial(ctx, server, listen, conf); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// socket opens one UDP socket for everything.
func (s *sipSite) socket(server, listen string) error {
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(listen)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	s.keep(c)
	s.out = hop{datagrams{c, to}, listen, make(chan struct{})}
	s.reading.Go(func() {
		defer close(s.out.lost)
		s.readDatagrams(func(buf []byte) (int, io.Writer, error) {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			return n, datagrams{c, from}, err
		})
	})
	return nil
}

// datagrams writes to one address.
type datagrams struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

// Write implements io.Writer.
func (d datagrams) Write(b []byte) (int, error) { return d.conn.WriteToUDPAddrPort(b, d.to) }
