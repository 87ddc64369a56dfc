package kmeans_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
)

// clusters makes n rows around k random centres.
func clusters(n, dim, k int, spread float64) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	centres := make([]float64, k*dim)
	for i := range centres {
		centres[i] = r.NormFloat64()
	}
	x := make([]float32, n*dim)
	for i := range n {
		c := centres[r.IntN(k)*dim:]
		for d := range dim {
			x[i*dim+d] = float32(c[d] + spread*r.NormFloat64())
		}
	}
	return x
}

// objective is the mean squared distance to the nearest centroid.
func objective(x []float32, n, dim int, centroids []float32) float64 {
	sum := 0.0
	for i := range n {
		nearest := math.Inf(1)
		for c := 0; c < len(centroids); c += dim {
			d := 0.0
			for k := range dim {
				e := float64(x[i*dim+k] - centroids[c+k])
				d += e * e
			}
			nearest = min(nearest, d)
		}
		sum += nearest
	}
	return sum / float64(n)
}

func train(t *testing.T, x []float32, n, dim, stride int, o kmeans.Options) []float32 {
	t.Helper()
	c, err := kmeans.Train(t.Context(), x, n, dim, stride, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTrainBeatsRandomRows(t *testing.T) {
	const n, dim, k = 3000, 8, 24
	x := clusters(n, dim, k, 0.1)
	random := objective(x, n, dim, x[:k*dim]) // rows are in random order
	for _, level := range avx.Levels() {
		last := math.Inf(1)
		for _, iterations := range []int{2, 5, 20} {
			got := objective(x, n, dim, train(t, x, n, dim, dim, kmeans.Options{K: k, Iterations: iterations, Level: level}))
			if got > last*1.0001 {
				t.Errorf("%s: objective %.4f after %d iterations, %.4f before", level, got, iterations, last)
			}
			last = got
		}
		if last > random/2 {
			t.Errorf("%s: objective %.4f, that of random rows %.4f", level, last, random)
		}
	}
}

func TestTrainIsTheSameOnAnyThreads(t *testing.T) {
	const n, dim, k = 12000, 16, 100 // several blocks of work
	x := clusters(n, dim, 100, 0.3)
	for _, spherical := range []bool{false, true} {
		o := kmeans.Options{K: k, Iterations: 4, Seed: 5, Spherical: spherical, Threads: 1}
		want := train(t, x, n, dim, dim, o)
		for _, threads := range []int{0, 3} {
			o.Threads = threads
			if !slices.Equal(train(t, x, n, dim, dim, o), want) {
				t.Errorf("spherical %v: %d threads give other centroids than one", spherical, threads)
			}
		}
		o.Seed = 6
		if slices.Equal(train(t, x, n, dim, dim, o), want) {
			t.Errorf("spherical %v: another seed gives the same centroids", spherical)
		}
	}
}

func TestTrainStride(t *testing.T) {
	const n, dim, stride = 500, 4, 7
	x := clusters(n, stride, 9, 0.2)
	compact := make([]float32, 0, n*dim)
	for i := range n {
		compact = append(compact, x[i*stride:][:dim]...)
	}
	x = x[:(n-1)*stride+dim] // the last row ends where the slice does
	o := kmeans.Options{K: 9}
	if !slices.Equal(train(t, x, n, dim, stride, o), train(t, compact, n, dim, dim, o)) {
		t.Error("rows that are apart give other centroids than the same rows side by side")
	}
}

func TestTrainSphericalCentroidsAreUnit(t *testing.T) {
	const n, dim = 1000, 8
	c := train(t, clusters(n, dim, 10, 0.5), n, dim, dim, kmeans.Options{K: 10, Spherical: true})
	for i := 0; i < len(c); i += dim {
		if l := avx.SumSquares(avx.Generic, c[i:i+dim]); math.Abs(float64(l)-1) > 1e-5 {
			t.Errorf("centroid %d has squared length %v", i/dim, l)
		}
	}
}

func TestTrainFewRows(t *testing.T) {
	same := make([]float32, 0, 90)
	for range 30 {
		same = append(same, 1, 2, 2)
	}
	three := append(slices.Repeat([]float32{0, 0, 1}, 10), slices.Repeat([]float32{0, 1, 0}, 10)...)
	three = append(three, slices.Repeat([]float32{1, 0, 0}, 10)...)
	tests := []struct {
		name string
		x    []float32
		n, k int
		want int
	}{
		{"one row", []float32{1, 2, 3}, 1, 16, 1},
		{"fewer rows than k", clusters(5, 3, 5, 1), 5, 16, 5},
		{"as many", clusters(5, 3, 5, 1), 5, 5, 5},
		{"all alike", same, 30, 8, 1},
		{"three different", three, 30, 8, 3},
		{"zeros", make([]float32, 30), 10, 4, 1},
	}
	for _, tt := range tests {
		for _, spherical := range []bool{false, true} {
			c := train(t, tt.x, tt.n, 3, 3, kmeans.Options{K: tt.k, Iterations: 20, Spherical: spherical})
			if len(c) != 3*tt.want {
				t.Errorf("%s, spherical %v: %d centroids, want %d", tt.name, spherical, len(c)/3, tt.want)
			}
			if e := objective(tt.x, tt.n, 3, c); !spherical && e > 1e-9 {
				t.Errorf("%s: objective %v, want 0", tt.name, e)
			}
		}
	}
}

// Two far clusters, and all centroids begin in one of them, or far from both: each must be put to use.
func TestTrainMovesEmptyCentroids(t *testing.T) {
	const n, dim, k = 400, 2, 8
	x := clusters(n, dim, 2, 0.01)
	initial := slices.Repeat([]float32{1e3, 1e3}, k)
	c := train(t, x, n, dim, dim, kmeans.Options{K: k, Iterations: 20, Initial: initial})
	if len(c) != k*dim {
		t.Fatalf("%d of %d centroids are used", len(c)/dim, k)
	}
	if e := objective(x, n, dim, c); e > 2*0.01*0.01 {
		t.Errorf("objective %v, want less than that of two centroids", e)
	}
	if initial[0] != 1e3 {
		t.Error("the initial centroids were changed")
	}
}

func TestTrainStops(t *testing.T) {
	const n, dim = 5000, 16
	x := clusters(n, dim, 50, 0.5)
	for _, threads := range []int{1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		_, err := kmeans.Train(ctx, x, n, dim, dim, kmeans.Options{K: 200, Iterations: 1000, Threads: threads, Progress: func(done, total int) {
			if rounds = done; total != 1000 {
				t.Errorf("progress to %d", total)
			}
			cancel()
		}})
		if !errors.Is(err, context.Canceled) || rounds != 1 {
			t.Errorf("%d threads: error %v after %d rounds", threads, err, rounds)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	x := make([]float32, 12)
	tests := []struct {
		name           string
		n, dim, stride int
		o              kmeans.Options
		want           []string
	}{
		{"no rows", 0, 3, 3, kmeans.Options{K: 1}, []string{"0 rows"}},
		{"rows beyond the slice", 5, 3, 3, kmeans.Options{K: 1}, []string{"5 rows"}},
		{"rows that overlap", 2, 3, 2, kmeans.Options{K: 1}, []string{"2 apart"}},
		{"all faults", 4, 3, 3, kmeans.Options{Iterations: -1, Threads: -1, Initial: x}, []string{"k: 0", "iterations: -1", "threads: -1", "initial: 12"}},
	}
	for _, tt := range tests {
		_, err := kmeans.Train(t.Context(), x, tt.n, tt.dim, tt.stride, tt.o)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q in it", tt.name, err, want)
			}
		}
	}
}

func BenchmarkTrain(b *testing.B) {
	const n, dim, k = 20000, 64, 256
	x := clusters(n, dim, k, 0.5)
	level, err := avx.Best()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := kmeans.Train(b.Context(), x, n, dim, dim, kmeans.Options{K: k, Level: level, Threads: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
