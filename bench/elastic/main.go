// Command elastic measures what wishes of queries come to: it builds a generation from raw vectors, measures the plan table
// as the builder does, and then asks for recalls, budgets, efforts and widths.
//
//	go run ./bench/elastic --dir bench/data/corpus
//
// Queries are those of the data set and, for slices, some rows, which must not find themselves. A
// slice is the rows that are nearest to one of --slices centroids: queries about one subject.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
)

type options struct {
	Dir     string   `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json." required:"" type:"existingdir"`
	Threads int      `help:"Threads to build and to find true neighbours with; searching uses one." default:"2"`
	Slices  int      `help:"Slices of the rows." default:"20"`
	Parts   []string `help:"What to measure." enum:"table,margins,wishes,slices,filters,overload" default:"table,margins,wishes,slices,filters"`
	Rounds  int      `help:"Times that each wish is measured; the median counts." default:"5"`
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("What elastic queries get."))
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "elastic:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	level, err := avx.Best()
	if err != nil {
		return err
	}
	set, err := dataset.Read(o.Dir)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(o.Threads)
	b, err := newBench(ctx, o, level, set)
	if err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{
		"table": b.table, "margins": b.margins, "wishes": b.wishes, "slices": b.sliced, "filters": b.filters, "overload": b.overload,
	}
	for _, name := range o.Parts {
		if err := parts[name](ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
