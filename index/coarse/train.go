package coarse

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
	"github.com/adastream/adastream/schemas"
)

const (
	flatLists      = 512 // so few are one group, and k-means compares every row with all of them
	flatIterations = 10
	flatValues     = 40 << 10 // of centroids: a vector is compared with all of them faster than with those of some groups

	// More lists are begun in groups: k-means of a part of the rows makes the centres, k-means of the rows of each group
	// its lists. Then some rounds of Lloyd let rows go to the lists of other groups, looking into a few groups each.
	centreRows       = 256 // for each centre
	centreIterations = 10
	memberIterations = 4
	rounds           = 5
	half             = 2              // of the groups that a vector looks into suffice for these
	groupMultiple    = avx.PanelWidth // of lists: panels without padding
)

// Options are the parameters of [Train].
type Options struct {
	NList    int        // lists wanted, at least 1; never more than rows
	Dims     int        // width that decides
	From     *Quantizer // of the same metric and width that decides: its lists are renewed instead of learnt; nil = learnt
	Spill    bool       // vectors have a second list, see [Quantizer.Assign]; training does not depend on it
	Seed     uint64     // of all random choices
	Level    avx.Level
	Threads  int                   // goroutines, 0 = GOMAXPROCS; the outcome does not depend on it
	Progress func(done, total int) // called from the calling goroutine; nil = not called
}

