package coarse

import (
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

const (
	// assignGroups is how many groups a vector looks into: see docs/adr/0009 for what more or fewer cost.
	assignGroups = 20
	// Where there are more than aloneGroups, groups have more lists than a panel of a kernel. Then each has lists of its
	// neighbours too, and a vector looks into sharedGroups.
	aloneGroups  = 160
	sharedGroups = 11
	// BandRows is how many vectors are assigned together: so many that each group is looked into by tens of them.
	BandRows = 8192
	// gatherRows is how many of those are copied side by side at a time: they stay in the second-level cache.
	gatherRows = 48
)

// assigner is the centroids' prefixes in the layouts of the kernels that compare vectors with them.
type assigner struct {
	dims     int
	prefixes []float32         // [nlist][dims]
	biases   []float32         // [nlist] what is added to an inner product; nil if only directions matter
	flat     *avx.Panels       // all of them, if there is one group; else:
	centres  *avx.WeightedI8   // of groups; of lists if there is one group and vectors are spilled
	members  []*avx.WeightedI8 // of each group
	lists    [][]int32         // of those members; none if there is one group
	looks    int               // how many groups a vector looks into
	norms    []float32         // of each list: its centroid's squared length, of full width; nil if nothing is spilled
}

func (q *Quantizer) newAssigner(level avx.Level) *assigner {
	a := newAssigner(level, q.metric == spherical, q.prefixes(), q.dims, q.groups)
	if q.spill {
		a.norms = make([]float32, q.nlist)
		for list := range a.norms {
			a.norms[list] = avx.SumSquares(avx.Generic, q.Centroid(list))
		}
		if a.flat != nil {
			a.centres = round(q.metric == spherical, a.prefixes, q.dims)
		}
	}
	return a
}

// newAssigner packs prefixes [nlist][dims], which it keeps. All levels make the same.
func newAssigner(level avx.Level, directions bool, prefixes []float32, dims int, groups []int32) *assigner {
	a := &assigner{dims: dims, prefixes: prefixes}
	if len(groups) == 2 {
		a.flat = pack(directions, prefixes, dims)
		return a
	}
	if !directions {
		a.biases = nearestBiases(prefixes, dims)
	}
	a.centres = round(directions, centresOf(directions, prefixes, dims, groups), dims)
	a.lists, a.looks = ownLists(groups), assignGroups
	if len(a.lists) > aloneGroups {
		a.share(level, groups)
		a.looks = sharedGroups
	}
	a.looks = min(a.looks, len(a.lists))
	for _, lists := range a.lists {
		rows := make([]float32, 0, len(lists)*dims)
		for _, list := range lists {
			rows = append(rows, prefixes[int(list)*dims:][:dims]...)
		}
		a.members = append(a.members, round(directions, rows, dims))
	}
	return a
}

// round returns centroids as int8, on which the nearest one has about the best score, as on those of [pack].
func round(directions bool, centroids []float32, dims int) *avx.WeightedI8 {
	n := len(centroids) / dims
	rows, steps := make([]int8, len(centroids)), make([]float32, n)
	for j := range steps {
		row, c := rows[j*dims:][:dims], centroids[j*dims:][:dims]
		steps[j] = mrl.QuantizeRow(avx.Generic, row, c)
		if longest := avx.LongestSpanI8(row); longest > avx.MaxSpanCentroidI8 {
			steps[j] /= shorter(longest, avx.MaxSpanCentroidI8)
			avx.QuantizeI8(avx.Generic, row, c, 1/steps[j])
		}
	}
	if directions {
		return avx.PackWeightedI8(rows, n, dims, dims, steps, nil)
	}
	return avx.PackWeightedI8(rows, n, dims, dims, steps, nearestBiases(centroids, dims))
}

// shorter returns by how much to scale what was rounded to a row of int8, so that its longest half of a span, of the given sum of
// squares, is no longer than the kernels take when it is rounded again. Each of 32 values may be off by 1/2, now and then.
func shorter(longest, most int) float32 {
	off := math.Sqrt(avx.SpanI8/2) / 2
	return float32((math.Sqrt(float64(most)) - off) / (math.Sqrt(float64(longest)) + off))
}

// nearestBiases are what makes of inner products an order by distance.
func nearestBiases(centroids []float32, dims int) []float32 {
	biases := make([]float32, len(centroids)/dims)
	for j := range biases {
		biases[j] = -avx.SumSquares(avx.Generic, centroids[j*dims:][:dims]) / 2
	}
	return biases
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
	a := q.assigner(level)
	if spills == nil || !q.spill {
		for i := range spills {
			spills[i] = NoSpill
		}
		a.assign(level, vectors, n, q.dim, a.looks, lists, s)
		return
	}
	for start := 0; start < n; start += BandRows {
		rows, some := min(BandRows, n-start), vectors[start*q.dim:]
		a.assign(level, some, rows, q.dim, a.looks, lists[start:start+rows], s)
		a.candidates(level, some, rows, q.dim, s)
		q.spillBand(level, some, lists[start:start+rows], spills[start:start+rows], s)
	}
}

// bandScratch is what assign needs for a band of vectors.
type bandScratch struct {
	groups []int32   // [BandRows][probed] groups that each vector looks into, then the best list of each
	scores []float32 // [BandRows][probed] of those lists, about; before that [gatherRows] of centres
	starts []int32   // of each group in order
	order  []int32   // places in groups, by group
	row    []int8    // a vector rounded
	rows   []uint8   // [BandRows][width] vectors rounded
	units  []float32 // [BandRows] 1 / their steps
	tops   []float32 // [gatherRows] best scores of centres by lanes

	// Some vectors side by side, and their best lists.
	someRows  []uint8
	someUnits []float32
	best      []int32
	score     []float32

	// Of spilling.
	probed       int       // candidates of each vector, in groups
	residual     []float32 // [dim], and as compared with centroids:
	x, r         []int16
	at           []uint32
	xDots, rDots []int32
}

// assign looks into the probed best groups of each vector, vectors being stride apart.
func (a *assigner) assign(level avx.Level, vectors []float32, n, stride, probed int, lists []int32, s *Scratch) {
	b := &s.band
	if a.flat != nil {
		b.score = grow(b.score, n)
		avx.Assign(level, a.flat, vectors, n, stride, lists, b.score)
		return
	}
	probed = min(probed, len(a.lists))
	for start := 0; start < n; start += BandRows {
		rows := min(BandRows, n-start)
		a.band(level, vectors[start*stride:], rows, stride, probed, lists[start:start+rows], s)
	}
}

// band assigns a few vectors: groups of each vector, then vectors of each group, all of these rounded to int8, then what came
// out close to the best.
func (a *assigner) band(level avx.Level, vectors []float32, n, stride, probed int, lists []int32, s *Scratch) {
	b, ngroups := &s.band, len(a.lists)
	a.roundRows(level, vectors, n, stride, b)
	a.bestCentres(level, n, probed, s)
	b.order, b.scores = grow(b.order, n*probed), grow(b.scores, n*probed)
	b.starts = grow(b.starts, ngroups+1)
	clear(b.starts)
	for _, g := range b.groups {
		b.starts[g+1]++
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
			a.group(level, g, probed, some, b)
			start += int32(len(some))
		}
	}
	for i := range n {
		lists[i] = a.choose(level, vectors[i*stride:][:a.dims], b.groups[i*probed:][:probed], b.scores[i*probed:][:probed])
	}
}

