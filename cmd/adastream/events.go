package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/events"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

type snapshotEventsCommand struct {
	cli.Store   `group:"Object store:"`
	cli.Shards  `group:"Object store:"`
	cli.Kafka   `group:"Kafka:"`
	Topic       string        `help:"Kafka topic of the events, created if it does not exist. Several indexes may share it." required:""`
	Replication int           `help:"Replication factor if the topic is created. -1 is the broker's default." default:"-1"`
	PollEvery   time.Duration `help:"Interval between checks of the channel." default:"1s"`
	Once        bool          `help:"Exit when all promotions so far are sent."`
	Ops         string        `name:"ops-listen" help:"Address of /livez, /readyz and /metrics. Default: none." placeholder:"HOST:PORT"`
}

// Validate refuses what options take for the default; the parser of flags asks it.
func (c *snapshotEventsCommand) Validate() error { return cli.Positive("--poll-every", c.PollEvery) }

func (c *snapshotEventsCommand) Run(ctx context.Context, l *cli.Logging) error {
	err := c.run(ctx, l)
	if c.Once { // who stops it leaves something untold
		return err
	}
	return cli.Asked(ctx, err)
}

func (c *snapshotEventsCommand) run(ctx context.Context, l *cli.Logging) error {
	registry := cli.NewRegistry()
	ops, err := openOps(ctx, c.Ops)
	if err != nil {
		return err
	}
	defer ops.Close()
	client, err := c.Kafka.Client(c.Topic, l.Logger())
	if err != nil {
		return err
	}
	defer client.Close()
	wait := cli.Wait{Service: !c.Once, Why: ops.Waiting}
	shards, err := c.ReadShards(ctx, l.Logger(), wait)
	if err != nil {
		return err
	}
	if shards, err = c.Of(shards); err != nil {
		return err
	}
	err = wait.Until(ctx, l.Logger(), "Kafka is unavailable, will try again", func(ctx context.Context) error { return c.topic(ctx, client) })
	if err != nil {
		return cli.KafkaFault(client, err)
	}
	patience := time.Duration(0)
	if c.Once {
		patience = cli.Patience
	}
	g, gctx := errgroup.WithContext(ctx)
	var ready []func() error
	for _, index := range shards {
		metrics := events.NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"shard": strconv.Itoa(index.Shard())}, registry))
		ready = append(ready, metrics.Ready)
		g.Go(func() error {
			return events.Run(gctx, events.Options{
				Log: index, Client: client, PollEvery: c.PollEvery, Once: c.Once, Patience: patience, Logger: l.Logger(), Metrics: metrics,
				Told: func(e *schemas.Event) {
					l.Logger().Info("told", "shard", e.Shard, "sequence", e.Sequence, "generation", e.Generation, "epoch", e.Epoch)
				},
			})
		})
	}
	ops.Use(cli.OpsHandler(registry, cli.AllReady(ready)))
	if err = g.Wait(); c.Once && errors.Is(err, schemas.ErrTransient) {
		return fmt.Errorf("--brokers, --store: %w: %w", cli.ErrGaveUp, err)
	}
	return err
}

// topic makes sure that there is one. To make it takes a right that to write does not, so it is not tried if one is there.
func (c *snapshotEventsCommand) topic(ctx context.Context, client *source.Client) error {
	if _, err := client.Partitions(ctx); err == nil {
		return nil
	}
	return client.CreateTopic(ctx, 1, c.Replication, nil)
}
