package fanout

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// Options of a Router. Spec is required; the zero value of everything else works.
type Options struct {
	Spec  *schemas.Spec
	Own   map[int]http.Handler // the API of the node of this process for a shard
	Peers map[int][]*url.URL   // where else a shard is answered
	TLS   *tls.Config          // for peers of https; nil trusts what the system does

	Authorities func() *x509.CertPool // whom to trust that such peers are what they say, asked for each request; nil: those of TLS

	MaxBody    int64         // bytes of a request; 0 is 16 MiB
	MaxRunning int           // requests at a time; others are refused; 0 is 1024
	Timeout    time.Duration // of one request; 0 is 5 s

	Logger   *slog.Logger          // nil discards
	Registry prometheus.Registerer // nil registers nothing
	Tracer   *trace.Tracer         // nil traces nothing
}

// Validate joins all faults of o.
func (o Options) Validate() error {
	var faults []error
	if o.Spec == nil {
		return errors.New("fan-out: no spec")
	}
	for shard := range o.Own {
		faults = append(faults, o.isShard(shard))
	}
	for shard, peers := range o.Peers {
		faults = append(faults, o.isShard(shard))
		for _, p := range peers {
			if p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil || p.RawQuery != "" || p.Fragment != "" {
				faults = append(faults, fmt.Errorf("fan-out: peer %s of shard %d, allowed: http://host:port or https://host:port", p.Redacted(), shard))
			}
		}
	}
	if o.MaxBody < 0 || o.MaxRunning < 0 || o.Timeout < 0 {
		faults = append(faults, fmt.Errorf("fan-out: max body %d, max running %d, timeout %v, allowed: positive, or 0 for the default", o.MaxBody, o.MaxRunning, o.Timeout))
	}
	return errors.Join(faults...)
}

func (o Options) isShard(shard int) error {
	if shard < 0 || shard >= o.Spec.Shards {
		return fmt.Errorf("fan-out: shard %d, allowed: 0 to %d", shard, o.Spec.Shards-1)
	}
	return nil
}

// Router is the API of a whole index. It may be used concurrently.
type Router struct {
	o         Options
	id        string // of the index
	shards    []shard
	running   chan struct{}
	measuring chan struct{} // who measures recall
	metrics   *metrics
}

// New returns a Router.
func New(o Options) (*Router, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.MaxBody == 0 {
		o.MaxBody = 16 << 20
	}
	if o.MaxRunning == 0 {
		o.MaxRunning = 1024
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	id, err := IndexID(o.Spec)
	if err != nil {
		return nil, err
	}
	r := &Router{o: o, id: id, running: make(chan struct{}, o.MaxRunning), measuring: make(chan struct{}, 1), metrics: newMetrics(o.Registry)}
	peers := newPeerTransport(o)
	for n := range o.Spec.Shards {
		s := shard{number: n, label: strconv.Itoa(n)}
		if api := o.Own[n]; api != nil {
			s.targets = append(s.targets, &target{name: "this node", transport: inProcess{api}, base: "http://this-node/v1/", own: true})
		}
		for _, p := range o.Peers[n] {
			s.targets = append(s.targets, &target{name: p.Host, transport: peers, base: fmt.Sprintf("%s/v1/shards/%d/", strings.TrimSuffix(p.String(), "/"), n)})
		}
		if len(s.targets) == 0 {
			o.Logger.Warn("no node is known for a shard: searches of the whole index are refused", "shard", n)
		}
		r.metrics.shard(s.label)
		r.shards = append(r.shards, s)
	}
	return r, nil
}

// IndexHeader is the header of a request to a peer that says which index is meant.
const IndexHeader = "Adastream-Index"

// IndexID tells indexes apart: by all that their specs say.
func IndexID(spec *schemas.Spec) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// perShard are the paths below /v1/ that a shard has too. Those of administrators are not among them: they stay where guards look
// for them.
var perShard = []string{"search", "vectors:batchGet", "vectors:sample", "vectors/", "snapshots", "snapshots/", "index", "stats", "recall"}

const known = "POST /v1/search, GET /v1/vectors/{id}, POST /v1/vectors:batchGet, POST /v1/vectors:sample, POST /v1/recall, GET /v1/index, GET /v1/stats, GET /v1/shards, and below /v1/shards/{shard}/ these and snapshots; POST /v1/admin/shards/{shard}/channel"

// API is the handler of the query API of the whole index, and of the shards of this process.
func (r *Router) API() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/search", r.route("search", http.MethodPost, r.search))
	mux.Handle("/v1/vectors/{id...}", r.route("vector", http.MethodGet, r.vector))
	mux.Handle("/v1/vectors:batchGet", r.route("vectors", http.MethodPost, r.vectors))
	mux.Handle("/v1/vectors:sample", r.route("sample", http.MethodPost, r.sample))
	mux.Handle("/v1/recall", r.route("recall", http.MethodPost, r.recall))
	mux.Handle("/v1/index", r.route("index", http.MethodGet, r.index))
	mux.Handle("/v1/stats", r.route("stats", http.MethodGet, r.stats))
	mux.Handle("/v1/shards", r.route("shards", http.MethodGet, r.list))
	mux.HandleFunc("/v1/shards/{shard}/{rest...}", r.own)
	mux.HandleFunc("/v1/admin/shards/{shard}/channel", func(w http.ResponseWriter, q *http.Request) { r.pass(w, q, "/v1/admin/channel") })
	mux.Handle("/", r.route("other", "", func(q *http.Request) (any, error) {
		return nil, &problem.Problem{Title: "no such url", Status: http.StatusNotFound, Code: "no_such_url", Detail: fmt.Sprintf("%.*s", schemas.MaxIDBytes, q.URL.Path), Allowed: known}
	}))
	return mux
}

