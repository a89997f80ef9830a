package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trunk"
	"cpimgate/federation/trust"
	"cpimgate/federation/trust/trusttest"
	"cpimgate/gateway/config"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/gateway/probe"
	"cpimgate/testdata"
)

// A neighbourhood is a zone of domains, good ones and bad ones, on loopback.
type neighbourhood struct {
	t    *testing.T
	ca   *trusttest.CA
	zone *locate.Static
	text string
	ctx  context.Context
	run  sync.WaitGroup // the test waits for it
}

func newNeighbourhood(t *testing.T) *neighbourhood {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &neighbourhood{t: t, ca: must(trusttest.NewCA("authority"))(t), zone: must(locate.NewStatic(""))(t), ctx: ctx}
	t.Cleanup(func() { cancel(); n.run.Wait(); goleak.VerifyNone(t) })
	return n
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// add adds records to the zone.
func (n *neighbourhood) add(format string, args ...any) {
	n.t.Helper()
	n.text += fmt.Sprintf(format, args...) + "\n"
	if err := n.zone.Set(n.text); err != nil {
		n.t.Fatal(err)
	}
}

// listen returns a listener that goes with the test, and its port.
func (n *neighbourhood) listen() (net.Listener, int) {
	n.t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(n.t)
	n.t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// host gives a domain an address and one record.
func (n *neighbourhood) host(domain, service string, priority, port int) {
	n.t.Helper()
	n.add("%s.%s. SRV %d 0 %d h%[3]d.%[2]s.\nh%[3]d.%[2]s. A 127.0.0.1", service, domain, priority, port)
}

// settings are those of a small domain.
func (n *neighbourhood) settings(domain string) gatewaytest.Settings {
	return gatewaytest.Settings{Domain: domain, Users: []string{"any"}, CA: n.ca, Resolver: n.zone, Roots: n.ca.Pool(), Log: slog.New(slog.DiscardHandler)}
}

// xmpp runs a small XMPP domain and returns its port.
func (n *neighbourhood) xmpp(domain string) int {
	d := must(gatewaytest.NewXMPPDomain(n.settings(domain)))(n.t)
	n.run.Go(func() { _ = d.Run(n.ctx) })
	return portOf(d.Zone())
}

// sip runs a SIP server with a certificate over TLS, or over TCP and UDP
// without one, and returns its port.
func (n *neighbourhood) sip(cert *tls.Certificate) int {
	l, port := n.listen()
	cfg := trunk.Config{Name: "server.example", Agent: "server/1.0", Book: &config.Config{}, Handler: nobody{}, TCP: []net.Listener{l}}
	if cert != nil {
		cfg.Trust = must(trust.New(trust.Config{Certs: []tls.Certificate{*cert}, Roots: n.ca.Pool()}))(n.t)
		cfg.TCP, cfg.TLS = nil, cfg.TCP
	} else {
		cfg.UDP = []net.PacketConn{must(net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port)))(n.t)}
	}
	tr := trunk.New(cfg)
	n.run.Go(func() { _ = tr.Run(n.ctx) })
	<-tr.Ready()
	return port
}

// full runs a SIP server that has no time, and returns its port.
func (n *neighbourhood) full(domain string) int {
	l, port := n.listen()
	tl := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*n.cert(trusttest.Options{DNS: []string{domain}})}})
	n.run.Go(func() {
		c, err := tl.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 4096)
		if size, err := c.Read(b); err == nil {
			if msg, err := sip.NewParser().ParseSIP(b[:size]); err == nil {
				_, _ = io.WriteString(c, sip.NewResponseFromRequest(msg.(*sip.Request), 503, "Service Unavailable", nil).String())
			}
		}
		_, _ = c.Read(b)
	})
	return port
}

// nobody takes no messages.
type nobody struct{}

func (nobody) ServeSIP(_ context.Context, req *sip.Request, _ federation.Peer, tx trunk.Tx) error {
	return tx.Answer(trunk.Reply(req, sip.StatusNotFound, "Not Found"))
}

// says runs a server, with TLS if it has a certificate, that says the same to
// everybody and hangs up once the other has spoken twice; if it has nothing to
// say, after the first time.
func (n *neighbourhood) says(text string, cert *tls.Certificate) int {
	if cert == nil {
		return n.serve(text, nil)
	}
	return n.serve(text, &tls.Config{Certificates: []tls.Certificate{*cert}})
}

