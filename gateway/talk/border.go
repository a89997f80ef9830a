package talk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/gateway/step"
	"cpimgate/mapping"
)

// A Border is the pager conversation of two users who both use SIP, in domains
// on either side of us. Nothing is mapped: a request goes on as it came, but
// for what belongs to the hop, and its answer comes back (RFC 3261, section
// 16). What a conversation promises holds here too: the order of each direction,
// one MESSAGE at a time, and an answer within the deadline.
type Border struct {
	Lanes []Lane // one for each direction in which somebody has written
}

// A Lane is what one of the two says to the other.
type Lane struct {
	From   string // the address of the sender, without resource
	Flying *Passing
	Queue  []Passing
}

// A Passing is a request on its way through.
type Passing struct {
	Tx       step.Tx
	Ref      step.Ref // once it is sent on
	From, To step.Party
	Request  *sip.Request
	Until    time.Time // it has its answer by then
	Good     time.Time // it is not sent on after that (RFC 3428, section 7); zero: as long as Until
}

// ends is when something must happen to a request that waits, or flies.
func (p *Passing) ends() time.Time {
	if p.Ref == "" && !p.Good.IsZero() && p.Good.Before(p.Until) {
		return p.Good
	}
	return p.Until
}

// KindBorder is the kind of the key of a [Border].
const KindBorder = "border"

// BorderKey returns the key of the conversation of two SIP users. Both
// directions have the same one.
func BorderKey(a, b sip.Uri) step.Key {
	names := []string{address(a), address(b)}
	slices.Sort(names)
	name := names[0] + " " + names[1]
	return step.Key{Kind: KindBorder, Place: name, Name: name}
}

// address returns the name of a user, without scheme, port and device.
func address(u sip.Uri) string { return u.User + "@" + strings.ToLower(u.Host) }

// Step implements [step.Machine].
func (b *Border) Step(now step.Now, ev step.Event) []step.Effect {
	s := &crossing{Border: b, now: now}
	switch ev := ev.(type) {
	case step.Request:
		s.pass(ev)
	case step.Response:
		s.answered(ev)
	case step.Due:
		s.due()
	default:
		s.do(step.Ignore{Why: "there is no XMPP in this conversation"})
	}
	if s.effects == nil {
		s.do(step.Ignore{Why: "waits for its turn"})
	}
	if s.Idle() {
		s.do(step.Forget{}) // nothing refers to what was said
	}
	return s.effects
}

// Deadline implements [step.Machine].
func (b *Border) Deadline() time.Time {
	var d time.Time
	for i := range b.Lanes {
		for p := range b.Lanes[i].all() {
			if ends := p.ends(); d.IsZero() || ends.Before(d) {
				d = ends
			}
		}
	}
	return d
}

// Idle implements [shard.Idler].
func (b *Border) Idle() bool {
	return !slices.ContainsFunc(b.Lanes, func(l Lane) bool { return l.Flying != nil || len(l.Queue) > 0 })
}

// all yields what is in a lane, the one that flies first.
func (l *Lane) all() func(yield func(*Passing) bool) {
	return func(yield func(*Passing) bool) {
		if l.Flying != nil && !yield(l.Flying) {
			return
		}
		for i := range l.Queue {
			if !yield(&l.Queue[i]) {
				return
			}
		}
	}
}

// A crossing is one step of a border conversation.
type crossing struct {
	*Border
	now     step.Now
	effects []step.Effect
}

func (s *crossing) do(e ...step.Effect) { s.effects = append(s.effects, e...) }

// pass takes a request into its lane.
func (s *crossing) pass(ev step.Request) {
	came := cmp.Or(ev.Came, s.now.Time)
	p := Passing{Tx: ev.Tx, From: ev.From, To: ev.To, Request: ev.SIP, Until: came.Add(Deadline)}
	p.Good, _ = mapping.GoodUntil(ev.SIP, came)
	lane := s.lane(address(ev.From.URI))
	if len(lane.Queue) >= maxQueue {
		s.refuse(p, fault.E(fault.Busy, "too many messages wait for this user"))
		return
	}
	lane.Queue = append(lane.Queue, p)
	s.next(lane)
}

func (s *crossing) lane(from string) *Lane {
	for i := range s.Lanes {
		if s.Lanes[i].From == from {
			return &s.Lanes[i]
		}
	}
	s.Lanes = append(s.Lanes, Lane{From: from})
	return &s.Lanes[len(s.Lanes)-1]
}

// next sends on what waits, one at a time, unless it is too late for it.
func (s *crossing) next(lane *Lane) {
	s.late(lane)
	if lane.Flying != nil || len(lane.Queue) == 0 {
		return
	}
	p := lane.Queue[0]
	lane.Queue = slices.Delete(lane.Queue, 0, 1)
	p.Ref = step.Ref(s.now.ID())
	lane.Flying = &p
	s.do(step.SendSIP{Ref: p.Ref, Domain: p.To.URI.Host, Request: mapping.Onward(p.Request), By: p.Until})
}

// answered brings an answer back.
func (s *crossing) answered(ev step.Response) {
	for i := range s.Lanes {
		lane := &s.Lanes[i]
		if lane.Flying == nil || lane.Flying.Ref != ev.Of {
			continue
		}
		p := *lane.Flying
		lane.Flying = nil
		if ev.Err != nil {
			s.refuse(p, ev.Err)
		} else {
			s.back(p, ev.SIP)
		}
		s.next(lane)
		return
	}
	s.do(step.Ignore{Why: "answer to something that was given up"})
}

func (s *crossing) back(p Passing, res *sip.Response) {
	if res.StatusCode == sip.StatusProxyAuthRequired { // a challenge to us, not to the sender
		s.refuse(p, fault.E(fault.Forbidden, "the domain asks this gateway for credentials"))
		return
	}
	s.do(step.Answer{Tx: p.Tx, Status: res.StatusCode, Reason: res.Reason, Header: mapping.Back(res)})
	if res.StatusCode < 300 {
		s.end(p, step.Delivered, "")
		return
	}
	s.end(p, step.Refused, fmt.Sprint(res.StatusCode, " ", res.Reason))
}

func (s *crossing) refuse(p Passing, err error) {
	status, reason, fields := mapping.FaultToSIP(err)
	s.do(step.Answer{Tx: p.Tx, Status: status, Reason: reason, Header: fields})
	s.end(p, step.Refused, err.Error())
}

// due answers those whose time has come.
func (s *crossing) due() {
	for i := range s.Lanes {
		s.next(&s.Lanes[i])
	}
}

// late refuses what is over its time.
func (s *crossing) late(lane *Lane) {
	silent := fault.E(fault.Timeout, "the user's server does not answer")
	if p := lane.Flying; p != nil && !p.ends().After(s.now.Time) {
		s.refuse(*p, silent)
		lane.Flying = nil
	}
	lane.Queue = slices.DeleteFunc(lane.Queue, func(p Passing) bool {
		switch {
		case p.ends().After(s.now.Time):
			return false
		case p.ends().Equal(p.Until):
			s.refuse(p, silent)
		default:
			s.refuse(p, errExpired)
		}
		return true
	})
}

func (s *crossing) end(p Passing, outcome step.Outcome, reason string) {
	s.do(step.End{
		Way: step.SIPToSIP, From: address(p.From.URI), To: address(p.To.URI),
		SIP: p.Request.CallID().Value(), Peer: p.To.URI.Host, Outcome: outcome, Reason: reason,
	})
}
