package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// inspect reads what a former server has left in the directory and changes
// nothing. The server itself would cut off what it cannot read; an operator may
// have a backup, or want to look at it.
//
// The format is that of the server's file store (nats-server,
// server/filestore.go), of which only what has a checksum is looked at.
func (s *Store) inspect() error {
	for i := range Streams {
		name := "KV_" + s.bucket(i)
		dir := filepath.Join(s.home.dir, serverDir, "$G", "streams", name)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue // the first start, perhaps one that was cut short; else whole tells
		}
		if err := inspectConfig(dir, name, s.bucket(i)); err != nil {
			return err
		}
		if err := s.inspectBlocks(filepath.Join(dir, "msgs"), name); err != nil {
			return err
		}
	}
	return nil
}

// A damage is a place in a file that is not as it was written.
type damage struct {
	file string
	at   int
	what string
}

// Error says what to do, too.
func (d *damage) Error() string {
	return fmt.Sprintf("store: %s is damaged at byte %d (%s): nothing was changed; %s", d.file, d.at, d.what, remedy)
}

// inspectConfig looks at a stream's configuration, and whether we know its
// format.
func inspectConfig(dir, stream, bucket string) error {
	file := filepath.Join(dir, "meta.inf")
	meta, err := os.ReadFile(file)
	if err != nil {
		return &damage{file, 0, err.Error()}
	}
	sum, err := os.ReadFile(filepath.Join(dir, "meta.sum"))
	if err != nil {
		return &damage{filepath.Join(dir, "meta.sum"), 0, err.Error()}
	}
	h := digest(stream)
	h.Write(meta)
	if hex.EncodeToString(h.Sum(nil)) != string(sum) {
		return &damage{file, 0, "wrong checksum"}
	}
	var config struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(meta, &config); err != nil {
		return &damage{file, 0, err.Error()}
	}
	return supported(bucket, config.Metadata[formatKey])
}

// digest returns the server's checksum, whose key is a name.
func digest(name string) hash.Hash64 {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err) // only for keys of another length
	}
	return h
}

// inspectBlocks reads all files of records of a stream.
func (s *Store) inspectBlocks(dir, stream string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &damage{dir, 0, err.Error()}
	}
	var blocks []int
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), ".blk")
		if n, err := strconv.Atoi(number); ok && err == nil {
			blocks = append(blocks, n)
		}
	}
	slices.Sort(blocks)
	for k, n := range blocks {
		file := filepath.Join(dir, fmt.Sprint(n, ".blk"))
		b, err := os.ReadFile(file)
		if err != nil {
			return &damage{file, 0, err.Error()}
		}
		sum := digest(fmt.Sprint(stream, "-", n))
		at, what := walk(b, sum)
		if what == "" {
			continue
		}
		if k == len(blocks)-1 && torn(b[at:], sum) {
			s.log.Warn("store: the last save before a loss of power is not whole; it is dropped", "file", file, "bytes", len(b)-at)
			continue
		}
		return &damage{file, at, what}
	}
	return nil
}

// The layout of a record: length, sequence number, time, length of the subject;
// subject, header with its length before it if the first bit of the length says
// so, message, checksum.
const (
	recordHead  = 4 + 8 + 8 + 2
	recordSum   = 8
	recordMax   = 32 << 20
	hasHeader   = 1 << 31
	headerCount = 4
)

// walk reads records to the end, or to the first that is not one: where it is,
// and what is wrong with it.
func walk(b []byte, sum hash.Hash64) (at int, what string) {
	for at < len(b) {
		n, what := record(b[at:], sum)
		if what != "" {
			return at, what
		}
		at += n
	}
	return at, ""
}

// record reads the record at the beginning of b and returns its length.
func record(b []byte, sum hash.Hash64) (n int, what string) {
	if len(b) < recordHead {
		return 0, "cut short"
	}
	length := binary.LittleEndian.Uint32(b)
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	n = int(length &^ hasHeader)
	extra := 0
	if length&hasHeader != 0 {
		extra = headerCount
	}
	switch {
	case n > recordMax || n < recordHead+subject+extra+recordSum:
		return 0, "no record"
	case n > len(b):
		return 0, "cut short"
	}
	sum.Reset()
	sum.Write(b[4:20])
	sum.Write(b[recordHead : recordHead+subject])
	sum.Write(b[recordHead+subject+extra : n-recordSum])
	if !bytes.Equal(sum.Sum(nil), b[n-recordSum:n]) {
		return 0, "wrong checksum"
	}
	return n, ""
}

// torn reports whether the end of the last file looks as a loss of power leaves
// it: a record that is not whole, or nothing but zeros, and no whole record
// after it.
func torn(b []byte, sum hash.Hash64) bool {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	if _, what := record(b, sum); what != "cut short" {
		return false
	}
	for at := 1; at+recordHead+recordSum <= len(b); at++ {
		if _, what := record(b[at:], sum); what == "" {
			return false
		}
	}
	return true
}
