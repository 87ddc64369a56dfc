package coarse

import (
	"slices"

	"github.com/adastream/adastream/avx"
)

const (
	// nearGroups is how many groups near a list its second one is looked for in.
	nearGroups = 24
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
// and looks into half as many. As for vectors, a second group is one that is near and on another side of the list. What would be
// padding of the last panels of groups is filled with lists that so become members of a third one. All levels make the same members.
func (a *assigner) share(level avx.Level, groups []int32) {
	means := centresOf(false, a.prefixes, a.dims, groups)
	j, s := joining{dims: a.dims, means: means, biases: nearestBiases(means, a.dims)}, &Scratch{}
	own, near := 0, min(nearGroups, len(a.lists))
	nlist := len(a.prefixes) / a.dims
	thirds := make([]int32, nlist)
	for start := 0; start < nlist; start += BandRows {
		n := min(BandRows, nlist-start)
		a.roundRows(level, a.prefixes[start*a.dims:], n, a.dims, &s.band)
		a.bestCentres(level, n, near, s)
		for i := range n {
			list := int32(start + i)
			for list >= groups[own+1] {
				own++
			}
			j.begin(a.prefixes[int(list)*a.dims:][:a.dims])
			j.join(int32(own))
			around := s.band.groups[i*near:][:near]
			second := j.next(around)
			a.lists[second] = append(a.lists[second], list)
			thirds[list] = j.next(around)
		}
	}
	for list, g := range thirds {
		if g >= 0 && len(a.lists[g])%avx.TopLanes > 0 {
			a.lists[g] = append(a.lists[g], int32(list))
		}
	}
}

// joining is a list on its way through groups.
type joining struct {
	dims          int
	means, biases []float32 // of all groups

	x         []float32
	in        []int32     // groups that it is in
	residuals [][]float32 // what they leave of x
	lengths   []float32   // squared
	along     []float32   // their inner products with x
}

// begin begins with a list's prefix, in no group.
func (j *joining) begin(x []float32) {
	j.x, j.in, j.lengths, j.along = x, j.in[:0], j.lengths[:0], j.along[:0]
}

// join makes it a member of a group.
func (j *joining) join(group int32) {
	at := len(j.in)
	j.in = append(j.in, group)
	if at == len(j.residuals) {
		j.residuals = append(j.residuals, make([]float32, j.dims))
	}
	r := j.residuals[at]
	for d, v := range j.x {
		r[d] = v - j.means[int(group)*j.dims+d]
	}
	j.lengths = append(j.lengths, avx.SumSquares(avx.Generic, r))
	j.along = append(j.along, avx.Dot(avx.Generic, j.x, r))
}

// next joins and returns the group, of those around, for which
//
//	|x - m|^2 + lambda * sum of <r, x - m>^2 / |r|^2
//
// is least, m being the mean of the group and r what each of the groups that the list is in leaves of x. It is -1 if
// the list is in all of them.
func (j *joining) next(around []int32) int32 {
	next, least := int32(-1), float32(0)
	for _, g := range around {
		if slices.Contains(j.in, g) {
			continue
		}
		mean := j.means[int(g)*j.dims:][:j.dims]
		loss := -2 * (avx.Dot(avx.Generic, j.x, mean) + j.biases[g]) // and |x|^2, which all have
		for i, length := range j.lengths {
			if length > 0 {
				p := j.along[i] - avx.Dot(avx.Generic, j.residuals[i], mean)
				loss += memberPenalty * p * p / length
			}
		}
		if next < 0 || loss < least || loss == least && g < next {
			next, least = g, loss
		}
	}
	if next >= 0 {
		j.join(next)
	}
	return next
}
