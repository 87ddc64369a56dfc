package mrl_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

func ExampleLadder() {
	l := mrl.Ladder{64, 128, 256}
	fmt.Println(l, l.Dim(), l.Has(128), l.Has(100), l.LevelOf(63), l.LevelOf(64), l.Start(2))
	// Output: 64,128,256 256 true false 0 1 128
}

func TestLevelOf(t *testing.T) {
	l := mrl.Ladder{4, 8, 32}
	for i := range l.Dim() {
		level := l.LevelOf(i)
		if i < l.Start(level) || i >= l[level] {
			t.Errorf("dimension %d is in [%d, %d)", i, l.Start(level), l[level])
		}
	}
}

func TestNormalize(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	tests := []struct {
		name string
		src  []float32
		norm float32 // NaN = any that is not finite
		want []float32
	}{
		{"plain", []float32{3, 0, -4, 0}, 5, []float32{0.6, 0, -0.8, 0}},
		{"unit", []float32{0, 1, 0, 0}, 1, []float32{0, 1, 0, 0}},
		{"squares underflow", []float32{3e-30, 0, 4e-30, 0}, 5e-30, []float32{0.6, 0, 0.8, 0}},
		{"squares overflow", []float32{3e30, 0, 4e30, 0}, 5e30, []float32{0.6, 0, 0.8, 0}},
		{"smallest", []float32{math.SmallestNonzeroFloat32, 0, 0, 0}, math.SmallestNonzeroFloat32, []float32{1, 0, 0, 0}},
		{"zero", []float32{0, 0, 0, 0}, 0, nil},
		{"infinite", []float32{1, inf, 0, 0}, nan, nil},
		{"not a number", []float32{1, nan, 0, 0}, nan, nil},
		{"too long", []float32{math.MaxFloat32, math.MaxFloat32, 0, 0}, nan, nil},
	}
	for _, level := range avx.Levels() {
		for _, tt := range tests {
			t.Run(fmt.Sprint(level, "/", tt.name), func(t *testing.T) {
				dst := []float32{7, 7, 7, 7}
				norm := mrl.Normalize(level, dst, tt.src)
				if math.IsNaN(float64(tt.norm)) != (math.IsNaN(float64(norm)) || math.IsInf(float64(norm), 0)) {
					t.Fatalf("norm %v", norm)
				}
				if !math.IsNaN(float64(tt.norm)) && !near(norm, tt.norm) {
					t.Errorf("norm %v, want %v", norm, tt.norm)
				}
				if tt.want == nil {
					if !slices.Equal(dst, []float32{7, 7, 7, 7}) {
						t.Errorf("dst touched: %v", dst)
					}
					return
				}
				if !slices.EqualFunc(dst, tt.want, near) {
					t.Errorf("got %v, want %v", dst, tt.want)
				}
				own := slices.Clone(tt.src)
				mrl.Normalize(level, own, own)
				if !slices.Equal(own, dst) {
					t.Errorf("in place %v, apart %v", own, dst)
				}
			})
		}
	}
}

func near(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-6*math.Abs(float64(b)) }

func TestPrefixNorms(t *testing.T) {
	got := make([]float32, 3)
	for _, level := range avx.Levels() {
		for _, tt := range []struct{ v, want []float32 }{
			{[]float32{3, 4, 0, 0, 12, 0, 0, 0}, []float32{5, 5, 13}},
			{[]float32{3e-30, 4e-30, 0, 0, 12, 5, 0, 0}, []float32{5e-30, 5e-30, 13}}, // squares underflow
			{[]float32{0, 0, 3e-22, 0, 4e-22, 0, 0, 0}, []float32{0, 3e-22, 5e-22}},   // and keep few digits
		} {
			if mrl.PrefixNorms(level, tt.v, mrl.Ladder{2, 4, 8}, got); !slices.EqualFunc(got, tt.want, near) {
				t.Errorf("%s: of %v: %v, want %v", level, tt.v, got, tt.want)
			}
		}
	}
}
