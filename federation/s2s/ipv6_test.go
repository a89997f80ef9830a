package s2s_test

import (
	"net"
	"net/netip"
	"testing"

	"cpimgate/federation"
)

// TestSix: a domain whose sockets take both families, as those of the default
// addresses do, is reached by either, with STARTTLS and with direct TLS; where
// the records name both and one of them is dead, by the other (RFC 6120,
// section 3.2.1; XEP-0368, section 3).
func TestSix(t *testing.T) {
	const six, four = "::1", "127.0.0.1"
	listen := func(t *testing.T, address string) net.Listener {
		l, err := federation.System.Listen(net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, service := range []string{"_xmpp-server", "_xmpps-server"} {
		for _, tt := range []struct {
			name   string
			listen string   // "" is all addresses
			names  []string // what the records say
			want   string   // by which the stanza comes
		}{
			{"IPv6 alone", "", []string{six}, six},
			{"IPv4 alone", "", []string{four}, four},
			{"both, IPv6 dead", four, []string{six, four}, four},
			{"both, IPv4 dead", six, []string{six, four}, six},
		} {
			t.Run(service+" "+tt.name, func(t *testing.T) {
				w := newWorld(t)
				tcp, direct := listen(t, tt.listen), listen(t, tt.listen)
				b := w.start("b.example", func(s *settings) {
					s.s2s.StartTLS, s.s2s.Direct = []net.Listener{tcp}, []net.Listener{direct}
				})
				port := tcp.Addr().(*net.TCPAddr).Port
				via := federation.TCP
				if service == "_xmpps-server" {
					port, via = direct.Addr().(*net.TCPAddr).Port, federation.TLS
				}
				w.publish("%s._tcp.b.example. 300 IN SRV 0 0 %d host.b.example.", service, port)
				for _, a := range tt.names {
					kind := "A"
					if a == six {
						kind = "AAAA"
					}
					w.publish("host.b.example. 300 IN %s %s", kind, a)
				}
				a := w.start("a.example")
				written(t, a.send("juliet@b.example", "hello"))
				got := wait(t, b.got).peer
				if got.Addr.Addr().Unmap() != netip.MustParseAddr(tt.want) || got.Via != via || got.Proof != federation.Certificate {
					t.Errorf("it came by %+v", got)
				}
			})
		}
	}
}
