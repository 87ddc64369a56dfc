package mrl

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/schemas"
)

func TestQuantizeQuery_cannotOverflow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name string
		dim  int
		x    func(i int) float32
		err  float64 // largest error of a value, relative to the largest value
	}{
		{"normal", 256, func(int) float32 { return float32(r.NormFloat64()) }, 1.0 / (2 * math.MaxInt16)},
		{"oneValue", 64, func(i int) float32 { return float32(i / 63) }, 0},
		{"tiny", 64, func(i int) float32 { return math.SmallestNonzeroFloat32 * float32(i) }, 1.0 / (2 * math.MaxInt16)},
		{"huge", 64, func(i int) float32 { return 1e15 * float32(i) }, 1.0 / (2 * math.MaxInt16)},
		{"wideAndFlat", schemas.MaxDim, func(i int) float32 { return float32(1 - 2*(i%2)) }, 1.0 / (2 * 2062)},
		{"wideAndNormal", schemas.MaxDim, func(int) float32 { return float32(r.NormFloat64()) }, 1.0 / (2 * 7000)},
		{"zero", 8, func(int) float32 { return 0 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q, quant := make([]float32, tt.dim), make([]int16, tt.dim)
			largest := 0.0
			for i := range q {
				q[i] = tt.x(i)
				largest = max(largest, math.Abs(float64(q[i])))
			}
			scale := QuantizeQuery(quant, q)
			sum := 0
			for i, x := range quant {
				sum += max(int(x), -int(x))
				back := float64(float64(x) * scale) // rounded: arm64 would fuse the product with the difference
				if e := math.Abs(float64(q[i]) - back); e > tt.err*largest*1.001 {
					t.Fatalf("value %d is %v, quantised to %v", i, q[i], back)
				}
			}
			if sum*127 > math.MaxInt32 {
				t.Errorf("sum of absolute values %d overflows with rows of 127", sum)
			}
		})
	}
}
