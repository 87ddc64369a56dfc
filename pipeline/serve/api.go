package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// API is the handler of the query API: schemas/openapi.yaml describes it.
func (n *Node) API() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/search", n.route("search", http.MethodPost, n.search))
	mux.Handle("/v1/vectors/{id...}", n.route("vector", http.MethodGet, n.vector))
	mux.Handle("/v1/snapshots", n.route("snapshots", http.MethodGet, n.snapshots))
	mux.Handle("/", n.route("other", "", func(r *http.Request) (any, error) {
		return nil, &problem{Title: "no such url", Status: http.StatusNotFound, Code: codeNoRoute, Detail: r.URL.Path,
			Allowed: "POST /v1/search, GET /v1/vectors/{id}, GET /v1/snapshots"}
	}))
	return mux
}

// route wraps a handler: method, limits, one JSON answer or one problem, counted by status.
func (n *Node) route(name, method string, handle func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := func() ([]byte, error) {
			if method != "" && r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
				w.Header().Set("Allow", method)
				return nil, &problem{Title: "method not allowed", Status: http.StatusMethodNotAllowed, Code: codeMethod, Detail: r.Method, Allowed: method}
			}
			r.Body = http.MaxBytesReader(w, r.Body, n.o.MaxBody)
			ctx, cancel := context.WithTimeout(r.Context(), n.o.Timeout)
			defer cancel()
			answer, err := handle(r.WithContext(ctx))
			if err != nil {
				return nil, err
			}
			return json.Marshal(answer) // before the status is written: it may fail
		}()
		if err != nil {
			p := n.problemOf(name, err)
			n.metrics.requests.WithLabelValues(name, strconv.Itoa(p.Status)).Inc()
			p.write(w)
			return
		}
		n.metrics.requests.WithLabelValues(name, "200").Inc()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n')) // the client is gone if this fails
	})
}

func (n *Node) problemOf(route string, err error) *problem {
	var p *problem
	var tooLarge *http.MaxBytesError
	var bad *search.QueryError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return &problem{Title: "request too large", Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge,
			Detail: "the body is larger than the limit", Allowed: fmt.Sprintf("at most %d bytes", tooLarge.Limit)}
	case errors.As(err, &bad):
		return invalid(bad.Error(), bad.Allowed)
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{Title: "timed out", Status: http.StatusServiceUnavailable, Code: codeTimeout,
			Detail: fmt.Sprintf("the query did not end within %v", n.o.Timeout), Allowed: "fewer lists (plan.nprobe), or no exact search"}
	case errors.Is(err, context.Canceled):
		return &problem{Title: "cancelled", Status: 499, Code: codeTimeout, Detail: "the client went away"}
	default:
		n.o.Logger.Error("request failed", slog.String("route", route), slog.Any("error", err))
		return &problem{Title: "internal error", Status: http.StatusInternalServerError, Code: codeInternal, Detail: "the node could not answer; its log says why"}
	}
}

var errNotReady = &problem{Title: "not ready", Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: "no generation is loaded yet"}

// searchRequest is the body of POST /v1/search.
type searchRequest struct {
	Vector        []float32    `json:"vector"`         // D numbers; or
	Like          *string      `json:"like"`           // the id of a row, which is left out of the answer
	K             *int         `json:"k"`              // default 10
	TargetRecall  *float64     `json:"target_recall"`  // default: the index's
	Plan          *planRequest `json:"plan"`           // instead of target_recall
	Exact         bool         `json:"exact"`          // instead of either
	Fields        []string     `json:"fields"`         // attributes wanted; all of them when absent
	IncludeVector bool         `json:"include_vector"` // as searched, from its int8 form
}

type planRequest struct {
	NProbe   int `json:"nprobe"`
	ScanDims int `json:"scan_dims"` // 0 is D
	Refine   int `json:"refine"`    // 0 is 10 * k
}

type searchAnswer struct {
	Hits           []hit        `json:"hits"`
	Snapshot       snapshotInfo `json:"snapshot"`
	Usage          usage        `json:"usage"`
	ExpectedRecall *float64     `json:"expected_recall,omitempty"` // recall@10, as measured by the builder; absent for explicit plans
}

