package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/adastream/adastream/pipeline/trace"
)

// traceEnd is how long a program waits at its end for the last spans to be taken.
const traceEnd = 3 * time.Second

// Tracing returns a tracer that sends spans where OpenTelemetry's own variables say, nil if they say nowhere: OTEL_EXPORTER_OTLP_ENDPOINT
// or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT turns it on. Their other variables count too: headers, certificates, the sampler, the
// service's name, which is adastream-<role> otherwise. Stop sends what is left.
func Tracing(ctx context.Context, role string, log *slog.Logger) (t *trace.Tracer, stop func(), err error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, func() {}, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return nil, nil, Usage(fmt.Errorf("%s %q: allowed: http/protobuf", name, p))
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, Usage(fmt.Errorf("tracing: %w", err))
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "adastream-"+role), attribute.String("service.version", ThisBuild().Version)), resource.WithHost(), resource.WithProcessPID(),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the last one counts
	if err != nil {
		return nil, nil, Usage(fmt.Errorf("tracing: %w", err))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing failed", "error", err) })) // the library has no other place for them
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	log.Info("tracing is on", "sampler", os.Getenv("OTEL_TRACES_SAMPLER"))
	return trace.New(provider), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceEnd)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last spans were not sent", "error", err)
		}
	}, nil
}
