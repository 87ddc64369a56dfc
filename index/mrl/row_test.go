package mrl

import (
	"math"
	"testing"

	"github.com/adastream/adastream/avx"
)

// The largest value is 127 steps, others are off by half a step at most, and what has no step is zero.
func TestQuantizeRow(t *testing.T) {
	for _, level := range avx.Levels() {
		for _, v := range [][]float32{{0.5, -2, 1, 0, 1.99}, {3e-30, -1e-31}, {-1e15, 2}} {
			dst := make([]int8, len(v))
			scale := QuantizeRow(level, dst, v)
			for i, x := range v {
				if off := math.Abs(float64(x) - float64(scale)*float64(dst[i])); off > float64(scale)*0.50001 {
					t.Errorf("%s: %v is %d steps of %v", level, x, dst[i], scale)
				}
			}
		}
		for _, v := range [][]float32{{}, {0, 0, 0}, {1e-40, 0}} {
			dst := []int8{1, 2, 3}[:len(v)]
			if scale := QuantizeRow(level, dst, v); scale != 0 {
				t.Errorf("%s: %v has scale %v", level, v, scale)
			}
			for _, x := range dst {
				if x != 0 {
					t.Errorf("%s: %v becomes %v", level, v, dst)
				}
			}
		}
	}
}
