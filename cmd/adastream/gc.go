package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

type snapshotGCCommand struct {
	cli.Index
	KeepFor time.Duration `help:"How long to keep old generations for rollback: all of the last 10 minutes, then one per 10 minutes. The newest and the served one are always kept." default:"24h"`
	DryRun  bool          `help:"Only print what would be removed." xor:"how"`
	Yes     bool          `help:"Remove it. A running builder is interrupted and loads the newest generation again." xor:"how"`
	JSON    bool          `help:"Print a summary of the removal, or of the dry run, as JSON."`
}

func (c *snapshotGCCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.DryRun == c.Yes {
		return cli.Usage(errors.New("--dry-run and --yes: set exactly one of them"))
	}
	if c.KeepFor < 0 {
		return cli.Usage(fmt.Errorf("--keep-for %v: must not be negative", c.KeepFor))
	}
	open := c.OpenIndex
	if c.DryRun {
		open = c.ReadIndex
	}
	index, err := open(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	by, err := operator()
	if err != nil {
		return err
	}
	o := commit.CollectOptions{KeepFor: c.KeepFor, By: by, DryRun: c.DryRun}
	if o.Found, err = index.Find(ctx); err != nil {
		return err
	}
	if c.Yes {
		if err := fence(ctx, index); err != nil {
			return err
		}
	}
	var end func()
	o.Progress, end = told("removed")
	report, err := index.Collect(ctx, o)
	end()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(collected{c.DryRun, report.Objects, report.Bytes, report.Generations, report.Promotions, report.Commits, report.KeptGenerations, report.KeptObjects, report.KeptBytes})
	}
	verb := "removed"
	if c.DryRun {
		verb = "would remove"
	}
	fmt.Printf("%s %s (%s), and the records of %s, %s and %s\n", verb, counted(report.Objects, "object"), counted(report.Bytes, "byte"),
		counted(report.Generations, "generation"), counted(report.Promotions, "promotion"), counted(report.Commits, "commit"))
	fmt.Printf("kept %s, and %s (%s)\n", counted(report.KeptGenerations, "generation"), counted(report.KeptObjects, "object"), counted(report.KeptBytes, "byte"))
	return nil
}

// collected is a report as scripts read it.
type collected struct {
	DryRun          bool  `json:"dry_run"`
	Objects         int   `json:"objects"`
	Bytes           int64 `json:"bytes"`
	Generations     int   `json:"generations"`
	Promotions      int   `json:"promotions"`
	Commits         int   `json:"commits"`
	KeptGenerations int   `json:"kept_generations"`
	KeptObjects     int   `json:"kept_objects"`
	KeptBytes       int64 `json:"kept_bytes"`
}

// fence publishes a generation although a builder that runs may be faster, four times a second: each time that it is, this one
// begins again from its generation.
func fence(ctx context.Context, index *commit.Log) error {
	for {
		if err := index.Fence(ctx); !errors.Is(err, schemas.ErrFenced) {
			return err
		}
	}
}
