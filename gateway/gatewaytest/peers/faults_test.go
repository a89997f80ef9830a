package peers

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"cpimgate/federation/trust/trusttest"
)

// TestFailover puts a target first where nobody listens, on each wire: messages
// go to the next (RFC 3263, section 4.3; RFC 6120, section 3.2.1).
func TestFailover(t *testing.T) {
	t.Parallel() // a datagram to nobody is given up by a timer
	s := &meeting{Net: New(t)}
	later := strings.NewReplacer("SRV 0 0", "SRV 10 0")
	zone := ClientRecords("xmpp.example") + later.Replace(XMPPRecords("xmpp.example", 20, true)) + "dead.example. A NET.99\n" +
		"_xmpps-server._tcp.xmpp.example. SRV 0 0 5270 dead.example.\n_xmpp-server._tcp.xmpp.example. SRV 0 0 5269 dead.example.\n"
	config, names := "domains:\n", []string{"gw.example"}
	for i, tr := range Transports {
		domain := tr.Name + ".example"
		zone += later.Replace(SIPRecords(domain, tr.Name, 10+i)) + SIPRecords("gw-"+domain, tr.Name, 1) + XMPPRecords(domain, 1, true) +
			fmt.Sprintf("%s.%s. SRV 0 0 %d dead.example.\n", tr.Labels, domain, tr.Port)
		config += "  " + domain + ": {users: sip}\n"
		names = append(names, domain)
	}
	s.Zone(zone)
	p := s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true})
	juliet := s.StartMcabber("juliet@xmpp.example", p.Addr.String())
	s.gateway = s.StartGateway(GatewayConfig{
		Binary: cpimgate, Host: 1, Names: names,
		Config: config + "peers:\n  udp.example: {security: plain-ok}\n  tcp.example: {security: plain-ok}\n",
	})
	for i, tr := range Transports {
		t.Run(tr.Name, func(t *testing.T) {
			domain := tr.Name + ".example"
			k := s.StartKamailio(KamailioConfig{Domain: domain, Host: 10 + i, NextHop: "sip:gw-" + domain})
			romeo := s.StartBaresip(BaresipConfig{
				User: "romeo@" + domain, Host: 30 + i, Server: k.Addr, Transport: tr.Name, Correspondent: "sip:juliet@xmpp.example",
			})
			text, mark := "über "+tr.Name, juliet.Log.Len()
			if status := romeo.Say(text); status != 200 {
				t.Errorf("romeo was answered %d", status)
			}
			juliet.AwaitMessage(mark, text)
			juliet.Say("romeo@"+domain, "ja, "+text)
			romeo.AwaitMessage(0, "ja, "+text)
		})
	}
}

// silence is a server that completes a TLS handshake and then says nothing.
type silence struct {
	met chan struct{} // one for each handshake
}

// silent listens at the net's address that ends in host, until the test is
// over, with a certificate for domain.
func (n *Net) silent(host, port int, domain string) *silence {
	n.t.Helper()
	certFile, keyFile := n.CA.Issue(domain)
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		n.t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"xmpp-server"}, ClientAuth: tls.RequestClientCert}
	l, err := tls.Listen("tcp", netip.AddrPortFrom(n.Addr(host), uint16(port)).String(), conf)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &silence{met: make(chan struct{}, 100)}
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			tasks.Go(func() {
				if c.(*tls.Conn).Handshake() == nil {
					s.met <- struct{}{}
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	n.t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
	return s
}

// TestSilentPeer meets a peer on each wire that says nothing after the TLS
// handshake. The sender hears of it from us, and others are served.
func TestSilentPeer(t *testing.T) {
	t.Parallel() // it waits for timers
	s := &meeting{Net: New(t)}
	s.Zone(SIPRecords("sip.example", "udp", 10) + SIPRecords("gw.example", "udp", 1) + XMPPRecords("sip.example", 1, true) +
		SIPRecords("silent-sip.example", "tls", 30) + XMPPRecords("silent-sip.example", 1, true) + DirectRecords("silent-xmpp.example", 31) +
		XMPPRecords("xmpp.example", 20, true) + ClientRecords("xmpp.example"))
	xmpp := s.silent(31, 5270, "silent-xmpp.example")
	sip := s.silent(30, 5061, "silent-sip.example")
	p := s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true})
	s.kamailio = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, NextHop: "sip:gw.example"})
	s.gateway = s.StartGateway(GatewayConfig{
		Binary: cpimgate, Host: 1, Names: []string{"gw.example", "sip.example", "silent-sip.example"},
		Config: "domains:\n  sip.example: {users: sip}\n  silent-sip.example: {users: sip}\npeers:\n  sip.example: {security: plain-ok}\n",
	})
	s.romeo = s.StartBaresip(BaresipConfig{
		User: "romeo@sip.example", Host: 11, Server: s.kamailio.Addr, Transport: "udp", Correspondent: "sip:anybody@silent-xmpp.example",
	})
	juliet := s.StartMcabber("juliet@xmpp.example", p.Addr.String())

	log, heard, told := s.gateway.Log.Len(), s.romeo.Log.Len(), juliet.Log.Len()
	s.romeo.Send("is anybody there?")
	juliet.Say("anybody@silent-sip.example", "is anybody there?")
	<-xmpp.met
	<-sip.met
	if status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "juliet@xmpp.example", "meanwhile"); status != 200 {
		t.Errorf("romeo was answered %d:\n%s", status, answer)
	}
	juliet.AwaitMessage(told, "meanwhile")
	juliet.Say("romeo@sip.example", "meanwhile, too")
	s.romeo.AwaitMessage(heard, "meanwhile, too")

	e := juliet.AwaitError(told, "anybody@silent-sip.example")
	if e.Condition() != "remote-server-timeout" {
		t.Errorf("juliet got %v", e)
	}
	if status := s.romeo.AwaitStatus(heard); status < 400 {
		t.Errorf("romeo was answered %d", status)
	}
	s.gateway.AwaitLine(log, "way=sip-xmpp", "to=anybody@silent-xmpp.example", "outcome=refused")
}

