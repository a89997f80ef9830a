package federation

import (
	"net/netip"
	"strings"
	"testing"

	"cpimgate/cpim/fault"
)

// TestDomain: one spelling for one name, and none for what is no name (RFC
// 5890, section 2.3.2.1; RFC 1035).
func TestDomain(t *testing.T) {
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	long := strings.TrimSuffix(strings.Repeat(label63+".", 4), ".")
	tests := []struct{ name, in, want string }{
		{"plain", "example.com", "example.com"},
		{"upper", "EXAMPLE.Com", "example.com"},
		{"final-dot", "example.com.", "example.com"},
		{"two-final-dots", "example.com..", ""},
		{"one-label", "localhost", "localhost"},
		{"digits", "3.example", "3.example"},
		{"u-label", "Bücher.example", "xn--bcher-kva.example"},
		{"a-label", "XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"sharp-s", "faß.example", "xn--fa-hia.example"},
		{"ideographic-dot", "example。com。", "example.com"},
		{"bad-a-label", "xn--a.example", ""},
		{"label-63", label63 + ".example", label63 + ".example"},
		{"label-64", label64 + ".example", ""},
		{"label-64-mapped", "A" + label63 + ".example", ""},
		{"name-255", long, ""},
		{"name-1100", strings.Repeat("ü.", 370) + "example", ""},
		{"empty", "", ""},
		{"dot", ".", ""},
		{"leading-dot", ".example", ""},
		{"two-dots", "a..example", ""},
		{"leading-hyphen", "-a.example", ""},
		{"final-hyphen", "a.example-", ""},
		{"underscore", "_sip.example", ""},
		{"wildcard", "*.example", ""},
		{"user", "a@example", ""},
		{"nul", "a.example\x00.b", ""},
		{"ipv4", "192.0.2.1", ""},
		{"ipv4-wide-digits", "１９２.0.2.1", ""},
		{"ipv6", "2001:db8::1", ""},
		{"ipv6-brackets", "[2001:db8::1]", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Domain(tt.in)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("Domain(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
			if err != nil && fault.KindOf(err) != fault.Malformed {
				t.Errorf("kind is %v", fault.KindOf(err))
			}
		})
	}
}

// FuzzDomain: what we accept is its own spelling.
func FuzzDomain(f *testing.F) {
	for _, s := range []string{"example.com", "Bücher.example.", "xn--bcher-kva", "a..b", "１.2.3.4", "ﬀ.example", "a.b。。", "-", "ا.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Domain(s)
		if err != nil {
			return
		}
		if again, err := Domain(d); again != d || err != nil {
			t.Errorf("Domain(%q) = %q, and of that %q, %v", s, d, again, err)
		}
		if _, err := netip.ParseAddr(d); err == nil || strings.ContainsAny(d, "@/ \x00*_ABC") {
			t.Errorf("Domain(%q) = %q", s, d)
		}
	})
}

// TestLiteral: which hosts are addresses, however they are spelled.
func TestLiteral(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "[2001:db8::a]": "2001:db8::a", "2001:DB8::A": "2001:db8::a", "::ffff:192.0.2.1": "192.0.2.1",
		"": "", "[]": "", "a.example": "", "1.example": "", "example.1": "", "192.0.2": "", "fe80::1%eth0": "", "a:b": "", "192.0.2.1.": "", "[192.0.2.1": "",
	} {
		got, ok := Literal(host)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %v %v, want %q", host, got, ok, want)
		}
	}
}

// TestSpeaksFor: a peer speaks for the domains that it has proved, in any
// spelling, and for nobody before (RES-20).
func TestSpeaksFor(t *testing.T) {
	p := Peer{Domains: []string{"example.com", "xn--bcher-kva.example"}, Proof: Certificate}
	for _, d := range []string{"example.com", "Example.COM.", "bücher.example"} {
		if !p.SpeaksFor(d) {
			t.Errorf("not for %s", d)
		}
	}
	for _, d := range []string{"", "com", "a.example.com", "example.com.evil.example", "*.example.com"} {
		if p.SpeaksFor(d) {
			t.Errorf("for %q", d)
		}
	}
	p.Proof = Claimed
	if p.SpeaksFor("example.com") {
		t.Error("without proof")
	}
}

// TestProofOrder: a larger proof is a stronger one; admission compares them.
func TestProofOrder(t *testing.T) {
	list := []Proof{Claimed, Address, Dialback, Certificate}
	for i, p := range list {
		if int(p) != i || p.String() == "" {
			t.Errorf("%v is number %d, not %d", p, p, i)
		}
	}
}

// TestSecurity: the configuration's spelling, and that the strictest is what
// nobody wrote (D-73).
func TestSecurity(t *testing.T) {
	var zero Security
	if zero != Required {
		t.Error("the default is not required")
	}
	for _, s := range []Security{Required, DialbackOK, PlainOK} {
		var back Security
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%v came back as %v, %v", s, back, err)
		}
	}
	if err := zero.UnmarshalText([]byte("plain")); fault.KindOf(err) != fault.Malformed || !strings.Contains(err.Error(), "dialback-ok") {
		t.Errorf("an unknown word: %v", err)
	}
}

// TestStrings: peers and targets as a log line has them.
func TestStrings(t *testing.T) {
	addr := netip.MustParseAddrPort("[2001:db8::1]:5061")
	for got, want := range map[string]string{
		Peer{Addr: addr}.String(): "[2001:db8::1]:5061",
		Peer{Addr: addr, Domains: []string{"a.example", "b.example"}}.String():                  "a.example,b.example",
		Target{Domain: "a.example", Host: "sip.a.example", Addr: addr, Transport: TLS}.String(): "sip.a.example ([2001:db8::1]:5061, tls)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
