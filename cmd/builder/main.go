// Command builder turns commits into generations: it folds, merges, trains, measures, publishes and promotes.
package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/build"
)

type command struct{ cli.Builder }

func (c *command) Run(ctx context.Context) error { return cli.Asked(ctx, c.run(ctx)) }

func (c *command) run(ctx context.Context) error {
	log := c.Logger()
	c.Follow(ctx, log)
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	tracer, stop, err := cli.Tracing(ctx, "builder", log)
	if err != nil {
		return err
	}
	defer stop()
	ops, err := cli.OpenOps(ctx, c.OpsListen)
	if err != nil {
		return err
	}
	defer ops.Close()
	index, err := c.OpenIndex(ctx, log, ops.Waiting)
	if err != nil {
		return err
	}
	cache, err := c.Cache.Open("builder", index.Bucket())
	if err != nil {
		return err
	}
	registry := cli.NewRegistry()
	builder, err := build.New(build.Options{
		Log: index, Cache: cache, Level: level, PublishEvery: c.PublishEvery, MinTrainRows: c.MinTrainRows, Threads: c.Threads,
		KeepFor: c.KeepFor, CollectEvery: c.CollectEvery, Logger: log, Registry: registry, Tracer: tracer,
	})
	if err != nil {
		return cli.Usage(err)
	}
	log.Info("builder", "version", cli.ThisBuild(), "index", index.Spec(), "store", index.Bucket(), "ops", ops.Addr())
	ops.Use(cli.OpsHandler(registry, builder.Ready))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return builder.Run(ctx) })
	return g.Wait()
}

func main() {
	cli.Main("builder", "Folds commits into generations: merges, trains, measures recall, publishes and promotes snapshots.", &command{})
}
