package eval

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

const (
	pcaRows  = 16 << 10 // principal axes are those of so many evenly spaced rows
	pickSeed = 0x7069636b
)

// cutter makes views of vectors of a column. It is immutable.
type cutter struct {
	view View
	pick []int32     // of Random
	axes *avx.Panels // of PCA: the axes as centroids, biased by the inner product with the mean
}

// newCutter learns from rows what the view needs.
func newCutter(v View, rows Column, n int) (*cutter, error) {
	c := &cutter{view: v}
	switch v.Reduce {
	case Random:
		for _, d := range rand.New(rand.NewPCG(pickSeed, uint64(rows.Dim))).Perm(rows.Dim)[:v.Dims] {
			c.pick = append(c.pick, int32(d))
		}
	case PCA:
		axes, err := principal(rows, n, v.Dims)
		if err != nil {
			return nil, fmt.Errorf("view %s: %w", v, err)
		}
		c.axes = axes
	}
	return c, nil
}

// principal returns the first dims principal axes of rows.
func principal(rows Column, n, dims int) (*avx.Panels, error) {
	step := (n + pcaRows - 1) / pcaRows
	x := mat.NewDense((n+step-1)/step, rows.Dim, nil)
	mean := make([]float32, rows.Dim)
	for i := range x.RawMatrix().Rows {
		for d, v := range rows.Row(i * step) {
			x.Set(i, d, float64(v))
			mean[d] += v / float32(x.RawMatrix().Rows)
		}
	}
	var covariance mat.SymDense
	stat.CovarianceMatrix(&covariance, x, nil)
	var eigen mat.EigenSym
	if !eigen.Factorize(&covariance, true) {
		return nil, errors.New("no principal axes: vectors are not finite, or too large")
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors) // in columns, by ascending variance
	axes, bias := make([]float32, dims*rows.Dim), make([]float32, dims)
	for i := range dims {
		axis := axes[i*rows.Dim:][:rows.Dim]
		for d := range axis {
			axis[d] = float32(vectors.At(d, rows.Dim-1-i))
		}
		bias[i] = -avx.Dot(avx.Generic, axis, mean)
	}
	return avx.Pack(axes, dims, rows.Dim, bias), nil
}

// cut returns the view of a vector, not scaled: a part of it, or made in room for Dims values.
func (c *cutter) cut(level avx.Level, vector, room []float32) []float32 {
	switch c.view.Reduce {
	case Random:
		for i, d := range c.pick {
			room[i] = vector[d]
		}
	case PCA:
		avx.Scores(level, c.axes, vector, room)
	default:
		return vector[:c.view.Dims]
	}
	return room[:c.view.Dims]
}

// matrix returns the view of n rows, [n][Dims] at unit length. A row whose view is zero stays so.
func (c *cutter) matrix(level avx.Level, rows Column, n int) []float32 {
	d := c.view.Dims
	out := make([]float32, n*d)
	for i := range n {
		dst := out[i*d:][:d]
		copy(dst, c.cut(level, rows.Row(i), dst))
		mrl.Normalize(level, dst, dst)
	}
	return out
}
