// Command load sends numbered messages over routes and counts them where they
// arrive. It speaks SIP and XMPP with code of its own, as little as sending
// takes, so that it neither shares the gateway's mistakes nor its costs; it is
// a process of its own, so that its work is in nobody's account. It sends to
// loopback addresses only, a bounded number of messages in a bounded time.
//
// A route is "FROM TO [N]", two ends and a number of messages. An end is
//
//	sip+udp://127.7.1.10:5060/sip.example      clients that register there; also sip+tcp, sip+tls
//	xmpp://127.7.1.20:5223/xmpp.example        clients that log in there, over TLS
//	peer+tcp://127.7.1.1:5060/raw.example?listen=127.7.1.31:5060      the SIP server of a domain itself
//	s2s://127.7.1.1:5270/load.example?listen=127.7.1.30:5270          the XMPP server of a domain itself
//
// where the address is whom it connects to, and listen, for servers, where it
// is found. The last two take cert= and key=, for TLS.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/alecthomas/kong"
)

// options are what both commands share.
type options struct {
	CA      string        `help:"Authority that all ends trust, a PEM file." type:"existingfile"`
	Pairs   int           `help:"Pairs of users on each route." default:"10"`
	N       int           `help:"Messages on a route that does not say." name:"messages" short:"n" default:"500"`
	Window  int           `help:"Messages of one pair that may be under way." default:"20"`
	Timeout time.Duration `help:"For one route." default:"120s"`
	Routes  []string      `arg:"" help:"FROM TO [N]"`

	managed bool // XMPP clients have their server acknowledge what they send (XEP-0198)
}

type cli struct {
	Count countCmd `cmd:"" help:"Send, and fail unless everything arrives once, whole and in order."`
	Bench benchCmd `cmd:"" help:"Send, and print what it cost."`
	Told  toldCmd  `cmd:"" help:"Send until a line is read, while servers go and come, and print what became of each message."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	k := kong.Parse(&cli{}, kong.Name("load"), kong.Description("A load tool for loopback."))
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

type countCmd struct {
	options
}

// Run runs every route, all at the same time, and prints a line for each.
func (c *countCmd) Run(ctx context.Context) error {
	routes, err := c.routes()
	if err != nil {
		return err
	}
	type outcome struct {
		i   int
		res *result
		err error
	}
	done := make(chan outcome, len(routes))
	for i, r := range routes {
		// received below, once for each
		go func() {
			res, err := r.run(ctx, c.options)
			done <- outcome{i, res, err}
		}()
	}
	outcomes := make([]outcome, len(routes))
	for range routes {
		o := <-done
		outcomes[o.i] = o
	}
	for i, o := range outcomes {
		if o.err == nil {
			o.err = o.res.verdict()
		}
		if o.res != nil {
			fmt.Printf("%s: %v\n", routes[i].name, o.res)
		}
		if o.err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", routes[i].name, o.err))
		}
	}
	return err
}
