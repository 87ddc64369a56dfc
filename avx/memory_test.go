package avx

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// memory hands out slices at the edges of unreadable pages, so that a kernel that reads or
// writes beyond a slice faults. Slots are reused: a slice lives until the next of its slot.
type memory struct {
	name    string
	regions [6][]byte
	atEnd   bool // slices end where their region ends, otherwise they begin where it begins
}

// put copies values to a slot.
func put[T any](m *memory, slot int, values []T) []T {
	placed := space[T](m, slot, len(values))
	copy(placed, values)
	return placed
}

// space returns n elements of a slot, with what the last user left in them.
func space[T any](m *memory, slot, n int) []T {
	var element T
	size := n * int(unsafe.Sizeof(element))
	region := m.regions[slot]
	if n == 0 {
		return nil
	}
	if m.atEnd {
		region = region[len(region)-size:]
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&region[:size][0])), n)
}

// eachPlacement runs test for each supported level and each end of the guarded regions.
func eachPlacement(t *testing.T, test func(t *testing.T, l Level, m *memory)) {
	for _, m := range memories(t) {
		for _, l := range Levels() {
			t.Run(l.String()+"/"+m.name, func(t *testing.T) { test(t, l, m) })
		}
	}
}

// newRand returns the same random numbers in every run.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func normals(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// smallInts are floats whose sums of products are exact, whatever their order.
func smallInts(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.IntN(7) - 3)
	}
	return v
}

func randomBytes[T int8 | uint8](r *rand.Rand, n int) []T {
	v := make([]T, n)
	for i := range v {
		v[i] = T(r.Uint32())
	}
	return v
}

func randomWords(r *rand.Rand, n int) []int16 {
	v := make([]int16, n)
	for i := range v {
		v[i] = int16(r.Uint32())
	}
	return v
}
