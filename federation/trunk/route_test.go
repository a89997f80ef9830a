package trunk

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/federation"
)

// respond plays the peer's server at an address in memory.
func respond(t *testing.T, p *memPacket, d datagram, status int, fields ...string) {
	t.Helper()
	msg, err := sip.ParseMessage(d.b)
	if err != nil {
		t.Fatal(err)
	}
	res := sip.NewResponseFromRequest(msg.(*sip.Request), status, "x", nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		res.AppendHeader(sip.NewHeader(name, value))
	}
	p.in <- datagram{[]byte(res.String()), d.addr}
}

// TestRetryAfter: a server that answers 503 with Retry-After is left alone until
// then (RFC 3261, section 21.5.4), another of the domain is not, nor the same
// server for another domain.
func TestRetryAfter(t *testing.T) {
	to := places{
		"b.example": {at("b.example", "127.0.0.2:5060", "udp"), at("b.example", "127.0.0.3:5060", "udp")},
		"c.example": {at("c.example", "127.0.0.2:5060", "udp")},
	}
	bubble(t, Config{Locate: to}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
		exchange := func(domain string, statuses ...string) result {
			t.Helper()
			ch := make(chan result, 1)
			tr.Send(message("sip:r@a.example", "sip:j@"+domain, "x"), domain, Sending{}, func(res *sip.Response, err error) { ch <- result{res, err} })
			for _, s := range statuses {
				var host, status, after string
				if _, err := fmt.Sscanf(s, "%s %s %s", &host, &status, &after); err != nil {
					after = ""
				}
				d := <-p.out
				if d.addr.String() != host+":5060" {
					t.Errorf("to %v, want %s", d.addr, host)
				}
				n := map[string]int{"503": 503, "200": 200}[status]
				if after != "" {
					respond(t, p, d, n, "Retry-After: "+after)
				} else {
					respond(t, p, d, n)
				}
			}
			return <-ch
		}
		exchange("b.example", "127.0.0.2 503 30", "127.0.0.3 200")
		exchange("b.example", "127.0.0.3 200")
		exchange("c.example", "127.0.0.2 200")
		exchange("b.example", "127.0.0.3 503 60;duration=5")
		if r := exchange("b.example"); r.err == nil || fault.KindOf(r.err) != fault.Busy {
			t.Errorf("%v %v", r.res, r.err)
		}
		time.Sleep(31 * time.Second) // of the bubble
		exchange("b.example", "127.0.0.2 200")
		exchange("c.example", "127.0.0.2 503") // says no time: it is asked again
		exchange("c.example", "127.0.0.2 503 864000")
		exchange("c.example")
		time.Sleep(maxRest) // of the bubble
		if r := exchange("c.example", "127.0.0.2 200"); r.status() != 200 {
			t.Errorf("a peer has put itself out of reach: %v %v", r.res, r.err)
		}
	})
}

