package trace

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

func recording(o ...sdk.TracerProviderOption) (*Tracer, *tracetest.SpanRecorder) {
	r := tracetest.NewSpanRecorder()
	return New(sdk.NewTracerProvider(append(o, sdk.WithSpanProcessor(r))...)), r
}

// TestOneTrace: what is handed on by text goes on in the same trace, and other causes are linked.
func TestOneTrace(t *testing.T) {
	tracer, ended := recording()
	_, first := tracer.Send(t.Context(), "produce")
	_, second := tracer.Send(t.Context(), "produce")
	_, span := tracer.Continue(t.Context(), "commit", From("", "rubbish", first.Parent(), second.Parent()))
	if span.Parent() == first.Parent() || !valid(span.Parent()) {
		t.Errorf("names itself %q", span.Parent())
	}
	span.Int("rows", 3)
	span.End(errors.New("no"))
	s := ended.Ended()[0]
	if s.Parent().TraceID() != parse(first.Parent()).TraceID() || !s.Parent().IsRemote() || s.SpanContext().TraceID() != s.Parent().TraceID() {
		t.Errorf("goes on from %v, want %s", s.Parent(), first.Parent())
	}
	if len(s.Links()) != 1 || s.Links()[0].SpanContext.TraceID() != parse(second.Parent()).TraceID() {
		t.Errorf("links to %v, want %s", s.Links(), second.Parent())
	}
	if s.Status().Code != codes.Error || len(s.Attributes()) != 1 {
		t.Errorf("ended as %v with %v", s.Status(), s.Attributes())
	}
}

func TestManyCausesAreBounded(t *testing.T) {
	tracer, ended := recording()
	causes := &Causes{}
	for range 100 {
		_, s := tracer.Send(t.Context(), "produce")
		causes.Add(s.Parent())
	}
	_, span := tracer.Continue(t.Context(), "commit", causes)
	span.End(nil)
	if n := len(ended.Ended()[0].Links()); n != most-1 {
		t.Errorf("%d links, want %d", n, most-1)
	}
}

// TestWhatIsNotSampledIsNotNamed: records of the index do not grow for it.
func TestWhatIsNotSampledIsNotNamed(t *testing.T) {
	tracer, _ := recording(sdk.WithSampler(sdk.NeverSample()))
	_, span := tracer.Send(t.Context(), "produce")
	if p := span.Parent(); p != "" {
		t.Errorf("names itself %q", p)
	}
	if valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") || !valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") {
		t.Error("valid is what is sampled")
	}
}

// TestRequestsGoOnFromTheirClients, hostile headers too.
func TestRequestsGoOnFromTheirClients(t *testing.T) {
	tracer, ended := recording()
	for header, want := range map[string]string{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "0af7651916cd43dd8448eb211c80319c",
		"": "", "00-00000000000000000000000000000000-0000000000000000-01": "", strings.Repeat("0", 1<<20): "",
	} {
		_, span := tracer.Serve(t.Context(), http.Header{"Traceparent": {header}}, "search")
		span.End(nil)
		spans := ended.Ended()
		if got := spans[len(spans)-1].SpanContext().TraceID().String(); want != "" && got != want {
			t.Errorf("%.60q goes on as %s, want %s", header, got, want)
		}
	}
}

func TestLogLinesNameTheTrace(t *testing.T) {
	var out bytes.Buffer
	tracer, _ := recording()
	log := Logger(slog.New(slog.NewTextHandler(&out, nil))).With("role", "test")
	ctx, span := tracer.Start(t.Context(), "work")
	log.InfoContext(ctx, "within")
	id := trace.SpanContextFromContext(ctx).TraceID().String()
	span.End(nil)
	if !strings.Contains(out.String(), "role=test trace_id="+id) {
		t.Errorf("%q does not name %s", out.String(), id)
	}
	out.Reset()
	log.Info("outside")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("%q names a trace", out.String())
	}
}

// TestNothingCostsNothing: with tracing off no call allocates.
func TestNothingCostsNothing(t *testing.T) {
	var tracer *Tracer
	ctx, header := context.Background(), http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	if n := testing.AllocsPerRun(100, func() {
		c, span := tracer.Serve(ctx, header, "search")
		c, inner := tracer.Start(c, "scan")
		inner.Int("lists", 3)
		inner.Link("x")
		inner.End(nil)
		_, other := tracer.Continue(c, "swap", nil)
		other.Text("a", "b")
		other.End(nil)
		span.End(nil)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
