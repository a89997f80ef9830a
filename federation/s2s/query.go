package s2s

import (
	"time"

	"cpimgate/cpim/fault"
	"cpimgate/cpim/xep"
	"cpimgate/cpim/xmltree"
	"cpimgate/federation"
)

// A query names a request of ours: its answer comes from whom it was sent to,
// to whom sent it, under its id, and on a stream on which the peer may send
// (RFC 6120, sections 8.1.3 and 8.2.3).
type query struct{ from, to, id string }

// A waiting is who waits for the answer to a query.
type waiting struct {
	answer func(*xmltree.Element, error)
	timer  *time.Timer
}

// maxQueries bounds the requests of ours that are not answered.
const maxQueries = 10_000

var errSilent = fault.E(fault.Timeout, "the far server does not answer")

// Query sends a request and tells answer, once, what came of it: the iq of type
// result or error that answers it, or a fault as of [Server.Send]; of kind
// Timeout if nothing has come by then. It must have an id. answer must not
// block.
func (s *Server) Query(e *xmltree.Element, by time.Time, answer func(*xmltree.Element, error)) {
	q, err := s.ask(e, by, answer)
	if err != nil {
		answer(nil, err)
		return
	}
	s.Send(e, by, func(how federation.How, err error) {
		if how == federation.GivenUp {
			s.answered(q, nil, err)
		}
	})
}

// ask notes that an answer is awaited.
func (s *Server) ask(e *xmltree.Element, by time.Time, answer func(*xmltree.Element, error)) (query, error) {
	h, err := xep.HeaderOf(e)
	if err != nil || h.Name != "iq" || h.ID == "" {
		return query{}, fault.Wrap(fault.Internal, err, "not a request")
	}
	q := query{h.From.String(), h.To.String(), h.ID}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, twice := s.queries[q]
	switch {
	case s.over:
		return q, errShut
	case twice:
		return q, fault.E(fault.Internal, "an id that waits for its answer")
	case len(s.queries) >= maxQueries:
		return q, fault.E(fault.Busy, "too many requests wait for an answer")
	}
	s.queries[q] = waiting{answer, time.AfterFunc(time.Until(by), func() { s.answered(q, nil, errSilent) })}
	return q, nil
}

// answered takes an answer to whoever waits for it. What nobody waits for is
// dropped.
func (s *Server) answered(q query, e *xmltree.Element, err error) {
	s.mu.Lock()
	w, ok := s.queries[q]
	delete(s.queries, q)
	s.mu.Unlock()
	if ok {
		w.timer.Stop()
		w.answer(e, err)
	}
}

// unanswered ends all waiting when the Server does.
func (s *Server) unanswered() {
	s.mu.Lock()
	left := s.queries
	s.queries = nil
	s.mu.Unlock()
	for _, w := range left {
		w.timer.Stop()
		w.answer(nil, errShut)
	}
}

// How we find out whether a silent peer is there (XEP-0199, section 4.3).
const (
	keepalive  = 5 * time.Minute // silence after which we ask
	answerTime = time.Minute     // and how long we wait
)

var errDead = &streamError{condition: "connection-timeout", text: "no sign of life"}
