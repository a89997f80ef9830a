package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cpimgate/cpim/fault"
)

// patience is how long one answer of the server is waited for.
const patience = 5 * time.Second

// The pauses between attempts, while the store is late.
const (
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// Put saves a record whatever is there now, and returns its revision.
func (s *Store) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.save(ctx, change{key: key, value: value})
}

// Create saves a record that is not there yet, else the error is ErrConflict.
func (s *Store) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.save(ctx, change{key: key, value: value, fenced: true, create: true})
}

// Update saves a record in place of one revision of it. ErrConflict says that
// this is not the one that is there.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return s.save(ctx, change{key: key, value: value, fenced: true, revision: revision})
}

// Delete ends a record at one revision, or at any if that is 0. One that is gone
// already is no error.
func (s *Store) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := s.save(ctx, change{key: key, gone: true, fenced: revision > 0, revision: revision})
	return err
}

// A change is what a save wants.
type change struct {
	key      string
	value    []byte
	gone     bool // the record ends
	fenced   bool // it replaces revision and nothing else
	create   bool // there is no record; revision is that of a mark of deletion, or 0
	revision uint64
}

// save makes a change, however long that takes.
func (s *Store) save(ctx context.Context, c change) (uint64, error) {
	subject, i, err := s.subject(c.key)
	if err != nil {
		return 0, err
	}
	if len(c.value) > MaxValue {
		return 0, fault.E(fault.TooLarge, "a record has %d bytes at most", MaxValue)
	}
	for pause, unsure := firstPause, false; ; pause = min(2*pause, maxPause) {
		sess, err := s.session()
		if err != nil {
			return 0, err
		}
		revision, err := sess.publish(ctx, subject, c)
		if err == nil {
			s.good()
			return revision, nil
		}
		if isWrongRevision(err) {
			revision, over, serr := s.settle(ctx, sess, i, subject, &c, unsure)
			if over {
				return revision, serr
			}
			if err = serr; err == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return 0, fault.Wrap(fault.Busy, errors.Join(ctx.Err(), err), "the store did not answer in time")
		}
		unsure = true
		s.late(s.why(sess, err))
		s.mend(ctx, sess)
		wait(ctx, pause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// publish makes one attempt.
func (sess *session) publish(ctx context.Context, subject string, c change) (uint64, error) {
	m := &nats.Msg{Subject: subject, Data: c.value}
	if c.fenced || c.gone {
		m.Header = nats.Header{}
	}
	if c.fenced {
		m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(c.revision, 10)}
	}
	if c.gone {
		m.Header["KV-Operation"] = []string{"PURGE"}
		m.Header[jetstream.MsgRollup] = []string{jetstream.MsgRollupSubject}
		m.Header[jetstream.MsgTTLHeader] = []string{markers.String()}
	}
	f, err := sess.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	var sick chan struct{}
	if sess.own != nil {
		sick = sess.own.sick
	}
	select {
	case ack := <-f.Ok():
		return ack.Sequence, nil
	case err := <-f.Err():
		return 0, err
	case <-sick:
		return 0, sess.own.trouble()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func isWrongRevision(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == errCodeWrongLastConstant)
}

// errCodeWrongLastConstant is the other code of the server for the same.
const errCodeWrongLastConstant jetstream.ErrorCode = 10164

// settle reads the record after a save was refused for its revision. Where an
// earlier attempt of the same save may have got through, a record that is as
// the save wants it is ours. A new record may follow the mark of a deleted one:
// then the change is to be tried again, from there.
func (s *Store) settle(ctx context.Context, sess *session, i int, subject string, c *change, unsure bool) (revision uint64, over bool, err error) {
	now, deleted, err := sess.read(ctx, i, subject)
	absent := fault.KindOf(err) == fault.NotFound
	switch {
	case err != nil && !absent:
		return 0, false, err
	case c.gone && (absent || deleted):
		return now.Revision, true, nil
	case unsure && !absent && !deleted && !c.gone && now.Revision > c.revision && bytes.Equal(now.Value, c.value):
		return now.Revision, true, nil
	case c.create && (absent || deleted):
		c.revision = now.Revision // 0 if not even a mark is left
		return 0, false, nil
	}
	return 0, true, ErrConflict
}

// why returns what the operator should know of a save that was not taken.
func (s *Store) why(sess *session, err error) error {
	if s.home == nil {
		return err
	}
	if n, ferr := free(s.home.dir); ferr == nil && n < minFree {
		return fmt.Errorf("the disk is full: %d KB are free where %s is: %w; free some, cpimgate goes on by itself", n>>10, s.home.dir, err)
	}
	if sess.own.wounded() {
		return fmt.Errorf("%s: %w", s.home.dir, err)
	}
	return err
}

// mend starts an embedded server anew that has said that it cannot write: it
// would not try again by itself. While the disk is full there is no use in it.
func (s *Store) mend(ctx context.Context, sess *session) {
	if sess.own == nil || !sess.own.wounded() {
		return
	}
	if n, err := free(s.home.dir); err == nil && n < minFree {
		return
	}
	s.heal.Lock()
	defer s.heal.Unlock()
	if s.now.Load() != sess || ctx.Err() != nil { // somebody was faster
		return
	}
	sess.close()
	fresh, err := s.connect(ctx)
	if err != nil {
		s.late(err)
		return
	}
	s.now.Store(fresh)
}
