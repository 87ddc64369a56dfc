package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/pipeline/ui"
)

// stack is all roles in one process.
type stack struct {
	ingestor *ingest.Ingestor
	builder  *build.Builder
	node     *serve.Node
	pages    *ui.UI
	gate     *cli.Gate
	api      net.Listener
	ops      *cli.Ops
}

type stackOptions struct {
	log                     *commit.Log
	client                  *source.Client
	cache                   cli.Cache
	listen, ops             string
	acceptGap, acceptPoison bool
	keepFor                 time.Duration
	collect                 time.Duration // between two collections of garbage, 0 is never
	memory                  int64         // of the generation that is served and the next one, 0 is no limit
	admin                   bool          // moves the channel for administrators
	gate                    *cli.Gate
	logger                  *slog.Logger
	registry                *prometheus.Registry
	tracer                  *trace.Tracer
}

func newStack(ctx context.Context, o stackOptions) (*stack, error) {
	level, err := cli.Level(o.logger)
	if err != nil {
		return nil, err
	}
	s := &stack{gate: o.gate}
	s.ingestor, err = ingest.New(ingest.Options{
		Log: o.log, Source: o.client, Group: "adastream-" + o.log.Spec().Name, Level: level, AcceptGap: o.acceptGap, AcceptPoison: o.acceptPoison,
		Logger: o.logger.With("role", "ingestor"), Registry: o.registry, Tracer: o.tracer,
	})
	if err != nil {
		return nil, cli.Usage(err)
	}
	cache, err := o.cache.Open("builder", o.log.Bucket())
	if err != nil {
		return nil, err
	}
	s.builder, err = build.New(build.Options{Log: o.log, Cache: cache, Level: level, KeepFor: o.keepFor, CollectEvery: o.collect,
		Logger: o.logger.With("role", "builder"), Registry: o.registry, Tracer: o.tracer})
	if err != nil {
		return nil, cli.Usage(err)
	}
	if cache, err = o.cache.Open("query", o.log.Bucket()); err != nil {
		return nil, err
	}
	s.node, err = serve.New(serve.Options{Log: o.log, Cache: cache, Level: level, MeasureShare: 0.01, MemoryBytes: o.memory, Admin: o.admin, Logger: o.logger.With("role", "query"), Registry: o.registry, Tracer: o.tracer})
	if err != nil {
		return nil, cli.Usage(err)
	}
	if s.pages, err = ui.New(ui.Options{Node: s.node, Log: o.log, Metrics: o.registry, Logger: o.logger}); err != nil {
		return nil, err
	}
	if s.api, err = cli.Listen(ctx, o.listen); err != nil {
		return nil, err
	}
	if s.ops, err = s.gate.OpenOps(ctx, o.ops); err != nil {
		return nil, err
	}
	s.ops.Use(s.node.Ops())
	return s, nil
}

// run runs all roles until ctx ends or one of them fails.
func (s *stack) run(ctx context.Context) error {
	defer s.ops.Close()
	defer s.node.Close()
	g, ctx := errgroup.WithContext(ctx)
	role := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			if err := run(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	role("ingestor", s.ingestor.Run)
	role("builder", s.builder.Run)
	role("query", s.node.Run)
	role("pages", s.pages.Run)
	role("api", func(ctx context.Context) error {
		return s.gate.ServeAPI(ctx, s.api, s.pages.Handler(s.node.API()), 5*time.Second)
	})
	role("ops", s.ops.Wait)
	role("files", func(ctx context.Context) error { s.gate.Run(ctx); return nil })
	return g.Wait()
}
