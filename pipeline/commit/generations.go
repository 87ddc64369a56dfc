package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Manifest reads a generation, with the parts that are in pages. If it does not exist, the error wraps store.ErrNotFound.
func (l *Log) Manifest(ctx context.Context, generation int64) (*schemas.Manifest, error) {
	m, err := l.Record(ctx, generation)
	if err != nil {
		return nil, err
	}
	if err := l.whole(ctx, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Record reads a generation like Manifest, but without the parts that are in pages: for who does not ask for parts.
func (l *Log) Record(ctx context.Context, generation int64) (*schemas.Manifest, error) {
	key := numbered(manifestsPrefix, generation)
	m, err := get(ctx, l.bucket, key, schemas.ParseManifest)
	if err != nil {
		return nil, err
	}
	if m.Generation != generation {
		return nil, corrupt(key, fmt.Errorf("it says generation %d", m.Generation))
	}
	if err := l.checkManifest(m); err != nil {
		return nil, corrupt(key, err)
	}
	return m, nil
}

// Manifests yields the generations that exist, oldest first, without those that are being collected. It ends at the first
// error.
func (l *Log) Manifests(ctx context.Context) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		c, err := l.Collection(ctx)
		if err != nil {
			yield(0, err)
			return
		}
		for g, err := range l.numbers(ctx, manifestsPrefix, 0) {
			if (err != nil || c == nil || c.Keeps(g)) && !yield(g, err) {
				return
			}
		}
	}
}

// Kept returns the generations before one that exist, newest first, at most so many. It lists nothing: generations are a line
// that has no holes but those of collections. The one that it begins before exists, or is the next one to be.
func (l *Log) Kept(ctx context.Context, before int64, most int) ([]int64, error) {
	c, err := l.Collection(ctx)
	if err != nil {
		return nil, err
	}
	var found []int64
	collected := int64(0)
	if c != nil {
		collected = c.Generation
	}
	for g := before - 1; g > collected && len(found) < most; g-- {
		found = append(found, g)
	}
	if c == nil {
		return found, nil
	}
	for _, g := range slices.Backward(c.Kept) {
		if g < before && len(found) < most {
			found = append(found, g)
		}
	}
	return found, nil
}

// Latest reads the newest generation after one, promoted or not, or returns nil if there is none.
func (l *Log) Latest(ctx context.Context, after int64) (*schemas.Manifest, error) {
	return l.latest(ctx, after, l.Manifest)
}

// LatestRecord is Latest without the parts that are in pages, like Record.
func (l *Log) LatestRecord(ctx context.Context, after int64) (*schemas.Manifest, error) {
	return l.latest(ctx, after, l.Record)
}