type hit struct {
	ID         string         `json:"id"`
	Score      float32        `json:"score"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Vector     []float32      `json:"vector,omitempty"`
}

type usage struct {
	Plan         *planUsage `json:"plan,omitempty"` // absent when the search was exact
	Exact        bool       `json:"exact"`
	Lists        int        `json:"lists_probed"`
	Codes        int        `json:"codes_scanned"`
	Refined      int        `json:"refined"`
	Microseconds int64      `json:"microseconds"`
}

type planUsage struct {
	NProbe   int `json:"nprobe"`
	ScanDims int `json:"scan_dims"`
	Refine   int `json:"refine"`
}

func (n *Node) search(r *http.Request) (any, error) {
	var q searchRequest
	if err := decodeBody(r, &q); err != nil {
		return nil, err
	}
	select {
	case n.running <- struct{}{}:
		defer func() { <-n.running }()
	case <-r.Context().Done():
		if errors.Is(r.Context().Err(), context.Canceled) {
			return nil, r.Context().Err()
		}
		return nil, &problem{Title: "overloaded", Status: http.StatusTooManyRequests, Code: codeOverloaded,
			Detail: fmt.Sprintf("%d queries are running and none ended within %v", n.o.MaxRunning, n.o.Timeout)}
	}
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	return n.answer(r.Context(), snap, &q)
}

func decodeBody(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("bytes after the document")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return &problem{Title: "malformed request", Status: http.StatusBadRequest, Code: codeMalformed, Detail: err.Error(),
		Allowed: "one JSON object with the fields of schemas/openapi.yaml"}
}

// answer runs a query on a held snapshot.
func (n *Node) answer(ctx context.Context, snap *snapshot.Snapshot, q *searchRequest) (*searchAnswer, error) {
	k := 10
	if q.K != nil {
		k = *q.K
	}
	if k < 1 || k > n.o.MaxK {
		return nil, invalid(fmt.Sprintf("k: %d", k), fmt.Sprintf("1 to %d", n.o.MaxK))
	}
	fields, err := n.fields(q.Fields)
	if err != nil {
		return nil, err
	}
	plan, expected, err := n.plan(snap, q, k)
	if err != nil {
		return nil, err
	}
	query, wanted := q.Vector, k
	if q.Like != nil {
		if q.Vector != nil {
			return nil, invalid("like: given beside vector", "one of like and vector")
		}
		part, row, ok := snap.Find(*q.Like)
		if !ok {
			return nil, &problem{Title: "no such vector", Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("like: no live row has the id %q", *q.Like)}
		}
		query, wanted = dequantised(snap, part, row), k+1
	}
	s := n.searchers.Get().(*search.Searcher)
	defer n.searchers.Put(s)
	started := time.Now()
	hits, u, err := s.Search(ctx, snap, query, wanted, plan, nil)
	took := time.Since(started)
	if err != nil {
		return nil, err
	}
	n.metrics.searched(u, took)
	a := &searchAnswer{Hits: make([]hit, 0, len(hits)), Snapshot: n.info(snap), ExpectedRecall: expected}
	a.Usage = usage{Exact: plan.Exact, Lists: u.Lists, Codes: u.Codes, Refined: u.Refined, Microseconds: took.Microseconds()}
	if !plan.Exact {
		a.Usage.Plan = &planUsage{NProbe: plan.NProbe, ScanDims: plan.ScanDims, Refine: plan.Refine}
	}
	for _, h := range hits {
		if q.Like != nil && snap.Parts()[h.Part].IDAt(h.Row) == *q.Like || len(a.Hits) == k {
			continue
		}
		out := n.hit(snap, h.Part, h.Row, fields, q.IncludeVector)
		out.Score = h.Score
		a.Hits = append(a.Hits, out)
	}
	return a, nil
}

// plan turns what the request says into a plan, with the recall to expect where it was measured.
func (n *Node) plan(snap *snapshot.Snapshot, q *searchRequest, k int) (search.Plan, *float64, error) {
	ways := 0
	for _, given := range []bool{q.Exact, q.Plan != nil, q.TargetRecall != nil} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return search.Plan{}, nil, invalid("more than one of exact, plan and target_recall is given", "at most one of them")
	}
	target := n.spec.Defaults.TargetRecall
	if q.TargetRecall != nil {
		if target = *q.TargetRecall; !(target > 0 && target <= 1) {
			return search.Plan{}, nil, invalid(fmt.Sprintf("target_recall: %v", target), "more than 0 and at most 1")
		}
	}
	one := 1.0
	switch {
	case q.Exact || snap.Model() == nil:
		return search.Plan{Exact: true}, &one, nil
	case q.Plan != nil:
		p := search.Plan{NProbe: q.Plan.NProbe, ScanDims: q.Plan.ScanDims, Refine: q.Plan.Refine}
		if p.ScanDims == 0 {
			p.ScanDims = n.spec.Dim()
		}
		if p.Refine == 0 {
			p.Refine = 10 * k
		}
		return p, nil, p.Validate(snap)
	}
	p, point, reached := recall.Choose(snap.Manifest().Plans, target)
	if p == (search.Plan{}) || !reached && q.TargetRecall != nil {
		return search.Plan{Exact: true}, &one, nil // nothing was measured, or nothing measured is good enough
	}
	return p, &point.Recall, nil
}

// fields returns the indices of the attributes that are wanted: all when names is nil.
func (n *Node) fields(names []string) ([]int, error) {
	if names == nil {
		return n.allFields(), nil
	}
	picked := make([]int, len(names))
	for i, name := range names {
		picked[i] = slices.IndexFunc(n.spec.Attributes, func(a schemas.Attribute) bool { return a.Name == name })
		if picked[i] < 0 {
			return nil, invalid(fmt.Sprintf("fields: %q is not an attribute of the index", name), n.fieldNames())
		}
	}
	return picked, nil
}

func (n *Node) allFields() []int {
	all := make([]int, len(n.spec.Attributes))
	for i := range all {
		all[i] = i
	}
	return all
}

func (n *Node) fieldNames() string {
	if len(n.spec.Attributes) == 0 {
		return "none: the index has no attributes"
	}
	var names []string
	for _, a := range n.spec.Attributes {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// hit copies a row out of the mapping, which may end with the snapshot.
func (n *Node) hit(snap *snapshot.Snapshot, part, row int, fields []int, vector bool) hit {
	p := snap.Parts()[part]
	h := hit{ID: strings.Clone(p.IDAt(row))}
	if len(fields) > 0 {
		h.Attributes = make(map[string]any, len(fields))
		for _, f := range fields {
			h.Attributes[n.spec.Attributes[f].Name] = p.Value(f, row)
		}
	}
	if vector {
		h.Vector = dequantised(snap, part, row)
	}
	return h
}

func dequantised(snap *snapshot.Snapshot, part, row int) []float32 {
	p, dim := snap.Parts()[part], snap.Spec().Dim()
	v := make([]float32, dim)
	for i, x := range p.Int8[row*dim : (row+1)*dim] {
		v[i] = float32(x) * p.Scales[row]
	}
	return v
}

func (n *Node) vector(r *http.Request) (any, error) {
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	id := r.PathValue("id")
	part, row, ok := snap.Find(id)
	if !ok {
		return nil, &problem{Title: "no such vector", Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("no live row has the id %q", id)}
	}
	h := n.hit(snap, part, row, n.allFields(), true)
	order := snap.Parts()[part].OrderAt(row)
	return vectorAnswer{ID: h.ID, Attributes: h.Attributes, Vector: h.Vector, Version: order.Version,
		Partition: order.Partition, Offset: order.Offset, Snapshot: n.info(snap)}, nil
}

type vectorAnswer struct {
	ID         string         `json:"id"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Vector     []float32      `json:"vector"` // as searched, from its int8 form
	Version    int64          `json:"version"`
	Partition  int32          `json:"partition"`
	Offset     int64          `json:"offset"`
	Snapshot   snapshotInfo   `json:"snapshot"`
}

