package main

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/goccy/go-yaml"

	"cpimgate/gateway"
	"cpimgate/gateway/config"
)

// example is a file to begin with; it is checked by a test.
//
//go:embed cpimgate.yaml
var example string

type configCommands struct {
	Check   checkCommand   `cmd:"" help:"Say what is wrong with the file, with line and column."`
	Show    showCommand    `cmd:"" help:"Print what holds, defaults filled in."`
	Example exampleCommand `cmd:"" help:"Print a file to begin with."`
}

type fileFlag struct {
	Config string `short:"c" default:"/etc/cpimgate/cpimgate.yaml" help:"Configuration file." placeholder:"FILE"`
}

type checkCommand struct{ fileFlag }

func (c checkCommand) Run() error {
	settings, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	store, err := gateway.Certificates(settings, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, warning := range settings.Warnings() {
		fmt.Fprintln(os.Stderr, "warning:", warning)
	}
	if gaps := store.Gaps(); len(gaps) > 0 {
		return errors.Join(gaps...)
	}
	_, err = fmt.Println(c.Config + " is good")
	return err
}

type showCommand struct{ fileFlag }

func (c showCommand) Run() error {
	settings, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	return yaml.NewEncoder(os.Stdout, yaml.Indent(2), yaml.OmitEmpty()).Encode(settings)
}

type exampleCommand struct{}

func (exampleCommand) Run() error {
	_, err := fmt.Print(example)
	return err
}
