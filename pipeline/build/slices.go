package build

import (
	"cmp"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	shownSlices = 3
	axisRounds  = 8 // of power iteration: an axis that is nearly the longest halves as well
)

// slice is queries that are near one another.
type slice struct {
	tally  recall.Tally
	lists  int    // that hold their rows
	around string // id of the row that is nearest to the mean of the queries
}

// slicesOf divides the queries into parts of the space: it halves them along the direction in which they differ most, and
// each half again, as long as halves have leastSlice queries. The worst come first. One slice is none: it says what the
// whole says.
//
// The lists of the rows would be slices too, but have a query each, and what joins them has to choose what is near: that is
// mostly whatever has grown large already.
func slicesOf(snap *snapshot.Snapshot, s recall.Sample, found []recall.Found) []slice {
	d := divider{dim: snap.Spec().Dim(), vectors: searched(snap.Spec(), s)}
	var members []int
	for q := range s.N {
		if len(s.Truth[q]) > 0 {
			members = append(members, q)
		}
	}
	d.divide(members)
	if len(d.leaves) < 2 {
		return nil
	}
	all := make([]slice, len(d.leaves))
	for i, leaf := range d.leaves {
		lists := map[int32]bool{}
		for _, q := range leaf {
			all[i].tally.Add(found[q])
			lists[snap.Parts()[s.Self[q].Part].ListAt(s.Self[q].Row)] = true
		}
		self := s.Self[d.middle(leaf)]
		all[i].lists, all[i].around = len(lists), snap.Parts()[self.Part].IDAt(self.Row)
	}
	slices.SortStableFunc(all, func(a, b slice) int { return cmp.Compare(a.tally.Mean(), b.tally.Mean()) })
	return all
}

// searched returns the queries as they are compared.
func searched(spec *schemas.Spec, s recall.Sample) []float32 {
	if spec.Metric != schemas.Cosine {
		return s.Queries
	}
	dim := spec.Dim()
	vectors := slices.Clone(s.Queries)
	for q := range s.N {
		v := vectors[q*dim : (q+1)*dim]
		mrl.Normalize(avx.Generic, v, v)
	}
	return vectors
}

// divider halves queries.
type divider struct {
	dim     int
	vectors []float32
	leaves  [][]int
}

func (d *divider) vector(q int) []float32 { return d.vectors[q*d.dim:][:d.dim] }

func (d *divider) divide(members []int) {
	if len(members) < 2*leastSlice {
		d.leaves = append(d.leaves, members)
		return
	}
	axis := d.axis(members)
	along := make(map[int]float64, len(members))
	for _, q := range members {
		along[q] = dot(axis, d.vector(q))
	}
	slices.SortStableFunc(members, func(a, b int) int { return cmp.Compare(along[a], along[b]) })
	d.divide(members[:len(members)/2])
	d.divide(members[len(members)/2:])
}

// mean returns the mean of the members.
func (d *divider) mean(members []int) []float64 {
	mean := make([]float64, d.dim)
	for _, q := range members {
		for i, x := range d.vector(q) {
			mean[i] += float64(x) / float64(len(members))
		}
	}
	return mean
}

// axis returns about the first principal axis of the members, of any length.
func (d *divider) axis(members []int) []float64 {
	mean := d.mean(members)
	axis := make([]float64, d.dim)
	for i, x := range d.vector(members[0]) {
		axis[i] = float64(x) - mean[i]
	}
	for range axisRounds {
		next := make([]float64, d.dim)
		middle := 0.0
		for i, m := range mean {
			middle += axis[i] * m
		}
		largest := 0.0
		for _, q := range members {
			v := d.vector(q)
			along := dot(axis, v) - middle
			for i, x := range v {
				next[i] += along * (float64(x) - mean[i])
			}
		}
		for _, x := range next {
			largest = max(largest, x, -x)
		}
		if largest == 0 {
			break // they are all the same
		}
		for i := range next {
			next[i] /= largest
		}
		axis = next
	}
	return axis
}

// middle returns the member that is nearest to the mean.
func (d *divider) middle(members []int) int {
	mean := d.mean(members)
	return slices.MinFunc(members, func(a, b int) int { return cmp.Compare(distance(mean, d.vector(a)), distance(mean, d.vector(b))) })
}

func dot(a []float64, v []float32) (sum float64) {
	for i, x := range v {
		sum += a[i] * float64(x)
	}
	return sum
}

func distance(a []float64, v []float32) (sum float64) {
	for i, x := range v {
		sum += (a[i] - float64(x)) * (a[i] - float64(x))
	}
	return sum
}
