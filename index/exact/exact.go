// Package exact is the oracle of search: brute force over the originals in float32.
//
// It needs the vectors of every part, which query nodes do not fetch, and reads all of them: it is for the builder,
// which measures against it, and for tests. A block of rows is decoded and normalised once and then compared with all
// queries while it is in cache, so many queries cost little more than one.
package exact

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// blockRows is how many rows are decoded at a time: what avx.ScoresRows takes against a group of queries while that is in the
// second-level cache.
const blockRows = 96

// TopK returns for each of nq queries [nq][D], as given, the k live rows of snap whose vectors have the largest inner
// product with it (of unit vectors under cosine): best first, equal scores by ascending id, fewer only if there are
// fewer.
//
// Skip, unless it is nil, hides rows from single queries. It is asked only about rows good enough to enter an answer,
// and from all threads at once; fewer than one thread is one. The answer does not depend on threads. A query that cannot
// be compared is a [*search.QueryError].
func TopK(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, queries []float32, nq, k int,
	skip func(q, part, row int) bool) ([][]search.Hit, error) {
	prepared, err := prepare(snap.Spec(), queries, nq)
	if err != nil {
		return nil, err
	}
	if k < 1 {
		return nil, &search.QueryError{Field: "k", Value: fmt.Sprint(k), Allowed: "at least 1"}
	}
	for _, p := range snap.Parts() {
		if !p.HasVectors() {
			return nil, fmt.Errorf("exact search: part %s was opened without its vectors", p.ID)
		}
	}
	workers, panels := make([]*worker, max(1, threads)), avx.Pack(prepared, nq, snap.Spec().Dim(), nil)
	g, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		w := newWorker(level, snap, prepared, panels, k, skip)
		workers[i] = w
		g.Go(func() error { return w.run(ctx, i, len(workers)) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	answers := make([][]search.Hit, nq)
	for q := range answers {
		top := &workers[0].tops[q]
		for _, w := range workers[1:] {
			for _, h := range w.tops[q].Sort() {
				top.Push(h)
			}
		}
		answers[q] = top.Sort()
	}
	return answers, nil
}

func prepare(spec *schemas.Spec, queries []float32, nq int) ([]float32, error) {
	dim := spec.Dim()
	if len(queries) != nq*dim {
		return nil, &search.QueryError{Field: "queries", Value: fmt.Sprintf("%d values", len(queries)),
			Allowed: fmt.Sprintf("%d values for %d queries of %d dimensions", nq*dim, nq, dim)}
	}
	prepared := make([]float32, len(queries))
	for q := range nq {
		if err := search.Prepare(spec, queries[q*dim:(q+1)*dim], prepared[q*dim:(q+1)*dim]); err != nil {
			return nil, fmt.Errorf("query %d: %w", q, err)
		}
	}
	return prepared, nil
}

// worker compares its share of the blocks with all queries.
type worker struct {
	level   avx.Level
	snap    *snapshot.Snapshot
	queries []float32   // prepared
	panels  *avx.Panels // the same
	skip    func(q, part, row int) bool
	tops    []search.Top // for each query

	block   []float32 // searched vectors of live rows
	rows    []int     // their row numbers
	longest float64   // of their lengths
	scores  []float32 // [blockRows][queries]
	buffer  []float32 // for two vectors
	slack   []float64 // for each query, by how much a score may be off for each unit of length of the row
	worth   []float32 // for each query, the score below which a row of the block is not worth a look
}

func newWorker(level avx.Level, snap *snapshot.Snapshot, queries []float32, panels *avx.Panels, k int, skip func(q, part, row int) bool) *worker {
	nq := panels.N()
	w := &worker{
		level: level, snap: snap, queries: queries, panels: panels, skip: skip, tops: make([]search.Top, nq),
		block:  make([]float32, blockRows*snap.Spec().Dim()),
		rows:   make([]int, 0, blockRows),
		scores: make([]float32, blockRows*nq),
		buffer: make([]float32, 2*snap.Spec().Dim()),
		slack:  make([]float64, nq),
		worth:  make([]float32, nq),
	}
	dim := snap.Spec().Dim()
	for q := range w.slack {
		w.slack[q] = 2 * search.Rounding(dim) * math.Sqrt(float64(avx.SumSquares(level, queries[q*dim:][:dim])))
	}
	for q := range w.tops {
		w.tops[q].Reset(snap.Parts(), k)
	}
	return w
}

// run takes every of-th block, beginning with the first-th.
func (w *worker) run(ctx context.Context, first, of int) error {
	n := 0
	for part, p := range w.snap.Parts() {
		for start := 0; start < p.N; start += blockRows {
			if n++; (n-1)%of != first {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			w.decode(part, start, min(start+blockRows, p.N))
			w.compare(part)
		}
	}
	return nil
}

// decode fills the block with the live rows of [start, end).
func (w *worker) decode(part, start, end int) {
	p, dead, dim := w.snap.Parts()[part], w.snap.Dead(part), w.snap.Spec().Dim()
	cosine := w.snap.Spec().Metric == schemas.Cosine
	w.rows, w.longest = w.rows[:0], 0
	for row := start; row < end; row++ {
		if dead.Has(row) {
			continue
		}
		v := w.block[len(w.rows)*dim:][:dim]
		p.Vector(w.level, row, v)
		if cosine {
			mrl.Normalize(w.level, v, v)
			w.longest = 1.01
		} else {
			w.longest = max(w.longest, 1.01*math.Sqrt(float64(avx.SumSquares(w.level, v))))
		}
		w.rows = append(w.rows, row)
	}
}

// compare offers the rows of the block to each query. The kernels of the level say which are worth a look, the arithmetic
// of search.ScoreOriginal decides, which is that of all machines.
func (w *worker) compare(part int) {
	p, dim, nq := w.snap.Parts()[part], w.snap.Spec().Dim(), len(w.tops)
	avx.ScoresRows(w.level, w.panels, w.block, len(w.rows), dim, w.scores, nq)
	for q := range w.worth {
		w.worth[q] = w.worthOf(q)
	}
	for i, row := range w.rows {
		worth := w.worth
		for q, s := range w.scores[i*nq:][:len(worth)] {
			if s < worth[q] || w.skip != nil && w.skip(q, part, row) {
				continue
			}
			score := search.ScoreOriginal(w.level, w.snap, p, row, w.queries[q*dim:(q+1)*dim], w.buffer)
			w.tops[q].Push(search.Hit{Part: part, Row: row, Score: score})
			worth[q] = w.worthOf(q)
		}
	}
}

func (w *worker) worthOf(q int) float32 { return w.tops[q].Floor() - float32(w.slack[q]*w.longest) }
