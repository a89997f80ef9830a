package gatewaytest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"cpimgate/gateway/gatewaytest/peers"
)

// built is the program, built when it is asked for first.
var built = sync.OnceValues(func() (string, error) {
	var err error
	if builds, err = os.MkdirTemp("", "cpimgate-"); err != nil {
		return "", err
	}
	return peers.Build(builds, "cpimgate/cmd/cpimgate", peers.Race...)
})

var builds string // directory of what was built; "" if nothing was

// A process is cpimgate in a process of its own. It implements [Gate].
type process struct {
	cmd   *exec.Cmd
	said  chan entry    // what it logs, as far as somebody waits for it
	ended chan struct{} // closed when the process is over, and err and log are set
	err   error
	log   strings.Builder
	addrs map[string]netip.AddrPort
}

// An entry is a line of the log that something waits for.
type entry struct {
	Msg    string                    `json:"msg"`
	Err    string                    `json:"err"`
	Listen map[string]netip.AddrPort `json:"listen"`
}

// The entries that are waited for.
const (
	serving  = "serving"
	reloaded = "settings read again"
	bad      = "settings are bad, what was read before stays in force"
)

// launch runs the program until it listens.
func launch(file, caFile string) (*process, error) {
	path, err := built()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(path, "serve", "--config", file), said: make(chan entry, 10), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+caFile)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // Run waits for it
		defer close(p.ended)
		p.listen(out)
		p.err = p.cmd.Wait()
	}()
	e, err := p.until(serving)
	p.addrs = e.Listen
	return p, err
}

// listen reads the log to its end.
func (p *process) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		p.log.WriteString(lines.Text() + "\n")
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) == nil && (e.Msg == serving || e.Msg == reloaded || e.Msg == bad) {
			p.said <- e
		}
	}
}

// until waits for an entry of the log.
func (p *process) until(msg string) (entry, error) {
	select {
	case e := <-p.said:
		if e.Msg != msg {
			return e, fmt.Errorf("%s: %s", e.Msg, e.Err)
		}
		return e, nil
	case <-p.ended:
		return entry{}, fmt.Errorf("the gateway has ended: %w\n%s", p.err, p.log.String())
	}
}

// reload has the program read its file again.
func (p *process) reload() error {
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	_, err := p.until(reloaded)
	return err
}

// Addrs implements [Gate].
func (p *process) Addrs() map[string]netip.AddrPort { return p.addrs }

// Ready implements [Gate].
func (p *process) Ready() <-chan struct{} {
	ready := make(chan struct{})
	close(ready) // who connects waits, if need be
	return ready
}

// Run implements [Gate]. The process ends as if an operator had stopped it.
func (p *process) Run(ctx context.Context) error {
	early := errors.New("the gateway has ended by itself")
	select {
	case <-ctx.Done():
		early = p.cmd.Process.Signal(syscall.SIGTERM)
	case <-p.ended:
	}
	<-p.ended
	if err := errors.Join(early, p.err); err != nil {
		return fmt.Errorf("%w\n%s", err, p.log.String())
	}
	return nil
}
