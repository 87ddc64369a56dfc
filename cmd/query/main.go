// Command query serves searches from the generation that the channel points at, and swaps in new ones while serving.
package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/serve"
)

type command struct {
	cli.Store
	cli.Cache
	Listen       string        `help:"Address of the query API." default:"127.0.0.1:8080"`
	OpsListen    string        `help:"Address of /livez, /readyz, /metrics and the status page." default:"127.0.0.1:9093"`
	PollEvery    time.Duration `help:"Time between two looks at the channel." default:"250ms"`
	MaxRunning   int           `help:"Queries that run at a time; others wait." default:"64"`
	Timeout      time.Duration `help:"Longest time of a query, waiting included." default:"5s"`
	DegradeTo    float64       `help:"Recall that queries get at least when they had to wait longer than --degrade-after; 0 keeps to what they ask for until they are refused." default:"0"`
	DegradeAfter time.Duration `help:"Wait for a slot after which a query is degraded." default:"20ms"`
	MemoryBytes  *int64        `help:"Memory that the generation that is served and the next one may want together, originals aside; one that does not fit is not taken. 0 is no limit. Default: nine tenths of what the container, or the machine, allows."`
	Originals    bool          `help:"Fetch original vectors too, twice the bytes: without them an exact search compares int8 rows." default:"true" negatable:""`
	MeasureShare float64       `help:"Share of one core for comparing answers with exact search; 0 measures nothing." default:"0.01"`
	Drain        time.Duration `help:"Time that running queries get to end at SIGTERM." default:"10s"`
	cli.Access
	cli.Logging
}

func (c *command) Run(ctx context.Context) error { return cli.Asked(ctx, c.run(ctx)) }

func (c *command) run(ctx context.Context) error {
	log := c.Logger()
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	registry := cli.NewRegistry()
	gate, err := c.Access.Open(c.Listen, log, registry)
	if err != nil {
		return err
	}
	ops, err := gate.OpenOps(ctx, c.OpsListen)
	if err != nil {
		return err
	}
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
		Log: index, Cache: cache, Level: level, PollEvery: c.PollEvery, MaxRunning: c.MaxRunning, Timeout: c.Timeout,
		DegradeTo: c.DegradeTo, DegradeAfter: c.DegradeAfter, NoOriginals: !c.Originals, MeasureShare: c.MeasureShare, MemoryBytes: memory,
		Logger: log, Registry: registry,
	})
	if err != nil {
		return cli.Usage(err)
	}
	defer node.Close()
	api, err := cli.Listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	log.Info("query", "index", index.Spec(), "store", index.Bucket(), "api", api.Addr(), "ops", ops.Addr())
	ops.Use(node.Ops())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return gate.ServeAPI(ctx, api, node.API(), c.Drain) })
	g.Go(func() error { gate.Run(ctx); return nil })
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return node.Run(ctx) })
	return g.Wait()
}

func main() {
	cli.Main("query", "Serves searches from the newest promoted snapshot and swaps in new ones without failing a query.", &command{})
}