// TestRedirect: a redirection is followed within its domain, once to each URI
// (RFC 3261, section 8.1.3.4).
func TestRedirect(t *testing.T) {
	rows := []struct {
		name     string
		contacts []string // of the answer to each request
		asked    []string // Request-URIs
		status   int
	}{
		{"same domain", []string{"<sip:k@b.example>"}, []string{"sip:k@b.example"}, 200},
		{"case of the domain", []string{"<sip:k@B.Example>"}, []string{"sip:k@B.Example"}, 200},
		{"the first that will do", []string{"<mailto:j@b.example>, <sip:j@c.example>, <sip:k@b.example>;q=0.5"}, []string{"sip:k@b.example"}, 200},
		{"another domain", []string{"<sip:j@c.example>"}, nil, 302},
		{"below the domain", []string{"<sip:j@x.b.example>"}, nil, 302},
		{"itself", []string{"<sip:j@b.example>"}, nil, 302},
		{"a circle", []string{"<sip:k@b.example>", "<sip:j@B.example>"}, []string{"sip:k@b.example"}, 302},
		{"no end", []string{"<sip:1@b.example>", "<sip:2@b.example>", "<sip:3@b.example>", "<sip:4@b.example>", "<sip:5@b.example>", "<sip:6@b.example>"},
			[]string{"sip:1@b.example", "sip:2@b.example", "sip:3@b.example", "sip:4@b.example", "sip:5@b.example"}, 302},
		{"headers", []string{"<sip:k@b.example?Subject=x>"}, []string{"sip:k@b.example"}, 200},
		{"another host by a bracket", []string{"<sip:b.example;x=[::1]>"}, nil, 0},
		{"nowhere", []string{""}, nil, 302},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bl := listenTCP(t)
			var seen []*sip.Request
			a := start(t, Config{Locate: places{"b.example": {at("b.example", bl.Addr().String(), "tcp")}, "c.example": {at("c.example", bl.Addr().String(), "tcp")}}})
			start(t, Config{TCP: []net.Listener{bl}, Book: local(), Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
				seen = append(seen, req)
				if len(seen) > len(row.contacts) {
					return tx.Answer(Reply(req, 200, "OK"))
				}
				res := Reply(req, 302, "Moved Temporarily")
				if c := row.contacts[len(seen)-1]; c != "" {
					res.AppendHeader(sip.NewHeader("Contact", c))
				}
				return tx.Answer(res)
			})})
			if r := send(a, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != row.status {
				t.Errorf("%v %v", r.res, r.err)
			}
			var asked []string
			for _, req := range seen[1:] {
				asked = append(asked, req.Recipient.String())
			}
			if !slices.Equal(asked, row.asked) {
				t.Errorf("asked %q", asked)
			}
			sameRequest(t, seen)
		})
	}
}

// TestLoop: a request of ours that a peer sends back to us is refused; one that
// comes back with another Request-URI is a spiral, and whose it is is the next
// question (RFC 5393, section 4.2.2).
func TestLoop(t *testing.T) {
	bl := listenTCP(t)
	out := make(chan *sip.Request, 1)
	l := listenTCP(t)
	tr := start(t, Config{TCP: []net.Listener{l}, Name: "gw.example", Book: local(), Locate: places{
		"b.example": {at("b.example", bl.Addr().String(), "tcp")}, "a.example": {at("a.example", "127.0.0.1:5060", "tcp")}}})
	w := dialRaw(t, l)
	start(t, Config{TCP: []net.Listener{bl}, Book: local(), Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		out <- req
		return tx.Answer(Reply(req, 200, "OK"))
	})})
	if r := send(tr, message("sip:r@a.example", "sip:j@b.example", "x"), "b.example"); r.status() != 200 {
		t.Fatal(r)
	}
	ours := <-out
	rows := []struct {
		name   string
		change func(*sip.Request)
		status int
	}{
		{"loop", func(*sip.Request) {}, 482},
		{"loop without a proxy", func(r *sip.Request) { r.RemoveHeader("Via") }, 482},
		{"fewer hops", func(r *sip.Request) { h := sip.MaxForwardsHeader(3); r.ReplaceHeader(&h) }, 482},
		{"host in capitals", func(r *sip.Request) { r.Recipient.Host = "B.EXAMPLE" }, 482},
		{"spiral", func(r *sip.Request) { r.Recipient.User = "k" }, 200},
		{"of another sender", func(r *sip.Request) { r.From().Params.Add("tag", "other") }, 200},
		{"next request", func(r *sip.Request) { r.CSeq().SeqNo++ }, 200},
		{"via of another", func(r *sip.Request) { r.GetHeaders("Via")[1].(*sip.ViaHeader).Port = 1 }, 200},
	}
	for i, row := range rows {
		req := ours.Clone()
		via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TCP", Host: "proxy.example", Params: sip.NewParams()}
		via.Params.Add("branch", fmt.Sprint("z9hG4bKproxy", i))
		req.PrependHeader(via)
		row.change(req)
		if s := w.ask(req.String()).StatusCode; s != row.status {
			t.Errorf("%s: %d, want %d", row.name, s, row.status)
		}
	}
}

