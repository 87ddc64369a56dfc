package opq_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
)

// residuals makes n rows like what is left of Matryoshka vectors without their centroids: the variance decays from
// dimension to dimension, and neighbours depend on one another.
func residuals(n, dim int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 3))
	x := make([]float32, n*dim)
	for i := range n {
		last := 0.0
		for d := range dim {
			last = 0.6*last + 0.8*r.NormFloat64()
			x[i*dim+d] = float32(0.1 * last / math.Sqrt(float64(d+1)))
		}
	}
	return x
}

func train(t testing.TB, x []float32, n int, ladder mrl.Ladder, o opq.Options) *opq.Quantizer {
	t.Helper()
	q, err := opq.Train(context.Background(), x, n, ladder.Dim(), ladder, o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// relative returns the squared error of decoded rows in shares of their squared length.
func relative(q *opq.Quantizer, level avx.Level, x []float32, n int) float64 {
	codes := make([]byte, n*q.CodeBytes())
	q.Encode(level, x, n, codes, &opq.Scratch{})
	decoded := make([]float32, q.Dim())
	lost, all := 0.0, 0.0
	for i := range n {
		q.Decode(decoded, codes[i*q.CodeBytes():][:q.CodeBytes()])
		for d, v := range decoded {
			u := x[i*q.Dim()+d]
			lost += float64(u-v) * float64(u-v)
			all += float64(u) * float64(u)
		}
	}
	return lost / all
}

func TestErrorDecreasesWithM(t *testing.T) {
	ladder := mrl.Ladder{8, 16, 32}
	const n = 2000
	x, test := residuals(n, 32, 1), residuals(500, 32, 2)
	last := 1.0
	for _, m := range []int{1, 2, 3, 5, 8, 16, 32} {
		q := train(t, x, n, ladder, opq.Options{M: m, Iterations: 2})
		if q.M() != m || q.Subs(32) != m || q.CodeBytes() != (m+1)/2 {
			t.Fatalf("m %d: M %d, Subs %d, CodeBytes %d", m, q.M(), q.Subs(32), q.CodeBytes())
		}
		got := relative(q, avx.Generic, test, 500)
		if got >= last*0.95 {
			t.Errorf("m %d: error %.3f, %.3f with fewer", m, got, last)
		}
		last = got
	}
	if last > 0.02 {
		t.Errorf("four bits a dimension leave an error of %.3f", last)
	}
}

// Rotations must help: against one that mixes nothing, of the same layout and with the same training.
func TestRotationDecreasesError(t *testing.T) {
	ladder := mrl.Ladder{16}
	const n = 4000
	x := residuals(n, 16, 1)
	for i := range n { // pairs of dimensions that are nearly equal, in different sub-quantisers
		for d := range 8 {
			x[i*16+8+d] = x[i*16+d] * 0.9
		}
	}
	got := relative(train(t, x, n, ladder, opq.Options{}), avx.Generic, x, n)
	// Half of the dimensions say nothing new, so 16 bits are as good as two bits a dimension of the rest: less than
	// a third of the error of one bit.
	if got > 0.12 {
		t.Errorf("error %.3f", got)
	}
}

func TestRotationIsOrthogonalByLevel(t *testing.T) {
	ladder := mrl.Ladder{4, 12, 32}
	q := train(t, residuals(1000, 32, 1), 1000, ladder, opq.Options{})
	var columns [32][]float32
	for d := range columns {
		unit := make([]float32, 32)
		unit[d] = 1
		columns[d] = make([]float32, 32)
		q.Rotate(avx.Generic, columns[d], unit)
		for r, v := range columns[d] {
			if v != 0 && ladder.LevelOf(r) != ladder.LevelOf(d) {
				t.Errorf("dimension %d goes into %d of another level", d, r)
			}
		}
	}
	for i, a := range columns {
		for j, b := range columns {
			want := 0.0
			if i == j {
				want = 1
			}
			if got := float64(avx.Dot(avx.Generic, a, b)); math.Abs(got-want) > 1e-5 {
				t.Errorf("columns %d and %d have inner product %v", i, j, got)
			}
		}
	}
}

// What a scan adds up is the inner product with the decoded residual, at every level of the ladder.
func TestLUT(t *testing.T) {
	ladder := mrl.Ladder{8, 16, 64}
	const n = 1000
	x, queries := residuals(n, 64, 1), residuals(50, 64, 4)
	for _, m := range []int{1, 2, 7, 16, 40} {
		q := train(t, x, n, ladder, opq.Options{M: m, Iterations: 1})
		for _, level := range avx.Levels() {
			t.Run(fmt.Sprint(m, "/", level), func(t *testing.T) {
				var s opq.Scratch
				var lut opq.LUT
				codes := make([]byte, 100*q.CodeBytes())
				q.Encode(level, x, 100, codes, &s)
				decoded := make([]float32, 64)
				for i := range 50 {
					query := queries[i*64:][:64]
					for _, dims := range ladder {
						q.LUT(level, query, dims, &lut, &s)
						if lut.Subs != q.Subs(dims) || len(lut.Table) != 16*(lut.Subs+lut.Subs%2) {
							t.Fatalf("dims %d: %d sub-quantisers, table of %d", dims, lut.Subs, len(lut.Table))
						}
						for row := range 100 {
							code := codes[row*q.CodeBytes():][:q.CodeBytes()]
							q.Decode(decoded, code)
							want := avx.Dot(level, query[:dims], decoded[:dims])
							got := lut.Bias + lut.Scale*float32(sum(&lut, code))
							if diff := math.Abs(float64(got - want)); diff > float64(lut.MaxError())+1e-6 {
								t.Fatalf("dims %d: got %v, want %v within %v", dims, got, want, lut.MaxError())
							}
						}
					}
				}
			})
		}
	}
}

func sum(lut *opq.LUT, code []byte) int {
	sum := 0
	for s := range lut.Subs {
		sum += int(lut.Table[16*s+int(code[s/2]>>(4*(s%2))&15)])
	}
	return sum
}

func TestLUTOfZeroQuery(t *testing.T) {
	q := train(t, residuals(500, 16, 1), 500, mrl.Ladder{16}, opq.Options{})
	for _, query := range [][]float32{make([]float32, 16), slices.Repeat([]float32{1e-44}, 16)} {
		var lut opq.LUT
		q.LUT(avx.Generic, query, 16, &lut, &opq.Scratch{})
		if lut.Scale != 0 || math.Abs(float64(lut.Bias)) > 1e-40 {
			t.Errorf("query of %v: scale %v, bias %v", query[0], lut.Scale, lut.Bias)
		}
	}
}

// The codes of a prefix say nothing about the dimensions beyond.
func TestCodesOfAPrefix(t *testing.T) {
	ladder := mrl.Ladder{8, 16, 32}
	const n = 2000
	x := residuals(n, 32, 1)
	q := train(t, x, n, ladder, opq.Options{})
	for _, dims := range ladder[:2] {
		other := slices.Clone(x[:100*32])
		for i := range 100 {
			for d := dims; d < 32; d++ {
				other[i*32+d] += 0.3
			}
		}
		var s opq.Scratch
		a, b := make([]byte, 100*q.CodeBytes()), make([]byte, 100*q.CodeBytes())
		q.Encode(avx.Generic, x, 100, a, &s)
		q.Encode(avx.Generic, other, 100, b, &s)
		same, subs := true, q.Subs(dims)
		for i := range 100 {
			for sub := range q.M() {
				at, shift := i*q.CodeBytes()+sub/2, 4*(sub%2)
				if (a[at]^b[at])>>shift&15 == 0 {
					continue
				}
				if same = false; sub < subs {
					t.Fatalf("dims %d: sub-quantiser %d of the first %d sees what is beyond", dims, sub, subs)
				}
			}
		}
		if same {
			t.Errorf("dims %d: no code sees what is beyond", dims)
		}
	}
}

// A code is the same alone and in each place of a batch that is rotated at once.
func TestCodeDoesNotDependOnNeighbours(t *testing.T) {
	const n, dim = 273, 52 // more than one batch, and no multiple of what kernels take at once
	x := residuals(n, dim, 1)
	q := train(t, x, n, mrl.Ladder{9, 20, dim}, opq.Options{Iterations: 1})
	size := q.CodeBytes()
	for _, level := range avx.Levels() {
		var s opq.Scratch
		codes, alone := make([]byte, n*size), make([]byte, size)
		q.Encode(level, x, n, codes, &s)
		for i := range n {
			q.Encode(level, x[i*dim:][:dim], 1, alone, &s)
			if got := codes[i*size:][:size]; !slices.Equal(got, alone) {
				t.Fatalf("%s: row %d: code %x among others, %x alone", level, i, got, alone)
			}
		}
	}
}

func TestEncodeChoosesTheNearest(t *testing.T) {
	const n, dim = 1000, 16
	x := residuals(n, dim, 1)
	q := train(t, x, n, mrl.Ladder{dim}, opq.Options{M: 4})
	for _, level := range avx.Levels() {
		codes := make([]byte, 300*q.CodeBytes())
		q.Encode(level, x, 300, codes, &opq.Scratch{})
		decoded := make([]float32, dim)
		distance := func(row int, code []byte) float64 {
			q.Decode(decoded, code)
			sum := 0.0
			for d, v := range decoded {
				e := float64(x[row*dim+d] - v)
				sum += e * e
			}
			return sum
		}
		for i := range 300 {
			code := codes[i*2:][:2]
			best := distance(i, code)
			for sub := range 4 {
				for c := range byte(16) {
					other := slices.Clone(code)
					other[sub/2] = other[sub/2]&^(15<<(4*(sub%2))) | c<<(4*(sub%2))
					if d := distance(i, other); d < best-1e-7 {
						t.Fatalf("%s: row %d: code %x at %v, %x is nearer at %v", level, i, code, best, other, d)
					}
				}
			}
		}
	}
}

func TestTrainIsTheSameOnAnyThreads(t *testing.T) {
	ladder := mrl.Ladder{8, 32}
	const n = 3000
	x := residuals(n, 32, 1)
	want := train(t, x, n, ladder, opq.Options{Threads: 1, Seed: 9})
	for _, threads := range []int{0, 3} {
		got := train(t, x, n, ladder, opq.Options{Threads: threads, Seed: 9})
		if !slices.Equal(got.Rotation(), want.Rotation()) || !slices.Equal(got.Codebooks(), want.Codebooks()) {
			t.Errorf("%d threads give another quantiser than one", threads)
		}
	}
}

func TestTrainOnLittle(t *testing.T) {
	ladder := mrl.Ladder{4, 8, 20}
	tests := []struct {
		name string
		x    []float32
		n, m int
		want float64 // error
	}{
		{"one zero", make([]float32, 20), 1, 0, 0},
		{"zeros", make([]float32, 200), 10, 0, 0},
		{"one row", residuals(1, 20, 1), 1, 0, 1e-9},
		{"as many rows as codewords", residuals(16, 20, 1), 16, 5, 1e-9},
		{"one more", residuals(17, 20, 1), 17, 5, 0.1},
		{"fewer sub-quantisers than levels", residuals(300, 20, 1), 300, 2, 0.9},
		{"one a dimension", residuals(300, 20, 1), 300, 20, 0.05},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := train(t, tt.x, tt.n, ladder, opq.Options{M: tt.m})
			if tt.want == 0 {
				decoded := make([]float32, 20)
				q.Decode(decoded, make([]byte, q.CodeBytes()))
				if !slices.Equal(decoded, make([]float32, 20)) {
					t.Errorf("zeros are decoded as %v", decoded)
				}
				return
			}
			if got := relative(q, avx.Generic, tt.x, tt.n); !(got <= tt.want) {
				t.Errorf("error %v, want at most %v", got, tt.want)
			}
		})
	}
}

