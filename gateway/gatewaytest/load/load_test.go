package main

import (
	"bufio"
	"errors"
	"net/url"
	"strings"
	"testing"
)

// TestCount shows that the tool sees each way in which messages can go wrong.
func TestCount(t *testing.T) {
	type arrival struct {
		user, body string
		err        error
	}
	ok := []arrival{{"r1-0", bodyOf(0, 0), nil}, {"r1-1", bodyOf(1, 0), nil}, {"r1-0", bodyOf(0, 1), nil}}
	tests := []struct {
		name string
		more []arrival
		want result
	}{
		{"all there", []arrival{{"r1-1", bodyOf(1, 1), nil}}, result{received: 4}},
		{"lost", nil, result{received: 3, lost: 1}},
		{"doubled", []arrival{{"r1-1", bodyOf(1, 1), nil}, {"r1-0", bodyOf(0, 1), nil}}, result{received: 4, doubled: 1}},
		{"damaged", []arrival{{"r1-1", bodyOf(1, 1) + "\n", nil}}, result{received: 3, lost: 1, strange: 1, errs: make([]error, 1)}},
		{"another pair's", []arrival{{"r1-1", bodyOf(0, 1), nil}}, result{received: 3, lost: 1, strange: 1, errs: make([]error, 1)}},
		{"refused", []arrival{{"s1-1", "", errors.New("404")}}, result{received: 3, lost: 1, errs: make([]error, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newRun(route{number: 1, n: 4}, options{Pairs: 2, Window: 4})
			for _, a := range append(ok[:len(ok):len(ok)], tt.more...) {
				if a.err != nil {
					x.bounced(a.user, a.body, a.err)
				} else {
					x.arrived(a.user, a.body, nil)
				}
			}
			got := x.result(1)
			tt.want.sent = 4
			if got.received != tt.want.received || got.lost != tt.want.lost || got.doubled != tt.want.doubled ||
				got.disordered != 0 || got.strange != tt.want.strange || len(got.errs) != len(tt.want.errs) {
				t.Errorf("got %v", got)
			}
			if bad := got.verdict() != nil; bad != (tt.name != "all there") {
				t.Errorf("verdict %v", got.verdict())
			}
		})
	}
}

// TestCountOrder shows that a message which overtakes another is seen.
func TestCountOrder(t *testing.T) {
	x := newRun(route{number: 1, n: 3}, options{Pairs: 1, Window: 4})
	for _, i := range []int{0, 2, 1} {
		x.arrived("r1-0", bodyOf(0, i), nil)
	}
	if got := x.result(1); got.disordered == 0 || got.verdict() == nil {
		t.Errorf("got %v", got)
	}
}

// TestLoopbackOnly shows that the tool cannot be aimed at others.
func TestLoopbackOnly(t *testing.T) {
	for _, s := range []string{"sip+udp://192.0.2.1:5060/x.example", "xmpp://xmpp.example:5223/x.example", "sip+udp://127.0.0.1/x.example", "s2s://127.0.0.1:1/x.example?listen=:5269"} {
		if _, err := end(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	u, err := end("s2s://127.7.1.1:5270/x.example?listen=127.7.1.30:5270")
	if err != nil || domainOf(u) != "x.example" {
		t.Errorf("got %v, %v", u, err)
	}
	if _, err := end((&url.URL{Scheme: "s2s", Host: "[::1]:5270", Path: "/x.example"}).String()); err != nil {
		t.Error(err)
	}
}

// FuzzReadSIP reads what is no SIP, and reads again what it would answer.
func FuzzReadSIP(f *testing.F) {
	f.Add("\r\n\r\nMESSAGE sip:r1-0@sip.example SIP/2.0\r\nv: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa;rport\r\nf: <sip:a@b>;tag=1\r\nt: <sip:c@d>\r\ni: 1\r\nCSeq: 1 MESSAGE\r\nl: 2\r\n\r\nhi")
	f.Add("SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKb, SIP/2.0/UDP i;branch=c\r\nContent-Length: 0\r\n\r\n")
	f.Add("SIP/2.0 2\r\nContent-Length: -1\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readSIP(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		again, err := readSIP(bufio.NewReader(strings.NewReader(string(m.answer()))))
		if err != nil {
			t.Fatalf("our answer does not read: %v", err)
		}
		if again.status() != 200 || again.branch() != m.branch() {
			t.Errorf("answer %q to %q", again.start, m.start)
		}
	})
}
