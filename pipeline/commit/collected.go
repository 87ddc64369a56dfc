package commit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Collection returns what the newest garbage collection decided, nil if there was none. It asks the store each time.
func (l *Log) Collection(ctx context.Context) (*schemas.Collection, error) {
	l.mu.Lock()
	known, looked := l.collection, l.looked
	l.mu.Unlock()
	if !looked {
		var err error
		if known, err = newest(ctx, l, collectionsPrefix, 0, l.collectionRecord); err != nil {
			return nil, err
		}
	}
	for {
		c, err := l.collectionRecord(ctx, number(known)+1)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		known = c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looked = true; number(known) > number(l.collection) {
		l.collection = known
	}
	return l.collection, nil
}

func number(c *schemas.Collection) int64 {
	if c == nil {
		return 0
	}
	return c.Number
}

func (l *Log) collectionRecord(ctx context.Context, n int64) (*schemas.Collection, error) {
	key := numbered(collectionsPrefix, n)
	c, err := get(ctx, l.bucket, key, schemas.ParseCollection)
	if err != nil {
		return nil, err
	}
	if c.Number != n {
		return nil, corrupt(key, fmt.Errorf("it says number %d", c.Number))
	}
	for p, position := range c.Before {
		if n, _ := strconv.Atoi(p); !l.has(n) {
			return nil, corrupt(key, fmt.Errorf("before: %d for partition %s, allowed: partitions %s", position, p, l.allowed()))
		}
	}
	return c, nil
}

// before is the position of a partition below which its commits are folded and may be collected, 0 for none.
func (l *Log) before(ctx context.Context, partition int) (int64, error) {
	c, err := l.Collection(ctx)
	if err != nil || c == nil {
		return 0, err
	}
	return c.Before[strconv.Itoa(partition)], nil
}

// telling is the starts of the commits of a partition that stay when they are folded, for what they tell of lost or refused
// messages.
type telling map[int64]bool

// telling is what all collections so far have said of each partition, for the caller to keep. That a commit is there is not
// enough: a writer that slept may have put it on a key that was freed. A record is read once.
func (l *Log) telling(ctx context.Context) (map[int]telling, error) {
	newest, err := l.Collection(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	heard := l.heard
	l.mu.Unlock()
	var records []*schemas.Collection
	for n := heard + 1; n <= number(newest); n++ {
		c, err := l.collectionRecord(ctx, n)
		if err != nil {
			return nil, notYet(err)
		}
		records = append(records, c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range records {
		for name, starts := range c.Telling {
			partition, _ := strconv.Atoi(name) // it is one of those in Before, which were checked
			for _, start := range starts {
				l.tells[partition][start] = true
			}
		}
		l.heard = max(l.heard, c.Number)
	}
	tells := map[int]telling{}
	for _, partition := range l.Partitions() {
		tells[partition] = maps.Clone(l.tells[partition])
	}
	return tells, nil
}

// passed is err, unless the commits that start at an offset may be collected by now: then whoever asked for them slept, and
// the error wraps ErrFenced.
func (l *Log) passed(ctx context.Context, partition int, start int64, err error) error {
	before, lookErr := l.before(ctx, partition)
	switch {
	case lookErr != nil:
		return lookErr
	case before > start:
		return fmt.Errorf("partition %d: offset %d: all up to %d is folded and collected: %w", partition, start, before, schemas.ErrFenced)
	}
	return err
}

// Commits yields the records of a partition that count, oldest first: those of the past that tell of lost or refused messages,
// and the chain from what is collected on. It ends at the first error.
func (l *Log) Commits(ctx context.Context, partition int) iter.Seq2[*schemas.Commit, error] {
	return func(yield func(*schemas.Commit, error) bool) {
		before, err := l.before(ctx, partition)
		if err != nil {
			yield(nil, err)
			return
		}
		tells, err := l.telling(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, start := range slices.Sorted(maps.Keys(tells[partition])) {
			if start >= before {
				break // of a collection since
			}
			if c, err := l.commit(ctx, partition, start); !yield(c, err) || err != nil {
				return
			}
		}
		for {
			found, err := l.Since(ctx, partition, before, pageRecords)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(found) == 0 {
				return
			}
			for _, c := range found {
				if !yield(c, nil) {
					return
				}
				before = c.End
			}
		}
	}
}
