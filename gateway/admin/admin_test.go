package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

type status struct{ err error }

func (s *status) Healthy() error          { return s.err }
func (s *status) Load() (int, int)        { return 3, 7 }
func (s *status) Peers() map[PeerKind]int { return map[PeerKind]int{{"XMPP", "in"}: 2} }
func (s *status) Components() map[Component]bool {
	return map[Component]bool{{"sip.example", "127.0.0.1:5347"}: true, {"gw.example", "127.0.0.1:5347"}: false}
}
func (s *status) Expiry() map[string]time.Time {
	return map[string]time.Time{"gw.example": time.Unix(42, 0)}
}

func TestServer(t *testing.T) {
	defer goleak.VerifyNone(t)
	st := &status{}
	s := New(st)
	s.Ended("sip-xmpp", "delivered")
	s.Ignored("no body")
	s.Refused("SIP", "forbidden")
	s.Policy("SIP", "spoofed")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, l) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		r, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	_, body := get("/metrics")
	for _, want := range []string{
		`cpimgate_messages_total{outcome="delivered",way="sip-xmpp"} 1`,
		`cpimgate_ignored_total{why="no body"} 1`,
		`cpimgate_refused_total{kind="forbidden",wire="SIP"} 1`,
		`cpimgate_policy_total{rule="spoofed",wire="SIP"} 1`,
		`cpimgate_conversations 3`, `cpimgate_events_waiting 7`,
		`cpimgate_connections{direction="in",wire="XMPP"} 2`,
		`cpimgate_component_up{domain="sip.example",server="127.0.0.1:5347"} 1`,
		`cpimgate_component_up{domain="gw.example",server="127.0.0.1:5347"} 0`,
		`cpimgate_certificate_expiry_seconds{name="gw.example"} 42`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if code, body := get("/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "admin.(*Server).Run") {
		t.Errorf("goroutines: %d %q", code, body)
	}
	if code, _ := get("/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
	}
	st.err = errors.New("listener sip is closed")
	if code, body := get("/healthz"); code != 503 || !strings.Contains(body, "listener sip") {
		t.Errorf("healthz of a sick one: %d %q", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A public is a listener that says it is bound to an address out there.
type public struct{ net.Listener }

func (public) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9580} }

// TestProfilesAtHome shows that nobody out there can make us profile ourselves.
func TestProfilesAtHome(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- New(&status{}).Run(ctx, public{l}) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{"/healthz": 200, "/debug/pprof/": 404, "/debug/pprof/profile": 404} {
		r, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
