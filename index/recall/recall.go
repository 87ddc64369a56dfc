// Package recall measures what a plan finds of what it should find, and what that costs.
//
// Recall@k of a query is the share of its k true neighbours, as package exact finds them, that are among the k hits of
// a plan, or rows of the same vectors in their place. Queries are rows of the index that no training has seen ([HeldOut]); a row must not find itself, neither in
// the truth nor among the hits.
//
// Of the recall of some queries we want to know what it says about all: [Result] has an interval. Recall is mostly near
// 1, where the symmetric t interval leaves [0, 1] and has no width at all once every query is perfect. So it is the
// Wilson score interval, over the number of independent trials that would have the variance between queries that was
// seen (the effective sample size of Korn and Graubard, "Confidence intervals for proportions with small expected
// number of positive counts estimated from survey data", 1998): the neighbours of one query are found or missed
// together, and this is how it counts. If that is rare, a handful of queries decide, and 95 % may be 90 (the tests tell).
package recall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

// heldOutShare is 1 row in so many.
const heldOutShare = 64

// HeldOut reports whether the row of an id is kept from training, to be a query. It is a fixed property of the id
// (XXH64 modulo 64), so an id is on the same side in every generation and whoever asks.
func HeldOut(id string) bool { return xxhash.Sum64String(id)%heldOutShare == 0 }

// Sample is queries with their true neighbours. It is not changed.
type Sample struct {
	Queries []float32      // [N][D], as given
	N       int            //
	Self    []search.Hit   // [N] the row that each query is, which is not a neighbour of itself; nil if queries are not rows
	Truth   [][]search.Hit // [N] true neighbours without Self, best first; more than k are allowed, fewer if there are no more
}

func (s *Sample) validate(dim int) error {
	if s.N < 1 || len(s.Queries) != s.N*dim || len(s.Truth) != s.N || s.Self != nil && len(s.Self) != s.N {
		return fmt.Errorf("recall sample: %d queries with %d values, %d truths and %d selves, allowed: %d values and a truth for each",
			s.N, len(s.Queries), len(s.Truth), len(s.Self), dim)
	}
	return nil
}

// split returns n of the queries, spread evenly, and the others. There are none of these if there are no more than n.
func (s Sample) split(n int) (part, rest Sample) {
	if s.N <= n {
		return s, Sample{}
	}
	next := 0
	for q := range s.N {
		to := &rest
		if q == next*s.N/n && next < n {
			to = &part
			next++
		}
		to.take(s, q)
	}
	return part, rest
}

// take adds query q of another sample.
func (s *Sample) take(from Sample, q int) {
	dim := len(from.Queries) / from.N
	s.N++
	s.Queries = append(s.Queries, from.Queries[q*dim:(q+1)*dim]...)
	s.Truth = append(s.Truth, from.Truth[q])
	if from.Self != nil {
		s.Self = append(s.Self, from.Self[q])
	}
}

// Result is the means over queries.
type Result struct {
	Recall    float64 // of k
	Low, High float64 // 95 % confidence interval of Recall
	Lists     float64 // probed
	Scanned   float64 // codes
	Refined   float64 // int8 rows
	Originals float64 // scored
	Bytes     float64 // of those codes, rows and originals
	Micros    float64 // microseconds of one query on this thread
}

// Measure runs a plan on each query, twice, one after the other on the calling goroutine; the second time is measured. Queries without
// neighbours do not count; it is an error if none has any.
func Measure(ctx context.Context, level avx.Level, snap *snapshot.Snapshot, s Sample, k int, plan search.Plan) (Result, error) {
	m, err := newMeter(level, 1, snap, s, k)
	if err != nil {
		return Result{}, err
	}
	o, err := m.measure(ctx, plan, plan.Refine)
	if err != nil {
		return Result{}, err
	}
	r := o[0].result()
	r.Micros, err = m.time(ctx, plan)
	return r, err
}

// Found is how many of the Of true neighbours of a query a plan found.
type Found struct{ Found, Of int }

