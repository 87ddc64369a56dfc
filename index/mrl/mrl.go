// Package mrl holds the vocabulary of Matryoshka representations: the ladder of trained prefix widths, and the lengths
// of a vector and of its prefixes.
//
// An encoder trained the Matryoshka way (Kusupati et al., NeurIPS 2022) promises that the first d dimensions of a
// vector are a usable vector for each width d of its ladder, and for no other width. So every width of the index - of
// clustering, of scanning codes, of refinement - is a level of the ladder.
package mrl

import (
	"fmt"
	"math"

	"github.com/adastream/adastream/avx"
)

// Ladder is the trained prefix widths, ascending. The last one is the full width. A valid ladder is not empty and its
// widths are positive; [schemas.Spec.Validate] checks that and more.
type Ladder []int

// Dim returns the full width D of a vector.
func (l Ladder) Dim() int { return l[len(l)-1] }

// Has reports whether d is the width of a level.
func (l Ladder) Has(d int) bool {
	for _, w := range l {
		if w == d {
			return true
		}
	}
	return false
}

// LevelOf returns the index of the narrowest level whose prefix holds dimension i, for i in [0, Dim()).
func (l Ladder) LevelOf(i int) int {
	for level, w := range l {
		if i < w {
			return level
		}
	}
	return len(l)
}

// Start returns the first dimension that level i adds to the level below: it adds [Start(i), l[i]).
func (l Ladder) Start(i int) int {
	if i == 0 {
		return 0
	}
	return l[i-1]
}

// String returns the widths as in "64,128,256".
func (l Ladder) String() string {
	var s []byte
	for i, w := range l {
		if i > 0 {
			s = append(s, ',')
		}
		s = fmt.Append(s, w)
	}
	return string(s)
}

// Sums of squares outside this range are taken again in float64: near its ends a float32 loses digits, or the vector.
const (
	smallestSum = 1e-20
	largestSum  = 1e30
)

// Normalize sets dst to src scaled to unit length and returns the length of src. When that is zero or not finite - src
// is all zeros, holds a NaN or an infinity, or is longer than the largest float32 - src has no direction to keep and
// dst is left as it was. The slices have the same length; dst may be src.
func Normalize(level avx.Level, dst, src []float32) (norm float32) {
	dst = dst[:len(src)]
	sum := avx.SumSquares(level, src)
	if sum >= smallestSum && sum <= largestSum {
		root := math.Sqrt(float64(sum))
		avx.Scale(level, dst, src, float32(1/root))
		return float32(root)
	}
	root := math.Sqrt(wideSquares(src))
	norm = float32(root)
	if norm == 0 || math.IsInf(root, 0) || math.IsInf(float64(norm), 0) || math.IsNaN(root) {
		return norm
	}
	for i, v := range src {
		dst[i] = float32(float64(v) / root)
	}
	return norm
}

// wideSquares holds the square of any float32, 8192 times.
func wideSquares(v []float32) (sum float64) {
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return sum
}

// PrefixNorms sets dst[i] to the length of the prefix of v of width ladder[i]. v has ladder.Dim() values, dst at least
// len(ladder). The squares of a level are added to those of the levels below, so the lengths never decrease. Zero is the length of
// zeros only.
func PrefixNorms(level avx.Level, v []float32, ladder Ladder, dst []float32) {
	var sum float32
	for i, end := range ladder {
		sum += avx.SumSquares(level, v[ladder.Start(i):end])
		dst[i] = float32(math.Sqrt(float64(sum)))
		if sum < smallestSum {
			dst[i] = float32(math.Sqrt(wideSquares(v[:end])))
		} else if i > 0 {
			dst[i] = max(dst[i], dst[i-1]) // of which not all digits were in the sum
		}
	}
}
