package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

// Limits of one request beside those of [Options].
const (
	maxQueries = 1000    // queries
	maxHits    = 100_000 // queries times k
)

// queries are the vectors that a request asks about.
type queries struct {
	field   string    // what the request calls them
	many    bool      // whether the answer has results or the hits of the one query
	vectors []float32 // [n][D], row-major; nil when like is given
	kind    planKind  // for metrics
	like    *string   // the id of a row, whose vector is the query and which is left out of the answer
}

// searchOptions say how to search and what to answer, the same for all queries of a request.
type searchOptions struct {
	K *int `json:"k"` // default 10
	wishOptions
	Fields        []string         `json:"fields"`         // attributes wanted; all of them when absent
	IncludeVector bool             `json:"include_vector"` // as searched, from its int8 form
	Encoder       *string          `json:"encoder"`        // that made the queries; refused if it is not that of the rows
	Filter        *json.RawMessage `json:"filter"`         // rows that can be hits, see package filter; all when absent
	MinScore      *float64         `json:"min_score"`      // hits of a lower score are left out
	freshness
	grouping
}

// wishOptions say how much is to be looked at.
type wishOptions struct {
	TargetRecall *float64       `json:"target_recall"` // one of these five; default: the index's target
	Budget       *recall.Budget `json:"budget"`        //
	Effort       *float64       `json:"effort"`        //
	Plan         *planRequest   `json:"plan"`          //
	Exact        bool           `json:"exact"`         //
	Dims         int            `json:"dims"`          // width of all that is compared; 0 is D
}

// checkEncoder refuses queries of another encoder than the rows are of.
func (o *searchOptions) checkEncoder(spec *schemas.Spec) error {
	if o.Encoder == nil || *o.Encoder == spec.Encoder {
		return nil
	}
	return &problem{Title: "the queries are of another encoder", Status: http.StatusConflict, Code: codeEncoder,
		Detail: fmt.Sprintf("encoder: %.*q", schemas.MaxNameBytes, *o.Encoder), Allowed: spec.Encoder}
}

type planRequest struct {
	NProbe    int     `json:"nprobe"`
	Margin    float64 `json:"margin"`    // 0 is none
	ScanDims  int     `json:"scan_dims"` // 0 is D, or what dims says
	Refine    int     `json:"refine"`    // 0 is 10 * k
	Originals bool    `json:"originals"`
}

// wish is what the options say of how to search.
func (o *wishOptions) wish(k int) recall.Wish {
	w := recall.Wish{TargetRecall: o.TargetRecall, Budget: o.Budget, Effort: o.Effort, Exact: o.Exact, Dims: o.Dims}
	if o.Plan != nil {
		w.Plan = &search.Plan{NProbe: o.Plan.NProbe, Margin: o.Plan.Margin, ScanDims: o.Plan.ScanDims, Refine: o.Plan.Refine, Originals: o.Plan.Originals}
		if w.Plan.Refine == 0 {
			w.Plan.Refine = 10 * k
		}
	}
	return w
}

// search answers POST /v1/search: one query or many, as JSON or Arrow in and out.
func (n *Node) search(r *http.Request) (*response, error) {
	if n.crowded(1) { // cheaper than to read it first
		return nil, n.full()
	}
	queriesOf, o, err := n.readSearch(r)
	if err != nil {
		return nil, err
	}
	arrow := WantsArrow(r)
	switch {
	case arrow && o.IncludeVector:
		return nil, invalid("include_vector: true", "false in an Arrow answer")
	case o.GroupSize != nil && o.GroupBy == nil:
		return nil, invalid("group_size: given alone", "beside group_by")
	case o.GroupValues != nil && o.GroupBy == nil:
		return nil, invalid("group_values: given alone", "beside group_by")
	}
	if err := n.awaitFresh(r.Context(), &o.freshness); err != nil {
		return nil, err
	}
	_, span := n.o.Tracer.Start(r.Context(), "wait")
	waited, err := n.admit(r.Context())
	span.End(err)
	if err != nil {
		return nil, err
	}
	defer n.leave(1)
	n.metrics.waitSeconds.Observe(waited.Seconds())
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release() // after the answer is encoded: ids and attributes are read from the mapping
	if err := o.checkEncoder(snap.Spec()); err != nil {
		return nil, err
	}
	q, err := queriesOf(snap.Spec())
	if err != nil {
		return nil, err
	}
	a, err := n.answer(r.Context(), snap, q, o, waited)
	if err != nil {
		return nil, err
	}
	if arrow {
		return a.arrow()
	}
	answer, ok := n.responses.Get().(*response)
	if !ok {
		answer = &response{contentType: jsonType, again: true}
	}
	answer.body, err = a.json(answer.body[:0])
	return answer, err
}

