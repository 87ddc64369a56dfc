package coarse

import (
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

// NoSpill stands for the second list of a vector that has none.
const NoSpill = -1

// spillPenalty is lambda of the SOAR loss. On the benchmark's corpus 1, 1.5 and 2 are alike within 3 % of the candidates;
// 0, the second-nearest list, takes half as many again.
const spillPenalty = 1.5

// candidates sets b.groups to the lists that each vector of a band may be spilled to, as assign leaves it when there are
// groups: the best of each group that was looked into. There being one group, they are its best lists, about.
func (a *assigner) candidates(level avx.Level, vectors []float32, n, stride int, s *Scratch) {
	b := &s.band
	if a.flat == nil {
		b.probed = a.looks
		return
	}
	b.probed = min(assignGroups, a.flat.N())
	a.roundRows(level, vectors, n, stride, b)
	a.bestCentres(level, n, b.probed, s)
}

// spillBand chooses the second lists of a band of vectors: of the candidates the one with the least
//
//	|x - c|^2 + lambda <r, x - c>^2 / |r|^2
//
// with r what the first list leaves of x. A query for which the first list looks worse than it is points along r; then a
// list whose residual is as long but at a right angle to r looks as good as it is (Sun et al., "SOAR: Improved Indexing
// for Approximate Nearest Neighbor Search", NeurIPS 2023). All is rounded to int8, the centroids to the rows of
// the funnel: they come from a far cache, and the choice need not be the very best.
func (q *Quantizer) spillBand(level avx.Level, vectors []float32, lists, spills []int32, s *Scratch) {
	b, norms := &s.band, q.assigner(level).norms
	b.residual, b.row, b.x, b.r = grow(b.residual, q.dim), grow(b.row, q.dim), grow(b.x, q.dim), grow(b.r, q.dim)
	b.at, b.xDots, b.rDots = grow(b.at, b.probed), grow(b.xDots, b.probed), grow(b.rDots, b.probed)
	for i, first := range lists {
		x := vectors[i*q.dim:][:q.dim]
		avx.Sub(level, b.residual, x, q.Centroid(int(first)))
		length, along := avx.SumSquares(level, b.residual), avx.Dot(level, b.residual, x)
		for j, list := range b.groups[i*b.probed:][:b.probed] {
			b.at[j] = uint32(list)
		}
		xScale, rScale := b.round(level, b.x, x), b.round(level, b.r, b.residual)
		avx.DotI8At(level, b.x, q.funnel.rows, q.dim, b.at, b.xDots)
		avx.DotI8At(level, b.r, q.funnel.rows, q.dim, b.at, b.rDots)
		least := float32(math.Inf(1))
		spills[i] = NoSpill
		for j, at := range b.at {
			list := int32(at)
			if list == first {
				continue
			}
			step := q.funnel.step[list]
			loss := norms[list] - 2*float32(b.xDots[j])*xScale*step // and |x|^2, which all have
			if length > 0 {
				p := along - float32(b.rDots[j])*rScale*step
				more := spillPenalty * p * p / length
				if math.IsInf(float64(more), 1) { // of vectors longer than some 4e9, of which every list would be infinitely bad
					more = spillPenalty * p * (p / length)
				}
				loss += more
			}
			if loss < least || loss == least && list < spills[i] {
				least, spills[i] = loss, list
			}
		}
	}
}

// round sets dst to v / scale, rounded to 8 bits.
func (b *bandScratch) round(level avx.Level, dst []int16, v []float32) (scale float32) {
	scale = mrl.QuantizeRow(level, b.row, v)
	avx.WidenI8(level, dst, b.row)
	return scale
}
