// Package opq is a product quantiser of residuals whose codes can be cut at a level of the ladder.
//
// A vector is rotated and its rotated dimensions are divided among M sub-quantisers, each of which replaces its few
// dimensions by one of 16 codewords: 4 bits. An inner product with a query is then a sum of M numbers that are
// looked up in a table made once for the query (Jégou et al., TPAMI 2011).
//
// Rotation and division are learnt (Ge et al., "Optimized Product Quantization", CVPR 2013): the parametric solution -
// principal axes, given to sub-quantisers so that each gets about the same product of variances - and from there some
// rounds of the non-parametric one, which alternates codebooks with the orthogonal matrix that best maps vectors to
// their decoded form.
//
// What Matryoshka vectors change: the rotation is block-diagonal. It mixes dimensions that belong to one level of the
// ladder only, and sub-quantisers are ordered by level. So the first [Quantizer.Subs] sub-quantisers of a code say
// everything about the prefix of a level and nothing about the dimensions beyond. Levels wider than 256 are rotated in
// several blocks. How many sub-quantisers a block gets is up to its variances, not to its width.
//
// Which codewords stand for a vector is up to who encodes: the nearest ones, as [Quantizer.Encode] has it, or those that least
// change how it scores, as [Quantizer.EncodeAlong] has it.
//
// A code has ceil(M/2) bytes: sub-quantiser 2i is the low and 2i+1 the high nibble of byte i.
package opq

import (
	"fmt"
	"math"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/pca"
)

// Quantizer is a trained rotation with its codebooks. It is immutable and safe for concurrent use.
type Quantizer struct {
	ladder    mrl.Ladder
	layout    *layout
	rotation  []float32 // per block, row-major [width][width]: rotated = rotation * vector
	codebooks []float32 // per sub-quantiser, row-major [16][width]

	rotations []*avx.Panels // per block: its rows as centroids
	nearest   []*avx.Panels // per sub-quantiser: its codewords, biased so that the nearest has the best score
	products  []*avx.Panels // per sub-quantiser: its codewords, unbiased
}

// New makes a quantiser from what [Quantizer.Blocks], [Quantizer.Rotation] and [Quantizer.Codebooks] returned. It checks
// shapes, that values are finite and that rotations keep lengths. The slices are kept and must not be changed.
func New(ladder mrl.Ladder, blocks []int, rotation, codebooks []float32) (*Quantizer, error) {
	l, err := newLayout(ladder, blocks)
	if err != nil {
		return nil, fmt.Errorf("opq: %w", err)
	}
	if len(rotation) != l.rotationLen() || len(codebooks) != l.codebookLen() {
		return nil, fmt.Errorf("opq: rotation of %d and codebooks of %d values, allowed: %d and %d for sub-quantisers %v on ladder %s",
			len(rotation), len(codebooks), l.rotationLen(), l.codebookLen(), blocks, ladder)
	}
	q := &Quantizer{ladder: slices.Clone(ladder), layout: l, rotation: rotation, codebooks: codebooks}
	for i, c := range codebooks {
		if f := float64(c); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("opq: value %d of the codebooks is %v, allowed: finite", i, c)
		}
	}
	at := 0
	for _, b := range l.blocks {
		w := b.width()
		r := rotation[at : at+w*w]
		if err := pca.CheckRotation(r, w); err != nil {
			return nil, fmt.Errorf("opq: dimensions [%d, %d): %w", b.start, b.end, err)
		}
		q.rotations = append(q.rotations, avx.Pack(r, w, w, nil))
		at += w * w
	}
	at = 0
	for _, s := range l.bounds {
		w := s.width()
		book := codebooks[at : at+Codewords*w]
		q.nearest = append(q.nearest, avx.PackNearest(book, Codewords, w))
		q.products = append(q.products, avx.Pack(book, Codewords, w, nil))
		at += Codewords * w
	}
	return q, nil
}

// Dim returns the full width D of a vector.
func (q *Quantizer) Dim() int { return q.ladder.Dim() }

// M returns the number of sub-quantisers.
func (q *Quantizer) M() int { return len(q.layout.bounds) }

// CodeBytes returns the size of a code.
func (q *Quantizer) CodeBytes() int { return (q.M() + 1) / 2 }

// Subs returns how many of the first sub-quantisers see no dimension beyond the first d. For a level of the ladder
// these cover its whole prefix.
func (q *Quantizer) Subs(d int) int { return q.layout.subs(d) }

// Blocks returns the number of sub-quantisers of each block of dimensions that is rotated on its own. The blocks are
// the levels of the ladder, each without the level below. A level that adds w > 256 dimensions is cut into
// n = ceil(w/256) blocks, block p of them beginning 4*floor(floor(w/4)*p/n) dimensions after the level below.
func (q *Quantizer) Blocks() []int {
	var subs []int
	for _, b := range q.layout.blocks {
		subs = append(subs, b.last-b.first)
	}
	return subs
}

// Rotation returns the rotation matrices, [width][width] row-major for each block. It must not be changed.
func (q *Quantizer) Rotation() []float32 { return q.rotation }

