package opq

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/pca"
)

// defaultIterations is what Options.Iterations = 0 stands for.
const defaultIterations = 4

// Principal axes are nearly as good as what many rounds make of them, and rotations need fewer rows than codebooks: on
// residuals of text more than this gains less than half a percent of the error.
const (
	alignRows   = 16 << 10 // the most that rotations are improved on
	roundsFirst = 8        // of k-means on the principal axes,
	roundsNext  = 2        // after each change of the rotation,
	roundsLast  = 8        // and in the end, on all rows
)

// Options are the parameters of [Train].
type Options struct {
	M          int                   // sub-quantisers, 0 = DefaultSubs(dim)
	Iterations int                   // rounds of rotation and codebooks, 0 = 4, or 1 from another quantiser
	From       *Quantizer            // of the same ladder: its rotation and codebooks are improved instead; M does not matter
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
		faults = append(faults, fmt.Errorf("iterations: %d, allowed: 0 (%d) or more", o.Iterations, defaultIterations))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("threads: %d, allowed: 0 (all) or more", o.Threads))
	}
	return errors.Join(faults...)
}

// Train learns a quantiser from n finite residuals [n][dim]; dim is the ladder's. One residual suffices, for codes that
// are as poor as that; some thousands for each codeword of a sub-quantiser are plenty. The outcome depends on the
// residuals, the options and the kernel level alone. It looks at ctx between rounds and inside of k-means.
func Train(ctx context.Context, residuals []float32, n, dim int, ladder mrl.Ladder, o Options) (*Quantizer, error) {
	if err := o.Validate(dim); err != nil {
		return nil, fmt.Errorf("opq: %w", err)
	}
	if o.M == 0 {
		o.M = DefaultSubs(dim)
	}
	if o.Iterations == 0 {
		if o.Iterations = defaultIterations; o.From != nil {
			o.Iterations = 1
		}
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	blocks, err := newBlocks(ladder)
	if err != nil {
		return nil, fmt.Errorf("opq: %w", err)
	}
	if o.From != nil && !slices.Equal(o.From.ladder, ladder) {
		return nil, fmt.Errorf("opq: from a quantiser of ladder %s, allowed: %s", o.From.ladder, ladder)
	}
	if n < 1 || dim != ladder.Dim() || n*dim > len(residuals) {
		return nil, fmt.Errorf("opq: %d residuals of %d values in %d values, for ladder %s", n, dim, len(residuals), ladder)
	}
	q, err := train(ctx, residuals, n, ladder, blocks, o)
	if err != nil {
		return nil, fmt.Errorf("opq: %w", err)
	}
	return q, nil
}

func train(ctx context.Context, residuals []float32, n int, ladder mrl.Ladder, blocks []block, o Options) (*Quantizer, error) {
	var trainers []*trainer
	var variances [][]float64
	for _, b := range blocks {
		t := &trainer{all: residuals[b.start:], allRows: n, dim: ladder.Dim(), width: b.width(), o: o}
		t.o.Seed += uint64(b.start) // blocks draw different rows
		t.take(1)
		trainers = append(trainers, t)
		if o.From != nil {
			continue
		}
		var err error
		if t.axes, err = pca.Principal(ctx, t.o.Level, t.o.Threads, t.rows()); err != nil {
			return nil, fmt.Errorf("dimensions [%d, %d): %w", b.start, b.end, err)
		}
		variances = append(variances, t.axes.Variances)
	}
	var subs []int
	if o.From != nil {
		subs = o.From.Blocks()
	} else {
		subs = divide(variances, o.M)
	}
	l, err := newLayout(ladder, subs)
	if err != nil {
		return nil, err
	}
	var rotation, codebooks []float32
	done, total := 0, len(blocks)*(o.Iterations+1)
	for i, t := range trainers {
		b := l.blocks[i]
		t.divide(l.bounds[b.first:b.last], b.start)
		if o.From != nil {
			t.adopt(o.From, i)
		} else {
			t.allocate()
		}
		for round := range o.Iterations + 1 {
			if err := t.round(ctx, round); err != nil {
				return nil, fmt.Errorf("dimensions [%d, %d): %w", b.start, b.end, err)
			}
			if done++; o.Progress != nil {
				o.Progress(done, total)
			}
		}
		rotation = append(rotation, t.rotation...)
		for _, book := range t.books {
			codebooks = append(codebooks, book...)
		}
		*t = trainer{} // its rotated rows are as large as the residuals
	}
	return New(ladder, subs, rotation, codebooks)
}

// trainer learns the rotation and the codebooks of one block.
type trainer struct {
	all     []float32 // [allRows] rows of the block's dimensions, dim apart
	allRows int
	dim     int
	width   int
	o       Options

	n, stride int         // the rows in use: n of them, all[i*stride:]
	axes      *pca.Axes   // principal ones
	bounds    []span      // of sub-quantisers, in the block's rotated dimensions
	rotation  []float32   // [width][width]
	books     [][]float32 // per sub-quantiser [16][its width]
	rotated   []float32   // [n][width]
	decoded   []float32   // [n][width] rotated rows, each replaced by its codewords
}

// take makes every step-th row the ones in use.
func (t *trainer) take(step int) {
	t.n, t.stride = (t.allRows+step-1)/step, t.dim*step
}

// rows are the ones in use.
func (t *trainer) rows() pca.Rows {
	return pca.Rows{Values: t.all, N: t.n, Width: t.width, Stride: t.stride}
}

// divide gives the block its sub-quantisers.
func (t *trainer) divide(bounds []span, start int) {
	for _, b := range bounds {
		t.bounds = append(t.bounds, span{b.start - start, b.end - start})
	}
	t.books = make([][]float32, len(t.bounds))
}

// adopt begins with the rotation and the codebooks of block i of a quantiser.
func (t *trainer) adopt(q *Quantizer, i int) {
	rotation, books := q.rotation, q.codebooks
	for _, b := range q.layout.blocks[:i] {
		rotation = rotation[b.width()*b.width():]
		for _, s := range q.layout.bounds[b.first:b.last] {
			books = books[Codewords*s.width():]
		}
	}
	t.rotation = slices.Clone(rotation[:t.width*t.width]) // rounds change it
	for s, b := range t.bounds {
		size := Codewords * b.width()
		t.books[s], books = books[:size], books[size:]
	}
}

// allocate sets the rotation to the principal axes in the order of the sub-quantisers that get them: the parametric
// solution.
func (t *trainer) allocate() {
	t.rotation = make([]float32, t.width*t.width)
	for at, axis := range allocate(t.axes.Variances, t.bounds) {
		for d := range t.width {
			t.rotation[at*t.width+d] = float32(t.axes.Vectors.At(d, axis))
		}
	}
}

// round trains codebooks for the rotation and then a better rotation for the codebooks. Round number o.Iterations is
// the last, of codebooks alone and on all rows.
func (t *trainer) round(ctx context.Context, number int) error {
	if len(t.bounds) == 0 {
		return ctx.Err() // fewer sub-quantisers than blocks: this one is not coded
	}
	last := number == t.o.Iterations
	rounds := roundsNext
	switch {
	case last:
		rounds = roundsLast
		t.take(1)
	case number == 0:
		if t.o.From == nil {
			rounds = roundsFirst
		}
		t.take((t.allRows + alignRows - 1) / alignRows)
	}
	if err := t.rotate(ctx); err != nil {
		return err
	}
	if err := t.quantize(ctx, rounds); err != nil || last {
		return err
	}
	return t.align(ctx)
}

// rotate makes the rotated rows.
func (t *trainer) rotate(ctx context.Context) error {
	panels := avx.Pack(t.rotation, t.width, t.width, nil)
	t.rotated = grow(t.rotated, t.n*t.width)
	return t.each(ctx, (t.n+tile-1)/tile, func(i int) error {
		start := i * tile
		rows := min(tile, t.n-start)
		avx.ScoresRows(t.o.Level, panels, t.all[start*t.stride:], rows, t.stride, t.rotated[start*t.width:], t.width)
		return nil
	})
}

// quantize improves each sub-quantiser's codebook by some rounds of k-means over the rotated rows.
func (t *trainer) quantize(ctx context.Context, rounds int) error {
	return t.each(ctx, len(t.bounds), func(s int) error {
		x, w := t.gather(s), t.bounds[s].width()
		book, err := kmeans.Train(ctx, x, t.n, w, w, kmeans.Options{
			K: Codewords, Iterations: rounds, Seed: t.o.Seed + uint64(t.bounds[s].start), Initial: t.books[s],
			Level: t.o.Level, Threads: 1,
		})
		if err != nil {
			return err
		}
		for n := len(book) / w; n < Codewords; n++ {
			book = append(book, book[:w]...) // fewer different rows than codewords: the first of equals is always chosen
		}
		t.books[s] = book
		return nil
	})
}

// gather copies the part of the rotated rows that sub-quantiser s codes.
func (t *trainer) gather(s int) []float32 {
	b := t.bounds[s]
	w := b.width()
	x := make([]float32, t.n*w)
	for i := range t.n {
		copy(x[i*w:][:w], t.rotated[i*t.width+b.start:])
	}
	return x
}

// align sets the rotation to the orthogonal one that maps rows best to their decoded form: with X'Y = U S V', it is
// V U' (orthogonal Procrustes).
func (t *trainer) align(ctx context.Context) error {
	if err := t.decode(ctx); err != nil {
		return err
	}
	c, err := pca.Products(ctx, t.o.Level, t.o.Threads, t.rows(), pca.Rows{Values: t.decoded, N: t.n, Width: t.width, Stride: t.width})
	if err != nil {
		return err
	}
	var svd mat.SVD
	if !pca.Finite(c) || !svd.Factorize(c, mat.SVDFull) {
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

// decode makes the decoded rows.
func (t *trainer) decode(ctx context.Context) error {
	t.decoded = grow(t.decoded, t.n*t.width)
	return t.each(ctx, len(t.bounds), func(s int) error {
		b, book := t.bounds[s], t.books[s]
		w := b.width()
		best, score := make([]int32, t.n), make([]float32, t.n)
		avx.Assign(t.o.Level, avx.PackNearest(book, Codewords, w), t.rotated[b.start:], t.n, t.width, best, score)
		for i, c := range best {
			copy(t.decoded[i*t.width+b.start:][:w], book[int(c)*w:][:w])
		}
		return nil
	})
}

// tile is how many rows are rotated at once.
const tile = 256

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
