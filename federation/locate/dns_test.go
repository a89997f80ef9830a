package locate

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"cpimgate/cpim/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a zone as a DNS server on loopback and returns its address.
func serve(t *testing.T, z *Static) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- z.Serve(ctx, pc, l) }() // waited for at the end of the test
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// script is a UDP server that answers as a function says.
func script(t *testing.T, answer func(req *dns.Msg) []*dns.Msg) (addr string, asked *atomic.Int32) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int32)
	done := make(chan struct{})
	go func() { // ends when pc is closed at the end of the test
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			req := new(dns.Msg)
			if err := req.Unpack(buf[:n]); err != nil {
				continue
			}
			asked.Add(1)
			for _, m := range answer(req) {
				if b, err := m.Pack(); err == nil {
					_, _ = pc.WriteTo(b, from)
				}
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return pc.LocalAddr().String(), asked
}

// reply answers a request with one A record.
func reply(req *dns.Msg, addr string) *dns.Msg {
	m := new(dns.Msg).SetReply(req)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: req.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)}}
	return m
}

func newDNS(t *testing.T, servers ...string) *DNS {
	t.Helper()
	d, err := NewDNS(servers)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDNS asks a real server for each type, over UDP.
func TestDNS(t *testing.T) {
	z, err := NewStatic(zoneSOA + sipZone)
	if err != nil {
		t.Fatal(err)
	}
	d := newDNS(t, serve(t, z))
	for _, tt := range []struct {
		name  string
		qtype uint16
	}{{"a.full.example", TypeA}, {"A.Full.Example", TypeAAAA}, {"_sips._tcp.srv.example", TypeSRV}, {"full.example", TypeNAPTR},
		{"alias2.example", TypeA}, {"_sips._tcp.cn.example", TypeSRV}, {"nobody.example", TypeA}, {"web.example", TypeA}, {"_tcp.srv.example", TypeA}} {
		got, err := d.Lookup(t.Context(), tt.name, tt.qtype)
		want, err2 := z.Lookup(t.Context(), tt.name, tt.qtype)
		if err != nil || err2 != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s %s: %+v, %v; the zone has %+v", tt.name, dns.TypeToString[tt.qtype], got, err, want)
		}
	}
	if _, err := d.Lookup(t.Context(), strings.Repeat("a", 64)+".example", TypeA); fault.KindOf(err) != fault.NoRoute {
		t.Error("a label of 64:", err)
	}
	z.Break("example")
	if _, err := d.Lookup(t.Context(), "full.example", TypeA); fault.KindOf(err) != fault.Timeout || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Error("SERVFAIL:", err)
	}
}

const zoneSOA = "$ORIGIN example.\n@ 3600 SOA ns hostmaster 1 7200 3600 1209600 120\n"

