package trunk

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/federation/trust"
	"cpimgate/federation/trust/trusttest"
)

// A realm is an authority, a zone and a book that trunks of a test share.
type realm struct {
	t    *testing.T
	ca   *trusttest.CA
	zone string
	book *book
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	ca, err := trusttest.NewCA("realm")
	if err != nil {
		t.Fatal(err)
	}
	return &realm{t: t, ca: ca, book: plain()}
}

// cert issues a certificate for names.
func (r *realm) cert(names ...string) tls.Certificate {
	r.t.Helper()
	is, err := r.ca.Issue(trusttest.Options{DNS: names})
	if err != nil {
		r.t.Fatal(err)
	}
	return is.TLS
}

func (r *realm) store(names ...string) *trust.Store {
	r.t.Helper()
	cfg := trust.Config{Roots: r.ca.Pool(), Book: r.book}
	if len(names) > 0 {
		cfg.Certs = []tls.Certificate{r.cert(names...)}
	}
	s, err := trust.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// at says where a domain's TLS is.
func (r *realm) at(domain string, l net.Listener) {
	r.zone += fmt.Sprintf("%s. SRV 0 0 %d host.%s.\nhost.%s. A 127.0.0.1\n",
		"_sips._tcp."+domain, l.Addr().(*net.TCPAddr).Port, domain, domain)
}

func (r *realm) locator() *locate.Locator {
	r.t.Helper()
	z, err := locate.NewStatic(r.zone)
	if err != nil {
		r.t.Fatal(err)
	}
	return locate.New(locate.Config{Resolver: z, Book: r.book})
}

// client is a TLS connection with or without a certificate.
func (r *realm) client(l net.Listener, sni string, certs ...tls.Certificate) *wire {
	r.t.Helper()
	return r.over(dialRaw(r.t, l).Conn, sni, certs...)
}

// over is such a connection over another.
func (r *realm) over(c net.Conn, sni string, certs ...tls.Certificate) *wire {
	r.t.Helper()
	tc := tls.Client(c, &tls.Config{ServerName: sni, RootCAs: r.ca.Pool(), Certificates: certs})
	if err := tc.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return wrap(r.t, tc)
}

func TestTLS(t *testing.T) {
	r := newRealm(t)
	al, bl := listenTCP(t), listenTCP(t)
	r.at("a.example", al)
	r.at("b.example", bl)
	peers := make(chan federation.Peer, 100)
	loc := r.locator()
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: loc, Trust: r.store("a.example")})
	b := start(t, Config{TLS: []net.Listener{bl}, Book: r.book, Locate: loc, Trust: r.store("b.example"),
		Handler: serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
			peers <- peer
			return tx.Answer(Reply(req, 200, "OK"))
		})})
	for range 10 {
		if res := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); res.status() != 200 {
			t.Fatal(res)
		}
		if p := <-peers; p.Proof != federation.Certificate || !slices.Equal(p.Domains, []string{"a.example"}) || p.Via != federation.TLS {
			t.Errorf("%+v", p)
		}
	}
	// One connection carried all of them.
	for _, tr := range []*Trunk{a, b} {
		if list := tr.Peers(); len(list) != 1 || list[0].Dialled != (tr == a) {
			t.Errorf("%+v", list)
		}
	}
}

// TestNotShared: two domains at one address and port have a connection each,
// and a certificate for one is none for the other (RFC 5923, section 9.3).
func TestNotShared(t *testing.T) {
	r := newRealm(t)
	al, bl := listenTCP(t), listenTCP(t)
	r.at("a.example", al)
	for _, d := range []string{"b.example", "c.example", "d.example"} {
		r.at(d, bl)
	}
	var mu sync.Mutex
	bodies := make(map[string]bool)
	loc := r.locator()
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: loc, Trust: r.store("a.example")})
	b := start(t, Config{TLS: []net.Listener{bl}, Book: r.book, Locate: loc, Trust: r.store("b.example", "d.example"),
		Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
			mu.Lock()
			defer mu.Unlock()
			bodies[string(req.Body())] = true
			return tx.Answer(Reply(req, 200, "OK"))
		})})
	for domain, want := range map[string]int{"b.example": 200, "c.example": 0, "d.example": 200} {
		res := send(a, message("sip:r@a.example", "sip:j@"+domain, domain), domain)
		if res.status() != want || want == 0 && fault.KindOf(res.err) != fault.Forbidden && fault.KindOf(res.err) != fault.Timeout {
			t.Errorf("%s: %v %v", domain, res.res, res.err)
		}
	}
	// Nor do two of our domains share one.
	if res := send(a, message("sip:r@other.example", "sip:j@b.example", "x"), "b.example"); res.status() != 200 {
		t.Errorf("%v %v", res.res, res.err)
	}
	mu.Lock()
	defer mu.Unlock()
	if bodies["c.example"] || len(b.Peers()) != 3 {
		t.Errorf("%v, %d connections", bodies, len(b.Peers()))
	}
}

