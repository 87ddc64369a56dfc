package ingest

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// Data is what came of the range of a commit.
type Data struct {
	Rows    *segment.Rows
	Deletes []segment.Tombstone
	Refused []Quarantined
}

// Put stores what there is, and names and counts it in the record, whose partition and start are set. Rows are assigned with a model,
// nil for none. Each request is made by way of insist, which may repeat it.
func (d *Data) Put(ctx context.Context, log *commit.Log, mdl *model.Model, level avx.Level, record *schemas.Commit, insist func(context.Context, func() error) error) error {
	record.Rows, record.Deletes = d.Rows.Len(), len(d.Deletes)
	g, ctx := errgroup.WithContext(ctx)
	put := func(kind string, method func(context.Context, int, int64, []byte) (schemas.Object, error), into **schemas.Object, write func() ([]byte, error)) {
		g.Go(func() error {
			body, err := write()
			if err != nil {
				return fmt.Errorf("write %s: %w", kind, err)
			}
			return insist(ctx, func() error {
				object, err := method(ctx, record.Partition, record.Start, body)
				if err == nil {
					*into = &object
				}
				return err
			})
		})
	}
	if record.Rows > 0 {
		if mdl != nil {
			record.Model = mdl.ID()
		}
		put("segment", log.PutSegment, &record.Segment, func() ([]byte, error) { return segment.Write(log.Spec(), mdl, level, d.Rows) })
	}
	if record.Deletes > 0 {
		put("tombstones", log.PutTombstones, &record.Tombstones, func() ([]byte, error) { return segment.WriteTombstones(d.Deletes) })
	}
	if len(d.Refused) > 0 {
		record.Quarantined = map[string]int{}
		for _, q := range d.Refused {
			record.Quarantined[q.Reason]++
		}
		put("quarantine", log.PutQuarantine, &record.Quarantine, func() ([]byte, error) { return WriteQuarantine(d.Refused) })
	}
	return g.Wait()
}
