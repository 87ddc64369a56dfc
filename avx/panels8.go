package avx

import "math"

// panelI8Width is the number of centroids in a panel of int8: four AVX2 registers of int32 sums.
const panelI8Width = 32

// QueryOffset is what is added to the values of a row for [AssignI8], so that they are not
// negative; MaxQueryI8 is how large they may be before.
const (
	QueryOffset = 64
	MaxQueryI8  = 63
)

// panelsI8 are int8 centroids in the layout of the [AssignI8] kernel: panels of 32 centroids,
// four dimensions of one beside those of the next.
//
//	centroids [ceil(n/32)][ceil(dim/4)][32][4]int8   zero beyond n and dim
//	sums      [ceil(n/32)][32]int32                  -QueryOffset times the sum of a centroid
type panelsI8 struct {
	n, dim    int // dim is a multiple of 4
	centroids []int8
	sums      []int32
}

// packI8 copies the first dim values of n rows of int8, stride apart, to panels. Values are
// from -127 to 127.
func packI8(rows []int8, n, dim, stride int) *panelsI8 {
	rows = window(rows, n, stride, dim)
	fours, panels := (dim+3)/4, (n+panelI8Width-1)/panelI8Width
	p := &panelsI8{n: n, dim: 4 * fours, centroids: make([]int8, panels*fours*4*panelI8Width), sums: make([]int32, panels*panelI8Width)}
	for j := range n {
		panel := p.centroids[j/panelI8Width*fours*4*panelI8Width:]
		for d, v := range rows[j*stride:][:dim] {
			panel[(d/4*panelI8Width+j%panelI8Width)*4+d%4] = v
			p.sums[j] -= QueryOffset * int32(v)
		}
	}
	return p
}

// Some kernels of [AssignI8] add up in 16 bits. For that a row and a centroid must not be too long: of each span of SpanI8 dimensions
// they take those of which the number divided by four leaves 0 or 1, and those of which it leaves 2 or 3. The squares of
// such a half are at most MaxSpanRowI8 of a row, MaxSpanCentroidI8 of a centroid: then their product is less than 2^15 (Cauchy and Schwarz).
const (
	SpanI8            = 64
	MaxSpanRowI8      = 1 << 14
	MaxSpanCentroidI8 = 1<<16 - 1
)

// LongestSpanI8 returns the largest sum of squares of half a span of a row.
func LongestSpanI8(row []int8) int {
	longest := int32(0)
	for len(row) > 0 {
		span := row[:min(SpanI8, len(row))]
		row = row[len(span):]
		var low, high int32
		for len(span) >= 4 {
			x := (*[4]int8)(span)
			low += int32(x[0])*int32(x[0]) + int32(x[1])*int32(x[1])
			high += int32(x[2])*int32(x[2]) + int32(x[3])*int32(x[3])
			span = span[4:]
		}
		for d, v := range span {
			if d < 2 {
				low += int32(v) * int32(v)
			} else {
				high += int32(v) * int32(v)
			}
		}
		longest = max(longest, low, high)
	}
	return int(longest)
}

// WeightedI8 are centroids of int8 with a weight and a bias each, for [AssignI8].
//
//	weight, bias [ceil(n/32)][32]float32              0 and -Inf beyond n: padding never wins
//	halves       [ceil(n/32)][ceil(dim/64)][32][2]int16   -QueryOffset times the sums of the halves of spans, wrapped around
//
// They are immutable after [PackWeightedI8] and safe for concurrent use.
type WeightedI8 struct {
	panels       *panelsI8
	weight, bias []float32
	halves       []int16
}

// PackWeightedI8 makes panels of the first dim values of n rows of int8, stride apart, with weights and biases, of which those
// of all rows must be given. A nil bias is all zeros. Rows are no longer than MaxSpanCentroidI8 says.
func PackWeightedI8(rows []int8, n, dim, stride int, weight, bias []float32) *WeightedI8 {
	p := &WeightedI8{panels: packI8(rows, n, dim, stride)}
	padded := len(p.panels.sums)
	p.weight, p.bias = make([]float32, padded), make([]float32, padded)
	copy(p.weight, weight[:n:len(weight)])
	if bias != nil {
		copy(p.bias, bias[:n:len(bias)])
	}
	for j := n; j < padded; j++ {
		p.bias[j] = float32(math.Inf(-1))
	}
	spans := p.spans()
	p.halves = make([]int16, padded*spans*2)
	for j := range n {
		row := rows[j*stride:][:dim]
		if LongestSpanI8(row) > MaxSpanCentroidI8 {
			panic("avx: PackWeightedI8: a row is too long")
		}
		for d, v := range row {
			p.halves[((j/panelI8Width*spans+d/SpanI8)*panelI8Width+j%panelI8Width)*2+d%4/2] -= QueryOffset * int16(v)
		}
	}
	return p
}

// spans returns how many spans a row has.
func (p *WeightedI8) spans() int { return (p.panels.dim + SpanI8 - 1) / SpanI8 }

// N returns the number of centroids.
func (p *WeightedI8) N() int { return p.panels.n }

// Padded returns their number with padding.
func (p *WeightedI8) Padded() int { return len(p.bias) }

// Dim returns the number of values of a row, rounded up to a multiple of 4.
func (p *WeightedI8) Dim() int { return p.panels.dim }
