package trunk

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// local lets a.example speak from 127.0.0.1.
func local() *book { return plain("a.example", "sip:127.0.0.1;transport=tcp") }

// server runs a trunk on one TCP listener and connects to it.
func server(t *testing.T, cfg Config) (*Trunk, *wire) {
	t.Helper()
	l := listenTCP(t)
	cfg.TCP = []net.Listener{l}
	if cfg.Book == nil {
		cfg.Book = local()
	}
	cfg.Name = "gw.example"
	return start(t, cfg), dialRaw(t, l)
}

// TestPipelined sends 1,000 requests in one go. They reach the Handler in the
// order of the wire, though each answer comes from another goroutine.
func TestPipelined(t *testing.T) {
	const n = 1000
	var mu sync.Mutex
	var got []string
	_, w := server(t, Config{Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		mu.Lock()
		got = append(got, req.CallID().Value())
		mu.Unlock()
		go func() { _ = tx.Answer(Reply(req, 200, "OK")) }()
		return nil
	})})
	var b strings.Builder
	for i := range n {
		b.WriteString(raw("MESSAGE", strconv.Itoa(i)))
	}
	w.say(b.String())
	for range n {
		s := w.status()
		for s == 100 { // on a busy machine
			s = w.status()
		}
		if s != 200 {
			t.Fatal(s)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, id := range got {
		if id != strconv.Itoa(i) {
			t.Fatalf("request %s came as number %d", id, i)
		}
	}
	if len(got) != n {
		t.Errorf("%d requests", len(got))
	}
}

func TestRefusals(t *testing.T) {
	rows := []struct {
		name   string
		req    string
		status int
		field  string // of the response: "Name: value"
	}{
		{"message", raw("MESSAGE", "1"), 200, ""},
		{"options", raw("OPTIONS", "2"), 200, "Allow: OPTIONS, MESSAGE"},
		{"options from a stranger", raw("OPTIONS", "3", "From: <sip:x@c.example>;tag=1"), 200, "Accept: text/plain, message/*"},
		{"register", raw("REGISTER", "4"), 405, "Allow: OPTIONS, MESSAGE"},
		{"publish", raw("PUBLISH", "5"), 405, "Allow: OPTIONS, MESSAGE"},
		{"subscribe", raw("SUBSCRIBE", "6"), 489, ""},
		{"notify", raw("NOTIFY", "7", "To: <sip:juliet@b.example>;tag=2"), 481, ""},
		{"unknown method", raw("NEWMETHOD", "8"), 501, "Allow: OPTIONS, MESSAGE"},
		{"in no dialog", raw("MESSAGE", "9", "To: <sip:juliet@b.example>;tag=2"), 481, ""},
		{"no hops left", raw("MESSAGE", "10", "Max-Forwards: 0"), 483, ""},
		{"extension", raw("MESSAGE", "11", "Require: 100rel, foo"), 420, "Unsupported: 100rel, foo"},
		{"extension of options", raw("OPTIONS", "12", "Require: foo"), 420, "Unsupported: foo"},
		{"coding", raw("MESSAGE", "13", "Content-Type: text/plain", "Content-Encoding: br", "Content-Length: 1") + "x", 415, "Accept-Encoding: identity, deflate, gzip"},
		{"coding that is undone later", raw("MESSAGE", "36", "Content-Type: text/plain", "Content-Encoding: deflate", "Content-Length: 1") + "x", 200, ""},
		{"media type", raw("MESSAGE", "14", "Content-Type: image/png", "Content-Length: 1") + "x", 415, "Accept: text/plain, message/*"},
		{"media type by wildcard", raw("MESSAGE", "15", "Content-Type: message/cpim", "Content-Length: 1") + "x", 200, ""},
		{"version", strings.Replace(raw("MESSAGE", "16"), "SIP/2.0\r\nVia", "SIP/7.0\r\nVia", 1), 505, ""},
		{"scheme", strings.Replace(raw("MESSAGE", "17"), "sip:juliet@b.example SIP", "http://b.example SIP", 1), 416, ""},
		{"no From tag", raw("MESSAGE", "18", "From: <sip:romeo@a.example>"), 400, ""},
		{"two To", raw("MESSAGE", "19", "t: <sip:x@b.example>"), 400, ""},
		{"CSeq of another", raw("MESSAGE", "20", "CSeq: 1 OPTIONS"), 400, ""},
		{"bare line feed", raw("MESSAGE", "21", "Subject: a\nX: y"), 400, ""},
		{"cancel of nothing", raw("CANCEL", "22"), 481, ""},
		{"no type", raw("MESSAGE", "23", "Content-Length: 1") + "x", 400, ""},
		{"stranger", raw("MESSAGE", "24", "From: <sip:x@c.example>;tag=1"), 403, `Warning: 399 gw.example "Setting \"security\" of this domain asks for TLS with a certificate of it, or must be plain-ok"`},
		{"number", raw("MESSAGE", "25", "From: <sip:x@127.0.0.1>;tag=1"), 403, `Warning: 399 gw.example "The domain of From is none"`},
		{"compact", raw("MESSAGE", "26", "Subject:-", "s: hi", "k: x", "o: presence"), 200, ""},
		{"bad Via", raw("MESSAGE", "27", "Via: SIP/2.0/TCP a.example;;,;,,"), 400, ""},
		{"invite", raw("INVITE", "28"), 488, ""},
		{"brackets around the URI", strings.Replace(raw("MESSAGE", "29"), "sip:juliet@b.example SIP", "<sip:juliet@b.example> SIP", 1), 400, ""},
		{"spaces in the URI", strings.Replace(raw("MESSAGE", "30"), "b.example SIP", "b.example; lr SIP", 1), 400, ""},
		{"spaces in the start line", strings.Replace(raw("MESSAGE", "31"), " SIP/2.0", "  SIP/2.0 ", 1), 400, ""},
		{"unusual scheme", strings.Replace(raw("MESSAGE", "32"), "sip:juliet@b.example SIP", "soap.beep://192.0.2.103:3002 SIP", 1), 416, ""},
		{"field without a colon", raw("MESSAGE", "33", "nothing"), 400, ""},
		{"lone CR", raw("MESSAGE", "34", "Subject: a\rb"), 400, ""},
		{"after all that", raw("MESSAGE", "35"), 200, ""},
	}
	_, w := server(t, Config{Accept: []string{"text/plain", "message/*"}})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			res := w.ask(row.req)
			for res.IsProvisional() {
				res = w.hear().(*sip.Response)
			}
			if res.StatusCode != row.status {
				t.Errorf("%d %s, want %d", res.StatusCode, res.Reason, row.status)
			}
			name, value, _ := strings.Cut(row.field, ": ")
			if row.field != "" && sipx.Value(res, name) != value {
				t.Errorf("%s: %q, want %q", name, sipx.Value(res, name), value)
			}
			if row.name == "invite" {
				w.say(raw("ACK", "28", "To: "+res.To().Value()))
			}
		})
	}
}

