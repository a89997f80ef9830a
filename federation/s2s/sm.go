package s2s

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

const nsSM = "urn:xmpp:sm:3"

// A session is what stream management knows of what we have sent on a stream,
// and on those that resume it (XEP-0198, sections 4 and 5). Its pair's mutex
// guards it.
type session struct {
	id       string // to resume by; "": the peer does not resume
	location string // where the peer wants to be resumed at
	sent     uint32 // number of the last stanza sent; after 2^32-1 comes 0
	waiting  []item // sent and not acknowledged, oldest first
	asked    bool   // for an <a/> that has not come
}

// sends numbers stanzas that are about to be written.
func (s *session) sends(batch []item) {
	s.sent += uint32(len(batch))
	s.waiting = append(s.waiting, batch...)
}

// unsend takes back the last n: they did not go out whole. A peer may have
// acknowledged some all the same.
func (s *session) unsend(n int) []item {
	n = min(n, len(s.waiting))
	at := len(s.waiting) - n
	back := append([]item(nil), s.waiting[at:]...)
	s.waiting, s.sent = s.waiting[:at], s.sent-uint32(n)
	return back
}

// handled returns the stanzas up to number h that were not acknowledged yet, or
// false if there is no such number.
func (s *session) handled(h uint32) ([]item, bool) {
	n := h - (s.sent - uint32(len(s.waiting)))
	if uint64(n) > uint64(len(s.waiting)) {
		return nil, false
	}
	done := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	return done, true
}

// tooHigh refuses an acknowledgement of what was never sent (XEP-0198, section
// 6).
func tooHigh(h, sent uint32) error {
	return &streamError{
		condition: "undefined-condition", text: "more was acknowledged than was sent",
		extra: xmltree.New(nsSM, "handled-count-too-high").With("h", decimal(h)).With("send-count", decimal(sent)),
	}
}

func decimal(h uint32) string { return strconv.FormatUint(uint64(h), 10) }

// count reads the attribute h.
func count(e *xmltree.Element) (uint32, bool) {
	h, err := strconv.ParseUint(e.Get("h"), 10, 32)
	return uint32(h), err == nil
}

// smElement writes an element of stream management with one attribute or none.
func smElement(name, attribute, value string) []byte {
	e := xmltree.New(nsSM, name)
	if attribute != "" {
		e.With(attribute, value)
	}
	return e.Append(nil, xep.NS)
}

// managed is what came of negotiating stream management.
type managed struct {
	resumed bool     // the former session goes on
	h       *uint32  // what the peer has handled of it, if it has said so
	session *session // a new one; nil: none
}

// manage resumes a session or begins one, where the peer offers that
// (XEP-0198, sections 3 and 5).
func (o *outbound) manage(ctx context.Context, previd string) (m managed, err error) {
	if o.features.Child(nsSM, "sm") == nil {
		return m, nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.lim.Handshake)
	defer cancel()
	defer context.AfterFunc(ctx, o.stop)()
	if previd != "" {
		e, err := o.request(xmltree.New(nsSM, "resume").With("previd", previd).With("h", "0"), "resumed")
		if err != nil {
			return m, err
		}
		if h, ok := count(e); ok {
			m.h = &h
		}
		if m.resumed = e.Name.Local == "resumed"; m.resumed {
			if m.h == nil || e.Get("previd") != previd {
				return m, refuse("undefined-condition", "not what was to be resumed")
			}
			o.managed = true
			return m, nil
		}
	}
	e, err := o.request(xmltree.New(nsSM, "enable").With("resume", "true"), "enabled")
	if err != nil || e.Name.Local == "failed" {
		return m, err
	}
	o.managed, m.session = true, &session{}
	if r := e.Get("resume"); r == "true" || r == "1" {
		m.session.id, m.session.location = e.Get("id"), e.Get("location")
	}
	return m, nil
}

// request sends a request of stream management and reads its answer, which has
// that name or is a failure.
func (o *outbound) request(ask *xmltree.Element, answer string) (*xmltree.Element, error) {
	if _, err := o.write(ask.Append(nil, xep.NS)); err != nil {
		return nil, err
	}
	for range maxStray {
		e, err := o.next()
		switch {
		case err != nil:
			return nil, noEOF(err)
		case e.Is(nsSM, answer), e.Is(nsSM, "failed"):
			return e, nil
		case e.Name.Space != nsDialback: // late answers, XEP-0220, section 3.1
			return nil, refuse("unsupported-stanza-type", "%s for an answer", printable(e.Name.Local))
		}
	}
	return nil, refuse("policy-violation", "no answer among %d elements", maxStray)
}

