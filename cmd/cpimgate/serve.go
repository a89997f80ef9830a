package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"cpimgate/federation"
	"cpimgate/gateway"
	"cpimgate/gateway/config"
)

type serveCommand struct {
	Config string `short:"c" default:"/etc/cpimgate/cpimgate.yaml" help:"Configuration file." placeholder:"FILE"`
	Wire   bool   `short:"v" help:"Log every message as it goes over a wire, with bodies. Not for other people's messages."`
}

// gcPercent lets the heap grow to five times what lives before it is swept: what
// lives is small, and sweeping twice a second would cost a tenth of the CPU
// under load. The environment's GOGC overrules it.
const gcPercent = 400

func (s serveCommand) Run(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	settings, err := config.Load(s.Config)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(settings.Log.Level)
	out := newCollector(os.Stderr)
	defer out.close()
	log := logger(out, settings.Log.Format, level)
	cfg := gateway.Config{Settings: settings, Version: version(), Log: log}
	if s.Wire {
		cfg.Trace = func(r federation.Record) {
			log.Info("wire", "wire", r.Wire, "out", r.Out, "peer", r.Peer, "via", r.Via, "text", string(r.Text))
		}
	}
	g, err := gateway.New(cfg)
	if err != nil {
		return err
	}
	var homes []string
	for _, h := range settings.Homes() {
		homes = append(homes, h.Domain)
	}
	log.Info("serving", "version", version(), "domains", strings.Join(homes, ","), where(g.Addrs()))
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }() // ends with ctx, and is waited for here
	for {
		select {
		case <-hup:
			s.reload(g, log, level)
		case err := <-ended:
			log.Info("stopped", "err", err)
			return err
		}
	}
}

// where says on which addresses a gateway listens, by the keys of the settings.
func where(addrs map[string]netip.AddrPort) slog.Attr {
	var list []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(addrs)) {
		list = append(list, slog.Any(key, addrs[key]))
	}
	return slog.GroupAttrs("listen", list...)
}

// reload reads the file again, as SIGHUP asks. A file with a mistake changes
// nothing, and each mistake is told with its place.
func (s serveCommand) reload(g *gateway.Gateway, log *slog.Logger, level *slog.LevelVar) {
	settings, err := config.Load(s.Config)
	if err == nil {
		_, _, err = g.Reload(settings)
	}
	if err != nil {
		for _, mistake := range mistakes(err) {
			log.Error("settings are bad, what was read before stays in force", "err", mistake)
		}
		return
	}
	level.Set(settings.Log.Level)
}

// mistakes returns the errors that were joined to one.
func mistakes(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return []error{err}
}

func logger(to io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(to, o))
	}
	return slog.New(slog.NewTextHandler(to, o))
}
