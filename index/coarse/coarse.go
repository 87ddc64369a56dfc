// Package coarse divides vectors among the inverted lists of an index, and finds the lists that a query should probe.
//
// A list is known by its centroid, the plain mean of the vectors that it was trained on: not scaled to unit length, since
// what it is for is that residuals are small and have mean zero. Its direction on the first Dims dimensions, a level of the
// ladder, decides: a vector belongs to the list whose centroid's prefix is nearest, by angle under cosine and by Euclidean
// distance under ip, and a query probes the lists with the largest inner product of prefixes, of unit length under cosine.
//
// Many lists mean few candidates, so neither step may look at all of them in full:
//
//   - Lists lie in groups of neighbours, of consecutive numbers. [Quantizer.Assign] compares a vector with the centres of
//     groups, then with the centroids of the best few groups, many vectors at a time. Where there are many groups, lists of
//     neighbours go with each, too. That is a heuristic: some vectors come to their second-best list, which costs
//     some candidates, not correctness.
//   - A vector may have a second list, that it is spilled to: a list that is near and makes a residual at a right angle to
//     the first one's. Queries that miss the one find the other, and probe far fewer lists for the same recall.
//   - [Quantizer.Probe] is a Matryoshka funnel: a short prefix of all centroids in 4 bits a dimension makes a shortlist, int8
//     rows of the width that decides put it in order.
package coarse

import (
	"fmt"
	"sync"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// spherical is the metric under which only directions matter.
const spherical = schemas.Cosine

// Quantizer is the lists of a model. It is immutable and safe for concurrent use; a [Scratch] is not.
type Quantizer struct {
	metric    schemas.Metric
	dim, dims int
	nlist     int
	centroids []float32 // [nlist][dim]
	groups    []int32   // first list of each group, then nlist
	spill     bool      // vectors have a second list
	funnel    funnel
	assigning sync.Once
	assigns   *assigner // made when it is first needed: query nodes assign nothing
}

// New makes a quantiser of centroids [nlist][dim], which must be finite, that decides on the first dims dimensions. Groups
// holds the first list of each group, ascending from 0, and nlist at the end. Both slices are kept and must not be changed.
// With spill vectors have a second list.
func New(metric schemas.Metric, centroids []float32, dim, dims int, groups []int32, spill bool) (*Quantizer, error) {
	if dim < 1 || dims < 1 || dims > dim || len(centroids) == 0 || len(centroids)%dim != 0 {
		return nil, fmt.Errorf("coarse: centroids of %d values, %d each, of which the first %d decide", len(centroids), dim, dims)
	}
	q := &Quantizer{metric: metric, dim: dim, dims: dims, nlist: len(centroids) / dim, centroids: centroids, groups: groups, spill: spill}
	if len(groups) < 2 || groups[0] != 0 || int(groups[len(groups)-1]) != q.nlist {
		return nil, fmt.Errorf("coarse: %d bounds of groups, allowed: from 0 to %d lists", len(groups), q.nlist)
	}
	for i, first := range groups[1:] {
		if first <= groups[i] {
			return nil, fmt.Errorf("coarse: group %d is lists [%d, %d), allowed: at least one", i, groups[i], first)
		}
	}
	q.funnel = q.newFunnel()
	return q, nil
}

// NList returns the number of lists.
func (q *Quantizer) NList() int { return q.nlist }

// Spill reports whether vectors have a second list.
func (q *Quantizer) Spill() bool { return q.spill }

// Dims returns the width that decides.
func (q *Quantizer) Dims() int { return q.dims }

// Centroid returns the centroid of a list, of full width. It must not be changed.
func (q *Quantizer) Centroid(list int) []float32 { return q.centroids[list*q.dim:][:q.dim] }

// Centroids returns all centroids, row-major. They must not be changed.
func (q *Quantizer) Centroids() []float32 { return q.centroids }

// Groups returns the bounds of groups, as [New] took them. They must not be changed.
func (q *Quantizer) Groups() []int32 { return q.groups }

// assigner returns what rows are assigned by, made at a level: all make the same.
func (q *Quantizer) assigner(level avx.Level) *assigner {
	q.assigning.Do(func() { q.assigns = q.newAssigner(level) })
	return q.assigns
}

// prefixes returns the centroids' prefixes that decide, [nlist][dims]: of unit length if only directions matter. It uses
// the generic kernels so that all machines have the same ones.
func (q *Quantizer) prefixes() []float32 {
	out := make([]float32, q.nlist*q.dims)
	for j := range q.nlist {
		p := out[j*q.dims:][:q.dims]
		copy(p, q.Centroid(j))
		if q.metric == spherical {
			mrl.Normalize(avx.Generic, p, p)
		}
	}
	return out
}

// Scratch is working memory of one goroutine, for any number of quantisers. The zero value is ready; it grows to the
// largest need once.
type Scratch struct {
	score  []float32
	keys   []uint64
	dots   []int32
	query  []int8
	one    [1][]int16
	looked []int32
	at     []uint32
	chosen []uint32
	base   []int32
	probes []Probe

	band bandScratch
}

// grow returns a slice of n elements, s if it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
