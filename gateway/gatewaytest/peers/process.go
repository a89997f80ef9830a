package peers

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long a peer may take for anything, a transaction that times
// out included; a test that waits that long has failed. Nothing is slower for it.
const patience = 5 * time.Minute

// A Process is one program of a [Net] with everything that it has written.
type Process struct {
	Log *Log

	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended and err is set
	err  error

	asked atomic.Bool // to end
}

// inNamespace binds the zone's resolv.conf over the system's before it becomes
// the program.
const inNamespace = `mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`

// command returns a program that will see the net's resolver and nobody else's,
// and that the kernel kills, with all its children, when we die.
func (n *Net) command(name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name)
	if err != nil {
		n.t.Fatalf("peers: %v: `make test` installs it", err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", inNamespace, "sh", n.resolvConf, path}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + n.Dir, "LANG=C.UTF-8", "SSL_CERT_FILE=" + n.CA.File}
	cmd.Dir = n.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS,
		Cloneflags:   syscall.CLONE_NEWPID,
		Pdeathsig:    syscall.SIGKILL,
	}
	return cmd
}

// start runs cmd until the test ends. Its output is shown when the test fails.
func (n *Net) start(name string, cmd *exec.Cmd) *Process {
	n.t.Helper()
	p := &Process{Log: newLog(), t: n.t, name: name, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.Log, p.Log
	started := make(chan error)
	// Kill waits for this goroutine, and every process is killed at the latest
	// when the test ends. It keeps its thread, whose end would be the parent's
	// death to the kernel.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		n.t.Fatalf("peers: %s: %v (namespaces need root)", name, err)
	}
	n.t.Cleanup(func() {
		p.Kill()
		if n.t.Failed() {
			n.t.Logf("--- log of %s\n%s", name, tail(p.Log.String(), 8000))
		}
	})
	return p
}

// PID returns the process id as this process sees it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program at once, as a power cut would, and returns when it is
// gone.
func (p *Process) Kill() {
	p.asked.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// Stop asks the program to end, waits for it and returns its exit status.
func (p *Process) Stop() error {
	p.t.Helper()
	p.asked.Store(true)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.Kill()
		p.t.Errorf("peers: %s did not stop when asked", p.name)
	}
	return p.err
}

// Crashed reports whether the program has ended without having been asked.
func (p *Process) Crashed() bool {
	select {
	case <-p.done:
		return !p.asked.Load()
	default:
		return false
	}
}

// until asks ready again and again until it says nil, and fails the test when
// the program ends before or takes too long.
func (p *Process) until(what string, ready func() error) {
	p.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("peers: %s ended before %s: %v\n%s", p.name, what, p.err, tail(p.Log.String(), 4000))
		case <-late:
			p.t.Fatalf("peers: %s: no %s: %v\n%s", p.name, what, err, tail(p.Log.String(), 4000))
		}
	}
}

// A Log is what a program has written so far. It may be read while the program
// writes.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at every write
}

func newLog() *Log { return &Log{more: make(chan struct{})} }

// Write implements [io.Writer].
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(b)
}

// Len returns a mark: what is written from now on is after it.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Len()
}

// String returns all that was written.
func (l *Log) String() string {
	text, _ := l.after(0)
	return text
}

func (l *Log) after(mark int) (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text.Bytes()[mark:]), l.more
}

// Await waits until found says yes to what was written after mark, and returns
// that text. It fails the test when the program does not come to it.
func (p *Process) Await(mark int, what string, found func(text string) bool) string {
	p.t.Helper()
	late := time.After(patience)
	for done := false; ; {
		text, more := p.Log.after(mark)
		if found(text) {
			return text
		}
		if done {
			p.t.Fatalf("peers: %s ended without %s: %v\n%s", p.name, what, p.err, tail(text, 4000))
		}
		select {
		case <-more:
		case <-p.done:
			done = true // what it wrote last is read once more
		case <-late:
			p.t.Fatalf("peers: %s: no %s\n%s", p.name, what, tail(text, 4000))
		}
	}
}

// AwaitLine waits for a line that contains every one of the words, and returns
// it.
func (p *Process) AwaitLine(mark int, words ...string) string {
	p.t.Helper()
	var line string
	p.Await(mark, fmt.Sprintf("line with %q", words), func(text string) bool {
		var ok bool
		line, ok = lineWith(text, words...)
		return ok
	})
	return line
}

// lineWith returns the first whole line of text that has all words.
func lineWith(text string, words ...string) (string, bool) {
next:
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		return strings.TrimSpace(line), true
	}
	return "", false
}

// tail returns the end of a text that is too long to show.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "[...]" + s[len(s)-n:]
}
