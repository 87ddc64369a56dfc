// Package pca finds the principal axes of rows: the directions in which they vary most, at right angles to one another.
package pca

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"github.com/adastream/adastream/avx"
)

// Rows are N rows of Width values, Stride apart.
type Rows struct {
	Values           []float32
	N, Width, Stride int
}

// Spread returns at most so many of the rows, evenly spaced.
func (r Rows) Spread(most int) Rows {
	step := max(1, (r.N+most-1)/most)
	return Rows{Values: r.Values, N: (r.N + step - 1) / step, Width: r.Width, Stride: step * r.Stride}
}

func (r Rows) row(i int) []float32 { return r.Values[i*r.Stride:][:r.Width] }

// Axes are principal axes, in columns, the variances along them, ascending, and the mean of the rows.
type Axes struct {
	Vectors   mat.Dense
	Variances []float64
	Mean      []float64
}

// Principal returns the principal axes of rows. They depend on the rows and the kernel level alone.
func Principal(ctx context.Context, level avx.Level, threads int, x Rows) (*Axes, error) {
	moments, err := Products(ctx, level, threads, x, x)
	if err != nil {
		return nil, err
	}
	mean := make([]float64, x.Width)
	for i := range x.N {
		for d, v := range x.row(i) {
			mean[d] += float64(v) / float64(x.N)
		}
	}
	covariance := mat.NewSymDense(x.Width, nil)
	for i := range x.Width {
		for j := i; j < x.Width; j++ {
			covariance.SetSym(i, j, moments.At(i, j)/float64(x.N)-mean[i]*mean[j])
		}
	}
	var eigen mat.EigenSym
	if !Finite(covariance) || !eigen.Factorize(covariance, true) {
		return nil, errors.New("no principal axes: rows are not finite, or too large")
	}
	a := &Axes{Variances: eigen.Values(nil), Mean: mean}
	eigen.VectorsTo(&a.Vectors)
	return a, nil
}

// Finite reports whether a matrix has neither infinities nor NaNs.
func Finite(m mat.Matrix) bool {
	f := mat.Norm(m, 1)
	return !math.IsNaN(f) && !math.IsInf(f, 0)
}

// parts is in how many parts rows are summed, whatever the number of threads, so that sums are the same.
const parts = 8

// tile is how many rows are multiplied at once: two tiles of 256 dimensions stay in the second-level cache.
const tile = 256

// Products returns X'Y in float64, of as many rows and as wide.
func Products(ctx context.Context, level avx.Level, threads int, x, y Rows) (*mat.Dense, error) {
	sums := make([][]float64, parts)
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(threads)
	for p := range parts {
		g.Go(func() error {
			sums[p] = part(inner, level, x, y, x.N*p/parts, x.N*(p+1)/parts)
			return inner.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range sums[1:] {
		for i, v := range s {
			sums[0][i] += v
		}
	}
	return mat.NewDense(x.Width, x.Width, sums[0]), nil
}

// part returns X'Y of the rows [start, end), or what it has of it when ctx ends.
func part(ctx context.Context, level avx.Level, x, y Rows, start, end int) []float64 {
	w := x.Width
	sum := make([]float64, w*w)
	a, b := make([]float32, w*tile), make([]float32, w*tile)
	row := make([]float32, w)
	for ; start < end && ctx.Err() == nil; start += tile {
		rows := min(tile, end-start)
		transpose(a, x, start, rows)
		transpose(b, y, start, rows)
		for i := range w {
			avx.DotRows(level, a[i*tile:][:rows], b, tile, row)
			for j, v := range row {
				sum[i*w+j] += float64(v)
			}
		}
	}
	return sum
}

// transpose writes n rows from start as columns of a tile.
func transpose(dst []float32, x Rows, start, n int) {
	for i := range n {
		for d, v := range x.row(start + i) {
			dst[d*tile+i] = v
		}
	}
}

// Random returns an orthogonal matrix [w][w] that is drawn at random.
func Random(rng *rand.Rand, w int) *mat.Dense {
	normal := mat.NewDense(w, w, nil)
	normal.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, normal)
	var qr mat.QR
	qr.Factorize(normal)
	var q mat.Dense
	qr.QTo(&q)
	return &q
}

// CheckRotation makes sure that the rows of an orthogonal matrix [w][w] have unit length, and neighbours are at right angles.
// A full check of all pairs would cost more than loading a model is worth.
func CheckRotation(r []float32, w int) error {
	const tolerance = 1e-3
	for i := range w {
		row := r[i*w:][:w]
		next := r[(i+1)%w*w:][:w]
		length, angle := avx.SumSquares(avx.Generic, row), avx.Dot(avx.Generic, row, next)
		if !(math.Abs(float64(length)-1) < tolerance) || w > 1 && !(math.Abs(float64(angle)) < tolerance) {
			return fmt.Errorf("row %d of the rotation has squared length %v and inner product %v with the next, allowed: 1 and 0",
				i, length, angle)
		}
	}
	return nil
}
