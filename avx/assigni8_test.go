package avx

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// All levels agree to the bit with the arithmetic of the comment, wherever a row lies; the first of equal scores wins, and
// padding never. Scores that are written are those.
func TestAssignI8(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, n := range []int{0, 1, 2, 3, 5, 6, 7, 12, 101} {
			for _, k := range []int{0, 1, 31, 32, 33, 64, 100, 2100} {
				for _, dim := range []int{1, 4, 7, 64, 68, 130} {
					if n > 12 && k > 100 && dim != 130 {
						continue
					}
					checkAssignI8(t, r, l, m, n, k, dim)
				}
			}
		}
	})
}

// A half of a span of these is nearly as long as is allowed.
const longestRowI8, longestCentroidI8 = 22, 45

// shorten makes values smaller until a row is as short as the kernels ask for.
func shorten(row []int8, most int) {
	for LongestSpanI8(row) > most {
		for d := range row {
			row[d] = int8(int(row[d]) * 7 / 8)
		}
	}
}

func TestLongestSpanI8(t *testing.T) {
	row := make([]int8, 2*SpanI8+5)
	check := func(want int) {
		t.Helper()
		if got := LongestSpanI8(row); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	check(0)
	row[0], row[5], row[62], row[63] = 3, -4, 2, 2 // 25 and 8
	check(25)
	row[64], row[66], row[127] = 4, 3, -127
	check(9 + 127*127)
	row[2*SpanI8], row[2*SpanI8+1], row[2*SpanI8+4] = 127, 127, -127
	check(3 * 127 * 127)
	if most := MaxSpanRowI8 * MaxSpanCentroidI8; most >= 1<<30 {
		t.Errorf("products of halves are as much as the root of %d", most)
	}
}

func checkAssignI8(t *testing.T, r *rand.Rand, l Level, m *memory, n, k, dim int) {
	t.Helper()
	centroids, weight, bias := make([]int8, k*dim), make([]float32, k), make([]float32, k)
	for i := range centroids {
		centroids[i] = int8(r.IntN(255) - 127)
	}
	for j := range weight {
		weight[j], bias[j] = float32(r.ExpFloat64()), -float32(r.IntN(3)*1000)
	}
	for j := range k {
		centroid := centroids[j*dim:][:dim]
		if j%5 == 0 { // as long as may be, along rows that are
			for d := range centroid {
				centroid[d] = longestCentroidI8
			}
		}
		shorten(centroid, MaxSpanCentroidI8)
	}
	if k > 1 { // equal ones
		copy(centroids[(k-1)*dim:], centroids[:dim])
		weight[k-1], bias[k-1] = weight[0], bias[0]
	}
	p := PackWeightedI8(centroids, k, dim, dim, weight, bias)
	stride := p.Dim() + r.IntN(3)
	rows, unit := make([]uint8, max(0, n-1)*stride+min(n, 1)*p.Dim()), make([]float32, n)
	for i := range rows {
		rows[i] = uint8(r.IntN(256)) // in the gaps
	}
	for i := range n {
		row := make([]int8, dim)
		for d := range row {
			row[d] = int8(r.IntN(2*MaxQueryI8+1) - MaxQueryI8)
			switch {
			case i%3 == 0:
				row[d] = longestRowI8
			case d%7 == 0:
				row[d] = MaxQueryI8
			}
		}
		shorten(row, MaxSpanRowI8)
		for d := range p.Dim() {
			rows[i*stride+d] = QueryOffset
			if d < dim {
				rows[i*stride+d] += uint8(row[d])
			}
		}
	}
	for i := range unit {
		unit[i] = float32(r.ExpFloat64())
	}
	rows, unit = put(m, 0, rows), put(m, 1, unit)
	best, score := space[int32](m, 2, n), space[float32](m, 3, n)
	AssignI8(l, p, rows, n, stride, unit, best, score)
	outStride := p.Padded() + r.IntN(3)
	out, tops := space[float32](m, 4, max(0, n-1)*outStride+min(n, 1)*p.Padded()), space[float32](m, 5, n*TopLanes)
	ScoresRowsI8(l, p, rows, n, stride, unit, out, outStride, tops)
	for i := range n {
		want, top := int32(0), float32(math.Inf(-1))
		lanes := slices.Repeat([]float32{top}, TopLanes)
		for j := range k {
			dot := int32(0)
			for d := range dim {
				dot += (int32(rows[i*stride+d]) - QueryOffset) * int32(centroids[j*dim+d])
			}
			product, shift := float32(float32(dot)*weight[j]), float32(unit[i]*bias[j]) // conversions keep compilers from rounding a product and a sum at once
			s := product + shift
			if s > top {
				want, top = int32(j), s
			}
			if lanes[j%TopLanes] = max(lanes[j%TopLanes], s); out[i*outStride+j] != s {
				t.Fatalf("n=%d k=%d dim=%d: score %d of row %d is %v, want %v", n, k, dim, j, i, out[i*outStride+j], s)
			}
		}
		if best[i] != want || score[i] != top {
			t.Fatalf("n=%d k=%d dim=%d: row %d gets %d with %v, want %d with %v", n, k, dim, i, best[i], score[i], want, top)
		}
		if !slices.Equal(tops[i*TopLanes:][:TopLanes], lanes) {
			t.Fatalf("n=%d k=%d dim=%d: maxima of row %d are %v, want %v", n, k, dim, i, tops[i*TopLanes:][:TopLanes], lanes)
		}
		for j := k; j < p.Padded(); j++ {
			if !math.IsInf(float64(out[i*outStride+j]), -1) {
				t.Fatalf("n=%d k=%d dim=%d: padding of row %d scores %v", n, k, dim, i, out[i*outStride+j])
			}
		}
	}
}

func TestAboveFloats(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 70 {
			scores := put(m, 0, normals(r, n))
			if n > 20 {
				scores[17], scores[5] = 0.5, float32(math.NaN())
			}
			for _, threshold := range []float32{-10, -1, 0.5, 1, 10} {
				var want []uint32
				for i, s := range scores {
					if s >= threshold {
						want = append(want, uint32(i))
					}
				}
				out := space[uint32](m, 1, n)
				if found := AboveFloats(l, scores, threshold, out); !slices.Equal(out[:found], want) {
					t.Fatalf("n=%d threshold=%v: %v, want %v", n, threshold, out[:found], want)
				}
			}
		}
	})
}

