package talk

import (
	"cmp"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/imdn"
	"cpimgate/cpim/xep"
	"cpimgate/federation"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// A Waiting is a SIP request whose sender does not know yet what became of it.
type Waiting struct {
	Tx      step.Tx
	Ref     step.Ref // the stanza's id
	Until   time.Time
	Written bool // the stanza was written; Until ends the error window
	Memo    Memo
	Remark  string // for the log, when it has arrived
}

// fromSIP takes a MESSAGE (RFC 7572, section 5).
func (s *said) fromSIP(ev step.Request) {
	s.Spelling = ev.From.URI
	s.Rest = Rest{}
	s.reads(ev.SIP)
	id := s.now.ID()
	sender, err := mapping.ToJID(ev.From.URI)
	if err != nil {
		s.refuseRequest(ev, mapping.OfSender(err))
		return
	}
	in, err := mapping.MessageToXMPP(ev.SIP, ev.From.JID, ev.To.JID, mapping.XMPPOptions{
		ID: id, Thread: s.threadOf(ev.SIP), Sender: sender, Chat: s.Manners.Chat, PlainOnly: s.Manners.PlainOnly,
		Nick: s.memo(step.ToXMPP, anything) == nil, Now: cmp.Or(ev.Came, s.now.Time),
	})
	if err != nil {
		s.refuseRequest(ev, err)
		return
	}
	s.Accept.CPIM = s.Accept.CPIM || in.CPIM
	switch {
	case in.Composing != nil:
		s.composing(ev, in)
	case len(in.Notices) > 0:
		s.notified(ev, in)
	case in.Stanza == nil:
		s.accept(ev.Tx)
		s.endRequest(ev, "", step.Dropped, "nothing was said")
	case !in.Until.IsZero() && !in.Until.After(s.now.Time):
		s.refuseRequest(ev, errExpired)
	default:
		s.pass(ev, in, &step.Words{From: sender.Bare().String(), To: ev.To.JID.Bare().String(), Origin: tagOf(ev.SIP)})
	}
}

// pass sends a text on and waits to hear what becomes of it.
func (s *said) pass(ev step.Request, in *mapping.Incoming, words *step.Words) {
	m := in.Stanza
	if s.States {
		m.State = xep.Active // the words end the typing (XEP-0085, section 5.1)
	}
	s.TypingEnds = time.Time{}
	came := cmp.Or(ev.Came, s.now.Time)
	by := came.Add(writeWithin)
	if !in.Until.IsZero() && in.Until.Before(by) {
		by = in.Until
	}
	if mapping.Anonymous(ev.From.URI) {
		in.Asked, m.Request, m.Markable = nil, false, false // RFC 5438, section 12.1.1
	}
	memo := Memo{
		Way: step.ToXMPP, At: s.now.Time, Stanza: m.ID, CallID: ev.SIP.CallID().Value(),
		From: ev.From, To: ev.To, Asked: in.Asked,
	}
	words.Thread, words.Text = m.Thread, m.E2E
	if len(m.Bodies) > 0 {
		words.Text = m.Bodies[0].Value
	}
	memo.Text = start(words.Text)
	s.Waiting = append(s.Waiting, Waiting{Tx: ev.Tx, Ref: step.Ref(m.ID), Until: came.Add(Deadline), Memo: memo, Remark: s.dated(m)})
	s.do(step.SendXMPP{Ref: step.Ref(m.ID), Stanza: m.Element(), By: by, Words: words})
}

// dated returns a word for the operator about a secured object whose date is more
// than a day off. It arrives all the same: whether that matters the recipient
// decides (RFC 3923, section 6.9; E2E-06).
func (s *said) dated(m *xep.Message) string {
	if m.E2E == "" {
		return ""
	}
	at := mapping.SecuredAt(m.E2E)
	if at.IsZero() || s.now.Time.Sub(at).Abs() <= 24*time.Hour {
		return ""
	}
	return "the secured object is dated " + at.UTC().Format(time.RFC3339) + ", more than a day off"
}

func tagOf(req *sip.Request) string {
	tag, _ := req.From().Params.Get("tag")
	return tag
}

// errExpired is for what has lost its worth before it could be sent on (RFC 3428,
// section 7).
var errExpired = fault.E(fault.Timeout, "the message has expired")

// threadOf returns the thread that stands for the Call-ID of a request, if one
// must, and remembers one that is made for it (RFC 7572, section 5).
func (s *said) threadOf(req *sip.Request) string {
	id := req.CallID()
	if id == nil {
		return ""
	}
	for _, th := range s.Threads {
		if th.CallID == id.Value() {
			return th.Name
		}
	}
	if _, fit := mapping.ThreadOf(id.Value()); fit {
		return ""
	}
	name := s.now.ID()
	s.Threads = append(s.Threads, Thread{Name: name, CallID: id.Value()})
	return name
}

// taken hears whether a stanza was written, or acknowledged by the far server.
// To a user who is known to exist that is the end of it; for others an error
// may still follow: a server that has taken a stanza has not looked yet whether
// there is such a user (XEP-0198, section 4).
func (s *said) taken(ev step.Taken) {
	i := slices.IndexFunc(s.Waiting, func(w Waiting) bool { return w.Ref == ev.Of })
	switch {
	case i < 0:
		s.ignore("stanza of a request that was answered")
	case ev.How == federation.GivenUp:
		s.failed(i, ev.Err)
	case s.KnownUntil.After(s.now.Time):
		s.succeeded(i)
	default:
		w := &s.Waiting[i]
		w.Written = true
		if end := s.now.Time.Add(cmp.Or(s.Manners.Window, window)); end.Before(w.Until) {
			w.Until = end
		}
		s.ignore("waits for an error that may follow")
	}
}

// known notes that the XMPP user exists: he has written. What was written to
// him has arrived as far as anybody can say (D-66).
func (s *said) known() {
	s.KnownUntil = s.now.Time.Add(knownFor)
	for i := 0; i < len(s.Waiting); {
		if !s.Waiting[i].Written {
			i++
			continue
		}
		s.succeeded(i)
	}
}

// bounced hears a stanza error about what was sent (RFC 7247, section 7.1).
// After the final answer only a notification can tell of it, if one was asked
// for (RFC 5438, section 12.1.3.1).
func (s *said) bounced(ev step.Reply) {
	s.KnownUntil = time.Time{}
	i := slices.IndexFunc(s.Waiting, func(w Waiting) bool { return w.Ref == ev.Of })
	if i < 0 {
		s.bouncedLate(ev)
		return
	}
	w := s.Waiting[i]
	s.Waiting = slices.Delete(s.Waiting, i, i+1)
	status, reason, fields := mapping.ErrorToSIP(ev.Error, mapping.Circumstances{
		Full: ev.From.Resourcepart() != "", Bare4xx: s.Manners.ClassFour, Allow: "MESSAGE, OPTIONS",
	})
	s.do(step.Answer{Tx: w.Tx, Status: status, Reason: reason, Header: fields})
	s.endWaiting(w, step.Refused, ev.Error.Condition+" "+ev.Error.Text)
}

func (s *said) bouncedLate(ev step.Reply) {
	m := s.memo(step.ToXMPP, func(m *Memo) bool { return m.Stanza == string(ev.Of) })
	if m == nil {
		s.ignore("error about a stanza that is not remembered")
		return
	}
	s.do(step.End{
		Way: m.Way, From: m.From.JID.Bare().String(), To: m.To.JID.Bare().String(), SIP: m.CallID, XMPP: m.Stanza,
		Peer: ev.From.Domainpart(), Outcome: step.Bounced, Reason: ev.Error.Condition,
	})
	if m.Asked != nil && m.Asked.Negative {
		s.notify(m, imdn.Delivery, imdn.Failed)
		m.Asked = nil // one notification for each disposition (RFC 5438, section 7.2.1)
	}
	s.next()
}

// windowsEnd answers those whose time has come (D-70): what was written, and
// not refused within the window, has arrived as far as anybody can say.
func (s *said) windowsEnd() {
	for i := 0; i < len(s.Waiting); {
		switch w := s.Waiting[i]; {
		case w.Until.After(s.now.Time):
			i++
		case w.Written:
			s.KnownUntil = s.now.Time.Add(knownFor)
			s.succeeded(i)
		default:
			s.failed(i, fault.E(fault.Timeout, "the user's server does not answer"))
		}
	}
}

func (s *said) succeeded(i int) {
	w := s.Waiting[i]
	s.Waiting = slices.Delete(s.Waiting, i, i+1)
	s.remember(w.Memo)
	s.accept(w.Tx)
	s.endWaiting(w, step.Delivered, w.Remark)
}

func (s *said) failed(i int, err error) {
	w := s.Waiting[i]
	s.Waiting = slices.Delete(s.Waiting, i, i+1)
	s.answerFault(w.Tx, err)
	s.endWaiting(w, step.Refused, err.Error())
}

func (s *said) accept(tx step.Tx) { s.do(step.Answer{Tx: tx, Status: sip.StatusOK, Reason: "OK"}) }

func (s *said) answerFault(tx step.Tx, err error) {
	status, reason, fields := mapping.FaultToSIP(err)
	s.do(step.Answer{Tx: tx, Status: status, Reason: reason, Header: fields})
}

func (s *said) refuseRequest(ev step.Request, err error) {
	s.answerFault(ev.Tx, err)
	s.endRequest(ev, "", step.Refused, err.Error())
}

func (s *said) endRequest(ev step.Request, stanza string, outcome step.Outcome, reason string) {
	s.endWaiting(Waiting{Memo: Memo{From: ev.From, To: ev.To, CallID: ev.SIP.CallID().Value(), Stanza: stanza}}, outcome, reason)
}

func (s *said) endWaiting(w Waiting, outcome step.Outcome, reason string) {
	s.do(step.End{
		Way: step.ToXMPP, From: w.Memo.From.JID.Bare().String(), To: w.Memo.To.JID.Bare().String(),
		SIP: w.Memo.CallID, XMPP: w.Memo.Stanza, Peer: w.Memo.To.JID.Domainpart(), Outcome: outcome, Reason: reason,
	})
}

func anything(*Memo) bool { return true }
