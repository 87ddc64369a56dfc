package fanout

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/pipeline/trace"
)

// shard is one of the index.
type shard struct {
	number  int
	label   string    // its number, in metrics
	targets []*target // that answer for it
}

// target is a node that answers for a shard.
type target struct {
	name      string
	transport http.RoundTripper
	base      string // that paths follow
	own       bool   // in this process

	running atomic.Int64
	failed  atomic.Pointer[time.Time] // when it did last; nil is never
}

// avoid is for how long a target that did not answer is asked after the others.
const avoid = time.Second

// order is the targets as they are to be asked: those that work before those that have just failed, the wanted one and then one of
// this process before others, then by how much they have to do.
func (s *shard) order(now time.Time, first *target) []*target {
	ordered := slices.Clone(s.targets)
	rand.Shuffle(len(ordered), func(i, j int) { ordered[i], ordered[j] = ordered[j], ordered[i] })
	rank := func(t *target) int {
		switch {
		case t.hasFailed(now):
			return 3
		case t == first:
			return 0
		case t.own:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(ordered, func(a, b *target) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.running.Load(), b.running.Load()))
	})
	return ordered
}

// hasFailed reports whether the target did not answer a moment ago. Times have monotonic clocks, which nobody sets back.
func (t *target) hasFailed(now time.Time) bool {
	last := t.failed.Load()
	return last != nil && now.Sub(*last) < avoid
}

// request is what is asked of a shard.
type request struct {
	method string
	path   string  // below /v1/
	body   []byte  // nil for none
	first  *target // who is asked first; nil leaves it open

	sends, wants string // content types; "" is JSON
}

// reply is what a node answered.
type reply struct {
	body []byte
	from *target
}

// passedOn are the headers of the caller's request that nodes get too.
var passedOn = []string{"Authorization", "Traceparent", "Tracestate", "Baggage"}

// maxAnswer bounds what is read of a node's answer.
const maxAnswer = 1 << 30

// ask asks the targets of a shard, one after the other, until one answers. What a node refuses because of the request itself is an
// answer: a *problem.Problem as the node said it.
func (r *Router) ask(ctx context.Context, s *shard, q request, header http.Header) (a reply, err error) {
	targets := s.order(time.Now(), q.first)
	if len(targets) == 0 {
		return a, &problem.Problem{Title: "a shard cannot be asked", Status: http.StatusServiceUnavailable, Code: "no_shard", Detail: fmt.Sprintf("shard %d: this node has none and knows no other", s.number), Allowed: "--shard or --peers with it"}
	}
	var late error
	for i, t := range targets {
		a.from = t
		if a.body, err = r.try(ctx, s, t, q, header, len(targets)-i); err == nil || !another(err) || ctx.Err() != nil {
			break
		}
		if notFresh(err) {
			if late == nil {
				late, q = err, q.atOnce()
			}
			continue
		}
		now := time.Now()
		t.failed.Store(&now)
		r.metrics.failures.WithLabelValues(s.label).Inc()
		r.o.Logger.Warn("a node of a shard did not answer", "shard", s.number, "node", t.name, "error", err)
	}
	if err != nil && late != nil {
		err = late // what another one could not say either
	}
	var p *problem.Problem
	switch {
	case err == nil:
		return a, nil
	case errors.As(err, &p) && wrongNode(p):
		return a, noAnswer(s, p)
	case errors.As(err, &p):
		own := *p
		own.Detail = fmt.Sprintf("shard %d: %s", s.number, p.Detail)
		return a, &own
	case ctx.Err() != nil:
		return a, ctx.Err()
	}
	return a, noAnswer(s, err)
}

func noAnswer(s *shard, last error) error {
	return &problem.Problem{Title: "a shard cannot be asked", Status: http.StatusServiceUnavailable, Code: "no_shard", Detail: fmt.Sprintf("shard %d: none of its %d nodes answers: %v", s.number, len(s.targets), last)}
}

// wrongNode reports whether a node says that it was named as a peer by mistake.
func wrongNode(p *problem.Problem) bool {
	return p.Code == "no_such_shard" || p.Status == http.StatusMisdirectedRequest
}

// notFresh reports whether a node is not as fresh as asked for, after it waited for that.
func notFresh(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && p.Status == http.StatusConflict && p.Code == "not_fresh"
}

// atOnce is the request without a wait: another node has waited already.
func (q request) atOnce() request {
	const wait = "wait_seconds"
	if q.sends != arrowType {
		if body, err := with(q.body, map[string]any{wait: 0}); err == nil { // nodes say what else is wrong
			q.body = body
		}
		return q
	}
	path, raw, _ := strings.Cut(q.path, "?")
	if options, err := url.ParseQuery(raw); err == nil {
		options.Set(wait, "0")
		q.path = path + "?" + options.Encode()
	}
	return q
}

