package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// toldCmd sends while somebody takes servers away and brings them back. It
// keeps sending until it reads a line from its input, and its clients connect
// again then; afterwards it sends as much as before.
//
// It prints "under way" when messages flow on all routes, and at the end an
// [Account] of each route, as JSON on one line.
type toldCmd struct {
	options

	Pace  time.Duration `help:"Between two messages of a pair." default:"10ms"`
	Quiet time.Duration `help:"When nothing is heard for so long, nothing more will come." default:"15s"`
}

// An Account says what has become of the messages of one route. Each has
// arrived, or its sender knows of a failure, or both, or neither.
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
	Reasons   map[string]int // what senders were told, without what differs between messages
}

// Run plays all routes at the same time.
func (c *toldCmd) Run(ctx context.Context) error {
	routes, err := c.routes()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	c.managed = true
	var lines []*line
	for _, r := range routes {
		l, err := r.connect(ctx, c.options)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		defer l.close()
		lines = append(lines, l)
	}
	var sending sync.WaitGroup
	for _, l := range lines {
		x := l.endless(c.Pace)
		sending.Go(func() {
			l.sendAll(ctx, x)
			x.calm(ctx, c.Quiet)
		})
	}
	defer sending.Wait()
	defer cancel()
	if err := c.middle(ctx, lines); err != nil {
		return err
	}
	sending.Wait()
	for _, l := range lines {
		if err := json.NewEncoder(os.Stdout).Encode(l.now.Load().account()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// middle says when messages flow, waits for the word that all servers are
// there, connects again, and asks for the rest.
func (c *toldCmd) middle(ctx context.Context, lines []*line) error {
	for _, l := range lines {
		select {
		case <-l.now.Load().under:
		case <-ctx.Done():
			return fmt.Errorf("%s: not under way: %+v", l.name, l.now.Load().account())
		}
	}
	fmt.Println("under way")
	back := make(chan error, 1)
	// ends with the process at the latest: a read from a terminal cannot be
	// called off
	go func() {
		_, err := bufio.NewReader(os.Stdin).ReadString('\n')
		back <- err
	}()
	select {
	case err := <-back:
		if err != nil && err != io.EOF {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, l := range lines {
		if err := l.revive(ctx); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	for _, l := range lines {
		l.now.Load().rest()
	}
	return nil
}

// revive connects both ends again.
func (l *line) revive(ctx context.Context) error {
	for _, s := range []site{l.to, l.from} {
		r, ok := s.(reviver)
		if !ok {
			return errors.New("an end that cannot connect again")
		}
		if err := r.revive(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stuck is how long a message may hold up those behind it.
const stuck = time.Second

// endless makes the run that lasts until rest is called.
func (l *line) endless(pace time.Duration) *run {
	x := newRun(l.route, l.options)
	x.pace, x.lease, x.enough = pace, stuck, l.n
	for _, p := range x.pairs {
		p.want = forever
	}
	l.now.Store(x)
	return x
}

// rest lets each pair send its share once more, and then end.
func (x *run) rest() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.pairs {
		p.late = len(p.msgs)
		p.want = p.late + (x.n+len(x.pairs)-1)/len(x.pairs)
	}
}

// calm waits until everything is settled, or nothing is heard for that long.
func (x *run) calm(ctx context.Context, quiet time.Duration) {
	for {
		select {
		case <-x.done:
			return
		case <-x.heard:
		case <-time.After(quiet):
			return
		case <-ctx.Done():
			return
		}
	}
}

// account adds up.
func (x *run) account() *Account {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := &Account{Route: x.name, Reasons: make(map[string]int)}
	for i, p := range x.pairs {
		a.Sent += len(p.msgs)
		a.Strange += p.strange
		for m, msg := range p.msgs {
			a.add(x.id(i, m), msg, m >= p.late)
			if msg.told != "" {
				a.Reasons[msg.told]++
			}
		}
	}
	return a
}

func (a *Account) add(id string, m message, late bool) {
	switch {
	case m.arrived > 0:
		a.Arrived++
		if m.told != "" {
			a.Both++
		}
		if m.arrived > 1 {
			a.Doubled = append(a.Doubled, id)
		}
		if m.overtaken {
			a.Overtaken = append(a.Overtaken, id)
		}
		return
	case m.told != "":
		a.Told++
	default:
		a.Silent = append(a.Silent, id)
	}
	if late {
		a.Late = append(a.Late, id)
	}
}

// reason is the innermost of an error's texts, which many messages share.
func reason(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}
