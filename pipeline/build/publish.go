package build

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// mergeTombstones is how many tombstone objects a generation may have before they are written as one.
const mergeTombstones = 16

// publish writes the current state as the next generation.
func (b *Builder) publish(ctx context.Context) (err error) {
	started := time.Now()
	ctx, span := b.o.Tracer.Continue(ctx, "publish", &b.causes)
	defer func() { span.End(err) }()
	m := &schemas.Manifest{
		Format:     schemas.ManifestFormat,
		Generation: 1,
		Builder:    b.id,
		Trace:      span.Parent(),
		Created:    started.UTC(),
		Model:      b.modelRef,
		Checkpoint: checkpoint(b.heads),
		LiveRows:   int64(b.ledger.live),
		Moved:      b.ledger.moved,
		Plans:      b.plans,
		Drift:      b.drift,
		Trained:    b.trained,
	}
	if b.newest.rows > 0 {
		m.Newest = &schemas.Newest{Rows: b.newest.rows, Strange: b.newest.mean()}
	}
	var watermark, produced int64 // of the parent
	if b.manifest != nil {
		m.Generation, m.Parent, m.Dead = b.manifest.Generation+1, b.manifest.Generation, b.manifest.Dead
		watermark, produced = b.manifest.Watermark, b.manifest.Produced
	}
	b.noteStrange(m.Generation)
	m.Quality = b.judged()
	m.Watermark = reached(b.heads, watermark)
	for _, h := range b.heads {
		m.Produced = max(m.Produced, h.produced)
	}
	for _, p := range b.parts {
		m.DeadRows += int64(p.dead.GetCardinality())
		if p.chunk != nil {
			m.Chunks = append(m.Chunks, *p.chunk)
		} else {
			m.Segments = append(m.Segments, *p.segment)
		}
	}
	m.Lists = statsOf(b.lengths)
	if err := b.publishDead(ctx, m); err != nil {
		return fmt.Errorf("publish dead rows of generation %d: %w", m.Generation, err)
	}
	if err := b.mergeTombstones(ctx); err != nil {
		return fmt.Errorf("publish tombstones of generation %d: %w", m.Generation, err)
	}
	m.Tombstones = b.buried
	if err := b.o.Log.Publish(ctx, m); err != nil {
		return err
	}
	b.manifest, b.changed, b.ledger.dirty = m, false, false
	rest(b.heads)
	b.causes.Reset()
	span.Int("adastream.generation", m.Generation)
	b.metrics.lists(b.lengths)
	b.metrics.published(m, m.Produced > produced, time.Since(started))
	b.o.Logger.InfoContext(ctx, "published", "generation", m.Generation, "live_rows", m.LiveRows, "dead_rows", m.DeadRows,
		"chunks", len(m.Chunks), "segments", len(m.Segments), "took", time.Since(started).Round(time.Millisecond))
	return nil
}

// judged is what was measured, or why the newest rows speak against it.
func (b *Builder) judged() *schemas.Quality {
	if !b.strange() {
		return b.quality
	}
	q := &schemas.Quality{}
	if b.quality != nil {
		*q = *b.quality
	}
	q.Promoted, q.Measured = false, b.strangeSince // who promotes this generation, or one after it, has accepted them
	q.Reason = b.strangeReason()
	return q
}

func (b *Builder) publishDead(ctx context.Context, m *schemas.Manifest) error {
	if !b.ledger.dirty {
		return nil // the parent's bitmaps still hold
	}
	m.Dead = nil
	dead := map[string]*roaring.Bitmap{}
	for _, p := range b.parts {
		if !p.dead.IsEmpty() {
			dead[p.ID] = p.dead
		}
	}
	if len(dead) == 0 {
		return nil
	}
	body, err := segment.WriteDead(dead)
	if err != nil {
		return err
	}
	o, err := b.o.Log.PutDead(ctx, body)
	if err != nil {
		return err
	}
	m.Dead = &o
	b.metrics.put(o)
	return nil
}

// mergeTombstones writes the deletes that still matter as one object when they are spread over many.
func (b *Builder) mergeTombstones(ctx context.Context) error {
	if len(b.buried) < mergeTombstones {
		return nil
	}
	stones := b.ledger.tombstones()
	if len(stones) == 0 {
		b.buried = nil
		return nil
	}
	body, err := segment.WriteTombstones(stones)
	if err != nil {
		return err
	}
	o, err := b.o.Log.PutMergedTombstones(ctx, body)
	if err != nil {
		return err
	}
	b.buried = []schemas.Object{o}
	b.metrics.put(o)
	return nil
}

// reached is the watermark of the next generation, by that of its parent: the smallest one of the partitions with data that
// are not idle, but not less than the parent's.
func reached(heads map[int]chainHead, parent int64) int64 {
	smallest := int64(math.MaxInt64)
	for _, h := range heads {
		if h.watermark > 0 && h.active {
			smallest = min(smallest, h.watermark)
		}
	}
	if smallest == math.MaxInt64 {
		return parent
	}
	return max(parent, smallest)
}

// rest ends a generation: until they are folded again, only partitions that are behind count as active.
func rest(heads map[int]chainHead) {
	for p, h := range heads {
		h.active = h.behind
		heads[p] = h
	}
}

// listLengths is the rows of each list of a model, nil without one.
func listLengths(parts []*heldPart, mdl *model.Model) []int {
	if mdl == nil {
		return nil
	}
	rows := make([]int, mdl.NList())
	for _, p := range parts {
		if p.Model == mdl.ID() {
			addLengths(rows, p)
		}
	}
	return rows
}

// addLengths adds the rows of a part to those of each list.
func addLengths(rows []int, p *heldPart) {
	if p.N < p.EndList-p.FirstList { // of many lists a commit is in few
		for i := range p.N {
			rows[p.ListAt(i)]++
		}
		return
	}
	for l := p.FirstList; l < p.EndList; l++ {
		start, end := p.ListRange(l)
		rows[l] += end - start
	}
}

// statsOf describes lists by their lengths, nil when there are none.
func statsOf(rows []int) *schemas.ListStats {
	if rows == nil {
		return nil
	}
	total := 0
	for _, n := range rows {
		total += n
	}
	s := &schemas.ListStats{NList: len(rows), Mean: float64(total) / float64(len(rows))}
	for _, n := range rows {
		s.Longest = max(s.Longest, n)
		if n > 0 {
			s.NonEmpty++
			share := float64(n) / float64(total)
			s.Balance += share * share * float64(len(rows))
		}
	}
	return s
}
