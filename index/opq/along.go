package opq

import (
	"math"

	"github.com/adastream/adastream/avx"
)

// Batch is how many vectors [Quantizer.EncodeAlong] takes at once: what they and their residuals have in common with all
// codewords stays in the second-level cache, 8 KiB for each sub-quantiser.
const Batch = 48

// alongShare is eta - 1 of the anisotropic loss: by how much an error along a vector is worse than one at a right angle to
// it. See docs/adr/0023.
const alongShare = 1

// RotateRows sets row i of dst to the rotated row i of n vectors [n][Dim()]: what [Quantizer.Rotate] does to one.
func (q *Quantizer) RotateRows(level avx.Level, dst, vectors []float32, n int) {
	dim := q.Dim()
	for i, b := range q.layout.blocks {
		avx.ScoresRows(level, q.rotations[i], vectors[b.start:], n, dim, dst[b.start:], dim)
	}
}

// Residuals are what is to be encoded of some vectors, [n][Dim()] rotated, and room for their codes, [n][CodeBytes()].
type Residuals struct {
	Values []float32
	Codes  []byte
}

// alongScratch is the working memory of EncodeAlong. All but off is of each sub-quantiser and vector.
type alongScratch struct {
	along, near []float32 // [M][Batch][16] products of vector and codewords, and how near those are to the residual
	part        []float32 // [M][Batch] the product of the one that is picked
	picked      []uint8   // [M][Batch] which it is
	off         [Batch]float32
}

// EncodeAlong writes codes of residuals of n vectors, at most Batch, each of which may have several. An error along the
// vector makes it look better or worse than it is to all queries for which it matters, since they point along it too; one
// at a right angle hardly does. So a code is not the nearest to the residual, but has about the least
//
//	|e|² + (eta - 1) <e, x>² / |x|²        e = residual - code
//
// which is the score-aware loss of Guo et al., "Accelerating Large-Scale Inference with Anisotropic Vector Quantization", ICML
// 2020: a round of coordinate descent from the nearest code, so never more than that one has. The vectors are rotated,
// [n][Dim()]. The code of a residual does not depend on its neighbours.
func (q *Quantizer) EncodeAlong(level avx.Level, vectors []float32, n int, s *Scratch, residuals ...Residuals) {
	const words = Batch * Codewords
	dim, m, a := q.Dim(), q.M(), &s.alongScratch
	a.along, a.near, a.part, a.picked = grow(a.along, m*words), grow(a.near, m*words), grow(a.part, m*Batch), grow(a.picked, m*Batch)
	var nearest, weight [Batch]float32 // the nearest code is that without weights
	for i := range n {
		weight[i] = alongWeight(avx.SumSquares(level, vectors[i*dim:][:dim]))
	}
	for sub, b := range q.layout.bounds {
		avx.ScoresRows(level, q.products[sub], vectors[b.start:], n, dim, a.along[sub*words:], Codewords)
	}
	for i, w := range weight[:n] {
		for sub := 0; w == 0 && sub < m; sub++ { // the products may be infinite
			clear(a.along[sub*words+i*Codewords:][:Codewords])
		}
	}
	for _, r := range residuals {
		clear(a.part)
		clear(a.off[:])
		for i := range n {
			if weight[i] > 0 {
				a.off[i] = avx.Dot(level, vectors[i*dim:][:dim], r.Values[i*dim:][:dim])
			}
		}
		for sub, b := range q.layout.bounds {
			avx.ScoresRows(level, q.nearest[sub], r.Values[b.start:], n, dim, a.near[sub*words:], Codewords)
			a.pick(level, sub, nearest[:n])
		}
		for sub := range q.layout.bounds {
			a.pick(level, sub, weight[:n])
		}
		q.pack(r.Codes, n, a.picked)
	}
}

// pick chooses the codewords of a sub-quantiser.
func (a *alongScratch) pick(level avx.Level, sub int, weight []float32) {
	const words = Batch * Codewords
	n := len(weight)
	avx.PickAlong(level, a.near[sub*words:], a.along[sub*words:], weight, a.part[sub*Batch:], a.off[:n], a.picked[sub*Batch:][:n])
}

// pack writes the codes of n vectors, given the codewords of each sub-quantiser.
func (q *Quantizer) pack(codes []byte, n int, picked []uint8) {
	size := q.CodeBytes()
	clear(codes[:n*size])
	for sub := range q.layout.bounds {
		shift := Bits * (sub % 2)
		for i, c := range picked[sub*Batch:][:n] {
			codes[i*size+sub/2] |= c << shift
		}
	}
}

// alongWeight is the weight of a squared error along a vector of that squared length, where the nearness of a codeword is
// half of its squared error, but for the sign. It is 0 if the vector has no direction, or is too long for float32.
func alongWeight(square float32) float32 {
	if w := alongShare / 2. / square; !math.IsInf(float64(w), 0) {
		return w
	}
	return 0
}
