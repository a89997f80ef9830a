package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/locate"
	"cpimgate/gateway/config"
)

// TestWhy: what an operator reads of errors that every system spells otherwise.
func TestWhy(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, "nothing was said"},
		{fmt.Errorf("reading: %w", context.DeadlineExceeded), "no answer in time"},
		{os.ErrDeadlineExceeded, "no answer in time"},
		{dial(syscall.ETIMEDOUT), "no answer in time"},
		{fault.Wrap(fault.Timeout, dial(syscall.ECONNREFUSED), "cannot be reached"), "the connection is refused"},
		{dial(syscall.ENETUNREACH), "there is no way to the address"},
		{dial(syscall.EHOSTUNREACH), "there is no way to the address"},
		{io.ErrUnexpectedEOF, "it closes the connection"},
		{dial(syscall.ECONNRESET), "it closes the connection"},
		{fault.Wrap(fault.Forbidden, errors.New("tls: no cipher suite"), "no TLS that both ends trust"), "tls: no cipher suite"},
		{fault.E(fault.Forbidden, "the far server offers no encryption"), "the far server offers no encryption"},
	} {
		if got := why(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// TestRefused: an alert about our certificate is told from other alerts.
func TestRefused(t *testing.T) {
	for text, want := range map[string]bool{
		"tls: certificate required": true, "tls: bad certificate": true, "tls: unknown certificate authority": true, "tls: handshake failure": false,
	} {
		if got := refused(fault.Wrap(fault.Forbidden, &net.OpError{Op: "remote error", Err: errors.New(text)}, "no TLS")); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if refused(&net.OpError{Op: "dial", Err: errors.New("tls: bad certificate")}) || refused(tls.RecordHeaderError{}) || refused(nil) {
		t.Error("what is no alert is taken for one")
	}
}

// TestFirst: what keeps all messages out comes first, what only may become a
// problem last.
func TestFirst(t *testing.T) {
	works, soon := Target{Works: true, Reached: true}, Target{Works: true, Reached: true, Fix: "soon"}
	dead := func(fix string) Target { return Target{Fix: fix} }
	for _, tt := range []struct {
		name      string
		sip, xmpp Wire
		want      string
	}{
		{"all works", Wire{Targets: []Target{works}}, Wire{Targets: []Target{works}}, ""},
		{"one wire is none", Wire{}, Wire{Targets: []Target{works}}, ""},
		{"a wire without a target that works", Wire{Targets: []Target{soon}}, Wire{Targets: []Target{dead("first"), dead("second")}}, "first"},
		{"before a target that can be done without", Wire{Targets: []Target{works, dead("spare")}}, Wire{Targets: []Target{dead("whole")}}, "whole"},
		{"a target that can be done without", Wire{Targets: []Target{works, dead("spare")}}, Wire{Targets: []Target{works}}, "spare"},
		{"soon", Wire{Targets: []Target{works}}, Wire{Targets: []Target{soon}}, "soon"},
		{"guesses, of which one is right", Wire{Guessed: true, Targets: []Target{dead("guess")}}, Wire{Guessed: true, Targets: []Target{works}}, ""},
	} {
		l := &look{Config: Config{Settings: &config.Config{}}, domain: "a.example", rules: federation.Rules{Allow: true}}
		r := &Report{SIP: tt.sip, XMPP: tt.xmpp}
		if l.conclude(r, nil); r.Fix != tt.want || r.Fine != (tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.name, r.Fix, tt.want)
		}
	}
}

// TestFrom: in whose name we ask.
func TestFrom(t *testing.T) {
	for _, tt := range []struct {
		homes, domain, sip, xmpp string
	}{
		{"{s.example: {users: sip}}", "a.example", "s.example", "s.example"},
		{"{x.example: {users: xmpp, gateway: gw.x.example}}", "a.example", "x.example", "gw.x.example"},
		{"{x.example: {users: xmpp, gateway: gw.x.example}}", "x.example", "", "gw.x.example"},
		{"{s.example: {users: sip}}", "s.example", "", ""},
	} {
		dir := t.TempDir()
		for _, name := range []string{"c", "k"} {
			if err := os.WriteFile(dir+"/"+name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := config.Parse(dir+"/cpimgate.yaml", []byte("domains: "+tt.homes+"\ntls: {cert: c, key: k}\n"))
		if err != nil {
			t.Fatal(err)
		}
		l := &look{Config: Config{Settings: c}, domain: tt.domain}
		if sip, xmpp := l.from(federation.SIP), l.from(federation.XMPP); sip != tt.sip || xmpp != tt.xmpp {
			t.Errorf("%s to %s: from %q and %q, want %q and %q", tt.homes, tt.domain, sip, xmpp, tt.sip, tt.xmpp)
		}
	}
}

// TestLookStops: a look ends with its context, whatever hangs.
func TestLookStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	zone, err := locate.NewStatic(fmt.Sprintf("_sips._tcp.a.example. SRV 0 0 %d a.example.\na.example. A 127.0.0.1\n", l.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := Look(ctx, Config{Resolver: zone}, "a.example")
	if err != nil || r.Fine || r.SIP.Used != 0 {
		t.Errorf("%v %+v", err, r)
	}
}
