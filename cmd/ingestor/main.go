// Command ingestor turns messages of a Kafka topic into committed segments, each offset exactly once.
package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/ingest"
)

type command struct{ cli.Ingestor }

func (c *command) Run(ctx context.Context) error { return cli.Asked(ctx, c.run(ctx)) }

func (c *command) run(ctx context.Context) error {
	log := c.Logger()
	c.Follow(ctx, log)
	level, err := cli.Level(log)
	if err != nil {
		return err
	}
	tracer, stop, err := cli.Tracing(ctx, "ingestor", log)
	if err != nil {
		return err
	}
	defer stop()
	ops, err := cli.OpenOps(ctx, c.OpsListen)
	if err != nil {
		return err
	}
	defer ops.Close()
	shards, err := c.OpenShards(ctx, log, cli.Wait{Service: true, Why: ops.Waiting})
	if err != nil {
		return err
	}
	spec := shards[0].Spec()
	client, err := c.Kafka.Client(spec.Topic.Name, log)
	if err != nil {
		return err
	}
	defer client.Close()
	registry, err := c.Registry.Client()
	if err != nil {
		return err
	}
	if c.Group == "" {
		c.Group = "adastream-" + spec.Name
	}
	metrics := cli.NewRegistry()
	ingestor, err := ingest.New(ingest.Options{
		Shards: shards, Source: client, Schemas: registry, Group: c.Group, Level: level,
		FlushAge: c.FlushAge, FlushRows: c.FlushRows, FlushBytes: c.FlushBytes, AcceptGap: c.AcceptGap, AcceptPoison: c.AcceptPoison,
		Logger: log, Registry: metrics, Tracer: tracer,
	})
	if err != nil {
		return cli.Usage(err)
	}
	log.Info("ingestor", "version", cli.ThisBuild(), "index", spec, "store", shards[0].Bucket(), "brokers", c.Brokers, "group", c.Group, "ops", ops.Addr())
	ops.Use(cli.OpsHandler(metrics, ingestor.Ready))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ops.Wait(ctx) })
	g.Go(func() error { return ingestor.Run(ctx) })
	return g.Wait()
}

func main() {
	cli.Main("ingestor", "Turns the messages of a Kafka topic into committed segments, each offset exactly once.", &command{})
}
