package coarse

import (
	"math"

	"github.com/adastream/adastream/avx"
)

// A key orders an item, the place of a score, by the score, then by its number: the smaller key is the better item. The
// upper half is the score in a form that compares as an integer, the other way round; the lower half is the number.
func makeKey(score float32, item int) uint64 {
	b := math.Float32bits(score + 0) // -0 becomes 0, which it equals
	if b>>31 == 0 {
		b = ^b &^ (1 << 31)
	}
	return uint64(b)<<32 | uint64(uint32(item))
}

// keyScore returns the score of a key.
func keyScore(key uint64) float32 {
	b := uint32(key >> 32)
	if b>>31 == 0 {
		b = ^b &^ (1 << 31)
	}
	return math.Float32frombits(b)
}

func keyItem(key uint64) int32 { return int32(uint32(key)) }

// best returns the keys of the k largest scores, in no order. It uses the memory of keys, which has room for all scores. k is
// at most the number of scores.
func best(scores []float32, k int, keys []uint64) []uint64 {
	keys = keys[:len(scores)]
	for i, s := range scores {
		keys[i] = makeKey(s, i)
	}
	partition(keys, k)
	return keys[:k]
}

// bestOf is [best] of scores whose tops are known: the largest of every 32nd score. The k-th largest of these is reached by k
// scores, and by few more.
func bestOf(level avx.Level, scores, tops []float32, k int, at []uint32, keys []uint64) []uint64 {
	if k > len(tops) || k < 1 {
		return best(scores, k, keys)
	}
	threshold := avx.Kth(level, (*[avx.TopLanes]float32)(tops), k)
	found := avx.AboveFloats(level, scores, threshold, at)
	switch {
	case found < k:
		return best(scores, k, keys)
	case found <= avx.TopLanes:
		return bestFew(level, scores, at[:found], k, keys)
	}
	for i, item := range at[:found] {
		keys[i] = makeKey(scores[item], int(item))
	}
	partition(keys[:found], k)
	return keys[:k]
}

// bestFew is [best] of the scores at ascending places, TopLanes at most. No branch depends on a score: those would often be
// mispredicted.
func bestFew(level avx.Level, scores []float32, at []uint32, k int, keys []uint64) []uint64 {
	var few [avx.TopLanes]float32
	for i := range few {
		few[i] = float32(math.Inf(-1))
	}
	for i, item := range at {
		few[i] = scores[item]
	}
	least := avx.Kth(level, &few, k)
	chosen, equal := 0, k
	for _, s := range few[:len(at)] {
		if s > least {
			equal--
		}
	}
	for i, item := range at {
		keys[chosen] = makeKey(few[i], int(item))
		step, same := 0, 0
		if few[i] > least {
			step = 1
		}
		if few[i] == least {
			same = 1
		}
		step |= same & int(uint(-equal)>>63) // while equal is above 0
		equal -= same
		chosen += step
	}
	return keys[:k]
}

// partition moves the k smallest keys to the front: quickselect with the median of three as pivot. Keys are distinct.
// Parting off what is below the pivot takes no branch that depends on a key: mispredicted, those would take most of the
// time.
func partition(keys []uint64, k int) {
	for k > 0 && k < len(keys) {
		last := len(keys) - 1
		at := middle(keys)
		keys[at], keys[last] = keys[last], keys[at]
		pivot, below := keys[last], 0
		for i, x := range keys[:last] {
			keys[i] = keys[below]
			keys[below] = x
			step := 0
			if x < pivot {
				step = 1
			}
			below += step
		}
		keys[below], keys[last] = keys[last], keys[below]
		switch {
		case k <= below:
			keys = keys[:below]
		default: // the pivot is in its place
			keys, k = keys[below+1:], k-below-1
		}
	}
}

// middle returns the place of the median of the first, the middle and the last key.
func middle(keys []uint64) int {
	a, b, c := 0, len(keys)/2, len(keys)-1
	if keys[a] > keys[b] {
		a, b = b, a
	}
	switch {
	case keys[c] > keys[b]:
		return b
	case keys[c] > keys[a]:
		return c
	default:
		return a
	}
}
