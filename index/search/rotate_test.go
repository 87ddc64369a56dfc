package search_test

import (
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// recallOf is the share of the ten true neighbours, by originals of full width, that a plan finds for rows as queries.
func recallOf(t *testing.T, snap *snapshot.Snapshot, d *snapshottest.Data, plan search.Plan) float64 {
	t.Helper()
	const nq, k = 100, 10
	dim := d.Spec.Dim()
	truth, err := exact.TopK(t.Context(), best(t), 1, snap, d.Vectors[:nq*dim], nq, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	results := make([][]search.Hit, nq)
	if _, _, err := search.New(best(t)).SearchBatch(t.Context(), snap, d.Vectors[:nq*dim], k, plan, results); err != nil {
		t.Fatal(err)
	}
	found := 0
	for q, want := range truth {
		for _, h := range results[q] {
			if slices.ContainsFunc(want, func(w search.Hit) bool { return w.Part == h.Part && w.Row == h.Row }) {
				found++
			}
		}
	}
	return float64(found) / nq / k
}

// An index whose model rotates does not care how its vectors are turned: prefixes of vectors that have none are worth as much
// as those of vectors that have. A native one does.
func TestSearch_rotationFindsPrefixes(t *testing.T) {
	level := best(t)
	for _, metric := range bothMetrics {
		open := func(prefix schemas.PrefixMode, turn bool) (*snapshot.Snapshot, *snapshottest.Data) {
			spec := snapshottest.Spec(metric, 8, 16, 64)
			spec.Prefix = prefix
			d := snapshottest.Clustered(spec, rows, 4)
			if turn {
				d.Vectors = snapshottest.Turning(64, 9)(d.Vectors)
			}
			return snapshottest.Build(t, d, d.Train(t, level, nlist), level, layouts["mixed"], nil), d
		}
		for name, plan := range map[string]search.Plan{
			"scan":         {NProbe: nlist / 2, ScanDims: 16, Refine: 40},
			"prefix":       {NProbe: nlist, ScanDims: 16, Refine: rows, Dims: 16},
			"exact prefix": {Exact: true, Dims: 16},
		} {
			measure := func(prefix schemas.PrefixMode, turn bool) float64 {
				snap, d := open(prefix, turn)
				defer snap.Close()
				return recallOf(t, snap, d, plan)
			}
			native, lost := measure(schemas.PrefixNative, false), measure(schemas.PrefixNative, true)
			rotated, turned := measure(schemas.PrefixRotate, false), measure(schemas.PrefixRotate, true)
			if turned < rotated-0.02 || turned > rotated+0.02 || turned < native-0.08 || lost > turned-0.05 {
				t.Errorf("%s, %s: recall native %.3f, turned %.3f; rotating %.3f, turned %.3f", metric, name, native, lost, rotated, turned)
			}
		}
	}
}

// However rows are stored, an exact answer of a model that rotates is the same to the bit, and that of originals: rotating
// whole vectors changes none of their inner products.
func TestSearch_rotationKeepsExactAnswers(t *testing.T) {
	for _, metric := range bothMetrics {
		spec := snapshottest.Spec(metric, 16, 32)
		plain := snapshottest.Clustered(spec, rows, 3)
		native := snapshottest.Build(t, plain, nil, best(t), layouts["unlisted"], nil)
		d := *plain
		rotating := *spec
		rotating.Prefix = schemas.PrefixRotate
		d.Spec = &rotating
		mdl := d.Train(t, best(t), nlist)
		for name, layout := range layouts {
			snap := snapshottest.Build(t, &d, mdl, best(t), layout, nil)
			bare := snapshottest.BuildBare(t, &d, mdl, best(t), layout, nil)
			for _, level := range avx.Levels() {
				s := search.New(level)
				for q := range 5 {
					query := d.Vector(q * 17)
					want := run(t, s, native, query, 20, search.Plan{Exact: true})
					if got := run(t, s, snap, query, 20, search.Plan{Exact: true}); !slices.Equal(got, want) {
						t.Fatalf("%s, %s, %s, query %d: %v, want %v", metric, name, level, q, got, want)
					}
					if level != avx.Generic || bare.HasVectors() { // which rotates the query of an exact search
						continue
					}
					if got, want := run(t, s, bare, query, 20, everything(mdl)), run(t, s, bare, query, 20, search.Plan{Exact: true}); !slices.Equal(got, want) {
						t.Fatalf("%s, %s, query %d: all int8 rows give %v, want %v", metric, name, q, got, want)
					}
				}
			}
		}
	}
}
