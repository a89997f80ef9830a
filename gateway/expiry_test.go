package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cpimgate/federation/trust"
)

// TestEndings: an operator hears of a certificate's end at the start, at 30, 14,
// 7, 3 and 1 days before it and on each day after it, once each, and that it was
// replaced.
func TestEndings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ends := []time.Time{start.Add(31 * day), start.Add(365 * day), start.Add(5 * day)}
		var heard []string
		e := &endings{
			list: func() []trust.Expiry {
				var list []trust.Expiry
				for i, at := range ends {
					if i == 2 && time.Since(start) > 3*day {
						at = at.Add(365 * day) // replaced
					}
					list = append(list, trust.Expiry{Names: []string{fmt.Sprint("c", i)}, NotAfter: at})
				}
				return list
			},
			say: func(_ context.Context, l slog.Level, what string, c trust.Expiry) {
				heard = append(heard, fmt.Sprintf("%g %s %s %s", time.Since(start).Hours()/24, c.Names[0], l, what))
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		<-time.After(33*day + time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []string{
			"0 c0 INFO our certificate",
			"0 c1 INFO our certificate",
			"0 c2 INFO our certificate",
			"0 c2 WARN our certificate ends soon", // within 7 days
			"2 c2 WARN our certificate ends soon", // 3
			"1 c0 WARN our certificate ends soon", // 30
			"17 c0 WARN our certificate ends soon",
			"24 c0 WARN our certificate ends soon",
			"28 c0 WARN our certificate ends soon",
			"30 c0 WARN our certificate ends soon",
			"31 c0 ERROR our certificate has ended",
			"32 c0 ERROR our certificate has ended",
			"33 c0 ERROR our certificate has ended",
			"3.0416666666666665 c2 INFO our certificate was replaced",
		}
		slices.Sort(heard)
		slices.Sort(want)
		if !slices.Equal(heard, want) {
			t.Errorf("heard\n%q\nwant\n%q", heard, want)
		}
	})
}
