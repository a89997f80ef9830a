package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serverDir is what the server calls its directory below ours.
const serverDir = "jetstream"

// minFree is how much of the file system must be free for a store to be opened,
// in bytes: less would stop it at the first messages.
const minFree = 16 << 20

// A home is the directory of an embedded server, which nobody else uses.
type home struct {
	dir  string
	lock *os.File
}

// enter takes a directory for us alone.
func enter(dir string) (*home, error) {
	if dir == "" {
		return nil, errors.New("store: no directory; set store.dir")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w; make the directory for the user that cpimgate runs as, or set store.dir to another", err)
	}
	name := filepath.Join(dir, "lock")
	_, err := os.Stat(name)
	if _, used := os.Stat(filepath.Join(dir, serverDir)); errors.Is(err, fs.ErrNotExist) && used == nil {
		return nil, fmt.Errorf("store: %s holds the data of a NATS server that is not cpimgate's; set store.dir to another directory", dir)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w; let the user that cpimgate runs as write there, or set store.dir to another directory", err)
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("store: %s: %w", dir, ErrInUse)
	}
	return &home{dir, f}, nil
}

// ErrInUse says that another process has the directory.
var ErrInUse = errors.New("another cpimgate uses this store; stop it first, or give each a store.dir of its own")

func (h *home) leave() {
	if h != nil {
		h.lock.Close() // and with it the lock
	}
}

// An embedded is a server in this process.
type embedded struct {
	*server.Server
	sick chan struct{} // closed when it has said that it cannot write
	once sync.Once
	said atomic.Pointer[error] // the last trouble of which it spoke
}

// embed starts a server on our directory, after a look at what is in it.
func (s *Store) embed(ctx context.Context) (*embedded, *nats.Conn, error) {
	if n, err := free(s.home.dir); err == nil && n < minFree {
		return nil, nil, fmt.Errorf("store: only %d MB are free where %s is: free some, or set store.dir to another file system", n>>20, s.home.dir)
	}
	if err := s.inspect(); err != nil {
		return nil, nil, err
	}
	own := &embedded{sick: make(chan struct{})}
	srv, err := server.NewServer(&server.Options{
		ServerName: "cpimgate", DontListen: true, NoSigs: true, DisableJetStreamBanner: true, NoSystemAccount: true,
		JetStream: true, StoreDir: s.home.dir, SyncInterval: s.cfg.Sync, SyncAlways: s.cfg.Sync == 0,
		JetStreamMaxStore: 1 << 50, JetStreamMaxMemory: 1 << 26, // the disk is the limit
		MaxPayload: 2 * MaxValue, MaxPending: 1 << 30,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	own.Server = srv
	srv.SetLoggerV2(serverLog{s.log, own}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) || !srv.JetStreamEnabled() {
		own.stop()
		return nil, nil, fmt.Errorf("store: the server on %s does not start: %w", s.home.dir, own.trouble())
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.Name("cpimgate"), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		own.stop()
		return nil, nil, fmt.Errorf("store: %w", err)
	}
	return own, nc, nil
}

func (e *embedded) stop() {
	e.Shutdown()
	e.WaitForShutdown()
}

// trouble returns what the server has said last.
func (e *embedded) trouble() error {
	if err := e.said.Load(); err != nil {
		return *err
	}
	return errors.New("it does not say why")
}

// wounded reports that the server has said that it cannot write. It does not
// recover by itself.
func (e *embedded) wounded() bool {
	select {
	case <-e.sick:
		return true
	default:
		return !e.JetStreamEnabled()
	}
}

// A serverLog passes on what the server says of trouble.
type serverLog struct {
	log *slog.Logger
	own *embedded
}

// Noticef implements [server.Logger].
func (serverLog) Noticef(string, ...any) {}

// Debugf implements [server.Logger].
func (serverLog) Debugf(string, ...any) {}

// Tracef implements [server.Logger].
func (serverLog) Tracef(string, ...any) {}

// Warnf implements [server.Logger].
func (l serverLog) Warnf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.own.said.Store(&err)
	l.log.Warn("store", "err", err)
}

// Errorf implements [server.Logger].
func (l serverLog) Errorf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	l.own.said.Store(&err)
	l.log.Error("store", "err", err)
	l.own.once.Do(func() { close(l.own.sick) })
}

// Fatalf implements [server.Logger].
func (l serverLog) Fatalf(format string, args ...any) { l.Errorf(format, args...) }
