package store

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// as in the environment makes the test binary be another program: a NATS server
// as an operator runs one, or somebody who saves until he is killed.
const as = "STORE_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(as) {
	case "":
		goleak.VerifyTestMain(m)
	case "server":
		serverMain(os.Args[1], 2*MaxValue, os.Args[2:]...)
	case "small server":
		serverMain(os.Args[1], 1<<20)
	case "plain server":
		serverMain("", 2*MaxValue)
	case "saver":
		saverMain(os.Args[1])
	case "full disk":
		fullMain(os.Args[1])
	}
}

// serverMain is a NATS server on loopback, at a port that it may be told, with
// JetStream if it has a directory. It prints its URL.
func serverMain(dir string, payload int32, at ...string) {
	port := server.RANDOM_PORT
	if len(at) > 0 {
		if _, err := fmt.Sscanf(at[0], "127.0.0.1:%d", &port); err != nil {
			panic(err)
		}
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, JetStream: dir != "", StoreDir: dir, NoSigs: true, MaxPayload: payload, SyncInterval: time.Second,
	})
	if err != nil {
		panic(err)
	}
	srv.Start()
	srv.ReadyForConnections(time.Minute)
	fmt.Println(srv.ClientURL())
	select {}
}

// saverMain saves under one key after another, and prints what was saved.
func saverMain(dir string) {
	s, err := Open(context.Background(), Config{Dir: dir, Sync: time.Minute})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		if _, err := s.Put(context.Background(), fmt.Sprint("test.", i%1000), fmt.Append(nil, i)); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

// fullMain saves until files may not grow any more, which stands for a full
// disk: the server's writes fail. Then they may grow again.
func fullMain(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	s, err := Open(context.Background(), Config{Dir: dir, Sync: time.Minute, Log: log})
	if err != nil {
		panic(err)
	}
	limit := func(n uint64) {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &r); err != nil {
			panic(err)
		}
		r.Cur = min(n, r.Max)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &r); err != nil {
			panic(err)
		}
	}
	value := []byte(strings.Repeat("x", 1000))
	saved := make(chan error)
	for i := range 2000 {
		if i == 100 {
			limit(20_000)
		}
		go func() {
			_, err := s.Put(context.Background(), fmt.Sprint("test.", i), value)
			saved <- err
		}()
		for done := false; !done; {
			select {
			case err := <-saved:
				if err != nil {
					panic(err)
				}
				done = true
			case <-time.After(50 * time.Millisecond):
				if since, err := s.Late(); !since.IsZero() {
					fmt.Println("late:", err)
					limit(1 << 62)
				}
			}
		}
	}
	n := 0
	err = s.List(context.Background(), "test", func(e Entry) error { n++; return nil })
	fmt.Println("end:", n, err)
	s.Close()
}

// A child is a program of ours in a process of its own.
type child struct {
	*exec.Cmd
	t   *testing.T
	out *bufio.Scanner
}

func start(t *testing.T, what string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), as+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, t, bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// line returns the next line that it prints.
func (c *child) line() string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatal("it printed nothing more")
	}
	return c.out.Text()
}

func (c *child) kill() {
	if c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}
