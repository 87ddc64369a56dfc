// Command library is Adastream's own search library as an engine of the side-by-side benchmark: it builds a generation
// from raw vectors, then answers requests on its standard input, one JSON document a line, like the engines of
// bench/peers. With --table it prints recall and speed of every setting instead.
//
//	go run ./bench/library --dir bench/data/corpus --table
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

type options struct {
	Dir        string             `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json." required:"" type:"existingdir"`
	Cache      string             `help:"Ignored: building takes less time than a cache is worth."`
	Threads    int                `help:"Threads to build with; searching uses one." default:"2"`
	NList      int                `name:"nlist" help:"Lists; 0 is what the builder chooses." default:"0"`
	CoarseDims int                `help:"Level of the ladder that lists are chosen by; 0 is measured." default:"0"`
	Prefix     schemas.PrefixMode `help:"What makes prefixes meaningful: native, the encoder, or rotate, a learnt rotation; by default what meta.json says." enum:",native,rotate" default:""`
	Lists      int                `name:"lists-per-row" help:"Lists that each row is in, 1 or 2." default:"2"`
	Table      bool               `help:"Print recall and queries a second of all settings, and exit."`
	Queries    int                `help:"Queries of the table." default:"2000"`
	Only       int                `help:"Lists to probe: only these settings are in the table."`
	Repeat     int                `help:"Times that the table measures each setting; its figures are of the best." default:"1"`
	Profile    string             `help:"Write a CPU profile of the table's searches to this file, labelled form=single and form=batched."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("Adastream's library as an engine of the benchmark."))
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "library:", err)
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
	e, err := build(ctx, o, level, set)
	if err != nil {
		return err
	}
	set.Base = nil
	debug.FreeOSMemory()
	runtime.GOMAXPROCS(1)
	if o.Table {
		return e.table(ctx, o)
	}
	return set.Serve(os.Stdin, os.Stdout, e.ready(), e.settings, func(p search.Plan, queries int, batched bool) ([]int32, time.Duration, error) {
		return e.run(ctx, p, queries, batched)
	})
}
