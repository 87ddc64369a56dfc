// Package kmeans trains the centroids of inverted lists and of sub-quantisers: Lloyd's algorithm over the assignment
// kernel of package avx.
//
// Training begins at randomly chosen rows. A centroid that loses all its rows is put on a random row of the cluster
// that has the most, so that crowded regions get the centroids that empty ones do not need.
//
// The outcome depends on the rows, the options and the kernel level, and on nothing else: rows are assigned each on
// its own and summed in their order, whatever the number of threads.
package kmeans

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

// defaultIterations is what Options.Iterations = 0 stands for.
const defaultIterations = 10

// Options are the parameters of [Train].
type Options struct {
	K          int    // centroids wanted, at least 1
	Iterations int    // at most this many rounds of Lloyd, 0 = 10; fewer when nothing moves any more
	Seed       uint64 // of all random choices
	// Spherical compares by inner product and keeps centroids at unit length: for rows of unit length. Otherwise
	// rows go to the nearest centroid by Euclidean distance, and centroids are means.
	Spherical bool
	Initial   []float32             // K centroids to begin with, row-major; nil = random rows. Not changed.
	Level     avx.Level             // kernels to use
	Threads   int                   // goroutines, 0 = GOMAXPROCS
	Progress  func(done, total int) // called after each iteration from the calling goroutine; nil = not called
}

// Validate reports every fault of the options for rows of dim values.
func (o *Options) Validate(dim int) error {
	var faults []error
	if o.K < 1 {
		faults = append(faults, fmt.Errorf("k: %d, allowed: at least 1", o.K))
	}
	if o.Iterations < 0 {
		faults = append(faults, fmt.Errorf("iterations: %d, allowed: 0 (%d) or more", o.Iterations, defaultIterations))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("threads: %d, allowed: 0 (all) or more", o.Threads))
	}
	if o.Initial != nil && len(o.Initial) != o.K*dim {
		faults = append(faults, fmt.Errorf("initial: %d values, allowed: %d centroids of %d", len(o.Initial), o.K, dim))
	}
	return errors.Join(faults...)
}

