package opq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/mrl"
)

// DefaultIterations is what Options.Iterations = 0 stands for.
const DefaultIterations = 8

const (
	roundsFirst = 8 // of k-means on the principal axes
	roundsNext  = 2 // after each change of the rotation
	roundsLast  = 12
)

// Options are the parameters of [Train].
type Options struct {
	M          int                   // sub-quantisers, 0 = DefaultSubs(dim)
	Iterations int                   // rounds of rotation and codebooks, 0 = DefaultIterations
	Seed       uint64                // of all random choices
	Level      avx.Level             // kernels to use
	Threads    int                   // goroutines, 0 = GOMAXPROCS
	Progress   func(done, total int) // called after each round of each block from the calling goroutine; nil = not called
}

// Validate reports every fault of the options for vectors of dim values.
func (o *Options) Validate(dim int) error {
	var faults []error
	if o.M < 0 || o.M > min(dim, MaxSubs) {
		faults = append(faults, fmt.Errorf("m: %d, allowed: 0 (%d) to %d", o.M, DefaultSubs(dim), min(dim, MaxSubs)))
	}
	if o.Iterations < 0 {
		faults = append(faults, fmt.Errorf("iterations: %d, allowed: 0 (%d) or more", o.Iterations, DefaultIterations))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("threads: %d, allowed: 0 (all) or more", o.Threads))
	}
	return errors.Join(faults...)
}

