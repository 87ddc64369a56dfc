package mrl

import "math"

// maxQuerySum is the largest sum of absolute int16 values whose inner product with int8 values, which are at most 127,
// fits an int32 whatever their signs.
const maxQuerySum = math.MaxInt32 / 127

// QuantizeQuery sets dst to q / scale, rounded to int16, with the smallest scale for which [avx.DotI8] cannot overflow. The
// error is at most half a scale for each dimension: 2^-16 of the largest value, unless the dimensions are thousands of
// values that are all large.
func QuantizeQuery(dst []int16, q []float32) (scale float64) {
	var largest, sum float64
	for _, x := range q {
		a := math.Abs(float64(x))
		largest, sum = max(largest, a), sum+a
	}
	// Rounding adds at most half a unit for each dimension.
	scale = max(largest/math.MaxInt16, sum/float64(maxQuerySum-len(q)))
	if scale == 0 {
		clear(dst)
		return 0
	}
	for i, x := range q {
		dst[i] = int16(math.RoundToEven(float64(x) / scale))
	}
	return scale
}
