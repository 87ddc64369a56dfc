package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Place is where a refused message or row was.
type Place struct {
	Partition int
	Offset    int64
	Row       int // -1: the message as a whole
}

const (
	rowDigits    = 10 // of rows in keys: enough for any int32
	wholeMessage = "message"

	// A flood that was given up by the row leaves a record for each: one after the other, 12,000 of them took minutes of each verify.
	resolutionReads = 16
	linesAhead      = 256 // that are read before the first of them is yielded
)

func (p Place) String() string {
	row := wholeMessage
	if p.Row >= 0 {
		row = fmt.Sprintf("row %d", p.Row)
	}
	return fmt.Sprintf("partition %d, offset %d, %s", p.Partition, p.Offset, row)
}

func (p Place) compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Partition, q.Partition), cmp.Compare(p.Offset, q.Offset), cmp.Compare(p.Row, q.Row))
}

func resolvedIn(partition int) string { return fmt.Sprintf("%s%06d/", resolvedPrefix, partition) }

// prefix begins the keys of the line of resolutions of a place.
func (p Place) prefix() string {
	row := wholeMessage
	if p.Row >= 0 {
		row = fmt.Sprintf("%0*d", rowDigits, p.Row)
	}
	return fmt.Sprintf("%s/%s/", numbered(resolvedIn(p.Partition), p.Offset), row)
}

// resolvedPlace is the inverse of prefix and a number.
func resolvedPlace(partition int, key string) (p Place, number int64, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, resolvedIn(partition)), "/")
	if len(parts) != 3 {
		return p, 0, false
	}
	p = Place{Partition: partition, Row: -1}
	p.Offset, ok = numberOf("", parts[0])
	if ok && parts[1] != wholeMessage {
		row, err := strconv.ParseInt(parts[1], 10, 32)
		p.Row, ok = int(row), err == nil
	}
	if ok {
		number, ok = numberOf(p.prefix(), key)
	}
	return p, number, ok
}

// numbersOfLines is the newest number of each place of a partition that has a line.
func (l *Log) numbersOfLines(ctx context.Context, partition int) (map[Place]int64, error) {
	newest := map[Place]int64{}
	for info, err := range l.bucket.List(ctx, resolvedIn(partition), "") {
		if err != nil {
			return nil, fmt.Errorf("resolutions of partition %d: %w", partition, err)
		}
		if p, n, ok := resolvedPlace(partition, info.Key); ok {
			newest[p] = max(n, newest[p])
		}
	}
	return newest, nil
}

// Resolved returns the newest resolution of each place of a partition that has one.
func (l *Log) Resolved(ctx context.Context, partition int) (map[Place]*schemas.Resolution, error) {
	newest, err := l.numbersOfLines(ctx, partition)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	found := make(map[Place]*schemas.Resolution, len(newest))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(resolutionReads)
	for p, n := range newest {
		g.Go(func() error {
			r, err := l.resolution(ctx, p, n)
			if err != nil {
				return notYet(err)
			}
			mu.Lock()
			defer mu.Unlock()
			found[p] = r
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return found, nil
}

// ResolutionLines yields the line of each place of a partition that has one, in order of places. A line that has a hole, or that
// goes on after its end, is corrupt; the others are yielded all the same.
func (l *Log) ResolutionLines(ctx context.Context, partition int) iter.Seq2[[]*schemas.Resolution, error] {
	return func(yield func([]*schemas.Resolution, error) bool) {
		newest, err := l.numbersOfLines(ctx, partition)
		if err != nil {
			yield(nil, err)
			return
		}
		for places := range slices.Chunk(slices.SortedFunc(maps.Keys(newest), Place.compare), linesAhead) {
			lines, faults := make([][]*schemas.Resolution, len(places)), make([]error, len(places))
			var g errgroup.Group
			g.SetLimit(resolutionReads)
			for i, p := range places {
				g.Go(func() error {
					lines[i], faults[i] = l.wholeLine(ctx, p, newest[p])
					return nil
				})
			}
			_ = g.Wait() // each has its own
			for i := range places {
				if !yield(lines[i], faults[i]) {
					return
				}
			}
		}
	}
}

// wholeLine is the line of a place that is known to go up to a number.
func (l *Log) wholeLine(ctx context.Context, p Place, newest int64) ([]*schemas.Resolution, error) {
	line := make([]*schemas.Resolution, 0, newest)
	for n := int64(1); n <= newest; n++ {
		r, err := l.resolution(ctx, p, n)
		if errors.Is(err, store.ErrNotFound) {
			return nil, corrupt(numbered(p.prefix(), newest), fmt.Errorf("the line has a hole before it: there is no number %d", n))
		}
		if err != nil {
			return nil, err
		}
		if r.Final() && n < newest {
			return nil, corrupt(numbered(p.prefix(), n+1), fmt.Errorf("it follows one that says %s", r.State))
		}
		line = append(line, r)
	}
	return line, nil
}

// Resolutions returns all that became of a place, oldest first.
func (l *Log) Resolutions(ctx context.Context, p Place) ([]*schemas.Resolution, error) {
	var line []*schemas.Resolution
	for {
		r, err := l.resolution(ctx, p, int64(len(line))+1)
		if errors.Is(err, store.ErrNotFound) {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
		line = append(line, r)
	}
}

func (l *Log) resolution(ctx context.Context, p Place, number int64) (*schemas.Resolution, error) {
	key := numbered(p.prefix(), number)
	r, err := get(ctx, l.bucket, key, schemas.ParseResolution)
	if err != nil {
		return nil, err
	}
	if at := (Place{r.Partition, r.Offset, r.Row}); at != p || r.Number != number {
		return nil, corrupt(key, fmt.Errorf("it says number %d of %v", r.Number, at))
	}
	if n := l.spec.Topic.Partitions; r.To >= n {
		return nil, corrupt(key, fmt.Errorf("to: partition %d, allowed: 0 to %d", r.To, n-1))
	}
	return r, nil
}

// Settle adds a resolution to the line of its place, after the one that the caller has seen, nil for none. Of r it takes
// State, To, From, ID, Reason and By. If another one follows that already, the error wraps ErrFenced; so it does after a final
// one.
func (l *Log) Settle(ctx context.Context, p Place, seen *schemas.Resolution, r schemas.Resolution) (*schemas.Resolution, error) {
	if err := l.checkPlace(p.Partition, p.Offset); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	r.Format, r.Partition, r.Offset, r.Row, r.Number, r.Created = schemas.ResolutionFormat, p.Partition, p.Offset, p.Row, 1, time.Now().UTC()
	if seen != nil {
		if seen.Final() {
			return nil, fmt.Errorf("settle %v: it was %s by %s: %w", p, seen.State, seen.By, schemas.ErrFenced)
		}
		r.Number = seen.Number + 1
	}
	err := put(ctx, l.bucket, numbered(p.prefix(), r.Number), &r)
	if errors.Is(err, store.ErrExists) {
		return nil, fmt.Errorf("settle %v: another one was first: %w", p, schemas.ErrFenced)
	}
	if err != nil {
		return nil, fmt.Errorf("settle %v: %w", p, err)
	}
	return &r, nil
}
