package locate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// book is what an operator wrote, for tests.
type book struct {
	homes []federation.Home
	rules map[string]federation.Rules
	plain bool // security of all others
}

func (b book) Home(d string) (federation.Home, bool) {
	i := slices.IndexFunc(b.homes, func(h federation.Home) bool { return h.Domain == d })
	if i < 0 {
		return federation.Home{}, false
	}
	return b.homes[i], true
}

func (b book) Homes() []federation.Home { return b.homes }

func (b book) Rules(d string) federation.Rules {
	if r, ok := b.rules[d]; ok {
		return r
	}
	if b.plain {
		return federation.Rules{Allow: true, Security: federation.PlainOK}
	}
	return federation.Rules{Allow: true}
}

func (b book) Stands(w federation.Wire, d string) bool {
	h, ok := b.Home(d)
	return ok && h.Users != w
}

// locator returns a Locator over a zone that always draws the first record.
func locator(t *testing.T, zone string, b federation.Book) (*Locator, *Static) {
	t.Helper()
	s, err := NewStatic(zone)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Resolver: s, Book: b, Rand: func(int) int { return 0 }}), s
}

// list writes targets one a line, as tests compare them.
func list(targets []federation.Target) string {
	var lines []string
	for _, t := range targets {
		lines = append(lines, fmt.Sprintf("%s %s %s", t.Transport, t.Addr, t.Host))
	}
	return strings.Join(lines, "\n")
}