// TestWhoSpeaks is decision D-72.
func TestWhoSpeaks(t *testing.T) {
	r := newRealm(t)
	l := listenTCP(t)
	r.book.homes = []federation.Home{{Domain: "home.example", Users: federation.SIP, Server: "sip:proxy.example;transport=tls"}}
	r.book.rules["lab.example"] = federation.Rules{Allow: true, Security: federation.PlainOK, SIP: "sip:127.0.0.1"}
	r.book.rules["far.example"] = federation.Rules{Allow: true, Security: federation.PlainOK, SIP: "sip:192.0.2.1"}
	peers := make(chan federation.Peer, 1)
	start(t, Config{TLS: []net.Listener{l}, Book: r.book, Locate: r.locator(), Trust: r.store("gw.example"), Name: "gw.example",
		Handler: serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
			peers <- peer
			return tx.Answer(Reply(req, 200, "OK"))
		})})
	stranger, err := trusttest.NewCA("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := stranger.Issue(trusttest.Options{DNS: []string{"a.example"}})
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, from string
		certs      []tls.Certificate
		want       string // domains, or the warning
	}{
		{"certificate", "a.example", []tls.Certificate{r.cert("a.example")}, "a.example certificate"},
		{"certificate of another", "a.example", []tls.Certificate{r.cert("c.example")}, "c.example certificate"}, // the Handler sees that it is not From's
		{"no certificate", "a.example", nil, `"Setting`},
		{"forged certificate", "a.example", []tls.Certificate{forged.TLS}, `"Setting`},
		{"server of a home", "home.example", []tls.Certificate{r.cert("proxy.example")}, "proxy.example,home.example certificate"},
		{"plain-ok over TLS without a certificate", "lab.example", nil, "lab.example address"},
		{"plain-ok beside a certificate", "lab.example", []tls.Certificate{r.cert("c.example")}, "lab.example address"},
		{"plain-ok from elsewhere", "far.example", nil, `"Security`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := r.client(l, "gw.example", row.certs...)
			res := w.ask(raw("MESSAGE", strings.ReplaceAll(row.name, " ", "-"), "From: <sip:x@"+row.from+">;tag=1"))
			if res.StatusCode == 200 {
				p := <-peers
				if got := p.String() + " " + p.Proof.String(); got != row.want {
					t.Errorf("%s, want %s", got, row.want)
				}
				return
			}
			warning := res.GetHeader("Warning")
			if res.StatusCode != 403 || warning == nil || !strings.HasPrefix(warning.Value(), "399 gw.example "+row.want) {
				t.Errorf("%v, want %s", res, row.want)
			}
		})
	}
}

// TestDialledSpeaks: on a connection that we have opened to a domain and
// verified, the domain may send requests too (RFC 5923, section 8.2).
func TestDialledSpeaks(t *testing.T) {
	r := newRealm(t)
	al, bl := listenTCP(t), listenTCP(t)
	r.at("b.example", bl)
	peers := make(chan federation.Peer, 1)
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: r.locator(), Trust: r.store("a.example"),
		Handler: serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
			peers <- peer
			return tx.Answer(Reply(req, 200, "OK"))
		})})
	got := make(chan result, 1)
	a.Send(message("sip:r@a.example", "sip:j@b.example", "x"), "b.example", Sending{}, func(res *sip.Response, err error) { got <- result{res, err} })
	c, err := bl.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer bl.Close()
	tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{r.cert("b.example")}})
	defer tc.Close()
	w := &wire{Conn: tc, t: t, r: bufio.NewReader(tc)}
	req, ok := w.hear().(*sip.Request)
	if !ok || !req.Via().Params.Has("alias") || tc.ConnectionState().ServerName != "b.example" {
		t.Fatalf("%v, SNI %q", req, tc.ConnectionState().ServerName)
	}
	if s := w.ask(raw("MESSAGE", "back", "From: <sip:j@b.example>;tag=1", "To: <sip:r@a.example>")).StatusCode; s != 200 {
		t.Error(s)
	}
	if p := <-peers; !p.SpeaksFor("b.example") || p.Proof != federation.Certificate {
		t.Errorf("%+v", p)
	}
	w.say(sip.NewResponseFromRequest(req, 200, "OK", nil).String())
	if res := <-got; res.status() != 200 {
		t.Error(res)
	}
	if list := a.Peers(); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// TestClosedMeanwhile: the peer has closed a connection. If that was idle, the
