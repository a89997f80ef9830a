package gatewaytest

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/testdata"
)

// patience is how long a stage over sockets waits for what must come.
const patience = 10 * time.Second

// A WorldStage plays scenes by a whole gateway over loopback sockets: romeo is
// the SIP domain of a world, juliet its XMPP domain. Time cannot be made to
// pass there; Plays says which scenes do without.
type WorldStage struct {
	World *World

	sent int
	sip  chan string // what romeo receives, answers to him too
	xmpp chan string
}

// NewWorldStage makes a stage of a world that has answered nothing yet.
func NewWorldStage(w *World) *WorldStage {
	s := &WorldStage{World: w, sip: make(chan string, 100), xmpp: make(chan string, 100)}
	w.SIP.Script()
	w.SIP.Take = func(req *sip.Request) { s.sip <- lf(req.String()) }
	w.XMPP.Take = func(e *xmltree.Element) { s.xmpp <- string(e.Append(nil, xep.NS)) }
	return s
}

// Plays reports whether a scene needs nothing that only a machine alone has: no
// long time that passes, no date, and nobody but its two persons.
func Plays(s *testdata.Scene) bool {
	for _, turn := range s.Turns {
		who, verb, _ := strings.Cut(turn.Name, " ")
		d, _ := time.ParseDuration(who)
		switch {
		case strings.Contains(turn.Text, "Date: "), strings.Contains(turn.Text, "DateTime: "):
			return false
		case verb == "passes" && d <= time.Second:
		case (who == "romeo" || who == "juliet") && (verb == "sends" || verb == "receives" || verb == "answers"):
		default:
			return false
		}
	}
	return true
}

// Sends implements [Stage].
func (s *WorldStage) Sends(who, verb, text string) error {
	if who == "juliet" {
		e, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
		if err != nil {
			return err
		}
		return s.World.XMPP.Send(e)
	}
	msg, err := sipx.Parser(1 << 20).ParseSIP([]byte(testdata.CRLF(text)))
	if err != nil {
		return err
	}
	if res, ok := msg.(*sip.Response); ok {
		return s.World.SIP.Answer(res)
	}
	req := msg.(*sip.Request)
	for req.RemoveHeader("Via") {
	}
	s.sent++ // scenes repeat their tags, and repeated requests are merged
	req.From().Params.Add("tag", fmt.Sprint("scene", s.sent))
	go func() { // its answer comes with what romeo receives
		res, err := s.World.SIP.Send(req)
		if err != nil {
			s.sip <- err.Error()
			return
		}
		s.sip <- lf(res.String())
	}()
	return nil
}

// Receives implements [Stage].
func (s *WorldStage) Receives(who string) (string, bool) {
	from := s.xmpp
	if who == "romeo" {
		from = s.sip
	}
	select {
	case text := <-from:
		return text, true
	case <-time.After(patience):
		return "", false
	}
}

// Passes implements [Stage]: what follows is waited for anyway.
func (s *WorldStage) Passes(time.Duration) {}

// Rest implements [Stage].
func (s *WorldStage) Rest() []string {
	var rest []string
	for {
		select {
		case text := <-s.sip:
			rest = append(rest, text)
		case text := <-s.xmpp:
			rest = append(rest, text)
		default:
			return rest
		}
	}
}

func lf(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
