package locate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

const speaksZone = `
$ORIGIN example.
host   A 127.0.0.1
sip    A 127.0.0.9
_sips._tcp.sip SRV 0 0 5061 host
xmpp   A 127.0.0.9
_xmpp-server._tcp.xmpp SRV 0 0 5269 host
direct A 127.0.0.9
_xmpps-server._tcp.direct SRV 0 0 5270 host
both   A 127.0.0.9
_sips._tcp.both SRV 0 0 5061 host
_xmpp-server._tcp.both SRV 0 0 5269 host
im     A 127.0.0.9
_im._sip.im SRV 0 0 5061 host
web    A 127.0.0.8
mail   MX 10 host
plain  A 127.0.0.9
_sip._tcp.plain SRV 0 0 5060 host
home   A 127.0.0.7
lab    A 127.0.0.9
_xmpp-server._tcp.lab SRV 0 0 5269 host
nosip  A 127.0.0.9
_sips._tcp.nosip SRV 0 0 0 .
_xmpp-server._tcp.nosip SRV 0 0 5269 host
`

// TestSpeaks: what is spoken where, and which of it somebody uses who speaks
// SIP or XMPP (RFC 7247, section 5; RES-01, 02, 03, 05, 11, 13).
func TestSpeaks(t *testing.T) {
	b := book{
		homes: []federation.Home{{Domain: "home.example", Users: federation.SIP}},
		rules: map[string]federation.Rules{"lab.example": {SIP: "sips:host.example"}},
	}
	const sips, xmpp = "tls 127.0.0.1:5061 host.example", "tcp 127.0.0.1:5269 host.example"
	tests := []struct {
		domain, broken   string
		fromSIP, fromXMP string // wire and target, or kind and text
	}{
		{"sip.example", "", "SIP " + sips, "SIP " + sips},
		{"xmpp.example", "", "XMPP " + xmpp, "XMPP " + xmpp},
		{"direct.example", "", "XMPP tls 127.0.0.1:5270 host.example", "XMPP tls 127.0.0.1:5270 host.example"},
		{"both.example", "", "SIP " + sips, "XMPP " + xmpp},
		{"im.example", "", "SIP " + sips, "SIP " + sips},
		{"web.example", "", "SIP tls 127.0.0.8:5061 web.example", "XMPP tcp 127.0.0.8:5269 web.example"},
		{"mail.example", "", "no-route: domain offers no SIP or XMPP service", "no-route: domain offers no SIP or XMPP service"},
		{"plain.example", "", "no-route: domain offers no SIP or XMPP service", "XMPP tcp 127.0.0.9:5269 plain.example"},
		{"home.example", "", "SIP tls 127.0.0.7:5061 home.example", "SIP tls 127.0.0.7:5061 home.example"},
		{"lab.example", "", "SIP " + sips, "SIP " + sips},
		{"nosip.example", "", "XMPP " + xmpp, "XMPP " + xmpp},
		{"nobody.example", "", "no-route: domain does not exist", "no-route: domain does not exist"},
		{"sip.example", "sip.example", "timeout: domain cannot be resolved", "timeout: domain cannot be resolved"},
		{"both.example", "_xmpp-server._tcp.both.example", "SIP " + sips, "timeout: domain cannot be resolved"},
		{"both.example", "_sips._tcp.both.example", "timeout: domain cannot be resolved", "XMPP " + xmpp},
		{"127.0.0.1", "", "no-route: an IP address is no domain", "no-route: an IP address is no domain"},
		{"a b", "", "malformed: not a domain name", "malformed: not a domain name"},
	}
	for _, tt := range tests {
		t.Run(tt.domain+tt.broken, func(t *testing.T) {
			l, z := locator(t, speaksZone, b)
			if tt.broken != "" {
				z.Break(tt.broken)
			}
			s, failed := l.Speaks(t.Context(), tt.domain)
			for from, want := range map[federation.Wire]string{federation.SIP: tt.fromSIP, federation.XMPP: tt.fromXMP} {
				w, targets, err := s.Choose(from)
				got := string(w) + " " + list(targets)
				if err != nil {
					got = fault.KindOf(err).String() + ": " + fault.TextOf(err)
				}
				if got != want {
					t.Errorf("from %s: %s, want %s\n%v", from, got, want, err)
				}
			}
			if none := !strings.Contains(tt.fromSIP+tt.fromXMP, "127.0.0.") || tt.domain == "127.0.0.1"; none != (failed != nil) {
				t.Errorf("Speaks: %v", failed)
			}
		})
	}
}

// TestWhy: each answer can be explained, with the records that it rests on.
func TestWhy(t *testing.T) {
	l, _ := locator(t, speaksZone, nil)
	for domain, want := range map[string][]string{
		"both.example":  {"SIP: SRV _sips._tcp.both.example: host.example port 5061", "SIP: target 1 is host.example (127.0.0.1:5061, tls)", "XMPP: target 1 is"},
		"plain.example": {"plain.example offers SIP without TLS only", "plain-ok"},
		"nosip.example": {"SIP: SRV _sips._tcp.nosip.example says that the service is not offered"},
		"web.example":   {"XMPP: no SRV _xmpp-server._tcp.web.example", "no service records"},
	} {
		s, err := l.Speaks(t.Context(), domain)
		if err != nil {
			t.Error(domain, err)
		}
		why := strings.Join(s.Why, "\n")
		for _, w := range want {
			if !strings.Contains(why, w) {
				t.Errorf("%s: %q is missing in\n%s", domain, w, why)
			}
		}
	}
}

