package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// benchCmd measures routes. The first is what the others are compared with.
//
// Routes take turns, a share of their messages each time: what a route costs
// depends on how busy the machine is besides, and so all of them meet the same.
type benchCmd struct {
	options

	Pid      []int  `help:"Process whose CPU time a route costs, with its children; one for each route." sep:","`
	Admin    string `help:"URL of the gateway's admin listener; routes after the first go through it."`
	Turns    int    `help:"In how many turns each route sends its messages." default:"5"`
	Profiles string `help:"Directory for profiles of the gateway. There is one turn then." type:"existingdir"`
}

// A cost is what one route took.
type cost struct {
	*line
	pid    int
	admin  string // URL; "" where allocations are unknown
	res    *result
	cpu    time.Duration // of all messages, as are the others
	tool   time.Duration // our own
	allocs float64
}

// Run measures and prints a table.
func (c *benchCmd) Run(ctx context.Context) error {
	routes, err := c.routes()
	if err != nil {
		return err
	}
	if len(c.Pid) != len(routes) {
		return fmt.Errorf("%d routes, but %d processes", len(routes), len(c.Pid))
	}
	if c.Profiles != "" {
		c.Turns = 1
	}
	var costs []*cost
	for i, r := range routes {
		one := &cost{pid: c.Pid[i], res: new(result)}
		if i > 0 {
			one.admin = c.Admin
		}
		if one.line, err = c.warm(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		defer one.close()
		costs = append(costs, one)
	}
	for range c.Turns {
		for _, one := range costs {
			if err := c.measure(ctx, one); err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
		}
	}
	return table(costs)
}

// warm connects a route and plays a little, so that everybody is known.
func (c *benchCmd) warm(ctx context.Context, r route) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	l, err := r.connect(ctx, c.options)
	if err != nil {
		return nil, err
	}
	if err := l.play(ctx, 5*c.Pairs).verdict(); err != nil {
		l.close()
		return nil, fmt.Errorf("warm-up: %w", err)
	}
	return l, nil
}

// measure plays one turn of a route and adds up what it costs.
func (c *benchCmd) measure(ctx context.Context, one *cost) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	n := one.n / c.Turns
	profiled := profiles{
		url: one.admin, dir: c.Profiles, route: one.route.from.Scheme + "-" + one.route.to.Scheme, seconds: max(1, n/profileRate),
	}.start(ctx)
	cpu, tool, allocs := cpuOf(one.pid), cpuOf(os.Getpid()), allocsOf(ctx, one.admin)
	res := one.play(ctx, n)
	one.cpu += cpuOf(one.pid) - cpu
	one.tool += cpuOf(os.Getpid()) - tool
	one.allocs += allocsOf(ctx, one.admin) - allocs
	if err := errors.Join(res.verdict(), profiled()); err != nil {
		return err
	}
	one.res.add(res)
	return nil
}

// table prints all costs, for one message each, beside the first.
func table(costs []*cost) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "route\tmessages\t/s\tp50\tp99\tCPU\tratio\tallocs\tload tool's CPU\t")
	base := float64(costs[0].cpu) / float64(costs[0].res.received)
	for _, c := range costs {
		n := c.res.received
		each := func(d time.Duration) time.Duration { return (d / time.Duration(n)).Round(time.Microsecond) }
		allocs, ratio := "-", "-"
		if c.allocs > 0 {
			allocs = fmt.Sprintf("%.0f", c.allocs/float64(n))
		}
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", float64(c.cpu)/float64(n)/base)
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%v\t%v\t%v\t%s\t%s\t%v\t\n", c.name, n, c.res.rate(),
			c.res.quantile(0.5).Round(10*time.Microsecond), c.res.quantile(0.99).Round(10*time.Microsecond),
			each(c.cpu), ratio, allocs, each(c.tool))
	}
	return w.Flush()
}

// clockTick is the unit of times in /proc, everywhere that Linux runs (proc(5),
// sysconf(_SC_CLK_TCK)).
const clockTick = 10 * time.Millisecond

// cpuOf is the CPU time that a process and its living descendants have used.
func cpuOf(pid int) (sum time.Duration) {
	parents := make(map[int]int)
	times := make(map[int]time.Duration)
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// the name in brackets may contain anything
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 13 {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		parent, _ := strconv.Atoi(fields[1])
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		parents[id], times[id] = parent, time.Duration(user+system)*clockTick
	}
	for id, t := range times {
		for at := id; at != 0; at = parents[at] {
			if at == pid {
				sum += t
				break
			}
		}
	}
	return sum
}

// allocsOf reads how many objects the gateway has allocated so far; 0 when it
// does not say.
func allocsOf(ctx context.Context, admin string) float64 {
	if admin == "" {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "go_memstats_mallocs_total "); ok {
			n, _ := strconv.ParseFloat(v, 64) // Prometheus writes numbers
			return n
		}
	}
	return 0
}
