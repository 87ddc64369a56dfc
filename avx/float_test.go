package avx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// exactDot returns a·b + bias in float64 and the error that the package comment allows a
// float32 kernel.
func exactDot(a, b []float32, bias float32) (sum, bound float64) {
	sum, absolute := float64(bias), math.Abs(float64(bias))
	for i, x := range a {
		product := float64(x) * float64(b[i])
		sum += product
		absolute += math.Abs(product)
	}
	u := float64(len(a)+1) * 0x1p-24
	return sum, u / (1 - u) * absolute
}

func checkDot(t *testing.T, what string, got float32, a, b []float32, bias float32) {
	t.Helper()
	if want, bound := exactDot(a, b, bias); math.Abs(float64(got)-want) > bound {
		t.Fatalf("%s: got %v, want %v ± %v", what, got, want, bound)
	}
}

// sameFloats compares bits, with all NaN equal.
func sameFloats(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool {
		return math.Float32bits(x) == math.Float32bits(y) || x != x && y != y
	})
}

func TestDotIsWithinTheBound(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 140 {
			a, b := put(m, 0, normals(r, n)), put(m, 1, normals(r, n))
			checkDot(t, fmt.Sprintf("Dot n=%d", n), Dot(l, a, b), a, b, 0)
			checkDot(t, fmt.Sprintf("SumSquares n=%d", n), SumSquares(l, a), a, a, 0)
		}
	})
}

func TestDotOfSmallIntegersIsExact(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, n := range []int{1, 7, 8, 31, 32, 33, 63, 100, 768, 1537, 4095} {
			a, b := put(m, 0, smallInts(r, n)), put(m, 1, smallInts(r, n))
			if want, _ := exactDot(a, b, 0); float64(Dot(l, a, b)) != want {
				t.Fatalf("n=%d: got %v, want %v", n, Dot(l, a, b), want)
			}
		}
	})
}

// Each element must count, wherever it lies, so NaN and Inf must show.
func TestDotLetsNaNAndInfThrough(t *testing.T) {
	inf := float32(math.Inf(1))
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := 1; n < 80; n++ {
			for i := range n {
				a, b := space[float32](m, 0, n), space[float32](m, 1, n)
				for k := range a {
					a[k], b[k] = 1, 1
				}
				a[i] = inf
				if got := Dot(l, a, b); got != inf {
					t.Fatalf("n=%d, Inf at %d: got %v", n, i, got)
				}
				b[i] = 0 // Inf*0 is NaN
				if got := Dot(l, a, b); got == got {
					t.Fatalf("n=%d, NaN at %d: got %v", n, i, got)
				}
			}
		}
	})
}

func TestDotRowsIsWithinTheBoundWhereverARowLies(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for dim := range 70 {
			for n := range 10 {
				for _, gap := range []int{0, 1, 5} {
					stride := dim + gap
					q, rows := put(m, 0, normals(r, dim)), put(m, 1, normals(r, max(0, n-1)*stride+dim))
					out := space[float32](m, 2, n)
					DotRows(l, q, rows, stride, out)
					for i, got := range out {
						what := fmt.Sprintf("dim=%d n=%d stride=%d row %d", dim, n, stride, i)
						row := rows[i*stride:][:dim]
						checkDot(t, what, got, q, row, 0)
						alone := space[float32](m, 3, 1)
						if DotRows(l, q, row, 0, alone); alone[0] != got {
							t.Fatalf("%s: got %v among others, %v alone", what, got, alone[0])
						}
					}
				}
			}
		}
	})
}

// More elements than one call of a kernel takes.
func TestDotRowsInSeveralCalls(t *testing.T) {
	r := newRand()
	const dim, stride, n = 100, 101, 3001
	q, rows := smallInts(r, dim), smallInts(r, n*stride)
	for _, l := range Levels() {
		out := make([]float32, n)
		DotRows(l, q, rows, stride, out)
		for i, got := range out {
			if want, _ := exactDot(q, rows[i*stride:][:dim], 0); float64(got) != want {
				t.Fatalf("%v row %d: got %v, want %v", l, i, got, want)
			}
		}
	}
}

