package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
	"cpimgate/federation/trunk"
	"cpimgate/gateway"
	"cpimgate/gateway/step"
	"cpimgate/gateway/talk"
	"cpimgate/mapping"
)

// An offline is a conversation that has no wires: what it would send is
// printed.
type offline struct {
	mapCommand
	lines
	name    string // of the gateway
	talk    *talk.Talk
	trunk   *trunk.Trunk // writes drafts, sends nothing
	time    time.Time
	ids     int
	req     *sip.Request // that waits for its answer
	refused bool         // whoever wrote it is refused
}

// drafting returns a trunk that has no listeners and is not run.
func drafting(name string) *trunk.Trunk {
	return trunk.New(trunk.Config{Name: name, Agent: "cpimgate/" + version()})
}

// now is what a machine is told of the world. Ids are as long as real ones,
// because the size of a request depends on them.
func (o *offline) now() step.Now {
	return step.Now{Time: o.time, ID: func() string { o.ids++; return fmt.Sprintf("%026x", o.ids) }}
}

// message takes a message stanza.
func (o *offline) message(e *xmltree.Element, h xep.Header) error {
	m, err := xep.ParseMessage(e)
	switch {
	case err != nil:
	case m.Type == "error":
		return o.bounce(m)
	case m.Type == "groupchat":
		err = gateway.ErrNoRooms
	}
	var from, to step.Party
	if err == nil {
		from, to, err = gateway.OnSIP(m.From, m.To, o.alias(m.To))
	}
	if err != nil {
		o.refused = true
		if s := xep.ErrorStanza(h, mapping.FaultToXMPP(err, h.To.Domainpart())); s != nil {
			o.stanzaOut(s)
		}
		o.remark("refused: " + err.Error())
		return nil
	}
	o.play(step.Got{Peer: from.URI.Host, From: from, To: to, Message: m})
	return nil
}

// alias returns the gateway's name if an address is below it.
func (o *offline) alias(j jid.JID) string {
	if o.Gateway != "" && j.Domainpart() == o.Gateway {
		return o.Gateway
	}
	return ""
}

// bounce takes a stanza error: what a SIP user's message has come to.
func (o *offline) bounce(m *xep.Message) error {
	to, from, err := gateway.OnSIP(m.From, m.To, o.alias(m.To))
	if err != nil {
		return fmt.Errorf("nobody can have sent what this answers: %w", err)
	}
	o.req = sip.NewRequest(sip.MESSAGE, to.URI)
	o.req.AppendHeader(&sip.FromHeader{Address: from.URI, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
	o.req.AppendHeader(&sip.ToHeader{Address: to.URI, Params: sip.NewParams()})
	id := sip.CallIDHeader("message")
	o.req.AppendHeader(&id)
	o.req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.MESSAGE})
	o.req.AppendHeader(sip.NewHeader("Content-Type", "text/plain"))
	o.req.SetBody([]byte("Hark"))
	for _, e := range o.talk.Step(o.now(), step.Request{Tx: "request", Peer: from.URI.Host, From: from, To: to, SIP: o.req}) {
		if s, ok := e.(step.SendXMPP); ok {
			o.play(step.Reply{Of: s.Ref, From: m.From, Error: m.Error})
			o.refused = false // by the other side
			return nil
		}
	}
	return fmt.Errorf("nobody can have sent what this answers")
}

// play tells the conversation what happened and prints what it does; then what
// follows if the wires take all that they are given, until nobody waits.
func (o *offline) play(ev step.Event) {
	var next []step.Event
	for _, e := range o.talk.Step(o.now(), ev) {
		switch e := e.(type) {
		case step.SendXMPP:
			o.stanzaOut(e.Stanza)
			if e.Ref != "" {
				next = append(next, step.Taken{Of: e.Ref, How: federation.Written})
			}
		case step.SendSIP:
			draft := o.trunk.Draft(e.Request, federation.TLS)
			if err := mapping.CheckSize(mapping.Size(draft), o.PagerSize); err != nil {
				next = append(next, step.Response{Of: e.Ref, Err: err})
				continue
			}
			o.block("to "+e.Domain+", over SIP", draft.String())
		case step.Answer:
			o.answer(e)
		case step.End:
			o.end(e)
		case step.Ignore:
			o.remark(e.Why)
		}
	}
	for _, ev := range next {
		o.play(ev)
	}
	if len(next) == 0 && !o.talk.Idle() && o.req != nil {
		o.time = o.talk.Deadline()
		o.play(step.Due{})
	}
}

func (o *offline) stanzaOut(e *xmltree.Element) {
	to := e.Get("to")
	if j, err := jid.Parse(to); err == nil {
		to = j.Domainpart()
	}
	o.block("to "+to+", over XMPP", string(e.Append(nil, xep.NS)))
}

// answer prints the answer to the request.
func (o *offline) answer(e step.Answer) {
	if e.Status >= 300 {
		o.refused = true
	}
	res := trunk.Reply(o.req, e.Status, e.Reason, e.Header...)
	if err := sipx.CheckOutgoing(res); err != nil {
		o.remark("the answer cannot be written: " + err.Error())
		return
	}
	o.block("answer to the SIP sender", res.String())
}

// end prints how a message ended.
func (o *offline) end(e step.End) {
	text := string(e.Outcome)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	o.refused = o.refused || e.Outcome == step.Refused
	o.remark(text)
}

// block prints wire text under a remark.
func (o *offline) block(title, text string) {
	o.remark(title)
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		o.add(0, "%s", line)
	}
	o.add(0, "")
}

func (o *offline) remark(text string) { o.add(0, "# %s", text) }
