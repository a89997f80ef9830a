package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

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
	settings, err := config.Load(s.Config)
	if err != nil {
		return err
	}
	log := logger(settings.Log)
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
	log.Info("serving", "version", version(), "domains", strings.Join(homes, ","))
	err = g.Run(ctx)
	log.Info("stopped", "err", err)
	return err
}

func logger(l config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