// assignCase is an input of Assign.
type assignCase struct{ n, k, dim, gap int }

func assignCases() []assignCase {
	var cases []assignCase
	for n := range 14 {
		for _, k := range []int{1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 200} {
			for _, dim := range []int{1, 2, 3, 4, 5, 8, 13, 32} {
				cases = append(cases, assignCase{n, k, dim, (n + k + dim) % 3})
			}
		}
	}
	return append(cases,
		assignCase{103, 300, 512, 1}, // several bands of rows and groups of panels
		assignCase{3, 2000, 256, 0},
		assignCase{5, 40, 0, 2},
		assignCase{8, 33, 4097, 0}, // a panel larger than a group
	)
}

func TestAssignOfSmallIntegersIsExact(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, c := range assignCases() {
			rows := put(m, 0, smallInts(r, rowsLen(c)))
			centroids, bias := smallInts(r, c.k*c.dim), smallInts(r, c.k)
			p := Pack(centroids, c.k, c.dim, bias)
			best, score := space[int32](m, 1, c.n), space[float32](m, 2, c.n)
			Assign(l, p, rows, c.n, c.dim+c.gap, best, score)
			out := space[float32](m, 3, c.k)
			for i := range c.n {
				row := put(m, 4, rows[i*(c.dim+c.gap):][:c.dim])
				Scores(l, p, row, out)
				top, at := math.Inf(-1), 0
				for j, got := range out {
					want, _ := exactDot(row, centroids[j*c.dim:][:c.dim], bias[j])
					if float64(got) != want {
						t.Fatalf("%+v row %d centroid %d: score %v, want %v", c, i, j, got, want)
					}
					if want > top {
						top, at = want, j
					}
				}
				if int(best[i]) != at || float64(score[i]) != top {
					t.Fatalf("%+v row %d: got centroid %d score %v, want %d %v", c, i, best[i], score[i], at, top)
				}
			}
		}
	})
}

func rowsLen(c assignCase) int {
	if c.n == 0 {
		return 0
	}
	return (c.n-1)*(c.dim+c.gap) + c.dim
}

func TestAssignIsWithinTheBoundAndAgreesWithScores(t *testing.T) {
	r := newRand()
	for _, l := range Levels() {
		for _, c := range []assignCase{{20, 1000, 64, 0}, {13, 333, 129, 5}, {101, 700, 300, 0}} {
			stride := c.dim + c.gap
			rows, centroids, bias := normals(r, c.n*stride), normals(r, c.k*c.dim), normals(r, c.k)
			p := Pack(centroids, c.k, c.dim, bias)
			best, score, out := make([]int32, c.n), make([]float32, c.n), make([]float32, c.k)
			Assign(l, p, rows, c.n, stride, best, score)
			for i := range c.n {
				row := rows[i*stride:][:c.dim]
				Scores(l, p, row, out)
				for j, got := range out {
					checkDot(t, fmt.Sprintf("%v %+v row %d centroid %d", l, c, i, j), got, row, centroids[j*c.dim:][:c.dim], bias[j])
				}
				if top := slices.Max(out); score[i] != top || int(best[i]) != slices.Index(out, top) {
					t.Fatalf("%v %+v row %d: got centroid %d score %v, want %d %v", l, c, i, best[i], score[i], slices.Index(out, top), top)
				}
			}
		}
	}
}

func TestAssignOfEqualScoresTakesTheLowest(t *testing.T) {
	const dim, k, n = 3, 130, 7
	centroids, rows := make([]float32, k*dim), make([]float32, n*dim)
	for i := range rows {
		rows[i] = 1
	}
	best, score, bias := make([]int32, n), make([]float32, n), make([]float32, k)
	for _, l := range Levels() {
		for first := range k {
			for second := first; second < k; second++ {
				clear(bias)
				bias[first], bias[second] = 1, 1
				Assign(l, Pack(centroids, k, dim, bias), rows, n, dim, best, score)
				for i, j := range best {
					if int(j) != first {
						t.Fatalf("%v row %d: got %d, want the first of %d and %d", l, i, j, first, second)
					}
				}
			}
		}
	}
}

