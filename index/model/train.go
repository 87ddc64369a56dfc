package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Stages of training, as Options.Progress gets them.
const (
	StageCoarseDims = "coarse dims"
	StageLists      = "lists"
	StageCodes      = "codes"
)

const (
	listIterations = 10
	rowsPerList    = 256            // more rows of the sample than this are not used to train lists
	codeRows       = 64 << 10       // nor more than this to train codes,
	codeValues     = 64 << 20       // or this many values: 256 MiB
	spherical      = schemas.Cosine // the metric whose lists are directions
)

// Options are the parameters of [Train]. The zero value of each field means what its comment says.
type Options struct {
	NList      int                                 // lists, 0 = DefaultNList; never more than rows in the sample
	CoarseDims int                                 // level of the ladder that lists are chosen by, 0 = measured
	M          int                                 // sub-quantisers of a code, 0 = opq.DefaultSubs
	Seed       uint64                              // of all random choices
	Level      avx.Level                           // kernels to use; the model depends on them, by the rounding of sums
	Threads    int                                 // goroutines, 0 = GOMAXPROCS; the model does not depend on it
	Progress   func(stage string, done, total int) // called from the calling goroutine; nil = not called
}

// Validate reports every fault of the options for a ladder.
func (o *Options) Validate(ladder mrl.Ladder) error {
	var faults []error
	if o.NList < 0 || o.NList > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("nlist: %d, allowed: 0 (by the number of rows) to %d", o.NList, math.MaxInt32))
	}
	if o.CoarseDims != 0 && !ladder.Has(o.CoarseDims) {
		faults = append(faults, fmt.Errorf("coarse_dims: %d, allowed: 0 (measured) or a level of %s", o.CoarseDims, ladder))
	}
	if most := min(ladder.Dim(), opq.MaxSubs); o.M < 0 || o.M > most {
		faults = append(faults, fmt.Errorf("m: %d, allowed: 0 (%d) to %d", o.M, opq.DefaultSubs(ladder.Dim()), most))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("threads: %d, allowed: 0 (all) or more", o.Threads))
	}
	return errors.Join(faults...)
}

// DefaultNList is the number of lists for an index of total rows that is trained on a sample of n: four times the square
// root of total, a multiple of 16 and at least that, but with 32 rows of the sample to each list.
func DefaultNList(total int64, n int) int {
	wanted := max(16, int(4*math.Sqrt(float64(max(total, 0))))/16*16)
	most := n / 32
	if most >= 16 {
		most = most / 16 * 16
	}
	return max(1, min(wanted, most))
}

