// Command cpimgate is the gateway between SIP/SIMPLE domains and XMPP domains.
//
//	cpimgate serve                 carry messages, as /etc/cpimgate/cpimgate.yaml says
//	cpimgate demo                  a small SIP domain and a small XMPP domain write to each other
//	cpimgate config check          read the file and say what is wrong with it
//	cpimgate config show           what holds, defaults filled in
//	cpimgate config example        a file to begin with
package main

import (
	"context"
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
	Config  configCommands `cmd:"" help:"Look at the configuration."`
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
	k := kong.Parse(&c, kong.Name("cpimgate"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Description("Gateway between SIP/SIMPLE domains and XMPP domains."))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cpimgate:", err)
		os.Exit(1)
	}
}
