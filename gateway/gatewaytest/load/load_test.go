package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// sentRun is a run of so many pairs all of whose messages have been sent.
func sentRun(t *testing.T, pairs, n int) *run {
	t.Helper()
	from, err := url.Parse("xmpp://127.0.0.1:1/a.example")
	if err != nil {
		t.Fatal(err)
	}
	to := *from
	to.Path = "/b.example"
	x := newRun(route{number: 1, n: n, from: from, to: &to}, options{Pairs: pairs, Window: n})
	for _, p := range x.pairs {
		for more := true; more; {
			_, more = x.begin(p)
		}
	}
	return x
}

// TestCount shows that the tool sees each way in which messages can go wrong.
func TestCount(t *testing.T) {
	type arrival struct {
		to, body string
		err      error
	}
	ok := []arrival{{"r1-0@b.example", bodyOf(0, 0), nil}, {"r1-1@b.example", bodyOf(1, 0), nil}, {"r1-0@b.example", bodyOf(0, 1), nil}}
	tests := []struct {
		name string
		more []arrival
		want result
	}{
		{"all there", []arrival{{"r1-1@b.example", bodyOf(1, 1), nil}}, result{received: 4}},
		{"lost", nil, result{received: 3, lost: 1}},
		{"doubled", []arrival{{"r1-1@b.example", bodyOf(1, 1), nil}, {"r1-0@b.example", bodyOf(0, 1), nil}}, result{received: 4, doubled: 1}},
		{"damaged", []arrival{{"r1-1@b.example", bodyOf(1, 1) + "\n", nil}}, result{received: 3, lost: 1, strange: 1, errs: make([]error, 1)}},
		{"another pair's", []arrival{{"r1-1@b.example", bodyOf(0, 1), nil}}, result{received: 3, lost: 1, strange: 1, errs: make([]error, 1)}},
		{"refused", []arrival{{"s1-1@a.example", "", errors.New("404")}}, result{received: 3, lost: 1, errs: make([]error, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := sentRun(t, 2, 4)
			for _, a := range append(ok[:len(ok):len(ok)], tt.more...) {
				if a.err != nil {
					x.bounced(a.to, x.id(1, 1), "", a.err)
				} else {
					x.arrived(a.to, "", a.body, nil)
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
	x := sentRun(t, 1, 3)
	for _, i := range []int{0, 2, 1} {
		x.arrived("r1-0@b.example", "", bodyOf(0, i), nil)
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

// TestAccount shows that each fate of a message is told apart from the others.
func TestAccount(t *testing.T) {
	const to = "r1-0@b.example"
	x := sentRun(t, 1, 4)
	x.rest() // what comes from here on is late
	for more := true; more; {
		_, more = x.begin(x.pairs[0])
	}
	failure := fmt.Errorf("MESSAGE: %w", errors.New("503 busy"))
	for _, m := range []int{0, 2, 1, 1, 4} {
		x.arrived(to, "", bodyOf(0, m), nil)
	}
	for _, m := range []int{2, 5, 5} {
		x.bounced("s1-0@a.example", x.id(0, m), "", failure)
	}
	x.bounced("s1-0@a.example", "0-0-3-other", "", failure) // of another run
	x.arrived(to, "", bodyOf(0, 0)+"!", nil)

	id := func(m int) string { return x.id(0, m) }
	want := &Account{
		Sent: 8, Arrived: 4, Told: 1, Both: 1, Strange: 1,
		Silent: []string{id(3), id(6), id(7)}, Doubled: []string{id(1)}, Overtaken: []string{id(1)}, Late: []string{id(5), id(6), id(7)},
		Reasons: map[string]int{"503 busy": 2},
	}
	if got := x.account(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	x.finish()
	for _, m := range []int{3, 6, 7} {
		if closed(x.done) {
			t.Error("over while something is open")
		}
		x.bounced("s1-0@a.example", id(m), "", failure)
	}
	if !closed(x.done) {
		t.Error("not over when everything has been heard of")
	}
}
