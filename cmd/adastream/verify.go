package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/verify"
)

type verifyCommand struct {
	cli.Store
	Dir string `help:"Directory for copies while it runs, as large as the objects of all kept generations; default: that for temporary files." type:"path" placeholder:"DIR"`
}

func (c *verifyCommand) Run(ctx context.Context, l *cli.Logging) error {
	level, err := cli.Level(l.Logger())
	if err != nil {
		return err
	}
	index, err := c.ReadIndex(ctx, l.Logger(), nil)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.Dir, "adastream-verify-")
	if err != nil {
		return cli.Usage(fmt.Errorf("--dir: %w", err))
	}
	defer os.RemoveAll(dir)
	cache, err := store.NewCache(dir, index.Bucket(), store.CacheOptions{})
	if err != nil {
		return err
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetDescription("read"), progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowBytes(true), progressbar.OptionThrottle(time.Second))
	report, err := verify.Run(ctx, verify.Options{Log: index, Cache: cache, Level: level, Progress: func(_ int, bytes int64) { _ = bar.Set64(bytes) }})
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return err
	}
	fmt.Printf("read %d commits, %d resolutions, %d generations and %d objects of %d bytes; %d rows are live\n", report.Commits, report.Resolutions, report.Generations, report.Objects, report.Bytes, report.Rows)
	for _, fault := range report.Faults {
		fmt.Println("BAD ", fault)
	}
	if n := len(report.Faults); n > 0 {
		return fmt.Errorf("%d faults", n)
	}
	fmt.Println("ok   all of it is there, and is what its records say")
	return nil
}