// lines removes the indentation of a literal.
func lines(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// sipZone has one domain for each branch of RFC 3263, section 4.
const sipZone = `
$ORIGIN example.
full   NAPTR 100 10 "S" "sip+d2u"  "" _sip._udp.full
full   NAPTR 90  50 "s" "SIP+D2T"  "" _sip._tcp.full
full   NAPTR 50  99 "s" "SIPS+D2T" "" _sips._tcp.full
full   NAPTR 10  10 "a" "SIP+D2T"  "" _sip._tcp.srv
full   NAPTR 10  10 "s" "SIP+D2T"  "!a!b!" _sip._tcp.srv
full   NAPTR 10  50 "s" "SIP+D2S"  "" _sip._sctp.full
full   NAPTR 10  50 "u" "E2U+sip"  "!^.*$!sip:x@y!" .
_sips._tcp.full SRV 0 1 5061 a.full
_sip._tcp.full  SRV 0 1 5060 a.full
_sip._udp.full  SRV 0 1 5060 a.full
a.full  A 127.0.0.1
a.full  AAAA ::1
a.full  A 127.0.0.2

alias  NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp.full

srv    A 127.0.0.9
_sips._tcp.srv SRV 20 1 5061 b.srv
_sips._tcp.srv SRV 10 1 5071 a.srv
_sip._tcp.srv  SRV 0 1 5060 a.srv
_sip._udp.srv  SRV 0 1 5060 b.srv
a.srv A 127.0.0.1
b.srv A 127.0.0.2

plain  A 127.0.0.9
_sip._tcp.plain SRV 0 1 5080 plain
udp    NAPTR 50 50 "s" "SIP+D2U" "" _sip._udp.udp
_sip._udp.udp SRV 0 1 5060 plain

bare   A 127.0.0.3
web    MX 10 bare
no     A 127.0.0.4
_sips._tcp.no SRV 0 0 0 .
half   A 127.0.0.4
_sips._tcp.half SRV 0 0 0 .
_sip._tcp.half  SRV 0 0 5060 plain

im     A 127.0.0.9
_im._sip.im   SRV 10 0 5066 plain
_pres._sip.im SRV 20 0 5067 plain
alias2 CNAME bare
_sips._tcp.cn CNAME _sips._tcp.srv
loop   CNAME pool
pool   CNAME loop
dead   A 127.0.0.9
_sips._tcp.dead SRV 0 0 5061 nowhere
xn--bcher-kva A 127.0.0.7
`

const required, plainOK = false, true

var sipTests = []struct {
	name  string
	q     SIPQuery
	plain bool
	want  string // targets, or "kind: text"
}{
	{"naptr-tls", SIPQuery{Host: "full.example"}, required, `
		tls [::1]:5061 a.full.example
		tls 127.0.0.1:5061 a.full.example
		tls 127.0.0.2:5061 a.full.example`},
	{"naptr-order", SIPQuery{Host: "FULL.example."}, plainOK, `
		tls [::1]:5061 a.full.example
		tls 127.0.0.1:5061 a.full.example
		tls 127.0.0.2:5061 a.full.example
		tcp [::1]:5060 a.full.example
		tcp 127.0.0.1:5060 a.full.example
		tcp 127.0.0.2:5060 a.full.example
		udp [::1]:5060 a.full.example
		udp 127.0.0.1:5060 a.full.example
		udp 127.0.0.2:5060 a.full.example`},
	{"naptr-sips", SIPQuery{Host: "full.example", Secure: true}, plainOK, `
		tls [::1]:5061 a.full.example
		tls 127.0.0.1:5061 a.full.example
		tls 127.0.0.2:5061 a.full.example`},
	{"naptr-elsewhere", SIPQuery{Host: "alias.example"}, required, `
		tls [::1]:5061 a.full.example
		tls 127.0.0.1:5061 a.full.example
		tls 127.0.0.2:5061 a.full.example`},
	{"naptr-udp-only", SIPQuery{Host: "udp.example"}, plainOK, `udp 127.0.0.9:5060 plain.example`},
	{"naptr-udp-only-required", SIPQuery{Host: "udp.example"}, required, `no-route: domain offers no SIP service over TLS`},
	{"srv-priority", SIPQuery{Host: "srv.example"}, required, `
		tls 127.0.0.1:5071 a.srv.example
		tls 127.0.0.2:5061 b.srv.example`},
	{"srv-transports", SIPQuery{Host: "srv.example"}, plainOK, `
		tls 127.0.0.1:5071 a.srv.example
		tls 127.0.0.2:5061 b.srv.example
		tcp 127.0.0.1:5060 a.srv.example
		udp 127.0.0.2:5060 b.srv.example`},
	{"srv-cname", SIPQuery{Host: "cn.example"}, required, `
		tls 127.0.0.1:5071 a.srv.example
		tls 127.0.0.2:5061 b.srv.example`},
	{"transport-tcp", SIPQuery{Host: "srv.example", Transport: "TCP"}, plainOK, `tcp 127.0.0.1:5060 a.srv.example`},
	{"transport-udp", SIPQuery{Host: "srv.example", Transport: "udp"}, plainOK, `udp 127.0.0.2:5060 b.srv.example`},
	{"transport-tls", SIPQuery{Host: "plain.example", Transport: "tls"}, plainOK, `tls 127.0.0.9:5061 plain.example`},
	{"transport-tcp-sips", SIPQuery{Host: "srv.example", Transport: "tcp", Secure: true}, plainOK, `
		tls 127.0.0.1:5071 a.srv.example
		tls 127.0.0.2:5061 b.srv.example`},
	{"transport-tcp-required", SIPQuery{Host: "srv.example", Transport: "tcp"}, required, `no-route: domain offers no SIP service over TLS`},
	{"transport-sctp", SIPQuery{Host: "srv.example", Transport: "sctp"}, plainOK, `no-route: transport is not supported`},
	{"port", SIPQuery{Host: "srv.example", Port: 5090}, plainOK, `
		udp 127.0.0.9:5090 srv.example
		tcp 127.0.0.9:5090 srv.example`},
	{"port-required", SIPQuery{Host: "srv.example", Port: 5090}, required, `tls 127.0.0.9:5090 srv.example`},
	{"plain-only", SIPQuery{Host: "plain.example"}, plainOK, `tcp 127.0.0.9:5080 plain.example`},
	{"plain-only-required", SIPQuery{Host: "plain.example"}, required, `no-route: domain offers no SIP service over TLS`},
	{"address", SIPQuery{Host: "bare.example"}, plainOK, `
		udp 127.0.0.3:5060 bare.example
		tcp 127.0.0.3:5060 bare.example`},
	{"address-required", SIPQuery{Host: "bare.example"}, required, `tls 127.0.0.3:5061 bare.example`},
	{"address-cname", SIPQuery{Host: "alias2.example"}, required, `tls 127.0.0.3:5061 alias2.example`},
	{"not-offered", SIPQuery{Host: "no.example"}, plainOK, `no-route: domain offers no SIP service`},
	{"not-offered-over-tls", SIPQuery{Host: "half.example"}, plainOK, `tcp 127.0.0.9:5060 plain.example`},
	{"not-offered-over-tls-required", SIPQuery{Host: "half.example"}, required, `no-route: domain offers no SIP service over TLS`},
	{"im-pres", SIPQuery{Host: "im.example"}, required, `
		tls 127.0.0.9:5066 plain.example
		tls 127.0.0.9:5067 plain.example`},
	{"no-address", SIPQuery{Host: "web.example"}, plainOK, `no-route: domain offers no SIP service`},
	{"srv-without-host", SIPQuery{Host: "dead.example"}, required, `no-route: domain offers no SIP service over TLS`},
	{"nxdomain", SIPQuery{Host: "nobody.example"}, required, `no-route: domain does not exist`},
	{"alias-loop", SIPQuery{Host: "loop.example"}, required, `timeout: domain cannot be resolved`},
	{"idn", SIPQuery{Host: "Bücher.example"}, required, `tls 127.0.0.7:5061 xn--bcher-kva.example`},
	{"literal", SIPQuery{Host: "127.0.0.1"}, plainOK, `no-route: an IP address is no domain`},
	{"literal-6", SIPQuery{Host: "[::1]"}, plainOK, `no-route: an IP address is no domain`},
	{"no-domain", SIPQuery{Host: "a b"}, plainOK, `malformed: not a domain name`},
}

// TestSIP goes through RFC 3263, sections 4.1 and 4.2, for domains from whom
// TLS is required and for those from whom it is not.
func TestSIP(t *testing.T) {
	for _, tt := range sipTests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := locator(t, sipZone, book{plain: tt.plain})
			check(t, tt.want)(l.SIP(t.Context(), tt.q))
		})
	}
}

