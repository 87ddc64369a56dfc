package commit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	pageRecords = 256 // commits that are listed, and then read, at a time
	readers     = 8   // of them read at the same time
)

// Head is where a partition's chain ends.
type Head struct {
	Next      int64           // the first offset that no record covers
	Watermark int64           // largest record timestamp of the chain, ms since the epoch, 0 for none
	Last      *schemas.Commit // the record that ends at Next, nil when the chain is empty
}

// Conflict is the answer to a writer whose place is taken. The writer drops what it has and goes on from Theirs.End.
// It wraps schemas.ErrFenced.
type Conflict struct {
	Theirs *schemas.Commit // the record that is there
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("partition %d: writer %s has committed [%d, %d): %v", c.Theirs.Partition, c.Theirs.Writer, c.Theirs.Start, c.Theirs.End, schemas.ErrFenced)
}

// Unwrap makes errors.Is(err, schemas.ErrFenced) true.
func (c *Conflict) Unwrap() error { return schemas.ErrFenced }

// errNotPosition: an offset is within a record, or beyond the end of the chain.
var errNotPosition = errors.New("is not a position of the chain")

// Head finds the end of a partition's chain. It reads and checks the records from hint on, or from the furthest
// position that this Log has seen or that is collected, whichever is furthest. The hint is a position: 0, a manifest's
// checkpoint, the end of a record.
func (l *Log) Head(ctx context.Context, partition int, hint int64) (Head, error) {
	if err := l.checkPlace(partition, hint); err != nil {
		return Head{}, err
	}
	for {
		before, err := l.before(ctx, partition)
		if err != nil {
			return Head{}, err
		}
		hint = max(hint, before)
		head, err := l.head(ctx, partition, hint)
		if err == nil {
			return head, nil
		}
		if err := l.passed(ctx, partition, hint, err); !errors.Is(err, schemas.ErrFenced) {
			return Head{}, err
		}
		// Records were collected while they were read: once more, from what is left.
	}
}

func (l *Log) head(ctx context.Context, partition int, hint int64) (Head, error) {
	next, last := hint, l.tail(partition)
	if last != nil && last.End >= hint {
		next = last.End
	} else {
		last = nil
	}
	for more := true; more; {
		var records []*schemas.Commit
		var err error
		if records, more, err = l.page(ctx, partition, next, pageRecords); err != nil {
			return Head{}, err
		}
		if n := len(records); n > 0 {
			last = records[n-1]
			next = last.End
		}
	}
	if last == nil && next > 0 {
		var err error
		if last, err = l.endingAt(ctx, partition, next); err != nil {
			return Head{}, missingRecords(err)
		}
	}
	if last == nil {
		return Head{}, nil
	}
	l.remember(last)
	return Head{Next: last.End, Watermark: last.Watermark, Last: last}, nil
}

// Append adds a record to the end of its partition's chain. If another writer's record is there, the error is a
// *Conflict with it; if that was folded and collected, the error wraps ErrFenced alone, and Head says where to go on. If the chain
// is not the one that this Log has seen, it wraps ErrReplaced. After
// ErrTransient the record may be there or not, and the same call with the same record tells. A record that breaks the rules
// of the chain, or whose start is not a position of it, is refused.
func (l *Log) Append(ctx context.Context, c *schemas.Commit) error {
	if err := l.checkCommit(c); err != nil {
		return fmt.Errorf("append to partition %d: %w", c.Partition, err)
	}
	prev, err := l.endingAt(ctx, c.Partition, c.Start)
	if err != nil {
		return l.passed(ctx, c.Partition, c.Start, fmt.Errorf("append: %w", err))
	}
	if err := checkSuccessor(prev, c); err != nil {
		return fmt.Errorf("append to partition %d: %w", c.Partition, err)
	}
	if err := l.stillEnds(ctx, prev); err != nil {
		return fmt.Errorf("append to partition %d: %w", c.Partition, err)
	}
	err = put(ctx, l.bucket, numbered(commitsPrefix(c.Partition), c.Start), c)
	if errors.Is(err, store.ErrExists) {
		theirs, err := l.commit(ctx, c.Partition, c.Start)
		if err != nil {
			return notYet(err)
		}
		l.remember(theirs)
		return &Conflict{theirs}
	}
	if err != nil {
		return err
	}
	if err := l.passed(ctx, c.Partition, c.Start, nil); err != nil {
		return fmt.Errorf("append: the key was free because it had been collected: %w", err)
	}
	l.remember(c)
	l.news.appended.Tell()
	return nil
}

