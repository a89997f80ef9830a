package trunk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
	"cpimgate/federation/locate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A book is rules by domain; who is not in it must show a certificate.
type book struct {
	homes []federation.Home
	rules map[string]federation.Rules
}

func (b *book) Home(domain string) (federation.Home, bool) {
	i := slices.IndexFunc(b.homes, func(h federation.Home) bool { return h.Domain == domain })
	if i < 0 {
		return federation.Home{}, false
	}
	return b.homes[i], true
}
func (b *book) Homes() []federation.Home                     { return b.homes }
func (b *book) Rules(domain string) federation.Rules         { return b.rules[domain] }
func (b *book) Stands(w federation.Wire, domain string) bool { return false }

// plain lets domains in without TLS, each at its own SIP URI.
func plain(uris ...string) *book {
	b := &book{rules: make(map[string]federation.Rules)}
	for i := 0; i+1 < len(uris); i += 2 {
		b.rules[uris[i]] = federation.Rules{Allow: true, Security: federation.PlainOK, SIP: uris[i+1]}
	}
	return b
}

// serveFunc is a Handler.
type serveFunc func(req *sip.Request, peer federation.Peer, tx Tx) error

func (f serveFunc) ServeSIP(_ context.Context, req *sip.Request, peer federation.Peer, tx Tx) error {
	return f(req, peer, tx)
}

// ok answers everything 200.
var ok = serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
	return tx.Answer(Reply(req, 200, "OK"))
})

// start runs a trunk until the test ends.
func start(t testing.TB, cfg Config) *Trunk {
	t.Helper()
	if cfg.Book == nil {
		cfg.Book = plain()
	}
	if cfg.Locate == nil {
		zone, err := locate.NewStatic("")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Locate = locate.New(locate.Config{Resolver: zone, Book: cfg.Book})
	}
	if cfg.Handler == nil {
		cfg.Handler = ok
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	cfg.Drain = 10 * time.Millisecond
	tr := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	<-tr.started
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	return tr
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func listenUDP(t *testing.T) net.PacketConn {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// listenBoth takes one port for both, as RFC 3261, section 18.2.1 has it.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		l := listenTCP(t)
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l
		}
		l.Close()
	}
	t.Fatal("no port that is free for both")
	return nil, nil
}

// message is a MESSAGE without what Send adds.
func message(from, to, body string) *sip.Request {
	var f, r sip.Uri
	if err := errors.Join(sip.ParseUri(from, &f), sip.ParseUri(to, &r)); err != nil {
		panic(err)
	}
	req := sip.NewRequest(sip.MESSAGE, r)
	req.AppendHeader(&sip.FromHeader{Address: f})
	req.AppendHeader(&sip.ToHeader{Address: r})
	req.AppendHeader(sip.NewHeader("Content-Type", "text/plain"))
	req.SetBody([]byte(body))
	return req
}

type result struct {
	res *sip.Response
	err error
}

// send waits for what Send reports.
func send(t *Trunk, req *sip.Request, domain string, timeout ...time.Duration) result {
	ch := make(chan result, 1)
	var o Sending
	if len(timeout) > 0 {
		o.By = time.Now().Add(timeout[0])
	}
	t.Send(req, domain, o, func(res *sip.Response, err error) { ch <- result{res, err} })
	return <-ch
}

func (r result) status() int {
	if r.res == nil {
		return 0
	}
	return r.res.StatusCode
}

// raw is the text of a request from a.example, written by hand.
func raw(method, branch string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s sip:juliet@b.example SIP/2.0\r\n", method)
	head := []string{
		"Via: SIP/2.0/TCP a.example;branch=z9hG4bK" + branch,
		"From: <sip:romeo@a.example>;tag=1", "To: <sip:juliet@b.example>",
		"Call-ID: " + branch, "CSeq: 1 " + method, "Max-Forwards: 70",
	}
	for _, f := range fields {
		name, _, _ := strings.Cut(f, ":")
		head = slices.DeleteFunc(head, func(h string) bool { return strings.HasPrefix(h, name+":") })
		if f != name+":-" { // "Name:-" leaves it out
			head = append(head, f)
		}
	}
	if !strings.Contains(strings.Join(head, "\n"), "Content-Length:") {
		head = append(head, "Content-Length: 0")
	}
	return b.String() + strings.Join(head, "\r\n") + "\r\n\r\n"
}

