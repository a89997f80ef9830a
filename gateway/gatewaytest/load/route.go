package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A route is one direction between two ends.
type route struct {
	name     string
	number   int // from 1; part of user names, so that routes do not meet
	from, to *url.URL
	n        int // messages
}

// routes reads the arguments.
func (o options) routes() ([]route, error) {
	var all []route
	for i, s := range o.Routes {
		f := strings.Fields(s)
		if len(f) < 2 || len(f) > 3 {
			return nil, fmt.Errorf("route %q is not FROM TO [N]", s)
		}
		r := route{number: i + 1, n: o.N}
		var err error
		if r.from, err = end(f[0]); err != nil {
			return nil, err
		}
		if r.to, err = end(f[1]); err != nil {
			return nil, err
		}
		if len(f) == 3 {
			if r.n, err = strconv.Atoi(f[2]); err != nil {
				return nil, err
			}
		}
		r.name = fmt.Sprintf("%d %s %s -> %s %s", r.number, r.from.Scheme, domainOf(r.from), r.to.Scheme, domainOf(r.to))
		all = append(all, r)
	}
	return all, nil
}

// end reads one end. Everything but loopback is refused: this is no tool to
// aim at others.
func end(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	places := []string{u.Host}
	if l := u.Query().Get("listen"); l != "" {
		places = append(places, l)
	}
	for _, p := range places {
		if at, err := netip.ParseAddrPort(p); err != nil || !at.Addr().IsLoopback() {
			return nil, fmt.Errorf("%q: %q is no loopback address and port", s, p)
		}
	}
	return u, nil
}

func domainOf(u *url.URL) string { return strings.Trim(u.Path, "/") }

// A site is an end that is connected: the users of one domain.
type site interface {
	// send carries one message from a user of the site and returns when the
	// next one of the same user may be sent: for SIP with the final answer, for
	// XMPP when it is written.
	send(ctx context.Context, user, to, body string) error
	close()
}

// A delivery tells a run what has come for a user: a body, or an error about
// one.
type delivery func(user, body string, err error)

// openSite connects users of an end. What comes in goes to got, in order, from
// goroutines that close waits for.
func openSite(ctx context.Context, u *url.URL, o options, users []string, got delivery) (site, error) {
	conf, err := tlsConfig(u, o.CA)
	if err != nil {
		return nil, err
	}
	kind, transport, _ := strings.Cut(u.Scheme, "+")
	switch kind {
	case "sip":
		return openSIP(ctx, u.Host, domainOf(u), transport, conf, users, got)
	case "peer":
		return openSIPPeer(ctx, u.Host, u.Query().Get("listen"), domainOf(u), transport, conf, got)
	case "xmpp":
		return openXMPP(ctx, u.Host, domainOf(u), conf, users, got)
	case "s2s":
		return openS2S(ctx, u, conf, got)
	}
	return nil, fmt.Errorf("%q is no kind of end", u.Scheme)
}

// tlsConfig returns the configuration of both roles of an end. The server that
// an end connects to must show a certificate for the end's domain, or for the
// parameter "name" where it has one.
func tlsConfig(u *url.URL, ca string) (*tls.Config, error) {
	conf := &tls.Config{ServerName: cmp.Or(u.Query().Get("name"), domainOf(u)), RootCAs: x509.NewCertPool()}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		conf.RootCAs.AppendCertsFromPEM(b)
	}
	if cert := u.Query().Get("cert"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, u.Query().Get("key"))
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// A run is a route at work.
type run struct {
	route

	mu    sync.Mutex
	pairs []*pair
	users map[string]int // which pair a user belongs to
	left  int            // messages of which nothing has been heard
	done  chan struct{}
}

// A pair is one sender and one receiver.
type pair struct {
	want  int // messages in all
	next  int // the number that is to come next
	seen  []bool
	sent  []time.Time
	took  []time.Duration
	slots chan struct{} // one for each message under way

	doubled, disordered, strange int
	errs                         []error
}

// A result is what became of a route's messages.
type result struct {
	sent, received, lost, doubled, disordered, strange int

	errs    []error
	elapsed time.Duration
	took    []time.Duration // sorted
}

// user is the localpart of one user: "s2-0" writes to "r2-0" on the second
// route. Where there are accounts, they exist under this name.
func (r route) user(role string, i int) string { return fmt.Sprintf("%s%d-%d", role, r.number, i) }

// bodyOf is the text of one message: a number that the receiver reads, and
// words that show damage.
func bodyOf(pair, i int) string {
	return fmt.Sprintf("%d/%d Wer ist's, der so, von Nacht verhüllt, zu mir herüberhorcht? — ¿Quién? 誰だ <&> %d", pair, i, pair*i)
}

// A line is a route whose two ends are connected. It plays one run at a time.
type line struct {
	route
	options
	from, to site
	now      atomic.Pointer[run]
}

// connect opens both ends for o.Pairs pairs of users.
func (r route) connect(ctx context.Context, o options) (*line, error) {
	l := &line{route: r, options: o}
	l.now.Store(newRun(r, o))
	var senders, receivers []string
	for i := range o.Pairs {
		senders, receivers = append(senders, r.user("s", i)), append(receivers, r.user("r", i))
	}
	var err error
	l.to, err = openSite(ctx, r.to, o, receivers, func(user, body string, err error) { l.now.Load().arrived(user, body, err) })
	if err != nil {
		return nil, err
	}
	l.from, err = openSite(ctx, r.from, o, senders, func(user, body string, err error) { l.now.Load().bounced(user, body, err) })
	if err != nil {
		l.to.close()
		return nil, err
	}
	return l, nil
}

