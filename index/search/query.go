package search

import (
	"fmt"
	"math"
	"strconv"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// QueryError says what is wrong with a query: the mistake of who asked, not of the index.
type QueryError struct {
	Field   string // as it is called in the query API
	Value   string // what it was
	Allowed string // what it may be
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("%s: %s, allowed: %s", e.Field, e.Value, e.Allowed)
}

// Prepare sets dst to the vector that is compared with rows: the query scaled to unit length under cosine, the query
// as it is otherwise. Dst has spec.Dim() values. A query that no row could be, by its width, a value that is not finite
// or its length, is a [*QueryError].
//
// It uses the generic kernels on purpose, so that an exact answer is the same on every machine.
func Prepare(spec *schemas.Spec, query, dst []float32) error {
	if len(query) != spec.Dim() {
		return &QueryError{"vector", fmt.Sprintf("%d values", len(query)), fmt.Sprintf("%d values", spec.Dim())}
	}
	for i, x := range query {
		if x-x != 0 { // NaN or an infinity
			return &QueryError{fmt.Sprintf("vector[%d]", i), strconv.FormatFloat(float64(x), 'g', -1, 32), "a finite number"}
		}
	}
	var length float64
	copy(dst, query)
	if spec.Metric == schemas.Cosine {
		length = float64(mrl.Normalize(avx.Generic, dst, dst))
	} else {
		length = math.Sqrt(float64(avx.SumSquares(avx.Generic, dst)))
	}
	switch {
	case length > segment.MaxLength:
		return &QueryError{"vector", "too long", fmt.Sprintf("a length of at most %g", segment.MaxLength)}
	case length < segment.MinLength && spec.Metric == schemas.Cosine:
		return &QueryError{"vector", "zero or too short to have a direction", fmt.Sprintf("a length of at least %g", segment.MinLength)}
	}
	return nil
}

// maxQuerySum is the largest sum of absolute int16 values whose inner product with int8 values, which are at most 127,
// fits an int32 whatever their signs.
const maxQuerySum = math.MaxInt32 / 127

// quantize sets dst to q / scale, rounded to int16, with the smallest scale for which [avx.DotI8] cannot overflow. The
// error is at most half a scale for each dimension: 2^-16 of the largest value, unless the dimensions are thousands of
// values that are all large.
func quantize(dst []int16, q []float32) (scale float64) {
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
