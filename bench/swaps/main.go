// Command swaps measures what swaps cost queries: a query node, a process of its own, serves an index while queries come at a
// share of what it can answer, whether others have ended or not, and a generation a second is promoted. Windows with and
// without swaps alternate, so that what else the machine does meets both.
//
//	go run ./bench/swaps --duration=10m
//
// Each generation has other deltas, and each --rewrite-every-th another model and all chunks anew, as after a rewrite. All objects
// are written before the first query: what promotes writes two records a second. Client and node share the machine's cores; a query is
// late by the time since it was due.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/bench/fleet"
)

type options struct {
	Duration     time.Duration `help:"Time with swaps; as long is measured without." default:"10m"`
	Window       time.Duration `help:"Of one window, with swaps or without." default:"20s"`
	Every        time.Duration `help:"Time between two swaps." default:"1s"`
	RewriteEvery int           `help:"Swaps from one that exchanges everything to the next; 0 is never." default:"10"`
	Load         float64       `help:"Share of the measured capacity that is offered." default:"0.8"`
	Rows         int           `help:"Rows of the synthetic index." default:"100000"`
	Dim          int           `help:"Dimensions of the synthetic index." default:"128"`
	Dir          string        `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json, to be indexed instead." type:"existingdir"`
	Threads      int           `help:"Threads to build the index with." default:"2"`
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("What swaps cost queries."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "swaps:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.Window < o.Every || o.Duration < o.Window || o.Every <= 0 || !(o.Load > 0) {
		return fmt.Errorf("duration %v, window %v, every %v, load %v: must be positive, and duration >= window >= every", o.Duration, o.Window, o.Every, o.Load)
	}
	level, err := avx.Best()
	if err != nil {
		return err
	}
	set := synthetic(o.Rows, o.Dim)
	if o.Dir != "" {
		if set, err = dataset.Read(o.Dir); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "swaps")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := newPublisher(ctx, filepath.Join(dir, "store"), set, level, o)
	if err != nil {
		return err
	}
	if err := p.next(ctx); err != nil {
		return err
	}
	n, err := startNode(ctx, dir)
	if err != nil {
		return err
	}
	defer n.process.Kill()
	c, err := newClient(n.api, set)
	if err != nil {
		return err
	}
	capacity, err := c.capacity(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d rows x %d, level %v; %.0f queries/s at most, offered: %.0f\n", set.N, set.Dim, level, capacity, o.Load*capacity)
	return measure(ctx, o, n, p, c, o.Load*capacity)
}

// node is a query node that serves the store of dir.
type node struct {
	process  *fleet.Process
	api, ops string
}

func startNode(ctx context.Context, dir string) (*node, error) {
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	binaries, err := fleet.Build(ctx, bin)
	if err != nil {
		return nil, err
	}
	api, err := fleet.Address()
	if err != nil {
		return nil, err
	}
	ops, err := fleet.Address()
	if err != nil {
		return nil, err
	}
	n := &node{api: "http://" + api, ops: "http://" + ops}
	n.process, err = binaries.Start("query", nil, "--store", filepath.Join(dir, "store"), "--cache-dir", filepath.Join(dir, "cache"),
		"--listen", api, "--ops-listen", ops, "--poll-every=50ms")
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := fleet.AwaitOK(ready, n.ops+"/readyz"); err != nil {
		n.process.Kill()
		return nil, errors.Join(err, errors.New(n.process.Log()))
	}
	return n, nil
}
