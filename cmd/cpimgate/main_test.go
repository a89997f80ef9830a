package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cpimgate/federation/trust/trusttest"
	"cpimgate/gateway/config"
)

// TestExample: the file that we hand out is one that we take.
func TestExample(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"fullchain.pem", "privkey.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(dir, "cpimgate.yaml"), []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Home("example.com"); !ok {
		t.Error("it has lost its domain")
	}
}

// TestConfigCheck: a certificate that does not prove a domain of ours is found
// before a peer finds it (XF-43).
func TestConfigCheck(t *testing.T) {
	ca, err := trusttest.NewCA("authority")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		names []string
		good  bool
	}{{[]string{"example.com"}, true}, {[]string{"gw.example.com"}, false}} {
		dir := t.TempDir()
		if _, _, _, err := ca.Files(dir, trusttest.Options{DNS: tt.names}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "cpimgate.yaml")
		yaml := "domains: {example.com: {users: sip}}\ntls: {cert: cert.pem, key: key.pem}\n"
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkCommand{fileFlag{file}}.Run()
		if (err == nil) != tt.good || err != nil && !strings.Contains(err.Error(), "example.com") {
			t.Errorf("a certificate for %v: %v", tt.names, err)
		}
	}
}

// TestComponentSettings: show tells in which file a secret stands, and never the
// secret; check tells who else can read it. A gateway name that is a component
// needs no certificate.
func TestComponentSettings(t *testing.T) {
	dir := t.TempDir()
	ca, err := trusttest.NewCA("authority")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := ca.Files(dir, trusttest.Options{DNS: []string{"example.net"}}); err != nil {
		t.Fatal(err)
	}
	yaml := `domains:
  example.net:
    users: xmpp
    gateway: gw.example.net
    components:
      gw.example.net: {server: "127.0.0.1:5347", secret_file: component}
tls: {cert: cert.pem, key: key.pem}
`
	for name, text := range map[string]string{"cpimgate.yaml": yaml, "component": "s3cr3t\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "component"), 0o604); err != nil {
		t.Fatal(err)
	}
	file := fileFlag{filepath.Join(dir, "cpimgate.yaml")}
	if text := printed(t, &os.Stdout, showCommand{file}.Run); strings.Contains(text, "s3cr3t") || !strings.Contains(text, filepath.Join(dir, "component")) {
		t.Errorf("show prints %s", text)
	}
	text := printed(t, &os.Stderr, checkCommand{file}.Run)
	if want := "warning: " + file.Config + ":6:50: everybody on this machine can read"; !strings.Contains(text, want) {
		t.Errorf("check prints %s, want %s", text, want)
	}
}

// printed returns what a command writes to a file.
func printed(t *testing.T, to **os.File, run func() error) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was := *to
	*to = f
	err = run()
	*to = was
	if err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
