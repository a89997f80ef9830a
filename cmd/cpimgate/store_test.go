package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cpimgate/gateway"
	"cpimgate/gateway/config"
	"cpimgate/gateway/store"
)

// TestStoreCommands: what one store holds comes into another by a file; a store
// that a gateway uses is left alone.
func TestStoreCommands(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	backup := filepath.Join(dir, "backup")
	open := func(name string) (*store.Store, fileFlag) {
		file := filepath.Join(dir, name+".yaml")
		yaml := "domains: {example.com: {users: sip}}\ntls: {cert: cert.pem, key: key.pem}\nstore: {dir: " + name + "}\n"
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		settings, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), gateway.StoreConfig(settings, nil))
		if err != nil {
			t.Fatal(err)
		}
		return s, fileFlag{file}
	}
	one, file := open("one")
	if _, err := one.Put(t.Context(), "talk.a", []byte("hark")); err != nil {
		t.Fatal(err)
	}
	if err := (backupCommand{file, backup}).Run(t.Context()); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a store in use: %v", err)
	}
	one.Close()
	if err := (backupCommand{file, backup}).Run(t.Context()); err != nil {
		t.Error(err)
	}

	two, file := open("two")
	two.Close()
	if err := (restoreCommand{file, backup}).Run(t.Context()); err != nil {
		t.Error(err)
	}
	two, _ = open("two")
	defer two.Close()
	if e, err := two.Get(t.Context(), "talk.a"); err != nil || string(e.Value) != "hark" {
		t.Errorf("%q, %v", e.Value, err)
	}
}