// TestTheirCancel: a CANCEL or ACK counts from the one who has sent the INVITE
// only (RFC 3261, section 9.2); it is known by the branch, which others see too.
func TestTheirCancel(t *testing.T) {
	held := make(chan Tx, 1)
	tr, w := server(t, Config{Methods: []sip.RequestMethod{sip.INVITE}, Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		held <- tx
		return nil
	})})
	w.say(raw("INVITE", "1"))
	tx := <-held
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 2, 1)}}).Dial("tcp", tr.cfg.TCP[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stranger := wrap(t, c)
	res := stranger.ask(raw("CANCEL", "1"))
	if branch, _ := res.Via().Params.Get("branch"); res.StatusCode != 481 || branch != "z9hG4bK1" {
		t.Error(res)
	}
	select {
	case <-tx.Done():
		t.Error("cancelled by a stranger")
	default:
	}
	w.say(raw("CANCEL", "1"))
	got := []int{w.status(), w.status()}
	if slices.Sort(got); !slices.Equal(got, []int{200, 487}) {
		t.Error(got)
	}
	<-tx.Done()
	w.say(raw("ACK", "1"))
	if s := w.ask(raw("OPTIONS", "2")).StatusCode; s != 200 {
		t.Error(s)
	}
}

// TestAsserted: who asserts identities, and to whom (RFC 3325, sections 7 to
// 9).
func TestAsserted(t *testing.T) {
	bk := local()
	bk.homes = []federation.Home{{Domain: "home.example", Users: federation.SIP}, {Domain: "x.example", Users: federation.XMPP}}
	for _, d := range []string{"home.example", "x.example"} {
		bk.rules[d] = bk.rules["a.example"]
	}
	got := make(chan string, 1)
	_, w := server(t, Config{Book: bk, Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		got <- strings.Join(sipx.Values(req, "P-Asserted-Identity"), " and ")
		return tx.Answer(Reply(req, 200, "OK"))
	})})
	for from, want := range map[string]string{"a.example": "", "x.example": "", "home.example": "<sip:x@home.example>"} {
		w.ask(raw("MESSAGE", from, "From: <sip:u@"+from+">;tag=1", "p-asserted-identity: <sip:x@home.example>"))
		if v := <-got; v != want {
			t.Errorf("from %s: %q", from, v)
		}
	}
	for i, row := range [][2]string{
		{`"a, <b" <sip:u@home.example>, <tel:+15550100>`, `"a, <b" <sip:u@home.example> and <tel:+15550100>`},
		{"<sips:u@home.example>", "<sips:u@home.example>"},
		{"<sip:u@home.example>, <sip:v@home.example>", ""},
		{"<sip:u@home.example>, <sips:u@home.example>", ""},
		{"<tel:+1>, <tel:+2>", ""},
		{"<mailto:u@home.example>", ""},
		{"<sip:u@home.example;x=[::1]>, nonsense", ""},
	} {
		w.ask(raw("MESSAGE", fmt.Sprint("list", i), "From: <sip:u@home.example>;tag=1", "P-Asserted-Identity: "+row[0]))
		if v := <-got; v != row[1] {
			t.Errorf("%s: %q", row[0], v)
		}
	}
	for privacy, kept := range map[string][2]bool{ // by the peer, by a home's server
		"": {true, true}, "none": {true, true}, "id": {false, true}, "header; ID": {false, true}, "user": {true, true},
	} {
		for i, domain := range []string{"a.example", "home.example"} {
			req := message("sip:u@home.example", "sip:v@"+domain, "x")
			req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<sip:u@home.example>"))
			req.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<tel:+15550100>"))
			req.AppendHeader(sip.NewHeader("P-Preferred-Identity", "<sip:w@home.example>"))
			if privacy != "" {
				req.AppendHeader(sip.NewHeader("Privacy", privacy))
			}
			(&Trunk{cfg: Config{Book: bk}}).guard(req, domain)
			want := map[bool]int{true: 2, false: 0}[kept[i]]
			if n := len(req.GetHeaders("P-Asserted-Identity")); n != want || len(req.GetHeaders("P-Preferred-Identity")) > 0 {
				t.Errorf("Privacy %q to %s: %d identities", privacy, domain, n)
			}
		}
	}
}

