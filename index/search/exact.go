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

// exactQueries is how many queries are compared with a block of rows while it is in cache. Each may have some 64 KiB of contenders, or up
// to mostContenders where many rows are alike.
const exactQueries = 64

// scoreAll offers all rows that count to the query at hand.
func (s *Searcher) scoreAll(ctx context.Context) error { return s.scoreAllOf(ctx, []*query{s.query}) }

// scoreAllOf offers all rows that count to some queries, block after block, so that each is read once for all of them.
func (s *Searcher) scoreAllOf(ctx context.Context, queries []*query) error {
	step := scoreRows
	if s.among != nil { // of which few may count
		step = amongRows
	}
	for part, p := range s.parts {
		for start := 0; start < p.N; start += step {
			end := min(start+step, p.N)
			s.aheadOfBlock(p, start)
			for _, s.query = range queries {
				if err := s.score(ctx, part, start, end); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// contender is a row whose original may be among the best.
type contender struct {
	part, row int
	most      float32 // that its score can be
}

const (
	// leastContenders are pruned when there are so many, or twice as many as the last time were left.
	leastContenders = 4096
	// mostContenders may be left if their originals are at hand: of more rows that are as good as one another these decide at once.
	mostContenders = 2 * leastContenders
	// mostRemoteContenders may be left otherwise, for hits that are not many. No more than MostRemote are brought at the end, but rows that
	// are still to come may do away with most of them until then.
	mostRemoteContenders = 4 * mostContenders
)

// contendAll is contend for the live ones of the rows from start on, whose inner products with the query are dots. Nearly all are too far
// below the k-th best lower bound, and what it takes to see that is all that is done with them.
func (s *Searcher) contendAll(part, start int, dots []int32) {
	p, dead, scale, b := s.parts[part], s.snap.Dead(part), s.scale, &s.bound
	levels := len(s.snap.Spec().Ladder)
	norms := p.Norms[start*levels+s.lengthLevel():]
	scales := p.Scales[start:][:len(dots)]
	floor := float64(s.top.Floor())
	for i, dot := range dots {
		length, step := float64(norms[i*levels]), float64(scales[i])
		least := floor
		if s.norm >= 0 {
			least *= length
		}
		// A row whose int8 form is zero has no step, and no floor yet is -Inf, also if it is multiplied by nothing: then this is false.
		if step > 0 && step*(float64(dot)*scale+b.perStep)+b.perLength*length < least || dead.Has(start+i) {
			continue
		}
		s.offer(part, start+i, s.scoreOf(p, start+i, dot))
		floor = float64(s.top.Floor())
	}
}

// contend makes a row a contender if its original can be among the best. Its int8 row says what the score of the original is but
// for an error that is bounded, so only rows whose score may reach the k-th best lower bound can be in the answer.
func (s *Searcher) contend(part, row int, score float32) {
	off := s.off(s.parts[part], row)
	if float64(score)+off < float64(s.top.Floor()) { // as of nearly all rows of an exact search; what follows costs more
		return
	}
	// Rounded away from the score, since float32 may round towards it.
	most := math.Nextafter32(float32(float64(score)+off), math.MaxFloat32)
	if most < s.top.Floor() {
		return
	}
	s.keep(part, row, math.Nextafter32(float32(float64(score)-off), -math.MaxFloat32))
	s.maybe = append(s.maybe, contender{part, row, most})
	if len(s.maybe) >= s.limit {
		s.thin()
	}
}

// thin leaves fewer contenders, if it can.
func (s *Searcher) thin() {
	s.prune()
	switch {
	case s.snap.HasVectors():
		if len(s.maybe) > mostContenders/2 {
			s.settle()
			s.top.Reset(s.parts, s.top.k) // the best of the lower bounds were those of contenders
			for _, h := range s.settled.hits {
				s.top.Push(h)
			}
		}
	case len(s.maybe) > max(mostRemoteContenders, 8*s.top.k):
		s.top.Reset(s.parts, s.top.k)
		s.byInt8()
		s.usage.Many++
		s.maybe, s.many = s.maybe[:0], true
	}
	s.limit = max(leastContenders, 2*len(s.maybe))
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

// best is the answer, the best first, valid until the next call of restart. It reads few of the originals.
func (s *Searcher) best() []Hit {
	if !s.originals || s.many {
		return s.top.Sort()
	}
	s.prune()
	if s.lacking {
		s.top.Reset(s.parts, s.top.k)
		s.byInt8()
		s.forget()
		return s.top.Sort()
	}
	s.settle()
	s.forget()
	return s.settled.Sort()
}

// settle keeps the best of the contenders by their originals, and leaves none.
func (s *Searcher) settle() {
	dim := s.snap.Spec().Dim()
	s.original = resize(s.original, 2*dim)
	s.aheadOfOriginals()
	query := s.given
	if len(s.vector) < dim {
		query = s.vector
	}
	for i, c := range s.maybe {
		p := s.parts[c.part]
		if len(s.brought) > 0 && s.brought[i] != nil {
			copy(s.original, s.brought[i])
		} else {
			p.Vector(s.level, c.row, s.original)
		}
		s.settled.Push(Hit{Part: c.part, Row: c.row, Score: scoreVector(s.snap, query, s.original)})
		s.usage.Bytes += int64(p.VectorBytes(len(s.vector)))
	}
	s.usage.Originals += len(s.maybe)
	s.maybe = s.maybe[:0]
}

// bound is by how much the score of an int8 row may differ from that of its original: so much for each unit of the row's step, and so much
// for each of its length. Each of its values is off by half a step at most, and each of the query's.
type bound struct{ perStep, perLength float64 }

// Rounding bounds what float32 does to the inner product of two vectors of so many values that may have been scaled to unit
// length, as a share of the product of their lengths.
func Rounding(dims int) float64 { return float64(dims+16) * 0x1p-23 }

func (s *Searcher) newBound() bound {
	const half = 0.5001 // steps are rounded themselves
	root, rounding := math.Sqrt(float64(len(s.vector))), Rounding(len(s.vector))
	if s.snap.Model().Axes() != "" { // each value of both vectors is an inner product with an axis
		dim := s.snap.Spec().Dim()
		rounding += math.Sqrt(float64(dim)) * Rounding(dim)
	}
	sum, squares := 0.0, 0.0
	for _, x := range s.vector {
		sum += math.Abs(float64(x))
		squares += float64(x) * float64(x)
	}
	const above = 1 + 1e-6 // so that it holds in whatever order it is added up
	return bound{
		perStep:   above * (half*sum + half*half*s.scale*root*root),
		perLength: above * (half*s.scale*root + (rounding+0x1p-23)*math.Sqrt(squares)), // scores are rounded to float32
	}
}

// off bounds by how much the score of an int8 row differs from that of its original.
func (s *Searcher) off(p *segment.Part, row int) float64 {
	length := float64(p.Norms[row*len(s.snap.Spec().Ladder)+s.lengthLevel()])
	off := stepOf(p, row, length)*s.bound.perStep + length*s.bound.perLength
	if s.norm >= 0 {
		if length == 0 {
			return 0
		}
		off /= length
	}
	return off
}

// lengthLevel is the level of the ladder at which norms are lengths of what is compared.
func (s *Searcher) lengthLevel() int {
	if s.norm >= 0 {
		return s.norm
	}
	return len(s.snap.Spec().Ladder) - 1
}

// stepOf is the step of an int8 row, as far as it bounds how much values are off. Length is that of what is compared.
func stepOf(p *segment.Part, row int, length float64) float64 {
	if step := float64(p.Scales[row]); step != 0 {
		return step
	}
	return 2 * length // the row is zero or so short that its int8 form is
}

// ScoreOriginal is the score of the original of row i of p, which must have vectors, for a query, prepared. If the query is a
// prefix, by the axes of the model if it rotates, so is what it is compared with. Buffer has room for two vectors. Level
// is for what is exact: sums are those of the generic kernels, so that brute force is the same on every machine.
func ScoreOriginal(level avx.Level, snap *snapshot.Snapshot, p *segment.Part, i int, query, buffer []float32) float32 {
	p.Vector(level, i, buffer)
	return scoreVector(snap, query, buffer)
}

// scoreVector is the score of the original that the buffer begins with. It overwrites it.
func scoreVector(snap *snapshot.Snapshot, query, buffer []float32) float32 {
	dim := snap.Spec().Dim()
	v := buffer[:dim]
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
