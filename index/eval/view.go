package eval

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/pca"
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

// newCutter learns from n rows what the view needs.
func newCutter(ctx context.Context, o *Options, v View, rows Column, n int) (*cutter, error) {
	c := &cutter{view: v}
	switch v.Reduce {
	case Random:
		for _, d := range rand.New(rand.NewPCG(pickSeed, uint64(rows.Dim))).Perm(rows.Dim)[:v.Dims] {
			c.pick = append(c.pick, int32(d))
		}
	case PCA:
		all := pca.Rows{Values: rows.Values, N: n, Width: rows.Dim, Stride: rows.Dim}
		p, err := pca.Principal(ctx, o.Level, o.Threads, all.Spread(pcaRows))
		if err != nil {
			return nil, fmt.Errorf("view %s: %w", v, err)
		}
		c.axes = leading(p, v.Dims)
	}
	return c, nil
}

// leading packs the axes of the largest variances.
func leading(p *pca.Axes, dims int) *avx.Panels {
	width := len(p.Mean)
	axes, bias := make([]float32, dims*width), make([]float32, dims)
	for i := range dims {
		var along float64 // of the mean
		for d, m := range p.Mean {
			v := p.Vectors.At(d, width-1-i)
			axes[i*width+d], along = float32(v), along+v*m
		}
		bias[i] = float32(-along)
	}
	return avx.Pack(axes, dims, width, bias)
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
