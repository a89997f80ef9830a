//go:build !linux

package s2s

import "net"

// tune makes a connection send at once what is written, and probe its other
// end when idle.
func tune(nc net.Conn) {
	if c, ok := nc.(*net.TCPConn); ok {
		c.SetNoDelay(true)
		c.SetKeepAliveConfig(alive)
	}
}
