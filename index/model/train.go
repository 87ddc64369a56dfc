package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Stages of training, as Options.Progress gets them.
const (
	StageAxes       = "axes"
	StageCoarseDims = "coarse dims"
	StageLists      = "lists"
	StageCodes      = "codes"
)

const (
	codeRows   = 64 << 10 // more rows of the sample than this are not used to train codes,
	codeValues = 64 << 20 // or this many values: 256 MiB

	renewShare = 2 // lists that only move a little need 1/2 of the sample

	// A sample has at least minSample rows. It has fullRows for each list as far as those are fullValues, and leastRows beyond.
	minSample  = 64 << 10
	fullRows   = 64
	fullValues = 64 << 20
	leastRows  = 32
	mostValues = 1 << 30 // 4 GiB
)

// Repair is what of a model is made anew, the cheapest first.
type Repair string

const (
	Nothing    Repair = "none"
	Codes      Repair = "codes" // codebooks, and how residuals are rotated: rows stay in their lists, so only codes change
	Lists      Repair = "lists" // lists begin from those of the old model, codebooks too
	Everything Repair = "full"  // also the width that lists are chosen by, and the axes of vectors; needs no old model
)

// Options are the parameters of [Train]. The zero value of each field means what its comment says.
type Options struct {
	Repair     Repair                              // what is made anew, "" = Everything
	From       *Model                              // the old model; nil only with Everything
	NList      int                                 // lists, 0 = DefaultNList; never more than rows in the sample
	CoarseDims int                                 // level of the ladder that lists are chosen by, 0 = measured
	M          int                                 // sub-quantisers of a code, 0 = opq.DefaultSubs
	Seed       uint64                              // of all random choices
	Level      avx.Level                           // kernels to use; the model depends on them, by the rounding of sums
	Threads    int                                 // goroutines, 0 = GOMAXPROCS; the model does not depend on it
	Progress   func(stage string, done, total int) // called from the calling goroutine; nil = not called
	// Memory returns that many values, in use until Train returns, for a rotated copy of the sample. nil = the heap.
	Memory func(values int) ([]float32, error)
}

// Validate reports every fault of the options for a ladder.
func (o *Options) Validate(ladder mrl.Ladder) error {
	var faults []error
	switch o.Repair {
	case "", Everything:
	case Codes, Lists:
		if o.From == nil || !slices.Equal(o.From.ladder, ladder) {
			faults = append(faults, fmt.Errorf("from: no model of ladder %s, allowed for repair %q: one", ladder, o.Repair))
		}
	default:
		faults = append(faults, fmt.Errorf("repair: %q, allowed: %s, %s, %s", o.Repair, Codes, Lists, Everything))
	}
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

// DefaultNList is the number of lists for an index of total rows that is trained on a sample of n: twelve times the square
// root of total, but with 32 rows to each list, of the index and of the sample. From 16 on it is a multiple of 16.
//
// Many short lists mean few candidates: on the benchmark's corpus the lists that hold 95 % of the true neighbours have half
// the rows with 8,192 lists that they have with 2,752. Finding them is cheap, see package coarse. What bounds their number
// is that a list's last block of codes is half empty.
func DefaultNList(total int64, n int) int {
	most := min(float64(n)/leastRows, float64(max(total, 0))/32)
	nlist := int(min(wantedLists(total), most))
	if nlist >= 16 {
		nlist = nlist / 16 * 16
	}
	return max(1, nlist)
}

func wantedLists(total int64) float64 { return 12 * math.Sqrt(float64(max(total, 0))) }

// SampleRows is how many rows of an index of total rows are worth training on: 64 for each list, as far as they fit a
// quarter of a gibibyte; 32 beyond, up to 4 GiB. To renew lists half of them will do.
func SampleRows(total int64, dim int, repair Repair) int {
	lists := wantedLists(total)
	if repair == Lists {
		lists /= renewShare
	}
	wanted := max(min(fullRows*lists, fullValues/float64(dim)), leastRows*lists)
	return int(min(float64(total), max(minSample, wanted), mostValues/float64(dim)))
}

// Train makes a model from a sample of n searched vectors [n][spec.Dim()] of an index of total live rows. The sample is
// in no particular order, and not rotated: that is Train's own affair. Where a part of it suffices, evenly spaced rows are
// taken. A sample too small for the lists asked for makes fewer lists. The same sample, options and kernel level make the
// same bytes.
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
		sampled := n
		if o.Repair == Lists {
			sampled *= renewShare
		}
		o.NList = DefaultNList(total, sampled)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if o.Memory == nil {
		o.Memory = func(values int) ([]float32, error) { return make([]float32, values), nil }
	}
	t := &training{metric: spec.Metric, ladder: ladder, dim: ladder.Dim(), sample: sample, n: n, spill: spec.ListsPerRow != 1, rotates: spec.Rotates(), o: o}
	m, err := t.run(ctx, total)
	if err != nil {
		return nil, fmt.Errorf("train model: %w", err)
	}
	return m, nil
}

