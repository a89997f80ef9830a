package store

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// records returns all that a store holds.
func records(t *testing.T, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := s.List(t.Context(), "", func(e Entry) error { all[e.Key] = string(e.Value); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestBackup: a backup made of either kind of store goes into either, byte for
// byte.
func TestBackup(t *testing.T) {
	each(t, func(t *testing.T, s *Store, _ Config) {
		for i := range 100 {
			must(s.Put(t.Context(), fmt.Sprint("talk.", i), fmt.Append(nil, "\x00\xff record ", i)))(t)
		}
		must(s.Put(t.Context(), "talk.large", bytes.Repeat([]byte("x"), MaxValue)))(t)
		if err := s.Delete(t.Context(), "talk.7", 0); err != nil {
			t.Fatal(err)
		}
		want := records(t, s)
		file := filepath.Join(t.TempDir(), "backup")
		if n, err := s.Backup(t.Context(), file); n != 100 || err != nil {
			t.Fatalf("%d records, %v", n, err)
		}
		if info := must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("others may read it: %v", info.Mode())
		}
		if _, err := s.Backup(t.Context(), file); err == nil || !strings.Contains(err.Error(), "there already") {
			t.Errorf("over another file: %v", err)
		}
		for _, k := range kinds {
			cfg := k.open(t)
			if n, err := Restore(t.Context(), cfg, file); n != 100 || err != nil {
				t.Fatalf("into %s: %d records, %v", k.name, n, err)
			}
			if _, err := Restore(t.Context(), cfg, file); err == nil || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("over records: %v", err)
			}
			copied := must(Open(t.Context(), cfg))(t)
			if got := records(t, copied); !maps.Equal(got, want) {
				t.Errorf("into %s: %d records, want %d", k.name, len(got), len(want))
			}
			copied.Close()
		}
	})
}

// packed returns a file of lines as a backup is packed.
func packed(lines string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, lines)
	z.Close()
	return b.Bytes()
}

const backupHead = `{"backup":"cpimgate store","format":1,"made":"2026-01-01T00:00:00Z"}` + "\n"

// TestBadBackup: what is no whole backup of ours is refused, and leaves the
// store as it was.
func TestBadBackup(t *testing.T) {
	good := packed(backupHead + `{"key":"talk.a","value":"eA=="}` + "\n" + `{"end":true,"count":1}` + "\n")
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1
	for _, tt := range []struct {
		name, want string
		file       []byte
	}{
		{"nothing", "no backup", nil},
		{"text", "no backup", []byte("talk.a = x\n")},
		{"another gzip file", "no backup", packed("{}\n")},
		{"a newer one", "newer cpimgate (format 2, this one knows 1)", packed(strings.Replace(backupHead, `"format":1`, `"format":2`, 1))},
		{"half of one", "cut short", packed(backupHead + `{"key":"talk.a","value":"eA=="}` + "\n")},
		{"half of a file", "damaged", good[:len(good)-12]},
		{"a flipped bit", "damaged", flipped},
		{"a record too few", "has 1 records and should have 2", packed(backupHead + `{"key":"talk.a"}` + "\n" + `{"end":true,"count":2}`)},
		{"more after the end", "goes on after its end", packed(backupHead + `{"end":true}` + "\n{}\n")},
		{"a bad key", `"talk a" is no record`, packed(backupHead + `{"key":"talk a"}` + "\n" + `{"end":true,"count":1}`)},
		{"bad JSON", "record 1", packed(backupHead + "{\n")},
	} {
		cfg := Config{Dir: t.TempDir(), Sync: time.Minute}
		file := filepath.Join(t.TempDir(), "backup")
		if err := os.WriteFile(file, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), cfg, file); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if entries := must(os.ReadDir(cfg.Dir))(t); len(entries) > 0 {
			t.Errorf("%s: something was made in the store", tt.name)
		}
	}
}

// TestInterrupted: a store with half of a backup is refused until the restore
// was done to its end.
func TestInterrupted(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Sync: time.Minute}
	s := must(Open(t.Context(), cfg))(t)
	must(s.Put(t.Context(), keyRestoring, []byte("{}")))(t)
	must(s.Put(t.Context(), "talk.a", []byte("half")))(t)
	s.Close()
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "restore FILE` again") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, packed(backupHead+`{"key":"talk.a","value":"eA=="}`+"\n"+`{"end":true,"count":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), cfg, file); err != nil {
		t.Fatal(err)
	}
	s = must(Open(t.Context(), cfg))(t)
	defer s.Close()
	if got := records(t, s); !maps.Equal(got, map[string]string{"talk.a": "x"}) {
		t.Errorf("%v", got)
	}
}

// FuzzBackup: whatever a file holds, reading it ends, and yields records only.
func FuzzBackup(f *testing.F) {
	f.Add(packed(backupHead + `{"key":"talk.a","value":"eA=="}` + "\n" + `{"end":true,"count":1}` + "\n"))
	f.Add(packed(backupHead + `{"end":true,"count":0}`))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = parseBackup(bytes.NewReader(b), func(l line) error {
			if !proper(l.Key) || len(l.Value) > MaxValue {
				t.Errorf("%q", l.Key)
			}
			return nil
		})
	})
}

// FuzzRecords: whatever a file of a server holds, looking at it ends, and a place
// that it names is one in the file.
func FuzzRecords(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(f.Context(), Config{Dir: dir, Sync: time.Minute})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 20 {
		if _, err := s.Put(f.Context(), fmt.Sprint("talk.", i), []byte("x")); err != nil {
			f.Fatal(err)
		}
	}
	s.Close()
	for i := range Streams {
		b, err := os.ReadFile(filepath.Join(dir, serverDir, "$G", "streams", fmt.Sprint("KV_cpimgate-", i), "msgs", "1.blk"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "KV_cpimgate-"+fmt.Sprint(i)+"-1")
		f.Add(b[:len(b)-1], "KV_cpimgate-"+fmt.Sprint(i)+"-1")
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		sum := digest(name)
		at, what := walk(b, sum)
		if at > len(b) || what == "" && at != len(b) {
			t.Errorf("at %d of %d: %q", at, len(b), what)
		}
		if what != "" {
			torn(b[at:], sum)
		}
	})
}
