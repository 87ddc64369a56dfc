package pca_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/pca"
)

// Rows that vary along known axes around a mean, as a part of wider rows: the axes are found, on any number of threads.
func TestPrincipal(t *testing.T) {
	const n, width, stride = 3000, 3, 5
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n*stride)
	for i := range n {
		a, b, c := 4*r.NormFloat64(), 2*r.NormFloat64(), r.NormFloat64()
		row := x[i*stride:]
		row[0], row[1], row[2], row[3] = float32(9+0.6*a+0.8*b), float32(-7+c), float32(0.8*a-0.6*b), 1e6
	}
	rows := pca.Rows{Values: x, N: n, Width: width, Stride: stride}
	for _, level := range avx.Levels() {
		one, err := pca.Principal(t.Context(), level, 1, rows)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []float64{1, 4, 16} {
			if got := one.Variances[i]; math.Abs(got-want) > 0.1*want {
				t.Errorf("%s: variance %d is %v, want %v", level, i, got, want)
			}
		}
		for axis, want := range [][]float64{{0, 1, 0}, {0.8, 0, -0.6}, {0.6, 0, 0.8}} {
			dot := 0.0
			for d, w := range want {
				dot += w * one.Vectors.At(d, axis)
			}
			if math.Abs(dot) < 0.998 {
				t.Errorf("%s: axis %d has inner product %v with the true one", level, axis, dot)
			}
		}
		many, err := pca.Principal(t.Context(), level, 3, rows)
		if err != nil {
			t.Fatal(err)
		}
		for d := range width {
			for axis := range width {
				if one.Vectors.At(d, axis) != many.Vectors.At(d, axis) {
					t.Errorf("%s: axes depend on threads", level)
				}
			}
		}
	}
}

func TestPrincipalRefuses(t *testing.T) {
	x := []float32{1, 2, float32(math.Inf(1)), 4}
	if _, err := pca.Principal(t.Context(), avx.Generic, 1, pca.Rows{Values: x, N: 2, Width: 2, Stride: 2}); err == nil {
		t.Error("infinite rows have axes")
	}
}
