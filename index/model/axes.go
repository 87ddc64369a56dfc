package model

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/pca"
)

// axesRows of the sample, evenly spaced, are enough to find axes on.
const axesRows = 16 << 10

// axes are an orthogonal matrix.
type axes struct {
	dim    int
	values []float32   // [dim][dim] row-major: rotated = axes * vector
	panels *avx.Panels // its rows as centroids
	id     string
}

func newAxes(values []float32, dim int) (*axes, error) {
	if len(values) != dim*dim {
		return nil, fmt.Errorf("axes of %d values, allowed: %d for %d dimensions", len(values), dim*dim, dim)
	}
	if err := pca.CheckRotation(values, dim); err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	sum := sha256.New()
	if err := binary.Write(sum, binary.LittleEndian, values); err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	return &axes{dim: dim, values: values, panels: avx.Pack(values, dim, dim, nil), id: hex.EncodeToString(sum.Sum(nil))}, nil
}

// rotate sets dst to the rotated form of vectors [n][dim]; that of one does not depend on its neighbours.
func (a *axes) rotate(level avx.Level, dst, src []float32) {
	avx.ScoresRows(level, a.panels, src, len(src)/a.dim, a.dim, dst, a.dim)
}

// Axes names the rotation by its content, "" if there is none. Int8 rows are comparable if they were rotated to the same
// axes. The model may be nil, which is none.
func (m *Model) Axes() string {
	if m == nil || m.axes == nil {
		return ""
	}
	return m.axes.id
}

// Rotate sets dst to the rotated form of searched vectors, [n][Dim()], or to themselves if the model does not rotate or is
// nil. That of a vector does not depend on its neighbours. Dst and src do not overlap.
func (m *Model) Rotate(level avx.Level, dst, src []float32) {
	if m == nil || m.axes == nil {
		copy(dst, src)
		return
	}
	m.axes.rotate(level, dst, src)
}

// Unrotate sets dst to the searched vector whose rotated form is src: the inverse of Rotate, to rounding, of one vector. It
// is not fast.
func (m *Model) Unrotate(dst, src []float32) {
	if m == nil || m.axes == nil {
		copy(dst, src)
		return
	}
	dim := m.Dim()
	clear(dst[:dim])
	for i, v := range src { // the inverse of a rotation is its transpose
		for d, a := range m.axes.values[i*dim:][:dim] {
			dst[d] += v * a
		}
	}
}

// rotate rotates the sample, to the axes of the old model unless everything is made anew. It returns nil for a model that
// does not rotate.
func (t *training) rotate(ctx context.Context) (*axes, error) {
	var a *axes
	switch {
	case t.o.Repair == Codes || t.o.Repair == Lists:
		a = t.o.From.axes
	case t.rotates:
		var err error
		if a, err = t.learnAxes(ctx); err != nil {
			return nil, err
		}
	}
	if a == nil {
		return nil, nil
	}
	rotated, err := t.o.Memory(t.n * t.dim)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	const some = 128
	for start := 0; start < t.n; start += some {
		g.Go(func() error {
			end := min(start+some, t.n)
			a.rotate(t.o.Level, rotated[start*t.dim:end*t.dim], t.sample[start*t.dim:end*t.dim])
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	t.sample = rotated
	return a, nil
}

// learnAxes finds the principal axes of the sample, those of the largest variance first: of all rotations the one whose
// prefixes leave least of the differences between rows. The mean is left out of it: what all rows have in common does not
// change which are nearest, however long it is.
//
// Axes of one level are mixed at random then. Its prefix is what it was, but no dimension stands out: the step of an int8 row is
// as large as its largest value.
func (t *training) learnAxes(ctx context.Context) (*axes, error) {
	rows := pca.Rows{Values: t.sample, N: t.n, Width: t.dim, Stride: t.dim}
	p, err := pca.Principal(ctx, t.o.Level, t.o.Threads, rows.Spread(axesRows))
	if err != nil {
		return nil, err
	}
	values := make([]float32, 0, t.dim*t.dim)
	rng := rand.New(rand.NewPCG(t.o.Seed, 0))
	for l, end := range t.ladder {
		start := t.ladder.Start(l)
		var level mat.Dense // [end-start][dim]
		level.Mul(pca.Random(rng, end-start), p.Vectors.Slice(0, t.dim, t.dim-end, t.dim-start).T())
		for i := range end - start {
			for d := range t.dim {
				values = append(values, float32(level.At(i, d)))
			}
		}
	}
	t.o.Progress(StageAxes, 1, 1)
	return newAxes(values, t.dim)
}
