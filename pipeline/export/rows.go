package export

import (
	"context"
	"fmt"
	"os"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	batchRows  = 4096
	batchBytes = 16 << 20
)

// batch is some live rows of a part. It is valid until the next one.
type batch struct {
	part    *replica.Part
	rows    []int64   // of the part
	vectors []float32 // dims of each row, as given; nil if they are not wanted
}

func (b *batch) id(i int) string { return b.part.IDAt(int(b.rows[i])) }

// cut is the rows [start, end) of the batch, whose vectors have so many dimensions.
func (b *batch) cut(start, end, dims int) *batch {
	c := &batch{part: b.part, rows: b.rows[start:end]}
	if b.vectors != nil {
		c.vectors = b.vectors[start*dims : end*dims]
	}
	return c
}

// place is a part that the manifest names.
type place struct {
	id    string
	n     int
	bytes int64 // of what is fetched of it
	open  func(ctx context.Context, c *store.Cache) (*replica.Part, error)
}

// places are the parts in the order of the manifest.
func (e *export) places() (all []place) {
	spec, vectors := e.index.Spec(), e.columns.vector
	for _, c := range e.m.Chunks {
		p := place{id: c.ID, n: c.NumRows, bytes: c.Rows.Size, open: func(ctx context.Context, cache *store.Cache) (*replica.Part, error) {
			return replica.Rows(ctx, cache, spec, c, vectors)
		}}
		if vectors {
			p.bytes += c.Vectors.Size
		}
		all = append(all, p)
	}
	for _, s := range e.m.Segments {
		all = append(all, place{s.ID, s.NumRows, s.Size, func(ctx context.Context, cache *store.Cache) (*replica.Part, error) {
			return replica.Segment(ctx, cache, spec, s)
		}})
	}
	return all
}

// cache holds copies of objects until remove, of at most so many bytes, 0 for any number.
func (e *export) cache(most int64) (c *store.Cache, remove func(), err error) {
	dir, err := os.MkdirTemp(e.Dir, "adastream-")
	if err != nil {
		return nil, nil, fmt.Errorf("directory for copies: %w", err)
	}
	remove = func() { os.RemoveAll(dir) }
	if c, err = store.NewCache(dir, e.index.Bucket(), store.CacheOptions{MaxBytes: most}); err != nil {
		remove()
		return nil, nil, err
	}
	return c, remove, nil
}

// each calls to with all rows that are wanted.
func (e *export) each(ctx context.Context, to func(*batch) error) error {
	places := e.places()
	most := int64(1)
	for _, p := range places {
		most = max(most, 2*p.bytes)
	}
	if e.m.Dead != nil {
		most += e.m.Dead.Size
	}
	cache, remove, err := e.cache(most)
	if err != nil {
		return err
	}
	defer remove()
	dead, err := replica.Dead(ctx, cache, e.m.Dead)
	if err != nil {
		return err
	}
	if err := e.count(places, dead); err != nil {
		return err
	}
	b, done := &batch{}, int64(0)
	for _, p := range places {
		if done == e.rows {
			return nil
		}
		if err := e.part(ctx, cache, p, dead[p.id], b, &done, to); err != nil {
			return err
		}
	}
	return nil
}

// count holds what parts have and is dead against what the manifest says is live: the number of rows stands at the beginning of files.
func (e *export) count(places []place, dead map[string]*roaring.Bitmap) error {
	live := int64(0)
	for _, p := range places {
		live += int64(p.n)
		rows := dead[p.id]
		if rows == nil || rows.IsEmpty() {
			continue
		}
		if last := rows.Maximum(); int64(last) >= int64(p.n) {
			return fmt.Errorf("%w: generation %d: dead rows: part %s: row %d of %d", schemas.ErrCorrupt, e.m.Generation, p.id, last, p.n)
		}
		live -= int64(rows.GetCardinality())
	}
	if live != e.m.LiveRows {
		return fmt.Errorf("%w: generation %d: manifest counts %d live rows, its parts hold %d", schemas.ErrCorrupt, e.m.Generation, e.m.LiveRows, live)
	}
	return nil
}

func (e *export) part(ctx context.Context, cache *store.Cache, p place, dead *roaring.Bitmap, b *batch, done *int64, to func(*batch) error) error {
	part, err := p.open(ctx, cache)
	if err != nil {
		return err
	}
	defer part.Release()
	if part.N != p.n {
		return fmt.Errorf("%w: part %s: %d rows, allowed: the %d of the manifest", schemas.ErrCorrupt, p.id, part.N, p.n)
	}
	b.part = part
	dim := e.index.Spec().Dim()
	some := max(64, min(batchRows, batchBytes/(4*dim)))
	full := make([]float32, dim)
	for row := 0; row < part.N && *done < e.rows; {
		b.rows, b.vectors = b.rows[:0], b.vectors[:0]
		for ; row < part.N && len(b.rows) < some && *done < e.rows; row++ {
			if dead != nil && dead.Contains(uint32(row)) {
				continue
			}
			b.rows = append(b.rows, int64(row))
			if e.columns.vector {
				part.Vector(e.Level, row, full)
				b.vectors = append(b.vectors, full[:e.dims]...)
			}
			*done++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(b.rows) == 0 {
			continue
		}
		if err := to(b); err != nil {
			return err
		}
		if e.Progress != nil {
			e.Progress(*done, e.rows)
		}
	}
	return nil
}
