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

// Channel reads the newest promotion after one, given by its sequence, or returns nil if there is none. Promote goes on
// from what was seen here.
func (l *Log) Channel(ctx context.Context, after int64) (*schemas.Channel, error) {
	c, err := newest(ctx, l, channelPrefix, after, l.promotion)
	if err != nil {
		return nil, err
	}
	l.saw(c)
	return c, nil
}

// saw notes the newest promotion that is known; nil when there was none to see.
func (l *Log) saw(c *schemas.Channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked = true
	if c != nil && (l.channel == nil || l.channel.Sequence < c.Sequence) {
		l.channel = c
	}
}

// promotion reads one record of the channel.
func (l *Log) promotion(ctx context.Context, sequence int64) (*schemas.Channel, error) {
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

// Promote makes queries follow a generation from now on: a newer one, or an older one to roll back. If someone else has
// promoted another one since this Log last looked, by Channel or an earlier Promote, the error wraps ErrFenced: look at the
// channel, and decide again. If the newest promotion says the same already, it is returned, so that the call can be
// repeated.
func (l *Log) Promote(ctx context.Context, generation int64, reason, by string) (*schemas.Channel, error) {
	if _, err := l.bucket.Stat(ctx, numbered(manifestsPrefix, generation)); err != nil {
		return nil, fmt.Errorf("promote generation %d: %w", generation, err)
	}
	seen, looked := l.seen()
	last, err := l.Channel(ctx, sequenceOf(seen))
	switch {
	case err != nil:
		return nil, err
	case last == nil:
		last = seen
	case looked && (last.Reason != reason || last.By != by): // else it is ours, and its answer was lost
		return overtaken(generation, reason, last)
	}
	if last != nil && last.Generation == generation && last.Reason == reason && last.By == by {
		return last, nil
	}
	c := &schemas.Channel{Format: schemas.ChannelFormat, Sequence: sequenceOf(last) + 1, Generation: generation, Reason: reason, By: by, Created: time.Now().UTC()}
	err = put(ctx, l.bucket, numbered(channelPrefix, c.Sequence), c)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.promotion(ctx, c.Sequence)
		if err != nil {
			return nil, notYet(err)
		}
		return overtaken(generation, reason, theirs)
	}
	if err != nil {
		return nil, err
	}
	l.saw(c)
	return c, nil
}

// overtaken answers a promotion that came after another one that it did not know. If that says the same there is nothing
// left to do.
func overtaken(generation int64, reason string, theirs *schemas.Channel) (*schemas.Channel, error) {
	if theirs.Generation == generation && theirs.Reason == reason {
		return theirs, nil
	}
	return nil, fmt.Errorf("promote generation %d: %s has just promoted %d: %w", generation, theirs.By, theirs.Generation, schemas.ErrFenced)
}

func (l *Log) seen() (c *schemas.Channel, looked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.channel, l.looked
}

// sequenceOf is 0 for no promotion.
func sequenceOf(c *schemas.Channel) int64 {
	if c == nil {
		return 0
	}
	return c.Sequence
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