// check compares targets, or kind and text of a fault, with what a table says.
func check(t *testing.T, want string) func([]federation.Target, error) {
	return func(targets []federation.Target, err error) {
		t.Helper()
		got := list(targets)
		if err != nil {
			got = fault.KindOf(err).String() + ": " + fault.TextOf(err)
		}
		if got != lines(want) {
			t.Errorf("got\n%s\nwant\n%s\n%v", got, lines(want), err)
		}
	}
}

// TestSIPDomain: whatever led to the target, a certificate must name what was
// asked for (RFC 5922, section 7.3).
func TestSIPDomain(t *testing.T) {
	b := book{rules: map[string]federation.Rules{"over.example": {SIP: "sip:a.srv.example:5061;transport=tls"}}}
	l, _ := locator(t, sipZone, b)
	for _, d := range []string{"full.example", "alias.example", "im.example", "over.example"} {
		targets, err := l.SIP(t.Context(), SIPQuery{Host: d})
		if err != nil || len(targets) == 0 {
			t.Fatal(d, targets, err)
		}
		for _, target := range targets {
			if target.Domain != d {
				t.Errorf("%s has a target for %s", d, target.Domain)
			}
		}
	}
}

// TestOperator: what the operator wrote comes before the DNS (RFC 6120, section
// 3.2.3; D-72, D-73).
func TestOperator(t *testing.T) {
	b := book{
		homes: []federation.Home{
			{Domain: "srv.example", Users: federation.SIP, Server: "sip:proxy.example;transport=tls"},
			{Domain: "chat.example", Users: federation.XMPP, Server: "xmpp.chat.example:5270"},
			{Domain: "bare.example", Users: federation.SIP},
		},
		rules: map[string]federation.Rules{
			"lab.example":  {SIP: "sip:10.0.0.7:5060;transport=tcp", Security: federation.PlainOK},
			"lab2.example": {SIP: "sip:10.0.0.7:5060;transport=tcp"},
			"lab3.example": {XMPP: "[2001:db8::1]:5333"},
			"lab4.example": {XMPP: "xmpp.chat.example"},
			"lab5.example": {SIP: "sips:proxy.example"},
			"gone.example": {SIP: "sip:gone.proxy.example"},
		},
	}
	const zone = sipZone + `
_sips._tcp.proxy SRV 0 0 5099 proxy
proxy     A 127.0.0.11
xmpp.chat A 127.0.0.12
_xmpp-server._tcp.lab2 SRV 0 0 5269 proxy
`
	l, _ := locator(t, zone, b)
	tests := []struct {
		wire   federation.Wire
		domain string
		want   string
	}{
		{federation.SIP, "srv.example", "tls 127.0.0.11:5099 proxy.example"},
		{federation.SIP, "bare.example", "tls 127.0.0.3:5061 bare.example"},
		{federation.SIP, "lab.example", "tcp 10.0.0.7:5060 10.0.0.7"},
		{federation.SIP, "lab2.example", "no-route: domain offers no SIP service over TLS"},
		{federation.SIP, "lab5.example", "tls 127.0.0.11:5099 proxy.example"},
		{federation.SIP, "gone.example", "no-route: domain does not exist"},
		{federation.SIP, "chat.example", "no-route: domain is served here"},
		{federation.XMPP, "chat.example", "tcp 127.0.0.12:5270 xmpp.chat.example"},
		{federation.XMPP, "lab3.example", "tcp [2001:db8::1]:5333 2001:db8::1"},
		{federation.XMPP, "lab4.example", "tcp 127.0.0.12:5269 xmpp.chat.example"},
		{federation.XMPP, "srv.example", "no-route: domain is served here"},
	}
	for _, tt := range tests {
		t.Run(string(tt.wire)+"-"+tt.domain, func(t *testing.T) {
			if tt.wire == federation.XMPP {
				check(t, tt.want)(l.XMPP(t.Context(), tt.domain))
				return
			}
			check(t, tt.want)(l.SIP(t.Context(), SIPQuery{Host: tt.domain}))
		})
	}
}