func (n *neighbourhood) serve(text string, cfg *tls.Config) int {
	l, port := n.listen()
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	n.run.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			if _, _ = io.WriteString(c, text); text != "" {
				_, _ = c.Read(make([]byte, 1024))
			}
			_ = c.Close()
		}
	})
	return port
}

func (n *neighbourhood) cert(o trusttest.Options) *tls.Certificate {
	return &must(n.ca.Issue(o))(n.t).TLS
}

// selfSigned returns a certificate that is its own issuer.
func (n *neighbourhood) selfSigned(domain string) *tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(n.t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))(n.t)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// portOf returns the port of the SRV record in a zone.
func portOf(zone string) int {
	var port int
	_, after, _ := strings.Cut(zone, " SRV 0 0 ")
	_, _ = fmt.Sscan(after, &port)
	return port
}

// configure writes a configuration of our own, with a certificate for
// home.example, whose people use SIP.
func (n *neighbourhood) configure(peers string) string {
	dir := n.t.TempDir()
	if _, _, _, err := n.ca.Files(dir, trusttest.Options{DNS: []string{"home.example"}}); err != nil {
		n.t.Fatal(err)
	}
	file := filepath.Join(dir, "cpimgate.yaml")
	text := "domains: {home.example: {users: sip}}\ntls: {cert: cert.pem, key: key.pem}\nlisten: {name: gw.home.example}\n" + peers
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return file
}

// check runs the command, and returns its output with the exit status.
func (n *neighbourhood) check(p probeCommand) string {
	n.t.Helper()
	if p.Timeout == 0 {
		p.Timeout = 20 * time.Second // nobody hangs: the machine may be slow
	}
	var out bytes.Buffer
	err := p.look(n.t.Context(), &out, probe.Config{Resolver: n.zone, Roots: n.ca.Pool()})
	code := 0
	if err != nil {
		code = statusOf(err)
		fmt.Fprint(&out, err)
	}
	return stable(out.String()) + fmt.Sprintf("== exit %d\n", code)
}

var (
	ports = regexp.MustCompile(`(127\.0\.0\.1:|port )\d{4,5}`)
	suite = regexp.MustCompile(`TLS_[A-Z0-9_]+`)
	dates = regexp.MustCompile(`20\d\d-\d\d-\d\d(T[0-9:.]+Z)?`)
)

// stable takes out what is another thing each time.
func stable(s string) string {
	s = ports.ReplaceAllString(s, "${1}PORT")
	s = suite.ReplaceAllString(s, "SUITE")
	return dates.ReplaceAllString(s, "DATE")
}

