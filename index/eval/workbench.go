package eval

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
)

// Options say how to measure.
type Options struct {
	Level   avx.Level
	Threads int           // to train and to find accuracy on, 0 = GOMAXPROCS; what is timed runs on one
	Seed    uint64        // of all random choices
	Timing  time.Duration // of each of the rounds that a system is timed in, 0 = 1 ms
}

// Bench builds and measures systems on one data set. What systems have in common is trained once and kept. It is not safe
// for concurrent use.
type Bench struct {
	data *Data
	o    Options

	cutters map[View]*cutter
	rows    map[View][]float32 // of the rows
	lists   map[listsKey]*lists
	codes   map[codesKey]*codes
	flat    map[View][][]scored // shortlists of all queries
	class   map[int32]int       // rows of each class

	built *index // of the last system
}

// New makes a bench.
func New(d *Data, o Options) (*Bench, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	if o.Threads < 0 || o.Timing < 0 {
		return nil, fmt.Errorf("eval: %d threads, rounds of %v, allowed: 0 or more", o.Threads, o.Timing)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Timing == 0 {
		o.Timing = defaultTiming
	}
	b := &Bench{
		data: d, o: o, cutters: map[View]*cutter{}, rows: map[View][]float32{}, lists: map[listsKey]*lists{},
		codes: map[codesKey]*codes{}, flat: map[View][][]scored{}, class: map[int32]int{},
	}
	for _, label := range d.Rows.Labels {
		b.class[label]++
	}
	return b, nil
}

func (b *Bench) cutter(ctx context.Context, v View) (*cutter, error) {
	if c := b.cutters[v]; c != nil {
		return c, nil
	}
	c, err := newCutter(ctx, &b.o, v, b.data.Rows.Columns[v.Column], b.data.Rows.N)
	b.cutters[v] = c
	return c, err
}

// matrix returns the view of all rows.
func (b *Bench) matrix(ctx context.Context, v View) ([]float32, error) {
	if m := b.rows[v]; m != nil {
		return m, nil
	}
	c, err := b.cutter(ctx, v)
	if err != nil {
		return nil, err
	}
	b.rows[v] = c.matrix(b.o.Level, b.data.Rows.Columns[v.Column], b.data.Rows.N)
	return b.rows[v], nil
}

type listsKey struct {
	view  View // that lists are trained on
	nlist int
}

// lists are clusters of the rows.
type lists struct {
	centroids []float32 // [n][view's dims] of unit length
	n         int
	of        []int32 // list of each row
	order     []int32 // rows of one list after the other
	starts    []int32 // of lists in order, and the end
}

// cluster makes lists by spherical k-means of all rows.
func (b *Bench) cluster(ctx context.Context, v View, nlist int) (*lists, error) {
	key := listsKey{v, nlist}
	if l := b.lists[key]; l != nil {
		return l, nil
	}
	x, err := b.matrix(ctx, v)
	if err != nil {
		return nil, err
	}
	n := b.data.Rows.N
	l := &lists{of: make([]int32, n)}
	l.centroids, err = kmeans.Train(ctx, x, n, v.Dims, v.Dims, kmeans.Options{
		K: nlist, Seed: b.o.Seed, Spherical: true, Level: b.o.Level, Threads: b.o.Threads,
	})
	if err != nil {
		return nil, err
	}
	l.n = len(l.centroids) / v.Dims
	panels := avx.Pack(l.centroids, l.n, v.Dims, nil)
	if err := b.each(ctx, n, func(start, end int) {
		avx.Assign(b.o.Level, panels, x[start*v.Dims:], end-start, v.Dims, l.of[start:end], make([]float32, end-start))
	}); err != nil {
		return nil, err
	}
	l.order, l.starts = coarse.SortByList(l.of, l.n)
	b.lists[key] = l
	return l, nil
}

// sliced returns the directions of the centroids' first dims dimensions.
func (l *lists) sliced(level avx.Level, dims int) []float32 {
	full := len(l.centroids) / l.n
	out := make([]float32, l.n*dims)
	for j := range l.n {
		mrl.Normalize(level, out[j*dims:][:dims], l.centroids[j*full:][:dims])
	}
	return out
}

type codesKey struct {
	view  View
	bytes int
	lists listsKey // of the residuals; zero if codes are of the rows themselves
}

// codes are those of all rows.
type codes struct {
	quantizer *opq.Quantizer
	bytes     []byte    // [rows][bytes]
	means     []float32 // [nlist][dims] what residuals are taken from; nil if codes are of the rows themselves
}

// encode trains a product quantiser of the view and codes all rows. The rotation is of the whole view, as the papers have
// it, and not by level as the product's. With lists, residuals are coded: what the mean of the row's list, on this view,
// leaves of the row.
func (b *Bench) encode(ctx context.Context, v View, bytes int, key listsKey, l *lists) (*codes, error) {
	k := codesKey{v, bytes, key}
	if c := b.codes[k]; c != nil {
		return c, nil
	}
	x, err := b.matrix(ctx, v)
	if err != nil {
		return nil, err
	}
	n, d := b.data.Rows.N, v.Dims
	c := &codes{}
	if l != nil {
		c.means = l.means(x, d)
		rest := make([]float32, n*d)
		for i := range n {
			avx.Sub(b.o.Level, rest[i*d:], x[i*d:][:d], c.means[int(l.of[i])*d:])
		}
		x = rest
	}
	c.quantizer, err = opq.Train(ctx, x, n, d, mrl.Ladder{d}, opq.Options{M: 2 * bytes, Seed: b.o.Seed, Level: b.o.Level, Threads: b.o.Threads})
	if err != nil {
		return nil, err
	}
	c.bytes = make([]byte, n*bytes)
	if err := b.each(ctx, n, func(start, end int) {
		c.quantizer.Encode(b.o.Level, x[start*d:], end-start, c.bytes[start*bytes:end*bytes], &opq.Scratch{})
	}); err != nil {
		return nil, err
	}
	b.codes[k] = c
	return c, nil
}

// means returns the mean of each list's rows of x, [nlist][d].
func (l *lists) means(x []float32, d int) []float32 {
	means := make([]float32, l.n*d)
	sum := make([]float64, d)
	for j := range l.n {
		of := l.order[l.starts[j]:l.starts[j+1]]
		clear(sum)
		for _, i := range of {
			for k, v := range x[int(i)*d:][:d] {
				sum[k] += float64(v)
			}
		}
		for k, s := range sum {
			means[j*d+k] = float32(s / float64(max(1, len(of))))
		}
	}
	return means
}

// each calls f for bands of [0, n) on all threads.
func (b *Bench) each(ctx context.Context, n int, f func(start, end int)) error {
	const band = 4096
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.o.Threads)
	for start := 0; start < n && ctx.Err() == nil; start += band {
		g.Go(func() error {
			f(start, min(start+band, n))
			return nil
		})
	}
	stopped := ctx.Err()
	if err := g.Wait(); err != nil {
		return err
	}
	return stopped
}

