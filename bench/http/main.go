// Command http is Adastream's query API as an engine of the side-by-side benchmark: it builds a generation from raw
// vectors, publishes it in a directory store, and serves it by a process of its own with one thread. It then answers
// requests on its standard input, one JSON document a line, like the engines of bench/peers, over one loopback connection:
// one query per call is a request in JSON, batched are requests in Arrow of up to 1000 queries. The seconds are the client's:
// writing requests and reading answers is in them. With --table it prints recall, speed, and how much of the time the
// server spent searching, of some settings.
//
//	go run ./bench/http --dir bench/data/corpus --cache bench/data/http --table
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
)

type options struct {
	Dir     string `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json." required:"" type:"existingdir"`
	Cache   string `help:"Directory for the store and the node's files, made anew in it." required:"" type:"path"`
	Threads int    `help:"Threads to build with; the server uses one." default:"2"`
	NList   int    `name:"nlist" help:"Lists; 0 is what the builder chooses." default:"0"`
	Table   bool   `help:"Print the table and exit."`
	Queries int    `help:"Queries of the table." default:"2000"`
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == serveCommand {
		exit(serveStore(os.Args[2]))
	}
	var o options
	kong.Parse(&o, kong.Description("Adastream's query API as an engine of the benchmark."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
	os.Exit(0)
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
	g, err := publish(ctx, set, o.Cache, bulk.Options{Level: level, Threads: o.Threads, NList: o.NList})
	if err != nil {
		return err
	}
	set.Base = nil
	debug.FreeOSMemory()
	runtime.GOMAXPROCS(1)
	s, err := startServer(ctx, o.Cache)
	if err != nil {
		return err
	}
	defer s.stop()
	c := newClient(set, s.url)
	settings := set.Settings(g.Model.NList())
	if o.Table {
		return c.table(ctx, os.Stdout, settings, min(o.Queries, set.Queries))
	}
	name := fmt.Sprintf("Adastream over HTTP, %d lists", g.Model.NList())
	return set.Serve(os.Stdin, os.Stdout, set.NewReady(name, level.String(), g.Built, g.bytes, settings), settings, c.search(ctx))
}