// Train learns a quantiser from n finite residuals [n][dim]; dim is the ladder's. One residual suffices, for codes that
// are as poor as that; a thousand per codeword are plenty. The outcome depends on the residuals, the options and the
// kernel level alone. It looks at ctx between rounds and inside of k-means.
func Train(ctx context.Context, residuals []float32, n, dim int, ladder mrl.Ladder, o Options) (*Quantizer, error) {
	if err := o.Validate(dim); err != nil {
		return nil, fmt.Errorf("opq: %w", err)
	}
	if o.M == 0 {
		o.M = DefaultSubs(dim)
	}
	if o.Iterations == 0 {
		o.Iterations = DefaultIterations
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	l, err := newLayout(ladder, o.M)
	if err != nil {
		return nil, err
	}
	if n < 1 || dim != ladder.Dim() || n*dim > len(residuals) {
		return nil, fmt.Errorf("opq: %d residuals of %d values in %d values, for ladder %s", n, dim, len(residuals), ladder)
	}
	rotation := make([]float32, 0, l.rotationLen())
	codebooks := make([]float32, 0, l.codebookLen())
	for i, b := range l.blocks {
		t := newTrainer(l, b, residuals, n, dim, o)
		err := t.train(ctx, func(round int) {
			if o.Progress != nil {
				o.Progress(i*(o.Iterations+1)+round, len(l.blocks)*(o.Iterations+1))
			}
		})
		if err != nil {
			return nil, fmt.Errorf("opq: dimensions [%d, %d): %w", b.start, b.end, err)
		}
		rotation = append(rotation, t.rotation...)
		for _, book := range t.books {
			codebooks = append(codebooks, book...)
		}
	}
	return New(ladder, o.M, rotation, codebooks)
}

// trainer learns the rotation and the codebooks of one block.
type trainer struct {
	x        []float32 // [n] rows, stride apart, of the block's dimensions
	n, width int
	stride   int
	bounds   []span // of sub-quantisers, in the block's rotated dimensions
	o        Options

	rotation []float32   // [width][width]
	books    [][]float32 // per sub-quantiser [16][its width]
	rotated  []float32   // [n][width]
	decoded  []float32   // [n][width] rotated rows, each replaced by its codewords
}

func newTrainer(l *layout, b block, residuals []float32, n, dim int, o Options) *trainer {
	t := &trainer{
		x: residuals[b.start:], n: n, width: b.width(), stride: dim, o: o,
		rotation: make([]float32, b.width()*b.width()),
		rotated:  make([]float32, n*b.width()),
		decoded:  make([]float32, n*b.width()),
	}
	t.o.Seed += uint64(b.start) // blocks draw different rows
	for _, s := range l.bounds[b.first:b.last] {
		t.bounds = append(t.bounds, span{s.start - b.start, s.end - b.start})
	}
	t.books = make([][]float32, len(t.bounds))
	return t
}

func (t *trainer) train(ctx context.Context, progress func(round int)) error {
	if err := t.principal(ctx); err != nil {
		return err
	}
	if len(t.bounds) == 0 { // fewer sub-quantisers than blocks: this one is not coded, its principal axes are as good as any
		progress(t.o.Iterations + 1)
		return nil
	}
	rounds := roundsFirst
	for i := range t.o.Iterations {
		if err := t.rotate(ctx); err != nil {
			return err
		}
		if err := t.quantize(ctx, rounds); err != nil {
			return err
		}
		if err := t.align(ctx); err != nil {
			return err
		}
		rounds = roundsNext
		progress(i + 1)
	}
	if err := t.rotate(ctx); err != nil {
		return err
	}
	if err := t.quantize(ctx, roundsLast); err != nil {
		return err
	}
	progress(t.o.Iterations + 1)
	return nil
}

// principal sets the rotation to the principal axes of the rows, in the order of the sub-quantisers that get them: the
// parametric solution.
func (t *trainer) principal(ctx context.Context) error {
	moments, err := t.products(ctx, t.x, t.stride)
	if err != nil {
		return err
	}
	mean := make([]float64, t.width)
	for i := range t.n {
		for d, v := range t.x[i*t.stride:][:t.width] {
			mean[d] += float64(v)
		}
	}
	covariance := mat.NewSymDense(t.width, nil)
	for i := range t.width {
		for j := i; j < t.width; j++ {
			n := float64(t.n)
			covariance.SetSym(i, j, moments.At(i, j)/n-mean[i]/n*mean[j]/n)
		}
	}
	var eigen mat.EigenSym
	if !finite(covariance) || !eigen.Factorize(covariance, true) {
		return errors.New("no principal axes: residuals are not finite, or too large")
	}
	var axes mat.Dense
	eigen.VectorsTo(&axes)
	for at, axis := range t.allocate(eigen.Values(nil)) {
		for d := range t.width {
			t.rotation[at*t.width+d] = float32(axes.At(d, axis))
		}
	}
	return nil
}

func finite(m mat.Matrix) bool {
	f := mat.Norm(m, 1)
	return !math.IsNaN(f) && !math.IsInf(f, 0)
}

// allocate returns, for each rotated dimension, the index of the eigenvalue that it gets. From the largest on, each
// goes to the sub-quantiser that has room and the smallest product so far (Ge et al., 3.2: eigenvalue allocation).
// values are ascending.
func (t *trainer) allocate(values []float64) []int {
	axes := make([]int, 0, t.width)
	for i := range values {
		axes = append(axes, len(values)-1-i)
	}
	if len(t.bounds) == 0 {
		return axes
	}
	taken := make([][]int, len(t.bounds))
	weight := make([]float64, len(t.bounds)) // log of the product
	floor := max(values[len(values)-1]*1e-9, math.SmallestNonzeroFloat32)
	for _, axis := range axes {
		at := -1
		for s, b := range t.bounds {
			if len(taken[s]) < b.width() && (at < 0 || weight[s] < weight[at]) {
				at = s
			}
		}
		taken[at] = append(taken[at], axis)
		// Relative to the floor, so that each value adds: a product of shares below one would attract the next.
		weight[at] += math.Log(max(values[axis], floor) / floor)
	}
	return slices.Concat(taken...)
}

// align sets the rotation to the orthogonal one that maps rows best to their decoded form: with X'Y = U S V', it is
// V U' (orthogonal Procrustes).
func (t *trainer) align(ctx context.Context) error {
	c, err := t.products(ctx, t.decoded, t.width)
	if err != nil {
		return err
	}
	var svd mat.SVD
	if !finite(c) || !svd.Factorize(c, mat.SVDFull) {
		return errors.New("no singular values: residuals are not finite, or too large")
	}
	var u, v, r mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	r.Mul(&v, u.T())
	for i := range t.width {
		for j := range t.width {
			t.rotation[i*t.width+j] = float32(r.At(i, j))
		}
	}
	return nil
}

// parts is in how many parts rows are summed, whatever the number of threads, so that sums are the same.
const parts = 8

// tile is how many rows are multiplied at once: two tiles of 256 dimensions stay in the second-level cache.
const tile = 256

// products returns X'Y in float64, y being the rows of Y, stride apart.
func (t *trainer) products(ctx context.Context, y []float32, stride int) (*mat.Dense, error) {
	sums := make([][]float64, parts)
	err := t.each(ctx, parts, func(p int) error {
		sums[p] = t.part(ctx, y, stride, t.n*p/parts, t.n*(p+1)/parts)
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for _, s := range sums[1:] {
		for i, v := range s {
			sums[0][i] += v
		}
	}
	return mat.NewDense(t.width, t.width, sums[0]), nil
}

// part returns X'Y of the rows [start, end), or what it has of it when ctx ends.
func (t *trainer) part(ctx context.Context, y []float32, stride, start, end int) []float64 {
	w := t.width
	sum := make([]float64, w*w)
	a, b := make([]float32, w*tile), make([]float32, w*tile)
	row := make([]float32, w)
	for ; start < end && ctx.Err() == nil; start += tile {
		rows := min(tile, end-start)
		transpose(a, t.x[start*t.stride:], rows, w, t.stride)
		transpose(b, y[start*stride:], rows, w, stride)
		for i := range w {
			avx.DotRows(t.o.Level, a[i*tile:][:rows], b, tile, row)
			for j, v := range row {
				sum[i*w+j] += float64(v)
			}
		}
	}
	return sum
}

// transpose writes rows of w values, stride apart, as columns of a tile.
func transpose(dst, src []float32, rows, w, stride int) {
	for i := range rows {
		for d, v := range src[i*stride:][:w] {
			dst[d*tile+i] = v
		}
	}
}

// rotate makes the rotated rows.
func (t *trainer) rotate(ctx context.Context) error {
	panels := avx.Pack(t.rotation, t.width, t.width, nil)
	return t.each(ctx, (t.n+tile-1)/tile, func(i int) error {
		for row := i * tile; row < min((i+1)*tile, t.n); row++ {
			avx.Scores(t.o.Level, panels, t.x[row*t.stride:][:t.width], t.rotated[row*t.width:][:t.width])
		}
		return nil
	})
}

// quantize improves each sub-quantiser's codebook by some rounds of k-means over the rotated rows, and decodes these.
func (t *trainer) quantize(ctx context.Context, rounds int) error {
	return t.each(ctx, len(t.bounds), func(s int) error {
		return t.quantizeSub(ctx, s, rounds)
	})
}

func (t *trainer) quantizeSub(ctx context.Context, s, rounds int) error {
	b := t.bounds[s]
	w := b.width()
	x := make([]float32, t.n*w)
	for i := range t.n {
		copy(x[i*w:][:w], t.rotated[i*t.width+b.start:][:w])
	}
	book, err := kmeans.Train(ctx, x, t.n, w, w, kmeans.Options{
		K: Codewords, Iterations: rounds, Seed: t.o.Seed + uint64(b.start), Initial: t.books[s], Level: t.o.Level, Threads: 1,
	})
	if err != nil {
		return err
	}
	for n := len(book) / w; n < Codewords; n++ {
		book = append(book, book[:w]...) // fewer different rows than codewords: the first of equals is always chosen
	}
	t.books[s] = book

	best, score := make([]int32, t.n), make([]float32, t.n)
	avx.Assign(t.o.Level, packNearest(book, w), x, t.n, w, best, score)
	for i, c := range best {
		copy(t.decoded[i*t.width+b.start:][:w], book[int(c)*w:][:w])
	}
	return nil
}

// each calls f for [0, n), in any order, on the threads of the options, until one fails or ctx ends.
func (t *trainer) each(ctx context.Context, n int, f func(i int) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	for i := 0; i < n && inner.Err() == nil; i++ {
		g.Go(func() error { return f(i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
