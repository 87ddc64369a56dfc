// Package replica brings the objects that a manifest names to this machine: fetched through the cache, verified against
// their sha256, mapped and opened. Builder and query node read generations through it.
package replica

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Part is an opened segment or chunk together with the mappings that it reads from. It is counted: it stays mapped
// until each of its holders has released it.
type Part struct {
	*segment.Part
	mapped []*store.Mapped
	held   atomic.Int32
}

// Share adds a holder.
func (p *Part) Share() *Part {
	p.held.Add(1)
	return p
}

// Recalled reports whether anything of the part has not been read through by this process, see [store.Cache.Recall].
func (p *Part) Recalled() bool {
	return slices.ContainsFunc(p.mapped, (*store.Mapped).Recalled)
}

// Verify makes up for what was left to an earlier process: it reads the part through, in a share of the time, see [store.Mapped.Verify].
// That the bytes are what they were is enough, since that process has looked at the rows. An error that is ErrTransient says that only
// the copy on this machine is bad, and gone.
func (p *Part) Verify(ctx context.Context, share float64) error {
	for _, m := range p.mapped {
		if err := m.Verify(ctx, share); err != nil {
			return err
		}
	}
	return nil
}

// Reread reads the part through again, see [store.Mapped.Reread].
func (p *Part) Reread(ctx context.Context, share float64) error {
	for _, m := range p.mapped {
		if err := m.Reread(ctx, share); err != nil {
			return err
		}
	}
	return nil
}

// Release ends one hold. After the last one nothing may read the part, or a string that came from it.
func (p *Part) Release() {
	if p.held.Add(-1) > 0 {
		return
	}
	for _, m := range p.mapped {
		m.Release()
	}
}

// Scattered says that rows and originals are read a few at a time all over the part, as queries do, also exact ones. They look through
// codes of a chunk, its second file, a list at a time.
func (p *Part) Scattered() {
	for i, m := range p.mapped {
		if i != 1 {
			m.Scattered(true)
		}
	}
}

func (p *Part) scatter(yes bool) {
	for _, m := range p.mapped {
		m.Scattered(yes)
	}
}

// Segment opens a delta segment.
func Segment(ctx context.Context, c *store.Cache, spec *schemas.Spec, s schemas.Segment) (*Part, error) {
	return open(ctx, c, []schemas.Object{s.Object}, func(bytes [][]byte, _ bool) (*segment.Part, error) {
		return segment.OpenSegment(spec, s.ID, bytes[0])
	})
}

// Chunk opens a chunk without its originals: all that a query needs. Of one that is recalled whole no row is looked at.
func Chunk(ctx context.Context, c *store.Cache, spec *schemas.Spec, ch schemas.Chunk) (*Part, error) {
	return openChunk(ctx, c, spec, ch, ch.Rows, ch.Codes)
}

// ChunkWithVectors opens a chunk with its originals: what training, merging and exact search need. Of one that is recalled whole no
// row is looked at.
func ChunkWithVectors(ctx context.Context, c *store.Cache, spec *schemas.Spec, ch schemas.Chunk) (*Part, error) {
	return openChunk(ctx, c, spec, ch, ch.Rows, ch.Codes, ch.Vectors)
}

func openChunk(ctx context.Context, c *store.Cache, spec *schemas.Spec, ch schemas.Chunk, objects ...schemas.Object) (*Part, error) {
	return open(ctx, c, objects, func(bytes [][]byte, recalled bool) (*segment.Part, error) {
		read := segment.OpenChunk
		if recalled {
			read = segment.ReopenChunk
		}
		var vectors []byte
		if len(bytes) > 2 {
			vectors = bytes[2]
		}
		return read(spec, ch, bytes[0], bytes[1], vectors)
	})
}

// Rows opens a chunk without its codes, with or without its originals: what who reads rows and does not search needs. Nothing is
// known of its lists.
func Rows(ctx context.Context, c *store.Cache, spec *schemas.Spec, ch schemas.Chunk, originals bool) (*Part, error) {
	objects := []schemas.Object{ch.Rows}
	if originals {
		objects = append(objects, ch.Vectors)
	}
	return open(ctx, c, objects, func(bytes [][]byte, _ bool) (*segment.Part, error) {
		var vectors []byte
		if originals {
			vectors = bytes[1]
		}
		p, err := segment.OpenRows(spec, ch.ID, bytes[0], vectors)
		if err == nil && p.N != ch.NumRows {
			return nil, fmt.Errorf("%w: %d rows, allowed: the %d of the manifest", schemas.ErrCorrupt, p.N, ch.NumRows)
		}
		return p, err
	})
}

