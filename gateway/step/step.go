// Package step is the vocabulary of machines: what they are told and what they
// answer. A machine remembers what must outlive a request. It reads no clock
// and no randomness, does no I/O, holds no lock and never ranges over a map:
// the same events always give the same effects.
package step

import (
	"time"

	"github.com/emiago/sipgo/sip"
	"mellium.im/xmpp/jid"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A Key names a machine. Machines that must see each other's order have the
// same Place; it decides their shard.
type Key struct {
	Kind  string // the kind of machine, such as "talk"
	Place string
	Name  string
}

// A Ref is a machine's own name for something it has begun and will hear
// about again. It is unique within the machine.
type Ref string

// A Tx names a request that waits for our answer. It dies with the process.
type Tx string

// Now is all that a machine knows of the world besides its events.
type Now struct {
	Time time.Time
	ID   func() string // a new name that nobody can guess (GW-10)
}

// A Machine is the state of one conversation, subscription, session or room.
type Machine interface {
	// Step is told what happened and answers what is to be done about it, in
	// order. An event that needs nothing is answered with Ignore.
	Step(now Now, ev Event) []Effect

	// Deadline is the earliest time at which the machine wants to be told Due,
	// or zero. It depends on the machine's fields only.
	Deadline() time.Time
}

// A Party is one user as both worlds write the name. The JID is full and the
// URI has a gr parameter where one device is meant.
type Party struct {
	JID jid.JID
	URI sip.Uri
}

// An Event is something that happened.
type Event interface{ event() }

type (
	// Request is an admitted SIP request. It is answered once, by an Answer.
	Request struct {
		Tx       Tx
		Came     time.Time // since when its sender waits; zero is now
		Peer     string    // the domain that is proved to have sent it
		From, To Party
		SIP      *sip.Request
	}

	// Response is the final answer to a SendSIP: the far side's, or the fault
	// for which there is none.
	Response struct {
		Of  Ref
		SIP *sip.Response // nil if Err is set
		Err error
	}

	// Got is an admitted message stanza that is no error.
	Got struct {
		Peer     string
		From, To Party
		Message  *xep.Message
	}

	// Reply is a stanza error to what SendXMPP sent.
	Reply struct {
		Of    Ref
		From  jid.JID // whom the error is about
		Error *xep.Error
	}

	// Taken says what became of a SendXMPP. GivenUp has a fault.
	Taken struct {
		Of  Ref
		How federation.How
		Err error
	}

	// Due says that the machine's Deadline has come.
	Due struct{}
)

func (Request) event()  {}
func (Response) event() {}
func (Got) event()      {}
func (Reply) event()    {}
func (Taken) event()    {}
func (Due) event()      {}

// An Effect is something to be done.
type Effect interface{ effect() }

type (
	// SendSIP sends a request out of dialog to the SIP domain. Its final
	// answer comes as a Response, at the latest at By.
	SendSIP struct {
		Ref     Ref
		Domain  string
		Request *sip.Request
		By      time.Time
		Words   *Words // that cross to the other protocol here, nil for none
	}

	// SendXMPP sends a stanza, errors too. A Ref that is not empty hears of it
	// by Taken, at the latest at By; the ref is the stanza's id, so that an
	// error finds back.
	SendXMPP struct {
		Ref    Ref
		Stanza *xmltree.Element
		By     time.Time
		Words  *Words // that cross to the other protocol here, nil for none
	}

	// Answer is the final answer to a Request.
	Answer struct {
		Tx     Tx
		Status int
		Reason string
		Header []sip.Header
	}

	// End says that a message has come to its end, once for each: the line in
	// the log and the counter.
	End struct {
		Way      Way
		From, To string // addresses, without resource
		SIP      string // Call-ID, if there was one
		XMPP     string // stanza id, if there was one
		Peer     string // the domain whose answer or failure decided
		Outcome  Outcome
		Reason   string
	}

	// Forget ends the machine: it has nothing left to remember.
	Forget struct{}

	// Ignore is silence with a reason.
	Ignore struct{ Why string }
)

func (SendSIP) effect()  {}
func (SendXMPP) effect() {}
func (Answer) effect()   {}
func (End) effect()      {}
func (Forget) effect()   {}
func (Ignore) effect()   {}

// Words are what one user says to another, as both protocols have it: when they
// come round to be translated once more, these are the same.
type Words struct {
	Thread   string // Call-ID and thread
	From, To string // bare JIDs, whatever the users are called elsewhere
	Text     string

	// Origin tells what its sender says again from what has come round: the
	// latter has another.
	Origin string
}

// A Way is the direction in which a message crosses.
type Way string

const (
	ToXMPP Way = "sip-xmpp"
	ToSIP  Way = "xmpp-sip"

	// SIPToSIP crosses a border between two SIP domains.
	SIPToSIP Way = "sip-sip"
)

// An Outcome is how a message ended.
type Outcome string

const (
	Delivered Outcome = "delivered" // the far side has taken it
	Refused   Outcome = "refused"   // the sender was told that it was not
	Dropped   Outcome = "dropped"   // a rule says that nobody is told
	Bounced   Outcome = "bounced"   // taken first, refused later; the sender heard of it if he asked
)
