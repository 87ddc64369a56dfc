package build

import (
	"context"
	"fmt"

	"github.com/adastream/adastream/index/segment"
)

// runRecode trains codebooks anew and gives the base other codes: its rows stay where they are, and query nodes fetch
// nothing else. Deltas follow by compaction.
func (b *Builder) runRecode(ctx context.Context, j *job) error {
	if j.liveRows() == 0 {
		return nil
	}
	if err := b.train(ctx, j); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	base := make([]*segment.Part, len(j.inputs))
	for i, in := range j.inputs {
		base[i] = in.part.Part.Part
	}
	err := segment.Recode(ctx, b.o.Log.Spec(), j.mdl, b.o.Level, base, b.o.Threads, func(i int, codes []byte) error {
		c, err := b.o.Log.PutCodes(ctx, *j.inputs[i].part.chunk, codes)
		if err != nil {
			return err
		}
		defer b.o.Cache.Hold(c.Codes.SHA256)()
		if err := b.putCached(ctx, c.Codes, codes); err != nil {
			return err
		}
		return b.addChunk(ctx, j, c)
	})
	if err != nil {
		return err
	}
	j.sortOutputs()
	if err := b.measure(ctx, j); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}
