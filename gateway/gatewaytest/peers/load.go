package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Build compiles a command of this module once more, as `go build` does for a
// user, and returns the binary's path. The build cache makes it cheap.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("peers: build of %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// LoadUsers are the accounts that the load tool's clients use, for so many
// routes and pairs on each.
func LoadUsers(routes, pairs int) (users []string) {
	for r := range routes {
		for i := range pairs {
			users = append(users, fmt.Sprintf("s%d-%d", r+1, i), fmt.Sprintf("r%d-%d", r+1, i))
		}
	}
	return users
}

// Load runs the load tool, in the host's own namespace so that it can read
// what processes cost, and returns what it prints. The words "NET." in its
// arguments are replaced as by [Net.Text].
func (n *Net) Load(args ...string) (string, error) {
	n.t.Helper()
	args = append([]string{args[0], "--ca", n.CA.File}, args[1:]...)
	for i := range args {
		args[i] = n.Text(args[i])
	}
	cmd := exec.Command(Build(n.t, "cpimgate/gateway/gatewaytest/load"), args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	return string(out), err
}