func (l *line) close() {
	l.from.close()
	l.to.close()
}

// play sends n messages and waits for them, until ctx is done.
func (l *line) play(ctx context.Context, n int) *result {
	r := l.route
	r.n = n
	x := newRun(r, l.options)
	l.now.Store(x)
	start := time.Now()
	var sending sync.WaitGroup
	for i := range x.pairs {
		sending.Go(func() { x.sendAll(ctx, l.from, i) })
	}
	sending.Wait()
	select {
	case <-x.done:
	case <-ctx.Done():
	}
	return x.result(time.Since(start))
}

// run connects, sends everything and disconnects.
func (r route) run(ctx context.Context, o options) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	l, err := r.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.play(ctx, r.n), nil
}

func newRun(r route, o options) *run {
	x := &run{route: r, left: r.n, users: make(map[string]int), done: make(chan struct{})}
	for i := range o.Pairs {
		x.users[r.user("s", i)], x.users[r.user("r", i)] = i, i
		n := r.n / o.Pairs
		if i < r.n%o.Pairs {
			n++
		}
		x.pairs = append(x.pairs, &pair{
			want: n, seen: make([]bool, n), sent: make([]time.Time, n), slots: make(chan struct{}, o.Window),
		})
	}
	return x
}

// sendAll sends the messages of one pair in order.
func (x *run) sendAll(ctx context.Context, from site, i int) {
	p := x.pairs[i]
	to := x.user("r", i) + "@" + domainOf(x.to)
	for m := range p.want {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		x.mu.Lock()
		p.sent[m] = time.Now()
		x.mu.Unlock()
		if err := from.send(ctx, x.user("s", i), to, bodyOf(i, m)); err != nil {
			x.failed(p, fmt.Errorf("pair %d message %d: %w", i, m, err))
		}
	}
}

// arrived counts a message at its receiver.
func (x *run) arrived(user, body string, err error) {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ours := x.users[user]
	if !ours {
		return
	}
	p := x.pairs[i]
	var in, m int
	if _, scanErr := fmt.Sscanf(body, "%d/%d ", &in, &m); scanErr != nil || err != nil || in != i || m < 0 || m >= p.want || body != bodyOf(i, m) {
		p.strange++
		p.errs = append(p.errs, fmt.Errorf("pair %d: strange message %q (%v)", i, body, err))
		return
	}
	switch {
	case p.seen[m]:
		p.doubled++
		return
	case m != p.next:
		p.disordered++
	}
	p.next = m + 1
	p.seen[m] = true
	p.took = append(p.took, now.Sub(p.sent[m]))
	x.settle(p)
}

// bounced hears an error about a message that one of our senders sent.
func (x *run) bounced(user, body string, err error) {
	if i, ours := x.users[user]; ours && err != nil {
		x.failed(x.pairs[i], fmt.Errorf("pair %d: %w", i, err))
	}
}

// failed counts a message that its sender knows to be lost.
func (x *run) failed(p *pair, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p.errs = append(p.errs, err)
	x.settle(p)
}

// settle counts down one message; x.mu is held.
func (x *run) settle(p *pair) {
	select {
	case <-p.slots:
	default: // an answer of failure for a message that did arrive
	}
	if x.left--; x.left == 0 {
		close(x.done)
	}
}

func (x *run) result(elapsed time.Duration) *result {
	x.mu.Lock()
	defer x.mu.Unlock()
	res := &result{sent: x.n, elapsed: elapsed}
	for _, p := range x.pairs {
		res.received += len(p.took)
		res.doubled += p.doubled
		res.disordered += p.disordered
		res.strange += p.strange
		res.errs = append(res.errs, p.errs...)
		res.took = append(res.took, p.took...)
	}
	res.lost = res.sent - res.received
	slices.Sort(res.took)
	return res
}

// add puts another run of the same route to a result.
func (r *result) add(more *result) {
	r.sent += more.sent
	r.received += more.received
	r.elapsed += more.elapsed
	r.took = append(r.took, more.took...)
	slices.Sort(r.took)
}

// rate is messages per second.
func (r *result) rate() float64 { return float64(r.received) / r.elapsed.Seconds() }

// quantile is the time in which that share of the messages arrived.
func (r *result) quantile(q float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[int(q*float64(len(r.took)-1))]
}

// String is the result on one line.
func (r *result) String() string {
	return fmt.Sprintf("%d sent, %d received, %d lost, %d doubled, %d out of order, %d damaged, %d errors; %.1f s, %.0f/s, p50 %v, p99 %v",
		r.sent, r.received, r.lost, r.doubled, r.disordered, r.strange, len(r.errs), r.elapsed.Seconds(), r.rate(),
		r.quantile(0.5).Round(10*time.Microsecond), r.quantile(0.99).Round(10*time.Microsecond))
}

// verdict is nil if everything arrived once, whole and in order, and nothing
// else was heard.
func (r *result) verdict() error {
	if r.lost+r.doubled+r.disordered+r.strange+len(r.errs) == 0 {
		return nil
	}
	return errors.Join(slices.Concat([]error{errors.New("not every message arrived once, whole and in order")}, r.errs[:min(len(r.errs), 5)])...)
}
