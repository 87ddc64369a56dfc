package coarse

import (
	"slices"

	"github.com/adastream/adastream/avx"
)

const (
	// nearGroups is how many groups around its own a list's second one is looked for in.
	nearGroups = 32
	// memberPenalty is lambda of the SOAR loss by which it is chosen, as spillPenalty is for rows.
	memberPenalty = 1
)

// ownLists returns the lists of each group.
func ownLists(groups []int32) [][]int32 {
	lists := make([][]int32, len(groups)-1)
	for g := range lists {
		for list := groups[g]; list < groups[g+1]; list++ {
			lists[g] = append(lists[g], list)
		}
	}
	return lists
}

// share makes each list a member of a second group too. So a vector at the edge of two groups finds a list in the one or in the other,
// and looks into half as many. As for vectors, a second group is one that is near and on another side of the list. It uses the
// generic kernels so that all machines have the same members.
func (a *assigner) share(groups []int32) {
	dims, ngroups := a.dims, len(a.lists)
	means := centresOf(false, a.prefixes, dims, groups)
	biases, scores, keys := nearestBiases(means, dims), make([]float32, ngroups), make([]uint64, ngroups)
	rest := make([]float32, dims)
	for g := range ngroups {
		own := means[g*dims:][:dims]
		avx.DotRows(avx.Generic, own, means, dims, scores)
		for h := range scores {
			scores[h] += biases[h]
		}
		around := best(scores, min(nearGroups, ngroups), keys)
		slices.Sort(around)
		for list := groups[g]; list < groups[g+1]; list++ {
			second := secondGroup(a.prefixes[int(list)*dims:][:dims], g, around, means, biases, rest)
			a.lists[second] = append(a.lists[second], list)
		}
	}
}

// secondGroup returns the group, of those around its own, for which
//
//	|x - m|^2 + lambda <r, x - m>^2 / |r|^2
//
// is least, m being the mean of the group and r what the own one leaves of x.
func secondGroup(x []float32, own int, around []uint64, means, biases, r []float32) int {
	d := len(x)
	for i, v := range x {
		r[i] = v - means[own*d+i]
	}
	length, along := avx.SumSquares(avx.Generic, r), avx.Dot(avx.Generic, x, r)
	second, least := -1, float32(0)
	for _, key := range around {
		g := int(keyItem(key))
		if g == own {
			continue
		}
		mean := means[g*d:][:d]
		loss := -2 * (avx.Dot(avx.Generic, x, mean) + biases[g]) // and |x|^2, which all have
		if length > 0 {
			p := along - avx.Dot(avx.Generic, r, mean)
			loss += memberPenalty * p * p / length
		}
		if second < 0 || loss < least {
			second, least = g, loss
		}
	}
	return second
}
