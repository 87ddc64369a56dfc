package cmd

import (
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/adastream/adastream/bench/fleet"
)

// receiver is a collector of OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
}

type span struct {
	*otlp.Span
	service string
}

func (s span) trace() string  { return hex.EncodeToString(s.TraceId) }
func (s span) id() string     { return hex.EncodeToString(s.SpanId) }
func (s span) parent() string { return hex.EncodeToString(s.ParentSpanId) }

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || request.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", request.URL.Path, err)
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range export.ResourceSpans {
			service := ""
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					r.spans = append(r.spans, span{s, service})
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// await waits for a span of a trace.
func (r *receiver) await(t *testing.T, trace, service, name string) span {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r.mu.Lock()
		for _, s := range r.spans {
			if (trace == "" || s.trace() == trace) && s.service == service && s.Name == name {
				r.mu.Unlock()
				return s
			}
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, s := range r.spans {
		all = append(all, s.trace()[:6]+" "+s.service+" "+s.Name)
	}
	slices.Sort(all)
	t.Fatalf("no span %s of %s in trace %q, there are %q", name, service, trace, slices.Compact(all))
	return span{}
}

// TestTraceOfARecord: from its producer to the node that finds it, over three daemons that share nothing but broker and store, a record
// is in one trace; and a search is in that of its client, with a link to the swap that brought what it found.
func TestTraceOfARecord(t *testing.T) {
	f, r := newFleetTest(t), newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	f.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
	f.start("builder")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	node, _ := f.start("query", "--listen", api, "--poll-every", "50ms")
	f.produceFile(batch(rand.New(rand.NewPCG(8, 8)), 0, 100))
	f.awaitServed("http://" + api)

	produced := r.await(t, "", "adastream-produce", "produce")
	trace := produced.trace()
	committed := r.await(t, trace, "adastream-ingestor", "commit")
	published := r.await(t, trace, "adastream-builder", "publish")
	promoted := r.await(t, trace, "adastream-builder", "promote")
	swapped := r.await(t, trace, "adastream-query", "swap")
	for _, s := range []struct{ of, from span }{{committed, produced}, {promoted, published}, {swapped, published}} {
		if s.of.parent() != s.from.id() {
			t.Errorf("%s goes on from %s, want %s of %s", s.of.Name, s.of.parent(), s.from.id(), s.from.Name)
		}
	}
	if !strings.Contains(node.Log(), "trace_id="+trace) {
		t.Errorf("the node's log does not name trace %s", trace)
	}

	const client, its = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+api+"/v1/search", strings.NewReader(`{"like":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-"+client+"-"+its+"-01")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	served := r.await(t, client, "adastream-query", "search")
	if served.parent() != its || served.Kind != otlp.Span_SPAN_KIND_SERVER {
		t.Errorf("the search goes on from %s as %v", served.parent(), served.Kind)
	}
	for _, name := range []string{"wait", "scan"} {
		if s := r.await(t, client, "adastream-query", name); s.parent() != served.id() {
			t.Errorf("%s goes on from %s, want %s", name, s.parent(), served.id())
		}
	}
	scan := r.await(t, client, "adastream-query", "scan")
	if len(scan.Links) != 1 || !r.has(hex.EncodeToString(scan.Links[0].SpanId), "swap") {
		t.Errorf("the scan links to %v, want a swap", scan.Links)
	}
	for _, want := range []string{"adastream.plan", "adastream.generation", "adastream.lists_probed"} {
		found := false
		for _, a := range scan.Attributes {
			found = found || a.Key == want
		}
		if !found {
			t.Errorf("the scan does not say %s: %v", want, scan.Attributes)
		}
	}
}

// has reports whether a span has a name.
func (r *receiver) has(id, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.spans, func(s span) bool { return s.id() == id && s.Name == name })
}