// stillEnds makes sure that a record is to follow one that is there, and not only remembered: nil is the beginning of a chain.
func (l *Log) stillEnds(ctx context.Context, prev *schemas.Commit) error {
	if prev == nil {
		return l.sameSpec(ctx)
	}
	return l.stillCommitted(ctx, prev)
}

// Since returns the records of a partition from the position start on, at most limit of them, or all for 0. None means
// that start is the head. A hole or an overlap of the chain, or a start that is no position of it, wraps ErrCorrupt; a start
// before what is collected wraps ErrFenced.
func (l *Log) Since(ctx context.Context, partition int, start int64, limit int) ([]*schemas.Commit, error) {
	if err := l.checkPlace(partition, start); err != nil {
		return nil, err
	}
	found, err := l.since(ctx, partition, start, limit)
	if errors.Is(err, schemas.ErrCorrupt) {
		return nil, l.passed(ctx, partition, start, err)
	}
	return found, err
}

func (l *Log) since(ctx context.Context, partition int, start int64, limit int) ([]*schemas.Commit, error) {
	var found []*schemas.Commit
	next := start
	for more := true; more && (limit <= 0 || len(found) < limit); {
		want := pageRecords
		if limit > 0 {
			want = min(want, limit-len(found))
		}
		var records []*schemas.Commit
		var err error
		if records, more, err = l.page(ctx, partition, next, want); err != nil {
			return nil, err
		}
		if n := len(records); n > 0 {
			found = append(found, records...)
			next = records[n-1].End
		}
	}
	if len(found) > 0 {
		l.remember(found[len(found)-1])
		return found, nil
	}
	last, err := l.endingAt(ctx, partition, start)
	if err != nil {
		return nil, missingRecords(err)
	}
	l.remember(last)
	return nil, nil
}

// missingRecords: a position that others have seen is not there any more.
func missingRecords(err error) error {
	if errors.Is(err, errNotPosition) {
		return fmt.Errorf("%w: %w", schemas.ErrCorrupt, err)
	}
	return err
}

// notYet turns the absence of a record that must be there into a reason to try again.
func notYet(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: cannot be read yet: %w", schemas.ErrTransient, err)
	}
	return err
}

func (l *Log) checkPlace(partition int, offset int64) error {
	if !l.has(partition) {
		return fmt.Errorf("partition: %d, allowed: %s", partition, l.allowed())
	}
	if offset < 0 {
		return fmt.Errorf("partition %d: offset %d, allowed: 0 and more", partition, offset)
	}
	return nil
}

// page reads the next records from the position start on, at most want, and says whether there may be more.
//
// The listing shows where records start and lets them be read side by side. The truth is in the records: the next one is
// at the end of the one before, listed or not.
func (l *Log) page(ctx context.Context, partition int, start int64, want int) (records []*schemas.Commit, more bool, err error) {
	listed, err := l.listed(ctx, partition, start, want)
	if err != nil {
		return nil, false, err
	}
	prev, next := l.tail(partition), start
	if prev != nil && prev.End != start {
		prev = nil
	}
	add := func(c *schemas.Commit) error {
		if prev != nil || start == 0 {
			if err := checkSuccessor(prev, c); err != nil {
				return corrupt(numbered(commitsPrefix(partition), c.Start), err)
			}
		}
		records = append(records, c)
		prev, next = c, c.End
		return nil
	}
	for _, c := range listed {
		for next < c.Start {
			between, err := l.commit(ctx, partition, next)
			if errors.Is(err, store.ErrNotFound) {
				return nil, false, corrupt(numbered(commitsPrefix(partition), c.Start), fmt.Errorf("the chain has a hole before it: nothing starts at %d", next))
			}
			if err != nil {
				return nil, false, err
			}
			if err := add(between); err != nil {
				return nil, false, err
			}
		}
		if err := add(c); err != nil {
			return nil, false, err
		}
	}
	if len(records) > want {
		return records[:want], true, nil
	}
	return records, len(listed) == want, nil
}