// TestCheck looks at domains of all sorts. The golden file is what an operator
// reads.
func TestCheck(t *testing.T) {
	n := newNeighbourhood(t)
	closed, dead := n.listen()
	closed.Close()
	mute, silent := n.listen() // nobody accepts
	defer mute.Close()
	ear := must(net.ListenPacket("udp", "127.0.0.1:0"))(t) // nobody reads
	defer ear.Close()
	good := trusttest.Options{DNS: []string{"good.example"}, SIPURI: []string{"sip:good.example"}, SRVName: []string{"_xmpp-server.good.example"}}

	n.host("good.example", "_xmpp-server._tcp", 0, n.xmpp("good.example"))
	n.host("good.example", "_sips._tcp", 0, n.sip(n.cert(good)))
	n.host("second.example", "_xmpp-server._tcp", 1, dead)
	n.host("second.example", "_xmpp-server._tcp", 2, n.xmpp("second.example"))
	n.host("wrong.example", "_sips._tcp", 0, n.sip(n.cert(good)))
	n.host("wrong.example", "_xmpp-server._tcp", 0, n.xmpp("other.example"))
	n.host("expired.example", "_sips._tcp", 0, n.sip(n.cert(trusttest.Options{DNS: []string{"expired.example"}, NotBefore: time.Now().AddDate(-2, 0, 0)})))
	n.host("self.example", "_sips._tcp", 0, n.sip(n.selfSigned("self.example")))
	n.host("soon.example", "_sips._tcp", 0, n.sip(n.cert(trusttest.Options{DNS: []string{"soon.example"}, NotAfter: time.Now().Add(72 * time.Hour)})))
	n.host("plain.example", "_sip._tcp", 0, n.sip(nil))
	const header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>"
	offer := header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>" +
		"<dialback xmlns='urn:xmpp:features:dialback'/><bidi xmlns='urn:xmpp:features:bidi'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
	direct := trusttest.Options{DNS: []string{"direct.example"}}
	late := trusttest.Options{DNS: []string{"direct-expired.example"}, NotBefore: time.Now().AddDate(-2, 0, 0)}
	n.host("direct.example", "_xmpps-server._tcp", 0, n.says(offer, n.cert(direct)))
	n.host("direct-expired.example", "_xmpps-server._tcp", 0, n.says(offer, n.cert(late)))
	n.host("direct-self.example", "_xmpps-server._tcp", 0, n.says(offer, n.selfSigned("direct-self.example")))
	n.host("direct-wrong.example", "_xmpps-server._tcp", 0, n.says(offer, n.cert(direct)))
	n.host("bare-xmpp.example", "_xmpp-server._tcp", 0, n.says(header+"<stream:features/>", nil))
	n.host("unknown.example", "_xmpp-server._tcp", 0, n.says(header+"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", nil))
	n.host("web.example", "_xmpp-server._tcp", 0, n.says("HTTP/1.1 400 Bad Request\r\n\r\n<html></html>", nil))
	n.host("web.example", "_sips._tcp", 0, n.says("HTTP/1.1 400 Bad Request\r\n\r\n", nil))
	picky := &tls.Config{
		Certificates: []tls.Certificate{*n.cert(trusttest.Options{DNS: []string{"picky.example"}})},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: must(trusttest.NewCA("another"))(t).Pool(),
	}
	n.host("picky.example", "_sips._tcp", 0, n.serve("", picky))
	n.host("picky.example", "_xmpps-server._tcp", 0, n.serve(offer, picky))
	n.host("proud.example", "_xmpps-server._tcp", 0, n.says(header+"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
		n.cert(trusttest.Options{DNS: []string{"proud.example"}})))
	n.host("closing.example", "_xmpps-server._tcp", 0, n.says(header+"<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
		n.cert(trusttest.Options{DNS: []string{"closing.example"}})))
	n.host("closing.example", "_sips._tcp", 0, n.says("", n.cert(trusttest.Options{DNS: []string{"closing.example"}})))
	n.host("half.example", "_xmpp-server._tcp", 0, n.xmpp("half.example"))
	n.host("full.example", "_sips._tcp", 0, n.full("full.example"))
	n.host("dead.example", "_sips._tcp", 0, dead)
	n.host("hanging.example", "_xmpp-server._tcp", 0, silent)
	n.host("hanging.example", "_xmpps-server._tcp", 1, silent)
	n.host("hanging.example", "_sips._tcp", 0, silent)
	n.add("_xmpp-server._tcp.none.example. SRV 0 0 0 .\n_sips._tcp.none.example. SRV 0 0 0 .")
	n.add("_xmpp-server._tcp.lost.example. SRV 0 0 5269 gone.lost.example.")
	n.add("_sips._tcp.orders.example. SRV 0 0 %d h.orders.example.\nh.orders.example. A 127.0.0.1",
		n.sip(n.cert(trusttest.Options{DNS: []string{"a\x1b[31mb.example"}})))
	n.add("address.example. A 127.77.77.77\nbroken.example. A 127.0.0.1")
	n.zone.Break("broken.example", "_sips._tcp.half.example")
	plain := n.configure("peers: {plain.example: {security: plain-ok}}")
	udp := n.configure(fmt.Sprintf("peers: {udp.example: {security: plain-ok, sip: \"sip:127.0.0.1:%d;transport=udp\"}}", n.sip(nil)))
	unheard := n.configure(fmt.Sprintf("peers: {mute.example: {security: plain-ok, sip: \"sip:127.0.0.1:%d;transport=udp\"}}", ear.LocalAddr().(*net.UDPAddr).Port))
	lax := n.configure("peers: {\"*\": {security: dialback-ok}}")
	deny := n.configure("peers: {good.example: {allow: false}}")

	var out strings.Builder
	for _, p := range []probeCommand{
		{Domain: "Good.example."},
		{Domain: "good.example", Config: n.configure("")},
		{Domain: "good.example", Config: deny},
		{Domain: "second.example"},
		{Domain: "wrong.example"},
		{Domain: "wrong.example", Config: lax},
		{Domain: "expired.example"},
		{Domain: "self.example"},
		{Domain: "soon.example"},
		{Domain: "plain.example"},
		{Domain: "plain.example", Config: plain},
		{Domain: "udp.example", Config: udp},
		{Domain: "direct.example"},
		{Domain: "direct-expired.example"},
		{Domain: "direct-self.example"},
		{Domain: "direct-wrong.example"},
		{Domain: "direct-wrong.example", Config: lax},
		{Domain: "bare-xmpp.example"},
		{Domain: "unknown.example", Config: n.configure("peers: {unknown.example: {security: plain-ok}}")},
		{Domain: "web.example"},
		{Domain: "picky.example"},
		{Domain: "picky.example", Config: lax},
		{Domain: "proud.example"},
		{Domain: "closing.example"},
		{Domain: "half.example"},
		{Domain: "full.example"},
		{Domain: "dead.example"},
		{Domain: "mute.example", Config: unheard, Timeout: 4 * time.Second},
		{Domain: "hanging.example", Timeout: 4 * time.Second},
		{Domain: "nowhere.example"},
		{Domain: "none.example"},
		{Domain: "lost.example"},
		{Domain: "address.example"},
		{Domain: "broken.example"},
		{Domain: "orders.example"},
		{Domain: "home.example", Config: plain},
		{Domain: "192.0.2.1"},
		{Domain: "good.example", Config: filepath.Join(t.TempDir(), "none.yaml")},
		{Domain: "good.example", Timeout: -1},
	} {
		with, got := "", n.check(p)
		if p.Config != "" {
			with, got = " -c FILE", strings.ReplaceAll(got, p.Config, "FILE")
		}
		if i := strings.IndexByte(got, '\x1b'); i >= 0 {
			t.Errorf("%s gives the terminal an order: %q", p.Domain, got[i:])
		}
		fmt.Fprintf(&out, "$ cpimgate check%s %s\n%s\n", with, p.Domain, got)
	}
	testdata.Golden(t, "check/check.golden", out.String())
}

