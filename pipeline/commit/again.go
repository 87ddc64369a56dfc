package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// ErrReplaced says that an index, or the epoch of it that is followed, is not the one that it was: it was removed, and maybe made anew
// in the same place.
var ErrReplaced = errors.New("removed or made anew")

// Still reads again what is followed. Unless it is there as it was, or was collected, the error wraps ErrReplaced: promotions of an
// index that was made anew count from 1, so who only looks for newer ones goes on with what is gone, and takes the other index's for
// newer ones of this one once there are enough.
func (l *Log) Still(ctx context.Context, at *Served) error {
	if err := l.stillPromoted(ctx, at.Record); err != nil || at.Record.Epoch == "" {
		return err
	}
	if err := at.Index.stillPromoted(ctx, at.Own); err != nil {
		return fmt.Errorf("epoch %s: %w", at.Record.Epoch, err)
	}
	return nil
}

// Unchanged reads again what tells the index that this Log has read and written from another one in its place: the spec, the newest
// collection and generation that it has seen, and the ends of chains if it has seen no generation. Unless they are there as they were,
// or were collected, the error wraps ErrReplaced. It is for daemons that have nothing to do for long, or meet something that cannot be.
func (l *Log) Unchanged(ctx context.Context) error {
	l.mu.Lock()
	collection, generation, tails := l.collection, l.newest, slices.Collect(maps.Values(l.tails))
	l.mu.Unlock()
	if err := l.sameSpec(ctx); err != nil {
		return err
	}
	if collection != nil {
		there, err := l.collectionRecord(ctx, collection.Number)
		never := func(*schemas.Collection) bool { return false }
		if err := l.same(ctx, numbered(collectionsPrefix, collection.Number), collection, there, err, never); err != nil {
			return err
		}
	}
	if generation.number > 0 {
		return l.stillPublished(ctx, generation)
	}
	for _, c := range tails {
		if err := l.stillCommitted(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) sameSpec(ctx context.Context) error {
	there, err := get(ctx, l.root, specKey, schemas.ParseSpec)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%s is gone: the index was %w", specKey, ErrReplaced)
	case err != nil:
		return err
	case !reflect.DeepEqual(there, l.spec):
		return fmt.Errorf("its spec is another one, %s: the index was %w", there, ErrReplaced)
	}
	return nil
}

func (l *Log) stillPromoted(ctx context.Context, known *schemas.Channel) error {
	there, err := l.Promotion(ctx, known.Sequence)
	return l.same(ctx, numbered(channelPrefix, known.Sequence), known, there, err, func(c *schemas.Collection) bool { return c.Served > known.Sequence })
}

func (l *Log) stillCommitted(ctx context.Context, known *schemas.Commit) error {
	there, err := l.commit(ctx, known.Partition, known.Start)
	return l.same(ctx, numbered(commitsPrefix(known.Partition), known.Start), known, there, err,
		func(c *schemas.Collection) bool { return c.Before[strconv.Itoa(known.Partition)] > known.Start })
}

// edition is a generation as somebody published it: nobody publishes two in the same moment.
type edition struct {
	number  int64 // 0 is none
	builder string
	created int64 // nanoseconds since the epoch
}

func editionOf(m *schemas.Manifest) edition {
	return edition{m.Generation, m.Builder, m.Created.UnixNano()}
}

func (l *Log) stillPublished(ctx context.Context, known edition) error {
	there, err := l.Record(ctx, known.number)
	if err != nil {
		return l.same(ctx, numbered(manifestsPrefix, known.number), nil, nil, err, func(c *schemas.Collection) bool { return !c.Keeps(known.number) })
	}
	return known.is(there)
}

// is says whether a generation of the same number is the same one.
func (e edition) is(m *schemas.Manifest) error {
	if editionOf(m) != e {
		return fmt.Errorf("generation %d is another one, by builder %s: the index was %w", e.number, m.Builder, ErrReplaced)
	}
	return nil
}

// same compares a record that was seen with the one that was read under its key. If there is none, collected says whether a collection
// has freed the key.
func (l *Log) same(ctx context.Context, key string, known, there any, err error, collected func(*schemas.Collection) bool) error {
	if errors.Is(err, store.ErrNotFound) {
		return l.gone(ctx, key, collected)
	}
	if err != nil {
		return err
	}
	was, err := encode(known)
	if err != nil {
		return err
	}
	is, err := encode(there)
	if err == nil && !bytes.Equal(was, is) {
		err = fmt.Errorf("%s is another one: the index was %w", key, ErrReplaced)
	}
	return err
}

// gone is why a record that was seen is not there.
func (l *Log) gone(ctx context.Context, key string, collected func(*schemas.Collection) bool) error {
	c, err := newest(ctx, l, collectionsPrefix, 0, l.collectionRecord) // not one that was seen before: that may be gone too
	if err != nil || c != nil && collected(c) {
		return err
	}
	for _, err := range l.bucket.List(ctx, key, "") {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s is listed and cannot be read yet", schemas.ErrTransient, key)
	}
	return fmt.Errorf("%s is gone: the index was %w", key, ErrReplaced)
}

// Again opens the index, or the shard, that is in the same place now, after ErrReplaced. If there is none, the error wraps
// store.ErrNotFound; one of another spec is an error too, as who has this one open knows the spec.
func (l *Log) Again(ctx context.Context) (*Log, error) {
	spec, err := get(ctx, l.root, specKey, schemas.ParseSpec)
	if err != nil {
		return nil, fmt.Errorf("open index in %s: %w", l.root, err)
	}
	if !reflect.DeepEqual(spec, l.spec) {
		return nil, fmt.Errorf("the index in its place has another spec, %s, this one has %s: restart what has it open", spec, l.spec)
	}
	return l.Over(l.bucket), nil
}