// TestCause: the operator reads what there is and which setting would use it.
func TestCause(t *testing.T) {
	l, _ := locator(t, sipZone, nil)
	_, err := l.SIP(t.Context(), SIPQuery{Host: "plain.example"})
	for _, want := range []string{"_sip._tcp.plain.example", "plain-ok", "5080"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		if strings.Contains(fault.TextOf(err), want) {
			t.Errorf("the sender is told %q", want)
		}
	}
}

const xmppZone = `
$ORIGIN example.
both  A 127.0.0.9
_xmpp-server._tcp.both  SRV 10 0 5269 a.both
_xmpp-server._tcp.both  SRV 30 0 5299 b.both
_xmpps-server._tcp.both SRV 20 0 5270 a.both
a.both A 127.0.0.1
a.both AAAA ::1
b.both A 127.0.0.2

_xmpps-server._tcp.direct SRV 0 0 443 a.both
lone   A 127.0.0.9
_xmpp-server._tcp.lone SRV 0 0 0 .
nodirect A 127.0.0.9
_xmpps-server._tcp.nodirect SRV 0 0 0 .
nodirect2 A 127.0.0.9
_xmpps-server._tcp.nodirect2 SRV 0 0 0 .
_xmpp-server._tcp.nodirect2 SRV 0 0 5269 a.both
bare   A 127.0.0.3
bare   AAAA ::1
dead   A 127.0.0.9
_xmpp-server._tcp.dead SRV 0 0 5269 nowhere
half   A 127.0.0.9
_xmpp-server._tcp.half SRV 0 0 5269 nowhere
_xmpp-server._tcp.half SRV 9 0 5269 a.both
web    TXT "nothing"
im     A 127.0.0.9
_im._xmpp.im SRV 0 0 5269 b.both
xn--bcher-kva A 127.0.0.7
_xmpp-server._tcp.xn--bcher-kva SRV 0 0 5269 b.both
`

