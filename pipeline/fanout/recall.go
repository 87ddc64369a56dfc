package fanout

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/pipeline/serve"
)

// recallStep is how many queries are searched at a time.
const recallStep = 10

// recallBody is the body of POST /v1/recall. What is passed on to searches is theirs to read.
type recallBody struct {
	Queries    *int              `json:"queries"`
	Vectors    []json.RawMessage `json:"vectors"`
	VectorsF32 []byte            `json:"vectors_f32"`
	VectorsF16 []byte            `json:"vectors_f16"`
	K          *int              `json:"k"`
	Exact      bool              `json:"exact"`
	Filter     json.RawMessage   `json:"filter"`

	TargetRecall json.RawMessage `json:"target_recall"`
	Budget       json.RawMessage `json:"budget"`
	Effort       json.RawMessage `json:"effort"`
	Plan         json.RawMessage `json:"plan"`
	Dims         json.RawMessage `json:"dims"`
	Encoder      json.RawMessage `json:"encoder"`
}

// answerable tells what nodes refuse of a request from what they leave to searches.
func (b *recallBody) answerable() bool {
	forms := 0
	for _, given := range []bool{b.Queries != nil, b.Vectors != nil, b.VectorsF32 != nil, b.VectorsF16 != nil} {
		if given {
			forms++
		}
	}
	return forms <= 1 && !b.Exact && (b.Queries == nil || *b.Queries >= 1 && *b.Queries <= serve.MaxMeasured) && (b.K == nil || *b.K >= 1)
}

// asked are the queries of a request: how many, and how some of them are asked about.
type asked struct {
	field string
	n     int
	some  func(from, to int) any
	self  []string // ids of the rows that they are, nil if they are none
}

func (b *recallBody) asked(dim int) *asked {
	packed := func(field string, raw []byte, size int) *asked {
		return &asked{field: field, n: (len(raw) + size - 1) / size, some: func(from, to int) any { return raw[from*size : min(to*size, len(raw))] }}
	}
	switch {
	case b.Vectors != nil:
		return &asked{field: "vectors", n: len(b.Vectors), some: func(from, to int) any { return b.Vectors[from:to] }}
	case b.VectorsF32 != nil:
		return packed("vectors_f32", b.VectorsF32, 4*dim)
	case b.VectorsF16 != nil:
		return packed("vectors_f16", b.VectorsF16, 2*dim)
	}
	return nil
}

type recallAnswer struct {
	Recall   float64    `json:"recall"`
	Interval [2]float64 `json:"interval"`
	Queries  int        `json:"queries"`
	Complete bool       `json:"complete"`
	K        int        `json:"k"`
	Truth    string     `json:"truth"`

	ExactMicroseconds float64 `json:"exact_microseconds"`
	Microseconds      float64 `json:"microseconds"`
	client.About
}

// recall answers POST /v1/recall: what merged answers to searches with a plan find of merged exact ones, some queries after the other, as
// many as there is time for. One request at a time does that.
func (r *Router) recall(q *http.Request) (any, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	var body recallBody
	if err := readStrictly(raw, &body); err != nil || !body.answerable() {
		return nil, r.refused(q, raw)
	}
	queries := body.asked(r.o.Spec.Dim())
	if queries != nil && (queries.n < 1 || queries.n > serve.MaxMeasured) {
		return nil, r.refused(q, raw)
	}
	select {
	case r.measuring <- struct{}{}:
		defer func() { <-r.measuring }()
	default:
		return nil, &problem.Problem{Title: "overloaded", Status: http.StatusTooManyRequests, Code: "overloaded", Detail: "recall is measured for another request"}
	}
	ctx, cancel := context.WithTimeout(q.Context(), time.Duration(serve.MeasureShare*float64(r.o.Timeout)))
	defer cancel()
	if queries == nil {
		count := serve.DefaultMeasured
		if body.Queries != nil {
			count = *body.Queries
		}
		if queries, err = r.drawQueries(q.WithContext(ctx), count); err != nil {
			return nil, err
		}
	}
	m := measuring{r: r, q: q.WithContext(ctx), queries: queries, k: 10}
	if body.K != nil {
		m.k = *body.K
	}
	if err := m.bodies(raw); err != nil {
		return nil, err
	}
	if err := m.run(); err != nil && (ctx.Err() == nil || q.Context().Err() != nil) {
		return nil, err
	}
	m.q = q
	return m.answer(body.Filter != nil)
}

