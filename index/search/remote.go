package search

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Remote brings originals that are not at hand. It is safe for concurrent use.
type Remote interface {
	// Originals returns the originals of rows of the snapshot that is searched, as they were given, each of them what its int8
	// row was made of as far as [Agrees] can tell. One that it cannot have, or not soon enough, is nil, and so are all once ctx has
	// ended. They must not be changed.
	Originals(ctx context.Context, rows []Hit) [][]float32
}

// MostRemote bounds how many originals queries of a batch ask for at a time, and remoteValues their values, unless one query asks for
// more.
const (
	MostRemote   = 4096
	remoteValues = 1 << 20
)

// bring gets the originals of the contenders of some queries, in order, as many as there is room for, and returns how many
// queries have theirs, or are known to lack some.
func (s *Searcher) bring(ctx context.Context, remote Remote, queries ...*query) (served int, err error) {
	if remote == nil || !slices.ContainsFunc(queries, func(q *query) bool { return q.originals }) {
		return len(queries), nil
	}
	s.wanted = s.wanted[:0]
	for i := range queries {
		s.query = queries[i]
		s.prune()
		if most := min(MostRemote, remoteValues/s.snap.Spec().Dim()); i > 0 && len(s.wanted)+len(s.maybe) > most {
			break
		}
		for _, c := range s.maybe {
			if !s.parts[c.part].HasVectors() {
				s.wanted = append(s.wanted, Hit{Part: c.part, Row: c.row})
			}
		}
		served++
	}
	var brought [][]float32
	if len(s.wanted) > 0 {
		brought = remote.Originals(ctx, s.wanted)
	}
	for _, s.query = range queries[:served] {
		s.brought, s.lacking = s.brought[:0], false
		for _, c := range s.maybe {
			if s.parts[c.part].HasVectors() {
				s.brought = append(s.brought, nil)
				continue
			}
			s.brought, s.lacking = append(s.brought, brought[0]), s.lacking || brought[0] == nil
			brought = brought[1:]
		}
	}
	return served, ctx.Err()
}

// forget lets go of the originals that were brought: a batch, or a Searcher at rest, would keep them from being freed.
func (s *Searcher) forget() {
	clear(s.brought)
	s.brought = s.brought[:0]
}

// byInt8 makes the answer of the contenders by their int8 rows, which is that of all rows that were offered: those that score best
// are among the contenders.
func (s *Searcher) byInt8() {
	s.usage.Lacking++
	for _, c := range s.maybe {
		p, at := s.parts[c.part], [1]uint32{uint32(c.row)}
		avx.DotI8At(s.level, s.quant, p.Int8, s.snap.Spec().Dim(), at[:], s.dots[:1])
		s.keep(c.part, c.row, s.scoreOf(p, c.row, s.dots[0]))
	}
}

// Agrees reports as an error that wraps [schemas.ErrCorrupt] that an int8 row was not made of an original: one of its values is
// off by more than the half step that rounding may move it, or the length of a prefix is another. So what agrees scores within what a search
// holds possible by the int8 row, even if it is damaged. Buffer has room for two vectors. Kernels of other machines, which made
// the row, round otherwise: see [Rounding].
func Agrees(level avx.Level, snap *snapshot.Snapshot, part, row int, original, buffer []float32) error {
	p, ladder, dim := snap.Parts()[part], snap.Spec().Ladder, snap.Spec().Dim()
	v, turned := buffer[:dim], buffer[dim:2*dim]
	copy(v, original[:dim])
	if snap.Spec().Metric == schemas.Cosine {
		mrl.Normalize(level, v, v)
	}
	snap.Model().Rotate(level, turned, v)
	norms := p.Norms[row*len(ladder):][:len(ladder)]
	length := float64(norms[len(ladder)-1])
	rounding := Rounding(dim) * length
	off, step := 0.5001*stepOf(p, row, length)+rounding, float64(p.Scales[row])
	var squares float64
	next := 0
	for i, x := range turned {
		squares += float64(x) * float64(x)
		if stored := float64(p.Int8[row*dim+i]) * step; !(math.Abs(float64(x)-stored) <= off) {
			return fmt.Errorf("value %d is %g, of an int8 row that says %g: %w", i, x, stored, schemas.ErrCorrupt)
		}
		if i+1 == ladder[next] {
			if n := math.Sqrt(squares); !(math.Abs(n-float64(norms[next])) <= 2*rounding) {
				return fmt.Errorf("prefix of %d values of length %g, of a row that says %g: %w", i+1, n, norms[next], schemas.ErrCorrupt)
			}
			next++
		}
	}
	return nil
}
