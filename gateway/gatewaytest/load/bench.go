package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// benchCmd measures routes one after the other. The first is what the others
// are compared with.
type benchCmd struct {
	options

	Pid     []int  `help:"Process whose CPU time a route costs, with its children; one for each route." sep:","`
	Metrics string `help:"URL of the gateway's metrics; routes after the first allocate there."`
}

// A cost is what one route took.
type cost struct {
	name   string
	res    *result
	cpu    time.Duration // for one message
	allocs float64       // for one message; 0 where unknown
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
	var costs []cost
	for i, r := range routes {
		metrics := c.Metrics
		if i == 0 {
			metrics = ""
		}
		one, err := c.measure(ctx, r, c.Pid[i], metrics)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		costs = append(costs, one)
	}
	return table(costs)
}

// measure plays a route twice over the same connections: once short, so that
// everybody is known, once for the table.
func (c *benchCmd) measure(ctx context.Context, r route, pid int, metrics string) (cost, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	l, err := r.connect(ctx, c.options)
	if err != nil {
		return cost{}, err
	}
	defer l.close()
	if err := l.play(ctx, 5*c.Pairs).verdict(); err != nil {
		return cost{}, fmt.Errorf("warm-up: %w", err)
	}
	cpu, allocs := cpuOf(pid), allocsOf(ctx, metrics)
	res := l.play(ctx, r.n)
	if err := res.verdict(); err != nil {
		return cost{}, err
	}
	n := res.received
	return cost{
		name: r.name, res: res,
		cpu:    (cpuOf(pid) - cpu) / time.Duration(n),
		allocs: (allocsOf(ctx, metrics) - allocs) / float64(n),
	}, nil
}

// table prints all costs, beside the first.
func table(costs []cost) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "route\tmessages\t/s\tp50\tp99\tCPU/message\tratio\tallocs/message\t")
	base := costs[0].cpu
	for _, c := range costs {
		allocs, ratio := "-", "-"
		if c.allocs > 0 {
			allocs = fmt.Sprintf("%.0f", c.allocs)
		}
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", float64(c.cpu)/float64(base))
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%v\t%v\t%v\t%s\t%s\t\n", c.name, c.res.received, c.res.rate(),
			c.res.quantile(0.5).Round(10*time.Microsecond), c.res.quantile(0.99).Round(10*time.Microsecond),
			c.cpu.Round(time.Microsecond), ratio, allocs)
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
func allocsOf(ctx context.Context, url string) float64 {
	if url == "" {
		return 0
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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
