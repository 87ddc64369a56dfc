package coarse

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
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

// With tops known the best are the same ones, equal scores too; scores that nothing can be said of do not lead out of them.
func TestBestOf(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 31, 33, 100, 572} {
		for _, k := range []int{1, 16, 20, 32, 33} {
			for _, kind := range []string{"any", "equal", "nan"} {
				scores, tops := make([]float32, n), slices.Repeat([]float32{float32(math.Inf(-1))}, avx.TopLanes)
				for i := range scores {
					switch kind {
					case "any":
						scores[i] = float32(r.NormFloat64())
					case "equal":
						scores[i] = float32(r.IntN(3))
					default:
						scores[i] = float32(math.NaN())
					}
					tops[i%avx.TopLanes] = max(tops[i%avx.TopLanes], scores[i])
				}
				if k > n {
					continue
				}
				size := max(n, avx.TopLanes)
				want := slices.Clone(best(scores, k, make([]uint64, size)))
				for _, level := range avx.Levels() {
					got := slices.Clone(bestOf(level, scores, tops, k, make([]uint32, size), make([]uint64, size)))
					slices.Sort(want)
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("%s, %d of %d, %s: other scores than the best", level, k, n, kind)
					}
				}
			}
		}
	}
}