func TestAssignNeverTakesNaN(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	const k, n = 50, 8
	for _, l := range Levels() {
		best, score := make([]int32, n), make([]float32, n)
		assign := func(bias []float32, x float32) {
			rows := make([]float32, n)
			for i := range rows {
				rows[i] = x
			}
			Assign(l, Pack(make([]float32, k), k, 1, bias), rows, n, 1, best, score)
		}
		expect := func(what string, j int, s float32) {
			t.Helper()
			for i := range n {
				if int(best[i]) != j || score[i] != s {
					t.Fatalf("%v %s row %d: got centroid %d score %v, want %d %v", l, what, i, best[i], score[i], j, s)
				}
			}
		}
		for winner := range k {
			bias := make([]float32, k)
			for j := range bias {
				bias[j] = nan
			}
			bias[winner] = -7
			assign(bias, 1)
			expect("all but one NaN", winner, -7)
			for j := range bias {
				bias[j] = -inf
			}
			bias[winner] = -math.MaxFloat32
			assign(bias, 1)
			expect("all but one -Inf", winner, -math.MaxFloat32)
			bias[winner] = inf
			assign(bias, 1)
			expect("one Inf", winner, inf)
		}
		assign(nil, nan)
		expect("NaN row", 0, -inf)
		assign(nil, inf) // Inf*0, also in the padding
		expect("Inf row", 0, -inf)
		assign(nil, 1)
		expect("no bias", 0, 0)
	}
}

func TestAssignWithoutCentroids(t *testing.T) {
	for _, l := range Levels() {
		best, score := []int32{5}, []float32{5}
		Assign(l, Pack(nil, 0, 4, nil), make([]float32, 4), 1, 4, best, score)
		if best[0] != 0 || !math.IsInf(float64(score[0]), -1) {
			t.Errorf("%v: got %d %v, want 0 -Inf", l, best[0], score[0])
		}
		Scores(l, Pack(nil, 0, 4, nil), make([]float32, 4), nil)
		ScoresRows(l, Pack(nil, 0, 4, nil), make([]float32, 32), 8, 4, nil, 0)
	}
}

// Of normals every rounding shows, and so the order of summation. Here and there among them is
// a value that ends as NaN or Inf.
func TestScoresRowsIsScoresToTheBit(t *testing.T) {
	r := newRand()
	special := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, 0}
	cases := append(assignCases(), assignCase{20, 40, 9, -9}, assignCase{20, 40, 9, -8}) // overlapping rows
	const untouched = 12345
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for _, c := range cases {
			stride, outStride := c.dim+c.gap, c.k+(c.n+c.dim)%3
			values := normals(r, rowsLen(c))
			for i := range values {
				if r.IntN(20*max(1, c.dim)) == 0 {
					values[i] = special[r.IntN(len(special))]
				}
			}
			p := Pack(normals(r, c.k*c.dim), c.k, c.dim, normals(r, c.k))
			rows := put(m, 0, values)
			out := space[float32](m, 1, max(0, (c.n-1)*outStride+c.k))
			for i := range out {
				out[i] = untouched
			}
			ScoresRows(l, p, rows, c.n, stride, out, outStride)
			want := space[float32](m, 2, c.k)
			for i := range c.n {
				Scores(l, p, rows[i*stride:][:c.dim], want)
				for j, w := range want {
					if got := out[i*outStride+j]; math.Float32bits(got) != math.Float32bits(w) {
						t.Fatalf("%+v row %d centroid %d: %v, alone %v", c, i, j, got, w)
					}
				}
				gap := out[i*outStride+c.k : min((i+1)*outStride, len(out))]
				if slices.ContainsFunc(gap, func(v float32) bool { return v != untouched }) {
					t.Fatalf("%+v: gap after row %d is written: %v", c, i, gap)
				}
			}
		}
	})
}

