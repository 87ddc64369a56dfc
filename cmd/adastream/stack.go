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
	"github.com/adastream/adastream/cmd/internal/nodes"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/trace"
)

// stack is all roles in one process.
type stack struct {
	ingestor *ingest.Ingestor
	builders []func(context.Context) error // their Run
	nodes    *nodes.Nodes
	gate     *cli.Gate
	api      net.Listener
	ops      *cli.Ops
}

type stackOptions struct {
	shards                  []*commit.Log
	client                  *source.Client
	schemas                 *registry.Client // of Avro messages, nil for none
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
		Shards: o.shards, Source: o.client, Schemas: o.schemas, Group: "adastream-" + o.shards[0].Spec().Name, Level: level, AcceptGap: o.acceptGap, AcceptPoison: o.acceptPoison,
		Logger: o.logger.With("role", "ingestor"), Registry: o.registry, Tracer: o.tracer,
	})
	if err != nil {
		return nil, cli.Usage(err)
	}
	scopes, err := o.cache.Scopes("builder", o.shards, o.logger.With("role", "builder"), o.registry)
	if err != nil {
		return nil, err
	}
	for _, scope := range scopes {
		b, err := build.New(build.Options{Log: scope.Index, Cache: scope.Cache, Level: level, KeepFor: o.keepFor, CollectEvery: o.collect,
			Logger: scope.Logger, Registry: scope.Registry, Tracer: o.tracer})
		if err != nil {
			return nil, cli.Usage(err)
		}
		s.builders = append(s.builders, b.Run)
	}
	if scopes, err = o.cache.Scopes("query", o.shards, o.logger.With("role", "query"), o.registry); err != nil {
		return nil, err
	}
	s.nodes, err = nodes.New(nodes.Options{Spec: o.shards[0].Spec(), Scopes: scopes, Logger: o.logger, Registry: o.registry,
		Node: serve.Options{Level: level, MeasureShare: 0.01, MemoryBytes: cli.Share(o.memory, len(scopes)), Admin: o.admin, Tracer: o.tracer}})
	if err != nil {
		return nil, err
	}
	if s.api, err = cli.Listen(ctx, "--listen", o.listen); err != nil {
		return nil, err
	}
	if s.ops, err = s.gate.OpenOps(ctx, o.ops); err != nil {
		return nil, err
	}
	s.ops.Use(s.nodes.Ops())
	return s, nil
}

// run runs all roles until ctx ends or one of them fails.
func (s *stack) run(ctx context.Context) error {
	defer s.ops.Close()
	defer s.nodes.Close()
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
	role("builder", func(ctx context.Context) error { return cli.RunAll(ctx, s.builders) })
	role("query", s.nodes.Run)
	role("api", func(ctx context.Context) error {
		return s.gate.ServeAPI(ctx, s.api, s.nodes.API(), 5*time.Second)
	})
	role("ops", s.ops.Wait)
	role("files", func(ctx context.Context) error { s.gate.Run(ctx); return nil })
	return g.Wait()
}
