// Command elastic measures what wishes of queries come to: it builds a generation from raw vectors, measures the plan table
// as the builder does, and then asks for recalls, budgets, efforts and widths.
//
//	go run ./bench/elastic --dir bench/data/corpus
//
// Queries are those of the data set and, for slices, rows that the builder would hold out, which must not find themselves. A
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
	Dir     string `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json." required:"" type:"existingdir"`
	Threads int    `help:"Threads to build and to find true neighbours with; searching uses one." default:"2"`
	Slices  int    `help:"Slices of the rows." default:"20"`
	Rounds  int    `help:"Times that each wish is measured; the median counts." default:"5"`
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
	b.table()
	if err := b.margins(ctx); err != nil {
		return err
	}
	if err := b.wishes(ctx); err != nil {
		return err
	}
	return b.sliced(ctx)
}