func (l *Log) latest(ctx context.Context, after int64, read func(context.Context, int64) (*schemas.Manifest, error)) (*schemas.Manifest, error) {
	if after == 0 { // what was collected need not be listed
		c, err := l.Collection(ctx)
		if err != nil {
			return nil, err
		}
		if c != nil {
			after = c.Generation - 1
		}
	}
	found, err := newest(ctx, l, manifestsPrefix, after, read)
	if err == nil {
		err = l.follows(ctx, found, after)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// follows makes sure that the newest generation after one, nil for none, is of the line of those that were seen.
func (l *Log) follows(ctx context.Context, found *schemas.Manifest, after int64) error {
	seen := l.seen()
	if found == nil && after >= seen.number {
		return nil // as if nobody had looked
	}
	if found != nil && found.Generation == seen.number {
		return seen.is(found)
	}
	if seen.number > 0 {
		if err := l.stillPublished(ctx, seen); err != nil {
			return err
		}
	}
	l.saw(found)
	return nil
}

// seen is the newest generation that was read or published.
func (l *Log) seen() edition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// saw notes the newest generation. It may be nil.
func (l *Log) saw(m *schemas.Manifest) {
	if m == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Generation > l.newest.number {
		l.newest = editionOf(m)
	}
}

// Publish adds a generation, and notes in m which format and pages its record has. If another builder has published it, or the one
// before it is gone, the error wraps ErrFenced: load the newest generation and begin again from there. If the generations are not
// those that this Log has seen, it wraps ErrReplaced. After ErrTransient it may be there or not, and the same call with the same
// manifest tells.
func (l *Log) Publish(ctx context.Context, m *schemas.Manifest) error {
	if err := l.checkManifest(m); err != nil {
		return fmt.Errorf("publish generation %d: %w", m.Generation, err)
	}
	before, err := l.succeeds(ctx, m)
	if err != nil {
		return fmt.Errorf("publish generation %d: %w", m.Generation, err)
	}
	if err := l.precededBy(ctx, m.Generation-1); err != nil {
		return fmt.Errorf("publish generation %d: %w", m.Generation, err)
	}
	record, err := l.lay(ctx, m, before)
	if err != nil {
		return fmt.Errorf("publish the pages of generation %d: %w", m.Generation, err)
	}
	err = put(ctx, l.bucket, numbered(manifestsPrefix, m.Generation), record)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.Record(ctx, m.Generation)
		if err != nil {
			return notYet(err)
		}
		return fmt.Errorf("publish generation %d: builder %s was first: %w", m.Generation, theirs.Builder, schemas.ErrFenced)
	}
	if err != nil {
		return err
	}
	c, err := l.Collection(ctx)
	if err != nil {
		return err
	}
	if c != nil && c.Generation > m.Generation {
		return fmt.Errorf("publish generation %d: the key was free because it had been collected: %w", m.Generation, schemas.ErrFenced)
	}
	l.saw(m)
	return nil
}

// succeeds makes sure that a generation is to follow its parent, as it was seen, and returns the pages of that.
func (l *Log) succeeds(ctx context.Context, m *schemas.Manifest) ([]*page, error) {
	if m.Parent == 0 {
		return nil, l.sameSpec(ctx)
	}
	parent, err := l.Record(ctx, m.Parent)
	if seen := l.seen(); seen.number == m.Parent {
		if err == nil {
			err = seen.is(parent)
		} else if errors.Is(err, store.ErrNotFound) {
			err = cmp.Or(l.stillPublished(ctx, seen), err)
		}
	}
	var before []*page
	if err == nil {
		before, err = l.pagesOf(ctx, m.Parent, parent.Pages)
	}
	if err != nil {
		return nil, fmt.Errorf("parent: %w", fencedIfGone(err))
	}
	return before, checkChild(parent, m)
}

// precededBy checks that the generation before is there.
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
	if after == 0 { // what was collected need not be listed
		c, err := l.Collection(ctx)
		if err != nil {
			return nil, err
		}
		if c != nil {
			after = max(0, c.Served-1)
		}
	}
	return newest(ctx, l, channelPrefix, after, l.Promotion)
}

// Promotions yields the sequences of the promotions that exist, oldest first. It ends at the first error.
func (l *Log) Promotions(ctx context.Context) iter.Seq2[int64, error] {
	return l.numbers(ctx, channelPrefix, 0)
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
// have a promoted generation. Of c it takes Generation or Epoch, Pinned, Reason and By. Seen is the newest promotion that
// the caller knows and has decided on, as Channel or an earlier Promote returned it, nil for none: if there is another one
// since, whoever made it, the error wraps ErrFenced. Look at the channel, and decide again. If the one that follows says the
// same already, it is returned, so that the call can be repeated. If seen is not of this index, it wraps ErrReplaced.
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
	if err := l.kept(ctx, &c); err != nil {
		return nil, fmt.Errorf("promote %s: %w", to, err)
	}
	c.Format, c.Sequence, c.Created = schemas.ChannelFormat, 1, time.Now().UTC()
	if seen != nil {
		c.Sequence = seen.Sequence + 1
		if err := l.stillPromoted(ctx, seen); err != nil {
			return nil, fmt.Errorf("promote %s: %w", to, err)
		}
	}
	made := &c
	err = put(ctx, l.bucket, numbered(channelPrefix, c.Sequence), &c)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.Promotion(ctx, c.Sequence)
		if err != nil {
			return nil, notYet(err)
		}
		if theirs.Generation != c.Generation || theirs.Epoch != c.Epoch || theirs.Pinned != c.Pinned || theirs.Reason != c.Reason {
			return nil, fmt.Errorf("promote %s: %s was first, with record %d (%s): %w", to, theirs.By, theirs.Sequence, theirs.Reason, schemas.ErrFenced)
		}
		made = theirs // by us, and the answer was lost, or by somebody who wanted the same
	} else if err != nil {
		return nil, err
	}
	if err := l.promoted(ctx, seen, made); err != nil {
		return nil, fmt.Errorf("promote %s: %w", to, err)
	}
	l.news.promoted.Tell()
	return made, nil
}

