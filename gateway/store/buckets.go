package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"cpimgate/cpim/fault"
)

// Records of our own among the others: a store without the first was never
// finished, and one with the second holds half of a backup.
const (
	keyMade      = "store.made"
	keyRestoring = "store.restoring"
)

// formatKey is where a stream's configuration says which format it has.
const formatKey = "cpimgate-format"

// markers is how long the mark of a deleted record stays.
const markers = time.Minute

// buckets opens all buckets, and makes those that are not there.
func (s *Store) buckets(ctx context.Context, sess *session) error {
	var err error
	if sess.js, err = jetstream.New(sess.nc, jetstream.WithPublishAsyncTimeout(patience), jetstream.WithPublishAsyncMaxPending(1<<16)); err != nil {
		return err
	}
	if _, err := sess.js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("store: the NATS server has no JetStream for us: %w; start it with -js, and give this user an account that may use it", err)
	}
	var missing []int
	for i := range Streams {
		st, err := sess.js.Stream(ctx, "KV_"+s.bucket(i))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			missing = append(missing, i)
			continue
		case err != nil:
			return fmt.Errorf("store: bucket %s: %w", s.bucket(i), err)
		}
		if err := s.usable(sess, st, s.bucket(i)); err != nil {
			return err
		}
		sess.streams[i] = st
	}
	return s.create(ctx, sess, missing)
}

// usable refuses a bucket that is not ours or not whole. One that is there keeps
// the configuration that it has: the operator may have changed it.
func (s *Store) usable(sess *session, st jetstream.Stream, bucket string) error {
	if err := supported(bucket, st.CachedInfo().Config.Metadata[formatKey]); err != nil {
		return err
	}
	return lossless(sess, bucket)
}

// create makes the buckets that are not there, unless they once were.
func (s *Store) create(ctx context.Context, sess *session, missing []int) error {
	subject, at, err := s.subject(keyMade)
	if err != nil {
		return err
	}
	if len(missing) > 0 && sess.streams[at] != nil {
		_, _, err := sess.read(ctx, at, subject)
		if err == nil {
			return fmt.Errorf("store: bucket %s is gone: %s", s.bucket(missing[0]), remedy)
		}
		if fault.KindOf(err) != fault.NotFound {
			return fmt.Errorf("store: %w", err)
		}
	}
	for _, i := range missing {
		if sess.streams[i], err = sess.js.CreateStream(ctx, s.config(sess, s.bucket(i))); err != nil {
			return fmt.Errorf("store: bucket %s: %w", s.bucket(i), err)
		}
	}
	return nil
}

// supported refuses a format that we do not know.
func supported(bucket, format string) error {
	n, err := strconv.Atoi(format)
	switch {
	case err != nil:
		return fmt.Errorf("store: bucket %s is not one of cpimgate; choose another store.name or store.dir", bucket)
	case n > Format:
		return fmt.Errorf("store: bucket %s was written by a newer cpimgate (format %d, this one knows %d): run that version, or restore a backup that this one has made into an empty store", bucket, n, Format)
	}
	return nil
}

// config is that of a key-value bucket, but that it is read where it is written:
// who has lost an answer must not read an older copy.
func (s *Store) config(sess *session, bucket string) jetstream.StreamConfig {
	replicas := s.cfg.Replicas
	switch {
	case sess.own != nil:
		replicas = 1
	case replicas == 0 && sess.nc.ConnectedClusterName() != "":
		replicas = 3
	}
	return jetstream.StreamConfig{
		Name: "KV_" + bucket, Subjects: []string{"$KV." + bucket + ".>"}, Description: "records of cpimgate",
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Replicas: replicas, Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute, DenyDelete: true, AllowRollup: true,
		AllowMsgTTL: true, SubjectDeleteMarkerTTL: markers,
		Metadata: map[string]string{formatKey: strconv.Itoa(Format)},
	}
}

// lossless refuses a bucket of which the server says that it has lost some.
func lossless(sess *session, bucket string) error {
	msg, err := sess.nc.Request("$JS.API.STREAM.INFO.KV_"+bucket, nil, patience)
	if err != nil {
		return fmt.Errorf("store: bucket %s: %w", bucket, err)
	}
	var info struct {
		State struct {
			Lost *struct {
				Msgs []uint64 `json:"msgs"`
			} `json:"lost"`
		} `json:"state"`
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return fmt.Errorf("store: bucket %s: %w", bucket, err)
	}
	if lost := info.State.Lost; lost != nil && len(lost.Msgs) > 0 {
		return fmt.Errorf("store: bucket %s has lost %d records: %s", bucket, len(lost.Msgs), remedy)
	}
	return nil
}

// remedy is what to do about a store that is damaged.
const remedy = "stop cpimgate, move the store away and restore a backup with `cpimgate store restore FILE`; without one it begins anew, and what waited in it is lost"

// whole checks that the store was made to its end, and is no half of a backup;
// one that is new it marks as made.
func (s *Store) whole(ctx context.Context, restoring bool) error {
	if _, err := s.Get(ctx, keyRestoring); err == nil && !restoring {
		return errors.New("store: a restore was not finished; run `cpimgate store restore FILE` again")
	} else if err != nil && fault.KindOf(err) != fault.NotFound {
		return fmt.Errorf("store: %w", err)
	}
	if _, err := s.Get(ctx, keyMade); fault.KindOf(err) != fault.NotFound {
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		return nil
	}
	for i, st := range s.now.Load().streams {
		info, err := st.Info(ctx)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if info.State.Msgs > 0 {
			return fmt.Errorf("store: bucket %s has records, but the one that says that the store is whole is gone: %s", s.bucket(i), remedy)
		}
	}
	made, err := json.Marshal(map[string]any{"v": Format, "streams": Streams})
	if err != nil {
		return err
	}
	_, err = s.Create(ctx, keyMade, made)
	if errors.Is(err, ErrConflict) { // another node was faster
		return nil
	}
	return err
}
