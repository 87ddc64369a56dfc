package coarse

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	inf, zero := float32(math.Inf(1)), float32(0)
	special := []float32{0, -zero, 1, -1, inf, -inf, math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32}
	for range 300 {
		scores := make([]float32, 1+r.IntN(200))
		kind := r.IntN(4)
		for i := range scores {
			switch kind {
			case 0:
				scores[i] = r.Float32() - 0.5
			case 1: // many that are equal
				scores[i] = float32(r.IntN(3))
			case 2:
				scores[i] = special[r.IntN(len(special))]
			default: // the best come last
				scores[i] = float32(i)
			}
		}
		want := make([]int32, len(scores))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortStableFunc(want, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
		k := r.IntN(len(scores) + 1)
		var got []int32
		keys := best(scores, k, make([]uint64, len(scores)))
		slices.Sort(keys)
		for _, key := range keys {
			got = append(got, keyItem(key))
		}
		if !slices.Equal(got, want[:k]) {
			t.Fatalf("best %d of %v: %v, want %v", k, scores, got, want[:k])
		}
	}
}