// another reports whether another node of the shard may do better.
func another(err error) bool {
	var p *problem.Problem
	if !errors.As(err, &p) {
		return true
	}
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return wrongNode(p) || notFresh(p)
}

// try is askOne as metrics and traces see it: each node that is asked has a span of its own, which it goes on from.
func (r *Router) try(ctx context.Context, s *shard, t *target, q request, header http.Header, left int) ([]byte, error) {
	began := time.Now()
	ctx, span := r.o.Tracer.Start(ctx, "ask shard")
	if parent := span.Parent(); parent != "" {
		header = header.Clone()
		header.Set(trace.Header, parent)
		span.Int("adastream.shard", int64(s.number))
		span.Text("adastream.node", t.name)
	}
	body, err := r.askOne(ctx, t, q, header, left)
	span.Int("adastream.answer_bytes", int64(len(body)))
	span.End(err)
	r.metrics.shardSeconds.WithLabelValues(s.label).Observe(time.Since(began).Seconds())
	return body, err
}

// askOne asks one target. If there are others it is left three fifths of the time: a node may wait for half of its own to be fresh enough.
func (r *Router) askOne(ctx context.Context, t *target, q request, header http.Header, left int) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/5)
		defer cancel()
	}
	out, err := http.NewRequestWithContext(ctx, q.method, t.base+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for _, name := range passedOn {
		if v := header.Values(name); len(v) > 0 {
			out.Header[name] = v
		}
	}
	out.Header.Set(IndexHeader, r.id)
	out.Header.Set("Content-Type", cmp.Or(q.sends, jsonType))
	out.Header.Set("Accept", cmp.Or(q.wants, jsonType))
	t.running.Add(1)
	defer t.running.Add(-1)
	answer, err := t.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := readAll(answer)
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case answer.StatusCode == http.StatusOK:
		return body, nil
	}
	p := &problem.Problem{}
	if json.Unmarshal(body, p) != nil || p.Code == "" || p.Status != answer.StatusCode {
		return nil, fmt.Errorf("%s: %.200q is no answer of a query node", answer.Status, body)
	}
	if p.Status == problem.StatusGone && ctx.Err() != nil {
		return nil, ctx.Err() // the node says what was done to it
	}
	return nil, p
}

// presize is how many bytes an answer gets because it says that it has them; more come with the bytes.
const presize = 4 << 20

func readAll(answer *http.Response) ([]byte, error) {
	body := bytes.NewBuffer(make([]byte, 0, min(max(answer.ContentLength, 0), presize)+bytes.MinRead))
	_, err := body.ReadFrom(io.LimitReader(answer.Body, maxAnswer+1))
	return body.Bytes(), err
}

// askAll asks all shards at once, but for those of which q is nil. The first error that is not a matter of one node counts.
func (r *Router) askAll(ctx context.Context, header http.Header, q func(shard int) *request) ([]reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies, errs := make([]reply, len(r.shards)), make([]error, len(r.shards))
	var asking sync.WaitGroup
	for i := range r.shards {
		wanted := q(i)
		if wanted == nil {
			continue
		}
		asking.Go(func() {
			replies[i], errs[i] = r.ask(ctx, &r.shards[i], *wanted, header)
			if p := (*problem.Problem)(nil); errors.As(errs[i], &p) && p.Status < http.StatusInternalServerError {
				cancel() // the request is refused, whatever the others find
			}
		})
	}
	asking.Wait()
	return replies, worst(errs)
}

// worst is the error that the caller is told: what is wrong with the request before what is wrong with nodes, and that before what
// was given up because of it.
func worst(errs []error) (told error) {
	rank := func(err error) int {
		var p *problem.Problem
		switch {
		case err == nil:
			return 0
		case !errors.As(err, &p):
			return 1
		case p.Status >= http.StatusInternalServerError:
			return 2
		}
		return 3
	}
	for _, err := range errs {
		if rank(err) > rank(told) {
			told = err
		}
	}
	return told
}

// newPeerTransport keeps connections to peers for the next request: each one asks all shards.
func newPeerTransport(o Options) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig, t.MaxIdleConns, t.MaxIdleConnsPerHost, t.DisableCompression = o.TLS, 0, 256, true
	t.Proxy = nil // peers are of the same network
	if o.Authorities != nil {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		return access.Trusting(t, o.Authorities)
	}
	return t
}

// inProcess asks a handler.
type inProcess struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h inProcess) RoundTrip(q *http.Request) (*http.Response, error) {
	a := &recorder{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(a, q)
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Header: a.header, ContentLength: int64(a.body.Len()), Body: io.NopCloser(&a.body), Request: q}, nil
}

// recorder holds what a handler answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) WriteHeader(status int)      { a.status = status }
func (a *recorder) Write(b []byte) (int, error) { return a.body.Write(b) }
