// Package recall measures what a plan finds of what it should find, and what that costs.
//
// Recall@k of a query is the share of its k true neighbours, as package exact finds them, that are among the k hits of
// a plan. Queries are rows of the index that no training has seen ([HeldOut]); a row must not find itself, neither in
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
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
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

// Measure runs a plan on each query, one after the other on the calling goroutine. Queries without neighbours do not
// count; it is an error if none has any.
func Measure(ctx context.Context, level avx.Level, snap *snapshot.Snapshot, s Sample, k int, plan search.Plan) (Result, error) {
	m, err := newMeter(level, snap, s, k)
	if err != nil {
		return Result{}, err
	}
	return m.measure(ctx, plan)
}

// Found is how many of the Of true neighbours of a query a plan found.
type Found struct{ Found, Of int }

// Compare counts the true neighbours among hits.
func Compare(truth, hits []search.Hit) Found {
	f := Found{Of: len(truth)}
	for _, t := range truth {
		if slices.ContainsFunc(hits, func(h search.Hit) bool { return sameRow(h, t) }) {
			f.Found++
		}
	}
	return f
}

// Each runs a plan on each query as Measure does, and returns what it found for each. A query without neighbours has 0 of 0.
func Each(ctx context.Context, level avx.Level, snap *snapshot.Snapshot, s Sample, k int, plan search.Plan) ([]Found, error) {
	m, err := newMeter(level, snap, s, k)
	if err != nil {
		return nil, err
	}
	_, err = m.measure(ctx, plan)
	return m.each, err
}

// meter measures plans on one sample.
type meter struct {
	level    avx.Level
	snap     *snapshot.Snapshot
	searcher *search.Searcher
	sample   Sample
	k        int
	hits     []search.Hit
	each     []Found // of the plan that was measured last
}

func newMeter(level avx.Level, snap *snapshot.Snapshot, s Sample, k int) (*meter, error) {
	if err := s.validate(snap.Spec().Dim()); err != nil {
		return nil, err
	}
	return &meter{level: level, snap: snap, searcher: search.New(level), sample: s, k: k}, nil
}

func (m *meter) measure(ctx context.Context, plan search.Plan) (Result, error) {
	var total search.Usage
	var took time.Duration
	var t Tally
	m.each = make([]Found, m.sample.N)
	for q := range m.sample.N {
		truth := m.sample.Truth[q]
		truth = truth[:min(m.k, len(truth))]
		if len(truth) == 0 {
			continue
		}
		started := time.Now()
		u, err := m.search(ctx, q, plan)
		took += time.Since(started)
		if err != nil {
			return Result{}, fmt.Errorf("recall of query %d: %w", q, err)
		}
		total.Add(u)
		m.each[q] = Compare(truth, m.counted(q))
		t.Add(m.each[q])
	}
	if t.queries == 0 {
		return Result{}, errors.New("recall sample: no query has a neighbour")
	}
	n := t.queries
	r := Result{
		Recall:    t.Mean(),
		Lists:     float64(total.Lists) / n,
		Scanned:   float64(total.Codes) / n,
		Refined:   float64(total.Refined) / n,
		Originals: float64(total.Originals) / n,
		Bytes:     float64(total.Bytes) / n,
		Micros:    float64(took.Nanoseconds()) / 1000 / n,
	}
	r.Low, r.High = t.Interval(Z95)
	return r, nil
}

// search leaves the hits of a query in m.hits, one more than k if the query may find itself.
func (m *meter) search(ctx context.Context, q int, plan search.Plan) (search.Usage, error) {
	dim, wanted := m.snap.Spec().Dim(), m.k
	if m.sample.Self != nil {
		wanted++
	}
	var u search.Usage
	var err error
	m.hits, u, err = m.searcher.Search(ctx, m.snap, m.sample.Queries[q*dim:(q+1)*dim], wanted, plan, m.hits[:0])
	return u, err
}

// lists is how many lists some of the queries probe, on average.
func (m *meter) lists(nprobe int, margin float64, dims int) (float64, error) {
	spec, mdl := m.snap.Spec(), m.snap.Model()
	dim, n := spec.Dim(), min(marginQueries, m.sample.N)
	width := search.Plan{Dims: dims}.Width(dim)
	given, vector, quant, scratch := make([]float32, dim), make([]float32, dim), make([]int16, width), model.NewScratch()
	total := 0
	for q := range n {
		if err := search.Prepare(spec, m.sample.Queries[q*dim:(q+1)*dim], given); err != nil {
			return 0, err
		}
		mdl.Rotate(m.level, vector, given)
		scale := mrl.QuantizeQuery(quant, vector[:width])
		total += len(mdl.Probe(m.level, quant, scale, nprobe, margin, scratch))
	}
	return float64(total) / float64(n), nil
}

// counted is the k hits that are not the query itself.
func (m *meter) counted(q int) []search.Hit {
	if m.sample.Self != nil {
		m.hits = slices.DeleteFunc(m.hits, func(h search.Hit) bool { return sameRow(h, m.sample.Self[q]) })
	}
	return m.hits[:min(m.k, len(m.hits))]
}

func sameRow(a, b search.Hit) bool { return a.Part == b.Part && a.Row == b.Row }
