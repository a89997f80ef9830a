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
