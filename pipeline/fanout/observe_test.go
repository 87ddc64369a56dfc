package fanout_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/pipeline/trace"
)

// TestMetrics: merged requests are counted by route and status, and what nodes are asked by shard.
func TestMetrics(t *testing.T) {
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	registry := prometheus.NewRegistry()
	all := router(t, fanout.Options{Spec: spec, Own: nodes, Registry: registry})
	query := `{"vector":` + text(rows[0].vector) + `}`
	for range 3 {
		call(all, "POST", "/v1/search", query)
	}
	call(all, "POST", "/v1/search", `{"k":0,"vector":`+text(rows[0].vector)+`}`)
	call(all, "GET", "/v1/search", "")
	call(all, "GET", "/v1/nothing", "")
	call(all, "GET", "/v1/shards/0/stats", "") // which is not merged
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP adastream_query_merged_requests_total Number of requests answered for all shards of an index, by route and status code. The resulting requests to shards are in requests_total of their nodes.
# TYPE adastream_query_merged_requests_total counter
adastream_query_merged_requests_total{code="200",route="index"} 0
adastream_query_merged_requests_total{code="200",route="other"} 0
adastream_query_merged_requests_total{code="200",route="recall"} 0
adastream_query_merged_requests_total{code="200",route="sample"} 0
adastream_query_merged_requests_total{code="200",route="search"} 3
adastream_query_merged_requests_total{code="200",route="shards"} 0
adastream_query_merged_requests_total{code="200",route="stats"} 0
adastream_query_merged_requests_total{code="200",route="vector"} 0
adastream_query_merged_requests_total{code="200",route="vectors"} 0
adastream_query_merged_requests_total{code="400",route="search"} 1
adastream_query_merged_requests_total{code="404",route="other"} 1
adastream_query_merged_requests_total{code="405",route="search"} 1
adastream_query_merged_requests_total{code="500",route="index"} 0
adastream_query_merged_requests_total{code="500",route="other"} 0
adastream_query_merged_requests_total{code="500",route="recall"} 0
adastream_query_merged_requests_total{code="500",route="sample"} 0
adastream_query_merged_requests_total{code="500",route="search"} 0
adastream_query_merged_requests_total{code="500",route="shards"} 0
adastream_query_merged_requests_total{code="500",route="stats"} 0
adastream_query_merged_requests_total{code="500",route="vector"} 0
adastream_query_merged_requests_total{code="500",route="vectors"} 0
adastream_query_merged_requests_total{code="503",route="index"} 0
adastream_query_merged_requests_total{code="503",route="other"} 0
adastream_query_merged_requests_total{code="503",route="recall"} 0
adastream_query_merged_requests_total{code="503",route="sample"} 0
adastream_query_merged_requests_total{code="503",route="search"} 0
adastream_query_merged_requests_total{code="503",route="shards"} 0
adastream_query_merged_requests_total{code="503",route="stats"} 0
adastream_query_merged_requests_total{code="503",route="vector"} 0
adastream_query_merged_requests_total{code="503",route="vectors"} 0
`), "adastream_query_merged_requests_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				counts[f.GetName()+" "+m.GetLabel()[0].GetValue()] = h.GetSampleCount()
			}
		}
	}
	for name, want := range map[string]uint64{
		"adastream_query_merged_request_seconds search": 5, "adastream_query_merged_request_seconds other": 1, "adastream_query_merged_request_seconds index": 0,
		"adastream_query_shard_request_seconds 0": 4, "adastream_query_shard_request_seconds 1": 4,
	} {
		if got, there := counts[name]; !there || got != want {
			t.Errorf("%s was observed %d times, want %d; there are %v", name, got, want, counts)
		}
	}
}

// TestSpans: a merged request is a span of its client's trace, with one for each node that is asked, from which that node goes on.
func TestSpans(t *testing.T) {
	const client, its = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	rows := someRows(100)
	spec, nodes := build(t, 2, rows)
	asked := make(chan string, 10)
	noting := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			asked <- q.Header.Get("Traceparent")
			h.ServeHTTP(w, q)
		})
	}
	far := httptest.NewServer(noting(router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{1: nodes[1]}})))
	defer far.Close()
	peer, err := url.Parse(far.URL)
	if err != nil {
		t.Fatal(err)
	}
	recorder := tracetest.NewSpanRecorder()
	all := router(t, fanout.Options{Spec: spec, Own: map[int]http.Handler{0: noting(nodes[0])}, Peers: map[int][]*url.URL{1: {peer}},
		Tracer: trace.New(sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)))})
	r := httptest.NewRequest("POST", "/v1/search", strings.NewReader(`{"vector":`+text(rows[0].vector)+`}`))
	r.Header.Set("Traceparent", "00-"+client+"-"+its+"-01")
	w := httptest.NewRecorder()
	all.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	spans := recorder.Ended()
	if len(spans) != 3 {
		t.Fatalf("%d spans, want one of the request and two of shards", len(spans))
	}
	merged := spans[2]
	if merged.Name() != "merged search" || merged.SpanContext().TraceID().String() != client || merged.Parent().SpanID().String() != its {
		t.Errorf("%s goes on from %v", merged.Name(), merged.Parent())
	}
	parents := map[string]bool{<-asked: true, <-asked: true}
	shards := map[int64]string{}
	for _, s := range spans[:2] {
		if s.Name() != "ask shard" || s.Parent().SpanID() != merged.SpanContext().SpanID() {
			t.Errorf("%s goes on from %v, want the request", s.Name(), s.Parent())
		}
		if own := "00-" + client + "-" + s.SpanContext().SpanID().String() + "-01"; !parents[own] {
			t.Errorf("no node goes on from %s, but from %v", own, parents)
		}
		of := attribute.NewSet(s.Attributes()...)
		shard, _ := of.Value("adastream.shard")
		node, _ := of.Value("adastream.node")
		shards[shard.AsInt64()] = node.AsString()
	}
	if shards[0] != "this node" || shards[1] != peer.Host {
		t.Errorf("spans are of %v", shards)
	}
}
