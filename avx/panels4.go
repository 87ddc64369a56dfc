package avx

import "math"

// panelI4Width is the number of centroids in a panel of nibbles: four AVX2 registers of int32 sums.
const panelI4Width = 32

// PanelsI4 are centroids of 4 bits a dimension in the layout of the [ScoresI4] kernel: panels of 32 centroids, eight dimensions of
// one beside those of the next. A nibble is the value plus 8; of a byte the low one is of dimension d, the high one of d+4.
//
//	nibbles [ceil(n/32)][ceil(dim/8)][32][4]uint8   anything beyond n, 8 beyond dim
//
// They are immutable after [PackI4] and safe for concurrent use.
type PanelsI4 struct {
	n, dim  int // dim is a multiple of 8
	nibbles []uint8
}

// MaxI4 is how large values of centroids of [PackI4] may be, MaxQueryI4 those of a query of [ScoresI4].
const (
	MaxI4      = 7
	MaxQueryI4 = 127
)

// PackI4 copies n rows of dim values each to panels.
func PackI4(rows []int8, n, dim int) *PanelsI4 {
	rows = window(rows, n, dim, dim)
	eights := (dim + 7) / 8
	p := &PanelsI4{n: n, dim: 8 * eights, nibbles: make([]uint8, (n+panelI4Width-1)/panelI4Width*eights*4*panelI4Width)}
	for i := range p.nibbles {
		p.nibbles[i] = 0x88
	}
	for j := range n {
		for d, v := range rows[j*dim:][:dim] {
			at, shift := p.at(j, d)
			p.nibbles[at] += uint8(v) << shift
		}
	}
	return p
}

// at is the byte and the shift of a nibble.
func (p *PanelsI4) at(j, d int) (at, shift int) {
	return (j/panelI4Width*(p.dim/8)+d/8)*4*panelI4Width + j%panelI4Width*4 + d%4, d % 8 / 4 * 4
}

// Dim returns the number of values of a query: the width packed, rounded up to a multiple of 8.
func (p *PanelsI4) Dim() int { return p.dim }

// QuantizeQueryI4 sets dst to the query of [ScoresI4]: q scaled so that its largest magnitude is MaxQueryI4, rounded. dst has
// p.Dim() values, of which those that q lacks are 0.
func QuantizeQueryI4(dst []int8, q []int16) {
	top := 1
	for _, x := range q {
		top = max(top, int(x), -int(x))
	}
	factor := MaxQueryI4 / float64(top)
	for i, x := range q {
		dst[i] = int8(math.RoundToEven(float64(x) * factor))
	}
	clear(dst[len(q):])
}
