package search_test

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// Who is told what is read ahead is told of the rows of all hits and of no less than was read, and answers are the same.
func TestSearch_ahead(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 3)
	mdl := d.Train(t, best(t), nlist)
	for name, layout := range layouts {
		snap := snapshottest.Build(t, d, mdl, best(t), layout, func(i int) bool { return i%7 == 0 })
		for how, plan := range map[string]search.Plan{ // of so many candidates that none of ten is at the edge, where order decides
			"plan":      {NProbe: nlist / 2, ScanDims: 32, Refine: 200},
			"originals": {NProbe: nlist / 2, ScanDims: 32, Refine: 200, Originals: true},
			"narrow":    {NProbe: nlist / 2, ScanDims: 16, Refine: 200, Dims: 16},
			"exact":     {Exact: true},
		} {
			if name == "unlisted" || name == "segment" { // whose rows are read whole, as they lie, or in no list
				continue
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				told := map[uintptr]int{} // bytes by address
				s, plain := search.NewSharing(best(t)), search.New(best(t))
				s.Ahead = func(soon [][]byte) {
					for _, piece := range soon {
						at := uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
						told[at] = max(told[at], len(piece))
					}
				}
				for q := range 20 {
					clear(told)
					query := d.Vector(q * 13)
					hits, _, err := s.Search(t.Context(), snap, query, 10, plan, nil)
					if err != nil {
						t.Fatal(err)
					}
					if got, want := answers(snap, hits), run(t, plain, snap, query, 10, plan); !slices.Equal(got, want) {
						t.Fatalf("query %d: %v, want %v", q, got, want)
					}
					for _, h := range hits {
						p := snap.Parts()[h.Part]
						if len(p.CodeRows) == 0 {
							continue // of a segment
						}
						row := uintptr(unsafe.Pointer(&p.Int8[h.Row*d.Spec.Dim()]))
						if !covered(told, row) {
							t.Fatalf("query %d: nobody was told of row %d of part %d", q, h.Row, h.Part)
						}
						if plan.Originals && !covered(told, uintptr(unsafe.Pointer(unsafe.SliceData(p.Stored(h.Row))))) {
							t.Fatalf("query %d: nobody was told of the original of row %d of part %d", q, h.Row, h.Part)
						}
					}
				}
				results := make([][]search.Hit, 20)
				query := func() {
					for i := range results {
						results[i] = results[i][:0]
					}
					if _, _, err := s.SearchBatch(t.Context(), snap, d.Vectors[:20*d.Spec.Dim()], 10, plan, results); err != nil {
						t.Fatal(err)
					}
				}
				s.Ahead = func([][]byte) {}
				query()
				if n := testing.AllocsPerRun(10, query); n != 0 && how != "exact" {
					t.Errorf("%v allocations", n)
				}
				for i := range results {
					if got, want := fmt.Sprint(answers(snap, results[i])), fmt.Sprint(run(t, plain, snap, d.Vector(i), 10, plan)); got != want {
						t.Fatalf("query %d of many: %s, want %s", i, got, want)
					}
				}
			})
		}
	}
}

func covered(told map[uintptr]int, at uintptr) bool {
	for start, n := range told {
		if start <= at && at < start+uintptr(n) {
			return true
		}
	}
	return false
}
