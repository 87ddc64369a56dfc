package search

import (
	"fmt"
	"math"
	"strconv"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// QueryError says what is wrong with a query: the mistake of who asked, not of the index.
type QueryError = filter.Error

func mistake(field, value, allowed string) error {
	return &QueryError{Field: field, Value: value, Allowed: allowed}
}

// Prepare sets dst to the vector that is compared with rows: the query scaled to unit length under cosine, the query
// as it is otherwise. Dst has spec.Dim() values. A query that no row could be, by its width, a value that is not finite
// or its length, is a [*QueryError].
//
// It uses the generic kernels on purpose, so that an exact answer is the same on every machine.
func Prepare(spec *schemas.Spec, query, dst []float32) error {
	if len(query) != spec.Dim() {
		return mistake("vector", fmt.Sprintf("%d values", len(query)), fmt.Sprintf("%d values", spec.Dim()))
	}
	for i, x := range query {
		if x-x != 0 { // NaN or an infinity
			return mistake(fmt.Sprintf("vector[%d]", i), strconv.FormatFloat(float64(x), 'g', -1, 32), "a finite number")
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
		return mistake("vector", "too long", fmt.Sprintf("a length of at most %g", segment.MaxLength))
	case length < segment.MinLength && spec.Metric == schemas.Cosine:
		return mistake("vector", "zero or too short to have a direction", fmt.Sprintf("a length of at least %g", segment.MinLength))
	}
	return nil
}