// TestMerged is RFC 3261, section 8.2.2.2: a second copy on another path.
func TestMerged(t *testing.T) {
	held := make(chan Tx, 1)
	var first *sip.Request
	_, w := server(t, Config{Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		first = req
		held <- tx
		return nil
	})})
	w.say(raw("MESSAGE", "1"))
	tx := <-held
	if s := w.ask(raw("MESSAGE", "2", "Call-ID: 1")).StatusCode; s != 482 {
		t.Errorf("copy: %d", s)
	}
	if err := tx.Answer(Reply(first, 200, "OK")); err != nil {
		t.Error(err)
	}
	if s := w.status(); s != 200 {
		t.Errorf("original: %d", s)
	}
	if err := tx.Answer(Reply(first, 200, "OK")); fault.KindOf(err) != fault.Internal || err == nil {
		t.Errorf("second answer: %v", err)
	}
	<-tx.Done()
}

// TestErrors shows what the errors of a Handler become.
func TestErrors(t *testing.T) {
	rows := []struct {
		err    error
		status int
		reason string
	}{
		{sipx.Refuse(404, fault.NotFound, "User\r\nunknown"), 404, "User unknown"},
		{fault.E(fault.Forbidden, "the table is the gateway's"), 500, "internal error"},
		{sipx.Refuse(408, fault.Timeout, "late"), 504, "Server Time-out"}, // RFC 4320, section 4.2
		{nil, 500, "internal error"}, // a panic
		{sipx.Refuse(400, fault.Malformed, "x", sip.NewHeader("X", "a\r\nInjected: b")), 500, "internal error"},
	}
	i := 0
	_, w := server(t, Config{Handler: serveFunc(func(*sip.Request, federation.Peer, Tx) error {
		i++
		if rows[i-1].err == nil {
			panic("on purpose")
		}
		return rows[i-1].err
	})})
	for n, row := range rows {
		res := w.ask(raw("MESSAGE", fmt.Sprint(n)))
		if res.StatusCode != row.status || res.Reason != row.reason || sipx.Value(res, "Injected") != "" {
			t.Errorf("row %d: %d %q", n, res.StatusCode, res.Reason)
		}
	}
}

