package trunk

import (
	"net"
	"net/netip"
	"sync"

	"github.com/emiago/sipgo/sip"
	lru "github.com/hashicorp/golang-lru/v2"

	"cpimgate/federation"
)

// How many addresses are remembered per UDP listener, and how many server
// transactions we keep in all. Of UDP they last 32 s (RFC 3261, section
// 17.2.2), so a flood is dropped before it is parsed.
const (
	maxSources  = 4096
	maxArrivals = 50_000
)

// packets is a UDP socket as sipgo sees it. sipgo keeps every address that it
// ever heard from; therefore all datagrams come from one synthetic address,
// and the true one is put in by [Trunk.arrive], which runs in the reader, and
// into sipgo's pool, where the least recent ones are taken out again.
type packets struct {
	net.PacketConn
	t       *Trunk
	addr    *net.TCPAddr // synthetic; only its text is used
	source  net.Addr     // of the datagram in hand; the reader's
	sources *lru.Cache[string, struct{}]
	ready   chan struct{} // closed at the first ReadFrom
	once    sync.Once
}

func newPackets(t *Trunk, pc net.PacketConn) *packets {
	p := &packets{PacketConn: pc, t: t, addr: discard(2 * t.next.Add(1)), ready: make(chan struct{})}
	p.sources, _ = lru.NewWithEvict(maxSources, func(source string, _ struct{}) {
		t.tpl.Pool("udp").Delete(source)
	}) // fails for sizes below one only
	return p
}

func (p *packets) serve() error { return p.t.tpl.ServeUDP(p) }

// ReadFrom implements [net.PacketConn] for sipgo's reader.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	p.once.Do(func() { close(p.ready) })
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		if len(trimCRLF(b[:n])) == 0 || p.t.flooded() {
			continue // a keep-alive (RFC 5626, section 4.4), or too much
		}
		p.t.trace(federation.Record{Peer: from.String(), Via: federation.UDP, Text: b[:n]})
		size, err := frame(b[:n], true, p.t.cfg.Limits.Message)
		switch {
		case err != nil || size == 0 || size > n:
			p.reject(b[:n], from, "Body is not whole") // RFC 3261, section 18.3
		case !readable(b[:size]):
			p.reject(b[:n], from, "Bad Request")
		default:
			p.source = from
			return size, p.addr, nil
		}
	}
}

// reject answers what sipgo would drop.
func (p *packets) reject(b []byte, from net.Addr, reason string) {
	res := p.t.rejection(b, reason, from.String())
	p.t.log.Info("datagram refused", "peer", from, "answered", res != nil)
	if res != nil {
		_, _ = p.WriteTo([]byte(res.String()), from) // as unreliable as the request
	}
}

// WriteTo implements [net.PacketConn].
func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	p.t.trace(federation.Record{Out: true, Peer: to.String(), Via: federation.UDP, Text: b})
	return p.PacketConn.WriteTo(b, to)
}

// place puts the true source into a message that has just been read.
func (p *packets) place(msg sip.Message) {
	source := p.source.String()
	msg.SetSource(source)
	if _, known := p.sources.Get(source); known {
		return
	}
	pool := p.t.tpl.Pool("udp")
	if c := pool.Get(p.addr.String()); c != nil {
		_, _ = c.TryClose() // Get counts; a listener is not closed by it
		pool.Add(source, c)
		p.sources.Add(source, struct{}{})
	}
}

// packetsAt returns the socket whose reader has this synthetic address.
func (t *Trunk) packetsAt(source string) *packets {
	for _, p := range t.udp {
		if p.addr.String() == source {
			return p
		}
	}
	return nil
}

// socketFor returns the UDP socket from which an address can be reached.
func (t *Trunk) socketFor(to netip.Addr) *packets {
	for _, p := range t.udp {
		local := hostOf(p.LocalAddr())
		if local.Is4() == to.Is4() || local.IsUnspecified() && local.Is6() {
			return p
		}
	}
	return nil
}

func trimCRLF(b []byte) []byte {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n' || b[0] == 0) {
		b = b[1:]
	}
	return b
}

func (t *Trunk) flooded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.arrivals) >= maxArrivals
}
