package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

// filterShares are the shares of the rows that filters leave.
var filterShares = []float64{0.9, 0.5, 0.2, 0.1, 0.05, 0.005, 0.0001}

// filterQueries are asked with each filter.
const filterQueries = 1000

// filters asks for the target with filters that leave some share of the rows: rows drawn at random, whatever their vectors,
// and rows about one subject, those nearest to one of them, which may be far from what is asked for.
func (b *bench) filters(ctx context.Context) error {
	choice, err := recall.Wish{}.Choose(b.snap, 1)
	if err != nil {
		return err
	}
	all, _, took, err := b.run(ctx, choice.Plan)
	if err != nil {
		return err
	}
	fmt.Printf("\nplan %+v: recall@10 %.4f, %.0f µs\n", choice.Plan, b.set.Recall(all, b.set.Queries), float64(took.Microseconds())/float64(b.set.Queries))
	fmt.Println("\n| rows that count | share | rows | recall@10 | fewer than 10 | lists | codes | rows scored | µs | µs, p99 | in one batch, µs | selected in ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
	r := rand.New(rand.NewPCG(1, 2))
	drawn := make([]float32, b.set.N)
	for i := range drawn {
		drawn[i] = r.Float32()
	}
	for _, kind := range []struct {
		name  string
		score []float32 // of each row; the highest count
	}{{"drawn at random", drawn}, {"about a subject", b.nearTo(b.set.Base[r.IntN(b.set.N)*b.set.Dim:][:b.set.Dim])}} {
		sorted := slices.Sorted(slices.Values(kind.score))
		for _, share := range filterShares {
			floor := sorted[b.set.N-max(1, int(share*float64(b.set.N)))]
			if err := b.filtered(ctx, choice.Plan, kind.name, share, func(row int) bool { return kind.score[row] >= floor }); err != nil {
				return err
			}
		}
	}
	return nil
}

// nearTo is the inner product of each row with a vector.
func (b *bench) nearTo(v []float32) []float32 {
	scores := make([]float32, b.set.N)
	for i := range scores {
		scores[i] = avx.Dot(b.level, v, b.set.Base[i*b.set.Dim:][:b.set.Dim])
	}
	return scores
}

func (b *bench) filtered(ctx context.Context, plan search.Plan, name string, share float64, counts func(row int) bool) error {
	started := time.Now()
	selection, err := filter.Select(ctx, b.snap, func(p *segment.Part) snapshot.BitSet {
		rows := make(snapshot.BitSet, (p.N+63)/64)
		for i := range p.N {
			if counts(b.row(p, i)) {
				rows[i/64] |= 1 << (i % 64)
			}
		}
		return rows
	})
	if err != nil {
		return err
	}
	selected := time.Since(started)
	queries := min(filterQueries, b.set.Queries)
	truth, err := exact.TopK(ctx, b.level, b.o.Threads, b.snap, b.set.Vectors[:queries*b.set.Dim], queries, k, func(_, part, row int) bool { return !selection.Has(part, row) })
	if err != nil {
		return err
	}
	plan.Among = selection
	var total search.Usage
	var times []time.Duration
	hits, found, wanted, short := make([]search.Hit, 0, k), 0, 0, 0
	for q := range queries {
		started := time.Now()
		var u search.Usage
		hits, u, err = b.searcher.Search(ctx, b.snap, b.set.Query(q), k, plan, hits[:0])
		times = append(times, time.Since(started))
		if err != nil {
			return err
		}
		total.Add(u)
		f := recall.Compare(b.snap, truth[q], hits)
		found, wanted = found+f.Found, wanted+f.Of
		if len(hits) < len(truth[q]) {
			short++
		}
	}
	started = time.Now()
	if _, _, err := b.searcher.SearchBatch(ctx, b.snap, b.set.Vectors[:queries*b.set.Dim], k, plan, make([][]search.Hit, queries)); err != nil {
		return err
	}
	batched := time.Since(started)
	slices.Sort(times)
	sum, n := time.Duration(0), float64(queries)
	for _, t := range times {
		sum += t
	}
	fmt.Printf("| %s | %g %% | %d | %.4f | %d | %.1f | %.0f | %.0f | %.0f | %d | %.0f | %.1f |\n", name, 100*share, selection.Count(), float64(found)/float64(wanted), short,
		float64(total.Lists)/n, float64(total.Codes)/n, float64(total.Refined)/n, float64(sum.Microseconds())/n, times[len(times)*99/100].Microseconds(), float64(batched.Microseconds())/n, float64(selected.Microseconds())/1000)
	return nil
}

// row is the number of a row of the set.
func (b *bench) row(p *segment.Part, i int) int {
	row, _ := strconv.Atoi(p.IDAt(i))
	return row
}
