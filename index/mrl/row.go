package mrl

import (
	"math"

	"github.com/adastream/adastream/avx"
)

// QuantizeRow sets dst to v / scale, rounded to int8, with the smallest scale that lets the largest value fit: the int8 row
// that queries are compared with. All levels give the same.
func QuantizeRow(level avx.Level, dst []int8, v []float32) (scale float32) {
	return QuantizeTo(level, 127, dst, v)
}

// QuantizeTo is [QuantizeRow] with values of at most a magnitude, 127 or less.
func QuantizeTo(level avx.Level, most float32, dst []int8, v []float32) (scale float32) {
	largest := avx.MaxAbs(level, v)
	inverse := most / largest
	if math.IsInf(float64(inverse), 0) { // zero, or so short that its scores are
		clear(dst)
		return 0
	}
	avx.QuantizeI8(level, dst, v, inverse)
	return largest / most
}