// readSearch reads a request in the form that its content type says. Anything but Arrow is read as JSON. Which queries fit is
// up to the snapshot that is to answer: with its spec queriesOf returns them.
func (n *Node) readSearch(r *http.Request) (queriesOf func(*schemas.Spec) (*queries, error), o *searchOptions, err error) {
	if SendsArrow(r) {
		return n.readArrow(r)
	}
	return n.readJSON(r)
}

// SendsArrow reports whether the body of a request is an Arrow stream, so that its options stand in the URL.
func SendsArrow(r *http.Request) bool { return isType(r.Header.Get("Content-Type"), arrowType) }

// WantsArrow reports whether the answer is to be Arrow: what the header Accept names first, else what the request is.
func WantsArrow(r *http.Request) bool {
	for _, header := range r.Header["Accept"] {
		for accepted := range strings.SplitSeq(header, ",") {
			switch {
			case isType(accepted, arrowType):
				return true
			case isType(accepted, jsonType):
				return false
			}
		}
	}
	return SendsArrow(r)
}

// isType compares a media type, parameters aside.
func isType(got, want string) bool {
	got, _, _ = strings.Cut(got, ";")
	return strings.EqualFold(strings.TrimSpace(got), want)
}

// admit waits for a slot, which the caller leaves, and says how long. Who came first is served first.
func (n *Node) admit(ctx context.Context) (waited time.Duration, err error) {
	n.admitted.Store(time.Now().UnixNano())
	select {
	case n.running <- struct{}{}:
		return 0, nil
	default:
	}
	defer n.waiting.Add(-1)
	if n.waiting.Add(1) > int64(n.o.MaxWaiting) {
		return 0, n.full()
	}
	began := time.Now()
	select {
	case n.running <- struct{}{}:
		return time.Since(began), nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return 0, ctx.Err()
		}
		return 0, overloaded("%d queries are running and none ended within %v", n.o.MaxRunning, n.o.Timeout)
	}
}

// crowded reports whether at least a share of those wait that may, for their turn or for a processor.
func (n *Node) crowded(share float64) bool {
	most := float64(n.o.MaxWaiting)
	return float64(n.waiting.Load()) >= share*most || float64(n.pressure.now()) >= share*max(most, leastPressure)
}

func (n *Node) full() *problem {
	return overloaded("%d requests wait already, %d may run at a time", n.o.MaxWaiting, n.o.MaxRunning)
}

func overloaded(format string, args ...any) *problem {
	return &problem{Title: "overloaded", Status: http.StatusTooManyRequests, Code: codeOverloaded, Detail: fmt.Sprintf(format, args...)}
}

// admitMore takes slots that are free now, at most so many, and returns how many it took.
func (n *Node) admitMore(most int) (taken int) {
	for ; taken < most; taken++ {
		select {
		case n.running <- struct{}{}:
		default:
			return taken
		}
	}
	return taken
}

func (n *Node) leave(slots int) {
	for range slots {
		<-n.running
	}
}

