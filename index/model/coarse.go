package model

import (
	"context"
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/opq"
)

// How the width of the coarse centroids is measured.
const (
	measureRows       = 12 << 10
	measureQueries    = 128
	measureNeighbours = 10
	measureShare      = 0.95 // of the neighbours that the probed lists must hold
	measureIterations = 6
	measureLeastDims  = 16 // shorter prefixes do not tell thousands of lists apart

	// Work of a query in multiply-adds of the coarse step, which reads centroids from the second- or third-level
	// cache. A 4-bit lookup is a quarter of one: with AVX2 64 lookups are about 8 instructions, 8 multiply-adds are one
	// and the load that it waits for.
	workPerLookup = 0.25
)

// measure chooses the level of the ladder to cluster and probe by. Which is best depends on the data: short prefixes
// make a cheap coarse step and good lists of coarse topics, but true neighbours of a vector may be spread over many of
// them.
//
// A small index is made of a part of the sample at each level: lists by the rule of [DefaultNList] without its bound.
// Lists are probed until they hold 95 % of the 10 true neighbours of all of 128 held-out rows. The cost of a level is
//
//	candidates * M * 1/4 + nlist * d
//
// in multiply-adds, where candidates is the mean number of rows in the lists so probed. Both terms grow about like the
// square root of the number of rows, so the order of levels is that of the whole index. The cheapest level wins, of
// equal ones the shortest.
func (t *training) measure(ctx context.Context) (int, error) {
	var levels []int
	for _, d := range t.ladder {
		if d >= measureLeastDims {
			levels = append(levels, d)
		}
	}
	queries := min(measureQueries, t.n/8)
	if len(levels) < 2 || queries < measureNeighbours {
		return t.dim, nil // nothing to choose, or too few rows to tell or to care
	}
	h := t.holdOut(queries)
	m := t.o.M
	if m == 0 {
		m = opq.DefaultSubs(t.dim)
	}
	cheapest, cost := t.dim, math.Inf(1)
	for i, d := range levels {
		candidates, nlist, err := h.candidates(ctx, d)
		if err != nil {
			return 0, err
		}
		if c := candidates*float64(m)*workPerLookup + float64(nlist*d); c < cost {
			cheapest, cost = d, c
		}
		t.o.Progress(StageCoarseDims, i+1, len(levels))
	}
	return cheapest, nil
}

// heldOut is a part of the sample, divided into base rows and queries.
type heldOut struct {
	base    *training
	queries [][]float32
	truth   [][]int32 // base rows with the largest inner product with each query
}

func (t *training) holdOut(queries int) *heldOut {
	rows := min(t.n, measureRows)
	base := &training{metric: t.metric, ladder: t.ladder, dim: t.dim, n: rows - queries, o: t.o}
	base.sample = make([]float32, 0, base.n*t.dim)
	h := &heldOut{base: base}
	for i := range rows {
		row := t.spaced(i, rows)
		if i*queries/rows < (i+1)*queries/rows { // the last of each of as many equal parts
			h.queries = append(h.queries, row)
		} else {
			base.sample = append(base.sample, row...)
		}
	}
	scores := make([]float32, base.n)
	keys := make([]uint64, 2*measureNeighbours)
	for _, q := range h.queries {
		avx.DotRows(t.o.Level, q, base.sample, t.dim, scores)
		var truth []int32
		for _, key := range best(scores, measureNeighbours, keys) {
			truth = append(truth, keyList(key))
		}
		h.truth = append(h.truth, truth)
	}
	return h
}

// candidates makes lists on the first d dimensions. It returns the mean number of rows in the lists that must be probed
// and the number of all lists.
func (h *heldOut) candidates(ctx context.Context, d int) (rows float64, nlist int, err error) {
	t := h.base
	centroids, err := kmeans.Train(ctx, t.prefixes(t.n, d), t.n, d, d, kmeans.Options{
		K: DefaultNList(int64(t.n), math.MaxInt), Iterations: measureIterations, Seed: t.o.Seed,
		Spherical: t.metric == spherical, Level: t.o.Level, Threads: t.o.Threads,
	})
	if err != nil {
		return 0, 0, err
	}
	nlist = len(centroids) / d
	lists := make([]int32, t.n)
	if err := t.assign(ctx, centroids, d, lists); err != nil {
		return 0, 0, err
	}
	sizes := make([]int, nlist)
	for _, l := range lists {
		sizes[l]++
	}

	// When the neighbours' lists have the ranks r in the order of probing, a share of them is found by probing the
	// quantile of r, and one more.
	panels := avx.Pack(centroids, nlist, d, nil)
	scores := make([]float32, nlist)
	keys := make([]uint64, 2*nlist)
	var ranks []int
	probed := make([]int, nlist) // rows of all queries in the list of each rank
	rank := make([]int, nlist)
	for i, q := range h.queries {
		avx.Scores(t.o.Level, panels, q, scores)
		for r, key := range best(scores, nlist, keys) {
			rank[keyList(key)] = r
			probed[r] += sizes[keyList(key)]
		}
		for _, row := range h.truth[i] {
			ranks = append(ranks, rank[lists[row]])
		}
	}
	slices.Sort(ranks)
	needed := ranks[int(math.Ceil(measureShare*float64(len(ranks))))-1] + 1
	sum := 0
	for _, n := range probed[:needed] {
		sum += n
	}
	return float64(sum) / float64(len(h.queries)), nlist, nil
}
