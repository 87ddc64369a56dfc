package search_test

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// exactIDs are the ids that brute force over the originals' prefixes finds.
func exactIDs(snap *snapshot.Snapshot, query []float32, width, k int) []answer {
	spec := snap.Spec()
	q := make([]float32, spec.Dim())
	if err := search.Prepare(spec, query, q); err != nil {
		panic(err)
	}
	if width < spec.Dim() {
		rotated := make([]float32, spec.Dim())
		snap.Model().Rotate(avx.Generic, rotated, q)
		q = rotated[:width]
	}
	if spec.Metric == schemas.Cosine && width < spec.Dim() {
		mrl.Normalize(avx.Generic, q, q)
	}
	var as []answer
	buffer := make([]float32, 2*spec.Dim())
	for i, p := range snap.Parts() {
		for row := range p.N {
			if !snap.Dead(i).Has(row) {
				as = append(as, answer{strings.Clone(p.IDAt(row)), search.ScoreOriginal(avx.Generic, snap, p, row, q, buffer)})
			}
		}
	}
	slices.SortFunc(as, func(a, b answer) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id)) })
	return as[:min(k, len(as))]
}

// An exact search is brute force over the originals, hit for hit and bit for bit, also where many rows are alike: int8
// rows of equal vectors are equal, so ties go by id. So is a plan that leaves nothing out and lets originals decide.
func TestSearch_exactIsBruteForce(t *testing.T) {
	for _, metric := range bothMetrics {
		for seed := range uint64(3) {
			spec := snapshottest.Spec(metric, 8, 16, 48)
			if seed == 2 {
				spec.Prefix = schemas.PrefixRotate
			}
			d := snapshottest.Clustered(spec, rows, seed)
			for i := 0; i < rows; i += 3 { // rows that are equal, and rows whose int8 forms nearly always are
				copy(d.Vector(i), d.Vector(i/90*90))
				if i%2 == 0 {
					d.Vector(i)[i%48] *= 1.002
				}
			}
			mdl := d.Train(t, best(t), nlist)
			snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], func(i int) bool { return i%5 == 0 })
			for _, level := range avx.Levels() {
				s := search.New(level)
				for q := range 10 {
					query := d.Vector(q * 31)
					for _, dims := range []int{0, 16, 8} {
						plan := search.Plan{Exact: true, Dims: dims}
						all := exactIDs(snap, query, plan.Width(48), 200)
						for _, k := range []int{1, 10, 200} {
							want := all[:k]
							if got := run(t, s, snap, query, k, plan); !slices.Equal(got, want) {
								t.Fatalf("%s, seed %d, %s, query %d, %d dims, k %d: got %v, want %v", metric, seed, level, q, dims, k, got, want)
							}
							if spec.Rotates() && dims != 0 { // kernels of a level rotate the query
								continue
							}
							probing := everything(mdl)
							probing.Originals, probing.Dims, probing.ScanDims = true, dims, plan.Width(48)
							if got := run(t, s, snap, query, k, probing); !slices.Equal(got, want) {
								t.Fatalf("%s, seed %d, %s, query %d, %d dims, k %d, originals: got %v, want %v", metric, seed, level, q, dims, k, got, want)
							}
						}
					}
					truth, err := exact.TopK(t.Context(), level, 1, snap, query, 1, 50, nil)
					if err != nil {
						t.Fatal(err)
					}
					if got, want := answers(snap, truth[0]), exactIDs(snap, query, 48, 50); !slices.Equal(got, want) {
						t.Fatalf("%s, seed %d, %s, query %d: the oracle says %v, want %v", metric, seed, level, q, got, want)
					}
				}
			}
		}
	}
}

