package verify

import (
	"context"
	"fmt"
	"maps"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// resolutions checks what became of refused messages and rows of a partition, and returns the places that it says that of.
func (v *verifier) resolutions(ctx context.Context, partition int) (map[commit.Place]bool, error) {
	places := map[commit.Place]bool{}
	for line, err := range v.Log.ResolutionLines(ctx, partition) {
		if err != nil {
			if err := v.fault("what became of the quarantine", err); err != nil {
				return nil, err
			}
			continue
		}
		v.report.Resolutions += len(line)
		at := commit.Place{Partition: partition, Offset: line[0].Offset, Row: line[0].Row}
		places[at] = true
		if err := v.fault("what became of the quarantine", v.announcedOnce(at, line)); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// announcedOnce checks that no replay has the id of another one: whether it happened could not be told.
func (v *verifier) announcedOnce(at commit.Place, line []*schemas.Resolution) error {
	for _, r := range line {
		if r.Final() {
			continue
		}
		if other, twice := v.replays[r.ID]; twice {
			return fmt.Errorf("%w: %v: a replay has id %q, as has one of %v", schemas.ErrCorrupt, at, r.ID, other)
		}
		v.replays[r.ID] = at
	}
	return nil
}

// refused checks what a commit refused, and takes that out of what is said to be resolved.
func (v *verifier) refused(ctx context.Context, c *schemas.Commit, resolved map[commit.Place]bool) error {
	if c.Quarantine == nil {
		return nil
	}
	err := v.object(ctx, *c.Quarantine)
	if err == nil {
		err = v.quarantine(ctx, c, resolved)
	}
	if err != nil { // what it holds cannot be told, so nobody can say that it does not hold these
		maps.DeleteFunc(resolved, func(at commit.Place, _ bool) bool { return c.Start <= at.Offset && at.Offset < c.End })
	}
	return err
}

func (v *verifier) quarantine(ctx context.Context, c *schemas.Commit, resolved map[commit.Place]bool) error {
	mapped, err := v.Cache.Fetch(ctx, store.Ref(*c.Quarantine))
	if err != nil {
		return err
	}
	defer mapped.Release()
	rows, err := ingest.ReadQuarantine(c.Quarantine.Key, mapped.Bytes())
	if err != nil {
		return err
	}
	seen, reasons := make(map[commit.Place]bool, len(rows)), map[string]int{}
	for _, q := range rows {
		at := quarantine.PlaceOf(q)
		if at.Partition != c.Partition || at.Offset < c.Start || at.Offset >= c.End {
			return fmt.Errorf("%w: %s: what was refused at %v is not of its commit", schemas.ErrCorrupt, c.Quarantine.Key, at)
		}
		if seen[at] {
			return fmt.Errorf("%w: %s: what was refused at %v is there twice", schemas.ErrCorrupt, c.Quarantine.Key, at)
		}
		seen[at] = true
		reasons[q.Reason]++
		delete(resolved, at)
	}
	if !maps.Equal(reasons, c.Quarantined) {
		return fmt.Errorf("%w: %s: refused were %v, its commit says %v", schemas.ErrCorrupt, c.Quarantine.Key, reasons, c.Quarantined)
	}
	return nil
}

// unrefused notes what is said to be resolved and that no commit has refused.
func (v *verifier) unrefused(resolved map[commit.Place]bool) error {
	for at := range resolved {
		if err := v.fault("what became of the quarantine", fmt.Errorf("%w: %v: it is resolved, and no commit has refused it", schemas.ErrCorrupt, at)); err != nil {
			return err
		}
	}
	return nil
}