// listed reads the records that a listing shows from start on, at most want, in the order of their starts.
func (l *Log) listed(ctx context.Context, partition int, start int64, want int) ([]*schemas.Commit, error) {
	var starts []int64
	for n, err := range l.numbers(ctx, commitsPrefix(partition), start) {
		if err != nil {
			return nil, err
		}
		if starts = append(starts, n); len(starts) == want {
			break
		}
	}
	records := make([]*schemas.Commit, len(starts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, n := range starts {
		g.Go(func() (err error) {
			records[i], err = l.commit(ctx, partition, n)
			return notYet(err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return records, nil
}

// commit reads the record that starts at an offset.
func (l *Log) commit(ctx context.Context, partition int, start int64) (*schemas.Commit, error) {
	key := numbered(commitsPrefix(partition), start)
	c, err := get(ctx, l.bucket, key, schemas.ParseCommit)
	if err != nil {
		return nil, err
	}
	if c.Partition != partition || c.Start != start {
		return nil, corrupt(key, fmt.Errorf("it says partition %d, start %d", c.Partition, c.Start))
	}
	if err := l.checkCommit(c); err != nil {
		return nil, corrupt(key, err)
	}
	return c, nil
}

// endingAt finds the record that ends at an offset, nil for 0. If none does, the error wraps errNotPosition.
func (l *Log) endingAt(ctx context.Context, partition int, offset int64) (*schemas.Commit, error) {
	if offset == 0 {
		return nil, nil
	}
	last := l.tail(partition)
	if last != nil && last.End == offset {
		return last, nil
	}
	next, err := l.startBefore(ctx, partition, offset)
	if err != nil {
		return nil, err
	}
	for next < offset {
		last, err = l.commit(ctx, partition, next)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("partition %d: offset %d %w, which ends at %d", partition, offset, errNotPosition, next)
		}
		if err != nil {
			return nil, err
		}
		next = last.End
	}
	if next > offset {
		return nil, fmt.Errorf("partition %d: offset %d %w: the record [%d, %d) spans it", partition, offset, errNotPosition, last.Start, last.End)
	}
	return last, nil
}

// startBefore is the start of the last listed record that starts before an offset, 0 if none is. Stores list in
// ascending order only, so it lists growing stretches that end at the offset; the first that holds a record is about as
// long as that record.
func (l *Log) startBefore(ctx context.Context, partition int, offset int64) (int64, error) {
	for shift := 10; ; shift += 3 {
		first := int64(0)
		if shift < 63 {
			first = max(0, offset-1<<shift)
		}
		found := int64(-1)
		for n, err := range l.numbers(ctx, commitsPrefix(partition), first) {
			if err != nil {
				return 0, err
			}
			if n >= offset {
				break
			}
			found = n
		}
		if found >= 0 || first == 0 {
			return max(0, found), nil
		}
	}
}

func (l *Log) tail(partition int) *schemas.Commit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tails[partition]
}

// remember notes a record of a chain, so that its end need not be proved a position again. It may be nil.
func (l *Log) remember(c *schemas.Commit) {
	if c == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.tails[c.Partition]; known == nil || known.End < c.End {
		own := *c
		l.tails[c.Partition] = &own
	}
}
