package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"sync"
	"time"
)

// A run is a route at work: the book of all its messages.
type run struct {
	route
	token string // in all ids, so that two runs do not meet

	mu     sync.Mutex
	pairs  []*pair
	users  map[string]int // which pair an address belongs to
	open   int            // messages sent of which nothing has been heard
	ending bool           // no more will be sent
	done   chan struct{}  // closed when nothing is open and no more will be sent
	heard  chan struct{}  // has something in it after anything was heard
	enough int            // arrivals after which under is closed
	under  chan struct{}

	pace  time.Duration // between two messages of a pair, at the least
	lease time.Duration // after which a message does not hold up others; 0: never
}

// A pair is one sender and one receiver.
type pair struct {
	from, to string    // addresses
	want     int       // messages in all
	late     int       // those from this number on count as late
	msgs     []message // sent
	next     int       // one more than the latest that has arrived
	took     []time.Duration
	slots    chan struct{} // one for each message under way

	strange int
	errs    []error
}

// A message is what has become of one.
type message struct {
	sent      time.Time
	arrived   int    // times
	overtaken bool   // a later one of the pair arrived before
	told      string // the failure that the sender knows of; "" if of none
}

// forever is how many messages a pair wants to send until it is told.
const forever = math.MaxInt

func newRun(r route, o options) *run {
	x := &run{
		route: r, token: rand.Text()[:8], users: make(map[string]int), pairs: make([]*pair, o.Pairs),
		done: make(chan struct{}), heard: make(chan struct{}, 1), under: make(chan struct{}), enough: forever,
	}
	for i := range x.pairs {
		n := r.n / o.Pairs
		if i < r.n%o.Pairs {
			n++
		}
		p := &pair{
			from: r.user("s", i), to: r.user("r", i), want: n, late: forever, slots: make(chan struct{}, o.Window),
		}
		x.users[p.from], x.users[p.to] = i, i
		x.pairs[i] = p
	}
	return x
}

// user is the address of one user: s2-0 writes to r2-0 on the second route.
// Where there are accounts, they exist under this name.
func (r route) user(role string, i int) string {
	domain := domainOf(r.to)
	if role == "s" {
		domain = domainOf(r.from)
	}
	return fmt.Sprintf("%s%d-%d@%s", role, r.number, i, domain)
}

// id names a message on the wire; ofID reads it.
func (x *run) id(i, m int) string { return fmt.Sprintf("%d-%d-%d-%s", x.number, i, m, x.token) }

func (x *run) ofID(id string) (i, m int, ok bool) {
	var route int
	var token string
	_, err := fmt.Sscanf(id, "%d-%d-%d-%s", &route, &i, &m, &token)
	ok = err == nil && route == x.number && token == x.token && i >= 0 && i < len(x.pairs) && m >= 0
	return i, m, ok
}

// bodyOf is the text of one message: a number that the receiver reads, and
// words that show damage.
func bodyOf(pair, i int) string {
	return fmt.Sprintf("%d/%d Wer ist's, der so, von Nacht verhüllt, zu mir herüberhorcht? — ¿Quién? 誰だ <&> %d", pair, i, pair*i)
}

// sendAll sends the messages of one pair in order.
func (x *run) sendAll(ctx context.Context, from site, i int) {
	p := x.pairs[i]
	for x.room(ctx, p) {
		m, more := x.begin(p)
		if !more {
			return
		}
		if err := from.send(ctx, letter{p.from, p.to, x.id(i, m), bodyOf(i, m)}); err != nil {
			x.failed(i, m, err)
		}
	}
}

// room waits until the pair may send, and reports false when the time is over.
func (x *run) room(ctx context.Context, p *pair) bool {
	var tired <-chan time.Time
	if x.lease > 0 {
		tired = time.After(x.lease)
	}
	select {
	case p.slots <- struct{}{}:
	case <-tired:
	case <-ctx.Done():
		return false
	}
	if x.pace == 0 {
		return true
	}
	select {
	case <-time.After(x.pace):
		return true
	case <-ctx.Done():
		return false
	}
}

// begin enters the next message of a pair, if there is to be one.
func (x *run) begin(p *pair) (m int, more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m = len(p.msgs)
	if m >= p.want {
		return m, false
	}
	p.msgs = append(p.msgs, message{sent: time.Now()})
	x.open++
	return m, true
}

// finish says that no more will be sent.
func (x *run) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ending = true
	x.settle(nil, 0)
}

// arrived counts a message at its receiver.
func (x *run) arrived(user, _, body string, err error) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ours := x.users[user]
	if !ours {
		return
	}
	p := x.pairs[i]
	var in, m int
	_, scanErr := fmt.Sscanf(body, "%d/%d ", &in, &m)
	if scanErr != nil || err != nil || in != i || m < 0 || m >= len(p.msgs) || body != bodyOf(i, m) {
		p.strange++
		p.errs = append(p.errs, fmt.Errorf("pair %d: strange message %q (%v)", i, body, err))
		return
	}
	msg := &p.msgs[m]
	msg.arrived++
	switch {
	case msg.arrived > 1:
		return
	case m < p.next: // a later one was there before
		msg.overtaken = true
	}
	p.next = max(p.next, m+1)
	p.took = append(p.took, now.Sub(msg.sent))
	if x.enough--; x.enough == 0 {
		close(x.under)
	}
	if msg.told == "" {
		x.settle(p, 1)
	}
}

// bounced hears an error about a message that one of our senders sent.
func (x *run) bounced(user, id, _ string, err error) {
	if _, ours := x.users[user]; !ours || err == nil {
		return
	}
	if i, m, ok := x.ofID(id); ok {
		x.failed(i, m, err)
	}
}

// failed counts a message that its sender knows to be lost, or thinks so.
func (x *run) failed(i, m int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.pairs[i]
	if m >= len(p.msgs) || p.msgs[m].told != "" {
		return
	}
	msg := &p.msgs[m]
	msg.told = reason(err)
	p.errs = append(p.errs, fmt.Errorf("pair %d message %d: %w", i, m, err))
	if msg.arrived == 0 {
		x.settle(p, 1)
	}
}

// settle notes that n messages of a pair are not open any more; x.mu is held.
func (x *run) settle(p *pair, n int) {
	if n > 0 {
		select {
		case <-p.slots:
		default: // it has held up nobody for long
		}
		select {
		case x.heard <- struct{}{}:
		default:
		}
	}
	if x.open -= n; x.open == 0 && x.ending {
		close(x.done)
	}
}
