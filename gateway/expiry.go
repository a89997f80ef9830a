package gateway

import (
	"context"
	"log/slog"
	"time"

	"cpimgate/federation/trust"
)

// day is how the time that a certificate has left is counted.
const day = 24 * time.Hour

// warnings are the days before its end at which we speak of a certificate
// again. An ended one makes peers refuse us (RFC 5280, section 4.1.2.5).
var warnings = []int{1, 3, 7, 14, 30}

// far is before any warning.
const far = 1 << 20

// endings tells the operator that a certificate of ours will end, each day that
// it is over, and that another has taken its place.
type endings struct {
	list func() []trust.Expiry // in an order that stays
	say  func(context.Context, slog.Level, string, trust.Expiry)
	seen []ending
}

// An ending is what was said last of one certificate.
type ending struct {
	at   time.Time
	days int // before the end; less than 0 after it
}

// Run looks at the certificates now and each hour until ctx is done.
func (e *endings) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		e.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (e *endings) look(ctx context.Context, now time.Time) {
	list := e.list()
	what := "our certificate was replaced"
	if len(e.seen) != len(list) {
		e.seen, what = make([]ending, len(list)), "our certificate"
	}
	for i, c := range list {
		was := &e.seen[i]
		if !was.at.Equal(c.NotAfter) {
			*was = ending{c.NotAfter, far}
			e.say(ctx, slog.LevelInfo, what, c)
		}
		days := stage(c.NotAfter.Sub(now))
		if days >= was.days {
			continue
		}
		was.days = days
		switch {
		case days < 0:
			e.say(ctx, slog.LevelError, "our certificate has ended", c)
		case days < far:
			e.say(ctx, slog.LevelWarn, "our certificate ends soon", c)
		}
	}
}

// stage returns the warning that the time left is in, or the days since the end
// as a number less than 0.
func stage(left time.Duration) int {
	if left <= 0 {
		return int(left/day) - 1
	}
	for _, days := range warnings {
		if left <= time.Duration(days)*day {
			return days
		}
	}
	return far
}

// sayEnding writes what there is to say of a certificate to the log.
func (g *Gateway) sayEnding(ctx context.Context, l slog.Level, what string, c trust.Expiry) {
	g.log.Log(ctx, l, what, "names", c.Names, "file", c.File, "not_after", c.NotAfter)
}
