package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/load"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
)

type produceCommand struct {
	cli.Kafka `group:"Kafka:"`
	Topic     string        `help:"Topic of the index. Default: that of the index in --store."`
	Store     string        `help:"Object store of the index, read only. Wait until its ingestors have taken or refused all rows, report how many of each, and fail if any was refused." placeholder:"URL"`
	StoreCA   string        `help:"PEM file of the certificate authorities to trust for https endpoints of --store instead of the system's. Reloaded when it changes." name:"store-ca" type:"existingfile" placeholder:"FILE"`
	Wait      time.Duration `help:"With --store: give up after this time without progress of the ingestors." default:"60s"`
	Rows      int64         `help:"Rows to read before they are divided among partitions. A message holds those of one partition, or fewer if the topic takes no larger ones." default:"8192"`
	JSON      bool          `help:"Print what was acknowledged per file as JSON, and with --store what became of it."`
	Encoder   string        `group:"Input files:" help:"Name and version of the model that made the vectors, if the file does not name it."`
	fileFlags `group:"Input files:"`
	IDs       string   `group:"Input files:" help:"File with the IDs of a matrix such as .npy, which holds none: one per line, or a .npy array of integers. Only with a single file." name:"ids" placeholder:"FILE"`
	FirstID   int64    `group:"Input files:" help:"Without --ids, the ID of the first vector of a matrix. Vectors are numbered on from file to file." name:"first-id" default:"0"`
	Files     []string `arg:"" help:"Files of Arrow, Parquet, JSON lines or matrices of vectors. - is standard input."`
}

// Validate is asked by the parser of flags.
func (c *produceCommand) Validate() error {
	if c.Topic == "" && c.Store == "" {
		return errors.New("--topic: missing, or --store, whose index says it")
	}
	return cli.Positive("--wait", c.Wait)
}

// produced is what was acknowledged, as scripts read it.
type produced struct {
	Topic string         `json:"topic"`
	Rows  int64          `json:"rows"`
	Files []producedFile `json:"files"` // in order, none after one that failed

	Outcome *producedOutcome `json:"outcome,omitempty"` // with --store, of all files if none failed
}

type producedFile struct {
	File  string `json:"file"`
	Rows  int64  `json:"rows"`
	Fault string `json:"fault,omitempty"`
}

func (c *produceCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.Rows < 1 {
		return cli.Usage(fmt.Errorf("--rows %d: must be at least 1", c.Rows))
	}
	if c.IDs != "" && len(c.Files) != 1 {
		return cli.Usage(fmt.Errorf("--ids %s: needs exactly one file, got %d", c.IDs, len(c.Files)))
	}
	index, err := c.index(ctx, l.Logger())
	if err != nil {
		return err
	}
	client, err := c.Kafka.Client(c.Topic, l.Logger())
	if err != nil {
		return err
	}
	defer client.Close()
	partitions, err := client.Partitions(ctx)
	if err != nil {
		return cli.KafkaFault(client, err)
	}
	limit, err := client.MaxMessage(ctx)
	if err != nil {
		return cli.KafkaFault(client, err)
	}
	// Asked for once: an id must not move to a partition that is added meanwhile.
	topic := produce.Topic{Partitions: len(partitions), MaxMessage: limit}
	var o source.ProducerOptions
	if index != nil {
		if err := index.begin(ctx, client, l.Logger()); err != nil {
			return err
		}
		o.Acknowledged = index.fate.Sent
	}
	producer := client.NewProducer(o)
	defer producer.Close()
	tracer, stop, err := cli.Tracing(ctx, "produce", l.Logger())
	if err != nil {
		return err
	}
	defer stop()
	to := produce.Traced(producer, tracer)
	done := produced{Topic: c.Topic, Files: []producedFile{}}
	for _, name := range c.Files {
		var rows int64
		if rows, err = c.file(ctx, name, to, topic, index, l.Logger()); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		done.add(name, rows, err)
		if err != nil {
			break
		}
		if !c.JSON {
			fmt.Printf("%s: %d rows acknowledged\n", name, rows)
		}
	}
	switch {
	case err == nil && index != nil:
		done.Outcome, err = index.outcome(ctx, c.Wait)
		if !c.JSON {
			done.Outcome.print(c.Store, index.spec())
		}
	case err == nil && !c.JSON:
		fmt.Println("only the ingestors know whether the index takes them: see `adastream quarantine ls --store=...`, or produce with --store")
	}
	if c.JSON {
		err = errors.Join(err, printJSON(done))
	}
	return err
}

func (p *produced) add(file string, rows int64, fault error) {
	f := producedFile{File: file, Rows: rows}
	if fault != nil {
		f.Fault = fault.Error()
	}
	p.Files, p.Rows = append(p.Files, f), p.Rows+rows
}

// file sends a file, and returns how many of its rows were acknowledged.
func (c *produceCommand) file(ctx context.Context, name string, to produce.Sender, topic produce.Topic, index *produceIndex, log *slog.Logger) (sent int64, err error) {
	o := c.options(log, name)
	o.Encoder, o.IDs, o.FirstID = c.Encoder, c.IDs, c.FirstID
	r, err := files.Open(name, o)
	if err != nil {
		return 0, cli.Usage(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.Encoder() == "" {
		return 0, cli.Usage(errors.New("the file does not name the encoder of its vectors: say it with --encoder"))
	}
	if index != nil {
		if err := load.CheckEncoder(r, index.spec().Encoder); err != nil {
			return 0, cli.Usage(err)
		}
	}
	bar, end := progress(name, r.Rows(), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"))
	err = produce.All(ctx, to, topic, r, c.Rows, func(rows int64) {
		sent += rows
		_ = bar.Add64(rows)
	})
	end()
	if err != nil {
		return sent, fmt.Errorf("after %d rows were acknowledged: %w", sent, err)
	}
	if r.Numbered() {
		c.FirstID += sent
	}
	if sent == 0 {
		return 0, errors.New("there are no rows")
	}
	return sent, nil
}
