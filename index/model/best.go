package model

import (
	"cmp"
	"math"
	"slices"
)

// A key orders a list by its score, then by its number: the larger key is the better list. The upper half is the score
// in a form that compares as an integer, the lower half the complement of the number.
func makeKey(score float32, list int) uint64 {
	b := math.Float32bits(score + 0) // -0 becomes 0, which it equals
	if b>>31 == 1 {
		b = ^b
	} else {
		b |= 1 << 31
	}
	return uint64(b)<<32 | uint64(^uint32(list))
}

func keyList(key uint64) int32 { return int32(^uint32(key)) }

// best returns the keys of the k largest scores, best first, in the front of keys, which has room for 2k. k is at most
// the number of scores.
//
// It collects what beats a threshold. When the room is used up, the better half is kept and the worst of it is the next
// threshold: all but the first few of the scores are refused by one comparison.
func best(scores []float32, k int, keys []uint64) []uint64 {
	if k == 0 {
		return nil
	}
	n := 0
	var threshold uint64
	for i, s := range scores {
		key := makeKey(s, i)
		if key <= threshold {
			continue
		}
		keys[n] = key
		if n++; n == 2*k {
			partition(keys, k)
			n, threshold = k, slices.Min(keys[:k])
		}
	}
	keys = keys[:n]
	if n > k {
		partition(keys, k)
	}
	keys = keys[:k]
	slices.SortFunc(keys, func(a, b uint64) int { return cmp.Compare(b, a) })
	return keys
}

// partition moves the k largest keys to the front, 0 < k < len(keys): quickselect. Keys are distinct.
func partition(keys []uint64, k int) {
	for lo, hi := 0, len(keys)-1; lo < hi; {
		pivot := median(keys[lo], keys[lo+(hi-lo)/2], keys[hi])
		i, j := lo, hi
		for i <= j {
			for keys[i] > pivot {
				i++
			}
			for keys[j] < pivot {
				j--
			}
			if i <= j {
				keys[i], keys[j] = keys[j], keys[i]
				i++
				j--
			}
		}
		switch { // [lo, j] are larger than the pivot, [i, hi] smaller
		case k-1 <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return
		}
	}
}

func median(a, b, c uint64) uint64 {
	return max(min(a, b), min(max(a, b), c))
}
