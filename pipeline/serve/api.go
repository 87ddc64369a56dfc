package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Content types of requests and answers.
const (
	jsonType  = "application/json"
	arrowType = "application/vnd.apache.arrow.stream"
)

// response is an answer of status 200.
type response struct {
	contentType string
	body        []byte
}

func jsonResponse(v any) (*response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &response{jsonType, append(body, '\n')}, nil
}

// API is the handler of the query API: schemas/openapi.yaml describes it.
func (n *Node) API() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/search", n.route("search", http.MethodPost, n.search))
	mux.Handle("/v1/vectors/{id...}", n.route("vector", http.MethodGet, n.vector))
	mux.Handle("/v1/snapshots", n.route("snapshots", http.MethodGet, n.snapshots))
	mux.Handle("/", n.route("other", "", func(r *http.Request) (*response, error) {
		return nil, &problem{Title: "no such url", Status: http.StatusNotFound, Code: codeNoRoute, Detail: fmt.Sprintf("%.*s", schemas.MaxIDBytes, r.URL.Path),
			Allowed: "POST /v1/search, GET /v1/vectors/{id}, GET /v1/snapshots"}
	}))
	return mux
}

// route wraps a handler: method, limits, one answer or one problem, counted by status.
func (n *Node) route(name, method string, handle func(*http.Request) (*response, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := func() (*response, error) {
			if method != "" && r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
				w.Header().Set("Allow", method)
				return nil, &problem{Title: "method not allowed", Status: http.StatusMethodNotAllowed, Code: codeMethod, Detail: r.Method, Allowed: method}
			}
			r.Body = http.MaxBytesReader(w, r.Body, n.o.MaxBody)
			ctx, cancel := context.WithTimeout(r.Context(), n.o.Timeout)
			defer cancel()
			return handle(r.WithContext(ctx))
		}()
		if err != nil {
			p := n.problemOf(name, err)
			n.metrics.requests.WithLabelValues(name, strconv.Itoa(p.Status)).Inc()
			p.write(w)
			return
		}
		n.metrics.requests.WithLabelValues(name, "200").Inc()
		w.Header().Set("Content-Type", answer.contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
		_, _ = w.Write(answer.body) // the client is gone if this fails
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
			Detail: fmt.Sprintf("the query did not end within %v", n.o.Timeout), Allowed: "fewer queries in a request, fewer lists (plan.nprobe), or no exact search"}
	case errors.Is(err, context.Canceled):
		return &problem{Title: "cancelled", Status: 499, Code: codeTimeout, Detail: "the client went away"}
	default:
		n.o.Logger.Error("request failed", slog.String("route", route), slog.Any("error", err))
		return &problem{Title: "internal error", Status: http.StatusInternalServerError, Code: codeInternal, Detail: "the node could not answer; its log says why"}
	}
}

var errNotReady = &problem{Title: "not ready", Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: "no generation is loaded yet"}

func dequantised(snap *snapshot.Snapshot, part, row int) []float32 {
	p, dim := snap.Parts()[part], snap.Spec().Dim()
	rotated, v := make([]float32, dim), make([]float32, dim)
	for i, x := range p.Int8[row*dim : (row+1)*dim] {
		rotated[i] = float32(x) * p.Scales[row]
	}
	snap.Model().Unrotate(v, rotated)
	return v
}

func (n *Node) vector(r *http.Request) (*response, error) {
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	id := r.PathValue("id")
	part, row, ok := snap.Find(id)
	if !ok {
		return nil, &problem{Title: "no such vector", Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("no live row has the id %.*q", schemas.MaxIDBytes, id)}
	}
	p := snap.Parts()[part]
	order := p.OrderAt(row)
	a := vectorAnswer{ID: id, Vector: dequantised(snap.Snapshot, part, row), Version: order.Version,
		Partition: order.Partition, Offset: order.Offset, Snapshot: snap.info()}
	attributes := snap.Spec().Attributes
	if len(attributes) > 0 {
		a.Attributes = make(map[string]any, len(attributes))
	}
	for j, attribute := range attributes {
		a.Attributes[attribute.Name] = p.Value(j, row)
	}
	return jsonResponse(a)
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
	Epoch      string    `json:"epoch,omitempty"` // absent for the root's own
	Encoder    string    `json:"encoder"`         // of the vectors, and of queries
	AsOf       time.Time `json:"as_of"`           // timestamp of the newest record in it
	AgeSeconds float64   `json:"age_seconds"`     // since it was published
	LiveRows   int64     `json:"live_rows"`
	Model      string    `json:"model,omitempty"`

	Offsets json.RawMessage `json:"offsets"` // partition -> next offset: everything before it is searchable
}

func (s *served) info() snapshotInfo {
	m := s.Manifest()
	i := snapshotInfo{Generation: m.Generation, Epoch: s.epoch, Encoder: s.Spec().Encoder,
		AsOf: time.UnixMilli(m.Produced).UTC(), AgeSeconds: time.Since(m.Created).Seconds(), LiveRows: m.LiveRows, Offsets: s.offsets}
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
	Chunks     int                 `json:"chunks"`
	Segments   int                 `json:"segments"`
	DeadRows   int64               `json:"dead_rows"`
	Lists      *schemas.ListStats  `json:"lists,omitempty"`
	Quality    *schemas.Quality    `json:"quality,omitempty"`
	Plans      []schemas.PlanPoint `json:"plans,omitempty"`
	Live       *schemas.Estimate   `json:"live,omitempty"` // of late answers, as clients asked; absent when none was measured
	Tombstones int                 `json:"tombstone_objects"`
}

func (n *Node) snapshots(*http.Request) (*response, error) {
	serving, spec := n.serving()
	return jsonResponse(snapshotsAnswer{Index: spec.Name, Serving: serving, Spec: spec})
}

// serving describes the current generation, nil before the first, and the index that it is of.
func (n *Node) serving() (*servingInfo, *schemas.Spec) {
	snap := n.hold()
	if snap == nil {
		return nil, n.o.Log.Spec()
	}
	defer snap.Release()
	m := snap.Manifest()
	return &servingInfo{snapshotInfo: snap.info(), Created: m.Created, Chunks: len(m.Chunks), Segments: len(m.Segments),
		DeadRows: m.DeadRows, Lists: m.Lists, Quality: m.Quality, Plans: m.Plans, Live: n.live.current(), Tombstones: len(m.Tombstones)}, snap.Spec()
}