// snapshotInfo says which generation an answer came from and how fresh it is.
type snapshotInfo struct {
	Generation int64     `json:"generation"`
	AsOf       time.Time `json:"as_of"`       // timestamp of the newest record in it
	AgeSeconds float64   `json:"age_seconds"` // since it was published
	LiveRows   int64     `json:"live_rows"`
	Model      string    `json:"model,omitempty"`
}

func (n *Node) info(snap *snapshot.Snapshot) snapshotInfo {
	m := snap.Manifest()
	i := snapshotInfo{Generation: m.Generation, AsOf: time.UnixMilli(m.Produced).UTC(), AgeSeconds: time.Since(m.Created).Seconds(), LiveRows: m.LiveRows}
	if m.Model != nil {
		i.Model = m.Model.ID
	}
	return i
}

type snapshotsAnswer struct {
	Index   string        `json:"index"`
	Serving *servingInfo  `json:"serving"`
	Spec    *schemas.Spec `json:"spec"`
}

type servingInfo struct {
	snapshotInfo
	Created    time.Time           `json:"created"`
	Offsets    map[string]int64    `json:"offsets"` // partition -> next offset: everything before it is searchable
	Chunks     int                 `json:"chunks"`
	Segments   int                 `json:"segments"`
	DeadRows   int64               `json:"dead_rows"`
	Lists      *schemas.ListStats  `json:"lists,omitempty"`
	Quality    *schemas.Quality    `json:"quality,omitempty"`
	Plans      []schemas.PlanPoint `json:"plans,omitempty"`
	Tombstones int                 `json:"tombstone_objects"`
}

func (n *Node) snapshots(*http.Request) (any, error) {
	a := snapshotsAnswer{Index: n.spec.Name, Spec: n.spec}
	snap := n.hold()
	if snap == nil {
		return a, nil
	}
	defer snap.Release()
	m := snap.Manifest()
	a.Serving = &servingInfo{snapshotInfo: n.info(snap), Created: m.Created, Offsets: m.Checkpoint, Chunks: len(m.Chunks), Segments: len(m.Segments),
		DeadRows: m.DeadRows, Lists: m.Lists, Quality: m.Quality, Plans: m.Plans, Tombstones: len(m.Tombstones)}
	return a, nil
}