// A query that caps the width is answered as by an index of vectors of that width.
func TestSearch_dims(t *testing.T) {
	const full = 32
	for _, metric := range bothMetrics {
		d := snapshottest.Clustered(snapshottest.Spec(metric, 8, 16, full), rows, 21)
		mdl := d.Train(t, best(t), nlist)
		bare := snapshottest.BuildBare(t, d, mdl, best(t), layouts["mixed"], nil)
		snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], nil)
		s := search.New(best(t))
		for _, dims := range []int{8, 16} {
			for q := range 20 {
				query := slices.Clone(d.Vector(q))
				want := run(t, s, bare, query, 10, search.Plan{Exact: true, Dims: dims})
				plan := everything(mdl)
				plan.Dims, plan.ScanDims = dims, dims
				if got := run(t, s, snap, query, 10, plan); !slices.Equal(got, want) {
					t.Fatalf("%s, %d dims, query %d: got %v, want %v", metric, dims, q, got, want)
				}
				for i, a := range want { // of the prefix, as it is
					if off := math.Abs(float64(a.score - exactIDs(snap, query, dims, 10)[i].score)); off > 0.02*max(1, longest(query)*8) {
						t.Errorf("%s, %d dims, query %d: hit %d scores %v, want about %v", metric, dims, q, i, a.score, exactIDs(snap, query, dims, 10)[i].score)
					}
				}
				for i := dims; i < full; i++ {
					query[i] /= 2 // what is beyond the cap
				}
				narrow := run(t, s, snap, query, 10, search.Plan{NProbe: 4, ScanDims: 8, Refine: 50, Dims: dims})
				if metric == schemas.InnerProduct && !slices.Equal(narrow, run(t, s, snap, d.Vector(q), 10, search.Plan{NProbe: 4, ScanDims: 8, Refine: 50, Dims: dims})) {
					t.Errorf("%d dims, query %d: dimensions beyond the cap matter", dims, q)
				}
			}
		}
		for _, bad := range []search.Plan{{Exact: true, Dims: 9}, {NProbe: 1, ScanDims: 16, Refine: 1, Dims: 8}, {NProbe: 1, ScanDims: 8, Refine: 1, Dims: -8}} {
			var mistake *search.QueryError
			if _, _, err := s.Search(t.Context(), snap, d.Vector(0), 1, bad, nil); !errors.As(err, &mistake) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	}
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16), rows, 22)
	snap := snapshottest.Build(t, d, nil, best(t), layouts["unlisted"], nil)
	tail := make([]float32, 16)
	tail[12] = 1
	var mistake *search.QueryError
	if _, _, err := search.New(best(t)).Search(t.Context(), snap, tail, 1, search.Plan{Dims: 8}, nil); !errors.As(err, &mistake) || mistake.Field != "vector" {
		t.Errorf("a query whose prefix is zero: %v", err)
	}
}

// More of any knob costs no recall but by accident, whatever the data.
func TestSearch_knobsAreMonotone(t *testing.T) {
	const queries, k = 60, 10
	for seed := range uint64(2) {
		for _, metric := range bothMetrics {
			d := snapshottest.Clustered(snapshottest.Spec(metric, 8, 16, 32), rows, 30+seed)
			mdl := d.Train(t, best(t), 64)
			snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], nil)
			s := search.New(best(t))
			truth := make([][]answer, queries)
			for q := range truth {
				truth[q] = run(t, s, snap, d.Vector(7*q), k, search.Plan{Exact: true})
			}
			recall := func(plan search.Plan) float64 {
				found := 0
				for q, want := range truth {
					for _, a := range run(t, s, snap, d.Vector(7*q), k, plan) {
						if slices.ContainsFunc(want, func(b answer) bool { return b.id == a.id }) {
							found++
						}
					}
				}
				return float64(found) / (queries * k)
			}
			for knob, plans := range map[string][]search.Plan{
				"nprobe":    {{NProbe: 1}, {NProbe: 2}, {NProbe: 4}, {NProbe: 8}, {NProbe: 16}, {NProbe: 32}, {NProbe: 64}},
				"margin":    {{NProbe: 64, Margin: 1e-9}, {NProbe: 64, Margin: 0.05}, {NProbe: 64, Margin: 0.2}, {NProbe: 64, Margin: 0.5}, {NProbe: 64, Margin: 2}, {NProbe: 64}},
				"scan_dims": {{ScanDims: 8}, {ScanDims: 16}, {ScanDims: 32}},
				"refine":    {{Refine: 20}, {Refine: 50}, {Refine: 100}, {Refine: 400}},
				"dims":      {{ScanDims: 8, Dims: 8}, {ScanDims: 16, Dims: 16}, {}},
			} {
				before := 0.0
				for i, plan := range plans {
					plan.NProbe, plan.ScanDims, plan.Refine = cmp.Or(plan.NProbe, 16), cmp.Or(plan.ScanDims, 32), cmp.Or(plan.Refine, 100)
					got := recall(plan)
					if got < before-0.01 {
						t.Errorf("%s, seed %d: recall %.3f with %+v, %.3f with less %s", metric, seed, got, plan, before, knob)
					}
					if i == len(plans)-1 && got < 0.7 {
						t.Errorf("%s, seed %d: recall %.3f with %+v", metric, seed, got, plan)
					}
					before = max(before, got)
				}
			}
		}
	}
}
