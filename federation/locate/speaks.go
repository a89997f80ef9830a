package locate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// A Speech is which protocols a domain speaks, and where.
type Speech struct {
	Domain  string
	SIP     []federation.Target // by the operator's word or service records
	XMPP    []federation.Target
	SIPErr  error    // why there are no SIP targets
	XMPPErr error    // why there are no XMPP targets
	Bare    bool     // the domain has an address, and no record says what is spoken there
	Why     []string // a line for each thing found, for the operator

	guess map[federation.Wire][]federation.Target
}

// Choose returns the wire on which somebody who speaks from reaches the
// domain, and where. The same protocol wins over conversion, a record over a
// mere address, and a mere address is believed to speak nothing but the
// protocol of him who asks (RFC 7247, section 5; RES-01, 02, 03, 05). If the
// same protocol cannot be looked up now, that is no reason to convert.
func (s Speech) Choose(from federation.Wire) (federation.Wire, []federation.Target, error) {
	same, other, otherWire, err := s.SIP, s.XMPP, federation.XMPP, s.SIPErr
	if from == federation.XMPP {
		same, other, otherWire, err = s.XMPP, s.SIP, federation.SIP, s.XMPPErr
	}
	switch {
	case len(same) > 0:
		return from, same, nil
	case fault.KindOf(err) == fault.Timeout:
		return from, nil, err
	case len(other) > 0:
		return otherWire, other, nil
	case len(s.guess[from]) > 0:
		return from, s.guess[from], nil
	}
	return from, nil, s.neither()
}

// Speaks returns which protocols a domain speaks and where, with the reasons
// (RFC 7247, section 5). It fails if the domain has not even an address; the
// Speech tells why then too.
func (l *Locator) Speaks(ctx context.Context, domain string) (Speech, error) {
	s := Speech{Domain: domain, guess: make(map[federation.Wire][]federation.Target)}
	rules := federation.Rules{}
	if d, err := federation.Domain(domain); err == nil {
		s.Domain, rules = d, l.rules(d)
	}
	var sip, xmpp find
	var wg sync.WaitGroup // waits below
	if s.SIPErr = errNamed; rules.SIP != "" || rules.XMPP == "" {
		wg.Go(func() { s.SIP, sip, s.SIPErr = l.sip(ctx, SIPQuery{Host: domain}) })
	}
	if s.XMPPErr = errNamed; rules.XMPP != "" || rules.SIP == "" {
		wg.Go(func() { s.XMPP, xmpp, s.XMPPErr = l.xmpp(ctx, domain) })
	}
	wg.Wait()
	if sip.guessed {
		s.SIP, s.guess[federation.SIP], s.SIPErr = nil, s.SIP, errGuess
	}
	if xmpp.guessed {
		s.XMPP, s.guess[federation.XMPP], s.XMPPErr = nil, s.XMPP, errGuess
	}
	s.explain(federation.SIP, s.SIP, sip.why, s.SIPErr)
	s.explain(federation.XMPP, s.XMPP, xmpp.why, s.XMPPErr)
	if len(s.SIP)+len(s.XMPP) > 0 {
		clear(s.guess)
		return s, nil
	}
	s.Bare = len(s.guess) > 0
	if s.Bare {
		return s, nil
	}
	return s, s.neither()
}

// Why a wire is left out although there may be something.
var (
	errGuess = fault.E(fault.NoRoute, "domain has an address, but no service records")
	errNamed = fault.E(fault.NoRoute, "the operator names a server for the other protocol only")
)

// explain adds the steps of one search and what came of it.
func (s *Speech) explain(w federation.Wire, targets []federation.Target, why []string, err error) {
	for _, line := range why {
		s.Why = append(s.Why, string(w)+": "+line)
	}
	for i, t := range targets {
		s.Why = append(s.Why, fmt.Sprintf("%s: target %d is %s", w, i+1, t))
	}
	if err != nil {
		s.Why = append(s.Why, fmt.Sprintf("%s: %s", w, fault.TextOf(err)))
	}
}

// neither returns why the domain cannot be reached on either wire.
func (s *Speech) neither() error {
	cause := errors.Join(s.SIPErr, s.XMPPErr)
	for _, err := range []error{s.SIPErr, s.XMPPErr} {
		if fault.KindOf(err) == fault.Timeout {
			return err
		}
	}
	if fault.TextOf(s.SIPErr) == fault.TextOf(s.XMPPErr) {
		return s.SIPErr
	}
	return fault.Wrap(fault.NoRoute, cause, "domain offers no SIP or XMPP service")
}

// Publishes reports that a domain has records for addresses of a scheme, im or
// pres, that are reached by SIP (RFC 3861, section 3). One that says nothing in
// time has none.
func (l *Locator) Publishes(ctx context.Context, scheme, domain string) bool {
	q := question{"_" + scheme + "._sip." + domain, TypeSRV}
	e, ok := l.dns.remembered(q)
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		e.answer, e.err = l.dns.Lookup(ctx, q.name, q.qtype)
	}
	return e.err == nil && slices.ContainsFunc(e.answer.Records, func(r Record) bool { return r.Target != "" })
}
