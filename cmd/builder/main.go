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
	all, err := c.OpenShards(ctx, log, cli.Wait{Service: true, Why: ops.Waiting})
	if err != nil {
		return err
	}
	shards, err := c.Shards.Of(all)
	if err != nil {
		return err
	}
	registry := cli.NewRegistry()
	scopes, err := c.Cache.Scopes("builder", shards, log, registry)
	if err != nil {
		return err
	}
	var ready []func() error
	var runs []func(context.Context) error
	for _, s := range scopes {
		builder, err := build.New(build.Options{
			Log: s.Index, Cache: s.Cache, Level: level, PublishEvery: c.PublishEvery, MinTrainRows: c.MinTrainRows, Threads: c.Threads,
			KeepFor: c.KeepFor, CollectEvery: c.CollectEvery, Logger: s.Logger, Registry: s.Registry, Tracer: tracer,
		})
		if err != nil {
			return cli.Usage(err)
		}
		s.Logger.Info("builder", "version", cli.ThisBuild(), "index", s.Index.Spec(), "store", s.Index.Bucket(), "ops", ops.Addr())
		ready, runs = append(ready, builder.Ready), append(runs, builder.Run)
	}
	ops.Use(cli.OpsHandler(registry, cli.AllReady(ready)))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return cli.RunAll(ctx, runs) })
	return g.Wait()
}

func main() {
	cli.Main("builder", "Folds commits into generations: merges, trains, measures recall, publishes and promotes snapshots.", &command{})
}
