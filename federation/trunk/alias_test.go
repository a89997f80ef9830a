package trunk

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// answers200 serves one request on a connection and hangs up after it.
func answers200(t *testing.T, c net.Conn, status int) {
	w := &wire{Conn: c, t: t, r: bufio.NewReader(c)}
	if req, ok := w.hear().(*sip.Request); ok {
		w.say(sip.NewResponseFromRequest(req, status, "OK", nil).String())
	}
}

// TestAlias is RFC 5923, section 8.2: which connections that peers have opened
// we use in the other direction.
func TestAlias(t *testing.T) {
	const reused, fresh = 299, 200
	rows := []struct {
		name   string
		sni    string
		certs  []string // of the peer; none: no certificate
		via    string   // parameters, "%d" is the port of b.example
		from   string   // our domain that writes back
		domain string   // that we write to, at the address and port of b.example
		status int
	}{
		{"alias", "a.example", []string{"b.example"}, ":%d;alias", "a.example", "b.example", reused},
		{"no alias", "a.example", []string{"b.example"}, ":%d", "a.example", "b.example", fresh},
		{"another port", "a.example", []string{"b.example"}, ":9;alias;x=%d", "a.example", "b.example", fresh},
		{"default port", "a.example", []string{"b.example"}, ";alias;x=%d", "a.example", "b.example", fresh},
		{"another domain at the address", "a.example", []string{"b.example"}, ":%d;alias", "a.example", "c.example", fresh},
		{"both domains proved", "a.example", []string{"b.example", "c.example"}, ":%d;alias", "a.example", "c.example", reused},
		{"another domain of ours", "a.example", []string{"b.example"}, ":%d;alias", "other.example", "b.example", fresh},
		{"to another domain of ours", "other.example", []string{"b.example"}, ":%d;alias", "a.example", "b.example", fresh},
		{"no certificate", "a.example", nil, ":%d;alias", "a.example", "b.example", fresh},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := newRealm(t)
			al, bl := listenTCP(t), listenTCP(t)
			r.at("b.example", bl)
			r.at("c.example", bl)
			a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: r.locator(), Trust: r.store("a.example", "other.example"), Name: "gw.example"})
			var certs []tls.Certificate
			if row.certs != nil {
				certs = append(certs, r.cert(row.certs...))
			}
			w := r.client(al, row.sni, certs...)
			via := fmt.Sprintf("Via: SIP/2.0/TLS host.b.example"+row.via+";branch=z9hG4bK1", bl.Addr().(*net.TCPAddr).Port)
			if s := w.ask(raw("MESSAGE", "1", "From: <sip:j@b.example>;tag=1", via)).StatusCode; s != 200 && row.certs != nil {
				t.Fatal(s)
			}
			srv := tls.NewListener(bl, &tls.Config{Certificates: []tls.Certificate{r.cert("b.example", "c.example")}})
			defer srv.Close()
			done := make(chan struct{}, 2)
			go func() {
				defer func() { done <- struct{}{} }()
				if c, err := srv.Accept(); err == nil {
					answers200(t, c, fresh)
					c.Close()
				}
			}()
			if row.status == reused {
				go func() { answers200(t, w.Conn, reused); done <- struct{}{} }()
			}
			if res := send(a, message("sip:r@"+row.from, "sip:j@"+row.domain, "x"), row.domain); res.status() != row.status {
				t.Errorf("%v %v, want %d", res.res, res.err, row.status)
			}
			srv.Close()
			<-done
			if row.status == reused {
				<-done
			}
		})
	}
}

// TestAliasBounded: a peer that names another port in each request gets one
// alias, and none is left when it has gone.
func TestAliasBounded(t *testing.T) {
	r := newRealm(t)
	al := listenTCP(t)
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: r.locator(), Trust: r.store("a.example"), Name: "gw.example"})
	w := r.client(al, "a.example", r.cert("b.example"))
	for port := 1; port < 50; port++ {
		if s := w.ask(raw("MESSAGE", fmt.Sprint(port), "From: <sip:j@b.example>;tag=1", fmt.Sprintf("Via: SIP/2.0/TLS b.example:%d;alias;branch=z9hG4bK%d", port, port))).StatusCode; s != 200 {
			t.Fatal(s)
		}
	}
	count := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.links)
	}
	if n := count(); n != 1 {
		t.Errorf("%d aliases", n)
	}
	end := gone(a)
	w.Close()
	<-end
	synced(a, func() bool { return len(a.links) == 0 })
}

// TestAliasPort: a Via without a port is at 5061.
func TestAliasPort(t *testing.T) {
	r := newRealm(t)
	al := listenTCP(t)
	a := start(t, Config{TLS: []net.Listener{al}, Book: r.book, Locate: r.locator(), Trust: r.store("a.example"), Name: "gw.example"})
	w := r.client(al, "a.example", r.cert("b.example"))
	if s := w.ask(raw("MESSAGE", "1", "From: <sip:j@b.example>;tag=1", "Via: SIP/2.0/TLS b.example;alias;branch=z9hG4bK1")).StatusCode; s != 200 {
		t.Fatal(s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.links {
		if key.addr.String() != "127.0.0.1:5061" || key.from != "a.example" || key.domain != "b.example" {
			t.Errorf("%+v", key)
		}
	}
	if len(a.links) != 1 {
		t.Errorf("%d aliases", len(a.links))
	}
}

// synced waits until something holds under the trunk's lock; the test's own
// time limit ends the wait.
func synced(a *Trunk, holds func() bool) {
	for {
		a.mu.Lock()
		ok := holds()
		a.mu.Unlock()
		if ok {
			return
		}
		runtime.Gosched()
	}
}
