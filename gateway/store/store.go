// Package store keeps records over a restart: bytes under a key, each with a
// revision that a later save must name. It is NATS JetStream key-value buckets,
// spread over eight streams: a server embedded in this process, on one
// directory and with no port open, or a cluster of the operator's own, reached
// by URL. Same code, same promises:
//
//   - What was saved survives the end of this process, whatever ends it. A loss
//     of power may cost what was saved in the last [Config.Sync].
//   - A save that names a revision replaces that one or nothing (ErrConflict):
//     who has lost a record to another owner cannot overwrite it.
//   - A save waits for a store that is late (an election, a full disk, a server
//     that is restarted) and goes on when it is back. It is never given up while
//     its context lasts, and one whose answer was lost is recognised by reading
//     the record again.
//   - A store that is damaged, or was written by a newer version, is refused
//     before anything in it is changed, with what to do about it.
//
// Keys are words of letters, digits, "-", "_" and "=", joined by dots; the first
// words say what kind of record it is, and [Store.List] and [Store.Watch] take
// such a beginning.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cpimgate/cpim/fault"
)

// Streams is over how many streams records are spread. It is part of the format.
const Streams = 8

// Format is the version of what we write: of the buckets and of the names in
// them. Records carry versions of their own.
const Format = 1

// MaxValue is the size of the largest record, in bytes.
const MaxValue = 4 << 20

// A Config says where records are kept. Dir or URL is needed.
type Config struct {
	// Dir is the directory of the embedded server. It is made if it is not there,
	// for our user alone.
	Dir string

	// URL is that of an external NATS server, or of several with commas, instead
	// of the embedded one.
	URL         string
	Credentials string // file of NATS credentials
	CAFile      string // roots for tls:// instead of the system's

	// Name is what the buckets' names begin with, for several gateways at one
	// server; "cpimgate".
	Name string

	// Replicas is on how many servers of a cluster a bucket that we make is; 3
	// in a cluster, else 1.
	Replicas int

	// Sync is how often the embedded server makes the disk sure; 0 is at each
	// save.
	Sync time.Duration

	Log *slog.Logger // slog.DiscardHandler
}

// An Entry is one record.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64 // grows with each save of the bucket
}

// ErrConflict says that the record is not at the revision that a save has named,
// or is there already where it was to be new.
var ErrConflict = errors.New("the record was changed by somebody else")

// A Store is open until Close. It is safe for use by many goroutines.
type Store struct {
	cfg  Config
	log  *slog.Logger
	home *home // of the embedded server; nil: external

	now  atomic.Pointer[session]
	heal sync.Mutex // held by who replaces the session

	mu    sync.Mutex
	since time.Time // since when saves have failed; zero: they do not
	cause error
}

// A session is a connection to a server, with the server if it is ours.
type session struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	streams [Streams]jetstream.Stream
	own     *embedded // nil: not ours
}

// Open opens a store, and makes it if there is none. The error is for the
// operator: it says what to do.
func Open(ctx context.Context, cfg Config) (*Store, error) { return open(ctx, cfg, false) }

func open(ctx context.Context, cfg Config, restoring bool) (*Store, error) {
	cfg.Name = cmp.Or(cfg.Name, "cpimgate")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, log: cfg.Log}
	if cfg.URL == "" {
		var err error
		if s.home, err = enter(cfg.Dir); err != nil {
			return nil, err
		}
	}
	sess, err := s.connect(ctx)
	if err != nil {
		s.home.leave()
		return nil, err
	}
	s.now.Store(sess)
	if err := s.whole(ctx, restoring); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connect makes a session with all buckets.
func (s *Store) connect(ctx context.Context) (*session, error) {
	sess := &session{}
	var err error
	if s.home != nil {
		sess.own, sess.nc, err = s.embed(ctx)
	} else {
		sess.nc, err = dial(s.cfg)
	}
	if err == nil {
		err = s.buckets(ctx, sess)
	}
	if err != nil {
		sess.close()
		return nil, err
	}
	return sess, nil
}

// Close ends the store. What was saved is on disk.
func (s *Store) Close() {
	s.heal.Lock()
	defer s.heal.Unlock()
	if sess := s.now.Swap(nil); sess != nil {
		sess.close()
	}
	s.home.leave()
}

func (sess *session) close() {
	if sess.nc != nil {
		sess.nc.Close()
	}
	if sess.own != nil {
		sess.own.stop()
	}
}

// session returns the connection as it is now, or a fault of kind Busy.
func (s *Store) session() (*session, error) {
	if sess := s.now.Load(); sess != nil {
		return sess, nil
	}
	return nil, fault.E(fault.Busy, "the store is closed")
}

// Late returns since when saves have failed and why, or a zero time: the store
// answers.
func (s *Store) Late() (since time.Time, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, s.cause
}

// late notes that the store has not taken a save.
func (s *Store) late(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = err
	if s.since.IsZero() {
		s.since = time.Now()
		s.log.Error("the store does not save; messages wait", "err", err)
	}
}

// good notes that the store has taken a save.
func (s *Store) good() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		s.log.Info("the store saves again", "after", time.Since(s.since).Round(time.Millisecond))
		s.since, s.cause = time.Time{}, nil
	}
}

// bucket returns the name of a bucket.
func (s *Store) bucket(i int) string { return fmt.Sprintf("%s-%d", s.cfg.Name, i) }

// subject returns where a record is, and in which stream.
func (s *Store) subject(key string) (string, int, error) {
	if !proper(key) {
		return "", 0, fault.E(fault.Malformed, "%q is no key", key)
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	i := int(h.Sum32() % Streams)
	return "$KV." + s.bucket(i) + "." + key, i, nil
}

// maxKey is the length of the longest key.
const maxKey = 200

// proper reports whether a text is a key.
func proper(key string) bool {
	if len(key) > maxKey || strings.HasPrefix(key, ".") || strings.HasSuffix(key, ".") || strings.Contains(key, "..") {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '=', c == '.':
		default:
			return false
		}
	}
	return key != ""
}
