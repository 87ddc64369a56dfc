package commit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
)

func (p Place) String() string {
	row := wholeMessage
	if p.Row >= 0 {
		row = fmt.Sprintf("row %d", p.Row)
	}
	return fmt.Sprintf("partition %d, offset %d, %s", p.Partition, p.Offset, row)
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

// Resolved returns the newest resolution of each place of a partition that has one.
func (l *Log) Resolved(ctx context.Context, partition int) (map[Place]*schemas.Resolution, error) {
	newest := map[Place]int64{}
	for info, err := range l.bucket.List(ctx, resolvedIn(partition), "") {
		if err != nil {
			return nil, fmt.Errorf("resolutions of partition %d: %w", partition, err)
		}
		if p, n, ok := resolvedPlace(partition, info.Key); ok {
			newest[p] = max(n, newest[p])
		}
	}
	found := map[Place]*schemas.Resolution{}
	for p, n := range newest {
		r, err := l.resolution(ctx, p, n)
		if err != nil {
			return nil, notYet(err)
		}
		found[p] = r
	}
	return found, nil
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