// Longer than one call of a kernel takes.
func TestAboveFloatsOfMany(t *testing.T) {
	const call = 1 << 17
	const n = call + 100
	scores, out := make([]float32, n), make([]uint32, n)
	scores[3], scores[call-1], scores[call+40], scores[n-1] = 1, 1, 1, 1
	for _, l := range Levels() {
		if found := AboveFloats(l, scores, 1, out); !slices.Equal(out[:found], []uint32{3, call - 1, call + 40, n - 1}) {
			t.Errorf("%v: %v", l, out[:found])
		}
	}
}

func TestKth(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for i := range 100 {
			values := normals(r, TopLanes)
			for j := range values {
				switch i % 4 {
				case 1: // many that are equal
					values[j] = float32(r.IntN(4))
				case 2:
					values[j] = float32(math.Inf(r.IntN(3) - 1))
				case 3:
					if j > i/4 {
						values[j] = float32(math.Inf(-1))
					}
				}
			}
			sorted := slices.Sorted(slices.Values(values))
			values = put(m, 0, values)
			for k := 1; k <= TopLanes; k++ {
				if got := Kth(l, (*[TopLanes]float32)(values), k); got != sorted[TopLanes-k] {
					t.Fatalf("%d-th of %v: %v, want %v", k, values, got, sorted[TopLanes-k])
				}
			}
		}
	})
}
