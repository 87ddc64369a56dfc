package avx

import "math"

// PanelWidth is the number of centroids in a panel: two AVX2 registers of float32.
const PanelWidth = 16

// Panels are centroids in the layout of the [Assign] and [Scores] kernels: panels of 16
// centroids, dimension by dimension, so that a vector load holds one dimension of
// neighbouring centroids and no score needs a horizontal sum.
//
//	centroids [ceil(n/16)][dim][16]float32   zero beyond n
//	bias      [ceil(n/16)][16]float32        -Inf beyond n: padding never wins
//
// Panels are immutable after [Pack] and safe for concurrent use.
type Panels struct {
	n, dim    int
	centroids []float32
	bias      []float32
}

// Pack copies n row-major centroids of dim floats, and their biases, to panels. A nil bias
// is all zeros. With bias = -|c|²/2 the largest score belongs to the nearest centroid.
func Pack(centroids []float32, n, dim int, bias []float32) *Panels {
	centroids = window(centroids, n, dim, dim)
	padded := (n + PanelWidth - 1) / PanelWidth * PanelWidth
	p := &Panels{n: n, dim: dim, centroids: make([]float32, padded*dim), bias: make([]float32, padded)}
	for j := range n {
		panel := p.centroids[j/PanelWidth*PanelWidth*dim:]
		for k, v := range centroids[j*dim:][:dim] {
			panel[k*PanelWidth+j%PanelWidth] = v
		}
	}
	if bias != nil {
		copy(p.bias, bias[:n:len(bias)])
	}
	for j := n; j < padded; j++ {
		p.bias[j] = float32(math.Inf(-1))
	}
	return p
}

// PackNearest is [Pack] with the biases with which the best score is that of the nearest
// centroid: <row, c> - |c|²/2. They are the same on all machines.
func PackNearest(centroids []float32, n, dim int) *Panels {
	bias := make([]float32, n)
	for j := range bias {
		bias[j] = -SumSquares(Generic, centroids[j*dim:][:dim]) / 2
	}
	return Pack(centroids, n, dim, bias)
}

// N returns the number of centroids.
func (p *Panels) N() int { return p.n }

// Dim returns the number of floats of a centroid.
func (p *Panels) Dim() int { return p.dim }