// open fetches the objects of a part, and has it read from their bytes; recalled says that all of them are.
func open(ctx context.Context, c *store.Cache, objects []schemas.Object, read func(bytes [][]byte, recalled bool) (*segment.Part, error)) (*Part, error) {
	p := &Part{}
	p.held.Store(1)
	recalled, bytes := true, make([][]byte, len(objects))
	for i, o := range objects {
		mapped, err := c.Fetch(ctx, store.Ref(o))
		if err != nil {
			p.Release()
			return nil, err
		}
		p.mapped = append(p.mapped, mapped)
		recalled = recalled && mapped.Recalled()
		bytes[i] = mapped.Bytes()
	}
	if recalled { // then ends of files and beginnings of lists are looked at: the kernel would read all around them
		p.scatter(true)
	}
	var err error
	if p.Part, err = read(bytes, recalled); err != nil {
		p.Release()
		return nil, fmt.Errorf("%s: %w", objects[0].Key, err)
	}
	if recalled {
		p.scatter(false)
	}
	return p, nil
}

// Snapshot opens a whole generation, with its originals. Close of the snapshot ends the use of its parts.
func Snapshot(ctx context.Context, c *store.Cache, spec *schemas.Spec, level avx.Level, m *schemas.Manifest) (s *snapshot.Snapshot, err error) {
	var mdl *model.Model
	if m.Model != nil {
		if mdl, err = Model(ctx, c, *m.Model); err != nil {
			return nil, err
		}
	}
	var held []*Part
	release := func() {
		for _, p := range held {
			p.Release()
		}
	}
	defer func() {
		if s == nil {
			release()
		}
	}()
	for _, ch := range m.Chunks {
		p, err := ChunkWithVectors(ctx, c, spec, ch)
		if err != nil {
			return nil, err
		}
		held = append(held, p)
	}
	for _, sg := range m.Segments {
		p, err := SegmentFor(ctx, c, spec, level, mdl, sg)
		if err != nil {
			return nil, err
		}
		held = append(held, p)
	}
	dead, err := Dead(ctx, c, m.Dead)
	if err != nil {
		return nil, err
	}
	parts := make([]*segment.Part, len(held))
	for i, p := range held {
		parts[i] = p.Part
	}
	return snapshot.Open(spec, m, mdl, parts, dead, release)
}

// SegmentFor opens a delta segment for queries by the axes of a model, nil for none.
func SegmentFor(ctx context.Context, c *store.Cache, spec *schemas.Spec, level avx.Level, mdl *model.Model, s schemas.Segment) (*Part, error) {
	p, err := Segment(ctx, c, spec, s)
	if err != nil {
		return nil, err
	}
	turned, err := segment.Turn(spec, mdl, level, p.Part)
	if err != nil {
		p.Release()
		return nil, fmt.Errorf("%s: %w", s.Key, err)
	}
	p.Part = turned
	return p, nil
}

// Model reads the model of a generation.
func Model(ctx context.Context, c *store.Cache, ref schemas.ModelRef) (*model.Model, error) {
	m, err := read(ctx, c, ref.Object, func(_ string, data []byte) (*model.Model, error) { return model.Parse(data) })
	if err != nil {
		return nil, err
	}
	if m.ID() != ref.ID {
		return nil, fmt.Errorf("%w: %s: holds model %s, not %s", schemas.ErrCorrupt, ref.Key, m.ID(), ref.ID)
	}
	return m, nil
}

// Dead reads the dead rows of a generation by part. No object means none.
func Dead(ctx context.Context, c *store.Cache, o *schemas.Object) (map[string]*roaring.Bitmap, error) {
	if o == nil {
		return nil, nil
	}
	return read(ctx, c, *o, segment.ReadDead)
}

// Tombstones reads deletes.
func Tombstones(ctx context.Context, c *store.Cache, o schemas.Object) ([]segment.Tombstone, error) {
	return read(ctx, c, o, segment.ReadTombstones)
}

// read parses a small object. What parse returns does not alias its data.
func read[T any](ctx context.Context, c *store.Cache, o schemas.Object, parse func(name string, data []byte) (T, error)) (T, error) {
	var none T
	mapped, err := c.Fetch(ctx, store.Ref(o))
	if err != nil {
		return none, err
	}
	defer mapped.Release()
	v, err := parse(o.Key, mapped.Bytes())
	if err != nil {
		return none, fmt.Errorf("%s: %w", o.Key, err)
	}
	return v, nil
}
