package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"cpimgate/cpim/fault"
)

// Get returns a record; a fault of kind NotFound says that there is none, one of
// kind Busy that the store does not answer.
func (s *Store) Get(ctx context.Context, key string) (Entry, error) {
	subject, i, err := s.subject(key)
	if err != nil {
		return Entry{}, err
	}
	sess, err := s.session()
	if err != nil {
		return Entry{}, err
	}
	e, deleted, err := sess.read(ctx, i, subject)
	if err != nil {
		return Entry{}, err
	}
	if deleted {
		return Entry{}, errNone
	}
	e.Key = key
	return e, nil
}

var errNone = fault.E(fault.NotFound, "there is no such record")

// read returns what is saved under a subject, the mark of a deleted record too.
func (sess *session) read(ctx context.Context, i int, subject string) (e Entry, deleted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := sess.streams[i].GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return e, false, errNone
	case err != nil:
		return e, false, fault.Wrap(fault.Busy, err, "the store does not answer")
	}
	deleted = m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != ""
	return Entry{Value: m.Data, Revision: m.Sequence}, deleted, nil
}

// A Change is what a watch tells.
type Change struct {
	Entry

	Deleted bool // the record has ended; it has no value
	Now     bool // all that was there when the watch began has been told; no entry comes with it
}

// List calls fn with each record whose key begins with the words of prefix; "" is
// all. It returns the first error of fn. Fn is called on one goroutine at a time,
// in no order.
func (s *Store) List(ctx context.Context, prefix string, fn func(Entry) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err := s.follow(ctx, prefix, false, func(c Change) error {
		if c.Now {
			return errEnough
		}
		return fn(c.Entry)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("that is all")

// Watch calls fn with each record as List does, then with one Change that is
// Now, and then with what changes, until ctx is done or fn returns an error.
// After an interruption it begins again with what is there.
func (s *Store) Watch(ctx context.Context, prefix string, fn func(Change) error) error {
	for {
		err := s.follow(ctx, prefix, true, func(c Change) error {
			if err := fn(c); err != nil {
				return told{err}
			}
			return nil
		})
		if e, ok := errors.AsType[told](err); ok {
			return e.error
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := s.session(); err != nil {
			return err
		}
		s.log.Warn("store: watching again", "err", err)
		wait(ctx, maxPause)
	}
}

// told is an error of the caller's own.
type told struct{ error }

// follow reads all buckets at once.
func (s *Store) follow(ctx context.Context, prefix string, deletes bool, fn func(Change) error) error {
	if prefix != "" && !proper(prefix) {
		return fault.E(fault.Malformed, "%q is no beginning of keys", prefix)
	}
	sess, err := s.session()
	if err != nil {
		return err
	}
	run, ctx := errgroup.WithContext(ctx)
	all := make(chan Change, 256)
	for i := range Streams {
		run.Go(func() error { return s.bucketInto(ctx, sess, i, prefix, deletes, all) })
	}
	run.Go(func() error {
		for synced := 0; ; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case c := <-all:
				if c.Now {
					if synced++; synced < Streams {
						continue
					}
				}
				if err := fn(c); err != nil {
					return err
				}
			}
		}
	})
	return run.Wait()
}

// bucketInto passes on what one bucket has, and what changes in it.
func (s *Store) bucketInto(ctx context.Context, sess *session, i int, prefix string, deletes bool, into chan<- Change) error {
	kv, err := sess.js.KeyValue(ctx, s.bucket(i))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	pattern := ">"
	if prefix != "" {
		pattern = prefix + ".>"
	}
	o := []jetstream.WatchOpt{jetstream.IncludeHistory()}
	if !deletes {
		o = append(o, jetstream.IgnoreDeletes())
	}
	w, err := kv.Watch(ctx, pattern, o...)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() {
		_ = w.Stop()
		for range w.Updates() { // the library blocks on what nobody takes
		}
	}()
	late := time.NewTimer(3 * patience)
	defer late.Stop()
	for synced := false; ; {
		var c Change
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			if synced {
				continue
			}
			return fault.E(fault.Busy, "the store does not answer")
		case e, ok := <-w.Updates():
			if !ok {
				return fault.E(fault.Busy, "the connection to the store was lost")
			}
			late.Reset(3 * patience)
			if e == nil {
				synced, c.Now = true, true
				break
			}
			if strings.HasPrefix(e.Key(), "store.") {
				continue // our own
			}
			c.Entry = Entry{Key: e.Key(), Value: e.Value(), Revision: e.Revision()}
			c.Deleted = e.Operation() != jetstream.KeyValuePut
		}
		select {
		case into <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