type training struct {
	metric  schemas.Metric
	ladder  mrl.Ladder
	dim     int
	sample  []float32 // [n][dim], rotated once there are axes
	n       int
	spill   bool
	rotates bool
	o       Options
}

func (t *training) run(ctx context.Context, total int64) (*Model, error) {
	p := params{metric: t.metric, ladder: t.ladder, trainedRows: total}
	var lists []int32
	var err error
	if p.axes, err = t.rotate(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", StageAxes, err)
	}
	if t.o.Repair == Codes {
		p.lists, p.trainedRows = t.o.From.lists, t.o.From.trainedRows
	} else if p.lists, lists, err = t.lists(ctx); err != nil {
		return nil, err
	}
	if p.quantizer, err = t.codes(ctx, p.lists, lists); err != nil {
		return nil, fmt.Errorf("%s: %w", StageCodes, err)
	}
	data, err := p.encode()
	if err != nil {
		return nil, err
	}
	return newModel(p, data), nil
}

// lists makes lists, and tells that of each row of the sample.
func (t *training) lists(ctx context.Context) (*coarse.Quantizer, []int32, error) {
	o := coarse.Options{
		NList: t.o.NList, Dims: t.o.CoarseDims, Spill: t.spill, Seed: t.o.Seed, Level: t.o.Level, Threads: t.o.Threads,
		Progress: func(done, total int) { t.o.Progress(StageLists, done, total) },
	}
	if t.o.Repair == Lists {
		o.From, o.Dims = t.o.From.lists, t.o.From.lists.Dims()
	}
	if o.Dims == 0 {
		var err error
		if o.Dims, err = t.measure(ctx); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", StageCoarseDims, err)
		}
	}
	q, lists, err := coarse.Train(ctx, t.metric, t.sample, t.n, t.dim, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", StageLists, err)
	}
	return q, lists, nil
}

// spaced returns the number of a row of the sample: i of count that are evenly spaced.
func (t *training) spaced(i, count int) int { return int(int64(i) * int64(t.n) / int64(count)) }

// row returns a row of the sample.
func (t *training) row(i int) []float32 { return t.sample[i*t.dim:][:t.dim] }

// codes trains the quantiser on residuals of evenly spaced rows, of every other one in its second list if it has one. Trained
// holds the first list of each row of the sample, nil if that is not known.
func (t *training) codes(ctx context.Context, lists *coarse.Quantizer, trained []int32) (*opq.Quantizer, error) {
	count := min(t.n, codeRows, max(1, codeValues/t.dim))
	step := 1
	if lists.Spill() {
		step = 2 // every other row is coded in its first list, and then those between in their second
	}
	first := (count + step - 1) / step
	rows := make([]float32, 0, count*t.dim) // and then what their centroids leave of them
	list := make([]int32, count)
	for start := range step {
		for i := start; i < count; i += step {
			at := t.spaced(i, count)
			if trained != nil {
				list[len(rows)/t.dim] = trained[at]
			}
			rows = append(rows, t.row(at)...)
		}
	}
	s := &coarse.Scratch{}
	if trained == nil {
		lists.Assign(t.o.Level, rows, first, list, nil, s)
	}
	if first < count {
		second := make([]int32, count-first)
		lists.Assign(t.o.Level, rows[first*t.dim:], len(second), list[first:], second, s)
		for i, l := range second {
			if l != coarse.NoSpill {
				list[first+i] = l
			}
		}
	}
	for i, l := range list {
		row := rows[i*t.dim:][:t.dim]
		avx.Sub(t.o.Level, row, row, lists.Centroid(int(l)))
	}
	var from *opq.Quantizer
	if t.o.Repair == Lists { // what residuals look like changes less than where their centroids are
		from = t.o.From.quantizer
	}
	return opq.Train(ctx, rows, count, t.dim, t.ladder, opq.Options{
		M: t.o.M, From: from, Seed: t.o.Seed, Level: t.o.Level, Threads: t.o.Threads,
		Progress: func(done, total int) { t.o.Progress(StageCodes, done, total) },
	})
}
