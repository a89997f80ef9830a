package trunk

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/federation"
)

// listenSix takes one port of ::1 for UDP and TCP.
func listenSix(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Fatal("this machine has no ::1: ", err)
		}
		if pc, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return pc, l
		}
		l.Close()
	}
	t.Fatal("no port that is free for both")
	return nil, nil
}

// TestSix: two gateways on ::1, over each transport, there and back. The Via
// names the address in brackets, the response goes where it says (RFC 3261,
// sections 18.2.2 and 25.1).
func TestSix(t *testing.T) {
	for _, transport := range []federation.Transport{"udp", "tcp", "tls"} {
		t.Run(string(transport), func(t *testing.T) {
			r := newRealm(t)
			secure := transport == federation.TLS
			au, at6 := listenSix(t)
			bu, bt6 := listenSix(t)
			where := map[string]net.Addr{"a.example": at6.Addr(), "b.example": bt6.Addr()}
			to := make(places)
			for domain, addr := range where {
				to[domain] = []federation.Target{at(domain, addr.String(), transport)}
				if !secure {
					r.book.rules[domain] = federation.Rules{Allow: true, Security: federation.PlainOK}
				}
			}
			vias := make(chan string, 10)
			trunks := make(map[string]*Trunk)
			for domain, l := range map[string]net.Listener{"a.example": at6, "b.example": bt6} {
				cfg := Config{Book: r.book, Locate: to, Trust: r.store(domain), Name: "::1", Handler: serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
					vias <- req.Via().Value()
					if peer.Addr.Addr() != netip.IPv6Loopback() || peer.Via != transport && len(req.Body()) < maxDatagram || peer.Proof == federation.Claimed {
						t.Errorf("%+v", peer)
					}
					return tx.Answer(Reply(req, 200, "OK"))
				})}
				cfg.UDP = []net.PacketConn{map[string]net.PacketConn{"a.example": au, "b.example": bu}[domain]}
				if cfg.TCP = []net.Listener{l}; secure {
					cfg.TCP, cfg.TLS = nil, cfg.TCP
				}
				trunks[domain] = start(t, cfg)
			}
			for from, other := range map[string]string{"a.example": "b.example", "b.example": "a.example"} {
				for _, size := range []int{1, 2000} { // the larger goes over TCP
					res := send(trunks[from], message("sip:r@"+from, "sip:j@"+other, strings.Repeat("x", size)), other)
					if transport == federation.UDP && size > maxDatagram {
						if via := <-vias; res.status() != 200 || !strings.HasPrefix(via, "SIP/2.0/TCP [::1]:") {
							t.Errorf("%v %v, %s", res.res, res.err, via)
						}
						continue
					}
					if via := <-vias; res.status() != 200 || !strings.HasPrefix(via, fmt.Sprintf("SIP/2.0/%s [::1]:%d;", strings.ToUpper(string(transport)), where[from].(*net.TCPAddr).Port)) {
						t.Errorf("%v %v, %s", res.res, res.err, via)
					}
				}
			}
		})
	}
}

// TestSixVia: "received" has no brackets, sent-by has them, and a name or
// another address in sent-by is answered where the request came from (RFC 3261,
// section 18.2.1; RFC 5118, section 4.5).
func TestSixVia(t *testing.T) {
	bk := plain("a.example", "sip:[::1]")
	u, l := listenSix(t)
	start(t, Config{UDP: []net.PacketConn{u}, TCP: []net.Listener{l}, Book: bk, Name: "gw.example"})
	w := dialRaw(t, l)
	port := w.LocalAddr().(*net.TCPAddr).Port
	for via, want := range map[string]string{
		"a.example;branch=z9hG4bK1":                        "a.example;branch=z9hG4bK1;received=::1",
		"[::1]:9;branch=z9hG4bK2":                          "[::1]:9;branch=z9hG4bK2",
		"[2001:db8::9];rport;branch=z9hG4bK3":              fmt.Sprintf("[2001:db8::9];rport=%d;branch=z9hG4bK3;received=::1", port),
		"[::1];branch=z9hG4bK4;received=[2001:db8::9:255]": "[::1];branch=z9hG4bK4",
		"[0:0:0:0:0:0:0:1];branch=z9hG4bK5":                "[0:0:0:0:0:0:0:1];branch=z9hG4bK5",
	} {
		res := w.ask(raw("OPTIONS", "x", "Via: SIP/2.0/TCP "+via))
		if got := strings.TrimPrefix(res.Via().Value(), "SIP/2.0/TCP "); got != want {
			t.Errorf("%s: got %s, want %s", via, got, want)
		}
	}
	c, err := net.Dial("udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := wrap(t, c)
	port = c.LocalAddr().(*net.UDPAddr).Port
	for i, via := range []string{"a.example;rport", fmt.Sprintf("[::1]:%d", port), fmt.Sprintf("a.example:%d", port)} {
		req := raw("MESSAGE", fmt.Sprint("u", i), fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKu%d", via, i))
		if s := d.ask(req).StatusCode; s != 200 {
			t.Errorf("%s: %d", via, s)
		}
	}
}

// TestBothFamilies: a gateway with a socket of each family sends from the right
// one; so does one whose socket is for both.
func TestBothFamilies(t *testing.T) {
	four, six := listenUDP(t), func() net.PacketConn { pc, l := listenSix(t); l.Close(); return pc }()
	both, err := net.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	bk := plain("a.example", "sip:127.0.0.1;transport=udp")
	to := make(places)
	for domain, pc := range map[string]net.PacketConn{"four.example": listenUDP(t), "six.example": func() net.PacketConn { pc, l := listenSix(t); l.Close(); return pc }()} {
		to[domain] = []federation.Target{at(domain, pc.LocalAddr().String(), "udp")}
		start(t, Config{UDP: []net.PacketConn{pc}, Book: bk, Locate: places{"a.example": {at("a.example", "127.0.0.1:1", "udp"), at("a.example", "[::1]:1", "udp")}}})
	}
	for _, sockets := range [][]net.PacketConn{{four, six}, {both}} {
		a := start(t, Config{UDP: sockets, Locate: to, Name: "gw.example"})
		for domain := range to {
			if res := send(a, message("sip:r@a.example", "sip:j@"+domain, "x"), domain); res.status() != 200 {
				t.Errorf("%d sockets, %s: %v %v", len(sockets), domain, res.res, res.err)
			}
		}
	}
}

// TestNetwork: the addresses of one IPv6 network count as one.
func TestNetwork(t *testing.T) {
	for a, b := range map[string]string{"2001:db8:1:2::1": "2001:db8:1:2:ffff::9", "192.0.2.1": "192.0.2.1"} {
		if network(netip.MustParseAddr(a)) != network(netip.MustParseAddr(b)) {
			t.Error(a, b)
		}
	}
	for a, b := range map[string]string{"2001:db8:1:2::1": "2001:db8:1:3::1", "192.0.2.1": "192.0.2.2"} {
		if network(netip.MustParseAddr(a)) == network(netip.MustParseAddr(b)) {
			t.Error(a, b)
		}
	}
	if network(netip.Addr{}) == "" {
		t.Error("no address")
	}
}
