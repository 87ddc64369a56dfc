// Command load asks a query node, a process of its own, at a rate, whether other queries have ended or not: a query is late by
// the time since it was due.
//
//	go run ./bench/load swaps --duration=10m
//	go run ./bench/load overload
//
// Swaps measures what swaps cost queries: so many queries come that the processors are busy for a share of the time, and a generation a
// second is promoted. Windows with and without swaps alternate, so that what else the machine does meets both. Each generation has other
// deltas, and each --rewrite-every-th another model and all chunks anew, as after a rewrite. All objects are written before the
// first query: what promotes writes two records a second. Client and node share the machine's cores.
//
// Overload measures what more queries than the node can answer do to those that it answers. The node has one core, and the client
// another.
//
// Herd has no queries: it runs up to a thousand query nodes in one process, which follow one channel over a store in memory, and
// counts what they ask of it, with and without a cache that they share in front.
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
	Swaps    swaps    `cmd:"" help:"What swaps cost queries."`
	Overload overload `cmd:"" help:"What more queries than a node can answer do to those that it answers."`
	Herd     herd     `cmd:"" help:"What many query nodes that follow one channel ask of the store."`
	indexed
}

// indexed is what the node serves.
type indexed struct {
	Rows        int    `help:"Rows of the synthetic index." default:"100000"`
	Dim         int    `help:"Dimensions of the synthetic index." default:"128"`
	Dir         string `help:"Directory with base.f32, queries.f32, truth.i32 and meta.json, to be indexed instead." type:"existingdir"`
	Threads     int    `help:"Threads to build the index with." default:"2"`
	Connections int    `help:"Connections to the node." default:"1000"`
	NProbe      int    `name:"nprobe" help:"Lists that a query probes." default:"16"`
	Refine      int    `help:"Rows that a query refines." default:"100"`
}

func main() {
	var o options
	parsed := kong.Parse(&o, kong.Description("A query node under load."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run(&o.indexed)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// bench is a node that serves an index, and a client that asks it.
type bench struct {
	*node
	*publisher
	*client
	index *dataset.Set
	level avx.Level
}

func (b *bench) String() string {
	return fmt.Sprintf("%d rows x %d, level %v", b.index.N, b.index.Dim, b.level)
}

// with runs do on a node with an environment and flags. RewriteEvery is the publisher's.
func (o *indexed) with(ctx context.Context, rewriteEvery int, env, flags []string, do func(b *bench) error) error {
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
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := newPublisher(ctx, filepath.Join(dir, "store"), set, level, o.Threads, rewriteEvery)
	if err != nil {
		return err
	}
	if err := p.next(ctx); err != nil {
		return err
	}
	n, err := startNode(ctx, dir, env, flags...)
	if err != nil {
		return err
	}
	defer n.process.Kill()
	c, err := newClient(ctx, n.api, o.Connections, set, o.NProbe, o.Refine)
	if err != nil {
		return err
	}
	defer c.close()
	return do(&bench{n, p, c, set, level})
}

// node is a query node that serves the store of dir.
type node struct {
	process  *fleet.Process
	api, ops string
}

func startNode(ctx context.Context, dir string, env []string, flags ...string) (*node, error) {
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
	n := &node{api: api, ops: "http://" + ops}
	n.process, err = binaries.Start("query", env, append(flags, "--store", filepath.Join(dir, "store"), "--cache-dir", filepath.Join(dir, "cache"),
		"--listen", api, "--ops-listen", ops, "--poll-every=50ms")...)
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
