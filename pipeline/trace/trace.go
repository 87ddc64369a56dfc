// Package trace tells OpenTelemetry what becomes of a record, from its producer to the nodes that find it, and what a query does.
//
// A trace is handed on as W3C trace context: in the headers of a request, in the header of a message, and from there in the records
// of the index - a commit names its span, a manifest that of its publication - so that the daemons, which share nothing but the store,
// write one trace. What has many causes, a commit of many messages, a generation of many commits, goes on with the first one that is
// sampled, and links to the others.
//
// A nil [Tracer] traces nothing and allocates nothing: code that is traced does not ask whether it is.
package trace

import (
	"context"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Header of messages that names the span that they come from, as in HTTP.
const Header = "traceparent"

// most is how many causes a span names.
const most = 32

// Tracer makes spans. It is safe for concurrent use.
type Tracer struct{ tracer trace.Tracer }

// New returns a Tracer of a provider, which its maker shuts down.
func New(p trace.TracerProvider) *Tracer {
	return &Tracer{p.Tracer("github.com/adastream/adastream")}
}

// Span is work that takes a time. The zero value is none.
type Span struct{ span trace.Span }

// Start begins a span within that of ctx, if it has one.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	return t.start(ctx, name)
}

func (t *Tracer) start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, Span) {
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, Span{span}
}

// Send begins a span of a message that is produced.
func (t *Tracer) Send(ctx context.Context, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	return t.start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer))
}

// Continue begins a span that goes on from the first of its causes and links to the others. Causes that are none are passed over.
func (t *Tracer) Continue(ctx context.Context, name string, causes *Causes) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	for i, c := range causes.spans() {
		if i == 0 {
			ctx = trace.ContextWithRemoteSpanContext(ctx, c)
		} else {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: c}))
		}
	}
	return t.start(ctx, name, options...)
}

// Serve begins a span of a request, which goes on from that of its client if it names one.
func (t *Tracer) Serve(ctx context.Context, header http.Header, name string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	return t.start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
}

// Int notes a number.
func (s Span) Int(key string, value int64) {
	if s.span != nil {
		s.span.SetAttributes(attribute.Int64(key, value))
	}
}

// Text notes a text.
func (s Span) Text(key, value string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String(key, value))
	}
}

// Link names another span that this one has to do with.
func (s Span) Link(parent string) {
	if s.span == nil {
		return
	}
	if c := parse(parent); c.IsValid() {
		s.span.AddLink(trace.Link{SpanContext: c})
	}
}

// End ends the span, with err as what became of it.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Parent names the span to those who go on from it, "" if it is not sampled.
func (s Span) Parent() string {
	if s.span == nil || !s.span.SpanContext().IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s.span), carrier)
	return carrier[Header]
}

// valid reports whether a text names a span that is sampled.
func valid(parent string) bool {
	c := parse(parent)
	return c.IsValid() && c.IsSampled()
}

func parse(parent string) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{Header: parent})
	return trace.SpanContextFromContext(ctx)
}

// Causes are the spans that a span comes from. The zero value is none, and nil too.
type Causes struct{ parents []string }

// From is the causes that are named.
func From(parents ...string) *Causes {
	c := &Causes{}
	for _, p := range parents {
		c.Add(p)
	}
	return c
}

// Add adds one, unless it names none that is sampled, or there are many already.
func (c *Causes) Add(parent string) {
	if parent != "" && len(c.parents) < most && valid(parent) {
		c.parents = append(c.parents, parent)
	}
}

// Reset forgets all.
func (c *Causes) Reset() { c.parents = c.parents[:0] }

func (c *Causes) spans() (found []trace.SpanContext) {
	if c == nil {
		return nil
	}
	for _, p := range c.parents {
		found = append(found, parse(p))
	}
	return found
}

// Logger is l with trace_id and span_id in all that is logged with the context of a span.
func Logger(l *slog.Logger) *slog.Logger { return slog.New(handler{l.Handler()}) }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