// roundRows sets b.rows and b.units to vectors as the kernels take them.
func (a *assigner) roundRows(level avx.Level, vectors []float32, n, stride int, b *bandScratch) {
	width := a.centres.Dim()
	b.row, b.rows, b.units = grow(b.row, a.dims), grow(b.rows, n*width), grow(b.units, n)
	for i := range n {
		x, row := vectors[i*stride:][:a.dims], b.rows[i*width:][:width]
		unit := avx.MaxQueryI8 / avx.MaxAbs(level, x)
		if unit > math.MaxFloat32 { // of zeros, which are rounded to zeros
			unit = 1
		}
		avx.QuantizeI8(level, b.row, x, unit)
		if longest := avx.LongestSpanI8(b.row); longest > avx.MaxSpanRowI8 {
			unit *= shorter(longest, avx.MaxSpanRowI8)
			avx.QuantizeI8(level, b.row, x, unit)
		}
		b.units[i] = unit
		avx.OffsetI8(level, row, b.row)
		for d := a.dims; d < width; d++ {
			row[d] = avx.QueryOffset
		}
	}
}

// group compares some vectors, given by their places in b.groups, with the members of a group.
func (a *assigner) group(level avx.Level, g, probed int, some []int32, b *bandScratch) {
	members := a.members[g]
	width := members.Dim()
	b.someRows, b.someUnits = grow(b.someRows, gatherRows*width), grow(b.someUnits, gatherRows)
	b.best, b.score = grow(b.best, gatherRows), grow(b.score, gatherRows)
	for i, at := range some {
		row := int(at) / probed
		copy(b.someRows[i*width:][:width], b.rows[row*width:])
		b.someUnits[i] = b.units[row]
	}
	avx.AssignI8(level, members, b.someRows, len(some), width, b.someUnits, b.best, b.score)
	for i, at := range some {
		b.groups[at], b.scores[at] = a.lists[g][b.best[i]], b.score[i]
	}
}