// Codebooks returns the codewords of each sub-quantiser, [16][width] row-major. Sub-quantiser s of the n of a block of
// width w codes its rotated dimensions [floor(w*s/n), floor(w*(s+1)/n)). It must not be changed.
func (q *Quantizer) Codebooks() []float32 { return q.codebooks }

// Scratch is working memory of one goroutine. The zero value is ready; it grows to the largest need once.
type Scratch struct {
	rotated []float32
	best    []int32
	score   []float32
	table   []float32 // products of a query and all codewords, then less the least of each sub-quantiser
	mins    []float32 // those
	alongScratch
}

// batch is how many vectors are encoded at once: their rotated form stays in the second-level cache.
const batch = 128

// grow returns a slice of n elements, s if it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Rotate sets dst to the rotated vector. Both have Dim() values and do not overlap.
func (q *Quantizer) Rotate(level avx.Level, dst, src []float32) {
	q.rotate(level, dst, src, len(q.layout.blocks))
}

func (q *Quantizer) rotate(level avx.Level, dst, src []float32, blocks int) {
	for i, b := range q.layout.blocks[:blocks] {
		avx.Scores(level, q.rotations[i], src[b.start:b.end], dst[b.start:b.end])
	}
}

// Encode writes the nearest code of each of n residuals [n][Dim()] to codes [n][CodeBytes()]. The code of a residual does not
// depend on its neighbours.
func (q *Quantizer) Encode(level avx.Level, residuals []float32, n int, codes []byte, s *Scratch) {
	dim, size := q.Dim(), q.CodeBytes()
	s.rotated = grow(s.rotated, batch*dim)
	s.best, s.score = grow(s.best, batch), grow(s.score, batch)
	for start := 0; start < n; start += batch {
		rows := min(batch, n-start)
		q.RotateRows(level, s.rotated, residuals[start*dim:], rows)
		out := codes[start*size:][:rows*size]
		clear(out)
		for sub, b := range q.layout.bounds {
			avx.Assign(level, q.nearest[sub], s.rotated[b.start:], rows, dim, s.best, s.score)
			shift := Bits * (sub % 2)
			for i, c := range s.best[:rows] {
				out[i*size+sub/2] |= byte(c) << shift
			}
		}
	}
}

// Decode sets dst to the residual that code stands for. dst has Dim() values. It is exact to rounding and not fast.
func (q *Quantizer) Decode(dst []float32, code []byte) {
	clear(dst[:q.Dim()])
	book, at := 0, 0
	for _, b := range q.layout.blocks {
		w := b.width()
		for s := b.first; s < b.last; s++ {
			bounds := q.layout.bounds[s]
			word := q.codebooks[book+int(code[s/2]>>(Bits*(s%2))&(Codewords-1))*bounds.width():][:bounds.width()]
			for i, v := range word { // the inverse of a rotation is its transpose
				row := q.rotation[at+(bounds.start-b.start+i)*w:][:w]
				for d, r := range row {
					dst[b.start+d] += v * r
				}
			}
			book += Codewords * bounds.width()
		}
		at += w * w
	}
}

// LUT is the lookup table of a query: the inner product of the query's prefix and a residual r with code c is about
// Bias + Scale * sum over s < Subs of Table[16*s + c[s]].
type LUT struct {
	Table []byte // [Subs][16], larger is better, then zeros for one more if Subs is odd, as [avx.ScanPQ4] wants it
	Subs  int
	Scale float32 // 0 when all codes have the same inner product
	Bias  float32
}

// MaxError bounds how far the sum of the table is off the inner product of the query's prefix and the decoded residual:
// half a step for each sub-quantiser, besides the rounding of float32 arithmetic.
func (t *LUT) MaxError() float32 { return float32(t.Subs) * t.Scale / 2 }

// LUT makes the table of a query of Dim() finite values for the first dims dimensions, dims being a level of the
// ladder. It reuses the memory of lut.
func (q *Quantizer) LUT(level avx.Level, query []float32, dims int, lut *LUT, s *Scratch) {
	blocks := 0
	for _, b := range q.layout.blocks {
		if b.end <= dims {
			blocks++
		}
	}
	subs := q.Subs(dims)
	s.rotated = grow(s.rotated, batch*q.Dim())
	s.table = grow(s.table, Codewords*subs)
	q.rotate(level, s.rotated, query, blocks)

	for sub, b := range q.layout.bounds[:subs] {
		avx.Scores(level, q.products[sub], s.rotated[b.start:b.end], s.table[Codewords*sub:])
	}
	s.mins = grow(s.mins, subs)
	widest := avx.SubtractMins(level, s.table, s.mins)
	var bias float64
	for _, low := range s.mins {
		bias += float64(low)
	}

	// One step for all sub-quantisers, since their bytes are summed. 255 * MaxSubs fits the 16 bits of a sum.
	lut.Table = grow(lut.Table, Codewords*(subs+subs%2))
	lut.Subs, lut.Scale, lut.Bias = subs, widest/255, float32(bias)
	var inverse float32
	if lut.Scale > 0 {
		inverse = 1 / lut.Scale
	}
	if math.IsInf(float64(inverse), 0) { // a span of denormals is no span
		lut.Scale, inverse = 0, 0
	}
	avx.QuantizeU8(level, lut.Table, s.table, inverse)
	clear(lut.Table[len(s.table):])
}