func (r *Router) drawQueries(q *http.Request, count int) (*asked, error) {
	rows, _, err := r.sampleOf(q, count)
	if err != nil {
		return nil, err
	}
	vectors, self := make([]json.RawMessage, len(rows)), make([]string, len(rows))
	for i, v := range rows {
		vectors[i], self[i] = json.RawMessage(v.vector()), v.id
	}
	return &asked{field: "vectors", n: len(rows), some: func(from, to int) any { return vectors[from:to] }, self: self}, nil
}

// measuring compares merged answers with exact ones.
type measuring struct {
	r       *Router
	q       *http.Request
	queries *asked
	k       int

	plan, truth     []byte // requests without their queries
	tally           recall.Tally
	done            int
	about           client.About // of the answers by a plan
	took, exactTook int64        // in us
	originals       bool         // were compared for the truth
	lacking         bool         // some of them, of a truth
}

// bodies makes requests for searches of that for recall.
func (m *measuring) bodies(raw []byte) (err error) {
	k := m.k
	if m.queries.self != nil {
		k++ // for the row itself
	}
	common := map[string]any{"queries": nil, "vectors": nil, "vectors_f32": nil, "vectors_f16": nil, "exact": nil, "k": k, "fields": []string{}}
	if m.plan, err = with(raw, common); err != nil {
		return err
	}
	m.truth, err = with(m.plan, map[string]any{"target_recall": nil, "budget": nil, "effort": nil, "plan": nil, "dims": nil, "exact": true})
	return err
}

// run measures until all queries are, or the time is over, which is an error.
func (m *measuring) run() error {
	for m.done < m.queries.n {
		to := min(m.done+recallStep, m.queries.n)
		found, err := m.search(m.plan, m.done, to)
		if err != nil {
			return err
		}
		truth, err := m.search(m.truth, m.done, to)
		if err != nil {
			return err
		}
		if !sameGenerations(found.Snapshot, truth.Snapshot) {
			continue // nothing that can be compared
		}
		compared := make([]recall.Found, len(truth.Results))
		for i := range truth.Results {
			if compared[i], err = m.compare(truth.Results[i].hits, found.Results[i].hits, m.done+i); err != nil {
				return err
			}
		}
		for _, f := range compared {
			m.tally.Add(f)
		}
		m.took, m.exactTook = m.took+found.Usage.Microseconds, m.exactTook+truth.Usage.Microseconds
		usage := found.Usage
		addWork(&usage, &m.about.Usage)
		usage.Microseconds = m.took
		m.about, m.done = found.About, to
		m.about.Usage = usage
		if truth.ExpectedRecall != nil {
			m.originals = true
		}
		m.lacking = m.lacking || truth.Degraded == recall.ShortInt8
	}
	return nil
}

func sameGenerations(a, b client.Snapshot) bool {
	return slices.EqualFunc(a.Shards, b.Shards, func(a, b client.ShardSnapshot) bool { return a.Generation == b.Generation }) && a.Epoch == b.Epoch
}