func TestScoresRowsOfSmallIntegersIsExact(t *testing.T) {
	r := newRand()
	for _, l := range Levels() {
		for _, c := range assignCases() {
			rows, p := smallInts(r, rowsLen(c)), Pack(smallInts(r, c.k*c.dim), c.k, c.dim, smallInts(r, c.k))
			got, want := make([]float32, c.n*c.k), make([]float32, c.n*c.k)
			ScoresRows(l, p, rows, c.n, c.dim+c.gap, got, c.k)
			ScoresRows(Generic, p, rows, c.n, c.dim+c.gap, want, c.k)
			if !slices.Equal(got, want) {
				t.Fatalf("%v %+v: got %v, want %v", l, c, got, want)
			}
		}
	}
}

func TestPackCopies(t *testing.T) {
	centroids, bias := []float32{1, 2, 3, 4}, []float32{5, 6}
	p := Pack(centroids, 2, 2, bias)
	clear(centroids)
	clear(bias)
	if p.N() != 2 || p.Dim() != 2 {
		t.Errorf("got %d centroids of %d floats", p.N(), p.Dim())
	}
	out := make([]float32, 2)
	Scores(Generic, p, []float32{10, 100}, out)
	if want := []float32{215, 436}; !slices.Equal(out, want) {
		t.Errorf("got scores %v, want %v", out, want)
	}
}

func TestFloatKernelsAgreeOnSpecialRows(t *testing.T) {
	values := []float32{0, float32(math.Copysign(0, -1)), 1, -1, math.MaxFloat32, -math.MaxFloat32,
		math.SmallestNonzeroFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())}
	// With one non-zero factor per row there is but one product, and so one rounding.
	for _, l := range Levels() {
		for dim := 1; dim < 40; dim++ {
			for at := range dim {
				q, rows := make([]float32, dim), make([]float32, dim*len(values))
				q[at] = 0.75
				for i, v := range values {
					rows[i*dim+at] = v
				}
				got, want := make([]float32, len(values)), make([]float32, len(values))
				DotRows(l, q, rows, dim, got)
				DotRows(Generic, q, rows, dim, want)
				if !sameFloats(got, want) {
					t.Fatalf("%v dim=%d at %d: got %v, want %v", l, dim, at, got, want)
				}
			}
		}
	}
}

// normalsAndSpecials are normals among which there is anything else that a float may be.
func normalsAndSpecials(r *rand.Rand, n int) []float32 {
	special := []float32{0, float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.SmallestNonzeroFloat32}
	v := normals(r, n)
	for i := range v {
		if r.IntN(9) == 0 {
			v[i] = special[r.IntN(len(special))]
		}
	}
	return v
}

func TestMaxAbsAndScale(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 70 {
			v := put(m, 0, normalsAndSpecials(r, n))
			want := float32(0)
			for _, x := range v {
				if a := float32(math.Abs(float64(x))); a > want {
					want = a
				}
			}
			if got := MaxAbs(l, v); got != want {
				t.Fatalf("%d values: largest magnitude %v, want %v of %v", n, got, want, v)
			}
			dst := space[float32](m, 1, n)
			Scale(l, dst, v, -1.7)
			for i, x := range v {
				if want := x * -1.7; dst[i] != want && !(dst[i] != dst[i] && want != want) {
					t.Fatalf("value %d of %d: %v, want %v", i, n, dst[i], want)
				}
			}
		}
	})
	long := make([]float32, callElementsOfTest)
	long[len(long)-2] = -3
	for _, l := range Levels() {
		if got := MaxAbs(l, long); got != 3 {
			t.Errorf("%v: %v of a long vector", l, got)
		}
		Scale(l, long, long, 1)
		if long[len(long)-2] != -3 {
			t.Errorf("%v: a long vector is not scaled", l)
		}
	}
}

// callElementsOfTest is more than one call of a kernel takes.
const callElementsOfTest = 1<<18 + 13

