package coarse

import (
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Each list is a member of its own group and of one more: that of the groups around which has the least SOAR loss, in plain arithmetic.
func TestShare(t *testing.T) {
	const n, dim = 4000, 24
	for _, metric := range metrics {
		q, _, _ := train(t, metric, n, dim, Options{NList: 1600, Dims: dim})
		prefixes, groups := q.prefixes(), q.Groups()
		members := shared(prefixes, dim, groups)
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
		in := make([][]int, q.NList())
		for g, lists := range members {
			for i, list := range lists {
				in[list] = append(in[list], g)
				if own := groups[g] <= list && list < groups[g+1]; own != (i < int(groups[g+1]-groups[g])) {
					t.Fatalf("group %d: member %d is list %d, of its own: %v", g, i, list, own)
				}
			}
		}
		best := 0
		for list, of := range in {
			if len(of) != 2 || of[0] == of[1] {
				t.Fatalf("list %d is in groups %v", list, of)
			}
			own, second := of[0], of[1]
			if !(int(groups[own]) <= list && list < int(groups[own+1])) {
				own, second = second, own
			}
			x := prefixes[list*dim:][:dim]
			least := math.Inf(1)
			for g := range means {
				if g != own {
					least = min(least, memberLoss(x, means[own], means[g]))
				}
			}
			if memberLoss(x, means[own], means[second]) <= least+1e-5 {
				best++
			}
		}
		if share := float64(best) / float64(len(in)); share < 0.9 { // not all: the groups around are few of all
			t.Errorf("%s: %.3f of the lists are in the second group that suits them most", metric, share)
		}
	}
}

func shared(prefixes []float32, dims int, groups []int32) [][]int32 {
	a := &assigner{dims: dims, prefixes: prefixes, lists: ownLists(groups)}
	a.share(groups)
	return a.lists
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
	members := shared(slices.Repeat([]float32{0.5, 0.5}, 5), 2, []int32{0, 2, 5})
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
		shared(prefixes, dim, groups)
	}
}