// own answers for one shard of this process.
func (r *Router) own(w http.ResponseWriter, q *http.Request) {
	rest := q.PathValue("rest")
	if !slices.ContainsFunc(perShard, func(p string) bool { return rest == p || strings.HasSuffix(p, "/") && strings.HasPrefix(rest, p) }) {
		problem.Problem{Title: "no such url", Status: http.StatusNotFound, Code: "no_such_url", Detail: fmt.Sprintf("%.*s", schemas.MaxIDBytes, q.URL.Path), Allowed: known}.Write(w)
		return
	}
	_, escaped, _ := strings.Cut(strings.TrimPrefix(q.URL.EscapedPath(), "/v1/shards/"), "/")
	r.pass(w, q, "/v1/"+escaped)
}

// pass hands a request to the node of a shard, under the path that it has there, with its escapes.
func (r *Router) pass(w http.ResponseWriter, q *http.Request, escaped string) {
	text := q.PathValue("shard")
	n, err := strconv.Atoi(text)
	api := r.o.Own[n]
	if err != nil || strconv.Itoa(n) != text || api == nil {
		problem.Problem{Title: "no such shard here", Status: http.StatusNotFound, Code: "no_such_shard", Detail: fmt.Sprintf("shard: %.20q is not one of this node's", text), Allowed: r.here()}.Write(w)
		return
	}
	if meant := q.Header.Get(IndexHeader); meant != "" && meant != r.id {
		problem.Problem{Title: "another index is meant", Status: http.StatusMisdirectedRequest, Code: "other_index", Detail: fmt.Sprintf("%s: %.20q, this node is of index %s", IndexHeader, meant, r.o.Spec.Name), Allowed: r.id}.Write(w)
		return
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	inner := q.Clone(q.Context())
	inner.URL.Path, inner.URL.RawPath = path, escaped
	api.ServeHTTP(w, inner)
}

// here says which shards this process has.
func (r *Router) here() string {
	if len(r.o.Own) == 0 {
		return "none: this node only merges"
	}
	var numbers []string
	for n := range r.shards {
		if r.o.Own[n] != nil {
			numbers = append(numbers, strconv.Itoa(n))
		}
	}
	return strings.Join(numbers, ", ")
}

// route wraps a handler: method, limits, one answer or one problem, counted by status.
func (r *Router) route(name, method string, handle func(*http.Request) (any, error)) http.Handler {
	r.metrics.route(name)
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		began := time.Now()
		traced, span := r.o.Tracer.Serve(q.Context(), q.Header, "merged "+name)
		answer, err := func() (any, error) {
			if method != "" && q.Method != method && !(method == http.MethodGet && q.Method == http.MethodHead) {
				w.Header().Set("Allow", method)
				return nil, &problem.Problem{Title: "method not allowed", Status: http.StatusMethodNotAllowed, Code: "bad_method", Detail: q.Method, Allowed: method}
			}
			select {
			case r.running <- struct{}{}:
				defer func() { <-r.running }()
			default:
				return nil, &problem.Problem{Title: "overloaded", Status: http.StatusTooManyRequests, Code: "overloaded", Detail: fmt.Sprintf("%d requests are running", r.o.MaxRunning)}
			}
			q.Body = http.MaxBytesReader(w, q.Body, r.o.MaxBody)
			ctx, cancel := context.WithTimeout(traced, r.o.Timeout)
			defer cancel()
			return handle(q.WithContext(ctx))
		}()
		contentType, body, err := encode(answer, err)
		span.End(err)
		if err != nil {
			p := r.problemOf(err)
			r.metrics.answered(name, p.Status, began)
			p.Write(w)
			return
		}
		r.metrics.answered(name, http.StatusOK, began)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client is gone if this fails
	})
}

// encode makes an answer, if there is no error, into what is sent.
func encode(answer any, err error) (contentType string, body []byte, _ error) {
	if err != nil {
		return "", nil, err
	}
	if w, ok := answer.(*response); ok {
		return w.contentType, w.body, nil
	}
	body, err = json.Marshal(answer)
	return jsonType, append(body, '\n'), err
}

func (r *Router) problemOf(err error) *problem.Problem {
	var p *problem.Problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return &problem.Problem{Title: "request too large", Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: "the body is larger than the limit", Allowed: fmt.Sprintf("at most %d bytes", tooLarge.Limit)}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem.Problem{Title: "timed out", Status: http.StatusServiceUnavailable, Code: "timeout", Detail: fmt.Sprintf("the query did not end within %v", r.o.Timeout),
			Allowed: "fewer queries in a request, fewer lists (plan.nprobe), or no exact search"}
	case errors.Is(err, context.Canceled):
		return &problem.Problem{Title: "cancelled", Status: problem.StatusGone, Code: "timeout", Detail: "the client went away"}
	}
	r.o.Logger.Error("request failed", "error", err)
	return &problem.Problem{Title: "internal error", Status: http.StatusInternalServerError, Code: "internal", Detail: "the node could not merge the answers of its shards; its log says why"}
}
