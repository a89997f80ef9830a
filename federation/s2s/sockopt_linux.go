package s2s

import (
	"net"
	"syscall"
	"time"
)

// deadTime is how long written bytes may stay unacknowledged before the
// connection counts as dead (RFC 6120, section 4.6.1).
const deadTime = time.Minute

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h (RFC 5482).
const tcpUserTimeout = 18

// tune makes a connection send at once what is written, and notice that its
// other end is gone even while data is on its way.
func tune(nc net.Conn) {
	c, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	c.SetNoDelay(true)
	c.SetKeepAliveConfig(alive)
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(deadTime.Milliseconds()))
		})
	}
}