// TestXMPP goes through RFC 6120, section 3.2, and XEP-0368, section 3.
func TestXMPP(t *testing.T) {
	tests := []struct{ name, domain, want string }{
		{"mixed-priorities", "both.example", `
			tcp [::1]:5269 a.both.example
			tcp 127.0.0.1:5269 a.both.example
			tls [::1]:5270 a.both.example
			tls 127.0.0.1:5270 a.both.example
			tcp 127.0.0.2:5299 b.both.example`},
		{"direct-only", "direct.example", `
			tls [::1]:443 a.both.example
			tls 127.0.0.1:443 a.both.example`},
		{"not-offered", "lone.example", `no-route: domain offers no XMPP service`},
		{"direct-not-offered", "nodirect.example", `no-route: domain offers no XMPP service`},
		{"direct-not-offered-starttls", "nodirect2.example", `
			tcp [::1]:5269 a.both.example
			tcp 127.0.0.1:5269 a.both.example`},
		{"fallback", "bare.example", `
			tcp [::1]:5269 bare.example
			tcp 127.0.0.3:5269 bare.example`},
		{"no-fallback-after-srv", "dead.example", `no-route: domain offers no XMPP service`},
		{"one-host-missing", "half.example", `
			tcp [::1]:5269 a.both.example
			tcp 127.0.0.1:5269 a.both.example`},
		{"no-address", "web.example", `no-route: domain offers no XMPP service`},
		{"im-only-by-configuration", "im.example", `tcp 127.0.0.9:5269 im.example`},
		{"idn", "BÜCHER.example", `tcp 127.0.0.2:5269 b.both.example`},
		{"nxdomain", "nobody.example", `no-route: domain does not exist`},
		{"literal", "[::1]", `no-route: an IP address is no domain`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := locator(t, xmppZone, nil)
			check(t, tt.want)(l.XMPP(t.Context(), tt.domain))
		})
	}
	t.Run("im-by-configuration", func(t *testing.T) {
		s, err := NewStatic(xmppZone)
		if err != nil {
			t.Fatal(err)
		}
		l := New(Config{Resolver: s, XMPPByIM: true})
		check(t, "tcp 127.0.0.2:5269 b.both.example")(l.XMPP(t.Context(), "im.example"))
	})
}

// TestBroken: a question without an answer is not a "no" (XF-03, XF-07).
func TestBroken(t *testing.T) {
	const text = "timeout: domain cannot be resolved"
	tests := []struct{ name, broken, domain, want string }{
		{"all", "both.example", "both.example", text},
		{"direct-tls-only", "_xmpps-server._tcp.both.example", "both.example", `
			tcp [::1]:5269 a.both.example
			tcp 127.0.0.1:5269 a.both.example
			tcp 127.0.0.2:5299 b.both.example`},
		{"no-fallback", "_xmpp-server._tcp.bare.example", "bare.example", text},
		{"host", "a.both.example", "direct.example", text},
		{"one-host", "a.both.example", "both.example", `tcp 127.0.0.2:5299 b.both.example`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, s := locator(t, xmppZone, nil)
			s.Break(tt.broken)
			check(t, tt.want)(l.XMPP(t.Context(), tt.domain))
		})
	}
	t.Run("sip", func(t *testing.T) {
		l, s := locator(t, sipZone, nil)
		s.Break("_sips._tcp.bare.example")
		check(t, text)(l.SIP(t.Context(), SIPQuery{Host: "bare.example"}))
		s.Break("full.example") // but not where the NAPTR of alias.example is
		check(t, text)(l.SIP(t.Context(), SIPQuery{Host: "alias.example"}))
	})
}

