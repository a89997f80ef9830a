package trust

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
	"cpimgate/federation/trust/trusttest"
)

// clock is a time that a test moves.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// touch gives a file another time, as if it had been written later.
func touch(t *testing.T, file string, after time.Duration) {
	t.Helper()
	at := time.Now().Add(after)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// TestReload: a changed certificate is used without a restart; while the new
// one is bad the old one stays in use and the log says so; files are not looked
// at more than once a second.
func TestReload(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	dir := t.TempDir()
	cert, key, _, err := ca.Files(dir, trusttest.Options{DNS: []string{"one.example"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Now()}
	var log bytes.Buffer
	s := must(New(Config{Roots: ca.Pool(), Pairs: []Pair{{cert, key}}, Now: c.now, Log: slog.New(slog.NewTextHandler(&log, nil))}))(t)
	name := func() string {
		t.Helper()
		_, ss, cerr, serr := handshake(t, s.Client(federation.SIP, "us.example", "any.example"), s.Server(federation.SIP))
		if serr == nil && cerr == nil {
			t.Fatal("a wrong name was taken", ss.ServerName)
		}
		return s.Expiry()[0].Names[0]
	}
	if got := name(); got != "one.example" {
		t.Fatal(got)
	}
	second := must(ca.Issue(trusttest.Options{DNS: []string{"two.example"}}))(t)
	write(t, cert, second.CertPEM)
	touch(t, cert, time.Minute)
	if got := name(); got != "one.example" || strings.Contains(log.String(), "stays in use") {
		t.Error("looked at within a second:", got, log.String())
	}
	c.Time = c.Add(2 * time.Second)
	if got := name(); got != "one.example" || !strings.Contains(log.String(), "stays in use") {
		t.Errorf("certificate without its key: %s, log %q", got, log.String())
	}
	log.Reset()
	c.Time = c.Add(2 * time.Second)
	if name(); strings.Contains(log.String(), "stays in use") {
		t.Error("said twice for one change")
	}
	write(t, key, second.KeyPEM)
	touch(t, key, time.Minute)
	c.Time = c.Add(2 * time.Second)
	if got := name(); got != "two.example" {
		t.Error("after both files have changed:", got)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	c.Time = c.Add(2 * time.Second)
	if got := name(); got != "two.example" {
		t.Error("after the file was removed:", got)
	}
}

// TestReloadRoots: authorities too are read again.
func TestReloadRoots(t *testing.T) {
	one, two := must(trusttest.NewCA("one"))(t), must(trusttest.NewCA("two"))(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	write(t, file, one.PEM)
	c := &clock{time.Now()}
	s := must(New(Config{Roots: must(trusttest.NewCA("system"))(t).Pool(), Now: c.now,
		Book: book{rules: map[string]federation.Rules{"a.example": {CAFile: file}}}}))(t)
	cs := shown(t, must(two.Issue(trusttest.Options{DNS: []string{"a.example"}}))(t))
	if err := s.Verify(federation.XMPP, cs, "a.example"); checkOf(err) != Authority {
		t.Fatal(err)
	}
	write(t, file, two.PEM)
	touch(t, file, time.Minute)
	c.Time = c.Add(2 * time.Second)
	if err := s.Verify(federation.XMPP, cs, "a.example"); err != nil {
		t.Error(err)
	}
}

// TestNew: what is wrong with a file is said at the start, with its name.
func TestNew(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	dir := t.TempDir()
	cert, key, root, err := ca.Files(dir, trusttest.Options{DNS: []string{"one.example"}})
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	for _, tt := range []struct {
		cfg  Config
		file string
	}{
		{Config{Pairs: []Pair{{missing, key}}}, missing},
		{Config{Pairs: []Pair{{cert, missing}}}, missing},
		{Config{Pairs: []Pair{{cert, root}}}, root},
		{Config{CAFile: missing}, missing},
		{Config{CAFile: key}, key},
	} {
		tt.cfg.Roots = ca.Pool()
		if _, err := New(tt.cfg); fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), tt.file) {
			t.Errorf("%v does not name %s", err, tt.file)
		}
	}
	if _, err := New(Config{Roots: ca.Pool(), Certs: []tls.Certificate{{}}}); err == nil {
		t.Error("an empty certificate is taken")
	}
}

// TestExpiry: what a metric needs, and a warning two weeks ahead.
func TestExpiry(t *testing.T) {
	ca := must(trusttest.NewCA("authority"))(t)
	end := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	cert, key, _, err := ca.Files(t.TempDir(), trusttest.Options{DNS: []string{"one.example", "*.one.example"}, NotAfter: end})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := must(New(Config{Roots: ca.Pool(), Pairs: []Pair{{cert, key}}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Certs: []tls.Certificate{must(ca.Issue(trusttest.Options{SIPURI: []string{"sip:two.example"}}))(t).TLS}}))(t)
	list := s.Expiry()
	if len(list) != 2 || list[0].File != cert || !list[0].NotAfter.Equal(end) || len(list[0].Names) != 2 || list[1].File != "" || list[1].Names[0] != "sip:two.example" {
		t.Errorf("%+v", list)
	}
	if n := strings.Count(log.String(), "ends soon"); n != 1 || !strings.Contains(log.String(), "one.example") {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}
