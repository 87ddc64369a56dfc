package coarse

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Each list is a member of its own group and of one more: that which has the least SOAR loss, in plain arithmetic. Some are in a third, where
// it fills a panel. All levels make the same members.
func TestShare(t *testing.T) {
	const n, dim = 4000, 24
	for _, metric := range metrics {
		q, _, _ := train(t, metric, n, dim, Options{NList: 1600, Dims: dim})
		prefixes, groups := q.prefixes(), q.Groups()
		members := shared(fastest(t), prefixes, dim, groups)
		if len(members) != len(groups)-1 || len(members) <= nearGroups {
			t.Fatalf("%d groups have members of %d", len(groups)-1, len(members))
		}
		means := make([][]float64, len(members))
		for g := range means {
			means[g] = make([]float64, dim)
			for list := groups[g]; list < groups[g+1]; list++ {
				for d := range dim {
					means[g][d] += float64(prefixes[int(list)*dim+d]) / float64(groups[g+1]-groups[g])
				}
			}
		}
		for _, level := range avx.Levels() {
			if !reflect.DeepEqual(shared(level, prefixes, dim, groups), members) {
				t.Errorf("%s makes other members", level)
			}
		}
		in := make([][]int, q.NList())
		for g, lists := range members {
			for i, list := range lists {
				in[list] = append(in[list], g)
				if own := groups[g] <= list && list < groups[g+1]; own != (i < int(groups[g+1]-groups[g])) {
					t.Fatalf("group %d: member %d is list %d, of its own: %v", g, i, list, own)
				}
			}
		}
		best, thirds, panels := 0, make([]int, len(members)), func(n int) int { return (n + avx.TopLanes - 1) / avx.TopLanes }
		for list, of := range in {
			slices.SortFunc(of, func(a, b int) int { // its own, then by the loss
				if own := func(g int) bool { return int(groups[g]) <= list && list < int(groups[g+1]) }; own(a) || own(b) {
					return cmp.Compare(b2i(own(b)), b2i(own(a)))
				}
				x, own := prefixes[list*dim:][:dim], slices.IndexFunc(groups, func(first int32) bool { return int(first) > list })-1
				return cmp.Compare(memberLoss(x, means[own], means[a]), memberLoss(x, means[own], means[b]))
			})
			if unique := slices.Compact(slices.Clone(of)); len(unique) != len(of) || len(of) < 2 || len(of) > 3 {
				t.Fatalf("list %d is in groups %v", list, of)
			}
			if len(of) == 3 {
				thirds[of[2]]++
			}
			x := prefixes[list*dim:][:dim]
			least := math.Inf(1)
			for g := range means {
				if g != of[0] {
					least = min(least, memberLoss(x, means[of[0]], means[g]))
				}
			}
			if memberLoss(x, means[of[0]], means[of[1]]) <= least+1e-5 {
				best++
			}
		}
		filled := 0
		for g, n := range thirds {
			if filled += n; panels(len(members[g])) != panels(len(members[g])-n) {
				t.Errorf("group %d has %d lists, %d of them to fill panels", g, len(members[g]), n)
			}
		}
		if filled == 0 {
			t.Errorf("%s: no panel is filled", metric)
		}
		if share := float64(best) / float64(len(in)); share < 0.99 {
			t.Errorf("%s: %.3f of the lists are in the second group that suits them most", metric, share)
		}
	}
}

func shared(level avx.Level, prefixes []float32, dims int, groups []int32) [][]int32 {
	a := &assigner{dims: dims, prefixes: prefixes, lists: ownLists(groups), centres: round(true, centresOf(true, prefixes, dims, groups), dims)}
	a.share(level, groups)
	return a.lists
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func memberLoss(x []float32, own, other []float64) float64 {
	var length, dot, distance float64
	for d, v := range x {
		r, s := float64(v)-own[d], float64(v)-other[d]
		length, dot, distance = length+r*r, dot+r*s, distance+s*s
	}
	if length > 0 {
		distance += memberPenalty * dot * dot / length
	}
	return distance
}

// Lists that are alike have nothing left to be on another side of, and two groups have only one another.
func TestShare_alike(t *testing.T) {
	members := shared(avx.Generic, slices.Repeat([]float32{0.5, 0.5}, 5), 2, []int32{0, 2, 5})
	if !slices.Equal(members[0], []int32{0, 1, 2, 3, 4}) || !slices.Equal(members[1], []int32{2, 3, 4, 0, 1}) {
		t.Errorf("members %v", members)
	}
}

// Of so many lists that groups share them nearly all vectors come to their nearest, all kernels say so alike, and neighbours in the call
// do not matter.
func TestAssign_shared(t *testing.T) {
	const n, dim, nlist, rows = 12288, 16, 6144, 1000
	for _, metric := range metrics {
		q, x, _ := train(t, metric, n, dim, Options{NList: nlist, Dims: dim, Level: fastest(t)})
		if groups := len(q.Groups()) - 1; groups <= aloneGroups {
			t.Fatalf("%d groups do not share lists", groups)
		}
		var first []int32
		for _, level := range avx.Levels() {
			lists, alone := make([]int32, rows), make([]int32, 1)
			q.Assign(level, x, rows, lists, nil, &Scratch{})
			if first == nil {
				first = lists
			}
			nearest, others := 0, 0
			for i, list := range lists {
				v, best := x[i*dim:][:dim], math.Inf(-1)
				if level == avx.Generic {
					for j := range q.NList() {
						best = max(best, nearness(q, v, j))
					}
					if nearness(q, v, int(list)) >= best-1e-5 {
						nearest++
					}
				}
				if list != first[i] {
					others++
				}
				if i%50 > 0 {
					continue
				}
				if q.Assign(level, v, 1, alone, nil, &Scratch{}); alone[0] != list {
					t.Fatalf("%s: row %d is in list %d among others, %d alone", level, i, list, alone[0])
				}
			}
			if share := float64(nearest) / rows; level == avx.Generic && share < 0.9 {
				t.Errorf("%s: %.3f of the rows are in their nearest list", metric, share)
			}
			if others > rows/100 { // equally near but for rounding
				t.Errorf("%s: %d rows are in other lists than those of %s", level, others, avx.Levels()[0])
			}
		}
	}
}

// BenchmarkShare is what an ingestor's first row waits for.
func BenchmarkShare(b *testing.B) {
	const nlist, dim = 65536, 64
	prefixes, groups := topics(nlist, dim, schemas.Cosine, 1), []int32{0}
	for groups[len(groups)-1] < nlist {
		groups = append(groups, groups[len(groups)-1]+128)
	}
	for b.Loop() {
		shared(fastest(b), prefixes, dim, groups)
	}
}
