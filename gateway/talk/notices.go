package talk

import (
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/composing"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/xep"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// A Notice is a disposition notification that is on its way to SIP.
type Notice struct {
	Asked  *imdn.Request
	Kind   imdn.Kind
	Status imdn.Status
}

// receipt hears from XMPP that a message was received or displayed, and passes
// on what the SIP sender asked to be told (RFC 5438, section 7.2.1; XEP-0184,
// section 5; XEP-0333, section 4.1). Displayed implies received.
func (s *said) receipt(ev step.Got) {
	id, kind, _, _ := mapping.NoticeOf(ev.Message)
	s.arrived(step.Ref(id), ev.Message.From)
	m := s.memo(step.ToXMPP, func(m *Memo) bool { return m.Stanza == id })
	switch {
	case m == nil:
		s.ignore("receipt for a message that is not remembered")
		return
	case !speaksFor(ev.Message.From, m.To.JID):
		s.ignore("receipt from somebody else") // XEP-0184, section 8
		return
	case m.Asked == nil:
		s.ignore("receipt that nobody asked for")
		return
	}
	if m.Asked.Positive {
		m.Asked.Positive, m.Asked.Negative = false, false
		s.notify(m, imdn.Delivery, imdn.Delivered)
	}
	if m.Asked.Display && kind == imdn.Display {
		m.Asked.Display = false
		s.notify(m, imdn.Display, imdn.Displayed)
	}
}

// arrived notes that a receipt has come for a stanza of which the wire has not
// said yet that it was written: the far side may be as fast.
func (s *said) arrived(stanza step.Ref, from jid.JID) {
	i := slices.IndexFunc(s.Waiting, func(w Waiting) bool { return w.Ref == stanza })
	if i >= 0 && speaksFor(from, s.Waiting[i].Memo.To.JID) {
		s.succeeded(i)
	}
}

// speaksFor reports whether a receipt from one address may be about a message
// to another: the same, or a device of the same user.
func speaksFor(from, to jid.JID) bool {
	return from.Equal(to) || to.Resourcepart() == "" && from.Bare().Equal(to)
}

// notify queues a notification about m for its sender. A way back that leaves
// the sender's domain is not gone: it would let one make us write to strangers.
func (s *said) notify(m *Memo, kind imdn.Kind, status imdn.Status) {
	if s.Refuses.Notices {
		s.ignore("the user's client takes no notifications")
		return
	}
	if route := m.Asked.Route; len(route) > 0 {
		if u, err := mapping.ParseURI(route[0]); err != nil || u.Host != m.From.URI.Host {
			s.ignore("the way back leads elsewhere")
			return
		}
	}
	asked := *m.Asked
	s.queue(Outgoing{
		Notice: &Notice{Asked: &asked, Kind: kind, Status: status},
		From:   m.To, To: m.From, Until: s.now.Time.Add(queueFor),
	})
}

func (s *said) notice(o *Outgoing, from, to sip.Uri) (*sip.Request, error) {
	return mapping.NoticeToSIP(o.Notice.Asked, o.Notice.Kind, o.Notice.Status, s.now.ID(), from, to, "")
}

// notified hears from SIP what became of a message (RFC 5438, section 7.1.2),
// and tells the XMPP sender who asked for it.
func (s *said) notified(ev step.Request, in *mapping.Incoming) {
	told := 0
	for _, n := range in.Notices {
		about := func(m *Memo) bool { return m.Message != "" && m.Message == n.MessageID }
		m := s.memo(step.ToSIP, about)
		if m == nil && s.Flying != nil && about(&s.Flying.Memo) {
			m = &s.Flying.Memo // it has overtaken the answer to the message
		}
		if m == nil {
			continue
		}
		stanza := mapping.NoticeToXMPP(n, m.Stanza, m.Type, m.To.JID, m.From.JID)
		if stanza == nil {
			continue
		}
		if stanza.Type != "error" { // which has the id of what it is about
			s.name(stanza)
		}
		told++
		s.do(step.SendXMPP{Stanza: stanza.Element()})
	}
	s.accept(ev.Tx)
	if told == 0 {
		s.ignore("notification about a message that is not remembered")
	}
}

// composing hears that the SIP user types, or does so no more (RFC 3994,
// section 3.3). A client that has sent no chat state is sent none (XEP-0085,
// section 5.1).
func (s *said) composing(ev step.Request, in *mapping.Incoming) {
	s.Accept.Composing = true
	s.accept(ev.Tx)
	types := in.Composing.State == composing.Active
	switch {
	case !s.States:
		s.ignore("the user's client has sent no chat state")
	case types:
		fresh := s.TypingEnds.IsZero()
		s.TypingEnds = s.now.Time.Add(in.Composing.Timeout())
		s.TypingFrom, s.TypingTo = ev.From, ev.To
		if fresh {
			s.state(xep.Composing)
		}
	case !s.TypingEnds.IsZero():
		s.stopsTyping()
	}
}

// stopsTyping tells XMPP that the SIP user types no more: he says so, or has
// not said otherwise in time (RFC 3994, section 3.3).
func (s *said) stopsTyping() {
	s.TypingEnds = time.Time{}
	s.state(xep.Active)
}

func (s *said) state(state xep.State) {
	doc := &composing.Status{State: composing.Idle}
	if state == xep.Composing {
		doc.State = composing.Active
	}
	m := mapping.ComposingToXMPP(doc, "", s.TypingFrom.JID, s.TypingTo.JID)
	s.name(m)
	s.do(step.SendXMPP{Stanza: m.Element()})
}

// name gives a stanza of ours an id, the same for the stream and for all who
// keep the stanza (XEP-0359, section 2.2).
func (s *said) name(m *xep.Message) {
	m.ID = s.now.ID()
	m.OriginID = m.ID
}

// typing hears a chat state from XMPP, and tells SIP when that says something
// new (RFC 3994, sections 3.2 and 4). It never waits behind another of its
// kind: the later is true.
func (s *said) typing(o Outgoing) {
	if s.Refuses.Typing {
		s.ignore("the user's client takes no typing notices")
		return
	}
	for i := range s.Queue {
		if s.Queue[i].Kind == mapping.ChatState && s.Queue[i].Notice == nil {
			s.Queue[i].Stanza = o.Stanza
			s.ignore("replaces a typing notice that waits")
			return
		}
	}
	s.queue(o)
}

// stateRequest returns the request for a chat state, nil if it is not news, and
// notes what the SIP user has now been told.
func (s *said) stateRequest(o *Outgoing, from, to sip.Uri) (*sip.Request, error) {
	told := s.Typing.After(s.now.Time)
	req, err := mapping.StateToSIP(o.Stanza.State, told, composing.MinRefresh, from, to, "")
	if req != nil {
		s.Typing = time.Time{}
		if o.Stanza.State == xep.Composing {
			s.Typing = s.now.Time.Add(composing.MinRefresh)
		}
	}
	return req, err
}