// acknowledge takes what a peer says about stanzas that we have sent, and
// answers what it asks about its own: there were none.
func (o *outbound) acknowledge(e *xmltree.Element, acks func(uint32) error) error {
	h, ok := count(e)
	switch {
	case !o.managed:
	case e.Name.Local == "r":
		_, err := o.write(smElement("a", "h", "0"))
		return err
	case e.Name.Local == "a" && ok:
		return acks(h)
	}
	return refuse("unsupported-stanza-type", "%s", printable(e.Name.Local))
}

// errLost is what becomes of a stanza of which nobody knows whether it has
// arrived: it is not sent again (RFC 2779, section 5.4.2).
var errLost = fault.E(fault.Timeout, "the far server was lost before it had confirmed")

// open makes a stream, with the session of the one that was lost if the peer
// has kept it.
func (p *pair) open(ctx context.Context) (*outbound, error) {
	p.mu.Lock()
	var previd, location string
	if p.sess != nil {
		previd, location = p.sess.id, p.sess.location
	}
	p.mu.Unlock()
	var first []federation.Target
	if location != "" {
		var err error
		if first, err = p.srv.elsewhere(ctx, location, federation.Target{Domain: p.to}); err != nil {
			p.srv.cfg.Log.Info("cannot resume where the peer wants it", "peer", p.to, "location", printable(location), "err", err)
		}
	}
	out, err := p.srv.dial(ctx, p.key, asSender, first...)
	if err != nil {
		return nil, err
	}
	m, err := out.manage(ctx, previd)
	if err == nil {
		err = p.adopt(m)
	}
	if err != nil {
		out.shut(err)
		return nil, asFault(fmt.Errorf("%s: stream management: %w", out.target, err))
	}
	return out, nil
}

// adopt decides about what had not been acknowledged on the stream before: what
// the peer has handled is done; the rest is sent again on a stream that resumes,
// and given up on any other.
func (p *pair) adopt(m managed) error {
	p.mu.Lock()
	was := p.sess
	var done, rest []item
	var err error
	if was != nil {
		if m.h != nil {
			var ok bool
			if done, ok = was.handled(*m.h); !ok {
				err = tooHigh(*m.h, was.sent)
			}
		}
		rest, was.waiting = was.waiting, nil
	}
	switch {
	case m.resumed && err == nil:
		was.sent, was.asked = *m.h, false
		again := make([]item, 0, len(rest)+len(p.queue))
		for _, it := range rest {
			if it.text != nil {
				again = append(again, it)
			}
		}
		p.queue, rest = append(again, p.queue...), nil
	default:
		p.sess = m.session
	}
	p.mu.Unlock()
	tell(done, federation.Acknowledged, nil)
	tell(rest, federation.GivenUp, errLost)
	return err
}

// tell says what became of stanzas.
func tell(items []item, how federation.How, err error) {
	for _, it := range items {
		it.done(how, err)
	}
}

// acked hears how many stanzas the peer has handled.
func (p *pair) acked(h uint32) error {
	p.mu.Lock()
	done, ok := p.sess.handled(h)
	p.sess.asked = false
	sent := p.sess.sent
	p.mu.Unlock()
	if !ok {
		return tooHigh(h, sent)
	}
	tell(done, federation.Acknowledged, nil)
	signal(p.work) // there may be more to ask about, and room for more
	return nil
}

// overdue finds stanzas that are written and have waited for too long. While
// the stream is there they count as written (decision D-70); a lost one will
// not carry them any more. p.mu is held.
func (p *pair) overdue(now time.Time) (written, lost []item) {
	if p.sess == nil {
		return nil, nil
	}
	for i, it := range p.sess.waiting {
		if now.Before(it.by) {
			continue
		}
		told := it
		told.done, told.by = func(federation.How, error) {}, now.Add(queueTime)
		if p.out != nil {
			written = append(written, it)
		} else {
			lost = append(lost, it)
			told.text = nil
		}
		p.sess.waiting[i] = told
	}
	return written, lost
}

// lose decides about what is not acknowledged when a stream has ended. It waits
// if it can be resumed. A stream that both sides have closed in good order has
// carried all that was written.
func (p *pair) lose(out *outbound) {
	p.mu.Lock()
	var rest []item
	if p.sess != nil && (p.sess.id == "" || out.orderly) {
		rest, p.sess = p.sess.waiting, nil
	}
	p.mu.Unlock()
	if out.orderly && (out.reason == errShut || out.reason == errIdle) {
		tell(rest, federation.Written, nil)
		return
	}
	tell(rest, federation.GivenUp, errLost)
}

// abandon ends the session of a peer that does not come back.
func (p *pair) abandon() {
	p.mu.Lock()
	var rest []item
	if p.sess != nil {
		rest, p.sess = p.sess.waiting, nil
	}
	p.mu.Unlock()
	tell(rest, federation.GivenUp, errLost)
}
