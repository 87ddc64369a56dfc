package commit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Refusing returns the newest commits of a partition that refused something, newest first, at most so many. Unlike Commits it
// reads no others: the names of quarantine objects tell where they are. It lists what is from near on, an offset near the end of
// the chain, and then stretches before that, which grow until they have enough. It is for looking: a record that a writer put
// late on a key that was freed may be among them, which Commits leaves out.
func (l *Log) Refusing(ctx context.Context, partition int, near int64, most int) ([]*schemas.Commit, error) {
	if err := l.checkPlace(partition, near); err != nil {
		return nil, err
	}
	var found []*schemas.Commit
	for shift, first, before := 10, near, int64(math.MaxInt64); before > 0 && len(found) < most; shift += 3 {
		starts, err := l.refusingStarts(ctx, partition, first, before)
		if err != nil {
			return nil, err
		}
		for _, start := range slices.Backward(starts) {
			c, err := l.commit(ctx, partition, start)
			if errors.Is(err, store.ErrNotFound) { // of a writer that lost or is not done, or that was collected since
				continue
			}
			if err != nil {
				return nil, err
			}
			if c.Quarantine == nil { // the object is of a writer that lost
				continue
			}
			if found = append(found, c); len(found) == most {
				break
			}
		}
		before = first
		if first = 0; shift < 63 {
			first = max(0, near-1<<shift)
		}
	}
	return found, nil
}

// refusingStarts lists where the commits of quarantine objects start within [first, end), ascending.
func (l *Log) refusingStarts(ctx context.Context, partition int, first, end int64) ([]int64, error) {
	prefix := fmt.Sprintf("%s/%06d/", quarantine, partition)
	var starts []int64
	for info, err := range l.bucket.List(ctx, prefix, numbered(prefix, first)) { // they go on with a dash and an id
		if err != nil {
			return nil, fmt.Errorf("quarantine of partition %d: %w", partition, err)
		}
		_, _, start, ok := placeOf(info.Key)
		if !ok {
			continue
		}
		if start >= end {
			break
		}
		if n := len(starts); n == 0 || starts[n-1] != start {
			starts = append(starts, start)
		}
	}
	return starts, nil
}