// compare counts the true neighbours among hits, without the row that the query is. As where there is one shard, a hit that is none of them
// counts for one of the same vector, see [recall.Compare].
func (m *measuring) compare(truth, hits []hit, query int) (f recall.Found, err error) {
	others := func(all []hit) []hit {
		all = slices.DeleteFunc(slices.Clone(all), func(h hit) bool { return m.queries.self != nil && h.id == m.queries.self[query] })
		return all[:min(m.k, len(all))]
	}
	truth, hits = others(truth), others(hits)
	without := func(all, but []hit) (ids []string) {
		for _, h := range all {
			if !slices.ContainsFunc(but, func(o hit) bool { return o.id == h.id }) {
				ids = append(ids, h.id)
			}
		}
		return ids
	}
	missing := without(truth, hits)
	f = recall.Found{Found: len(truth) - len(missing), Of: len(truth)}
	// A row that is none of the best has the vector of one that is only where the last of those are as good as one another.
	last := slices.DeleteFunc(slices.Clone(truth), func(h hit) bool { return h.score > truth[len(truth)-1].score })
	if missing = without(last, hits); len(missing) == 0 {
		return f, nil
	}
	instead := without(hits, truth)
	if len(instead) == 0 {
		return f, nil
	}
	vectors, err := m.vectors(slices.Concat(missing, instead))
	if err != nil {
		return f, err
	}
	lost := map[string]int{} // vector -> true neighbours
	for _, id := range missing {
		lost[vectors[id]]++
	}
	for _, id := range instead {
		if v := vectors[id]; v != "" && lost[v] > 0 {
			lost[v]--
			f.Found++
		}
	}
	return f, nil
}

// vectors are those of rows, as they are searched, in JSON: of two shards whose models have axes of their own they differ by rounding. A row
// that has gone meanwhile has none.
func (m *measuring) vectors(ids []string) (map[string]string, error) {
	of := make(map[string]string, len(ids))
	for some := range slices.Chunk(ids, m.k) { // as many as nodes take for hits
		raw, err := json.Marshal(client.VectorsRequest{IDs: some, Fields: &[]string{}, IncludeVector: true})
		if err != nil {
			return nil, err
		}
		all, err := m.r.findIn(m.q, func(int) []byte { return raw })
		if err != nil {
			return nil, err
		}
		for _, shard := range all {
			for _, v := range shard.Vectors {
				of[v.id] = v.vector()
			}
		}
	}
	return of, nil
}

// search returns the merged answer to some of the queries.
func (m *measuring) search(body []byte, from, to int) (*answer, error) {
	raw, err := with(body, map[string]any{m.queries.field: m.queries.some(from, to)})
	if err != nil {
		return nil, err
	}
	parts, err := m.r.askSearch(m.q, func(int) *request { return searchFor("search", raw) })
	if err != nil {
		return nil, err
	}
	a, err := m.r.merge(parts, m.k+1)
	if err == nil && len(a.Results) != to-from {
		err = fmt.Errorf("%d queries have %d results", to-from, len(a.Results))
	}
	return a, err
}

// answer says what was measured. Which rows a filtered search compares its answer does not say: one without is asked.
func (m *measuring) answer(filtered bool) (any, error) {
	if m.tally.Effective() == 0 {
		return nil, &problem.Problem{Title: "timed out", Status: http.StatusServiceUnavailable, Code: "timeout",
			Detail: "not one query was measured: exact searches take longer than this node gives a request, or nothing can be found", Allowed: "a node with a longer --timeout"}
	}
	if filtered {
		body, err := with(m.truth, map[string]any{"filter": nil, "k": 1})
		if err != nil {
			return nil, err
		}
		plain, err := m.search(body, 0, 1)
		if err != nil {
			return nil, err
		}
		m.originals = plain.ExpectedRecall != nil
	}
	a := recallAnswer{Recall: m.tally.Mean(), Queries: m.done, Complete: m.done == m.queries.n, K: m.k, Truth: "int8",
		ExactMicroseconds: float64(m.exactTook) / float64(m.done), Microseconds: float64(m.took) / float64(m.done), About: m.about}
	if m.originals && !m.lacking {
		a.Truth = "originals"
	}
	a.Interval[0], a.Interval[1] = m.tally.Interval(recall.Z95)
	return a, nil
}