const (
	flatRows  = 256 // compared with all queries while they are in the second-level cache
	flatDepth = 800 // rows kept of prefixes of the Matryoshka encoder: the longest shortlist of the papers. Of others k.
)

// exact returns the best rows of each query on a view, best first, as many as depth says: what a scan of all rows finds, for
// all queries at a time.
func (b *Bench) exact(ctx context.Context, v View) ([][]scored, error) {
	if found := b.flat[v]; found != nil {
		return found, nil
	}
	x, err := b.matrix(ctx, v)
	if err != nil {
		return nil, err
	}
	c, err := b.cutter(ctx, v)
	if err != nil {
		return nil, err
	}
	n, nq, d := b.data.Rows.N, b.data.Queries.N, v.Dims
	queries := c.matrix(b.o.Level, b.data.Queries.Columns[v.Column], nq)
	tops := make([]best, nq)
	for q := range tops {
		tops[q].reset(min(b.depth(v), n))
	}
	g, ctx := errgroup.WithContext(ctx)
	for w := range b.o.Threads {
		g.Go(func() error {
			scores := make([]float32, flatRows)
			for start := 0; start < n && ctx.Err() == nil; start += flatRows {
				some := scores[:min(flatRows, n-start)]
				for q := w; q < nq; q += b.o.Threads {
					avx.DotRows(b.o.Level, queries[q*d:][:d], x[start*d:], d, some)
					tops[q].pushAll(some, start)
				}
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := make([][]scored, nq)
	for q := range tops {
		found[q] = tops[q].sorted()
	}
	b.flat[v] = found
	return found, nil
}

// depth is how many rows exact keeps.
func (b *Bench) depth(v View) int {
	if v.Column == b.data.Vector && v.Reduce == Prefix {
		return flatDepth
	}
	return k
}
