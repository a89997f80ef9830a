package peers

import (
	"testing"

	"github.com/miekg/dns"
)

// TestZone shows that the zone answers as peers expect: what is there, what is
// not there, what is there by another type, what is not ours, over UDP and TCP,
// and the new answer after a change.
func TestZone(t *testing.T) {
	n := New(t)
	n.Zone("_sip._udp.sip SRV 0 0 5060 a.sip\na.sip A NET.10\nalias CNAME a.sip")
	ask := func(network, name string, kind uint16) *dns.Msg {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		c := dns.Client{Net: network}
		m, _, err := c.Exchange(q, n.DNS())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tests := []struct {
		name          string
		kind          uint16
		rcode, answer int
	}{
		{"a.sip.example.", dns.TypeA, dns.RcodeSuccess, 1},
		{"A.SIP.example.", dns.TypeA, dns.RcodeSuccess, 1},
		{"a.sip.example.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"_sip._udp.sip.example.", dns.TypeSRV, dns.RcodeSuccess, 1},
		{"_udp.sip.example.", dns.TypeSRV, dns.RcodeSuccess, 0}, // there are names below it (RFC 8020)
		{"alias.example.", dns.TypeA, dns.RcodeSuccess, 1},
		{"b.sip.example.", dns.TypeA, dns.RcodeNameError, 0},
		{"example.com.", dns.TypeA, dns.RcodeRefused, 0},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			m := ask(network, tt.name, tt.kind)
			if m.Rcode != tt.rcode || len(m.Answer) != tt.answer {
				t.Errorf("%s %s over %s: got %v", tt.name, dns.TypeToString[tt.kind], network, m)
			}
		}
	}
	n.Zone("b.sip A NET.11")
	if m := ask("udp", "b.sip.example.", dns.TypeA); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != n.Addr(11).String() {
		t.Errorf("after the change: %v", m)
	}
	if m := ask("udp", "a.sip.example.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("after the change: %v", m)
	}
}
