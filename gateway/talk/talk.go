// Package talk is the pager conversation of two users, one on SIP and one on
// XMPP: messages, typing notices and receipts outside of sessions (RFC 3428,
// RFC 7572, RFC 5438, RFC 3994; XEP-0085, XEP-0184, XEP-0333).
//
// A conversation answers for each message that it was given, once: a SIP
// request gets its final answer, a stanza gets an error or silence. It keeps
// the order of both directions, one MESSAGE at a time towards SIP (RFC 3428,
// section 8), and remembers for a day what an answer may refer to.
package talk

import (
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/imdn"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// Times and bounds of a conversation.
const (
	window      = 300 * time.Millisecond // of the [Manners] that say nothing else
	Deadline    = 20 * time.Second       // for the answer to a MESSAGE (D-70)
	writeWithin = 19 * time.Second       // for the stanza to be written, so that the wire gives up first
	grace       = 5 * time.Second        // after which we no longer believe that the SIP wire will answer
	queueFor    = 60 * time.Second       // for a MESSAGE to be sent (MSG-33)
	knownFor    = 24 * time.Hour         // since a user was last known to exist (D-66)
	maxRest     = time.Hour              // that a refusal may hold, whatever it says
	rememberFor = 24 * time.Hour         // what a receipt, a reply or a bounce refers to (MSG-50)

	maxQueue  = 100 // MESSAGEs that wait
	maxMemory = 100 // messages that are remembered at the least; twice as many at the most
)

// Manners are what the operator has said about the two domains.
type Manners struct {
	Chat       bool // messages to XMPP have type chat, against RFC 7572, section 5
	ClassFour  bool // errors about a bare JID are 4xx (ERR-06)
	Plaintext  bool // deliver the text beside an encrypted one (MSG-60)
	PlainOnly  bool // no formatted text to XMPP (MSG-26)
	NoReaction bool // drop reactions (MSG-64)

	Window time.Duration // in which an error may follow a stanza that was written (D-66); 300 ms
}

// A Talk is the conversation of one user on SIP and one on XMPP. Its exported
// fields are all that it remembers.
type Talk struct {
	Manners Manners

	// Towards XMPP.
	Waiting    []Waiting // requests without an answer, in the order in which they came
	KnownUntil time.Time // the XMPP user exists, as far as we have seen; no error window
	States     bool      // the XMPP user's client sends chat states, so it may be sent some
	TypingEnds time.Time // when the SIP user, who was typing, no longer is; zero: is not typing
	TypingTo   step.Party
	TypingFrom step.Party

	// Towards SIP.
	Flying    *Outgoing // the MESSAGE that has no answer yet
	Queue     []Outgoing
	Spelling  sip.Uri        // of the SIP user, as seen last (ADDR-10)
	Accept    mapping.Accept // what the SIP user's client takes beside text
	Languages []string       // that the SIP user reads, best first
	Typing    time.Time      // until when the SIP user has been told that the other is typing; zero: was not told
	Refuses   Refusals
	Rest      Rest // the SIP user has asked us to come back later

	// Both ways.
	Memory  []Memo // oldest first
	Threads []Thread
	Last    time.Time // when something was said
}

// Refusals are types that the SIP user's client has answered with 415, and
// that it is not sent again (RFC 3994, section 4).
type Refusals struct{ Typing, Notices bool }

// covers reports that o is of such a type.
func (r Refusals) covers(o *Outgoing) bool {
	if o.Notice != nil {
		return r.Notices
	}
	return r.Typing && o.Kind == mapping.ChatState
}

// A Memo is a message that something may still refer to.
type Memo struct {
	Way      step.Way
	At       time.Time
	Stanza   string // id of the stanza
	CallID   string
	Message  string // Message-ID of the CPIM object (RFC 5438, section 6.3), "" if there was none
	From, To step.Party
	Type     string        // of the stanza that came from XMPP
	Text     string        // how it begins
	Asked    *imdn.Request // what the SIP sender still wants to be told
}

// start returns as much of a text as a reply or a reaction may quote.
func start(text string) string {
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "")
	}
	return text
}

// A Thread is an XMPP thread and the Call-ID that stands for it, where neither
// can be the other (RFC 7572, sections 4 and 5).
type Thread struct{ Name, CallID string }

// Step implements [step.Machine].
func (t *Talk) Step(now step.Now, ev step.Event) []step.Effect {
	s := &said{Talk: t, now: now}
	t.forgetOld(now.Time)
	switch ev := ev.(type) {
	case step.Request:
		t.Last = now.Time
		s.fromSIP(ev)
	case step.Got:
		t.Last = now.Time
		s.fromXMPP(ev)
	case step.Taken:
		s.taken(ev)
	case step.Reply:
		s.bounced(ev)
	case step.Response:
		s.answered(ev)
	case step.Due:
		s.due()
	}
	return s.effects
}

// said is one step of a conversation: the effects that it has so far.
type said struct {
	*Talk
	now     step.Now
	effects []step.Effect
}

func (s *said) do(e ...step.Effect) { s.effects = append(s.effects, e...) }

func (s *said) ignore(why string) { s.do(step.Ignore{Why: why}) }

// Deadline implements [step.Machine].
func (t *Talk) Deadline() time.Time {
	d := t.Last.Add(rememberFor)
	soonest := func(at time.Time) {
		if !at.IsZero() && at.Before(d) {
			d = at
		}
	}
	for _, w := range t.Waiting {
		soonest(w.Until)
	}
	if t.Flying != nil {
		soonest(t.Flying.Until)
	}
	for _, o := range t.Queue {
		soonest(o.Until)
	}
	soonest(t.TypingEnds)
	return d
}

// Idle implements [shard.Idler].
func (t *Talk) Idle() bool {
	return len(t.Waiting) == 0 && t.Flying == nil && len(t.Queue) == 0
}

// due does what the time asks for.
func (s *said) due() {
	s.windowsEnd()
	s.queueEnds()
	if !s.TypingEnds.IsZero() && !s.TypingEnds.After(s.now.Time) {
		s.stopsTyping()
	}
	if s.Idle() && !s.Last.Add(rememberFor).After(s.now.Time) {
		s.do(step.Forget{})
	}
	if s.effects == nil {
		s.ignore("nothing is due")
	}
}

// forgetOld drops what nothing will refer to any more, some at a time: moving
// the rest for each message would cost more than the message.
func (t *Talk) forgetOld(now time.Time) {
	n := 0
	if len(t.Memory) >= 2*maxMemory {
		n = len(t.Memory) - maxMemory
	}
	for n < len(t.Memory) && !t.Memory[n].At.Add(rememberFor).After(now) {
		n++
	}
	t.Memory = slices.Delete(t.Memory, 0, n)
	if n := len(t.Threads) - maxMemory; n > 0 {
		t.Threads = slices.Delete(t.Threads, 0, n)
	}
}

// remember keeps a message for what may refer to it.
func (t *Talk) remember(m Memo) { t.Memory = append(t.Memory, m) }

// memo returns what is remembered of a message that went one way, by what is
// asked of it, the latest first; or nil.
func (t *Talk) memo(way step.Way, is func(*Memo) bool) *Memo {
	for i := len(t.Memory) - 1; i >= 0; i-- {
		if m := &t.Memory[i]; m.Way == way && is(m) {
			return m
		}
	}
	return nil
}

// Key returns the key of the conversation of two users. Both directions have
// the same one.
func Key(onSIP, onXMPP jid.JID) step.Key {
	name := onSIP.Bare().String() + " " + onXMPP.Bare().String()
	return step.Key{Kind: "talk", Place: name, Name: name}
}