// Train clusters the n rows x[i*stride : i*stride+dim], which must be finite, and returns centroids row-major, dim
// values each. There are K of them, or fewer when there are fewer rows, or fewer different rows: no centroid is
// returned that has no row. It looks at ctx some thousand times a second.
func Train(ctx context.Context, x []float32, n, dim, stride int, o Options) (centroids []float32, err error) {
	if err := o.Validate(dim); err != nil {
		return nil, fmt.Errorf("k-means: %w", err)
	}
	if n < 1 || dim < 1 || stride < dim || (n-1)*stride+dim > len(x) {
		return nil, fmt.Errorf("k-means: %d rows of %d values, %d apart, in %d values", n, dim, stride, len(x))
	}
	if o.Iterations == 0 {
		o.Iterations = defaultIterations
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	t := newTrainer(x, n, dim, stride, o)
	for i := range o.Iterations {
		moved, err := t.assign(ctx)
		if err != nil {
			return nil, fmt.Errorf("k-means: %w", err)
		}
		if err := t.update(ctx); err != nil {
			return nil, fmt.Errorf("k-means: %w", err)
		}
		if o.Progress != nil {
			o.Progress(i+1, o.Iterations)
		}
		if i+1 == o.Iterations || (!t.reseed() && !moved) {
			break
		}
	}
	return t.nonEmpty(), nil
}

// trainer is the state of one training. The rows of cluster j are order[starts[j]:starts[j+1]], ascending.
type trainer struct {
	x         []float32
	n, dim    int
	stride    int
	k         int
	o         Options
	random    *rand.Rand
	centroids []float32 // [k][dim]
	list      []int32   // [n] cluster of each row, -1 before the first assignment
	next      []int32   // [n] the same, being made
	score     []float32 // [n]
	starts    []int32   // [k+1]
	order     []int32   // [n]
}

func newTrainer(x []float32, n, dim, stride int, o Options) *trainer {
	k := min(o.K, n)
	t := &trainer{
		x: x, n: n, dim: dim, stride: stride, k: k, o: o,
		random:    rand.New(rand.NewPCG(o.Seed, 0x6b6d65616e73)),
		centroids: make([]float32, k*dim),
		list:      make([]int32, n),
		next:      make([]int32, n),
		score:     make([]float32, n),
		starts:    make([]int32, k+1),
		order:     make([]int32, n),
	}
	for i := range t.list {
		t.list[i] = -1
	}
	if o.Initial != nil {
		copy(t.centroids, o.Initial)
		return t
	}
	for j, row := range t.random.Perm(n)[:k] {
		t.place(j, row)
	}
	return t
}

func (t *trainer) row(i int) []float32      { return t.x[i*t.stride:][:t.dim] }
func (t *trainer) centroid(j int) []float32 { return t.centroids[j*t.dim:][:t.dim] }
func (t *trainer) count(j int) int          { return int(t.starts[j+1] - t.starts[j]) }

// place puts centroid j on a row.
func (t *trainer) place(j, row int) {
	c := t.centroid(j)
	copy(c, t.row(row))
	if t.o.Spherical {
		mrl.Normalize(t.o.Level, c, c)
	}
}

// blockWork is how many multiply-adds a thread does before it looks at the context: well under a millisecond.
const blockWork = 1 << 23

// assign finds the best centroid of each row and reports whether any row changed its cluster.
func (t *trainer) assign(ctx context.Context) (moved bool, err error) {
	var bias []float32
	if !t.o.Spherical {
		bias = make([]float32, t.k)
		for j := range bias {
			bias[j] = -avx.SumSquares(t.o.Level, t.centroid(j)) / 2
		}
	}
	panels := avx.Pack(t.centroids, t.k, t.dim, bias)
	block := max(48, blockWork/(t.k*t.dim))
	err = t.blocks(ctx, t.n, block, func(start, end int) {
		avx.Assign(t.o.Level, panels, t.x[start*t.stride:], end-start, t.stride, t.next[start:end], t.score[start:end])
	})
	if err != nil {
		return false, err
	}
	moved = !slices.Equal(t.list, t.next)
	t.list, t.next = t.next, t.list
	t.group()
	return moved, nil
}

// group sorts rows by cluster: a counting sort, so rows of a cluster stay in their order.
func (t *trainer) group() {
	clear(t.starts)
	for _, j := range t.list {
		t.starts[j+1]++
	}
	for j := range t.k {
		t.starts[j+1] += t.starts[j]
	}
	for i, j := range t.list {
		t.order[t.starts[j]] = int32(i)
		t.starts[j]++ // now the end of j, which is the start of j+1
	}
	copy(t.starts[1:], t.starts[:t.k])
	t.starts[0] = 0
}

// update moves each centroid to the mean of its rows, at unit length if spherical.
func (t *trainer) update(ctx context.Context) error {
	block := max(1, t.k*(blockWork/8)/(t.n*t.dim))
	return t.blocks(ctx, t.k, block, func(start, end int) {
		sum := make([]float64, t.dim)
		for j := start; j < end; j++ {
			t.mean(j, sum)
		}
	})
}

func (t *trainer) mean(j int, sum []float64) {
	count := t.count(j)
	if count == 0 {
		return
	}
	clear(sum)
	for _, i := range t.order[t.starts[j]:t.starts[j+1]] {
		for d, v := range t.row(int(i)) {
			sum[d] += float64(v)
		}
	}
	c := t.centroid(j)
	for d, s := range sum {
		c[d] = float32(s / float64(count))
	}
	if t.o.Spherical {
		mrl.Normalize(t.o.Level, c, c) // rows that cancel out leave a zero: the cluster empties and is put elsewhere
	}
}

// reseed puts each centroid without rows on a random row of the cluster that has the most, and reports whether there
// was one.
func (t *trainer) reseed() bool {
	var empty []int
	counts := make([]int, t.k) // rows left to a cluster when those that were put into it took their half
	donor := make([]int, t.k)  // cluster whose rows these are
	for j := range counts {
		counts[j], donor[j] = t.count(j), j
		if counts[j] == 0 {
			empty = append(empty, j)
		}
	}
	for _, j := range empty {
		largest := 0
		for i, c := range counts {
			if c > counts[largest] {
				largest = i
			}
		}
		from := donor[largest]
		rows := t.order[t.starts[from]:t.starts[from+1]]
		t.place(j, int(rows[t.random.IntN(len(rows))]))
		counts[j], donor[j] = counts[largest]/2, from
		counts[largest] -= counts[j]
	}
	return len(empty) > 0
}

// nonEmpty returns the centroids that have rows.
func (t *trainer) nonEmpty() []float32 {
	kept := t.centroids[:0]
	for j := range t.k {
		if t.count(j) > 0 {
			kept = append(kept, t.centroid(j)...)
		}
	}
	return kept
}

// blocks calls f for the blocks [start, end) of [0, n), in any order, on the threads of the options. It stops early
// when ctx ends.
func (t *trainer) blocks(ctx context.Context, n, block int, f func(start, end int)) error {
	if t.o.Threads == 1 || n <= block {
		for start := 0; start < n; start += block {
			if err := ctx.Err(); err != nil {
				return err
			}
			f(start, min(start+block, n))
		}
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	for start := 0; start < n && ctx.Err() == nil; start += block {
		g.Go(func() error {
			f(start, min(start+block, n))
			return nil
		})
	}
	stopped := ctx.Err()
	if err := g.Wait(); err != nil {
		return err
	}
	return stopped
}
