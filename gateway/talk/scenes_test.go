package talk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/gateway/gatewaytest"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
	"cpimgate/testdata"
)

// TestScenes plays the conversations with the machine alone: time is a number
// there, and the wires take what they are given at once unless the scene says
// otherwise.
func TestScenes(t *testing.T) {
	testdata.Scenes(t, "talk", func(t *testing.T, s *testdata.Scene) {
		gatewaytest.Play(t, s, newStage(t))
	})
}

// A stage is one conversation of romeo@example.net, on SIP, and
// juliet@example.com, on XMPP.
type stage struct {
	t     *testing.T
	talk  *talk.Talk
	now   time.Time
	ids   int
	out   []line
	slow  bool // the XMPP wire holds what it is given
	mute  bool // and this one tells of nothing
	txs   int
	sent  []step.SendSIP  // not answered yet
	held  []step.SendXMPP // by the slow wire
	quiet []step.Ref      // of what the mute wire has taken
	ends  map[string]int  // ends by Call-ID and stanza id
}

type line struct{ who, text string }

func newStage(t *testing.T) *stage {
	return &stage{t: t, talk: &talk.Talk{}, now: time.Unix(1_000_000_000, 0).UTC(), ends: map[string]int{}}
}

func (s *stage) Now() time.Time { return s.now }

func (s *stage) Passes(d time.Duration) []string {
	early := s.Rest()
	end := s.now.Add(d)
	for at := s.talk.Deadline(); !at.After(end); at = s.talk.Deadline() {
		s.now = at
		s.step(step.Due{})
	}
	s.now = end
	return early
}

func (s *stage) Receives(who, _ string) (string, bool) {
	if len(s.out) == 0 {
		return "", false
	}
	l := s.out[0]
	if l.who != who {
		return l.who + ": " + l.text, true
	}
	s.out = s.out[1:]
	return l.text, true
}

func (s *stage) Rest() []string {
	var rest []string
	for _, l := range s.out {
		rest = append(rest, l.who+": "+l.text)
	}
	return rest
}

func (s *stage) Ends() error { return nil }

func (s *stage) Rewrites() bool { return true }

func (s *stage) Sends(who, verb, text string) error {
	switch who + " " + verb {
	case "juliet sends":
		return s.stanza(text)
	case "romeo sends", "romeo answers":
		return s.sip(text)
	case "manners are":
		return json.Unmarshal([]byte(text), &s.talk.Manners)
	case "romeo hangs":
		return s.hangs(text)
	default:
		return s.wire(who+" "+verb, text)
	}
}

// wire plays what the XMPP wire does: it slows, and holds what it is given until
// it takes it, fails, or hangs for as long as anybody waits; or it goes mute,
// and reports of one stanza at a time.
func (s *stage) wire(turn, text string) error {
	why := fault.E(fault.Timeout, "%s", strings.TrimSpace(text))
	switch turn {
	case "xmpp slows":
		s.slow = true
	case "xmpp takes":
		s.release(federation.Written, nil)
	case "xmpp fails":
		s.release(federation.GivenUp, why)
	case "xmpp hangs":
		if len(s.held) == 0 {
			return errors.New("the wire holds nothing")
		}
		s.Passes(s.held[0].By.Sub(s.now))
		s.release(federation.GivenUp, why)
	case "xmpp mutes":
		s.mute = true
	case "xmpp reports":
		if len(s.quiet) == 0 {
			return errors.New("there is nothing to report")
		}
		of := s.quiet[0]
		s.quiet = s.quiet[1:]
		s.step(step.Taken{Of: of, How: federation.Written})
	default:
		return errors.New("this stage has no such turn")
	}
	return nil
}

// release ends the slowness of the wire: all that it holds is written, or given
// up.
func (s *stage) release(how federation.How, why error) {
	held := s.held
	s.slow, s.held = false, nil
	for _, e := range held {
		if how == federation.Written {
			s.deliver(e)
		}
		if e.Ref != "" {
			s.step(step.Taken{Of: e.Ref, How: how, Err: why})
		}
	}
}