// TestUnproved: header fields in which a sender says who it is prove nothing:
// Identity of RFC 4474 and of RFC 8224 (section 10), a digest without a
// challenge, an anonymous one, an asserted identity.
func TestUnproved(t *testing.T) {
	_, w := server(t, Config{})
	for i, field := range []string{
		`Identity: "aGVsbG8="`, "Identity: x;info=<https://c.example/c.pem>;alg=ES256", "y: x",
		`Authorization: Digest username="anonymous", realm="gw.example", nonce="", uri="sip:gw.example", response=""`,
		"P-Asserted-Identity: <sip:romeo@a.example>", "Authorization: Basic cm9tZW86anVsaWV0",
	} {
		stranger := raw("MESSAGE", fmt.Sprint("s", i), "From: <sip:x@c.example>;tag=1", "Identity-Info: <https://c.example/c.pem>;alg=rsa-sha1", field)
		if s := w.ask(stranger).StatusCode; s != 403 {
			t.Errorf("%s: a stranger gets %d", field, s)
		}
		known := raw("MESSAGE", fmt.Sprint("k", i), "Identity-Info: <https://c.example/c.pem>;alg=rsa-sha1", field)
		if s := w.ask(known).StatusCode; s != 200 {
			t.Errorf("%s: a peer gets %d", field, s)
		}
	}
}

