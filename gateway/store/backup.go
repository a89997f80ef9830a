package store

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"cpimgate/cpim/fault"
)

// A backup is a gzip file of lines of JSON: a head, a line for each record, and
// a tail that says how many there were, so that a part is not taken for all.
type (
	head struct {
		Backup string    `json:"backup"` // "cpimgate store"
		Format int       `json:"format"`
		Made   time.Time `json:"made"`
	}
	line struct {
		Key   string `json:"key,omitempty"`
		Value []byte `json:"value,omitempty"` // base64 there
		End   bool   `json:"end,omitempty"`   // the tail
		Count int    `json:"count,omitempty"`
	}
)

const backupKind = "cpimgate store"

// Backup writes all records to a new file, and returns how many. Each record is
// as it is at some moment of the call.
func (s *Store) Backup(ctx context.Context, file string) (int, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%s is there already; name a new file", file)
	}
	if err != nil {
		return 0, err
	}
	n, err := s.WriteBackup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(file))
	}
	return n, nil
}

// WriteBackup writes what a backup file holds.
func (s *Store) WriteBackup(ctx context.Context, w io.Writer) (int, error) {
	z := gzip.NewWriter(w)
	lines := json.NewEncoder(z)
	if err := lines.Encode(head{backupKind, Format, time.Now().UTC().Truncate(time.Second)}); err != nil {
		return 0, err
	}
	n := 0
	err := s.List(ctx, "", func(e Entry) error {
		n++
		return lines.Encode(line{Key: e.Key, Value: e.Value})
	})
	if err == nil {
		err = lines.Encode(line{End: true, Count: n})
	}
	return n, errors.Join(err, z.Close())
}

// Restore opens an empty store, saves all records of a backup file in it, and
// returns how many. The file is read to its end before anything is saved; a store
// that has records is left as it is. Where it was interrupted it is to be called
// again, and until then Open refuses the store.
func Restore(ctx context.Context, cfg Config, file string) (n int, err error) {
	if err := readBackup(file, func(line) error { return nil }); err != nil {
		return 0, err
	}
	s, err := open(ctx, cfg, true)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.vacant(ctx); err != nil {
		return 0, err
	}
	if _, err := s.Put(ctx, keyRestoring, []byte("{}")); err != nil {
		return 0, err
	}
	err = readBackup(file, func(l line) error {
		n++
		_, err := s.Put(ctx, l.Key, l.Value)
		return err
	})
	if err != nil {
		return n, err
	}
	return n, s.Delete(ctx, keyRestoring, 0)
}

// vacant refuses a store that has records, unless a restore has begun to put
// them there.
func (s *Store) vacant(ctx context.Context) error {
	if _, err := s.Get(ctx, keyRestoring); fault.KindOf(err) != fault.NotFound {
		return err
	}
	return s.List(ctx, "", func(Entry) error {
		return errors.New("the store has records, which would be overwritten: move it away first, or name an empty one")
	})
}

// readBackup calls fn for each record of a file, after which it has been read to
// its end.
func readBackup(file string, fn func(line) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := parseBackup(f, fn); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

var errNoBackup = errors.New("this is no backup of a cpimgate store")

// maxLine is the longest line of a backup: base64 and a little more.
const maxLine = MaxValue/3*4 + 1024

// parseBackup reads a backup.
func parseBackup(r io.Reader, fn func(line) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return errNoBackup
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, maxLine)
	var h head
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Backup != backupKind || h.Format < 1 {
		return errNoBackup
	}
	if h.Format > Format {
		return fmt.Errorf("this backup was made by a newer cpimgate (format %d, this one knows %d): restore it with that version", h.Format, Format)
	}
	for n := 0; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("record %d: %w", n+1, err)
		}
		switch {
		case l.End && l.Count != n:
			return fmt.Errorf("the backup has %d records and should have %d: it is damaged", n, l.Count)
		case l.End && lines.Scan():
			return errors.New("the backup goes on after its end: it is damaged")
		case l.End && lines.Err() != nil: // the checksum of the file
			return fmt.Errorf("the backup is damaged: %w", lines.Err())
		case l.End:
			return nil
		case !proper(l.Key) || len(l.Value) > MaxValue:
			return fmt.Errorf("record %d: %q is no record", n+1, l.Key)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the backup is damaged: %w", err)
	}
	return errors.New("the backup is cut short")
}
