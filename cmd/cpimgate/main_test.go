package main

import (
	"os"
	"path/filepath"
	"testing"

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
