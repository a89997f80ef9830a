package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cpimgate/gateway/config"
	"cpimgate/gateway/probe"
)

type probeCommand struct {
	Domain  string        `arg:"" help:"The domain to look at."`
	Config  string        `short:"c" placeholder:"FILE" help:"Look as this configuration would: its rules and servers, its certificate, its resolvers. Without it: the system's DNS, TLS required, no certificate of ours."`
	JSON    bool          `name:"json" help:"Print the same as one JSON object."`
	Timeout time.Duration `default:"8s" help:"For the DNS, and for each target; all targets are asked at a time (${default})."`
}

// Help is what --help says besides.
func (probeCommand) Help() string {
	return `Tells what the DNS says about the domain, where messages for it would go, and for each target in the order in which
it is tried: whether it is there, what TLS and certificate it shows, whether that proves the domain, and what it
offers. No message is sent. The last line is the first thing to fix.

Exit status: 0 all is fine, 1 there is something to fix, 2 the command line or the configuration is wrong.`
}

// Run implements the command.
func (p probeCommand) Run(ctx context.Context) error { return p.look(ctx, os.Stdout, probe.Config{}) }

func (p probeCommand) look(ctx context.Context, out io.Writer, cfg probe.Config) error {
	cfg.Version, cfg.Patience = version(), p.Timeout
	if p.Timeout <= 0 {
		return usage(fmt.Errorf("--timeout is more than zero"))
	}
	if p.Config != "" {
		var err error
		if cfg.Settings, err = config.Load(p.Config); err != nil {
			return usage(err)
		}
	}
	r, err := probe.Look(ctx, cfg, p.Domain)
	if err != nil {
		return usage(fmt.Errorf("%s: %w", p.Domain, err))
	}
	if p.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(r)
	} else {
		_, err = io.WriteString(out, sheet(r))
	}
	if err == nil && !r.Fine {
		return exit{code: 1}
	}
	return err
}

// sheet is a report for people.
func sheet(r *probe.Report) string {
	s := &lines{}
	s.add(0, "%s (security: %s)", r.Domain, r.Security)
	s.add(0, "")
	s.add(0, "What the DNS and the configuration say")
	for _, line := range r.DNS {
		s.add(2, "%s", line)
	}
	s.wire("SIP", r.SIP)
	s.wire("XMPP", r.XMPP)
	s.add(0, "")
	if used := map[string]int{"SIP": r.SIP.Used, "XMPP": r.XMPP.Used}[r.FromSIP]; used > 0 {
		s.add(0, "People who use SIP write to it over %s.", r.FromSIP)
	}
	if r.Fine {
		s.add(0, "Nothing to fix.")
	} else {
		s.add(0, "First to fix: %s", r.Fix)
	}
	return s.String()
}

// lines is a text that is made line by line. What peers say is in it: nothing
// of that gives a terminal orders.
type lines struct{ strings.Builder }

func (s *lines) add(indent int, format string, args ...any) {
	text := oneLine(fmt.Sprintf(format, args...))
	s.WriteString(strings.TrimRight(strings.Repeat(" ", indent)+text, " ") + "\n")
}

// list adds a line where there is something to say.
func (s *lines) list(what string, items []string) {
	if len(items) > 0 {
		s.add(5, "%s %s", what, strings.Join(items, ", "))
	}
}

func (s *lines) wire(name string, w probe.Wire) {
	s.add(0, "")
	switch {
	case len(w.Targets) == 0:
		s.add(0, "%s: none: %s", name, w.Problem)
	case w.Guessed:
		s.add(0, "%s: no record says so, but the domain has an address", name)
	case w.Used == 0:
		s.add(0, "%s: no target works", name)
	default:
		s.add(0, "%s: target %d would be used", name, w.Used)
	}
	for i := range w.Targets {
		s.target(i+1, name, &w.Targets[i])
	}
}

func (s *lines) target(n int, wire string, t *probe.Target) {
	verdict := "works"
	switch {
	case !t.Reached:
		verdict = "not reached"
	case !t.Works:
		verdict = "does not work"
	}
	s.add(2, "%d. %s: %s", n, t, verdict)
	switch {
	case t.TLS != "" && wire == "XMPP" && t.Transport == "tcp":
		s.add(5, "TLS %s, %s, after STARTTLS", t.TLS, t.Cipher)
	case t.TLS != "":
		s.add(5, "TLS %s, %s", t.TLS, t.Cipher)
	case t.Reached:
		s.add(5, "no TLS")
	}
	if t.Certificate != nil {
		s.certificate(t.Certificate)
	}
	s.list("offers", t.Features)
	if t.Answer != "" {
		s.add(5, "answers OPTIONS %s", t.Answer)
	}
	s.list("takes", t.Allow)
	s.list("takes bodies", t.Accept)
	if t.Server != "" {
		s.add(5, "is %s", t.Server)
	}
	if t.Fix != "" {
		s.add(5, "to fix: %s", t.Fix)
	}
}

func (s *lines) certificate(c *probe.Certificate) {
	proves := "does not prove the domain"
	if c.Proves {
		proves = "proves the domain"
	}
	s.add(5, "certificate of %s, until %s, %s", cmp.Or(strings.Join(c.Names, ", "), "nobody"), c.NotAfter.Format(time.DateOnly), proves)
	s.add(5, "chain %s", strings.Join(c.Chain, " <- "))
	if c.Failed != "" {
		s.add(5, "failed: %s: %s (%s)", c.Failed, c.Detail, c.Advice)
	}
}
