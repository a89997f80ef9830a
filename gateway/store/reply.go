package store

import (
	"context"

	"github.com/nats-io/nats.go"

	"cpimgate/cpim/fault"
)

// Request asks the node that serves a subject, a word like a key, and returns
// its answer. A fault of kind NoRoute says that nobody serves it, one of kind
// Timeout that he does not answer before ctx is done.
func (s *Store) Request(ctx context.Context, subject string, question []byte) ([]byte, error) {
	if !proper(subject) {
		return nil, fault.E(fault.Malformed, "%q is no subject", subject)
	}
	sess, err := s.session()
	if err != nil {
		return nil, err
	}
	m, err := sess.nc.RequestWithContext(ctx, s.cfg.Name+"."+subject, question)
	switch {
	case err == nats.ErrNoResponders:
		return nil, fault.Wrap(fault.NoRoute, err, "nobody serves this")
	case ctx.Err() != nil:
		return nil, fault.Wrap(fault.Timeout, err, "no answer from the other node")
	case err != nil:
		return nil, fault.Wrap(fault.Busy, err, "the store does not answer")
	}
	return m.Data, nil
}

// Serve answers requests for a subject, one after the other, until ctx is done.
// ready, if not nil, is closed when the first can come.
func (s *Store) Serve(ctx context.Context, subject string, ready chan<- struct{}, answer func([]byte) []byte) error {
	if !proper(subject) {
		return fault.E(fault.Malformed, "%q is no subject", subject)
	}
	for {
		if err := s.serve(ctx, subject, ready, answer); err != nil || ctx.Err() != nil {
			return err
		}
		ready = nil
		wait(ctx, firstPause)
	}
}

// serve does so until the connection is replaced.
func (s *Store) serve(ctx context.Context, subject string, ready chan<- struct{}, answer func([]byte) []byte) error {
	sess, err := s.session()
	if err != nil {
		return err
	}
	questions := make(chan *nats.Msg, 64)
	sub, err := sess.nc.ChanSubscribe(s.cfg.Name+"."+subject, questions)
	if err == nil {
		err = sess.nc.FlushTimeout(patience)
	}
	if err != nil {
		return fault.Wrap(fault.Busy, err, "the store does not answer")
	}
	defer func() { _ = sub.Unsubscribe() }()
	if ready != nil {
		close(ready)
	}
	over := sess.nc.StatusChanged(nats.CLOSED)
	defer sess.nc.RemoveStatusListener(over)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			return nil
		case m := <-questions:
			if err := m.Respond(answer(m.Data)); err != nil {
				s.log.Warn("store: an answer to another node was lost", "err", err)
			}
		}
	}
}