// answer runs the queries on a held snapshot, which the answer goes on reading.
func (n *Node) answer(ctx context.Context, on *served, q *queries, o *searchOptions, waited time.Duration) (*searchAnswer, error) {
	snap, spec := on.Snapshot, on.Spec()
	count := max(1, len(q.vectors)/spec.Dim())
	k, err := n.k(o, count)
	if err != nil {
		return nil, err
	}
	fields, err := fieldsOf(spec, o.Fields)
	if err != nil {
		return nil, err
	}
	wish := o.wish(k)
	wish.Remote = on.remote != nil
	choice, degraded, err := n.choose(snap, wish, waited)
	if err != nil {
		return nil, err
	}
	plan, wanted := choice.Plan, k
	plan.Remote = on.remote
	f, err := n.filter(ctx, on, o, &plan)
	if err != nil {
		return nil, err
	}
	if q.like != nil {
		part, row, ok := snap.Find(*q.like)
		if !ok {
			return nil, &problem{Title: "no such vector", Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("like: no live row has the id %.*q", schemas.MaxIDBytes, *q.like)}
		}
		q.vectors, wanted = dequantised(snap, part, row), k+1
	}
	if plan.Among != nil || o.GroupBy != nil {
		choice.Expected = nil // of plans without a filter, and of the best hits
	}
	q.kind = o.kind()
	a := &searchAnswer{snap: snap, many: q.many, fields: fields, vectors: o.IncludeVector, about: about{Snapshot: on.info(), Degraded: degraded}}
	ctx, span := n.o.Tracer.Start(ctx, "scan")
	if o.GroupBy != nil {
		u, err := n.answerGroups(ctx, on, q, o, a, plan, f, k, count)
		span.End(err)
		n.expect(&a.about, choice, on, u)
		return a, err
	}
	started := time.Now()
	results, u, err := n.run(ctx, snap, q, wanted, plan)
	noteScan(span, on, q, k, count, plan, u)
	span.End(err)
	if err != nil {
		return nil, err
	}
	took := time.Since(started)
	near := !plan.Originals || snap.HasVectors() // what decides is here
	if count == 1 && choice.Expected != nil && near {
		n.pace.add(float64(took.Nanoseconds())/1000, choice.Expected.Micros)
	}
	a.results, a.about.Usage = results, newUsage(plan, u, spec.Dim(), took)
	n.expect(&a.about, choice, on, u)
	if q.like != nil {
		others := without(snap, results[0], *q.like)
		results[0] = others[:min(k, len(others))]
	}
	if near { // else it was better than what it would be measured by
		n.live.offer(snap, q, k, plan, results)
	}
	if o.MinScore != nil {
		for i, hits := range results {
			results[i] = atLeast(hits, *o.MinScore)
		}
	}
	return a, nil
}

// expect says what is to be expected of an answer. Of one whose originals could not be read nothing was measured.
func (n *Node) expect(a *about, c recall.Choice, on *served, u search.Usage) {
	if u.Lacking > 0 {
		if a.Degraded == "" {
			a.Degraded = recall.ShortInt8
			n.metrics.degraded.WithLabelValues(recall.ShortInt8).Inc()
		}
		return
	}
	a.expect(c, on.HasVectors() || on.remote != nil)
}

// atLeast cuts hits, the best first, where their score falls below one.
func atLeast(hits []search.Hit, score float64) []search.Hit {
	return hits[:sort.Search(len(hits), func(i int) bool { return float64(hits[i].Score) < score })]
}

// filter reads what a request says of the rows that can be hits, nil if it says nothing, and restricts the plan to what that selects.
func (n *Node) filter(ctx context.Context, on *served, o *searchOptions, plan *search.Plan) (f *filter.Filter, err error) {
	if o.Filter != nil {
		if f, err = filter.Parse(on.Spec(), *o.Filter); err != nil {
			return nil, err
		}
	}
	if o.GroupValues != nil && !o.each() {
		only, err := o.only(on.Spec(), "group_values", *o.GroupValues)
		if err != nil {
			return nil, err
		}
		if f == nil {
			f = only
		} else {
			f = filter.Both(f, only)
		}
	}
	if f == nil {
		return nil, nil
	}
	plan.Among, err = n.filters.Select(ctx, on.Snapshot, f)
	return f, err
}

// k is how many hits each of so many queries is to have.
func (n *Node) k(o *searchOptions, count int) (int, error) {
	k, most := 10, min(n.o.MaxK, maxHits/count)
	if o.K != nil {
		k = *o.K
	}
	switch {
	case (k < 1 || k > most) && count == 1:
		return 0, invalid(fmt.Sprintf("k: %d", k), fmt.Sprintf("1 to %d", most))
	case k < 1 || k > most:
		return 0, invalid(fmt.Sprintf("k: %d", k), fmt.Sprintf("1 to %d for %d queries", most, count))
	case o.IncludeVector && k*count > n.o.MaxK:
		return 0, invalid(fmt.Sprintf("include_vector: true, with k = %d for %d queries", k, count),
			fmt.Sprintf("at most %d vectors in one answer", n.o.MaxK))
	}
	return k, nil
}
