package talk

import (
	"fmt"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/sipx"
	"cpimgate/cpim/xep"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// An Outgoing is something that is said to the SIP user by a MESSAGE.
type Outgoing struct {
	Kind     mapping.Kind
	Stanza   *xep.Message // what is said; what is refused is told to its sender
	Notice   *Notice      // a receipt, instead of what the stanza says
	From, To step.Party
	Until    time.Time // not sent by then, or not answered once it is sent, it is given up

	Ref        step.Ref // once it is sent
	CallID     string
	Plain      bool // was refused in a richer form, and is now sent as plain text
	Everywhere bool // was refused by one device, and is now sent to all (MSG-37)
	Memo       Memo

	words *step.Words // as it is sent; nil for notices
}

// fromXMPP takes a stanza apart: one may say several things (RFC 7572, section
// 4).
func (s *said) fromXMPP(ev step.Got) {
	m := ev.Message
	s.known()
	s.States = s.States || m.State != ""
	kind, err := mapping.KindOf(m, s.textOptions(m))
	if err != nil {
		s.refuseStanza(ev, err)
		return
	}
	out := Outgoing{Stanza: m, From: ev.From, To: s.spelled(ev.To), Until: s.now.Time.Add(queueFor)}
	if kind == 0 {
		s.end(out, step.Dropped, "nothing that SIP has words for")
		return
	}
	if kind.Has(mapping.Receipt | mapping.Marker) {
		s.receipt(ev)
	}
	switch {
	case kind.Has(mapping.Content):
		out.Kind = mapping.Content
		s.Typing = time.Time{} // the words end it by themselves (RFC 3994, section 3.2)
		s.queue(out)
	case kind.Has(mapping.ChatState):
		out.Kind = mapping.ChatState
		s.typing(out)
	}
	s.next()
	if s.effects == nil {
		s.ignore("waits for its turn")
	}
}

// spelled returns the SIP user as he last spelled himself, whose user part
// tells a capital from a small letter where a JID does not (ADDR-10). A device
// that was named stays named.
func (t *Talk) spelled(to step.Party) step.Party {
	if t.Spelling.Host == "" {
		return to
	}
	u := to.URI
	u.User = t.Spelling.User
	return step.Party{JID: to.JID, URI: u}
}

func (t *Talk) textOptions(m *xep.Message) mapping.TextOptions {
	o := mapping.TextOptions{Languages: t.Languages, Plaintext: t.Manners.Plaintext, NoReaction: t.Manners.NoReaction}
	former := m.ReplyTo
	if m.Reactions != nil {
		former = m.Reactions.ID
	}
	if former == "" && m.Replaces == "" {
		return o
	}
	for i := range t.Memory {
		memo := &t.Memory[i]
		if former != "" && memo.Stanza == former {
			o.Former = memo.Text
		}
		if m.Replaces != "" && memo.Stanza == m.Replaces {
			o.Corrected = true
		}
	}
	return o
}

// queue adds what waits for its turn, or refuses it when too much waits.
func (s *said) queue(o Outgoing) {
	if len(s.Queue) >= maxQueue {
		s.refuse(o, fault.E(fault.Busy, "too many messages wait for this user"))
		return
	}
	s.Queue = append(s.Queue, o)
}

// next sends what waits, one at a time (RFC 3428, section 8).
func (s *said) next() {
	for s.Flying == nil && len(s.Queue) > 0 {
		o := s.Queue[0]
		s.Queue = slices.Delete(s.Queue, 0, 1)
		if s.Refuses.covers(&o) {
			s.ignore("the user's client has refused such notices meanwhile")
			continue
		}
		if s.Rest.Until.After(s.now.Time) {
			s.refused(o, s.Rest.again(s.now.Time))
			continue
		}
		switch sent, err := s.send(&o); {
		case err != nil:
			s.refuse(o, err)
		case sent:
			s.Flying = &o
		default:
			s.ignore("typing notice that says nothing new")
		}
	}
}

// send makes the request of o and sends it, unless it turns out that there is
// nothing to say.
func (s *said) send(o *Outgoing) (bool, error) {
	req, err := s.request(o)
	if err != nil || req == nil {
		return false, err
	}
	if o.CallID == "" {
		o.CallID = s.callID(o.Stanza)
	}
	if o.words != nil {
		o.words.Thread = o.CallID
	}
	id := sip.CallIDHeader(o.CallID)
	req.AppendHeader(&id)
	req.From().Params.Add("tag", s.now.ID()) // a new one each time, so that no two are merged (MSG-11)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.MESSAGE})
	forwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	o.Ref = step.Ref(s.now.ID())
	o.Until = s.now.Time.Add(Deadline + grace)
	s.do(step.SendSIP{Ref: o.Ref, Domain: req.Recipient.Host, Request: req, By: s.now.Time.Add(Deadline), Words: o.words})
	return true, nil
}

// request maps what o says.
func (s *said) request(o *Outgoing) (*sip.Request, error) {
	from, to := o.From.URI, o.To.URI
	if o.Everywhere {
		to = *to.Clone()
		to.UriParams.Remove("gr")
	}
	switch {
	case o.Notice != nil:
		return s.notice(o, from, to)
	case o.Kind == mapping.ChatState:
		return s.stateRequest(o, from, to)
	}
	opts := mapping.SIPOptions{TextOptions: s.textOptions(o.Stanza), Now: s.now.Time}
	if !o.Plain {
		opts.Accept = s.Accept
		opts.MessageID = s.now.ID()
	}
	req, err := mapping.MessageToSIP(o.Stanza, from, to, opts)
	if err != nil {
		return nil, err
	}
	text, _ := mapping.TextToSIP(o.Stanza, opts.TextOptions) // MessageToSIP has not refused it
	o.Memo = Memo{
		Way: step.ToSIP, At: s.now.Time, Stanza: o.Stanza.ID, Type: o.Stanza.Type, From: o.From, To: o.To,
		Text: start(text.Value), Message: opts.MessageID,
	}
	receiver, _ := mapping.ToJID(o.To.URI) // it is the image of one
	o.words = &step.Words{
		From: o.From.JID.Bare().String(), To: receiver.Bare().String(), Text: o.Stanza.E2E + text.Value, Origin: "thread " + o.Stanza.Thread,
	}
	return req, nil
}

// callID returns the Call-ID that stands for the thread of m (RFC 7572,
// section 4), and remembers one that is made for it.
func (s *said) callID(m *xep.Message) string {
	if m == nil || m.Thread == "" {
		return s.now.ID()
	}
	for _, th := range s.Threads {
		if th.Name == m.Thread {
			return th.CallID
		}
	}
	if id, ok := mapping.CallIDOf(m.Thread); ok {
		return id
	}
	id := s.now.ID()
	s.Threads = append(s.Threads, Thread{Name: m.Thread, CallID: id})
	return id
}

// answered hears the final answer to what is flying (RFC 7572, section 4; RFC
// 7247, section 7.2).
func (s *said) answered(ev step.Response) {
	o := s.Flying
	if o == nil || o.Ref != ev.Of {
		s.ignore("answer to something that was given up")
		return
	}
	s.Flying = nil
	switch {
	case ev.Err != nil:
		s.refuse(*o, ev.Err)
	case ev.SIP.StatusCode < 300:
		s.learn(ev.SIP)
		s.accepted(o)
	default:
		s.learn(ev.SIP)
		s.notAccepted(o, ev.SIP)
	}
	s.next()
}

// accepted ends what was taken. Nothing is said to XMPP: the answer of a proxy
// is no receipt (RFC 7572, section 4).
func (s *said) accepted(o *Outgoing) {
	if o.Kind != mapping.Content || o.Notice != nil {
		s.ignore("notice was taken")
		return
	}
	o.Memo.CallID = o.CallID
	s.remember(o.Memo)
	s.end(*o, step.Delivered, s.dated(o.Stanza))
}

// notAccepted tries again where another form or place may do, once each, and
// else tells the sender.
func (s *said) notAccepted(o *Outgoing, res *sip.Response) {
	_, device := o.To.URI.UriParams.Get("gr")
	switch code := res.StatusCode; {
	case code == sip.StatusUnsupportedMediaType && o.Notice != nil:
		s.Refuses.Notices = true
	case code == sip.StatusUnsupportedMediaType && o.Kind == mapping.ChatState:
		s.Refuses.Typing = true
	case code == sip.StatusUnsupportedMediaType && !o.Plain && s.Accept != (mapping.Accept{}):
		s.Accept = mapping.Accept{}
		o.Plain = true // MSG-25
		s.again(*o)
		return
	case (code == 480 || code == 404 || code == 410) && device && !o.Everywhere:
		o.Everywhere = true // MSG-37
		s.again(*o)
		return
	}
	s.rest(res)
	s.refused(*o, res)
}

// refused tells the sender of o of a refusal. Notices fail in silence.
func (s *said) refused(o Outgoing, res *sip.Response) {
	if o.Notice != nil || o.Kind != mapping.Content {
		s.ignore("notice was refused")
		return
	}
	s.do(step.SendXMPP{Stanza: xep.ErrorStanza(o.Stanza.Header(), mapping.ErrorToXMPP(res, false))})
	s.end(o, step.Refused, fmt.Sprint(res.StatusCode, " ", res.Reason))
}

// again puts o in front of all that waits.
func (s *said) again(o Outgoing) { s.Queue = slices.Insert(s.Queue, 0, o) }

// learn remembers what the SIP user's client says that it takes (RFC 3261,
// section 20.1).
func (s *said) learn(res *sip.Response) {
	s.reads(res)
	for _, media := range sipx.Preferences(res, "Accept") {
		s.takes(media)
	}
}

// maxLanguages bounds what is remembered of a user's languages.
const maxLanguages = 8

// reads remembers which languages the SIP user reads, if his client says so (RFC
// 3261, section 20.3; RFC 7572, section 8).
func (t *Talk) reads(msg sipx.Headered) {
	if list := sipx.Preferences(msg, "Accept-Language"); len(list) > 0 {
		t.Languages = list[:min(len(list), maxLanguages)]
	}
}

func (s *said) takes(media string) {
	switch media {
	case "message/cpim":
		s.Accept.CPIM = true
	case "text/html":
		s.Accept.HTML = true
	case "multipart/alternative":
		s.Accept.Alternative = true
	case "application/im-iscomposing+xml":
		s.Accept.Composing = true
	}
}

// queueEnds gives up what has waited too long.
func (s *said) queueEnds() {
	if o := s.Flying; o != nil && !o.Until.After(s.now.Time) {
		s.answered(step.Response{Of: o.Ref, Err: fault.E(fault.Timeout, "the user's server does not answer")})
	}
	for len(s.Queue) > 0 && !s.Queue[0].Until.After(s.now.Time) {
		o := s.Queue[0]
		s.Queue = slices.Delete(s.Queue, 0, 1)
		s.refuse(o, fault.E(fault.Timeout, "the user's server does not answer"))
	}
}

// refuse tells the sender of o of a failure of ours. Notices fail in silence.
func (s *said) refuse(o Outgoing, err error) {
	if o.Notice != nil || o.Kind != mapping.Content {
		s.ignore("notice was not sent: " + fault.TextOf(err))
		return
	}
	s.do(step.SendXMPP{Stanza: xep.ErrorStanza(o.Stanza.Header(), mapping.FaultToXMPP(err, o.Stanza.To.Domainpart()))})
	s.end(o, step.Refused, err.Error())
}

func (s *said) refuseStanza(ev step.Got, err error) {
	s.refuse(Outgoing{Kind: mapping.Content, Stanza: ev.Message, From: ev.From, To: ev.To}, err)
}

// end closes the book of a message.
func (s *said) end(o Outgoing, outcome step.Outcome, reason string) {
	s.do(step.End{
		Way: step.ToSIP, From: o.From.JID.Bare().String(), To: o.To.JID.Bare().String(),
		SIP: o.CallID, XMPP: o.Stanza.ID, Peer: o.To.URI.Host, Outcome: outcome, Reason: reason,
	})
}