// next request opens another and the sender notices nothing; if it was busy, the
// peer may have taken the request and nobody sends it again (RFC 2779, section
// 5.4.2).
func TestClosedMeanwhile(t *testing.T) {
	for name, idle := range map[string]time.Duration{"idle": lull, "busy": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			bl := listenTCP(t)
			defer bl.Close()
			a := start(t, Config{Name: "a.example", Book: plain("b.example", uriOf(bl.Addr(), "tcp"))})
			go func() {
				for i := range 2 {
					c, err := bl.Accept()
					if err != nil {
						return
					}
					w := &wire{Conn: c, t: t, r: bufio.NewReader(c)}
					if req, ok := w.hear().(*sip.Request); ok {
						w.say(sip.NewResponseFromRequest(req, 200+i, "OK", nil).String())
					}
					if i == 0 {
						w.hear() // the second request, which we lose
					}
					c.Close()
				}
			}()
			ask := func() result { return send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example") }
			if res := ask(); res.status() != 200 {
				t.Errorf("first: %v %v", res.res, res.err)
			}
			a.mu.Lock()
			for _, s := range a.streams { // as if it had come so long ago
				s.octets.Store(time.Now().Add(-idle).UnixNano())
			}
			a.mu.Unlock()
			switch res := ask(); {
			case idle > 0 && res.status() != 201:
				t.Errorf("second: %v %v", res.res, res.err)
			case idle < 0 && fault.KindOf(res.err) != fault.Timeout:
				t.Errorf("second was sent again: %v %v", res.res, res.err)
			}
		})
	}
}

// TestCloseNotify: the end of a connection is said, so that nobody can fake it
// (RFC 5923, section 8.3).
func TestCloseNotify(t *testing.T) {
	r := newRealm(t)
	l := listenTCP(t)
	tr := New(Config{TLS: []net.Listener{l}, Book: r.book, Locate: r.locator(), Trust: r.store("gw.example"), Handler: ok})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	w := r.client(l, "gw.example")
	if s := w.ask(raw("OPTIONS", "1")).StatusCode; s != 200 {
		t.Error(s)
	}
	cancel()
	if _, err := w.r.ReadByte(); err != io.EOF { // else io.ErrUnexpectedEOF
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRefusedAfterwards: in TLS 1.3 the peer says only after our handshake that
// it does not want our certificate. The sender learns that it was refused.
func TestRefusedAfterwards(t *testing.T) {
	r := newRealm(t)
	bl := listenTCP(t)
	r.at("b.example", bl)
	a := start(t, Config{Name: "a.example", Book: r.book, Locate: r.locator(), Trust: r.store("a.example")})
	strange, err := trusttest.NewCA("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	srv := tls.NewListener(bl, &tls.Config{Certificates: []tls.Certificate{r.cert("b.example")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: strange.Pool(), MinVersion: tls.VersionTLS13})
	defer srv.Close()
	go func() {
		c, err := srv.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1)) // the handshake, and its failure
		c.Close()
	}()
	if res := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); res.err == nil || fault.KindOf(res.err) != fault.Forbidden {
		t.Errorf("%v %v", res.res, res.err)
	}
}

// TestHandshakes: connections that never finish TLS end, and are counted while
// they last.
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRealm(t), newMemory()
		start(t, Config{TLS: []net.Listener{m}, Book: r.book, Locate: r.locator(), Trust: r.store("gw.example"),
			Limits: federation.Limits{ConnsPerIP: 3, Handshake: time.Second}})
		begin := time.Now()
		held := []*wire{m.dial(t), m.dial(t), m.dial(t)}
		held[1].say("\x16\x03\x01")
		m.dial(t).closes() // the fourth from this address
		if past := time.Since(begin); past != 0 {
			t.Errorf("closed after %v", past)
		}
		for _, w := range held {
			w.closes()
		}
		if past := time.Since(begin); past != time.Second {
			t.Errorf("closed after %v", past)
		}
		synctest.Wait()
		if s := r.over(m.dial(t).Conn, "gw.example").ask(raw("OPTIONS", "1")).StatusCode; s != 200 {
			t.Error(s)
		}
	})
}

