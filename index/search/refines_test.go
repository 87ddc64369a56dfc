package search_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// With each number of candidates a query finds what it finds with that alone, and uses as much, whatever the plan, wherever rows are, and
// also where the fewest candidates are nearly all of dead rows.
func TestRefinesIsLikeSearch(t *testing.T) {
	const n, k, queries = 2400, 7, 200
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), n, 1)
	level := best(t)
	mdl := d.Train(t, level, 24)
	refines := []int{k, 20, 50, 51, 200, n, 3 * n}
	for name, groups := range map[string][]snapshottest.Group{
		"chunks":   {{Kind: snapshottest.Chunks, End: n}},
		"mixed":    {{Kind: snapshottest.Chunks, End: n / 2}, {Kind: snapshottest.Segment, Start: n / 2, End: n - 100}, {Kind: snapshottest.Unlisted, Start: n - 100, End: n}},
		"few rows": {{Kind: snapshottest.Chunks, End: 20}},
	} {
		for _, alive := range []int{5, 40} { // one row in so many is dead, or lives
			snap := snapshottest.Build(t, d, mdl, level, groups, func(i int) bool { return (i%alive == 0) == (alive == 5) })
			for _, plan := range []search.Plan{
				{NProbe: 1, ScanDims: 32},
				{NProbe: 9, ScanDims: 16},
				{NProbe: 9, ScanDims: 16, Dims: 16, Margin: 0.1},
				{NProbe: 24, ScanDims: 32},
				{NProbe: 9, ScanDims: 32, Originals: true},
				{NProbe: 9, ScanDims: 32, Among: selectBy(t, snap, draw(d, 0.5))},
				{Exact: true},
			} {
				t.Run(fmt.Sprintf("%s/%d/nprobe%d_originals=%v_filter=%v", name, alive, plan.NProbe, plan.Originals, plan.Among != nil), func(t *testing.T) {
					s, alone := search.New(level), search.New(level)
					unlike := 0
					for q := range queries {
						answered := make([]int, len(refines))
						err := s.Refines(t.Context(), snap, d.Vector(q), k, plan, refines, func(i int, hits []search.Hit, u search.Usage) {
							answered[i]++
							plan := plan
							plan.Refine = refines[i]
							want, used, err := alone.Search(t.Context(), snap, d.Vector(q), k, plan, nil)
							if err != nil {
								t.Fatal(err)
							}
							if !slices.Equal(hits, want) || u != used {
								unlike++
							}
						})
						if err != nil || slices.ContainsFunc(answered, func(n int) bool { return n != 1 }) {
							t.Fatalf("query %d: answered %v times, error %v", q, answered, err)
						}
					}
					// Which of the codes that score alike are refined is chance.
					if most := queries * len(refines) / 20; unlike > most {
						t.Errorf("%d of %d answers differ, want at most %d", unlike, queries*len(refines), most)
					}
				})
			}
		}
	}
}

func TestRefines_mistakes(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), 500, 1)
	snap := snapshottest.Build(t, d, d.Train(t, best(t), 8), best(t), []snapshottest.Group{{Kind: snapshottest.Chunks, End: 500}}, nil)
	s := search.New(best(t))
	for name, tt := range map[string]struct {
		plan    search.Plan
		refines []int
		query   []float32
	}{
		"plan":     {search.Plan{NProbe: 9, ScanDims: 32}, []int{10, 20}, d.Vector(0)},
		"refine":   {search.Plan{NProbe: 8, ScanDims: 32}, []int{-1}, d.Vector(0)},
		"no query": {search.Plan{NProbe: 8, ScanDims: 32}, []int{10, 20}, make([]float32, 32)},
	} {
		err := s.Refines(t.Context(), snap, tt.query, 5, tt.plan, tt.refines, func(int, []search.Hit, search.Usage) { t.Errorf("%s: answered", name) })
		if mistake := (*search.QueryError)(nil); !errors.As(err, &mistake) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