func TestTrainStops(t *testing.T) {
	const n = 2000
	ctx, cancel := context.WithCancel(t.Context())
	rounds := 0
	_, err := opq.Train(ctx, residuals(n, 32, 1), n, 32, mrl.Ladder{16, 32}, opq.Options{Iterations: 1000, Progress: func(done, total int) {
		if rounds = done; total != 2*1001 {
			t.Errorf("progress to %d", total)
		}
		cancel()
	}})
	if !errors.Is(err, context.Canceled) || rounds != 1 {
		t.Errorf("error %v after %d rounds", err, rounds)
	}
}

func TestTrainRefuses(t *testing.T) {
	nan := residuals(20, 8, 1)
	nan[11] = float32(math.NaN())
	tests := []struct {
		name   string
		x      []float32
		n      int
		ladder mrl.Ladder
		o      opq.Options
		want   string
	}{
		{"no rows", nil, 0, mrl.Ladder{8}, opq.Options{}, "0 residuals"},
		{"too short", make([]float32, 15), 2, mrl.Ladder{8}, opq.Options{}, "2 residuals of 8"},
		{"another ladder", make([]float32, 16), 2, mrl.Ladder{4}, opq.Options{}, "ladder 4"},
		{"falling ladder", make([]float32, 16), 2, mrl.Ladder{8, 8}, opq.Options{}, "ladder: 8,8"},
		{"no ladder", make([]float32, 16), 2, nil, opq.Options{}, "ladder: empty"},
		{"m too large", make([]float32, 16), 2, mrl.Ladder{8}, opq.Options{M: 9}, "m: 9"},
		{"not finite", nan, 20, mrl.Ladder{8}, opq.Options{}, "not finite"},
		{"options", make([]float32, 16), 2, mrl.Ladder{8}, opq.Options{M: -1, Iterations: -1, Threads: -1}, "m: -1"},
	}
	for _, tt := range tests {
		if _, err := opq.Train(t.Context(), tt.x, tt.n, 8, tt.ladder, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

func TestNew(t *testing.T) {
	ladder := mrl.Ladder{4, 8}
	q := train(t, residuals(300, 8, 1), 300, ladder, opq.Options{M: 3})
	same, err := opq.New(ladder, q.Blocks(), q.Rotation(), q.Codebooks())
	if err != nil {
		t.Fatal(err)
	}
	x := residuals(64, 8, 2)
	a, b := make([]byte, 64*2), make([]byte, 64*2)
	q.Encode(avx.Generic, x, 64, a, &opq.Scratch{})
	same.Encode(avx.Generic, x, 64, b, &opq.Scratch{})
	if !slices.Equal(a, b) {
		t.Error("the same parts make another quantiser")
	}

	changed := func(s []float32, i int, v float32) []float32 {
		s = slices.Clone(s)
		s[i] = v
		return s
	}
	tests := []struct {
		name                string
		blocks              []int
		rotation, codebooks []float32
		want                string
	}{
		{"blocks", []int{3}, q.Rotation(), q.Codebooks(), "1 blocks"},
		{"no sub-quantisers", []int{0, 0}, q.Rotation(), nil, "0 sub-quantisers"},
		{"too many", []int{5, 0}, q.Rotation(), q.Codebooks(), "5 sub-quantisers"},
		{"negative", []int{-1, 4}, q.Rotation(), q.Codebooks(), "-1 sub-quantisers"},
		{"short rotation", q.Blocks(), q.Rotation()[1:], q.Codebooks(), "rotation of 31"},
		{"short codebooks", q.Blocks(), q.Rotation(), q.Codebooks()[1:], "codebooks of 127"},
		{"infinite codeword", q.Blocks(), q.Rotation(), changed(q.Codebooks(), 3, float32(math.Inf(1))), "value 3"},
		{"stretched", q.Blocks(), changed(q.Rotation(), 16, 2), q.Codebooks(), "[4, 8): row 0"},
		{"not a number", q.Blocks(), changed(q.Rotation(), 0, float32(math.NaN())), q.Codebooks(), "[0, 4): row 0"},
	}
	for _, tt := range tests {
		if _, err := opq.New(ladder, tt.blocks, tt.rotation, tt.codebooks); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	const n = 500
	x := residuals(n, 32, 1)
	q := train(t, x, n, mrl.Ladder{16, 32}, opq.Options{})
	codes := make([]byte, n*q.CodeBytes())
	var s opq.Scratch
	var lut opq.LUT
	for _, level := range avx.Levels() {
		if a := testing.AllocsPerRun(10, func() { q.Encode(level, x, n, codes, &s) }); a != 0 {
			t.Errorf("%s: Encode allocates %v times", level, a)
		}
		if a := testing.AllocsPerRun(10, func() { q.EncodeAlong(level, x, opq.Batch, &s, opq.Residuals{Values: x, Codes: codes}) }); a != 0 {
			t.Errorf("%s: EncodeAlong allocates %v times", level, a)
		}
		if a := testing.AllocsPerRun(10, func() { q.LUT(level, x[:32], 32, &lut, &s) }); a != 0 {
			t.Errorf("%s: LUT allocates %v times", level, a)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	const n = 1024
	for _, ladder := range []mrl.Ladder{{64, 128, 256}, {256, 512, 1024}} {
		dim := ladder.Dim()
		x := residuals(n, dim, 1)
		q := train(b, x, n, ladder, opq.Options{Iterations: 1})
		codes := make([]byte, n*q.CodeBytes())
		for _, level := range avx.Levels() {
			b.Run(fmt.Sprintf("d=%d/%v", dim, level), func(b *testing.B) {
				var s opq.Scratch
				b.SetBytes(int64(n * dim * 4))
				for b.Loop() {
					q.Encode(level, x, n, codes, &s)
				}
			})
		}
	}
}

func BenchmarkTrain(b *testing.B) {
	const n, dim = 16 << 10, 256
	x := residuals(n, dim, 1)
	for _, level := range avx.Levels() {
		b.Run(level.String(), func(b *testing.B) {
			for b.Loop() {
				train(b, x, n, mrl.Ladder{64, 128, 256}, opq.Options{Level: level})
			}
		})
	}
}

func BenchmarkLUT(b *testing.B) {
	const dim = 256
	x := residuals(1024, dim, 1)
	q := train(b, x, 1024, mrl.Ladder{64, 128, 256}, opq.Options{Iterations: 1})
	for _, level := range avx.Levels() {
		b.Run(level.String(), func(b *testing.B) {
			var s opq.Scratch
			var lut opq.LUT
			for b.Loop() {
				q.LUT(level, x[:dim], dim, &lut, &s)
			}
		})
	}
}