// kept checks that the generation of a promotion has not been given up.
func (l *Log) kept(ctx context.Context, c *schemas.Channel) error {
	collection, err := l.Collection(ctx)
	if err == nil && collection != nil && c.Epoch == "" && !collection.Keeps(c.Generation) {
		err = fmt.Errorf("it has been collected: %w", store.ErrNotFound)
	}
	return err
}

// promoted checks a promotion after it was made: see Confirm.
func (l *Log) promoted(ctx context.Context, seen, made *schemas.Channel) error {
	collection, err := l.Collection(ctx)
	if err != nil || collection == nil {
		return err
	}
	if collection.Served > made.Sequence {
		return fmt.Errorf("record %d: the key was free because it had been collected: %w", made.Sequence, schemas.ErrFenced)
	}
	if err := l.kept(ctx, made); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return l.takeBack(ctx, seen, made)
}

// Confirm checks the newest promotion, as whoever made it did unless it died before that. A collector looks at the channel
// between its record and the first deletion: either it has seen the promotion, or its record is seen here. Then the generation
// is on its way out, and the promotion is taken back by one more record. The error wraps store.ErrNotFound in that case.
func (l *Log) Confirm(ctx context.Context, c *schemas.Channel) error {
	if err := l.kept(ctx, c); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	before, err := l.Promotion(ctx, c.Sequence-1)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return l.takeBack(ctx, before, c)
}

// takeBack serves what was served before a promotion, or if that is gone too the newest generation, and returns why.
func (l *Log) takeBack(ctx context.Context, before, made *schemas.Channel) error {
	collection, err := l.Collection(ctx)
	if err != nil {
		return err
	}
	back := schemas.Channel{Generation: collection.Generation, By: made.By}
	if before != nil && (before.Epoch != "" || collection.Keeps(before.Generation)) {
		back = *before
	}
	back.Reason = fmt.Sprintf("generation %d was collected while it was promoted", made.Generation)
	why := fmt.Errorf("generation %d: it has been collected: %w", made.Generation, store.ErrNotFound)
	if _, err := l.Promote(ctx, made, back); err != nil && !errors.Is(err, schemas.ErrFenced) { // fenced: somebody has done it
		return fmt.Errorf("%w; and to go back: %w", why, err)
	}
	return why
}

// newest reads the last of the numbered records after one, nil if there is none. Records that are listed but cannot be read yet
// are passed over. Or they were collected since: then newer ones are listed now.
func newest[T any](ctx context.Context, l *Log, prefix string, after int64, read func(context.Context, int64) (*T, error)) (*T, error) {
	var found *T
	for {
		var listed []int64
		for n, err := range l.numbers(ctx, prefix, max(0, after)+1) {
			if err != nil {
				return nil, err
			}
			listed = append(listed, n)
		}
		if len(listed) == 0 {
			return found, nil
		}
		after = listed[len(listed)-1]
		for _, n := range slices.Backward(listed) {
			record, err := read(ctx, n)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil || n == after {
				return record, err
			}
			found = record
			break
		}
	}
}
