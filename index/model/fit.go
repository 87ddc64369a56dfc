package model

import (
	"math/rand/v2"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Fit measures how well the model describes n vectors [n][Dim()], which should not be the ones that it was trained on: it
// is closer to those. No vectors have no errors.
func (m *Model) Fit(level avx.Level, vectors []float32, n int, s *Scratch) schemas.Fit {
	dim, levels := m.Dim(), len(m.ladder)
	f := schemas.Fit{Rows: n, Coarse: make([]float64, levels), Codes: make([]float64, levels)}
	if n == 0 {
		return f
	}
	squares := make([]float64, levels)
	lists, code := make([]int32, n), make([]byte, m.CodeBytes())
	m.Assign(level, vectors, n, lists, nil, s)
	residual, decoded := make([]float32, dim), make([]float32, dim)
	for i := range n {
		x := vectors[i*dim:][:dim]
		m.residual(level, residual, x, lists[i])
		m.quantizer.Encode(level, residual, 1, code, &s.opq)
		m.quantizer.Decode(decoded, code)
		var square, coarse, codes float64
		d := 0
		for l, end := range m.ladder {
			for ; d < end; d++ {
				r, e := float64(residual[d]), float64(residual[d])-float64(decoded[d])
				square += float64(x[d]) * float64(x[d])
				coarse += r * r
				codes += e * e
			}
			squares[l] += square
			f.Coarse[l] += coarse
			f.Codes[l] += codes
		}
	}
	for l, square := range squares {
		f.Coarse[l] /= max(square, tiny)
		f.Codes[l] /= max(square, tiny)
	}
	f.Chance = m.chance(level, vectors, n, s)
	return f
}

// chance is what the centroids leave of the first level of vectors without meaning: the same ones with the values of each
// level in any order.
func (m *Model) chance(level avx.Level, vectors []float32, n int, s *Scratch) float64 {
	dim := m.Dim()
	shuffled, lists := slices.Clone(vectors[:n*dim]), make([]int32, n)
	rng := rand.New(rand.NewPCG(1, 2)) // the same rows fit the same way
	for i := range n {
		start := 0
		for _, end := range m.ladder {
			x := shuffled[i*dim+start : i*dim+end]
			rng.Shuffle(len(x), func(a, b int) { x[a], x[b] = x[b], x[a] })
			start = end
		}
	}
	m.Assign(level, shuffled, n, lists, nil, s)
	return m.FirstLevel(level, shuffled, lists)
}

// FirstLevel is what centroids leave of the first level of vectors [n][Dim()] in the lists given, as in [Model.Fit].
func (m *Model) FirstLevel(level avx.Level, vectors []float32, lists []int32) float64 {
	dim, d := m.Dim(), m.ladder[0]
	residual := make([]float32, d)
	var left, square float64
	for i, list := range lists {
		x, c := vectors[i*dim:][:d], m.Centroid(int(list))[:d]
		avx.Sub(level, residual, x, c)
		left += float64(avx.SumSquares(level, residual))
		square += float64(avx.SumSquares(level, x))
	}
	return left / max(square, tiny)
}

// tiny keeps vectors that are zero from dividing by it.
const tiny = 1e-30
