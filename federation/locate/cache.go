package locate

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"cpimgate/cpim/fault"
)

// leastTTL is how long anything is remembered: a zone that forbids it would
// otherwise cost a question for each message.
const leastTTL = time.Second

// How long a failure is remembered, so that a domain whose servers are down
// costs one question in that time, not one a message (RFC 2308).
const failureTTL = 5 * time.Second

// A cache remembers answers for as long as they hold, bounded in number, and
// asks each question once however many want to know. Expired entries go when
// they are in the way.
type cache struct {
	from  Resolver
	stale time.Duration
	now   func() time.Time
	log   *slog.Logger
	known *lru.Cache[question, entry]
	group singleflight.Group
}

type question struct {
	name  string
	qtype uint16
}

// An entry is an answer or a failure.
type entry struct {
	answer Answer
	err    error
	ended  time.Time // when the answer was over
	again  time.Time // when to ask again
}

// newCache returns a cache before a resolver. It is a [Resolver] itself.
func newCache(cfg Config) *cache {
	known, err := lru.New[question, entry](cfg.CacheSize)
	if err != nil {
		panic(err) // only a size that is not positive; New has made it so
	}
	return &cache{from: cfg.Resolver, stale: cfg.Stale, now: cfg.Now, log: cfg.Log, known: known}
}

// Lookup implements [Resolver].
func (c *cache) Lookup(ctx context.Context, name string, qtype uint16) (Answer, error) {
	q := question{name, qtype}
	if e, ok := c.remembered(q); ok {
		return e.answer, e.err
	}
	// The flight goes on when the first who asked has left, for the others; the
	// resolver's time-outs bound it, and nobody else waits for it.
	flight := c.group.DoChan(name+"/"+strconv.Itoa(int(qtype)), func() (any, error) {
		return c.fetch(context.WithoutCancel(ctx), q), nil
	})
	select {
	case r := <-flight:
		e := r.Val.(entry)
		return e.answer, e.err
	case <-ctx.Done():
		return Answer{}, fault.Wrap(fault.Timeout, ctx.Err(), "DNS")
	}
}

// remembered returns what need not be asked.
func (c *cache) remembered(q question) (entry, bool) {
	e, ok := c.known.Get(q)
	return e, ok && c.now().Before(e.again)
}

// fetch asks the resolver and remembers what it says. While the DNS fails, an
// old answer is better than none, for as long as the configuration allows
// (RFC 8767).
func (c *cache) fetch(ctx context.Context, q question) entry {
	answer, err := c.from.Lookup(ctx, q.name, q.qtype)
	now := c.now()
	ends := now.Add(max(answer.TTL, leastTTL))
	e := entry{answer: answer, err: err, ended: ends, again: ends}
	if err != nil {
		if old, ok := c.known.Peek(q); ok && old.err == nil && now.Before(old.ended.Add(c.stale)) {
			c.log.Warn("DNS fails, old answer used", "name", q.name, "ended", old.ended, "err", err)
			e = old
		}
		e.again = now.Add(failureTTL)
	}
	if now.Before(e.again) {
		c.known.Add(q, e)
	}
	return e
}