// TestBadCertificates meets servers whose certificates are good but for one
// thing. The operator reads in one line what it is, and the sender hears only
// that the other side cannot be trusted.
func TestBadCertificates(t *testing.T) {
	s := &meeting{Net: New(t)}
	bad := []struct {
		name string
		ca   *CA

		answer string // what a sender reads who asked over SIP
		log    string // what the operator reads
	}{
		{"expired", s.CA.With(func(o *trusttest.Options) {
			o.NotBefore, o.NotAfter = time.Now().AddDate(0, -2, 0), time.Now().AddDate(0, 0, -1)
		}), "its certificate is not valid now", "the peer has to renew it"},
		{"misnamed", s.CA.With(func(o *trusttest.Options) {
			o.DNS, o.SIPURI, o.CN = []string{"other.example"}, nil, "other.example"
		}), "its certificate is for another name", "it names other.example"},
		{"selfmade", s.CA.Alone(), "its certificate is from no authority that we trust", "it is self-signed"},
	}
	config, names := "domains:\n  sip.example: {users: sip}\n", []string{"gw.example", "sip.example"}
	zone := SIPRecords("sip.example", "udp", 10) + SIPRecords("gw.example", "udp", 1) + XMPPRecords("sip.example", 1, true) +
		XMPPRecords("xmpp.example", 20, true) + ClientRecords("xmpp.example")
	for i, b := range bad {
		xmpp, sip := b.name+"-xmpp.example", b.name+"-sip.example"
		zone += XMPPRecords(xmpp, 30+i, false) + SIPRecords(sip, "tls", 40+i) + XMPPRecords(sip, 1, true)
		config += "  " + sip + ": {users: sip}\n"
		names = append(names, sip)
		s.StartProsody(ProsodyConfig{Domain: xmpp, Host: 30 + i, Users: []string{"nurse"}, SecureAuth: true, Authority: b.ca})
		s.StartKamailio(KamailioConfig{Domain: sip, Host: 40 + i, Authority: b.ca})
	}
	s.Zone(zone)
	p := s.StartProsody(ProsodyConfig{Domain: "xmpp.example", Host: 20, Users: []string{"juliet"}, SecureAuth: true})
	s.kamailio = s.StartKamailio(KamailioConfig{Domain: "sip.example", Host: 10, NextHop: "sip:gw.example"})
	s.gateway = s.StartGateway(GatewayConfig{
		Binary: cpimgate, Host: 1, Names: names, Config: config + "peers:\n  sip.example: {security: plain-ok}\n",
	})
	juliet := s.StartMcabber("juliet@xmpp.example", p.Addr.String())
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			status, answer := s.Sipsak(s.kamailio.Addr, "romeo@sip.example", "nurse@"+b.name+"-xmpp.example", "hello")
			if status != 504 || !strings.Contains(answer, b.answer) || strings.Contains(answer, b.log) {
				t.Errorf("romeo was answered %d:\n%s", status, answer)
			}
			juliet.Say("tybalt@"+b.name+"-sip.example", "hello")
			e := juliet.AwaitError(0, "tybalt@"+b.name+"-sip.example")
			if e.Condition() != "forbidden" || strings.Contains(e.Error.Text, b.log) {
				t.Errorf("juliet got %v", e)
			}
			for _, wire := range []string{"xmpp", "sip"} {
				s.gateway.AwaitLine(0, "peer="+b.name+"-"+wire+".example", b.answer, b.log)
			}
		})
	}
}
