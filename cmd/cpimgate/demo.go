package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/gateway/gatewaytest"
)

// The domains of the demo, and one that does not exist.
const (
	sipDomain  = "montague.example"
	xmppDomain = "capulet.example"
	noDomain   = "nowhere.example"
)

// inTime lets errors come in time on the slowest machine. Who has written before,
// as Juliet has, is answered at once.
const inTime = "peers: {" + xmppDomain + ": {error_window: 15s}}\n"

type demoCommand struct {
	Verbose bool   `short:"v" help:"Show the wire text of each message, and the gateway's log."`
	Stay    bool   `help:"Keep running afterwards, for SIP and XMPP clients of your own."`
	SIP     string `default:"127.0.0.1:15060" placeholder:"ADDRESS" help:"With --stay: where SIP clients connect (${default})."`
	XMPP    string `default:"127.0.0.1:15222" placeholder:"ADDRESS" help:"With --stay: where XMPP clients connect (${default})."`
}

func (d demoCommand) Run(ctx context.Context) error { return d.play(ctx, os.Stdout) }

func (d demoCommand) play(ctx context.Context, out io.Writer) error { return d.perform(ctx, out, acts) }

// perform makes a world, has its people write to each other, and shows what has
// crossed. It is an error if anything is not as it should be.
func (d demoCommand) perform(ctx context.Context, out io.Writer, acts []act) error {
	l := newLadder(out, d.Verbose)
	o := gatewaytest.Options{
		SIP: sipDomain, XMPP: xmppDomain, SIPUsers: []string{"romeo"}, XMPPUsers: []string{"juliet"},
		Version: version(), Trace: l.trace, YAML: inTime,
	}
	if d.Verbose {
		o.Log = slog.New(l.log())
	}
	if d.Stay {
		o.SIPClients, o.XMPPClients = d.SIP, d.XMPP
	}
	start := time.Now()
	w, err := gatewaytest.NewWorld(ctx, o)
	if err != nil {
		return err
	}
	l.head(sipDomain, "cpimgate", xmppDomain)
	s := &show{World: w, ladder: l}
	for i, a := range acts {
		l.title(i+1, a.title)
		s.report(s.act(ctx, a))
	}
	err = s.end(len(acts), time.Since(start))
	if d.Stay && ctx.Err() == nil {
		err = errors.Join(err, s.stay(ctx))
	}
	return errors.Join(err, w.Close())
}

// A show is the demo while it runs.
type show struct {
	*gatewaytest.World
	*ladder

	failed int
}

// An act is one message and what must become of it.
type act struct {
	title   string
	toXMPP  bool
	to      string
	text    string
	refused string   // the status or condition that the sender must hear; "" for none
	crosses []string // what the trace must hold, in this order
}

// acts are the play. Romeo uses SIP, Juliet uses XMPP.
var acts = []act{
	{"Juliet (XMPP) writes to Romeo (SIP), in French", false, "romeo@" + sipDomain, "Ô Roméo, Roméo ! Pourquoi es-tu Roméo ? 🌹", "",
		[]string{"XMPP in message", "SIP out MESSAGE", "SIP in 200"}},
	{"Romeo answers", true, "juliet@" + xmppDomain, "Neither, fair saint, if either thee dislike.", "",
		[]string{"SIP in MESSAGE", "XMPP out message", "SIP out 200"}},
	{"Romeo goes on, in Japanese", true, "juliet@" + xmppDomain, "恋の軽い翼で、この塀を飛び越えて来ました。", "",
		[]string{"SIP in MESSAGE", "XMPP out message", "SIP out 200"}},
	{"Romeo writes to a user that does not exist", true, "rosaline@" + xmppDomain, "Rosaline?", "403",
		[]string{"SIP in MESSAGE", "XMPP out message", "XMPP in error", "SIP out 403"}},
	{"Juliet writes to a user that does not exist", false, "mercutio@" + sipDomain, "Is Romeo with you?", "item-not-found",
		[]string{"XMPP in message", "SIP out MESSAGE", "SIP in 404", "XMPP out error"}},
	{"Romeo writes to a domain that does not resolve", true, "juliet@" + noDomain, "Is anybody there?", "404",
		[]string{"SIP in MESSAGE", "SIP out 404"}},
}