// Compare counts the true neighbours among hits, rows of a snapshot. A hit that is none of them counts for one of the same vector: which of
// such rows are true is a matter of their ids, and no query means those.
func Compare(snap *snapshot.Snapshot, truth, hits []search.Hit) Found {
	f := Found{Of: len(truth)}
	var missing []search.Hit
	for _, t := range truth {
		if contains(hits, t) {
			f.Found++
		} else {
			missing = append(missing, t)
		}
	}
	for _, h := range hits {
		if len(missing) == 0 {
			break
		}
		if contains(truth, h) {
			continue
		}
		if i := slices.IndexFunc(missing, func(t search.Hit) bool { return sameVector(snap, t, h) }); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			f.Found++
		}
	}
	return f
}

func contains(hits []search.Hit, row search.Hit) bool {
	return slices.ContainsFunc(hits, func(h search.Hit) bool { return sameRow(h, row) })
}

// sameVector compares originals, or int8 rows where those are not at hand. Originals are read for rows that may be the same only: of one
// model those have scales that differ by rounding.
func sameVector(snap *snapshot.Snapshot, a, b search.Hit) bool {
	p, q, dim := snap.Parts()[a.Part], snap.Parts()[b.Part], snap.Spec().Dim()
	if a, b := p.Scales[a.Row], q.Scales[b.Row]; p.Model == q.Model && max(a, b)-min(a, b) > 1e-4*max(a, b) {
		return false
	}
	if p.HasVectors() && q.HasVectors() {
		return bytes.Equal(p.Stored(a.Row), q.Stored(b.Row))
	}
	return p.Scales[a.Row] == q.Scales[b.Row] && slices.Equal(p.Int8[a.Row*dim:][:dim], q.Int8[b.Row*dim:][:dim])
}

// Each runs a plan on each query, on a number of threads, and returns what it found for each. A query without neighbours has 0 of 0.
func Each(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, s Sample, k int, plan search.Plan) ([]Found, error) {
	m, err := newMeter(level, threads, snap, s, k)
	if err != nil {
		return nil, err
	}
	if _, err = m.measure(ctx, plan, plan.Refine); err != nil {
		return nil, err
	}
	each := make([]Found, s.N)
	for q := range each {
		each[q] = m.each[q].found
	}
	return each, nil
}

// meter measures plans on one sample.
type meter struct {
	level   avx.Level
	snap    *snapshot.Snapshot
	sample  Sample
	k       int
	workers []*worker // one for each thread; what a query comes to must not depend on which, nor on what others do: no clock
	asked   []int     // queries that have neighbours
	each    []one     // of each query, by each number of candidates that was measured last
}

// one is what a query came to.
type one struct {
	found Found
	used  search.Usage
}

// outcome is what some queries came to.
type outcome struct {
	tally Tally
	used  search.Usage
}

func (o *outcome) add(x one) {
	o.tally.Add(x.found)
	o.used.Add(x.used)
}

// join adds what other queries came to by the same plan.
func (o *outcome) join(other outcome) {
	o.tally.join(other.tally)
	o.used.Add(other.used)
}

// result is all of a result but the time.
func (o *outcome) result() Result {
	n := o.tally.queries
	r := Result{
		Recall:    o.tally.Mean(),
		Lists:     float64(o.used.Lists) / n,
		Scanned:   float64(o.used.Codes) / n,
		Refined:   float64(o.used.Refined) / n,
		Originals: float64(o.used.Originals) / n,
		Bytes:     float64(o.used.Bytes) / n,
	}
	r.Low, r.High = o.tally.Interval(Z95)
	return r
}

// worker has what a thread needs to search.
type worker struct {
	searcher *search.Searcher
	hits     []search.Hit
	scratch  *model.Scratch
}

func newMeter(level avx.Level, threads int, snap *snapshot.Snapshot, s Sample, k int) (*meter, error) {
	if err := s.validate(snap.Spec().Dim()); err != nil {
		return nil, err
	}
	m := &meter{level: level, snap: snap, sample: s, k: k}
	for q, truth := range s.Truth {
		if min(k, len(truth)) > 0 {
			m.asked = append(m.asked, q)
		}
	}
	if len(m.asked) == 0 {
		return nil, errors.New("recall sample: no query has a neighbour")
	}
	for range min(max(1, threads), len(m.asked)) {
		m.workers = append(m.workers, &worker{searcher: search.New(level), scratch: model.NewScratch()})
	}
	return m, nil
}

// measure returns what the queries come to by a plan with each of some rising numbers of candidates. It is the same on any number of
// threads: it is added up in the order of the queries.
func (m *meter) measure(ctx context.Context, plan search.Plan, refines ...int) ([]outcome, error) {
	steps := len(refines)
	m.each = slices.Grow(m.each[:0], m.sample.N*steps)[:m.sample.N*steps]
	clear(m.each)
	err := segment.Share(ctx, m.workers, len(m.asked), func(ctx context.Context, w *worker, i int) (err error) {
		q := m.asked[i]
		truth := m.sample.Truth[q]
		err = w.searcher.Refines(ctx, m.snap, m.query(q), m.wanted(), plan, refines, func(step int, hits []search.Hit, u search.Usage) {
			w.hits = append(w.hits[:0], hits...)
			m.each[q*steps+step] = one{Compare(m.snap, truth[:min(m.k, len(truth))], m.counted(w, q)), u}
		})
		return asQuery(q, err)
	})
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, steps)
	for _, q := range m.asked {
		for step := range outcomes {
			outcomes[step].add(m.each[q*steps+step])
		}
	}
	return outcomes, nil
}

// timedQueries of a sample are timed at most, on one thread: enough that a large index is not read from caches that the query before has
// filled, few enough that it takes less than a third of what measuring does.
const timedQueries = 128

// time returns the microseconds of a query, on the calling goroutine while none of the threads works: they would take some of memory's
// bandwidth, of the caches, and of the core's other half. The plan has been measured, so all that it reads has been paged in.
func (m *meter) time(ctx context.Context, plan search.Plan) (float64, error) {
	started := time.Now()
	w, step := m.workers[0], (len(m.asked)+timedQueries-1)/timedQueries
	timed := 0
	for i := 0; i < len(m.asked); i += step {
		q := m.asked[i]
		timed++
		var err error
		if w.hits, _, err = w.searcher.Search(ctx, m.snap, m.query(q), m.wanted(), plan, w.hits[:0]); err != nil {
			return 0, asQuery(q, err)
		}
	}
	return float64(time.Since(started).Nanoseconds()) / 1000 / float64(timed), nil
}

func (m *meter) query(q int) []float32 {
	dim := m.snap.Spec().Dim()
	return m.sample.Queries[q*dim : (q+1)*dim]
}

// wanted is how many hits a query asks for, one more than k if it may find itself.
func (m *meter) wanted() int {
	if m.sample.Self != nil {
		return m.k + 1
	}
	return m.k
}

func asQuery(q int, err error) error {
	if err != nil {
		return fmt.Errorf("recall of query %d: %w", q, err)
	}
	return nil
}

// lists is how many lists some of the queries probe, on average.
func (m *meter) lists(ctx context.Context, nprobe int, margin float64, dims int) (float64, error) {
	spec, mdl := m.snap.Spec(), m.snap.Model()
	dim, n := spec.Dim(), min(marginQueries, m.sample.N)
	width := search.Plan{Dims: dims}.Width(dim)
	var total atomic.Int64
	err := segment.Share(ctx, m.workers, n, func(_ context.Context, w *worker, q int) error {
		given, vector, quant := make([]float32, dim), make([]float32, dim), make([]int16, width)
		if err := search.Prepare(spec, m.sample.Queries[q*dim:(q+1)*dim], given); err != nil {
			return err
		}
		mdl.Rotate(m.level, vector, given)
		scale := mrl.QuantizeQuery(quant, vector[:width])
		total.Add(int64(len(mdl.Probe(m.level, quant, scale, nprobe, margin, nil, w.scratch))))
		return nil
	})
	return float64(total.Load()) / float64(n), err
}

// counted is the k hits that are not the query itself.
func (m *meter) counted(w *worker, q int) []search.Hit {
	if m.sample.Self != nil {
		w.hits = slices.DeleteFunc(w.hits, func(h search.Hit) bool { return sameRow(h, m.sample.Self[q]) })
	}
	return w.hits[:min(m.k, len(w.hits))]
}

func sameRow(a, b search.Hit) bool { return a.Part == b.Part && a.Row == b.Row }