// TestDNSTruncated: what does not fit into UDP comes over TCP (RFC 7766).
func TestDNSTruncated(t *testing.T) {
	var zone strings.Builder
	for i := range maxRecords {
		fmt.Fprintf(&zone, "_xmpp-server._tcp.big.example. SRV 0 0 5269 a-rather-long-host-name-number-%d.big.example.\n", i)
	}
	z, err := NewStatic(zone.String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := newDNS(t, serve(t, z)).Lookup(t.Context(), "_xmpp-server._tcp.big.example", TypeSRV)
	if err != nil || len(a.Records) != maxRecords {
		t.Errorf("%d records, %v", len(a.Records), err)
	}
}

// TestDNSForged: answers to other questions are not read; the right one is
// waited for (RFC 5452).
func TestDNSForged(t *testing.T) {
	addr, _ := script(t, func(req *dns.Msg) []*dns.Msg {
		id, name, kind, query := reply(req, "127.0.6.1"), reply(req, "127.0.6.2"), reply(req, "127.0.6.3"), reply(req, "127.0.6.4")
		id.Id++
		name.Question[0].Name = "evil.example."
		kind.Question[0].Qtype = dns.TypeAAAA
		query.Response = false
		right := reply(req, "127.0.0.1")
		// A name that was not asked for, in an answer that was.
		right.Answer = append([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "evil.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 6, 5)}}, right.Answer...)
		return []*dns.Msg{id, name, kind, query, right}
	})
	a, err := newDNS(t, addr).Lookup(t.Context(), "a.example", TypeA)
	if err != nil || len(a.Records) != 1 || a.Records[0].Addr.String() != "127.0.0.1" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestDNSServers: a server that is silent, refuses or fails makes room for the
// next one; when all do, that is a time-out.
func TestDNSServers(t *testing.T) {
	silent, _ := script(t, func(*dns.Msg) []*dns.Msg { return nil })
	refused, asked := script(t, func(req *dns.Msg) []*dns.Msg {
		return []*dns.Msg{new(dns.Msg).SetRcode(req, dns.RcodeRefused)}
	})
	good, _ := script(t, func(req *dns.Msg) []*dns.Msg { return []*dns.Msg{reply(req, "127.0.0.1")} })
	d := newDNS(t, silent, refused, good)
	d.Timeout, d.Attempts = 50*time.Millisecond, 100 // the good one may be slow
	if a, err := d.Lookup(t.Context(), "a.example", TypeA); err != nil || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	asked.Store(0)
	d = newDNS(t, refused)
	if _, err := d.Lookup(t.Context(), "a.example", TypeA); fault.KindOf(err) != fault.Timeout || asked.Load() != 2 {
		t.Errorf("%v after %d questions", err, asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d = newDNS(t, silent)
	d.Timeout = time.Hour
	if _, err := d.Lookup(ctx, "a.example", TypeA); fault.KindOf(err) != fault.Timeout {
		t.Error(err)
	}
}

// TestDNSAuthenticated: the AD bit counts from a resolver on this machine, and
// is asked for there (RFC 6840).
func TestDNSAuthenticated(t *testing.T) {
	addr, _ := script(t, func(req *dns.Msg) []*dns.Msg {
		m := reply(req, "127.0.0.1")
		m.AuthenticatedData = req.AuthenticatedData && req.Question[0].Name == "signed.example."
		return []*dns.Msg{m}
	})
	d := newDNS(t, addr)
	for name, want := range map[string]bool{"signed.example": true, "other.example": false} {
		if a, err := d.Lookup(t.Context(), name, TypeA); err != nil || a.Authenticated != want {
			t.Errorf("%s: %v, %v", name, a.Authenticated, err)
		}
	}
}

// TestNewDNS: servers as an operator writes them.
func TestNewDNS(t *testing.T) {
	d := newDNS(t, "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]", "[2001:db8::53]:5353")
	want := "192.0.2.53:53 192.0.2.53:5353 [2001:db8::53]:53 [2001:db8::53]:53 [2001:db8::53]:5353"
	if got := strings.Join(d.Servers, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := NewDNS([]string{"ns.example"}); fault.KindOf(err) != fault.Malformed || !strings.Contains(err.Error(), "ns.example") {
		t.Error(err)
	}
}

// FuzzAnswer: whatever a server sends, what we take from it is bounded, and
// belongs to the question.
func FuzzAnswer(f *testing.F) {
	z, err := NewStatic(zoneSOA + sipZone)
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range []dns.Question{{Name: "full.example.", Qtype: TypeNAPTR, Qclass: 1}, {Name: "_sips._tcp.cn.example.", Qtype: TypeSRV, Qclass: 1},
		{Name: "a.full.example.", Qtype: TypeA, Qclass: 1}, {Name: "nobody.example.", Qtype: TypeAAAA, Qclass: 1}, {Name: "loop.example.", Qtype: TypeA, Qclass: 1}} {
		m := new(dns.Msg)
		m.Response, m.Question = true, []dns.Question{q}
		z.answer(m)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) != 1 {
			return
		}
		a, err := read(m, m.Question[0])
		if err != nil {
			if fault.KindOf(err) != fault.Timeout {
				t.Error(err)
			}
			return
		}
		if len(a.Records) > maxRecords || a.TTL < 0 || a.TTL > maxTTL || len(a.Records) > 0 && !a.Exists || len(a.Records) == 0 && a.TTL > maxNegative {
			t.Errorf("%+v", a)
		}
		var choices []choice
		for _, r := range a.Records {
			choices = append(choices, choice{Record: r})
		}
		sorted := order(choices, func(n int) int { return n - 1 })
		for i, c := range sorted {
			if c.Target == "" || i > 0 && c.Priority < sorted[i-1].Priority {
				t.Errorf("%+v", sorted)
			}
		}
	})
}

// FuzzZone: a zone that is read can be asked anything, and a Locator over it
// gives targets with an address and a port, or a fault.
func FuzzZone(f *testing.F) {
	f.Add(sipZone, "full.example")
	f.Add(xmppZone, "both.example")
	f.Add("a.example. CNAME a.example.\n", "a.example")
	f.Fuzz(func(t *testing.T, zone, domain string) {
		if strings.Contains(strings.ToUpper(zone), "$GENERATE") {
			return // a line may become 65,536
		}
		z, err := NewStatic(zone)
		if err != nil {
			return
		}
		l := New(Config{Resolver: z, MaxTargets: 5, CacheSize: 100})
		s, err := l.Speaks(t.Context(), domain)
		if (err == nil) == (len(s.SIP)+len(s.XMPP) == 0 && !s.Bare) {
			t.Errorf("%+v, %v", s, err)
		}
		for _, target := range append(s.SIP, s.XMPP...) {
			if !target.Addr.Addr().IsValid() || target.Domain != s.Domain || len(s.SIP) > 5 || len(s.XMPP) > 5 {
				t.Errorf("%+v", target)
			}
		}
		if err != nil && fault.KindOf(err) == fault.Internal {
			t.Error(err)
		}
	})
}
