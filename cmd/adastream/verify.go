package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/verify"
)

type verifyCommand struct {
	cli.Index
	Dir  string `help:"Directory for temporary copies, as large as the objects of all kept generations. Default: the directory for temporary files." type:"path" placeholder:"DIR"`
	JSON bool   `help:"Print the findings as JSON."`
}

func (c *verifyCommand) Run(ctx context.Context, l *cli.Logging) error {
	level, err := cli.Level(l.Logger())
	if err != nil {
		return err
	}
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	cache, remove, err := copies(c.Dir, index)
	if err != nil {
		return err
	}
	defer remove()
	bar, end := progress("read", -1, progressbar.OptionShowBytes(true))
	report, err := verify.Run(ctx, verify.Options{Log: index, Cache: cache, Level: level, Progress: func(_ int, bytes int64) { _ = bar.Set64(bytes) }})
	end()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(verified{report.Commits, report.Resolutions, report.Generations, report.Objects, report.Bytes, report.Rows, texts(report.Faults)}); err != nil {
			return err
		}
		return faulty(len(report.Faults))
	}
	fmt.Printf("read %d commits, %d resolutions, %d generations and %d objects of %d bytes; %d rows are live\n", report.Commits, report.Resolutions, report.Generations, report.Objects, report.Bytes, report.Rows)
	for _, fault := range report.Faults {
		fmt.Println("BAD ", fault)
	}
	if err := faulty(len(report.Faults)); err != nil {
		return err
	}
	fmt.Println("ok   all of it is there, and is what its records say")
	return nil
}

// verified is a report as scripts read it.
type verified struct {
	Commits     int      `json:"commits"`
	Resolutions int      `json:"resolutions"`
	Generations int      `json:"generations"`
	Objects     int      `json:"objects"`
	Bytes       int64    `json:"bytes"`
	LiveRows    int64    `json:"live_rows"`
	Faults      []string `json:"faults"`
}

func faulty(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d faults", n)
}

func texts(faults []error) []string {
	all := make([]string, len(faults))
	for i, f := range faults {
		all[i] = f.Error()
	}
	return all
}

// printJSON is for scripts: one document, on standard output.
func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
