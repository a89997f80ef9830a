package trunk

import (
	"context"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"cpimgate/cpim/fault"
	"cpimgate/federation"
)

// Over a connection nothing is repeated, so a transaction that is not an
// INVITE has no timers: E is for UDP, and J and K are zero (RFC 3261, sections
// 17.1.2.2 and 17.2.2). What is left of it is a name by which the reader finds
// who waits. These are ours; INVITE and all of UDP are sipgo's, which starts a
// goroutine, a context and a timer for each message.

// take takes the message that has been read, unless it is one for sipgo.
func (s *stream) take() bool {
	msg, _, err := s.t.parser.Parse(s.out, true)
	if err != nil || msg.CSeq() == nil {
		return false
	}
	switch msg.CSeq().MethodName {
	case sip.INVITE, sip.ACK, sip.CANCEL:
		return false
	}
	msg.SetTransport(networkOf(s.via))
	msg.SetSource(s.remote.String())
	switch m := msg.(type) {
	case *sip.Request:
		switch key, err := sip.ServerTxKeyMake(m); {
		case m.IsInvite(), m.IsAck(), m.IsCancel(), err != nil: // sipgo answers 400
			return false
		default:
			prepare(m, m.Source())
			s.t.enqueue(&arrival{t: s.t, key: key, req: m, source: m.Source(), stream: s, ours: true})
		}
	case *sip.Response:
		s.t.response(m)
	}
	return true
}

// networkOf is a transport as a Via spells it.
func networkOf(via federation.Transport) string {
	switch via {
	case federation.TLS:
		return "TLS"
	case federation.TCP:
		return "TCP"
	}
	return "UDP"
}

// respond writes a response, whose text is given, to where the request came
// from.
func (a *arrival) respond(res *sip.Response, text string) error {
	if !a.ours {
		return a.tx.Respond(res)
	}
	l := letter{}
	if !res.IsProvisional() {
		l = letter{from: a, res: res, text: text}
	}
	return a.stream.send(text, l)
}

// ask sends a request, whose text is given, over the connection and waits for
// the final response.
func (s *stream) ask(ctx context.Context, req *sip.Request, text string) (*sip.Response, error) {
	key, err := sip.ClientTxKeyMake(req)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "request without a transaction")
	}
	final := make(chan *sip.Response, 1)
	s.t.expect(key, final)
	defer s.t.expect(key, nil)
	if err := s.send(text, letter{}); err != nil {
		err = fmt.Errorf("%w: %w", sip.ErrTransactionTransport, err)
		return nil, fault.Wrap(fault.Timeout, err, "the peer's server cannot be reached")
	}
	select {
	case res := <-final:
		return res, nil
	case <-s.closed:
		err = sip.ErrTransactionTransport
	case <-ctx.Done():
		err = ctx.Err()
	}
	select {
	case res := <-final: // just before
		return res, nil
	default:
		return nil, fault.Wrap(fault.Timeout, err, "no answer from the peer's server")
	}
}
