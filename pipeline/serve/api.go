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
	again       bool // whether its memory is used for another answer
}

func jsonResponse(v any) (*response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &response{contentType: jsonType, body: append(body, '\n')}, nil
}

// API is the handler of the query API: schemas/openapi.yaml describes it.
func (n *Node) API() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/search", n.route("search", http.MethodPost, n.search))
	mux.Handle("/v1/vectors/{id...}", n.route("vector", http.MethodGet, n.vector))
	mux.Handle("/v1/vectors:batchGet", n.route("vectors", http.MethodPost, n.vectors))
	mux.Handle("/v1/vectors:sample", n.route("sample", http.MethodPost, n.sample))
	mux.Handle("/v1/snapshots", n.route("snapshots", http.MethodGet, n.snapshots))
	mux.Handle("/v1/snapshots/{generation}", n.route("snapshot", http.MethodGet, n.snapshot))
	mux.Handle("/v1/index", n.route("index", http.MethodGet, n.index))
	mux.Handle("/v1/stats", n.route("stats", http.MethodGet, n.stats))
	mux.Handle("/v1/recall", n.route("recall", http.MethodPost, n.recall))
	if n.o.Admin {
		mux.Handle("/v1/admin/channel", n.route("admin", http.MethodPost, n.moveChannel))
	}
	mux.Handle("/", n.route("other", "", func(r *http.Request) (*response, error) {
		return nil, &problem{Title: "no such url", Status: http.StatusNotFound, Code: codeNoRoute, Detail: fmt.Sprintf("%.*s", schemas.MaxIDBytes, r.URL.Path),
			Allowed: "POST /v1/search, GET /v1/vectors/{id}, POST /v1/vectors:batchGet, POST /v1/vectors:sample, GET /v1/snapshots, GET /v1/snapshots/{generation}, GET /v1/index, GET /v1/stats, POST /v1/recall"}
	}))
	return mux
}

// route wraps a handler: method, limits, one answer or one problem, counted by status.
func (n *Node) route(name, method string, handle func(*http.Request) (*response, error)) http.Handler {
	n.metrics.route(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		traced, span := n.o.Tracer.Serve(r.Context(), r.Header, name)
		answer, err := func() (*response, error) {
			if method != "" && r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
				w.Header().Set("Allow", method)
				return nil, &problem{Title: "method not allowed", Status: http.StatusMethodNotAllowed, Code: codeMethod, Detail: r.Method, Allowed: method}
			}
			r.Body = http.MaxBytesReader(w, r.Body, n.o.MaxBody)
			ctx, cancel := context.WithTimeout(traced, n.o.Timeout)
			defer cancel()
			return handle(r.WithContext(ctx))
		}()
		span.End(err)
		if err != nil {
			p := n.problemOf(name, err)
			n.metrics.refused(name, p, began)
			p.Write(w)
			return
		}
		n.metrics.answered(name, http.StatusOK, began)
		w.Header().Set("Content-Type", answer.contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
		// The client is gone if this fails, and HTTP/2 may not have done with the body.
		if _, err := w.Write(answer.body); err == nil && answer.again && cap(answer.body) <= keptBytes {
			n.responses.Put(answer)
		}
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
		return &problem{Title: "cancelled", Status: statusGone, Code: codeTimeout, Detail: "the client went away"}
	default:
		n.o.Logger.Error("request failed", slog.String("route", route), slog.Any("error", err))
		return &problem{Title: "internal error", Status: http.StatusInternalServerError, Code: codeInternal, Detail: "the node could not answer; its log says why"}
	}
}

var errNotReady = &problem{Title: "not ready", Status: http.StatusServiceUnavailable, Code: codeNotReady, Detail: "no generation is loaded yet"}
