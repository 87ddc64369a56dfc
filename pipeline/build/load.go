package build

import (
	"context"
	"fmt"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/schemas"
)

// load brings the newest generation into memory, whether it was promoted or not.
func (b *Builder) load(ctx context.Context) error {
	var err error
	if b.ledger, err = newLedger(b.o.Cache, b.o.Log.Spec()); err != nil {
		return err
	}
	b.heads, b.loading = map[int]chainHead{}, map[int]bool{}
	m, err := b.o.Log.Latest(ctx, 0)
	if err != nil {
		return fmt.Errorf("load newest manifest: %w", err)
	}
	if m == nil {
		b.changed = true // an index without rows is served too: nodes are ready, and answer that there are none
		return nil
	}
	b.manifest, b.buried, b.quality, b.plans = m, m.Tombstones, m.Quality, m.Plans
	if b.modelRef = m.Model; b.modelRef != nil {
		if b.model, err = replica.Model(ctx, b.o.Cache, *b.modelRef); err != nil {
			return err
		}
	}
	b.drift, b.trained = m.Drift, m.Trained
	if m.Newest != nil {
		b.newest = newest{m.Newest.Rows, m.Newest.Rows * m.Newest.Strange}
	}
	if b.quality != nil && !b.quality.Promoted {
		if b.unlike() {
			b.strangeSince = b.quality.Measured
			q := *b.quality
			q.Promoted, q.Reason = true, ""
			b.quality = &q // as it was measured
		} else if b.modelRef != nil {
			b.tried = model.Repair(b.modelRef.Repair)
		}
	}
	for p, next := range m.Checkpoint {
		partition, err := strconv.Atoi(p)
		if err != nil {
			return fmt.Errorf("%w: manifest %d: checkpoint of partition %q", schemas.ErrCorrupt, m.Generation, p)
		}
		b.heads[partition] = chainHead{next: next, watermark: m.Watermark, produced: m.Produced}
	}
	dead, err := replica.Dead(ctx, b.o.Cache, m.Dead)
	if err != nil {
		return err
	}
	for _, c := range m.Chunks {
		part, err := b.openChunk(ctx, c)
		if err != nil {
			return err
		}
		b.adopt(part, dead[c.ID])
	}
	for _, s := range m.Segments {
		part, err := b.openSegment(ctx, s)
		if err != nil {
			return err
		}
		b.adopt(part, dead[s.ID])
	}
	if err := b.ledger.restore(b.parts); err != nil {
		return fmt.Errorf("find the rows of generation %d by id: %w", m.Generation, err)
	}
	for _, o := range m.Tombstones {
		stones, err := replica.Tombstones(ctx, b.o.Cache, o)
		if err != nil {
			return err
		}
		for _, t := range stones {
			b.ledger.remove(t)
		}
	}
	b.ledger.moved = m.Moved // tombstones were counted when they were folded
	b.ledger.dirty = false
	b.metrics.holds(m)
	b.lengths = listLengths(b.parts, b.modelRef)
	b.metrics.lists(b.lengths)
	b.o.Logger.Info("loaded", "generation", m.Generation, "live_rows", b.ledger.live, "chunks", len(m.Chunks), "segments", len(m.Segments))
	return b.sweep() // else a builder that is overtaken before its jobs land would keep all that it ever fetched
}

func (b *Builder) adopt(part *heldPart, dead *roaring.Bitmap) {
	if dead != nil {
		part.dead = dead
	}
	b.parts = append(b.parts, part)
}

func (b *Builder) openSegment(ctx context.Context, s schemas.Segment) (*heldPart, error) {
	part, err := replica.Segment(ctx, b.o.Cache, b.o.Log.Spec(), s)
	if err != nil {
		return nil, err
	}
	return &heldPart{Part: part, segment: &s, dead: roaring.New()}, nil
}

func (b *Builder) openChunk(ctx context.Context, c schemas.Chunk) (*heldPart, error) {
	part, err := replica.ChunkWithVectors(ctx, b.o.Cache, b.o.Log.Spec(), c)
	if err != nil {
		return nil, err
	}
	return &heldPart{Part: part, chunk: &c, dead: roaring.New()}, nil
}
