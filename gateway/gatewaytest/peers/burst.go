package peers

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// A Burst is the load tool while it sends, and servers go and come.
type Burst struct {
	*Process

	in io.Writer
}

// StartBurst runs the load tool and returns when messages flow on all routes.
// Each end has pairs users, as [LoadUsers] names them.
func (n *Net) StartBurst(tool string, pairs, messages int, routes ...string) *Burst {
	n.t.Helper()
	args := []string{"told", "--ca", n.CA.File, fmt.Sprintf("--pairs=%d", pairs), fmt.Sprintf("--messages=%d", messages), "--timeout=5m"}
	for _, r := range routes {
		args = append(args, n.Text(r))
	}
	cmd := n.command(tool, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	b := &Burst{in: in, Process: n.start("load", cmd)}
	b.AwaitLine(0, "under way")
	return b
}

// An Account is what the load tool says about one route.
type Account struct {
	Route     string
	Sent      int
	Arrived   int            // at least once
	Told      int            // of a failure, and did not arrive
	Both      int            // arrived, although the sender was told of a failure
	Silent    []string       // ids of those that neither arrived nor failed
	Doubled   []string       // ids of those that arrived more than once
	Overtaken []string       // ids of those that arrived after a later one of the same pair
	Late      []string       // ids of those that were sent when all was well again, and did not arrive
	Strange   int            // arrived damaged, or never sent
	Reasons   map[string]int // what senders were told
}

// String is the account on one line.
func (a Account) String() string {
	s := fmt.Sprintf("%s: %d sent, %d arrived, %d told, %d both, %d silent, %d doubled, %d out of order, %d late, %d damaged",
		a.Route, a.Sent, a.Arrived, a.Told, a.Both, len(a.Silent), len(a.Doubled), len(a.Overtaken), len(a.Late), a.Strange)
	for why, n := range a.Reasons {
		s += fmt.Sprintf("\n\t%d times %s", n, why)
	}
	return s
}

// Rest tells the tool that all servers are there again, waits for it to end and
// returns its accounts, one for each route.
func (b *Burst) Rest() (accounts []Account) {
	b.t.Helper()
	if _, err := io.WriteString(b.in, "\n"); err != nil {
		b.t.Fatalf("peers: %s: %v", b.name, err)
	}
	<-b.done // it has its own time limit
	if b.err != nil {
		b.t.Fatalf("peers: %s: %v", b.name, b.err)
	}
	for line := range strings.Lines(b.Log.String()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var a Account
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			b.t.Fatalf("peers: %s: %v", b.name, err)
		}
		accounts = append(accounts, a)
	}
	return accounts
}
