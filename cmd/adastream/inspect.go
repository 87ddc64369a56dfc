package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type snapshotCommand struct {
	Ls       snapshotLsCommand       `cmd:"" help:"List generations, newest last, with which one is served and why."`
	Show     snapshotShowCommand     `cmd:"" help:"Print the manifest of a generation."`
	Diff     snapshotDiffCommand     `cmd:"" help:"List the IDs that changed between two generations."`
	Events   snapshotEventsCommand   `cmd:"" help:"Send an event to a Kafka topic for each promotion that has not been sent yet, until stopped."`
	Promote  snapshotPromoteCommand  `cmd:"" help:"Serve a generation, even one that the quality gate holds back, and let builders continue from there. Or serve an epoch: an index of another encoder."`
	Pin      snapshotPinCommand      `cmd:"" help:"Serve a generation until it is unpinned, whatever builders publish."`
	Unpin    snapshotUnpinCommand    `cmd:"" help:"Let builders promote again."`
	GC       snapshotGCCommand       `cmd:"" name:"gc" help:"Remove from the store what no kept generation needs. Builders do so by themselves, every --collect-every."`
	Rollback snapshotRollbackCommand `cmd:"" help:"Serve an older generation and pin it. Or return from an epoch."`
}

type snapshotLsCommand struct {
	cli.Index
	Last int  `help:"List only the newest N generations." default:"20"`
	JSON bool `help:"Print the record of the served generation, and the manifests without their objects, as JSON."`
}

func (c *snapshotLsCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.Last < 0 {
		return cli.Usage(fmt.Errorf("--last %d: must not be negative", c.Last))
	}
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	var generations []int64
	for g, err := range index.Manifests(ctx) {
		if err != nil {
			return err
		}
		generations = append(generations, g)
	}
	channel, err := index.Channel(ctx, 0)
	if err != nil {
		return err
	}
	if n := len(generations) - c.Last; n > 0 {
		generations = generations[n:]
	}
	if c.JSON {
		return listJSON(ctx, index, channel, generations)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "generation\tcreated\tlive rows\tdead rows\tchunks\tsegments\tmodel\trecall@10\t  served")
	for _, g := range generations {
		m, err := stillKept(ctx, index, g)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		model, recall, served := "-", "exact", ""
		if m.Model != nil {
			model, recall = fmt.Sprintf("%.8s", m.Model.ID), "?"
		}
		if m.Quality != nil {
			recall = fmt.Sprintf("%.3f", m.Quality.Recall)
			if !m.Quality.Promoted {
				served = "held back: " + m.Quality.Reason
			}
		}
		if channel != nil && channel.Generation == g {
			served = strings.TrimSuffix("stable, "+served, ", ")
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t  %s\n", g, m.Created.Format(time.RFC3339), m.LiveRows, m.DeadRows, len(m.Chunks), len(m.Segments), model, recall, served)
	}
	if err := t.Flush(); err != nil || channel == nil {
		return err
	}
	fmt.Printf("serving %s\n", channel)
	if channel.Epoch == "" {
		return nil
	}
	text, err := resolve(ctx, index, channel)
	if err != nil {
		return err
	}
	fmt.Printf("which is %s\n", text)
	return nil
}

// stillKept reads a generation that was listed. It is nil if a collection gave it up since then.
func stillKept(ctx context.Context, index *commit.Log, generation int64) (*schemas.Manifest, error) {
	m, err := index.Manifest(ctx, generation)
	if err == nil {
		return m, nil
	}
	collection, lookErr := index.Collection(ctx)
	if lookErr == nil && collection != nil && !collection.Keeps(generation) {
		return nil, nil
	}
	return nil, errors.Join(err, lookErr)
}

// listed is a generation as scripts read it.
type listed struct {
	Generation int64            `json:"generation"`
	Created    time.Time        `json:"created"`
	LiveRows   int64            `json:"live_rows"`
	DeadRows   int64            `json:"dead_rows"`
	Chunks     int              `json:"chunks"`
	Segments   int              `json:"segments"`
	Model      string           `json:"model,omitempty"`
	Checkpoint map[string]int64 `json:"checkpoint"`
	Quality    *schemas.Quality `json:"quality,omitempty"`
}

func listJSON(ctx context.Context, index *commit.Log, channel *schemas.Channel, generations []int64) error {
	list := []listed{}
	for _, g := range generations {
		m, err := stillKept(ctx, index, g)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		one := listed{Generation: g, Created: m.Created, LiveRows: m.LiveRows, DeadRows: m.DeadRows, Chunks: len(m.Chunks), Segments: len(m.Segments), Checkpoint: m.Checkpoint, Quality: m.Quality}
		if m.Model != nil {
			one.Model = m.Model.ID
		}
		list = append(list, one)
	}
	return printJSON(struct {
		Serving     *schemas.Channel `json:"serving"`
		Generations []listed         `json:"generations"`
	}{channel, list})
}

type snapshotShowCommand struct {
	cli.Index
	Generation int64 `arg:"" help:"Generation. 0 is the newest."`
}

func (c *snapshotShowCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	var m *schemas.Manifest
	if c.Generation == 0 {
		m, err = index.Latest(ctx, 0)
	} else {
		m, err = index.Manifest(ctx, c.Generation)
	}
	if errors.Is(err, store.ErrNotFound) || err == nil && m == nil {
		return cli.Usage(fmt.Errorf("generation %d does not exist: see `adastream snapshot ls`", c.Generation))
	}
	if err != nil {
		return err
	}
	return printJSON(m)
}