func TestSub(t *testing.T) {
	r := newRand()
	check := func(t *testing.T, what string, got, a, b []float32) {
		t.Helper()
		for i, v := range got {
			if want := a[i] - b[i]; math.Float32bits(v) != math.Float32bits(want) && !(v != v && want != want) {
				t.Fatalf("%s, value %d of %d: %v - %v is %v, want %v", what, i, len(got), a[i], b[i], v, want)
			}
		}
	}
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 70 {
			x, y := normalsAndSpecials(r, n), normalsAndSpecials(r, n)
			a, b, dst := put(m, 0, x), put(m, 1, y), space[float32](m, 2, n)
			Sub(l, dst, a, b)
			check(t, "elsewhere", dst, x, y)
			Sub(l, b, a, b)
			check(t, "to b", b, x, y)
			b = put(m, 1, y)
			Sub(l, a, a, b)
			check(t, "to a", a, x, y)
		}
	})
	a, b := normals(r, callElementsOfTest), normals(r, callElementsOfTest)
	for _, l := range Levels() {
		dst := make([]float32, len(a)+1)
		Sub(l, dst, a, b)
		check(t, l.String(), dst[:len(a)], a, b)
		if dst[len(a)] != 0 {
			t.Errorf("%v: written beyond a", l)
		}
	}
}

func TestSubtractMins(t *testing.T) {
	r := newRand()
	eachPlacement(t, func(t *testing.T, l Level, m *memory) {
		for n := range 20 {
			before := normals(r, 16*n)
			rows, mins := put(m, 0, before), space[float32](m, 1, n)
			widest, want := SubtractMins(l, rows, mins), float32(0)
			for i := range n {
				low := slices.Min(before[16*i:][:16])
				if mins[i] != low {
					t.Fatalf("n=%d row %d: least %v, want %v", n, i, mins[i], low)
				}
				for j, v := range before[16*i:][:16] {
					if rows[16*i+j] != v-low {
						t.Fatalf("n=%d row %d value %d: got %v, want %v", n, i, j, rows[16*i+j], v-low)
					}
					want = max(want, v-low)
				}
			}
			if widest != want {
				t.Fatalf("n=%d: largest %v, want %v", n, widest, want)
			}
		}
	})
}

// Levels with FMA add up a score alike, in the order of dimensions, so that tiles of any size can stand in for one another:
// they agree to the bit, on NaN and infinities too.
func FuzzAssign(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), uint8(3), uint8(17), uint8(13))
	f.Add([]byte{}, uint8(0), uint8(9), uint8(13))
	f.Add([]byte{1}, uint8(4), uint8(0), uint8(7))
	f.Add([]byte{0, 0, 0x80, 0x7f, 0, 0, 0x80, 0xff, 0, 0, 0xc0, 0x7f, 1, 0, 0, 0}, uint8(8), uint8(1), uint8(25))
	f.Fuzz(func(t *testing.T, data []byte, dim, k, n uint8) {
		data = append(data, 0, 0, 0, 0)
		values := func(n, from int) []float32 {
			v := make([]float32, n)
			for i := range v {
				at := (from + i) % (len(data) / 4) * 4
				v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[at:]))
			}
			return v
		}
		d := int(dim)
		rows := values(int(n)*d, 0)
		p := Pack(values(int(k)*d, 3), int(k), d, values(int(k), 5))
		var first []float32
		for _, l := range Levels() {
			best, score, all := make([]int32, n), make([]float32, n), make([]float32, int(n)*int(k))
			Assign(l, p, rows, int(n), d, best, score)
			ScoresRows(l, p, rows, int(n), d, all, int(k))
			for i := range int(n) {
				want, at := float32(math.Inf(-1)), int32(0)
				for j, s := range all[i*int(k):][:k] {
					if s > want {
						want, at = s, int32(j)
					}
				}
				if best[i] != at || score[i] != want {
					t.Fatalf("%v row %d: centroid %d with %v, of its scores the best is %d with %v", l, i, best[i], score[i], at, want)
				}
			}
			switch {
			case l == Generic:
			case first == nil:
				first = all
			case !sameFloats(first, all):
				t.Fatalf("%v: other scores than %v has", l, AVX2)
			}
		}
	})
}