// TestUnframed: without a boundary nothing can follow, so the connection ends
// (RFC 4475, section 3.1.2.3).
func TestUnframed(t *testing.T) {
	for name, req := range map[string]string{
		"no length":     raw("MESSAGE", "1", "Content-Length:-", "l:-", "X: Content-Length:"),
		"negative":      raw("MESSAGE", "1", "Content-Length: -1"),
		"two":           raw("MESSAGE", "1", "Content-Length: 0", "l: 5"),
		"folded":        strings.Replace(raw("MESSAGE", "1"), "Content-Length: ", "Content-Length:\r\n ", 1),
		"too large":     raw("MESSAGE", "1", "Content-Length: 70000"),
		"endless field": "MESSAGE sip:x SIP/2.0\r\nX: " + strings.Repeat("x", 70000),
		"no SIP":        "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
		"no method":     "\x00 sip:x HTTP/2.0\r\nContent-Length: 0\r\n\r\n",
		"noise":         "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, w := server(t, Config{})
			_, _ = w.Write([]byte(req)) // it may be cut off while we write
			w.closes()
		})
	}
}

func TestKeepAlive(t *testing.T) {
	_, w := server(t, Config{})
	w.say("\r\n\r\n") // RFC 5626, section 4.4.1
	b := make([]byte, 2)
	if _, err := w.r.Read(b); err != nil || string(b) != "\r\n" {
		t.Fatalf("%q %v", b, err)
	}
	w.say("\r\n")
	if s := w.ask(raw("OPTIONS", "1")).StatusCode; s != 200 {
		t.Error(s)
	}
}

// TestVia: the response says where the request came from (RFC 3261, section
// 18.2.1; RFC 3581).
func TestVia(t *testing.T) {
	_, w := server(t, Config{})
	port := strconv.Itoa(w.LocalAddr().(*net.TCPAddr).Port)
	for via, want := range map[string]string{
		"a.example;branch=z9hG4bK1":                    "a.example;branch=z9hG4bK1;received=127.0.0.1",
		"127.0.0.1;branch=z9hG4bK2":                    "127.0.0.1;branch=z9hG4bK2",
		"127.0.0.1;rport;branch=z9hG4bK3":              "127.0.0.1;rport=" + port + ";branch=z9hG4bK3;received=127.0.0.1",
		"a.example;branch=z9hG4bK4;received=192.0.2.9": "a.example;branch=z9hG4bK4;received=127.0.0.1",
		"[2001:db8::1]:5070;branch=z9hG4bK5;maddr=b.c": "[2001:db8::1]:5070;branch=z9hG4bK5;maddr=b.c;received=127.0.0.1",
	} {
		res := w.ask(raw("OPTIONS", "x", "Via: SIP/2.0/TCP "+via))
		if got := strings.TrimPrefix(res.Via().Value(), "SIP/2.0/TCP "); got != want {
			t.Errorf("%s: got %s, want %s", via, got, want)
		}
	}
}
