package coarse

import (
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

const (
	// assignGroups is how many groups a vector looks into. Of the vectors of the benchmark's corpus about 3 % come to a
	// list that is not their nearest with it, 7 % with half of it.
	assignGroups = 16
	// bandRows is how many vectors are assigned together: so many that each group is looked into by tens of them.
	bandRows = 1024
	// gatherRows is how many of those are copied side by side at a time: they stay in the second-level cache.
	gatherRows = 48
)

// assigner is the centroids' prefixes in the layout of the kernel that compares vectors with them.
type assigner struct {
	dims    int
	centres *avx.Panels   // of groups; nil when there is one
	members []*avx.Panels // of each group
	first   []int32       // list of each group's first member
	norms   []float32     // of each list: its centroid's squared length, of full width; nil if nothing is spilled
}

func (q *Quantizer) newAssigner() *assigner {
	a := newAssigner(q.metric == spherical, q.prefixes(), q.dims, q.groups)
	if q.spill {
		a.norms = make([]float32, q.nlist)
		for list := range a.norms {
			a.norms[list] = avx.SumSquares(avx.Generic, q.Centroid(list))
		}
	}
	return a
}

// newAssigner packs prefixes [nlist][dims].
func newAssigner(directions bool, prefixes []float32, dims int, groups []int32) *assigner {
	a := &assigner{dims: dims, first: groups[:len(groups)-1]}
	for g, first := range a.first {
		a.members = append(a.members, pack(directions, prefixes[int(first)*dims:int(groups[g+1])*dims], dims))
	}
	if len(a.first) > 1 {
		a.centres = pack(directions, centresOf(directions, prefixes, dims, groups), dims)
	}
	return a
}

// centresOf returns the mean of each group's members, or its direction.
func centresOf(directions bool, prefixes []float32, dims int, groups []int32) []float32 {
	centres := make([]float32, (len(groups)-1)*dims)
	for g := range len(groups) - 1 {
		mean(centres[g*dims:][:dims], prefixes[int(groups[g])*dims:int(groups[g+1])*dims], directions)
	}
	return centres
}

// pack returns panels on which the nearest centroid has the best score: the largest inner product of directions, else the
// smallest distance.
func pack(directions bool, centroids []float32, dims int) *avx.Panels {
	n := len(centroids) / dims
	if directions {
		return avx.Pack(centroids, n, dims, nil)
	}
	return avx.PackNearest(centroids, n, dims)
}

// mean sets dst to the mean of rows of its width, or to the direction of it.
func mean(dst, rows []float32, direction bool) {
	sum := make([]float64, len(dst))
	for i, v := range rows {
		sum[i%len(dst)] += float64(v)
	}
	for d, s := range sum {
		dst[d] = float32(s / float64(len(rows)/len(dst)))
	}
	if direction {
		mrl.Normalize(avx.Generic, dst, dst)
	}
}

// Assign sets lists[i] to the list of each of n vectors [n][dim], and spills[i] to the one that it is spilled to, -1 if
// there is none; spills may be nil. Neither depends on a vector's neighbours.
func (q *Quantizer) Assign(level avx.Level, vectors []float32, n int, lists, spills []int32, s *Scratch) {
	a := q.assign()
	if spills == nil || !q.spill {
		for i := range spills {
			spills[i] = NoSpill
		}
		a.assign(level, vectors, n, q.dim, assignGroups, lists, s)
		return
	}
	for start := 0; start < n; start += bandRows {
		rows, some := min(bandRows, n-start), vectors[start*q.dim:]
		a.assign(level, some, rows, q.dim, assignGroups, lists[start:start+rows], s)
		a.candidates(level, some, rows, q.dim, s)
		q.spillBand(level, some, lists[start:start+rows], spills[start:start+rows], s)
	}
}

// bandScratch is what assign needs for a band of vectors.
type bandScratch struct {
	groups []int32   // [bandRows][probed] groups that each vector looks into, then the best list of each
	starts []int32   // of each group in order
	order  []int32   // places in groups, by group
	rows   []float32 // [gatherRows][dims]
	scores []float32 // [gatherRows] of some centroids
	best   []int32
	score  []float32
	top    []float32 // [bandRows]

	// Of spilling.
	probed       int       // candidates of each vector, in groups
	residual     []float32 // [dim], and as compared with centroids:
	row          []int8
	x, r         []int16
	at           []uint32
	xDots, rDots []int32
}

// assign looks into the probed best groups of each vector, vectors being stride apart.
func (a *assigner) assign(level avx.Level, vectors []float32, n, stride, probed int, lists []int32, s *Scratch) {
	b := &s.band
	if a.centres == nil {
		b.top = grow(b.top, n)
		avx.Assign(level, a.members[0], vectors, n, stride, lists, b.top)
		return
	}
	probed = min(probed, len(a.first))
	for start := 0; start < n; start += bandRows {
		rows := min(bandRows, n-start)
		a.band(level, vectors[start*stride:], rows, stride, probed, lists[start:start+rows], s)
	}
}

// band assigns a few vectors: groups of each vector, then vectors of each group.
func (a *assigner) band(level avx.Level, vectors []float32, n, stride, probed int, lists []int32, s *Scratch) {
	b, ngroups := &s.band, len(a.first)
	s.bestRows(level, a.centres, vectors, n, stride, probed)
	b.order = grow(b.order, n*probed)
	b.starts, b.top = grow(b.starts, ngroups+1), grow(b.top, n)
	clear(b.starts)
	for _, g := range b.groups {
		b.starts[g+1]++
	}
	for i := range n {
		b.top[i], lists[i] = float32(math.Inf(-1)), a.first[b.groups[i*probed]]
	}
	for g := range ngroups {
		b.starts[g+1] += b.starts[g]
	}
	for at, g := range b.groups[:n*probed] {
		b.order[b.starts[g]] = int32(at)
		b.starts[g]++ // now the end of g, which is the start of g+1
	}
	start := int32(0)
	for g := range ngroups {
		end := b.starts[g]
		for start < end {
			some := b.order[start:min(start+gatherRows, end)]
			a.group(level, g, vectors, stride, probed, some, lists, b)
			start += int32(len(some))
		}
	}
}

// bestRows sets band.groups to the k panels' centroids with the best scores of each of n vectors, in no order.
func (s *Scratch) bestRows(level avx.Level, p *avx.Panels, vectors []float32, n, stride, k int) {
	b, of := &s.band, p.N()
	b.groups, b.scores, s.keys = grow(b.groups, n*k), grow(b.scores, gatherRows*of), grow(s.keys, of)
	for i := range n {
		if i%gatherRows == 0 {
			avx.ScoresRows(level, p, vectors[i*stride:], min(gatherRows, n-i), stride, b.scores, of)
		}
		for r, key := range best(b.scores[i%gatherRows*of:][:of], k, s.keys) {
			b.groups[i*k+r] = keyItem(key)
		}
	}
}

// group compares some vectors, given by their places in b.groups, with the members of a group.
func (a *assigner) group(level avx.Level, g int, vectors []float32, stride, probed int, some, lists []int32, b *bandScratch) {
	b.rows = grow(b.rows, gatherRows*a.dims)
	b.best, b.score = grow(b.best, gatherRows), grow(b.score, gatherRows)
	for i, at := range some {
		copy(b.rows[i*a.dims:][:a.dims], vectors[int(at)/probed*stride:])
	}
	avx.Assign(level, a.members[g], b.rows, len(some), a.dims, b.best, b.score)
	for i, at := range some {
		list, row := a.first[g]+b.best[i], int(at)/probed
		b.groups[at] = list
		if x := b.score[i]; x > b.top[row] || x == b.top[row] && list < lists[row] {
			b.top[row], lists[row] = x, list
		}
	}
}