// TestCheckJSON: --json is one object, with the fields of [probe.Report] and
// nothing that is null but a certificate.
func TestCheckJSON(t *testing.T) {
	n := newNeighbourhood(t)
	n.host("good.example", "_xmpp-server._tcp", 0, n.xmpp("good.example"))
	n.host("good.example", "_sips._tcp", 0, n.sip(n.cert(trusttest.Options{DNS: []string{"good.example"}})))
	out := n.check(probeCommand{Domain: "good.example", JSON: true})
	text, _, _ := strings.Cut(out, "== exit 0")
	var r probe.Report
	d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(text, "DATE", "2026-01-02T03:04:05Z")))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || !r.Fine || r.Fix != "" || r.FromSIP != "SIP" || d.More() {
		t.Errorf("%v %+v", err, r)
	}
	out += n.check(probeCommand{Domain: "nowhere.example", JSON: true})
	testdata.Golden(t, "check/json.golden", out)
}

// TestCheckHangs: peers that take connections and say nothing are asked all at a
// time, so that they cost no more than the time that was given for one.
func TestCheckHangs(t *testing.T) {
	n := newNeighbourhood(t)
	const hosts = 6
	came := make(chan net.Conn, 2*hosts)
	for range hosts {
		l, port := n.listen()
		n.host("hanging.example", "_sips._tcp", port, port)
		n.host("hanging.example", "_xmpps-server._tcp", port, port)
		n.run.Go(func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				n.run.Go(func() {
					_, _ = c.Read(make([]byte, 1)) // of the handshake: we are reached
					came <- c
				})
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reports := make(chan *probe.Report, 1)
	n.run.Go(func() {
		r, err := probe.Look(ctx, probe.Config{Resolver: n.zone, Roots: n.ca.Pool(), Patience: time.Hour}, "hanging.example")
		if err != nil {
			t.Error(err)
		}
		reports <- r
	})
	for range 2 * hosts { // nobody gives up within the hour
		defer (<-came).Close()
	}
	cancel()
	r := <-reports
	if len(r.SIP.Targets) != hosts || len(r.XMPP.Targets) != hosts {
		t.Fatal(r)
	}
	for _, target := range append(r.SIP.Targets, r.XMPP.Targets...) {
		if target.Works {
			t.Errorf("%+v", target)
		}
	}
}
