package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"

	"cpimgate/gateway"
	"cpimgate/gateway/config"
	"cpimgate/gateway/store"
)

type storeCommands struct {
	Backup  backupCommand  `cmd:"" help:"Write all records to a new file."`
	Restore restoreCommand `cmd:"" help:"Put the records of a backup into an empty store."`
}

type backupCommand struct {
	fileFlag

	File string `arg:"" placeholder:"FILE" help:"The backup, which must not be there yet."`
}

func (c backupCommand) Run(ctx context.Context) error {
	settings, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, gateway.StoreConfig(settings, warnings()))
	if err != nil {
		return err
	}
	defer s.Close()
	n, err := s.Backup(ctx, c.File)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%d records of %s are in %s\n", n, place(settings), c.File)
	return err
}

type restoreCommand struct {
	fileFlag

	File string `arg:"" placeholder:"FILE" help:"What cpimgate store backup has written."`
}

func (c restoreCommand) Run(ctx context.Context) error {
	settings, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	n, err := store.Restore(ctx, gateway.StoreConfig(settings, warnings()), c.File)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%d records of %s are in %s\n", n, c.File, place(settings))
	return err
}

// warnings is the log of a command: what the operator must know.
func warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// place names the store of the settings.
func place(s *config.Config) string { return cmp.Or(s.Store.URL.String(), s.Store.Dir) }
