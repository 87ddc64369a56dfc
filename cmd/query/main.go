// Command query serves searches from the generation that the channel points at, and swaps in new ones while serving.
package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/cmd/internal/nodes"
	"github.com/adastream/adastream/pipeline/serve"
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
	peers, authorities, files, err := c.PeersTLS()
	if err != nil {
		return err
	}
	gate, err := c.Access.Open(c.Listen, log, registry, files...)
	if err != nil {
		return err
	}
	ops, err := gate.OpenOps(ctx, c.OpsListen)
	if err != nil {
		return err
	}
	defer ops.Close()
	all, err := c.ReadShards(ctx, log, cli.Wait{Service: true, Why: ops.Waiting})
	if err != nil {
		return err
	}
	shards, err := c.Served(all)
	if err != nil {
		return err
	}
	scopes, err := c.Cache.Scopes("query", shards, log, registry)
	if err != nil {
		return err
	}
	memory := cli.Memory() / 10 * 9 // the rest is for queries
	if c.MemoryBytes != nil {
		memory = *c.MemoryBytes
	}
	served, err := nodes.New(nodes.Options{
		Spec: all[0].Spec(), Scopes: scopes, Registry: registry, Logger: log, Peers: c.Peers, PeersTLS: peers, PeersAuthorities: authorities,
		Node: serve.Options{
			Level: level, PollEvery: c.PollEvery, MaxRunning: c.MaxRunning, MaxWaiting: c.MaxWaiting, Timeout: c.Timeout,
			DegradeTo: c.DegradeTo, DegradeAfter: c.DegradeAfter, Originals: serve.Originals(c.Originals), MeasureShare: c.MeasureShare,
			MemoryBytes: cli.Share(memory, len(scopes)), MaxBehind: c.MaxBehind, Admin: c.Admin, Tracer: tracer,
		},
	})
	if err != nil {
		return err
	}
	defer served.Close()
	api, err := cli.Listen(ctx, "--listen", c.Listen)
	if err != nil {
		return err
	}
	for _, s := range scopes {
		s.Logger.Info("query", "version", cli.ThisBuild(), "index", s.Index.Spec(), "store", s.Index.Bucket(), "api", api.Addr(), "ops", ops.Addr())
	}
	if c.MergeOnly {
		log.Info("query, merging only", "version", cli.ThisBuild(), "index", all[0].Spec(), "peers", c.Peers, "api", api.Addr(), "ops", ops.Addr())
	}
	ops.Use(served.Ops())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return gate.ServeAPI(ctx, api, served.API(), c.Drain) })
	g.Go(func() error { gate.Run(ctx); return nil })
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return served.Run(ctx) })
	return g.Wait()
}

func main() {
	cli.Main("query", "Serves searches from the newest promoted snapshot and swaps in new ones without failing a query.", &command{})
}
