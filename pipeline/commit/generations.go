package commit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Manifest reads a generation. If it does not exist, the error wraps store.ErrNotFound.
func (l *Log) Manifest(ctx context.Context, generation int64) (*schemas.Manifest, error) {
	key := numbered(manifestsPrefix, generation)
	m, err := get(ctx, l.bucket, key, schemas.ParseManifest)
	if err != nil {
		return nil, err
	}
	if m.Generation != generation {
		return nil, corrupt(key, fmt.Errorf("it says generation %d", m.Generation))
	}
	if err := checkManifest(l.spec, m); err != nil {
		return nil, corrupt(key, err)
	}
	return m, nil
}

// Manifests yields the generations that exist, oldest first. It ends at the first error.
func (l *Log) Manifests(ctx context.Context) iter.Seq2[int64, error] {
	return l.numbers(ctx, manifestsPrefix, 0)
}

// Latest reads the newest generation after one, promoted or not, or returns nil if there is none.
func (l *Log) Latest(ctx context.Context, after int64) (*schemas.Manifest, error) {
	return newest(ctx, l, manifestsPrefix, after, l.Manifest)
}

// Publish adds a generation. If another builder has published it, or the one before it is gone, the error wraps
// ErrFenced: load the newest generation and begin again from there. After ErrTransient it may be there or not, and the
// same call with the same manifest tells.
func (l *Log) Publish(ctx context.Context, m *schemas.Manifest) error {
	if err := checkManifest(l.spec, m); err != nil {
		return fmt.Errorf("publish generation %d: %w", m.Generation, err)
	}
	if m.Parent > 0 {
		parent, err := l.Manifest(ctx, m.Parent)
		if err != nil {
			return fmt.Errorf("publish generation %d: parent: %w", m.Generation, fencedIfGone(err))
		}
		if err := checkChild(parent, m); err != nil {
			return fmt.Errorf("publish generation %d: %w", m.Generation, err)
		}
	}
	if err := l.precededBy(ctx, m.Generation-1); err != nil {
		return fmt.Errorf("publish generation %d: %w", m.Generation, err)
	}
	err := put(ctx, l.bucket, numbered(manifestsPrefix, m.Generation), m)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.Manifest(ctx, m.Generation)
		if err != nil {
			return notYet(err)
		}
		return fmt.Errorf("publish generation %d: builder %s was first: %w", m.Generation, theirs.Builder, schemas.ErrFenced)
	}
	if err != nil {
		return err
	}
	if err := l.precededBy(ctx, m.Generation-1); err != nil {
		return fmt.Errorf("publish generation %d: the key was free because it had been collected: %w", m.Generation, err)
	}
	return nil
}

// precededBy checks that the generation before is there. See the package comment for why it is asked twice.
func (l *Log) precededBy(ctx context.Context, generation int64) error {
	if generation == 0 {
		return nil
	}
	_, err := l.bucket.Stat(ctx, numbered(manifestsPrefix, generation))
	return fencedIfGone(err)
}

func fencedIfGone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", schemas.ErrFenced, err)
	}
	return err
}

// Channel reads the newest promotion after one, given by its sequence, or returns nil if there is none.
func (l *Log) Channel(ctx context.Context, after int64) (*schemas.Channel, error) {
	return newest(ctx, l, channelPrefix, after, l.Promotion)
}

// Promotion reads one record of the channel. If it does not exist, the error wraps store.ErrNotFound.
func (l *Log) Promotion(ctx context.Context, sequence int64) (*schemas.Channel, error) {
	key := numbered(channelPrefix, sequence)
	c, err := get(ctx, l.bucket, key, schemas.ParseChannel)
	if err != nil {
		return nil, err
	}
	if c.Sequence != sequence {
		return nil, corrupt(key, fmt.Errorf("it says sequence %d", c.Sequence))
	}
	return c, nil
}

// Promote makes queries follow a generation from now on, a newer one, or an older one to roll back; or an epoch, which must
// have a promoted generation. Of c it takes Generation or Epoch, Pinned, Reason and By. Seen is the newest promotion that the caller knows and has decided on, as Channel
// or an earlier Promote returned it, nil for none: if there is another one since, whoever made it, the error wraps
// ErrFenced. Look at the channel, and decide again. If the one that follows says the same already, it is returned, so that
// the call can be repeated.
func (l *Log) Promote(ctx context.Context, seen *schemas.Channel, c schemas.Channel) (*schemas.Channel, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	to, err := l.Resolve(ctx, &c)
	if err != nil {
		return nil, fmt.Errorf("promote: %w", err)
	}
	if _, err := to.Index.bucket.Stat(ctx, numbered(manifestsPrefix, to.Own.Generation)); err != nil {
		return nil, fmt.Errorf("promote %s: %w", to, err)
	}
	c.Format, c.Sequence, c.Created = schemas.ChannelFormat, 1, time.Now().UTC()
	if seen != nil {
		c.Sequence = seen.Sequence + 1
	}
	err = put(ctx, l.bucket, numbered(channelPrefix, c.Sequence), &c)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.Promotion(ctx, c.Sequence)
		if err != nil {
			return nil, notYet(err)
		}
		if theirs.Generation == c.Generation && theirs.Epoch == c.Epoch && theirs.Pinned == c.Pinned && theirs.Reason == c.Reason {
			return theirs, nil // by us, and the answer was lost, or by somebody who wanted the same
		}
		return nil, fmt.Errorf("promote %s: %s was first, with record %d (%s): %w", to, theirs.By, theirs.Sequence, theirs.Reason, schemas.ErrFenced)
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// newest reads the last of the numbered records after one. Records that are listed but cannot be read yet, or were
// deleted since, are passed over. It returns nil if none is left.
func newest[T any](ctx context.Context, l *Log, prefix string, after int64, read func(context.Context, int64) (*T, error)) (*T, error) {
	var listed []int64
	for n, err := range l.numbers(ctx, prefix, max(0, after)+1) {
		if err != nil {
			return nil, err
		}
		listed = append(listed, n)
	}
	for i := len(listed) - 1; i >= 0; i-- {
		record, err := read(ctx, listed[i])
		if !errors.Is(err, store.ErrNotFound) {
			return record, err
		}
	}
	return nil, nil
}