// Train makes a model from a sample of n searched vectors [n][spec.Dim()] of an index of total live rows. The sample is
// in no particular order: where a part of it suffices, evenly spaced rows are taken. A sample too small for the lists
// asked for makes fewer lists. The same sample, options and kernel level make the same bytes.
func Train(ctx context.Context, spec *schemas.Spec, sample []float32, n int, total int64, o Options) (*Model, error) {
	ladder := mrl.Ladder(spec.Ladder)
	if err := o.Validate(ladder); err != nil {
		return nil, fmt.Errorf("train model: %w", err)
	}
	if n < 1 || len(sample) < n*ladder.Dim() || total < 0 {
		return nil, fmt.Errorf("train model: sample of %d vectors of %d values in %d values, of %d rows: allowed: at least one vector, no negative rows",
			n, ladder.Dim(), len(sample), total)
	}
	if o.NList == 0 {
		o.NList = DefaultNList(total, n)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	t := &training{metric: spec.Metric, ladder: ladder, dim: ladder.Dim(), sample: sample, n: n, o: o}
	m, err := t.run(ctx, total)
	if err != nil {
		return nil, fmt.Errorf("train model: %w", err)
	}
	return m, nil
}

type training struct {
	metric schemas.Metric
	ladder mrl.Ladder
	dim    int
	sample []float32 // [n][dim]
	n      int
	o      Options
}

func (t *training) run(ctx context.Context, total int64) (*Model, error) {
	coarseDims := t.o.CoarseDims
	if coarseDims == 0 {
		var err error
		if coarseDims, err = t.measure(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", StageCoarseDims, err)
		}
	}
	p := params{metric: t.metric, ladder: t.ladder, coarseDims: coarseDims, trainedRows: total}
	lists, err := t.lists(ctx, &p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", StageLists, err)
	}
	if p.quantizer, err = t.codes(ctx, &p, lists); err != nil {
		return nil, fmt.Errorf("%s: %w", StageCodes, err)
	}
	data, err := p.encode()
	if err != nil {
		return nil, err
	}
	return newModel(p, data), nil
}

// spaced returns a row of the sample: number i of count that are evenly spaced.
func (t *training) spaced(i, count int) []float32 {
	return t.sample[int(int64(i)*int64(t.n)/int64(count))*t.dim:][:t.dim]
}

// prefixes copies the prefixes of count evenly spaced rows, scaled to unit length under cosine.
func (t *training) prefixes(count, dims int) []float32 {
	x := make([]float32, count*dims)
	for i := range count {
		row := x[i*dims:][:dims]
		copy(row, t.spaced(i, count))
		if t.metric == spherical {
			mrl.Normalize(t.o.Level, row, row) // a zero prefix has no direction and stays: it pulls no centroid
		}
	}
	return x
}

// lists trains the coarse centroids, and returns the list of each row of the sample. The full centroids are the means
// of these rows; a centroid that none of them is assigned to is dropped.
func (t *training) lists(ctx context.Context, p *params) ([]int32, error) {
	d := p.coarseDims
	count := min(t.n, rowsPerList*t.o.NList)
	centroids, err := kmeans.Train(ctx, t.prefixes(count, d), count, d, d, kmeans.Options{
		K: t.o.NList, Iterations: listIterations, Seed: t.o.Seed, Spherical: t.metric == spherical,
		Level: t.o.Level, Threads: t.o.Threads,
		Progress: func(done, total int) { t.o.Progress(StageLists, done, total) },
	})
	if err != nil {
		return nil, err
	}
	lists := make([]int32, t.n)
	if err := t.assign(ctx, centroids, d, lists); err != nil {
		return nil, err
	}
	k := len(centroids) / d
	counts := make([]int, k)
	for _, l := range lists {
		counts[l]++
	}
	kept := make([]int32, k) // number that a list has from now on
	for j, c := range counts {
		if c > 0 {
			kept[j] = int32(p.nlist)
			p.nlist++
			p.coarse = append(p.coarse, centroids[j*d:][:d]...)
		}
	}
	sums := make([]float64, p.nlist*t.dim)
	for i, l := range lists {
		lists[i] = kept[l]
		sum := sums[int(lists[i])*t.dim:][:t.dim]
		for dim, v := range t.sample[i*t.dim:][:t.dim] {
			sum[dim] += float64(v)
		}
	}
	p.centroids = make([]float32, len(sums))
	for j, c := range counts {
		if c == 0 {
			continue
		}
		at := int(kept[j]) * t.dim
		for dim, s := range sums[at:][:t.dim] {
			p.centroids[at+dim] = float32(s / float64(c))
		}
	}
	return lists, nil
}

// assign sets lists[i] to the nearest of the coarse centroids for row i of the sample.
func (t *training) assign(ctx context.Context, centroids []float32, d int, lists []int32) error {
	panels := packAssign(t.metric, centroids, len(centroids)/d, d)
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	const block = 1 << 10
	for start := 0; start < t.n && inner.Err() == nil; start += block {
		g.Go(func() error {
			end := min(start+block, t.n)
			var score [block]float32
			avx.Assign(t.o.Level, panels, t.sample[start*t.dim:], end-start, t.dim, lists[start:end], score[:])
			return inner.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// codes trains the quantiser on residuals of evenly spaced rows.
func (t *training) codes(ctx context.Context, p *params, lists []int32) (*opq.Quantizer, error) {
	count := min(t.n, codeRows, max(1, codeValues/t.dim))
	residuals := make([]float32, count*t.dim)
	for i := range count {
		row := int(int64(i) * int64(t.n) / int64(count))
		c := p.centroids[int(lists[row])*t.dim:][:t.dim]
		r := residuals[i*t.dim:][:t.dim]
		for dim, v := range t.spaced(i, count) {
			r[dim] = v - c[dim]
		}
	}
	return opq.Train(ctx, residuals, count, t.dim, t.ladder, opq.Options{
		M: t.o.M, Seed: t.o.Seed, Level: t.o.Level, Threads: t.o.Threads,
		Progress: func(done, total int) { t.o.Progress(StageCodes, done, total) },
	})
}
