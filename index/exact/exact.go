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

// blockRows is how many rows are decoded at a time: 256 KiB at 256 dimensions, which stays in the second-level cache.
const blockRows = 256

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
	workers := make([]*worker, max(1, threads))
	g, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		w := newWorker(level, snap, prepared, nq, k, skip)
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
	queries []float32 // prepared
	skip    func(q, part, row int) bool
	tops    []search.Top // for each query

	block   []float32 // searched vectors of live rows
	rows    []int     // their row numbers
	longest float64   // of their lengths
	scores  []float32 // of one query
	buffer  []float32 // for two vectors
	slack   []float64 // for each query, by how much a score may be off for each unit of length of the row
}

func newWorker(level avx.Level, snap *snapshot.Snapshot, queries []float32, nq, k int, skip func(q, part, row int) bool) *worker {
	w := &worker{
		level: level, snap: snap, queries: queries, skip: skip, tops: make([]search.Top, nq),
		block:  make([]float32, blockRows*snap.Spec().Dim()),
		rows:   make([]int, 0, blockRows),
		scores: make([]float32, blockRows),
		buffer: make([]float32, 2*snap.Spec().Dim()),
		slack:  make([]float64, nq),
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
	p := w.snap.Parts()[part]
	dim := w.snap.Spec().Dim()
	scores := w.scores[:len(w.rows)]
	for q := range w.tops {
		query := w.queries[q*dim : (q+1)*dim]
		avx.DotRows(w.level, query, w.block, dim, scores)
		top := &w.tops[q]
		slack := float32(w.slack[q] * w.longest)
		worth := top.Floor() - slack
		for i, s := range scores {
			if s < worth || w.skip != nil && w.skip(q, part, w.rows[i]) {
				continue
			}
			score := search.ScoreOriginal(w.level, w.snap, p, w.rows[i], query, w.buffer)
			top.Push(search.Hit{Part: part, Row: w.rows[i], Score: score})
			worth = top.Floor() - slack
		}
	}
}
