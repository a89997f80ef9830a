package s2s_test

import (
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	"cpimgate/federation"
	"cpimgate/federation/s2s"
	"cpimgate/federation/trust/trusttest"
)

// The state of all pairs can be read.
func TestPeers(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a.example").publish(), w.start("b.example").publish()
	written(t, a.send("juliet@b.example", "x"))
	wait(t, b.got)
	out, in := a.Peers(), b.Peers()
	if len(out) != 1 || len(in) != 1 {
		t.Fatalf("%v, %v", out, in)
	}
	if s := out[0]; s.Inbound || !s.Up || s.From != "a.example" || s.To != "b.example" || s.Proof != federation.Certificate ||
		s.Auth != "EXTERNAL" || s.TLS != tls.VersionTLS13 || s.Cipher != tls.TLS_AES_128_GCM_SHA256 || s.Cert.DNSNames[0] != "b.example" || s.Queue != 0 || s.Err != nil {
		t.Errorf("outbound %+v", s)
	}
	if s := in[0]; !s.Inbound || !s.Up || s.From != "a.example" || s.To != "b.example" || s.Proof != federation.Certificate || s.TLS != tls.VersionTLS13 ||
		s.Cipher != tls.TLS_AES_128_GCM_SHA256 || s.Cert.DNSNames[0] != "a.example" {
		t.Errorf("inbound %+v", s)
	}
	var _ []s2s.Status = out
}

// The operator reads how each peer is secured, and that its certificate is another
// than before (RFC 7590, section 3.6).
func TestCertificateChange(t *testing.T) {
	w := newWorld(t)
	log := make(chan string, 100)
	d := w.start("a.example", func(s *settings) { s.s2s.Log = slog.New(slog.NewTextHandler(lines(log), nil)) })
	first, second := w.issue("b.example"), w.issue("b.example", "c.example")
	for _, c := range []struct {
		is      *trusttest.Issued
		changed bool
	}{{first, false}, {first, false}, {second, true}, {second, false}, {first, true}} {
		r := d.call().authenticate("b.example", "a.example", c.is)
		up, next := "", ""
		for up = wait(t, log); !strings.Contains(up, `msg="peer up"`); up = wait(t, log) {
		}
		if !strings.Contains(up, "peer=b.example") || !strings.Contains(up, `tls="TLS 1.3" cipher=TLS_AES_128_GCM_SHA256`) {
			t.Errorf("up: %s", up)
		}
		r.send("</stream:stream>").rest()
		if next = wait(t, log); strings.Contains(next, `msg="peer has another certificate" peer=b.example`) != c.changed {
			t.Errorf("changed: %v, log %s", c.changed, next)
		}
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }
