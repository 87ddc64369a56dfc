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

// part is n of the queries, spread evenly; all if there are no more.
func (s Sample) part(n int) Sample {
	if s.N <= n {
		return s
	}
	dim := len(s.Queries) / s.N
	some := Sample{N: n}
	for i := range n {
		q := i * s.N / n
		some.Queries = append(some.Queries, s.Queries[q*dim:(q+1)*dim]...)
		some.Truth = append(some.Truth, s.Truth[q])
		if s.Self != nil {
			some.Self = append(some.Self, s.Self[q])
		}
	}
	return some
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
	r, err := m.measure(ctx, plan)
	if err != nil {
		return Result{}, err
	}
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
	_, err = m.measure(ctx, plan)
	return m.each, err
}

// meter measures plans on one sample.
type meter struct {
	level   avx.Level
	snap    *snapshot.Snapshot
	sample  Sample
	k       int
	workers []*worker      // one for each thread; what a query comes to must not depend on which, nor on what others do: no clock
	asked   []int          // queries that have neighbours
	each    []Found        // of the plan that was measured last
	used    []search.Usage // likewise
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
	m := &meter{level: level, snap: snap, sample: s, k: k, each: make([]Found, s.N), used: make([]search.Usage, s.N)}
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

// measure is all of a result but the time. It is the same on any number of threads: what queries found and used is added up in their
// order.
func (m *meter) measure(ctx context.Context, plan search.Plan) (Result, error) {
	err := segment.Share(ctx, m.workers, len(m.asked), func(ctx context.Context, w *worker, i int) (err error) {
		q := m.asked[i]
		if m.used[q], err = m.search(ctx, w, q, plan); err != nil {
			return err
		}
		truth := m.sample.Truth[q]
		m.each[q] = Compare(m.snap, truth[:min(m.k, len(truth))], m.counted(w, q))
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	var total search.Usage
	var t Tally
	for _, q := range m.asked {
		total.Add(m.used[q])
		t.Add(m.each[q])
	}
	n := t.queries
	r := Result{
		Recall:    t.Mean(),
		Lists:     float64(total.Lists) / n,
		Scanned:   float64(total.Codes) / n,
		Refined:   float64(total.Refined) / n,
		Originals: float64(total.Originals) / n,
		Bytes:     float64(total.Bytes) / n,
	}
	r.Low, r.High = t.Interval(Z95)
	return r, nil
}

// time returns the microseconds of a query, on the calling goroutine while none of the threads works: they would take some of memory's
// bandwidth, of the caches, and of the core's other half. The plan has been measured, so all that it reads has been paged in.
func (m *meter) time(ctx context.Context, plan search.Plan) (float64, error) {
	started := time.Now()
	for _, q := range m.asked {
		if _, err := m.search(ctx, m.workers[0], q, plan); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(started).Nanoseconds()) / 1000 / float64(len(m.asked)), nil
}

// search leaves the hits of a query in w.hits, one more than k if the query may find itself.
func (m *meter) search(ctx context.Context, w *worker, q int, plan search.Plan) (search.Usage, error) {
	dim, wanted := m.snap.Spec().Dim(), m.k
	if m.sample.Self != nil {
		wanted++
	}
	var u search.Usage
	var err error
	if w.hits, u, err = w.searcher.Search(ctx, m.snap, m.sample.Queries[q*dim:(q+1)*dim], wanted, plan, w.hits[:0]); err != nil {
		return u, fmt.Errorf("recall of query %d: %w", q, err)
	}
	return u, nil
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
