package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cpimgate/federation/trust/trusttest"
)

// asCommand in the environment makes the test binary be cpimgate itself.
const asCommand = "CPIMGATE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A running is a cpimgate in a process of its own.
type running struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner // what it logs
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &running{cmd, t, bufio.NewScanner(out)}
}

// until reads the log up to a line that has text, and returns all that was read.
func (r *running) until(text string) string {
	r.t.Helper()
	var read strings.Builder
	for r.lines.Scan() {
		read.WriteString(r.lines.Text() + "\n")
		if strings.Contains(r.lines.Text(), text) {
			return read.String()
		}
	}
	r.t.Fatalf("%q was not logged, but\n%s", text, read.String())
	return ""
}

// TestReload: SIGHUP has the file read again. A file with mistakes is told of,
// each with its place, and changes nothing; what cannot change in a running
// gateway is named; and the gateway goes on until SIGTERM.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	ca, err := trusttest.NewCA("small authority")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := ca.Files(dir, trusttest.Options{DNS: []string{"example.com"}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cpimgate.yaml")
	write := func(more string) {
		t.Helper()
		const base = `domains: {example.com: {users: sip}}
tls: {cert: cert.pem, key: key.pem}
listen: {name: gw.example.com, sip: "127.0.0.1:0", sips: off, xmpp: "127.0.0.1:0", xmpps: off, admin: off}
`
		if err := os.WriteFile(file, []byte(base+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	r := start(t, "serve", "--config", file)
	r.until("serving")
	hup := func() {
		t.Helper()
		if err := r.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}

	write("limits: {queue: -1}\npeers:\n  b.example: {pager_type: loud}\n")
	hup()
	for _, place := range []string{":6:15: pager_type is normal or chat", ":4:1: limits are more than zero"} {
		if line := r.until("what was read before stays in force"); !strings.Contains(line, file+place) {
			t.Errorf("the log says\n%s\nand not %s", line, place)
		}
	}

	write("policy: {block: [spam.example]}\nlimits: {queue: 9}\nlog: {level: debug, format: json}\n")
	hup()
	if line := r.until("settings read again"); !strings.Contains(line, `"log.level policy.block"`) {
		t.Errorf("the log says\n%s", line)
	}
	rest := r.until("needs a restart: log.format")
	if !strings.Contains(rest, "needs a restart: limits.queue") {
		t.Errorf("the log says\n%s", rest)
	}

	write("")
	hup()
	if line := r.until("settings read again"); !strings.Contains(line, "policy.block") || strings.Contains(line, "restart") {
		t.Errorf("the log says\n%s", line)
	}
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest := r.until("stopped"); strings.Contains(rest, "needs a restart") {
		t.Errorf("the old settings want a restart: %s", rest)
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
}
