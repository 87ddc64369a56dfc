package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
)

type produceCommand struct {
	cli.Kafka
	Topic string   `help:"Topic of the index." required:""`
	Rows  int64    `help:"Rows that are split over the partitions at a time; a message holds those of one partition." default:"8192"`
	Files []string `arg:"" help:"Arrow IPC files or streams; - is a stream on standard input."`
}

func (c *produceCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.Rows < 1 {
		return cli.Usage(fmt.Errorf("--rows %d: must be at least 1", c.Rows))
	}
	client, err := c.Kafka.Client(c.Topic, l.Logger())
	if err != nil {
		return err
	}
	defer client.Close()
	partitions, err := client.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("topic %s: %w", c.Topic, err)
	}
	producer := client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	tracer, stop, err := cli.Tracing(ctx, "produce", l.Logger())
	if err != nil {
		return err
	}
	defer stop()
	to := produce.Traced(producer, tracer)
	for _, name := range c.Files {
		if err := c.file(ctx, name, to, len(partitions)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (c *produceCommand) file(ctx context.Context, name string, to produce.Sender, partitions int) (err error) {
	var in io.Reader = os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return cli.Usage(err)
		}
		defer f.Close()
		in = f
	}
	r, err := produce.Open(in)
	if err != nil {
		return cli.Usage(err)
	}
	bar := progressbar.NewOptions64(r.Rows(), progressbar.OptionSetDescription(name), progressbar.OptionSetWriter(cli.Terminal()),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"))
	sent := int64(0)
	err = produce.All(ctx, to, partitions, r, c.Rows, func(rows int64) {
		sent += rows
		_ = bar.Add64(rows)
	})
	fmt.Fprintln(cli.Terminal())
	if err != nil {
		return fmt.Errorf("after %d rows were acknowledged: %w", sent, err)
	}
	fmt.Printf("%s: %d rows acknowledged\n", name, sent)
	if sent == 0 {
		return errors.New("there are no rows")
	}
	return nil
}