// A verdict is what the sender has learned of a message.
type verdict struct {
	heard string // in plain words
	wrong error  // in which way it is not as it should be
}

// act has one message written, and looks at both its ends.
func (s *show) act(ctx context.Context, a act) verdict {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	write := s.fromJuliet
	if a.toXMPP {
		write = s.fromRomeo
	}
	v := write(ctx, a)
	v.wrong = errors.Join(v.wrong, s.await(ctx, a.crosses))
	if s.wire { // the gateway's line about the message is still to come
		v.wrong = errors.Join(v.wrong, s.await(ctx, []string{messageNote}))
	}
	return v
}

// fromRomeo writes over SIP, where the answer to the request says what became
// of it.
func (s *show) fromRomeo(ctx context.Context, a act) verdict {
	res, err := s.SIP.Write("romeo", a.to, a.text)
	if err != nil {
		return verdict{"Romeo gets no answer.", err}
	}
	status := fmt.Sprint(res.StatusCode)
	answer := status + " " + res.Reason
	if !res.IsSuccess() {
		return verdict{"Romeo learns: " + answer + ". He knows that it was not delivered.", unless(a.refused == status, "the answer is %s", answer)}
	}
	v := verdict{"Romeo learns: " + answer + ". Juliet's server has taken it.", unless(a.refused == "", "the answer is %s", answer)}
	select {
	case e := <-s.XMPP.Stanzas:
		m, err := xep.ParseMessage(e)
		if err != nil || len(m.Bodies) != 1 || m.Bodies[0].Value != a.text || m.From.Bare().String() != "romeo@"+sipDomain || m.To.String() != a.to {
			v.wrong = errors.Join(v.wrong, err, fmt.Errorf("juliet received %s", e))
		}
	case <-ctx.Done():
		v.wrong = errors.Join(v.wrong, errors.New("juliet received nothing"))
	}
	return v
}

// fromJuliet writes over XMPP, where only failure is told.
func (s *show) fromJuliet(ctx context.Context, a act) verdict {
	id := "juliet-" + fmt.Sprint(time.Now().UnixNano())
	if err := s.XMPP.Write("juliet", a.to, id, a.text); err != nil {
		return verdict{"Juliet's own server cannot send it.", err}
	}
	select {
	case req := <-s.SIP.Requests:
		v := verdict{heard: "Juliet hears of no error: in XMPP that says that it was delivered.", wrong: unless(a.refused == "", "it was delivered")}
		if string(req.Body()) != a.text || req.From().Address.User+"@"+req.From().Address.Host != "juliet@"+xmppDomain {
			v.wrong = errors.Join(v.wrong, fmt.Errorf("romeo received %s", req))
		}
		return v
	case e := <-s.XMPP.Stanzas:
		m, err := xep.ParseMessage(e)
		if err != nil || m.Error == nil || m.ID != id {
			return verdict{"Juliet receives something else.", errors.Join(err, fmt.Errorf("juliet received %s", e))}
		}
		return verdict{
			fmt.Sprintf("Juliet learns: %s, %q. She knows that it was not delivered.", m.Error.Condition, m.Error.Text),
			unless(m.Error.Condition == a.refused, "the error is %s", m.Error.Condition),
		}
	case <-ctx.Done():
		return verdict{"Juliet waits in vain.", errors.New("romeo received nothing, and juliet no error")}
	}
}

func unless(good bool, format string, args ...any) error {
	if good {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// report prints what has crossed for one message, and what came of it.
func (s *show) report(v verdict) {
	s.print(s.take())
	s.say(v.heard)
	if v.wrong != nil {
		s.failed++
		s.say("NOT AS IT SHOULD BE: " + v.wrong.Error())
	}
}

// end looks whether anybody has received what was not for him, and sums up.
func (s *show) end(messages int, took time.Duration) error {
	s.line("")
	if n := len(s.XMPP.Stanzas) + len(s.SIP.Requests); n > 0 {
		s.failed++
		s.say(fmt.Sprintf("NOT AS IT SHOULD BE: %d messages came besides those that were written", n))
	}
	if s.failed > 0 {
		return fmt.Errorf("demo: %d things were not as they should be", s.failed)
	}
	s.line(fmt.Sprintf("%d messages in %.1f s. Each receiver got what was written, each sender the truth about it.", messages, took.Seconds()))
	return nil
}
