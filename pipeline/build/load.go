package build

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// load brings the newest generation into memory, whether it was promoted or not.
func (b *Builder) load(ctx context.Context) error {
	started := time.Now()
	if !b.began {
		b.began = true
		b.o.Cache, b.recalled = b.o.Cache.Recall(segment.Rules)
	}
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
			b.tellStrange(m.Generation, b.quality.Reason)
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
	dead, lost := replica.Dead(ctx, b.o.Cache, m.Dead)
	if lost != nil && !errors.Is(lost, store.ErrNotFound) && !errors.Is(lost, schemas.ErrCorrupt) {
		return lost
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
	base, err := b.openBase(b.chunks())
	switch {
	case err == nil && lost == nil:
		err = b.ledger.restore(b.parts, base)
	case err == nil:
		err = b.ledger.refold(b.parts, base)
	}
	if err != nil {
		return fmt.Errorf("find the rows of generation %d by id: %w", m.Generation, err)
	}
	for _, o := range m.Tombstones {
		stones, err := b.deletes(ctx, o, fmt.Sprintf("generation %d", m.Generation))
		if err != nil {
			return err
		}
		for _, t := range stones {
			b.ledger.remove(t)
		}
	}
	b.ledger.moved = m.Moved // they were counted when they were folded
	b.ledger.dirty = false
	if lost != nil {
		if err := b.foundDead(m, lost); err != nil {
			return err
		}
	}
	b.metrics.holds(m)
	b.lengths = listLengths(b.parts, b.model)
	b.metrics.lists(b.lengths)
	took := time.Since(started)
	b.metrics.loadSeconds.Set(took.Seconds())
	b.o.Logger.Info("loaded", "generation", m.Generation, "live_rows", b.ledger.live, "chunks", len(m.Chunks), "segments", len(m.Segments),
		"recalled_files", b.recalled, "builder", b.id, "took", took.Round(time.Millisecond))
	if b.recalled == 0 {
		b.remember()
	} else {
		b.rememberAt = time.Now().Add(rememberAfter)
	}
	return b.sweep(b.usedFiles()) // else a builder that is overtaken before its jobs land would keep all that it ever fetched
}

// deletes reads an object of deletes of a record. They follow from nothing else that is stored: one that is lost ends the builder, and an
// index that is made again from what is left has rows that it deletes.
func (b *Builder) deletes(ctx context.Context, o schemas.Object, of string) ([]segment.Tombstone, error) {
	stones, err := replica.Tombstones(ctx, b.o.Cache, o)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, schemas.ErrCorrupt) {
		return nil, fmt.Errorf("deletes of %s: %w: restore %s, whose sha256 is %s, from a copy of the bucket, or from a cache, where its name is that sum; "+
			"if there is none, make the index again by `adastream rebuild from-offsets`, as from-segments brings deleted rows back", of, err, o.Key, o.SHA256)
	}
	return stones, err
}

// foundDead takes the dead rows that the ledger has come to for those of a generation whose object of them is lost, if they are as many,
// and has them published. Rows that count twice, or are missing, would not be: then the loss is the error.
func (b *Builder) foundDead(m *schemas.Manifest, lost error) error {
	dead := int64(0)
	for _, p := range b.parts {
		dead += int64(p.dead.GetCardinality())
	}
	if int64(b.ledger.live) != m.LiveRows || dead != m.DeadRows {
		return fmt.Errorf("dead rows of generation %d: %w: without them it has %d live and %d dead rows, and says %d and %d", m.Generation, lost, b.ledger.live, dead, m.LiveRows, m.DeadRows)
	}
	b.o.Logger.Warn("the dead rows of a generation are lost, finding and publishing them again", "generation", m.Generation, "dead_rows", dead, "error", lost)
	b.ledger.dirty, b.changed = true, true
	return nil
}

// rememberAfter is how long a builder runs on files that it has not read through before the next one may do the same: one that
// dies of them does so before.
const rememberAfter = time.Minute

// remember has the next process do without reading through, and looking at each row of, what this one has opened.
func (b *Builder) remember() {
	b.rememberAt = time.Time{}
	opened := b.partFiles()
	if err := b.o.Cache.Remember(segment.Rules, func(sha256 string) bool { return opened[sha256] }); err != nil {
		b.o.Logger.Warn("the next start will take longer", "error", err)
	}
}

// partFiles are the objects of the parts, by SHA-256.
func (b *Builder) partFiles() map[string]bool {
	files := map[string]bool{}
	for _, p := range b.parts {
		if p.chunk != nil {
			files[p.chunk.Rows.SHA256], files[p.chunk.Codes.SHA256], files[p.chunk.Vectors.SHA256] = true, true, true
		} else {
			files[p.segment.SHA256] = true
		}
	}
	return files
}

// openBase finds the table of the ids of chunks, or makes it.
func (b *Builder) openBase(chunks []*heldPart) (*baseIDs, error) {
	base, err := keptBaseIDs(b.o.Cache, chunks)
	if err == nil {
		return base, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		b.o.Logger.Warn("rebuilding the table of IDs", "error", err)
	}
	if base, err = newBaseIDs(b.o.Cache, b.ledger.hash, chunks); err != nil {
		return nil, err
	}
	b.keepBase(base)
	return base, nil
}

// keepBase keeps a table for the next process. Safe for concurrent use.
func (b *Builder) keepBase(base *baseIDs) {
	if err := base.keep(b.o.Cache); err != nil {
		b.o.Logger.Warn("the table of IDs could not be kept, the next start will take longer", "error", err)
	}
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
