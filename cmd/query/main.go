// Command query serves searches from the generation that the channel points at, and swaps in new ones while serving.
package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/ui"
)

type command struct{ cli.Query }

func (c *command) Run(ctx context.Context) error { return cli.Asked(ctx, c.run(ctx)) }

func (c *command) run(ctx context.Context) error {
	log := c.Logger()
	c.Follow(ctx, log)
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	tracer, stop, err := cli.Tracing(ctx, "query", log)
	if err != nil {
		return err
	}
	defer stop()
	registry := cli.NewRegistry()
	gate, err := c.Access.Open(c.Listen, log, registry)
	if err != nil {
		return err
	}
	ops, err := gate.OpenOps(ctx, c.OpsListen)
	if err != nil {
		return err
	}
	defer ops.Close()
	index, err := c.ReadIndex(ctx, log, ops.Waiting)
	if err != nil {
		return err
	}
	cache, err := c.Cache.Open("query", index.Bucket())
	if err != nil {
		return err
	}
	memory := cli.Memory() / 10 * 9 // the rest is for queries
	if c.MemoryBytes != nil {
		memory = *c.MemoryBytes
	}
	node, err := serve.New(serve.Options{
		Log: index, Cache: cache, Level: level, PollEvery: c.PollEvery, MaxRunning: c.MaxRunning, MaxWaiting: c.MaxWaiting, Timeout: c.Timeout,
		DegradeTo: c.DegradeTo, DegradeAfter: c.DegradeAfter, NoOriginals: !c.Originals, MeasureShare: c.MeasureShare, MemoryBytes: memory, MaxBehind: c.MaxBehind, Admin: c.Admin,
		Logger: log, Registry: registry, Tracer: tracer,
	})
	if err != nil {
		return cli.Usage(err)
	}
	defer node.Close()
	pages, err := ui.New(ui.Options{Node: node, Log: index, Metrics: registry, Logger: log})
	if err != nil {
		return err
	}
	api, err := cli.Listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	log.Info("query", "version", cli.ThisBuild(), "index", index.Spec(), "store", index.Bucket(), "api", api.Addr(), "ops", ops.Addr())
	ops.Use(node.Ops())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return gate.ServeAPI(ctx, api, pages.Handler(node.API()), c.Drain) })
	g.Go(func() error { gate.Run(ctx); return nil })
	g.Go(func() error { return pages.Run(ctx) })
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return node.Run(ctx) })
	return g.Wait()
}

func main() {
	cli.Main("query", "Serves searches from the newest promoted snapshot and swaps in new ones without failing a query.", &command{})
}
