package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"syscall"
)

// Build compiles a command of this module into dir, with more flags than `go
// build` has for a user, and returns its path.
func Build(dir, pkg string, flags ...string) (string, error) {
	bin := filepath.Join(dir, path.Base(pkg))
	args := append(append([]string{"build", "-o", bin}, flags...), pkg)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of %s: %w\n%s", pkg, err, out)
	}
	return bin, nil
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

// Load runs the load tool of that path, in the host's own namespace so that it
// can read what processes cost, and returns what it prints. The words "NET." in
// its arguments are replaced as by [Net.Text].
func (n *Net) Load(tool string, args ...string) (string, error) {
	n.t.Helper()
	args = append([]string{args[0], "--ca", n.CA.File}, args[1:]...)
	for i := range args {
		args[i] = n.Text(args[i])
	}
	cmd := exec.Command(tool, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	return string(out), err
}
