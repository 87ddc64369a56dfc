package main

import (
	"context"
	"encoding/json"
	"errors"
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
	fmt.Printf("read %s, %s, %s and %s (%s); %s\n", counted(report.Commits, "commit"), counted(report.Resolutions, "resolution"), counted(report.Generations, "generation"),
		counted(report.Objects, "object"), counted(report.Bytes, "byte"), counted(report.Rows, "live row"))
	for _, fault := range report.Faults {
		fmt.Println("BAD ", fault)
	}
	if err := faulty(len(report.Faults)); err != nil {
		return err
	}
	fmt.Println("ok   everything is there and matches its records")
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
	return errors.New(counted(n, "fault"))
}

// counted is a number of things in words.
func counted[N ~int | ~int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
