package search_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// A batch finds what its queries find alone, whatever the plan and wherever rows are. Candidates at the edge of the refine
// step have equal scores at times, and then either may be taken: plans refine more than there can be.
func TestBatchIsLikeSingleQueries(t *testing.T) {
	const n, k = 2400, 7
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), n, 1)
	level := best(t)
	mdl := d.Train(t, level, 24)
	dead := func(i int) bool { return i%5 == 0 }
	for _, queries := range []int{0, 1, 2, 100, 700} {
		vectors := d.Vectors[:queries*d.Spec.Dim()]
		for name, groups := range map[string][]snapshottest.Group{
			"chunks":   {{Kind: snapshottest.Chunks, End: n}},
			"mixed":    {{Kind: snapshottest.Chunks, End: n / 2}, {Kind: snapshottest.Segment, Start: n / 2, End: n - 100}, {Kind: snapshottest.Unlisted, Start: n - 100, End: n}},
			"few rows": {{Kind: snapshottest.Chunks, End: 20}},
		} {
			snap := snapshottest.Build(t, d, mdl, level, groups, dead)
			for _, plan := range []search.Plan{{NProbe: 1, ScanDims: 32, Refine: n}, {NProbe: 9, ScanDims: 16, Refine: n}, {NProbe: 24, ScanDims: 32, Refine: n}, {NProbe: 10, ScanDims: 32, Refine: n, Originals: true}, {Exact: true}} {
				t.Run(fmt.Sprintf("%d/%s/nprobe%d", queries, name, plan.NProbe), func(t *testing.T) {
					s := search.NewSharing(level)
					results := make([][]search.Hit, queries)
					total, _, err := s.SearchBatch(t.Context(), snap, vectors, k, plan, results)
					if err != nil {
						t.Fatal(err)
					}
					var sum search.Usage
					for i := range results {
						want, u, err := s.Search(t.Context(), snap, d.Vector(i), k, plan, nil)
						if err != nil || !slices.Equal(results[i], want) {
							t.Fatalf("query %d: %v, alone %v, error %v", i, results[i], want, err)
						}
						sum.Lists += u.Lists
					}
					if total.Lists < sum.Lists {
						t.Errorf("%d lists probed, %d by the queries alone", total.Lists, sum.Lists)
					}
				})
			}
		}
	}
}

// So it is with a filter, whose lists queries of a batch have in common, or of which all rows are scored.
func TestBatchIsLikeSingleQueries_filtered(t *testing.T) {
	const n, k, queries = 2400, 7, 600
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), n, 1)
	level := best(t)
	mdl := d.Train(t, level, 24)
	for name, groups := range map[string][]snapshottest.Group{
		"chunks": {{Kind: snapshottest.Chunks, End: n}},
		"mixed":  {{Kind: snapshottest.Chunks, End: n / 2}, {Kind: snapshottest.Segment, Start: n / 2, End: n - 100}, {Kind: snapshottest.Unlisted, Start: n - 100, End: n}},
	} {
		snap := snapshottest.Build(t, d, mdl, level, groups, func(i int) bool { return i%5 == 0 })
		for _, share := range []float64{0.001, 0.05, 0.3, 0.9} {
			among := selectBy(t, snap, draw(d, share))
			for _, originals := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/originals=%v", name, share, originals), func(t *testing.T) {
					plan := search.Plan{NProbe: 2, ScanDims: 32, Refine: max(1, int(among.BaseCount())-1), Originals: originals, Among: among}
					s, results := search.NewSharing(level), make([][]search.Hit, queries)
					total, _, err := s.SearchBatch(t.Context(), snap, d.Vectors[:queries*d.Spec.Dim()], k, plan, results)
					if err != nil {
						t.Fatal(err)
					}
					var sum search.Usage
					for i := range results {
						want, u, err := s.Search(t.Context(), snap, d.Vector(i), k, plan, nil)
						if err != nil || !slices.Equal(results[i], want) {
							t.Fatalf("query %d: %v, alone %v, error %v", i, results[i], want, err)
						}
						sum.Add(u)
					}
					if total.Lists != sum.Lists || (total.Codes > 0) != (share >= 0.3) {
						t.Errorf("a batch cost %+v, its queries alone %+v", total, sum)
					}
				})
			}
		}
	}
}