// TestOrderDraw: the order that a sequence of draws gives, by the text of RFC
// 2782 ("Usage rules").
func TestOrderDraw(t *testing.T) {
	choices := []choice{
		{Record: Record{Priority: 10, Weight: 60, Target: "c"}}, {Record: Record{Priority: 10, Weight: 40, Target: "b"}},
		{Record: Record{Priority: 10, Weight: 0, Target: "a"}}, {Record: Record{Priority: 5, Weight: 0, Target: "first"}},
		{Record: Record{Priority: 20, Target: ""}},
	}
	for _, tt := range []struct {
		draws []int // for each of the four picks
		sums  []int // what each was drawn from, inclusive
		want  string
	}{
		{[]int{0, 0, 0, 0}, []int{0, 100, 100, 40}, "first a c b"},
		{[]int{0, 1, 61, 0}, []int{0, 100, 40, 0}, "first c b a"},
		{[]int{0, 100, 0, 60}, []int{0, 100, 60, 60}, "first b a c"},
	} {
		i := 0
		var got []string
		for _, c := range order(choices, func(n int) int {
			if n != tt.sums[i]+1 {
				t.Errorf("draw %d of %d, want %d", i, n, tt.sums[i]+1)
			}
			i++
			return min(tt.draws[i-1], n-1)
		}) {
			got = append(got, c.Target)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v gives %v, want %s", tt.draws, got, tt.want)
		}
	}
}

// TestOrderWeights: over many draws each record comes first as often as its
// weight says, within five standard deviations of a fixed sequence. RFC 2782
// draws from 0 to the sum, so that the first of the list has one more.
func TestOrderWeights(t *testing.T) {
	choices := []choice{{Record: Record{Weight: 100, Target: "a"}}, {Record: Record{Weight: 300, Target: "b"}}, {Record: Record{Weight: 600, Target: "c"}}}
	random := rand.New(rand.NewPCG(1, 2)).IntN
	const n = 10_000
	first := map[string]int{}
	for range n {
		sorted := order(slices.Clone(choices), random)
		if len(sorted) != 3 {
			t.Fatal(sorted)
		}
		first[sorted[0].Target]++
	}
	for target, share := range map[string]float64{"a": 101. / 1001, "b": 300. / 1001, "c": 600. / 1001} {
		if off := math.Abs(float64(first[target]) - n*share); off > 5*math.Sqrt(n*share*(1-share)) {
			t.Errorf("%s came first %d times of %d", target, first[target], n)
		}
	}
}

// TestParse: servers as an operator writes them.
func TestParse(t *testing.T) {
	for in, want := range map[string]SIPQuery{
		"sip:proxy.example":                  {Host: "proxy.example"},
		"SIPS:proxy.example:5071":            {Host: "proxy.example", Port: 5071, Secure: true},
		"sip:proxy.example;transport=TLS":    {Host: "proxy.example", Transport: "tls"},
		"sip:10.0.0.7:5060;lr;transport=tcp": {Host: "10.0.0.7", Port: 5060, Transport: "tcp"},
		"sip:[2001:db8::1]:5060":             {Host: "2001:db8::1", Port: 5060},
		"sip:[2001:db8::1]":                  {Host: "[2001:db8::1]"},
		"proxy.example:5060":                 {Host: "proxy.example", Port: 5060},
		"proxy.example":                      {Host: "proxy.example"},
	} {
		if got, err := ParseSIP(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "sip:", "sip:a@b.example", "sip:b.example:0", "sip:b.example:65536", "sip:b.example:x", "sip:b example", "sip:b.example?x=y", "http://b.example"} {
		if got, err := ParseSIP(in); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{"xmpp.example": "xmpp.example 5269", "Xmpp.example:5270": "xmpp.example 5270", "[::1]:1": "::1 1", "127.0.0.1": "127.0.0.1 5269"} {
		host, port, err := ParseXMPP(in)
		if got := fmt.Sprint(host, " ", port); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", ":5269", "xmpp.example:0", "xmpp.example:x", "a@b.example", "sip:xmpp.example"} {
		if host, _, err := ParseXMPP(in); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %s, %v", in, host, err)
		}
	}
}

// TestPublishes: im and pres each need a record that leads somewhere, and a DNS
// that fails says nothing.
func TestPublishes(t *testing.T) {
	z, err := NewStatic("_im._sip.a.example. SRV 0 0 5061 h.a.example.\n_im._sip.b.example. SRV 0 0 0 .\n")
	if err != nil {
		t.Fatal(err)
	}
	z.Break("broken.example")
	l := New(Config{Resolver: z})
	for _, tt := range []struct {
		scheme, domain string
		want           bool
	}{
		{"im", "a.example", true}, {"pres", "a.example", false}, {"im", "b.example", false}, {"im", "c.example", false}, {"im", "broken.example", false},
	} {
		if got := l.Publishes(t.Context(), tt.scheme, tt.domain); got != tt.want {
			t.Errorf("%s of %s: %v", tt.scheme, tt.domain, got)
		}
	}
}
