package mrl

import "math"

// maxQuerySum is the largest sum of absolute int16 values whose inner product with int8 values, which are at most 127,
// fits an int32 whatever their signs.
const maxQuerySum = math.MaxInt32 / 127

// QuantizeQuery sets dst to q / scale, rounded to int16, with the smallest scale for which [avx.DotI8] cannot overflow. The
// error is at most half a scale for each dimension: 2^-16 of the largest value, unless the dimensions are thousands of
// values that are all large.
func QuantizeQuery(dst []int16, q []float32) (scale float64) {
	// Bits of magnitudes are ordered as the magnitudes are, and four sums do not wait for one another.
	var top uint32
	var sums [4]float64
	for i, x := range q {
		bits := math.Float32bits(x) &^ (1 << 31)
		top = max(top, bits)
		sums[i%4] += float64(math.Float32frombits(bits))
	}
	largest, sum := float64(math.Float32frombits(top)), sums[0]+sums[1]+sums[2]+sums[3]
	// Rounding adds at most half a unit for each dimension.
	scale = max(largest/math.MaxInt16, sum/float64(maxQuerySum-len(q)))
	if scale == 0 {
		clear(dst)
		return 0
	}
	inv := 1 / scale
	for i, x := range q {
		dst[i] = int16(math.RoundToEven(float64(x) * inv))
	}
	return scale
}
