// Command cpimgate is the gateway between SIP/SIMPLE domains and XMPP domains.
//
//	cpimgate serve                 carry messages, as /etc/cpimgate/cpimgate.yaml says
//	cpimgate demo                  a small SIP domain and a small XMPP domain write to each other
//	cpimgate check DOMAIN          find out why a domain cannot be reached
//	cpimgate map FILE              show what a message becomes on the other side
//	cpimgate config check          read the file and say what is wrong with it
//	cpimgate config show           what holds, defaults filled in
//	cpimgate config example        a file to begin with
//	cpimgate store backup FILE     write what must survive to a file
//	cpimgate store restore FILE    put it into an empty store
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Serve   serveCommand   `cmd:"" help:"Carry messages until told to stop."`
	Demo    demoCommand    `cmd:"" help:"Let a small SIP domain and a small XMPP domain write to each other, all in this process."`
	Check   probeCommand   `cmd:"" help:"Find out why a domain cannot be reached, and what to fix first."`
	Map     mapCommand     `cmd:"" help:"Show what a SIP message or a stanza becomes on the other side, offline."`
	Config  configCommands `cmd:"" help:"Look at the configuration."`
	Store   storeCommands  `cmd:"" help:"Back up what must survive, and restore it."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type versionCommand struct{}

func (versionCommand) Run() error {
	_, err := fmt.Println("cpimgate", version())
	return err
}

// version is what the build recorded: a tag, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c commands
	k := kong.Parse(&c, kong.Name("cpimgate"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Exit(leave),
		kong.Description("Gateway between SIP/SIMPLE domains and XMPP domains."))
	if err := k.Run(); err != nil {
		if text := err.Error(); text != "" {
			fmt.Fprintln(os.Stderr, "cpimgate:", text)
		}
		os.Exit(statusOf(err))
	}
}

// statusOf returns the exit status that an error wants: 1 unless it says
// another.
func statusOf(err error) int {
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	return 1
}

// leave ends the program before a command has run: after --help, or because
// the command line is wrong.
func leave(code int) {
	if code != 0 {
		code = wrongUsage
	}
	os.Exit(code)
}
