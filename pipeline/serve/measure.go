package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
)

// recallBody is the body of POST /v1/recall: how good is what a search with these options finds, now.
type recallBody struct {
	Queries *int `json:"queries"` // rows to draw and take as queries; default 100; not beside vectors
	packed
	K *int `json:"k"` // default 10
	wishOptions
	Filter  *json.RawMessage `json:"filter"`
	Encoder *string          `json:"encoder"`
}

type recallAnswer struct {
	Recall   float64    `json:"recall"`   // share of the true k that were found
	Interval [2]float64 `json:"interval"` // 95 % confidence
	Queries  int        `json:"queries"`  // that were measured
	Complete bool       `json:"complete"` // whether those are all; else the time of a request was over
	K        int        `json:"k"`
	Truth    string     `json:"truth"` // what was compared for it: originals or int8

	ExactMicroseconds float64 `json:"exact_microseconds"` // of an exact search, on average
	Microseconds      float64 `json:"microseconds"`       // of one with the plan
	about
}

// Bounds of POST /v1/recall, here and where answers are merged.
const (
	MaxMeasured     = 1000 // queries
	DefaultMeasured = 100
	// MeasureShare is how much of a request's time is spent on measuring: the rest is for the answer.
	MeasureShare = 0.8
	// drawTries is how many rows are looked at for each query that is to be one that training has not seen, of which there is one
	// in 64.
	drawTries = 200
)

// recall answers POST /v1/recall: searches with a plan and exactly, one query after the other, as many as there is time for. One
// request at a time does that, and holds one slot.
func (n *Node) recall(r *http.Request) (*response, error) {
	var body recallBody
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	if body.Exact {
		return nil, invalid("exact: true", "a plan: the truth is exact anyway")
	}
	select {
	case n.measuring <- struct{}{}:
		defer func() { <-n.measuring }()
	default:
		return nil, overloaded("recall is measured for another request")
	}
	waited, err := n.admit(r.Context())
	if err != nil {
		return nil, err
	}
	defer n.leave(1)
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	o := &searchOptions{K: body.K, wishOptions: body.wishOptions, Filter: body.Filter, Encoder: body.Encoder}
	if err := o.checkEncoder(snap.Spec()); err != nil {
		return nil, err
	}
	k, err := n.k(o, 1)
	if err != nil {
		return nil, err
	}
	choice, degraded, err := n.choose(snap.Snapshot, o.wish(k), waited)
	if err != nil {
		return nil, err
	}
	plan := choice.Plan
	if _, err := n.filter(r.Context(), snap, o, &plan); err != nil {
		return nil, err
	}
	q, self, err := n.measured(&body, snap)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(MeasureShare*float64(n.o.Timeout)))
	defer cancel()
	m := measuring{n: n, on: snap, q: q, self: self, k: k, plan: plan}
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	if m.tally.Effective() == 0 {
		return nil, &problem{Title: "timed out", Status: http.StatusServiceUnavailable, Code: codeTimeout,
			Detail: "not one query was measured: an exact search takes longer than this node gives a request, or nothing can be found", Allowed: "a node with a longer --timeout"}
	}
	if plan.Among != nil {
		choice.Expected = nil
	}
	a := recallAnswer{Recall: m.tally.Mean(), Queries: m.done, Complete: m.complete, K: k, Truth: "int8",
		ExactMicroseconds: m.exactTook.Seconds() * 1e6 / float64(m.done), Microseconds: m.took.Seconds() * 1e6 / float64(m.done)}
	a.about = about{Snapshot: snap.info(), Usage: newUsage(plan, m.usage, snap.Spec().Dim(), m.took), Degraded: degraded}
	a.about.expect(choice, snap.HasVectors())
	if snap.HasVectors() {
		a.Truth = "originals"
	}
	a.Interval[0], a.Interval[1] = m.tally.Interval(recall.Z95)
	return jsonResponse(a)
}

// measured are the queries of a request, or rows drawn for it. Self are the ids of those rows, nil for queries.
func (n *Node) measured(body *recallBody, snap *served) (q *queries, self []string, err error) {
	field, err := body.packed.field()
	switch {
	case err != nil:
		return nil, nil, err
	case field != "" && body.Queries != nil:
		return nil, nil, invalid("queries: given with "+field, "one of them")
	case field != "":
		q, err := body.packed.queries(field, snap.Spec(), n.o.Level)
		return q, nil, err
	}
	count := DefaultMeasured
	if body.Queries != nil {
		count = *body.Queries
	}
	if count < 1 || count > MaxMeasured {
		return nil, nil, invalid(fmt.Sprintf("queries: %d", count), fmt.Sprintf("1 to %d", MaxMeasured))
	}
	q = &queries{many: true}
	for _, h := range draw(snap, count) {
		q.vectors, self = append(q.vectors, dequantised(snap.Snapshot, h.Part, h.Row)...), append(self, idOf(snap.Snapshot, h))
	}
	return q, self, nil
}

// draw picks live rows at random, different ones, as far as it finds them rows that training has not seen.
func draw(snap *served, count int) (rows []search.Hit) {
	total := 0
	for _, p := range snap.Parts() {
		total += p.N
	}
	count = min(count, int(snap.Live()))
	taken := map[search.Hit]bool{}
	for tries := 0; len(rows) < count; tries++ {
		row, part := rand.IntN(total), 0
		for row >= snap.Parts()[part].N {
			row -= snap.Parts()[part].N
			part++
		}
		h := search.Hit{Part: part, Row: row}
		if dead := snap.Dead(part); taken[h] || dead != nil && dead.Has(row) {
			continue
		}
		if tries < drawTries*count && !recall.HeldOut(snap.Parts()[part].IDAt(row)) {
			continue
		}
		taken[h] = true
		rows = append(rows, h)
	}
	return rows
}

// measuring compares a plan with exact search.
type measuring struct {
	n    *Node
	on   *served
	q    *queries
	self []string // id of the row that each query is, which does not count as found; nil if they are none
	k    int
	plan search.Plan

	tally           recall.Tally
	done            int
	complete        bool
	took, exactTook time.Duration
	usage           search.Usage
}

func (m *measuring) run(ctx context.Context) error {
	searcher := m.n.searchers.Get().(*search.Searcher)
	defer m.n.searchers.Put(searcher)
	searcher.Ahead = m.n.missing.ahead()
	dim := m.on.Spec().Dim()
	exact := search.Plan{Exact: true, Among: m.plan.Among}
	for i := range len(m.q.vectors) / dim {
		query := m.q.vectors[i*dim : (i+1)*dim]
		started := time.Now()
		var self *string
		if m.self != nil {
			self = &m.self[i]
		}
		hits, u, err := searchOthers(yielding{ctx}, searcher, m.on.Snapshot, query, self, m.k, m.plan)
		took := time.Since(started)
		var truth []search.Hit
		if err == nil {
			truth, _, err = searchOthers(yielding{ctx}, searcher, m.on.Snapshot, query, self, m.k, exact)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil // as many as there was time for
		}
		if err != nil {
			return m.q.locate(err, i)
		}
		m.took, m.exactTook = m.took+took, m.exactTook+time.Since(started)-took
		m.usage.Add(u)
		m.done++
		m.tally.Add(recall.Compare(m.on.Snapshot, truth, hits))
	}
	m.complete = true
	return nil
}
