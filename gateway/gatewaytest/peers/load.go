package peers

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Build compiles commands of this module into dir, as `go build` does for a
// user.
func Build(dir string, packages ...string) error {
	out, err := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
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
