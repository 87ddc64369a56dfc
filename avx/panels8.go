package avx

import "math"

// panelI8Width is the number of centroids in a panel of int8: four AVX2 registers of int32 sums.
const panelI8Width = 32

// QueryOffset is what is added to the values of a query for [ScoresI8], so that they are not
// negative; MaxQueryI8 is how large they may be before.
const (
	QueryOffset = 64
	MaxQueryI8  = 63
)

// PanelsI8 are int8 centroids in the layout of the [ScoresI8] kernel: panels of 32 centroids,
// four dimensions of one beside those of the next.
//
//	centroids [ceil(n/32)][ceil(dim/4)][32][4]int8   zero beyond n and dim
//	sums      [ceil(n/32)][32]int32                  -QueryOffset times the sum of a centroid
//
// They are immutable after [PackI8] and safe for concurrent use.
type PanelsI8 struct {
	n, dim    int // dim is a multiple of 4
	centroids []int8
	sums      []int32
}

// PackI8 copies the first dim values of n rows of int8, stride apart, to panels. Values are
// from -127 to 127.
func PackI8(rows []int8, n, dim, stride int) *PanelsI8 {
	rows = window(rows, n, stride, dim)
	fours, panels := (dim+3)/4, (n+panelI8Width-1)/panelI8Width
	p := &PanelsI8{n: n, dim: 4 * fours, centroids: make([]int8, panels*fours*4*panelI8Width), sums: make([]int32, panels*panelI8Width)}
	for j := range n {
		panel := p.centroids[j/panelI8Width*fours*4*panelI8Width:]
		for d, v := range rows[j*stride:][:dim] {
			panel[(d/4*panelI8Width+j%panelI8Width)*4+d%4] = v
			p.sums[j] -= QueryOffset * int32(v)
		}
	}
	return p
}

// Dim returns the number of values of a query: the width packed, rounded up to a multiple of 4.
func (p *PanelsI8) Dim() int { return p.dim }

// QuantizeQueryI8 sets dst to the query of [ScoresI8]: q scaled so that its largest magnitude is
// MaxQueryI8, rounded, QueryOffset added. dst has p.Dim() values, of which those that q lacks
// are QueryOffset.
func QuantizeQueryI8(dst []uint8, q []int16) {
	top := 1
	for _, x := range q {
		top = max(top, int(x), -int(x))
	}
	factor := MaxQueryI8 / float64(top)
	for i, x := range q {
		dst[i] = uint8(QueryOffset + int(math.RoundToEven(float64(x)*factor)))
	}
	for i := len(q); i < len(dst); i++ {
		dst[i] = QueryOffset
	}
}

// WeightedI8 are centroids of int8 with a weight and a bias each, for [AssignI8].
//
//	weight, bias [ceil(n/32)][32]float32   0 and -Inf beyond n: padding never wins
//
// They are immutable after [PackWeightedI8] and safe for concurrent use.
type WeightedI8 struct {
	panels       *PanelsI8
	weight, bias []float32
}

// PackWeightedI8 is [PackI8] with weights and biases, of which those of all rows must be given. A nil bias is all zeros.
func PackWeightedI8(rows []int8, n, dim, stride int, weight, bias []float32) *WeightedI8 {
	p := &WeightedI8{panels: PackI8(rows, n, dim, stride)}
	padded := len(p.panels.sums)
	p.weight, p.bias = make([]float32, padded), make([]float32, padded)
	copy(p.weight, weight[:n:len(weight)])
	if bias != nil {
		copy(p.bias, bias[:n:len(bias)])
	}
	for j := n; j < padded; j++ {
		p.bias[j] = float32(math.Inf(-1))
	}
	return p
}

// N returns the number of centroids.
func (p *WeightedI8) N() int { return p.panels.n }

// Padded returns their number with padding.
func (p *WeightedI8) Padded() int { return len(p.bias) }

// Dim returns the number of values of a row, see [PanelsI8.Dim].
func (p *WeightedI8) Dim() int { return p.panels.dim }
