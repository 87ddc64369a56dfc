package search_test

import (
	"fmt"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// A prefix whose squares float32 does not hold has a direction all the same: originals are compared by it, so their int8 rows must not
// say that there is none.
func TestSearch_shortPrefixes(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 2, 4)
	spec.Vectors = schemas.Float32
	d := &snapshottest.Data{Spec: spec}
	for i := range 40 {
		d.IDs = append(d.IDs, fmt.Sprintf("%02d", i))
		d.Vectors = append(d.Vectors, 1, float32(i)/10, 1, 0)
	}
	copy(d.Vector(30), []float32{2e-25, 6e-26, 0, 1}) // the direction that is asked for
	snap := snapshottest.Build(t, d, nil, best(t), []snapshottest.Group{{Kind: snapshottest.Unlisted, End: d.N()}}, nil)
	got := run(t, search.New(best(t)), snap, []float32{1, 0.3, 0, 0}, 2, search.Plan{Exact: true, Dims: 2})
	if got[0].id != "03" || got[1].id != "30" {
		t.Errorf("got %v, want 03 and 30, whose directions are the same", got)
	}
}

// So has a vector under inner product, where any length is allowed: its int8 row was made of it.
func TestAgrees_shortVectors(t *testing.T) {
	spec := snapshottest.Spec(schemas.InnerProduct, 2, 4)
	spec.Vectors = schemas.Float32
	d := &snapshottest.Data{Spec: spec, IDs: []string{"a", "b"}, Vectors: []float32{2e-23, 1e-24, 3e-24, 0, 1, 2, 3, 4}}
	snap := snapshottest.Build(t, d, nil, best(t), []snapshottest.Group{{Kind: snapshottest.Unlisted, End: d.N()}}, nil)
	for _, level := range avx.Levels() {
		for row := range d.N() {
			if err := search.Agrees(level, snap, 0, row, d.Vector(row), make([]float32, 8)); err != nil {
				t.Errorf("%s: row %d: %v", level, row, err)
			}
		}
	}
}