// A wire is a raw TCP connection.
type wire struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
	b []byte
}

// patience is how long a test waits for what must come. Nothing is expected to
// take so long, and nothing is slower for it.
const patience = 2 * time.Minute

func dialRaw(t *testing.T, l net.Listener) *wire {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, c)
}

func wrap(t *testing.T, c net.Conn) *wire {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (w *wire) say(s string) {
	w.t.Helper()
	if _, err := w.Write([]byte(s)); err != nil {
		w.t.Fatal(err)
	}
}

// hear reads one message.
func (w *wire) hear() sip.Message {
	w.t.Helper()
	for {
		if n, err := frame(w.b, false, 1<<20); err == nil && n > 0 && n <= len(w.b) {
			msg, err := sipx.Parser(1 << 20).ParseSIP(w.b[:n])
			if err != nil {
				w.t.Fatal(err)
			}
			w.b = w.b[n:]
			return msg
		}
		b := make([]byte, 4096)
		n, err := w.r.Read(b)
		if err != nil {
			w.t.Fatal("reading: ", err)
		}
		w.b = append(w.b, b[:n]...)
	}
}

// status reads one response.
func (w *wire) status() int {
	w.t.Helper()
	res, ok := w.hear().(*sip.Response)
	if !ok {
		w.t.Fatal("not a response")
	}
	return res.StatusCode
}

// ask sends a request and reads its response.
func (w *wire) ask(s string) *sip.Response {
	w.t.Helper()
	w.say(s)
	res, ok := w.hear().(*sip.Response)
	if !ok {
		w.t.Fatal("not a response")
	}
	return res
}

// closes reports that the other end hangs up.
func (w *wire) closes() {
	w.t.Helper()
	for {
		if _, err := w.r.Read(make([]byte, 1024)); err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				w.t.Error("still open")
			}
			return
		}
	}
}

func uriOf(a net.Addr, transport string) string {
	return "sip:" + a.String() + ";transport=" + transport
}

// pair runs a.example and b.example, plain, over one transport; a has both
// sockets.
func pair(t *testing.T, transport string, h Handler) (a, b *Trunk) {
	au, at := listenUDP(t), listenTCP(t)
	bu, bt := listenBoth(t)
	bk := plain("a.example", uriOf(at.Addr(), "tcp"), "b.example", uriOf(map[string]net.Addr{"udp": bu.LocalAddr(), "tcp": bt.Addr()}[transport], transport))
	a = start(t, Config{UDP: []net.PacketConn{au}, TCP: []net.Listener{at}, Book: bk})
	b = start(t, Config{UDP: []net.PacketConn{bu}, TCP: []net.Listener{bt}, Book: bk, Handler: h})
	return a, b
}

func TestExchange(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			var mu sync.Mutex
			var got []string
			a, _ := pair(t, transport, serveFunc(func(req *sip.Request, peer federation.Peer, tx Tx) error {
				mu.Lock()
				got = append(got, string(req.Body()))
				mu.Unlock()
				if !peer.SpeaksFor("a.example") || peer.Proof != federation.Address || string(peer.Via) != transport {
					t.Errorf("peer %+v", peer)
				}
				return tx.Answer(Reply(req, 202, "Taken"))
			}))
			for i := range 20 {
				if r := send(a, message("sip:romeo@a.example", "sip:juliet@b.example", strconv.Itoa(i)), "b.example"); r.status() != 202 {
					t.Fatalf("%v %v", r.res, r.err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(got) != 20 {
				t.Errorf("%d messages", len(got))
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l := listenTCP(t)
	l.Close() // a port that nobody listens at
	a := start(t, Config{TCP: []net.Listener{listenTCP(t)}, Book: plain("b.example", uriOf(l.Addr(), "tcp"))})
	for domain, want := range map[string]fault.Kind{"b.example": fault.Timeout, "c.example": fault.NoRoute, "..": fault.Malformed} {
		if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), domain); r.err == nil || fault.KindOf(r.err) != want {
			t.Errorf("%s: %v %v", domain, r.res, r.err)
		}
	}
}
