package s2s

import (
	"crypto/rand"
	"sync"
	"time"

	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A confirmer finds out which stanzas the server of a component has taken. The
// protocol has no acknowledgements, but a server handles a stream in order: when
// it has answered a ping (XEP-0199), it has taken what was written before. One
// question is on its way at a time, as in stream management.
//
// A server that does not answer is not asked again on that stream; there,
// stanzas are Written.
type confirmer struct {
	c *Component

	mu      sync.Mutex
	waiting []item // written and not confirmed, oldest first
	asked   int    // how many of them the question covers
	id      string // of the question; "": none is on its way
	mute    bool   // there is no stream, or the server does not answer on it
	stream  *outbound
}

// confirmTime is how long a server may take for an answer.
const confirmTime = 5 * time.Second

// watch returns an item whose done is told when the server has confirmed it.
func (f *confirmer) watch(it item) item {
	told := it.done
	it.done = func(how federation.How, err error) {
		if how != federation.Written || !f.wait(item{by: it.by, done: told}) {
			told(how, err)
		}
	}
	return it
}

// wait keeps a stanza that was written until it is confirmed. It reports false
// if that will not happen.
func (f *confirmer) wait(it item) bool {
	f.mu.Lock()
	if f.mute {
		f.mu.Unlock()
		return false
	}
	f.waiting = append(f.waiting, it)
	f.mu.Unlock()
	f.ask()
	return true
}

// ask asks about all that waits, unless a question is on its way.
func (f *confirmer) ask() {
	f.mu.Lock()
	if f.id != "" || len(f.waiting) == 0 {
		f.mu.Unlock()
		return
	}
	id, last := rand.Text(), time.Now().Add(confirmTime)
	by := last
	for _, it := range f.waiting {
		if it.by.Before(by) {
			by = it.by
		}
	}
	f.id, f.asked = id, len(f.waiting)
	f.mu.Unlock()
	patient := !by.Before(last)

	p := f.c.pair
	e := xmltree.New(xep.NS, "iq", xmltree.New(nsPing, "ping")).
		With("from", uLabels(p.from)).With("to", uLabels(p.to)).With("type", "get").With("id", id)
	q, err := f.c.srv.ask(e, by, func(_ *xmltree.Element, err error) { f.answered(id, err, patient) })
	if err != nil {
		f.answered(id, err, false)
		return
	}
	it := item{text: e.Append(nil, xep.NS), by: by, done: func(how federation.How, err error) {
		if how == federation.GivenUp {
			f.c.srv.answered(q, nil, err)
		}
	}}
	if err := p.enqueue(it); err != nil {
		f.c.srv.answered(q, nil, err)
	}
}

// answered hears what came of a question, and whether the server has had the
// whole time for it. What it covers is Written if nobody knows more by then.
func (f *confirmer) answered(id string, err error, patient bool) {
	f.mu.Lock()
	if id != f.id { // of a stream that is lost
		f.mu.Unlock()
		return
	}
	how, covered := federation.Acknowledged, f.waiting[:f.asked:f.asked]
	f.waiting, f.asked, f.id = f.waiting[f.asked:], 0, ""
	if err != nil {
		how = federation.Written
	}
	if f.mute = err == errSilent && patient; f.mute {
		covered, f.waiting = append(covered, f.waiting...), nil
	}
	f.mu.Unlock()
	tell(covered, how, nil)
	f.ask()
}

// begin has what follows be about another stream; nil is none. Nobody knows what
// has become of what was not confirmed on the one before, unless both sides have
// closed it in good order.
func (f *confirmer) begin(o *outbound) {
	f.mu.Lock()
	rest, former := f.waiting, f.stream
	f.waiting, f.asked, f.id, f.mute, f.stream = nil, 0, "", o == nil, o
	f.mu.Unlock()
	if former != nil && former.orderly && former.reason == errShut {
		tell(rest, federation.Written, nil)
		return
	}
	tell(rest, federation.GivenUp, errLost)
}