// TestCount: what is refused at the door is counted, each time once, by what was
// wrong with it.
func TestCount(t *testing.T) {
	counted := make(chan string, 100)
	_, w := server(t, Config{
		Count: func(event string) { counted <- event }, Limits: federation.Limits{Conns: 1},
		Book: plain("a.example", "sip:127.0.0.1;transport=tcp", "b.example", "sip:127.0.0.9;transport=tcp"),
	})
	for i, row := range []struct {
		method, from string
		status       int
		event        string
	}{
		{"MESSAGE", "sip:x@a.example", 200, ""},
		{"MESSAGE", "im:x@a.example", 200, ""},
		{"MESSAGE", "sip:x@b.example", 403, Spoofed},
		{"MESSAGE", "sip:x@c.example", 403, Unproved},
		{"MESSAGE", "tel:+1-415-555-0100", 403, Unproved},
		{"SUBSCRIBE", "sip:x@a.example", 489, Refused},
	} {
		if s := w.ask(raw(row.method, fmt.Sprint(i), "From: <"+row.from+">;tag=1")).StatusCode; s != row.status {
			t.Errorf("%s from %s: %d", row.method, row.from, s)
		}
		if row.event == "" {
			continue
		}
		if event := <-counted; event != row.event {
			t.Errorf("%s from %s counts as %s", row.method, row.from, event)
		}
	}
	c, err := net.Dial("tcp", w.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if event := <-counted; event != Overrun || len(counted) > 0 {
		t.Errorf("a connection too many counts as %s, and %d more", event, len(counted))
	}
}

// TestInbox: a request for an im or pres URI is one for the SIP URI of the same
// name, on the way in and on the way out; such a URI is no route (RFC 3428,
// section 5).
func TestInbox(t *testing.T) {
	got := make(chan string, 1)
	_, w := server(t, Config{Handler: serveFunc(func(req *sip.Request, _ federation.Peer, tx Tx) error {
		got <- req.Recipient.String()
		return tx.Answer(Reply(req, 200, "OK"))
	})})
	for i, uri := range []string{"im:juliet@b.example", "pres:juliet@b.example", "im:juliet@b.example?subject=x"} {
		if s := w.ask(strings.Replace(raw("MESSAGE", fmt.Sprint(i)), "sip:juliet@b.example", uri, 1)).StatusCode; s != 200 {
			t.Errorf("%s: %d", uri, s)
		} else if u := <-got; u != "sip:juliet@b.example" {
			t.Errorf("%s is %s", uri, u)
		}
	}
	tr := New(Config{Name: "gw.example", Book: plain(), Locate: places{}})
	out := message("sip:r@a.example", "im:j@b.example", "x")
	if tr.complete(out); out.Recipient.String() != "sip:j@b.example" {
		t.Errorf("sent to %s", out.Recipient.String())
	}
	for route, want := range map[string]bool{"sip:p.example;lr": true, "im:j@b.example": false, "pres:j@b.example": false} {
		req := message("sip:r@a.example", "sip:j@b.example", "x")
		var u sip.Uri
		if err := sip.ParseUri(route, &u); err != nil {
			t.Fatal(err)
		}
		req.AppendHeader(&sip.RouteHeader{Address: u})
		if err := sipx.CheckOutgoing(req); (err == nil) != want {
			t.Errorf("Route %s: %v", route, err)
		}
	}
}

// TestComplete: what every request of ours has (RFC 3261, section 8.1.1; RFC
// 5393, section 5.3.4), and what it keeps if it has it: a request that has come
// from elsewhere has fewer hops left.
func TestComplete(t *testing.T) {
	tr := New(Config{Name: "gw.example", Book: plain(), Locate: places{}})
	fresh := message("sip:r@a.example", "sip:j@b.example", "x")
	passed := message("sip:r@a.example", "sip:j@b.example", "x")
	hops := sip.MaxForwardsHeader(12)
	passed.AppendHeader(&hops)
	passed.AppendHeader(sip.NewHeader("Max-Breadth", "7"))
	passed.RemoveHeader("Content-Length")
	for want, out := range map[string]*sip.Request{"70 60": fresh, "12 7": passed} {
		tr.complete(out)
		if got := sipx.Value(out, "Max-Forwards") + " " + sipx.Value(out, "Max-Breadth"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if tag, _ := out.From().Params.Get("tag"); tag == "" || out.CallID() == nil || out.CSeq().SeqNo != 1 || *out.ContentLength() != 1 {
			t.Error(out)
		}
	}
}

// TestInvite: a refusal of an INVITE is repeated until the ACK comes, which ends
// it, or until Timer H (RFC 3261, section 17.2.1); no ACK reaches the Handler.
func TestInvite(t *testing.T) {
	for _, acked := range []bool{true, false} {
		bubble(t, Config{}, func(t *testing.T, tr *Trunk, _ *memory, p *memPacket) {
			from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5070}
			via := "Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK1"
			begin := time.Now()
			p.in <- datagram{[]byte(raw("INVITE", "1", via)), from}
			var at []time.Duration
			var to string
			for range 3 {
				d := <-p.out
				res, err := sip.ParseMessage(d.b)
				if err != nil || res.(*sip.Response).StatusCode != 488 {
					t.Fatalf("%s", d.b)
				}
				at, to = append(at, time.Since(begin)), res.To().Value()
			}
			if !slices.Equal(at, []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}) {
				t.Error(at)
			}
			if acked {
				p.in <- datagram{[]byte(raw("ACK", "1", via, "To: "+to)), from}
			}
			time.Sleep(33 * time.Second) // of the bubble
			if more := len(p.out); more > 0 == acked {
				t.Errorf("%d more, acknowledged %v", more, acked)
			}
			if n, _ := left(tr); n != 0 {
				t.Errorf("%d transactions are left", n)
			}
		})
	}
}