// TestConns: the same over all addresses, over plain TCP.
func TestConns(t *testing.T) {
	_, w := server(t, Config{Limits: federation.Limits{Conns: 1}})
	if s := w.ask(raw("OPTIONS", "1")).StatusCode; s != 200 {
		t.Error(s)
	}
	c, err := net.Dial("tcp", w.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a second connection is served")
	}
}

// TestLostConnection: the connection is gone when the answer is known. It goes
// over a new one: to the port of the request's Via (RFC 3261, section 18.2.2),
// and if nobody is there, to where the host of the Via is (RFC 3263, section
// 5).
func TestLostConnection(t *testing.T) {
	for _, resolved := range []bool{false, true} {
		back, dead := listenTCP(t), listenTCP(t)
		dead.Close()
		port := back.Addr().(*net.TCPAddr).Port
		if resolved {
			port = dead.Addr().(*net.TCPAddr).Port
		}
		held := make(chan Tx, 1)
		reqs := make(chan *sip.Request, 1)
		tr, w := server(t, Config{
			Locate: places{"a.example": {at("a.example", "127.0.0.1:5060", "tcp")}, "back.example": {at("back.example", back.Addr().String(), "tcp")}},
			Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
				reqs <- req
				held <- tx
				return nil
			})})
		w.say(raw("MESSAGE", "1", fmt.Sprintf("Via: SIP/2.0/TCP back.example:%d;branch=z9hG4bK1", port)))
		tx, req := <-held, <-reqs
		w.Close()
		<-gone(tr)
		if err := tx.Answer(Reply(req, 200, "OK")); err != nil {
			t.Fatal(err)
		}
		c, err := back.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if s := (&wire{Conn: c, t: t, r: bufio.NewReader(c)}).status(); s != 200 {
			t.Error(s)
		}
		c.Close()
		back.Close()
	}
}

// gone is closed when the trunk's only connection is.
func gone(tr *Trunk) <-chan struct{} {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, s := range tr.streams {
		return s.closed
	}
	done := make(chan struct{})
	close(done)
	return done
}

// TestReview: connections of a peer that is not allowed anything any more are
// closed at both ends, those of others stay.
func TestReview(t *testing.T) {
	r := newRealm(t)
	al, bl, cl := listenTCP(t), listenTCP(t), listenTCP(t)
	r.at("a.example", al)
	r.at("b.example", bl)
	r.at("c.example", cl)
	loc := r.locator()
	now := &changing{}
	now.Store(&book{rules: map[string]federation.Rules{"b.example": {Allow: true}, "c.example": {Allow: true}}})
	a := start(t, Config{TLS: []net.Listener{al}, Book: now, Locate: loc, Trust: r.store("a.example")})
	for domain, l := range map[string]net.Listener{"b.example": bl, "c.example": cl} {
		other := start(t, Config{TLS: []net.Listener{l}, Book: r.book, Locate: loc, Trust: r.store(domain)})
		for from, to := range map[*Trunk]string{a: domain, other: "a.example"} {
			if res := send(from, message("sip:r@a.example", "sip:j@"+to, "x"), to); res.status() == 0 {
				t.Fatal(res)
			}
		}
	}
	a.Review()
	domains := func() (list []string) {
		for _, p := range a.Peers() {
			list = append(list, p.Domains...)
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	if got := domains(); !slices.Equal(got, []string{"b.example", "c.example"}) {
		t.Fatalf("connected with %v", got)
	}
	now.Store(&book{rules: map[string]federation.Rules{"b.example": {}, "c.example": {Allow: true}}})
	a.Review()
	if got := domains(); !slices.Equal(got, []string{"c.example"}) {
		t.Errorf("still connected with %v", got)
	}
}

// A changing book is read again by the operator.
type changing struct{ atomic.Pointer[book] }

func (c *changing) Home(d string) (federation.Home, bool)   { return c.Load().Home(d) }
func (c *changing) Homes() []federation.Home                { return c.Load().Homes() }
func (c *changing) Stands(w federation.Wire, d string) bool { return c.Load().Stands(w, d) }
func (c *changing) Rules(d string) federation.Rules         { return c.Load().Rules(d) }