// hangs has romeo's server not answer, for as long as the wire waits for it.
func (s *stage) hangs(text string) error {
	if len(s.sent) == 0 {
		return errors.New("nothing was sent")
	}
	s.Passes(s.sent[0].By.Sub(s.now))
	s.respond(step.Response{Err: fault.E(fault.Timeout, "%s", strings.TrimSpace(text))})
	return nil
}

func (s *stage) stanza(text string) error {
	e, err := xmltree.ParseIn([]byte(text), xep.NS, xmltree.Documents)
	if err != nil {
		return err
	}
	m, err := xep.ParseMessage(e)
	if err != nil {
		return err
	}
	if m.Type == "error" {
		s.step(step.Reply{Of: step.Ref(m.ID), From: m.From, Error: m.Error})
		return nil
	}
	from, err := mapping.ToURI(m.From)
	if err != nil {
		return err
	}
	to, err := mapping.ToURI(m.To)
	if err != nil {
		return err
	}
	s.step(step.Got{Peer: "example.com", From: step.Party{JID: m.From, URI: from}, To: step.Party{JID: m.To, URI: to}, Message: m})
	return nil
}

func (s *stage) sip(text string) error {
	msg, err := sipx.Parser(1 << 20).ParseSIP([]byte(testdata.CRLF(text)))
	if err != nil {
		return err
	}
	if res, ok := msg.(*sip.Response); ok {
		s.respond(step.Response{SIP: res})
		return nil
	}
	req := msg.(*sip.Request)
	from, err := party(req.From().Address)
	if err != nil {
		return err
	}
	to, err := party(req.Recipient)
	if err != nil {
		return err
	}
	s.txs++
	s.step(step.Request{Tx: step.Tx(fmt.Sprint("tx", s.txs)), Peer: "example.net", From: from, To: to, SIP: req})
	return nil
}

func party(u sip.Uri) (step.Party, error) {
	j, err := mapping.ToJID(u)
	return step.Party{JID: j, URI: u}, err
}

// respond answers the oldest request that has no answer.
func (s *stage) respond(r step.Response) {
	if len(s.sent) == 0 {
		s.t.Fatal("an answer, but nothing was sent")
	}
	r.Of = s.sent[0].Ref
	s.sent = s.sent[1:]
	s.step(r)
}

func (s *stage) step(ev step.Event) {
	id := func() string { s.ids++; return fmt.Sprint("id", s.ids) }
	effects := s.talk.Step(step.Now{Time: s.now, ID: id}, ev)
	if len(effects) == 0 {
		s.t.Fatalf("%T is answered with nothing, not even a reason", ev)
	}
	var taken []step.Ref
	for _, e := range effects {
		switch e := e.(type) {
		case step.SendSIP:
			s.sent = append(s.sent, e)
			s.out = append(s.out, line{"romeo", lf(e.Request.String())})
		case step.Answer:
			res := sip.NewResponse(e.Status, e.Reason)
			for _, h := range e.Header {
				res.AppendHeader(h)
			}
			s.out = append(s.out, line{"romeo", lf(res.String())})
		case step.SendXMPP:
			s.plainAddresses(e.Stanza)
			switch {
			case s.slow:
				s.held = append(s.held, e)
				continue
			case e.Ref == "":
			case s.mute:
				s.quiet = append(s.quiet, e.Ref)
			default:
				taken = append(taken, e.Ref)
			}
			s.deliver(e)
		case step.End:
			if s.ends[e.SIP+" "+e.XMPP]++; e.Outcome != step.Bounced && s.ends[e.SIP+" "+e.XMPP] > 1 {
				s.t.Fatalf("ends twice: %+v", e)
			}
		}
	}
	for _, ref := range taken {
		s.step(step.Taken{Of: ref, How: federation.Written})
	}
}

func (s *stage) deliver(e step.SendXMPP) {
	s.out = append(s.out, line{"juliet", string(e.Stanza.Append(nil, xep.NS))})
}

// plainAddresses: no URI scheme ever stands in an address of XMPP (RFC 6121,
// section 9).
func (s *stage) plainAddresses(e *xmltree.Element) {
	for _, name := range []string{"from", "to"} {
		if j, err := jid.Parse(e.Get(name)); err != nil || strings.Contains(j.Localpart(), ":") || strings.Contains(j.Domainpart(), ":") {
			s.t.Errorf("%s is %q", name, e.Get(name))
		}
	}
}

func lf(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
