package model

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/schemas"
)

// How the width that lists are chosen by is measured.
const (
	measureRows       = 12 << 10
	measureQueries    = 1024 // with 128 the corpus got 64 dimensions or 256, as its sample fell
	measureNeighbours = 10
	measureShare      = 0.95 // of the neighbours that the probed lists must hold
	measureLeastDims  = 16   // shorter prefixes do not tell thousands of lists apart
	measureMargin     = 1.05 // a longer prefix must save more candidates than this: it costs more to train and to assign by
)

// measure chooses the level of the ladder to cluster and probe by. Which is best depends on the data: short prefixes make
// cheap lists of coarse topics, but true neighbours of a vector may be spread over many of them.
//
// A small index is made of a part of the sample at each level: lists by the rule of [DefaultNList] without its bound.
// Lists are probed until they hold 95 % of the 10 true neighbours of all of 1,024 held-out rows. What a query pays is the mean
// number of rows in the lists so probed, since the funnel of package coarse makes probing itself cost about the same for
// all levels. The shortest level wins that no longer one beats by 5 %.
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
	candidates := make([]float64, len(levels))
	for i, d := range levels {
		var err error
		if candidates[i], err = h.candidates(ctx, d); err != nil {
			return 0, err
		}
		t.o.Progress(StageCoarseDims, i+1, len(levels))
	}
	least := slices.Min(candidates)
	return levels[slices.IndexFunc(candidates, func(c float64) bool { return c <= measureMargin*least })], nil
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
		row := t.row(t.spaced(i, rows))
		if i*queries/rows < (i+1)*queries/rows { // the last of each of as many equal parts
			h.queries = append(h.queries, row)
		} else {
			base.sample = append(base.sample, row...)
		}
	}
	scores := make([]float32, base.n)
	for _, q := range h.queries {
		avx.DotRows(t.o.Level, q, base.sample, t.dim, scores)
		h.truth = append(h.truth, top(t.o.Level, scores, measureNeighbours))
	}
	return h
}

// ranked returns the places of all scores, that of the largest first, of equal ones the first.
func ranked(scores []float32) []int32 {
	places := make([]int32, len(scores))
	for i := range places {
		places[i] = int32(i)
	}
	slices.SortStableFunc(places, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
	return places
}

// candidates makes lists on the first d dimensions. It returns the mean number of rows in the lists that must be probed.
func (h *heldOut) candidates(ctx context.Context, d int) (float64, error) {
	t := h.base
	q, lists, err := coarse.Train(ctx, t.metric, t.sample, t.n, t.dim, coarse.Options{
		NList: DefaultNList(int64(t.n), math.MaxInt), Dims: d, Seed: t.o.Seed, Level: t.o.Level, Threads: t.o.Threads,
	})
	if err != nil {
		return 0, err
	}
	sizes := make([]int, q.NList())
	for _, l := range lists {
		sizes[l]++
	}

	// When the neighbours' lists have the ranks r in the order of probing, a share of them is found by probing the
	// quantile of r, and one more.
	var ranks []int
	probed := make([]int, q.NList()) // rows of all queries in the list of each rank
	rank := make([]int, q.NList())
	scores, weight := make([]float32, q.NList()), make([]float32, q.NList())
	for list := range weight {
		weight[list] = 1
		if t.metric == schemas.Cosine { // directions are compared
			weight[list] = float32(1 / math.Sqrt(float64(avx.SumSquares(t.o.Level, q.Centroid(list)[:d]))))
		}
	}
	for i, query := range h.queries {
		avx.DotRows(t.o.Level, query[:d], q.Centroids(), t.dim, scores)
		for list, w := range weight {
			scores[list] *= w
		}
		for r, list := range ranked(scores) {
			rank[list] = r
			probed[r] += sizes[list]
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
	return float64(sum) / float64(len(h.queries)), nil
}