// TestLimit: a zone cannot send us to more places than the configuration says
// (RFC 3861, section 6; RES-12).
func TestLimit(t *testing.T) {
	var zone strings.Builder
	for i := range 40 {
		fmt.Fprintf(&zone, "_xmpp-server._tcp.big.example. SRV %d 0 5269 h%d.example.\nh%d.example. A 127.0.1.%d\n", i, i, i, i+1)
	}
	s, err := NewStatic(zone.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{3, 0} {
		targets, err := New(Config{Resolver: s, MaxTargets: limit}).XMPP(t.Context(), "big.example")
		if want := map[int]int{3: 3, 0: 16}[limit]; err != nil || len(targets) != want || targets[2].Host != "h2.example" {
			t.Errorf("limit %d: %d targets, %v", limit, len(targets), err)
		}
	}
}

// TestLiterals: with the switch an address is a domain (ADDR-23).
func TestLiterals(t *testing.T) {
	s, err := NewStatic("")
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{Resolver: s, Literals: true})
	check(t, "tls [2001:db8::1]:5099 2001:db8::1")(l.SIP(t.Context(), SIPQuery{Host: "[2001:DB8::1]", Port: 5099}))
	check(t, "tcp 127.0.0.1:5269 127.0.0.1")(l.XMPP(t.Context(), "127.0.0.1"))
	check(t, "malformed: not a domain name")(l.XMPP(t.Context(), "[fe80::1%eth0]"))
}

// TestCancelled: who gives up waiting is told that it was the time.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := make(hanging)
	defer close(h)
	_, err := New(Config{Resolver: h}).XMPP(ctx, "full.example")
	if fault.KindOf(err) != fault.Timeout || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// hanging is a resolver that answers when it is closed.
type hanging chan struct{}

func (h hanging) Lookup(context.Context, string, uint16) (Answer, error) {
	<-h
	return Answer{}, fault.E(fault.Timeout, "no answer")
}

// asked is a zone that notes when it is asked at all.
type asked struct {
	*Static
	yes atomic.Bool
}

func (a *asked) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	a.yes.Store(true)
	return a.Static.Lookup(ctx, name, qtype)
}

// TestFound: what a search has found holds for a moment, while nothing that it
// depends on is another; where records have weights each message draws.
func TestFound(t *testing.T) {
	zone, err := NewStatic("$ORIGIN example.\n_sip._tcp.a 0 SRV 0 0 5060 one\none 3600 A 192.0.2.1\n" +
		"_sip._tcp.w 3600 SRV 0 1 1 one\n_sip._tcp.w 3600 SRV 0 1 2 one\n")
	if err != nil {
		t.Fatal(err)
	}
	dns, b := &asked{Static: zone}, book{rules: map[string]federation.Rules{}, plain: true}
	now, draws := time.Unix(1000, 0), 0
	l := New(Config{Resolver: dns, Book: b, Now: func() time.Time { return now }, Rand: func(n int) int { draws++; return draws % n }})
	find := func(q SIPQuery) string {
		dns.yes.Store(false)
		l.dns.known.Purge()
		targets, err := l.SIP(t.Context(), q)
		if err != nil {
			return err.Error()
		}
		return list(targets)
	}
	tcp := SIPQuery{Host: "a.example", Transport: "tcp"}
	one := find(tcp)
	if got := find(tcp); got != one || dns.yes.Load() {
		t.Errorf("at once: %s, the DNS was asked: %v", got, dns.yes.Load())
	}
	if got := find(SIPQuery{Host: "a.example", Transport: "tcp", Port: 5070}); got == one {
		t.Errorf("another port: %s", got)
	}
	b.rules["a.example"] = federation.Rules{Security: federation.PlainOK, SIP: "sip:192.0.2.9;transport=tcp"}
	if got := find(tcp); got != "tcp 192.0.2.9:5060 192.0.2.9" {
		t.Errorf("the operator's word: %s", got)
	}
	b.rules["a.example"] = federation.Rules{}
	if got := find(tcp); got == one {
		t.Errorf("TLS is required: %s", got)
	}
	delete(b.rules, "a.example")
	if now = now.Add(leastTTL); find(tcp) != one || !dns.yes.Load() {
		t.Error("after a moment the DNS was not asked")
	}
	drawn := map[string]bool{}
	for range 4 {
		drawn[find(SIPQuery{Host: "w.example", Transport: "tcp"})] = true
	}
	if len(drawn) != 2 {
		t.Errorf("drawn: %v", drawn)
	}
}