// Of many lists queries look at short prefixes together. Where most rows are dead some find too few, and look for more lists alone.
func TestBatchIsLikeSingleQueries_manyLists(t *testing.T) {
	const n, k, queries = 6000, 7, 101
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 128), n, 1)
	level := best(t)
	mdl := d.Train(t, level, 700)
	all := []snapshottest.Group{{Kind: snapshottest.Chunks, End: n}}
	for _, every := range []int{1, 10} {
		snap := snapshottest.Build(t, d, mdl, level, all, func(i int) bool { return i%every != 0 })
		for name, plan := range map[string]search.Plan{
			"plan":     {NProbe: 3, ScanDims: 128, Refine: n},
			"narrow":   {NProbe: 3, ScanDims: 16, Dims: 16, Refine: n},
			"filtered": {NProbe: 2, ScanDims: 128, Refine: 600 / every, Among: selectBy(t, snap, draw(d, 0.4))},
		} {
			for _, s := range []*search.Searcher{search.New(level), search.NewSharing(level)} {
				results := make([][]search.Hit, queries)
				if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors[:queries*128], k, plan, results); err != nil {
					t.Fatal(err)
				}
				again := 0
				for i := range results {
					want, u, err := s.Search(t.Context(), snap, d.Vector(i), k, plan, nil)
					if err != nil || len(want) != k || !slices.Equal(results[i], want) {
						t.Fatalf("%s, one row in %d: query %d: %v, alone %v, error %v", name, every, i, results[i], want, err)
					}
					if u.Lists > plan.NProbe {
						again++
					}
				}
				if name == "plan" && (again > 0) != (every == 10) {
					t.Errorf("one row in %d: %d queries look for more lists", every, again)
				}
			}
		}
	}
}

func TestBatchNamesTheQueryAtFault(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), 600, 1)
	mdl := d.Train(t, avx.Generic, 4)
	snap := snapshottest.Build(t, d, mdl, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Chunks, End: 600}}, nil)
	plan := search.Plan{NProbe: 2, ScanDims: 16, Refine: 512} // of which 512 queries are together
	for _, bad := range []int{0, 3, 511, 512, 599} {
		vectors := slices.Clone(d.Vectors)
		clear(vectors[bad*16 : (bad+1)*16])
		s := search.NewSharing(avx.Generic)
		_, at, err := s.SearchBatch(t.Context(), snap, vectors, 5, plan, make([][]search.Hit, 600))
		var fault *search.QueryError
		if at != bad || !errors.As(err, &fault) {
			t.Errorf("query %d is zero: %v of query %d", bad, err, at)
		}
		if hits, _, err := s.Search(t.Context(), snap, d.Vector(1), 5, plan, nil); err != nil || len(hits) != 5 {
			t.Errorf("afterwards: %v, %v", hits, err)
		}
	}
	if _, _, err := search.New(avx.Generic).SearchBatch(t.Context(), snap, d.Vectors, 0, plan, make([][]search.Hit, 1)); err == nil {
		t.Error("k of 0 is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := search.New(avx.Generic).SearchBatch(ctx, snap, d.Vectors, 5, plan, make([][]search.Hit, 9)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBatchAllocatesNothing(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 32), 1000, 1)
	level := best(t)
	snap := snapshottest.Build(t, d, d.Train(t, level, 16), level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: 1000}}, nil)
	s, results := search.NewSharing(level), make([][]search.Hit, 100)
	for i := range results {
		results[i] = make([]search.Hit, 0, 10)
	}
	if allocs := testing.AllocsPerRun(5, func() {
		for i := range results {
			results[i] = results[i][:0]
		}
		if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors, 10, search.Plan{NProbe: 5, ScanDims: 32, Refine: 50, Originals: true}, results); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// Queries that are compared with all rows together, block by block, find and cost what they do alone: with originals and without, before
// there is a model, with a selection, with prefixes.
func TestBatch_exact(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 64), rows, 21)
	level := best(t)
	mdl := d.Train(t, level, nlist)
	dead := func(i int) bool { return i%7 == 0 }
	plain := []snapshottest.Group{{Kind: snapshottest.Unlisted, End: rows / 2}, {Kind: snapshottest.Unlisted, Start: rows / 2, End: rows}}
	for name, snap := range map[string]*snapshot.Snapshot{
		"originals": snapshottest.Build(t, d, mdl, level, layouts["mixed"], dead),
		"int8 rows": snapshottest.BuildBare(t, d, mdl, level, layouts["chunks"], dead),
		"no model":  snapshottest.Build(t, d, nil, level, plain, dead),
	} {
		for _, plan := range []search.Plan{{Exact: true}, {Exact: true, Dims: 16}, {Exact: true, Among: selectBy(t, snap, draw(d, 0.2))}} {
			s := search.New(level)
			for _, n := range []int{1, 2, 150} { // more than are compared together
				results := make([][]search.Hit, n)
				total, _, err := s.SearchBatch(t.Context(), snap, d.Vectors[:n*64], 9, plan, results)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				var sum search.Usage
				for q := range results {
					want, u, err := s.Search(t.Context(), snap, d.Vector(q), 9, plan, nil)
					if err != nil || len(want) != 9 || !slices.Equal(results[q], want) {
						t.Fatalf("%s, %d queries, dims %d: query %d: %v, alone %v, error %v", name, n, plan.Dims, q, results[q], want, err)
					}
					sum.Add(u)
				}
				if total != sum {
					t.Errorf("%s, %d queries, dims %d: cost %+v, alone %+v", name, n, plan.Dims, total, sum)
				}
			}
		}
	}
}
