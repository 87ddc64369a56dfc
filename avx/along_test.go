package avx

import (
	"math"
	"slices"
	"testing"
)

func TestPickAlong(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 40 {
			values := normals
			if n%3 == 1 { // of which many are equal
				values = smallInts
			}
			near, along := put(m, 0, values(r, 16*n)), put(m, 1, values(r, 16*n))
			weight, part, off := put(m, 2, values(r, n)), put(m, 3, values(r, n)), put(m, 4, values(r, n))
			for i := range weight {
				switch weight[i] = float32(math.Abs(float64(weight[i]))); i % 7 {
				case 3:
					weight[i] = 0
				case 5:
					weight[i] = math.MaxFloat32 // every loss is infinite
					off[i] += 1e10
				case 6:
					near[16*i+i%16] = float32(math.Inf(1))
				}
			}
			wantOff, wantPart, want := make([]float32, n), make([]float32, n), make([]uint8, n)
			for i := range want {
				all, best := off[i]+part[i], math.Inf(-1)
				for j := range 16 {
					d := all - along[16*i+j]
					loss := float32(weight[i] * float32(d*d))
					if s := float64(near[16*i+j] - loss); s > best {
						best, want[i] = s, uint8(j)
					}
				}
				wantPart[i] = along[16*i+int(want[i])]
				wantOff[i] = all - wantPart[i]
			}
			best := space[uint8](m, 5, n)
			PickAlong(l, near, along, weight, part, off, best)
			if !slices.Equal(best, want) || !slices.Equal(part, wantPart) || !slices.Equal(off, wantOff) {
				t.Fatalf("n=%d: %v, want %v\npart %v, want %v\noff %v, want %v", n, best, want, part, wantPart, off, wantOff)
			}
		}
	})
}

// Of a row of NaN any codeword may be picked, but there are no more than 16.
func TestPickAlongOfNaN(t *testing.T) {
	nan := slices.Repeat([]float32{float32(math.NaN())}, 48)
	for _, l := range Levels() {
		for _, near := range [][]float32{nan, make([]float32, 48)} {
			best := []uint8{99, 99, 99}
			PickAlong(l, near, slices.Clone(nan), make([]float32, 3), make([]float32, 3), make([]float32, 3), best)
			if slices.Max(best) > 15 {
				t.Errorf("%v: %v", l, best)
			}
		}
	}
}

// Longer than one call of a kernel takes.
func TestPickAlongOfMany(t *testing.T) {
	const n = 1<<12 + 5
	near := make([]float32, 16*n)
	for i := range n {
		near[16*i+i%16] = 1
	}
	for _, l := range Levels() {
		best := make([]uint8, n)
		PickAlong(l, near, near, make([]float32, n), make([]float32, n), make([]float32, n), best)
		for i, b := range best {
			if int(b) != i%16 {
				t.Fatalf("%v: row %d: %d", l, i, b)
			}
		}
	}
}