// Train makes lists from n vectors x [n][dim], of unit length under cosine, and returns the list of each of them. A list
// that no vector comes to is left out. The same vectors, options and kernel level make the same lists.
func Train(ctx context.Context, metric schemas.Metric, x []float32, n, dim int, o Options) (*Quantizer, []int32, error) {
	var faults []error
	if n < 1 || dim < 1 || len(x) < n*dim {
		faults = append(faults, fmt.Errorf("%d vectors of %d values in %d values", n, dim, len(x)))
	}
	if o.NList < 1 {
		faults = append(faults, fmt.Errorf("nlist: %d, allowed: at least 1", o.NList))
	}
	if o.Dims < 1 || o.Dims > dim {
		faults = append(faults, fmt.Errorf("dims: %d, allowed: 1 to %d", o.Dims, dim))
	}
	if q := o.From; q != nil && (q.metric != metric || q.dim != dim || q.dims != o.Dims) {
		faults = append(faults, fmt.Errorf("from: lists by %s on %d of %d dimensions, allowed: by %s on %d of %d", q.metric, q.dims, q.dim, metric, o.Dims, dim))
	}
	if o.Threads < 0 {
		faults = append(faults, fmt.Errorf("threads: %d, allowed: 0 (all) or more", o.Threads))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, fmt.Errorf("coarse: %w", err)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	t := &training{metric: metric, x: x, n: n, dim: dim, o: o, lists: make([]int32, n)}
	q, err := t.run(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("coarse: %w", err)
	}
	return q, t.lists, nil
}

type training struct {
	metric schemas.Metric
	x      []float32 // [n][dim]
	n, dim int
	o      Options

	prefixes []float32 // [nlist][Dims] of centroids
	groups   []int32   // first list of each group, then nlist
	lists    []int32   // [n] of rows
}

func (t *training) directions() bool { return t.metric == spherical }

func (t *training) run(ctx context.Context) (*Quantizer, error) {
	if t.o.From != nil {
		if err := t.renew(ctx); err != nil {
			return nil, err
		}
	} else if min(t.o.NList, t.n) <= flatLists {
		if err := t.flat(ctx); err != nil {
			return nil, err
		}
	} else {
		if err := t.grouped(ctx); err != nil {
			return nil, err
		}
		for r := range rounds {
			if err := t.assign(ctx, half); err != nil {
				return nil, err
			}
			if err := t.move(ctx); err != nil {
				return nil, err
			}
			t.o.Progress(r+1, rounds)
		}
	}
	if err := t.assign(ctx, 1); err != nil {
		return nil, err
	}
	return t.finish(ctx)
}

// flat makes one group.
func (t *training) flat(ctx context.Context) (err error) {
	t.prefixes, err = kmeans.Train(ctx, t.x, t.n, t.o.Dims, t.dim, t.kmeans(t.o.NList, flatIterations, 0))
	t.groups = []int32{0, int32(len(t.prefixes) / t.o.Dims)}
	return err
}

// kmeans are options of a run on all threads.
func (t *training) kmeans(k, iterations int, seed uint64) kmeans.Options {
	return kmeans.Options{K: k, Iterations: iterations, Seed: t.o.Seed + seed, Spherical: t.directions(), Level: t.o.Level,
		Threads: t.o.Threads, Progress: t.o.Progress}
}

// groupsOf returns how many groups so many lists lie in. A vector is compared with all centres and with the lists of
// assignGroups groups, or with as many in fewer groups that share them: that is least when there are sqrt(assignGroups * nlist) groups.
// Half as many miss fewer of the nearest lists, at a quarter more comparisons. A group has two panels of lists or more.
func groupsOf(nlist int) int {
	return max(1, min(nlist/(2*groupMultiple), int(math.Sqrt(assignGroups*float64(nlist))/2)))
}

// grouped makes groups of lists.
func (t *training) grouped(ctx context.Context) error {
	d := t.o.Dims
	centres, err := t.centres(ctx)
	if err != nil {
		return err
	}
	ngroups := len(centres) / d
	a := newAssigner(t.o.Level, t.directions(), centres, d, []int32{0, int32(ngroups)})
	if err := t.eachBand(ctx, func(start, end int, s *Scratch) {
		a.assign(t.o.Level, t.x[start*t.dim:], end-start, t.dim, 1, t.lists[start:end], s)
	}); err != nil {
		return err
	}
	order, starts := SortByList(t.lists, ngroups)
	made := make([][]float32, ngroups)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	for i := range made {
		g.Go(func() (err error) {
			made[i], err = t.members(ctx, i, order[starts[i]:starts[i+1]])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	t.groups = []int32{0}
	for _, m := range made {
		if len(m) > 0 {
			t.prefixes = append(t.prefixes, m...)
			t.groups = append(t.groups, int32(len(t.prefixes)/d))
		}
	}
	return nil
}

// centres clusters evenly spaced rows.
func (t *training) centres(ctx context.Context) ([]float32, error) {
	k, d := groupsOf(t.o.NList), t.o.Dims
	count := min(t.n, centreRows*k)
	rows := make([]float32, 0, count*d)
	for i := range count {
		rows = append(rows, t.x[int(int64(i)*int64(t.n)/int64(count))*t.dim:][:d]...)
	}
	return kmeans.Train(ctx, rows, count, d, d, t.kmeans(k, centreIterations, 1))
}

// members makes the lists of a group of its rows, as many as is its share.
func (t *training) members(ctx context.Context, group int, of []int32) ([]float32, error) {
	if len(of) == 0 {
		return nil, nil
	}
	d := t.o.Dims
	rows := make([]float32, 0, len(of)*d)
	for _, i := range of {
		rows = append(rows, t.x[int(i)*t.dim:][:d]...)
	}
	share := float64(t.o.NList) * float64(len(of)) / float64(t.n)
	o := t.kmeans(groupMultiple*max(1, int(math.Round(share/groupMultiple))), memberIterations, 2+uint64(group))
	o.Threads, o.Progress = 1, nil
	return kmeans.Train(ctx, rows, len(of), d, d, o)
}

// eachBand calls f for all rows, band by band, on all threads.
func (t *training) eachBand(ctx context.Context, f func(start, end int, s *Scratch)) error {
	g, inner := errgroup.WithContext(ctx)
	bands := (t.n + BandRows - 1) / BandRows
	for w := range t.o.Threads {
		g.Go(func() error {
			var s Scratch
			for b := w; b < bands && inner.Err() == nil; b += t.o.Threads {
				f(b*BandRows, min((b+1)*BandRows, t.n), &s)
			}
			return inner.Err()
		})
	}
	return g.Wait()
}

// assign finds the list of each row, looking into one of so many of the groups that a vector looks into otherwise, or into all
// lists where that is faster.
func (t *training) assign(ctx context.Context, of int) error {
	groups := t.groups
	if len(t.prefixes) <= flatValues {
		groups = []int32{0, int32(len(t.prefixes) / t.o.Dims)}
	}
	a := newAssigner(t.o.Level, t.directions(), t.prefixes, t.o.Dims, groups)
	probed := (a.looks + of - 1) / of
	return t.eachBand(ctx, func(start, end int, s *Scratch) {
		a.assign(t.o.Level, t.x[start*t.dim:], end-start, t.dim, probed, t.lists[start:end], s)
	})
}

// move puts each centroid in the middle of its rows. One without rows stays where it is.
func (t *training) move(ctx context.Context) error {
	d := t.o.Dims
	order, starts := SortByList(t.lists, len(t.prefixes)/d)
	return t.eachList(ctx, starts, func(list int) {
		if of := order[starts[list]:starts[list+1]]; len(of) > 0 {
			t.mean(t.prefixes[list*d:][:d], of)
			if t.directions() {
				mrl.Normalize(t.o.Level, t.prefixes[list*d:][:d], t.prefixes[list*d:][:d])
			}
		}
	})
}

// eachList calls f for all lists on all threads.
func (t *training) eachList(ctx context.Context, starts []int32, f func(list int)) error {
	const block = 64
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	nlist := len(starts) - 1
	for first := 0; first < nlist && inner.Err() == nil; first += block {
		g.Go(func() error {
			for list := first; list < min(first+block, nlist); list++ {
				f(list)
			}
			return inner.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// mean sets dst to the mean of some rows' first len(dst) dimensions.
func (t *training) mean(dst []float32, of []int32) {
	sum := make([]float64, len(dst))
	for _, i := range of {
		for d, v := range t.x[int(i)*t.dim:][:len(dst)] {
			sum[d] += float64(v)
		}
	}
	for d, s := range sum {
		dst[d] = float32(s / float64(len(of)))
	}
}

// finish makes the quantiser of the means of all lists that have rows, and assigns rows by it.
func (t *training) finish(ctx context.Context) (*Quantizer, error) {
	order, starts := SortByList(t.lists, len(t.prefixes)/t.o.Dims)
	place := make([]int, len(starts)) // lists with rows before each list
	for list := range starts[1:] {
		place[list+1] = place[list]
		if starts[list+1] > starts[list] {
			place[list+1]++
		}
	}
	centroids := make([]float32, place[len(place)-1]*t.dim)
	if err := t.eachList(ctx, starts, func(list int) {
		if of := order[starts[list]:starts[list+1]]; len(of) > 0 {
			t.mean(centroids[place[list]*t.dim:][:t.dim], of)
		}
	}); err != nil {
		return nil, err
	}
	groups := []int32{0}
	for _, end := range t.groups[1:] {
		if now := int32(place[end]); now > groups[len(groups)-1] {
			groups = append(groups, now)
		}
	}
	q, err := New(t.metric, centroids, t.dim, t.o.Dims, groups, t.o.Spill)
	if err != nil {
		return nil, err
	}
	return q, t.eachBand(ctx, func(start, end int, s *Scratch) {
		q.Assign(t.o.Level, t.x[start*t.dim:], end-start, t.lists[start:end], nil, s)
	})
}

// SortByList returns the rows of each list, in their order, one list after the other, and where each list begins. A row
// in no list, a negative number, is left out.
func SortByList(lists []int32, nlist int) (order, starts []int32) {
	starts = make([]int32, nlist+1)
	for _, l := range lists {
		if l >= 0 {
			starts[l+1]++
		}
	}
	for l := range nlist {
		starts[l+1] += starts[l]
	}
	order = make([]int32, starts[nlist])
	next := append([]int32(nil), starts[:nlist]...)
	for i, l := range lists {
		if l >= 0 {
			order[next[l]] = int32(i)
			next[l]++
		}
	}
	return order, starts
}