// closeScores is how far apart two scores are that rounding hardly ever exchanges, for centroids of unit length. A
// value of a vector is rounded by 1/2 at most, so a score is off by 1/sqrt(12), and by half of that for the rounding of
// centroids: this is three times the deviation.
const closeScores = 1

// choose returns the list of a vector: the one with the best of the scores, or where others are close the nearest of them.
func (a *assigner) choose(level avx.Level, x []float32, candidates []int32, scores []float32) int32 {
	top := 0
	for i, s := range scores {
		if s > scores[top] {
			top = i
		}
	}
	list, best := candidates[top], float32(math.Inf(-1))
	least := scores[top] - closeScores*a.length(list)
	for i, s := range scores {
		if s < least || candidates[i] == candidates[top] { // itself, or from the other group that it is in
			continue
		}
		if math.IsInf(float64(best), -1) {
			best = a.score(level, x, list)
		}
		if score := a.score(level, x, candidates[i]); score > best || score == best && candidates[i] < list {
			list, best = candidates[i], score
		}
	}
	return list
}

// length returns that of a centroid's prefix.
func (a *assigner) length(list int32) float32 {
	if a.biases == nil {
		return 1
	}
	return float32(math.Sqrt(float64(-2 * a.biases[list])))
}

// score returns what the nearest list has the most of.
func (a *assigner) score(level avx.Level, x []float32, list int32) float32 {
	score := avx.Dot(level, x, a.prefixes[int(list)*a.dims:][:a.dims])
	if a.biases != nil {
		score += a.biases[list]
	}
	return score
}

// bestCentres sets b.groups to the probed centres with the best scores of each of n rounded vectors, in no order.
func (a *assigner) bestCentres(level avx.Level, n, probed int, s *Scratch) {
	b, width, padded := &s.band, a.centres.Dim(), a.centres.Padded()
	b.groups, b.scores, b.tops = grow(b.groups, n*probed), grow(b.scores, gatherRows*padded), grow(b.tops, gatherRows*avx.TopLanes)
	b.at, s.keys = grow(b.at, padded), grow(s.keys, padded)
	for i := range n {
		in := i % gatherRows
		if in == 0 {
			avx.ScoresRowsI8(level, a.centres, b.rows[i*width:], min(gatherRows, n-i), width, b.units[i:], b.scores, padded, b.tops)
		}
		scores := b.scores[in*padded:][:a.centres.N()]
		for r, key := range bestOf(level, scores, b.tops[in*avx.TopLanes:][:avx.TopLanes], probed, b.at, s.keys) {
			b.groups[i*probed+r] = keyItem(key)
		}
	}
}
