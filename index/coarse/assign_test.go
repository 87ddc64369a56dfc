package coarse

import (
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Lists of many groups are compared as int8. Looking into all groups, 99 of 100 vectors come to the nearest
// list all the same: rounding hides only those that are close and in one group. All levels find the same, but where lists
// are equally near. Vectors may be long, short or zero.
func TestAssign_rounds(t *testing.T) {
	const nlist, dim, n = 2048, 24, 2000
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range metrics {
		q, x, _ := train(t, metric, 16*nlist, dim, Options{NList: nlist, Dims: 16, Level: level})
		if len(q.Groups()) <= avx.TopLanes {
			t.Fatalf("%d groups are too few for this test", len(q.Groups())-1)
		}
		rows, best, s := make([]float32, n*dim), make([]int, n), &Scratch{}
		for i := range rows { // between two topics
			rows[i] = x[i] + x[len(rows)+i]
		}
		for d := range dim {
			rows[d], rows[dim+d], rows[2*dim+d] = 0, rows[dim+d]*1e4, rows[2*dim+d]*1e-30
		}
		for i := range best {
			top := math.Inf(-1)
			for list := range q.NList() {
				if score := nearness(q, rows[i*dim:][:dim], list); score > top {
					best[i], top = list, score
				}
			}
		}
		var first []int32
		for _, level := range avx.Levels() {
			for _, probed := range []int{len(q.Groups()) - 1, assignGroups} {
				lists := make([]int32, n)
				q.assigner(level).assign(level, rows, n, dim, probed, lists, s)
				nearest := 0
				for i, list := range lists {
					if int(list) == best[i] {
						nearest++
					}
				}
				share, all := float64(nearest)/n, probed > assignGroups
				if share < 0.98 || all && share < 0.99 { // without choose it would be 0.973
					t.Errorf("%s, %s, %d groups: %.4f of the vectors are in their nearest list", metric, level, probed, share)
				}
				if all {
					continue
				}
				if first == nil {
					first = lists
				}
				for i, list := range lists {
					if v := rows[i*dim:][:dim]; list != first[i] && nearness(q, v, int(first[i]))-nearness(q, v, int(list)) > 1e-5 {
						t.Errorf("%s: vector %d is in list %d, at another level in %d", level, i, list, first[i])
					}
				}
			}
		}
	}
}

// Vectors have the same lists however long all of them are: squares of squares, which decide on second lists, would be infinite beyond a
// length of some 4e9, and none would have one.
func TestAssign_long(t *testing.T) {
	const nlist, dim, n = 256, 24, 4096
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	const scale = 1 << 46 // a power of two, so that all is rounded alike
	assigned := func(scale float32) (lists, spills []int32) {
		q, x, _ := train(t, schemas.InnerProduct, n, dim, Options{NList: nlist, Dims: 16, Level: level, Spill: true})
		centroids := slices.Clone(q.Centroids())
		for _, values := range [][]float32{centroids, x} {
			for i := range values {
				values[i] *= scale
			}
		}
		long, err := New(schemas.InnerProduct, centroids, dim, q.Dims(), q.Groups(), true)
		if err != nil {
			t.Fatal(err)
		}
		lists, spills = make([]int32, n), make([]int32, n)
		long.Assign(level, x, n, lists, spills, &Scratch{})
		return lists, spills
	}
	lists, spills := assigned(1)
	longLists, longSpills := assigned(scale)
	same := 0
	for i := range spills {
		if lists[i] == longLists[i] && spills[i] == longSpills[i] && spills[i] != NoSpill {
			same++
		}
	}
	if same < n*99/100 {
		t.Errorf("%d of %d long vectors have the lists of short ones", same, n)
	}
}
