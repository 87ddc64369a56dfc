package opq

import (
	"math"
	"slices"
)

// divide gives m sub-quantisers to blocks, variances[i] being those of block i along its principal axes. Each block
// gets at least one if m suffices, and no more than it has dimensions.
//
// Bits go where they save the most: by reverse water-filling (Cover and Thomas, "Elements of Information Theory",
// 10.3.3) a dimension of variance v gets log2(v/w)/2 bits, none if v is below the water level w, and w is where all bits
// are used up. Where the spectrum is flat that is in proportion to width; where it is steep, as that of residuals to
// centroids of Matryoshka vectors can be, short prefixes get most and the error is a fraction of it.
func divide(variances [][]float64, m int) []int {
	shares := waterFill(variances, m)
	least := 0
	if m >= len(variances) {
		least = 1
	}
	subs := make([]int, len(variances))
	left := m
	for i, v := range variances {
		subs[i] = min(max(int(shares[i]), least), len(v))
		left -= subs[i]
	}
	for ; left > 0; left-- { // the largest remainder first
		at := -1
		for i, v := range variances {
			if subs[i] < len(v) && (at < 0 || shares[i]-float64(subs[i]) > shares[at]-float64(subs[at])) {
				at = i
			}
		}
		subs[at]++
	}
	for ; left < 0; left++ { // who has most beyond its share pays for those that got the least
		at := -1
		for i := range variances {
			if subs[i] > least && (at < 0 || float64(subs[i])-shares[i] > float64(subs[at])-shares[at]) {
				at = i
			}
		}
		subs[at]--
	}
	return subs
}

// waterFill returns each block's part of the bits of m sub-quantisers, in sub-quantisers.
func waterFill(variances [][]float64, m int) []float64 {
	largest := slices.Max(slices.Concat(variances...))
	if largest <= 0 {
		largest = 1 // no variance at all: all are alike
	}
	logs := make([][]float64, len(variances)) // base 2, relative to the largest
	for i, block := range variances {
		for _, v := range block {
			logs[i] = append(logs[i], math.Log2(max(v/largest, leastVariance)))
		}
	}
	bits := func(level float64) (shares []float64, sum float64) {
		for _, block := range logs {
			share := 0.0
			for _, v := range block {
				share += max(0, v-level) / 2
			}
			shares = append(shares, share/Bits)
			sum += share / Bits
		}
		return shares, sum
	}
	low, high := math.Log2(leastVariance)-2*Bits*float64(m), 0.0
	for range 64 {
		middle := (low + high) / 2
		if _, sum := bits(middle); sum > float64(m) {
			low = middle
		} else {
			high = middle
		}
	}
	shares, _ := bits(high)
	return shares
}

// leastVariance, in shares of the largest, stands for all that are less, and for those that rounding made negative.
const leastVariance = 1e-9

// allocate returns, for each rotated dimension of a block, the index of the principal axis that it gets. From the axis
// of the largest variance on, each goes to the sub-quantiser that has room and the smallest product of variances so far
// (Ge et al., 3.2: eigenvalue allocation). Variances are ascending.
func allocate(variances []float64, bounds []span) []int {
	axes := make([]int, len(variances))
	for i := range axes {
		axes[i] = len(axes) - 1 - i
	}
	if len(bounds) == 0 {
		return axes
	}
	taken := make([][]int, len(bounds))
	weight := make([]float64, len(bounds)) // log of the product
	least := max(variances[len(variances)-1]*leastVariance, math.SmallestNonzeroFloat64)
	for _, axis := range axes {
		at := -1
		for s, b := range bounds {
			if len(taken[s]) < b.width() && (at < 0 || weight[s] < weight[at]) {
				at = s
			}
		}
		taken[at] = append(taken[at], axis)
		// Relative to the least, so that each one adds: a product of numbers below one would attract the next.
		weight[at] += math.Log(max(variances[axis]/least, 1))
	}
	return slices.Concat(taken...)
}
