package search

import (
	"context"
	"math"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// exact compares every row. The answer is that of brute force over the originals if they are there, and of brute force
// over the int8 rows if not.
func (s *Searcher) exact(ctx context.Context) error {
	if s.snap.HasVectors() {
		return s.exactOriginals(ctx)
	}
	return s.scoreAll(ctx)
}

// scoreAll offers all rows that count by their int8 form.
func (s *Searcher) scoreAll(ctx context.Context) error {
	for i, p := range s.parts {
		if err := s.score(ctx, i, 0, p.N); err != nil {
			return err
		}
	}
	return nil
}

// contender is a row whose original may be among the best.
type contender struct {
	part, row int
	most      float32 // that its score can be
}

// contenders are pruned when there are so many, or twice as many as the last time were left.
const leastContenders = 4096

// exactOriginals reads few of the originals. An int8 row says what the score of its original is but for an error that is
// bounded, so only rows whose score may reach the k-th best lower bound can be in the answer.
func (s *Searcher) exactOriginals(ctx context.Context) error {
	s.maybe = s.maybe[:0]
	bound, limit := s.newBound(), leastContenders
	dim := s.snap.Spec().Dim()
	for i, p := range s.parts {
		dead := s.snap.Dead(i)
		for start := 0; start < p.N; start += scoreRows {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(scoreRows, p.N-start)
			if s.among != nil {
				s.at = s.among.AppendRows(s.at[:0], i, start, start+n)
				dots := s.dots[:len(s.at)]
				avx.DotI8At(s.level, s.quant, p.Int8, dim, s.at, dots)
				s.refined(len(dots))
				for j, dot := range dots {
					s.contend(&bound, i, int(s.at[j]), dot)
				}
			} else {
				dots := s.dots[:n]
				avx.DotI8(s.level, s.quant, p.Int8[start*dim:], dim, dots)
				s.refined(len(dots))
				for j, dot := range dots {
					if !dead.Has(start + j) {
						s.contend(&bound, i, start+j, dot)
					}
				}
			}
			if len(s.maybe) >= limit {
				s.prune()
				limit = max(leastContenders, 2*len(s.maybe))
			}
		}
	}
	s.prune()
	s.top.Reset(s.parts, s.top.k)
	s.original = resize(s.original, 2*dim)
	query := s.given
	if len(s.vector) < dim {
		query = s.vector
	}
	for _, c := range s.maybe {
		p := s.parts[c.part]
		s.offer(c.part, c.row, ScoreOriginal(s.snap, p, c.row, query, s.original))
		s.usage.Bytes += int64(p.VectorBytes(len(s.vector)))
	}
	return nil
}

// contend makes a row a contender if it can be among the best, by the inner product of its int8 form.
func (s *Searcher) contend(b *bound, part, row int, dot int32) {
	p := s.parts[part]
	score, off := float64(s.scoreOf(p, row, dot)), s.off(b, p, row)
	if score+off < float64(s.top.Floor()) { // as of nearly all rows; what follows costs more
		return
	}
	// Rounded away from the score, since float32 may round towards it.
	most := math.Nextafter32(float32(score+off), math.MaxFloat32)
	if most < s.top.Floor() {
		return
	}
	s.offer(part, row, math.Nextafter32(float32(score-off), -math.MaxFloat32))
	s.maybe = append(s.maybe, contender{part, row, most})
}

// prune drops contenders that cannot win any more.
func (s *Searcher) prune() {
	floor, kept := s.top.Floor(), s.maybe[:0]
	for _, c := range s.maybe {
		if c.most >= floor {
			kept = append(kept, c)
		}
	}
	s.maybe = kept
}

// bound is what the error of a score depends on beside the row.
type bound struct {
	sum, length float64 // of the query: sum of its magnitudes, and length
	root        float64 // of the width
	rounding    float64 // see Rounding
}

// Rounding bounds what float32 does to the inner product of two vectors of so many values that may have been scaled to unit
// length, as a share of the product of their lengths.
func Rounding(dims int) float64 { return float64(dims+16) * 0x1p-23 }

func (s *Searcher) newBound() bound {
	b := bound{root: math.Sqrt(float64(len(s.vector))), rounding: Rounding(len(s.vector))}
	if s.snap.Model().Axes() != "" { // each value of both vectors is an inner product with an axis
		dim := s.snap.Spec().Dim()
		b.rounding += math.Sqrt(float64(dim)) * Rounding(dim)
	}
	for _, x := range s.vector {
		b.sum += math.Abs(float64(x))
		b.length += float64(x) * float64(x)
	}
	b.length = math.Sqrt(b.length)
	return b
}

// off bounds by how much the score of an int8 row differs from that of its original. Each of its values is off by half a
// step at most, and each of the query's.
func (s *Searcher) off(b *bound, p *segment.Part, row int) float64 {
	const half = 0.5001 // steps are rounded themselves
	levels := len(s.snap.Spec().Ladder)
	level := levels - 1
	if s.norm >= 0 {
		level = s.norm
	}
	step, length := float64(p.Scales[row]), float64(p.Norms[row*levels+level])
	if step == 0 { // the row is zero or so short that its int8 form is
		step = 2 * length
	}
	off := half*step*b.sum + half*s.scale*b.root*(length+half*step*b.root) + b.rounding*length*b.length
	if s.norm >= 0 {
		if length == 0 {
			return 0
		}
		off /= length
	}
	return off
}

// ScoreOriginal is the score of the original of row i of p, which must have vectors, for a query, prepared. If the query is a
// prefix, by the axes of the model if it rotates, so is what it is compared with. Buffer has room for two vectors. It uses the
// generic kernels on purpose, so that brute force is the same on every machine.
func ScoreOriginal(snap *snapshot.Snapshot, p *segment.Part, i int, query, buffer []float32) float32 {
	dim := snap.Spec().Dim()
	v := buffer[:dim]
	p.Vector(avx.Generic, i, v)
	if len(query) < dim { // to rotate whole vectors, the query's too, would change nothing but the rounding
		rotated := buffer[dim : 2*dim]
		snap.Model().Rotate(avx.Generic, rotated, v)
		v = rotated[:len(query)]
	}
	if snap.Spec().Metric == schemas.Cosine {
		if norm := mrl.Normalize(avx.Generic, v, v); norm == 0 {
			return 0 // a prefix without a direction
		}
	}
	return avx.Dot(avx.Generic, query, v)
}
