package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKilled: what was saved is there after kill -9, though the disk was never
// made sure.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	last := -1
	for range 5 {
		c := start(t, "saver", dir)
		for range 300 {
			last = must(strconv.Atoi(c.line()))(t)
		}
		c.kill()
		for c.out.Scan() { // what it has printed since
			last = must(strconv.Atoi(c.out.Text()))(t)
		}
		s := must(Open(t.Context(), Config{Dir: dir, Sync: time.Minute}))(t)
		for i := max(0, last-999); i <= last; i++ {
			e := must(s.Get(t.Context(), fmt.Sprint("test.", i%1000)))(t)
			if got := must(strconv.Atoi(string(e.Value)))(t); got < i {
				t.Fatalf("%d was saved, %d is there", i, got)
			}
		}
		s.Close()
	}
}

// TestFull: while a disk is full saves wait, and then go on; nothing is lost.
func TestFull(t *testing.T) {
	c := start(t, "full disk", t.TempDir())
	late := false
	for {
		line := c.line()
		late = late || strings.HasPrefix(line, "late: ") && strings.Contains(line, "file too large")
		if strings.HasPrefix(line, "end:") {
			if line != "end: 2000 <nil>" {
				t.Error(line)
			}
			break
		}
	}
	if !late {
		t.Error("the disk was never full")
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestLate: a save waits for a server that is away, and one whose answer was
// lost is not taken for somebody else's.
func TestLate(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "server", dir)
	url := c.line()
	s := must(Open(t.Context(), Config{URL: url}))(t)
	defer s.Close()
	rev := must(s.Create(t.Context(), "talk.a", []byte("one")))(t)
	c.kill()
	saved := make(chan error)
	go func() {
		_, err := s.Update(t.Context(), "talk.a", []byte("two"), rev)
		saved <- err
	}()
	for since := (time.Time{}); since.IsZero(); since, _ = s.Late() {
		select {
		case err := <-saved:
			t.Fatalf("saved without a server: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	start(t, "server", dir, strings.TrimPrefix(url, "nats://")).line()
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	if since, err := s.Late(); !since.IsZero() {
		t.Errorf("still late: %v", err)
	}
	// the second attempt of a save that got through the first time
	e := must(s.Get(t.Context(), "talk.a"))(t)
	sess := s.now.Load()
	subject, i, _ := s.subject("talk.a")
	lost := change{key: "talk.a", value: e.Value, fenced: true, revision: rev}
	if got, over, err := s.settle(t.Context(), sess, i, subject, &lost, true); got != e.Revision || !over || err != nil {
		t.Errorf("ours: %d, %v, %v", got, over, err)
	}
	if _, _, err := s.settle(t.Context(), sess, i, subject, &lost, false); !errors.Is(err, ErrConflict) {
		t.Errorf("somebody else's: %v", err)
	}
}

// TestRefused: each store that cannot be used is refused with what to do, and
// nothing in it is changed.
func TestRefused(t *testing.T) {
	file := func(dir string, parts ...string) string {
		return filepath.Join(append([]string{dir, serverDir, "$G", "streams"}, parts...)...)
	}
	edit := func(t *testing.T, name string, fn func(b []byte) []byte) {
		t.Helper()
		b := must(os.ReadFile(name))(t)
		if err := os.WriteFile(name, fn(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(at int) func(b []byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		{"a flipped bit in a record", func(t *testing.T, dir string) { edit(t, file(dir, "KV_cpimgate-3", "msgs", "1.blk"), flip(100)) },
			[]string{"KV_cpimgate-3/msgs/1.blk is damaged at byte", "wrong checksum", "store restore FILE", "begins anew"}},
		{"a flipped bit in the last record", func(t *testing.T, dir string) { edit(t, file(dir, "KV_cpimgate-3", "msgs", "1.blk"), flip(-20)) },
			[]string{"1.blk is damaged", "store restore FILE"}},
		{"a flipped bit in a length", func(t *testing.T, dir string) { edit(t, file(dir, "KV_cpimgate-3", "msgs", "1.blk"), flip(1)) },
			[]string{"1.blk is damaged", "store restore FILE"}},
		{"a hole", func(t *testing.T, dir string) {
			edit(t, file(dir, "KV_cpimgate-3", "msgs", "1.blk"), func(b []byte) []byte { clear(b[200:600]); return b })
		}, []string{"1.blk is damaged"}},
		{"a configuration that was edited", func(t *testing.T, dir string) { edit(t, file(dir, "KV_cpimgate-5", "meta.inf"), flip(10)) },
			[]string{"meta.inf is damaged", "wrong checksum"}},
		{"a configuration that is gone", func(t *testing.T, dir string) { os.Remove(file(dir, "KV_cpimgate-5", "meta.inf")) },
			[]string{"meta.inf is damaged", "no such file"}},
		{"a checksum that is gone", func(t *testing.T, dir string) { os.Remove(file(dir, "KV_cpimgate-5", "meta.sum")) },
			[]string{"meta.sum is damaged", "no such file"}},
		{"records that are gone", func(t *testing.T, dir string) { os.RemoveAll(file(dir, "KV_cpimgate-5", "msgs")) },
			[]string{"KV_cpimgate-5/msgs is damaged", "no such file"}},
		{"another NATS server's directory", func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "lock")) },
			[]string{"a NATS server that is not cpimgate's", "store.dir"}},
		{"a newer format", func(t *testing.T, dir string) { newer(t, file(dir, "KV_cpimgate-0")) },
			[]string{"written by a newer cpimgate (format 9, this one knows 1)", "run that version"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			tt.spoil(t, dir)
			before := contents(t, dir)
			s, err := Open(t.Context(), Config{Dir: dir, Sync: time.Minute})
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nand not: %s", err, want)
				}
			}
			if after := contents(t, dir); !maps.Equal(before, after) {
				delete(after, "lock")
				if !maps.Equal(before, after) {
					t.Error("something in it was changed")
				}
			}
		})
	}
}

// newer makes a stream's configuration say that a newer version has made it.
func newer(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "meta.inf")
	b := bytes.Replace(must(os.ReadFile(name))(t), []byte(`"cpimgate-format":"1"`), []byte(`"cpimgate-format":"9"`), 1)
	sum := digest(filepath.Base(dir))
	sum.Write(b)
	if err := errors.Join(os.WriteFile(name, b, 0o600), os.WriteFile(filepath.Join(dir, "meta.sum"), fmt.Appendf(nil, "%016x", sum.Sum(nil)), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// filled returns the directory of a store with records.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := must(Open(t.Context(), Config{Dir: dir, Sync: time.Minute}))(t)
	defer s.Close()
	for i := range 200 {
		must(s.Put(t.Context(), fmt.Sprint("talk.", i), fmt.Append(nil, "record ", i)))(t)
	}
	return dir
}

// contents returns what the files of a directory hold.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTorn: a record at the end that a loss of power has cut short is dropped,
// and all before it are there.
func TestTorn(t *testing.T) {
	for _, tail := range []string{"\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("\x00", 4096), "\x90\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00AAAAAAAA\x20\x00$KV.cpimg"} {
		dir := filled(t)
		name := filepath.Join(dir, serverDir, "$G", "streams", "KV_cpimgate-3", "msgs", "1.blk")
		b := must(os.ReadFile(name))(t)
		if err := os.WriteFile(name, append(b, tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		s := must(Open(t.Context(), Config{Dir: dir, Sync: time.Minute}))(t)
		n := 0
		if err := s.List(t.Context(), "", func(Entry) error { n++; return nil }); err != nil || n != 200 {
			t.Errorf("%q: %d records, %v", tail, n, err)
		}
		s.Close()
	}
}

// TestGone: a stream that is gone is missed, though no file is damaged.
func TestGone(t *testing.T) {
	for i := range Streams {
		dir := filled(t)
		if err := os.RemoveAll(filepath.Join(dir, serverDir, "$G", "streams", fmt.Sprint("KV_cpimgate-", i))); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Dir: dir, Sync: time.Minute}); err == nil || !strings.Contains(err.Error(), "store restore FILE") {
			t.Errorf("stream %d: %v", i, err)
		}
	}
}

// TestInUse: one directory is one gateway's.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := must(Open(t.Context(), Config{Dir: dir, Sync: time.Minute}))(t)
	if _, err := Open(t.Context(), Config{Dir: dir, Sync: time.Minute}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
	s = must(Open(t.Context(), Config{Dir: dir, Sync: time.Minute}))(t)
	s.Close()
}

// TestUnfit: servers and directories that will not do are refused with what to
// do.
func TestUnfit(t *testing.T) {
	readOnly := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(readOnly, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"nothing", Config{}, "set store.dir"},
		{"a file", Config{Dir: readOnly, Sync: time.Minute}, "set store.dir to another"},
		{"nobody there", Config{URL: "nats://user:secret@127.0.0.1:1"}, "no NATS server at nats://user:xxxxx@127.0.0.1:1"},
		{"small messages", Config{URL: start(t, "small server", t.TempDir()).line()}, "set max_payload: 8MB"},
		{"no JetStream", Config{URL: start(t, "plain server").line()}, "start it with -js"},
	} {
		if _, err := Open(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestForeign: buckets of that name that are not ours are left alone.
func TestForeign(t *testing.T) {
	each(t, func(t *testing.T, s *Store, _ Config) {
		js := s.now.Load()
		cfg := s.config(js, "other-0")
		cfg.Metadata = nil
		st := must(js.js.CreateStream(t.Context(), cfg))(t)
		if err := s.usable(js, st, "other-0"); err == nil || !strings.Contains(err.Error(), "store.name") {
			t.Errorf("%v", err)
		}
	})
}
