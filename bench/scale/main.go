// Command scale runs tens of millions of vectors through the whole system, as processes over a real broker and a real S3 server:
//
//	bench/scale/run --rows=20000000 --dims=128
//	bench/scale/run --rows=10000000 --corpus=bench/data/corpus --via=kafka
//
// Rows are drawn by a law, a file of them at a time, which is removed when it is loaded, or produced and taken in: there is room for
// what the system keeps of them, not for them. What should be found is kept meanwhile. Steps may be run one by one in the same
// work directory, as long as broker and S3 server are the same:
//
//	feed    makes an index and gets rows in, while a builder works, until nothing is left to do
//	serve   a query node over it with less and less memory, each from a cold start
//	change  restarts, and 1,000 changed rows at a time: what they cost at this size
//
// Each step appends what it measured to results.jsonl in the work directory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
)

type options struct {
	Work    string   `help:"Directory for programs, caches, the file of rows on its way, logs and results." required:""`
	Store   string   `help:"Where the index is." required:""`
	Brokers string   `help:"Of a Kafka." required:""`
	Name    string   `help:"Of the index and its topic." default:"scale"`
	Steps   []string `help:"What to do: ${enum}." enum:"feed,serve,change" default:"feed,serve,change"`

	Rows        int      `help:"Rows of the index." default:"200000"`
	Dims        int      `help:"Dimensions of synthetic rows." default:"128"`
	Ladder      []int    `help:"Trained prefix widths; default: the width, and halves of it from 32 on."`
	Corpus      string   `help:"Directory with base.f32, queries.f32 and meta.json, whose rows are taken again and again with noise, instead of synthetic ones." type:"existingdir"`
	Noise       float64  `help:"Of a corpus: deviation of the noise, as a share of that of each dimension." default:"0.5"`
	Via         string   `help:"How rows get in: ${enum}." enum:"load,kafka" default:"load"`
	PartRows    int      `help:"Rows of a file." default:"491520"`
	Partitions  int      `help:"Partitions of the topic." default:"4"`
	Queries     int      `help:"Queries to measure recall on." default:"400"`
	BuilderFlag []string `help:"Flags of the builder. Garbage is collected at once, for there is room for one index and not two." default:"--keep-for=0s,--collect-every=30s"`

	Quiet time.Duration `help:"How long a builder tells of no job until it is taken to have nothing left to do." default:"10s"`

	Limits      []float64     `help:"Memory of the query node, as shares of what it wants; 0 is no limit." default:"0,0.5,0.25"`
	Targets     []float64     `help:"Recalls to ask for, once the node is warm." default:"0.8,0.9,0.95"`
	Cold        time.Duration `help:"How long the node is watched after a cold start." default:"60s"`
	Warm        time.Duration `help:"How long each recall is asked for." default:"15s"`
	Window      time.Duration `help:"Of the cold curve." default:"5s"`
	Connections int           `help:"Queries that are asked at a time." default:"4"`

	Changes      int           `help:"Times that 1,000 rows are changed." default:"20"`
	CollectEvery time.Duration `help:"Time between collections of garbage while rows are changed." default:"20s"`

	LeaveMB int64 `help:"Stop when the disk has fewer MiB left." name:"leave-mib" default:"12288"`
}

// bench is what all steps need.
type bench struct {
	options
	ctx     context.Context
	dir     string // of work, absolute
	bin     *fleet.Binaries
	law     law
	truth   *truth
	queries []float32 // whose neighbours are known
	others  []float32 // that are asked beside them: the rows that a few queries touch would soon be in any memory
	watcher *watcher
	bucket  store.Bucket
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("Tens of millions of vectors through the whole system."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	watching, stop := context.WithCancel(ctx)
	b.ctx = ctx
	g.Go(func() error { return b.watcher.run(watching) })
	g.Go(func() error {
		defer stop()
		for _, step := range []struct {
			name string
			do   func() error
		}{{"feed", b.feed}, {"serve", b.serve}, {"change", b.change}} {
			if !slices.Contains(o.Steps, step.name) {
				continue
			}
			if err := step.do(); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		return nil
	})
	return g.Wait()
}

func newBench(ctx context.Context, o options) (*bench, error) {
	level, err := avx.Best()
	if err != nil {
		return nil, err
	}
	if o.Rows < 1 || o.PartRows < 1 || o.PartRows%blockRows != 0 {
		return nil, fmt.Errorf("rows %d and part rows %d, allowed: positive, and of the latter multiples of %d", o.Rows, o.PartRows, blockRows)
	}
	b := &bench{options: o, ctx: ctx}
	if b.dir, err = filepath.Abs(o.Work); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	if b.watcher, err = newWatcher(b.dir, o.LeaveMB<<20); err != nil {
		return nil, err
	}
	if b.law, err = o.lawOf(level); err != nil {
		return nil, err
	}
	dim := b.law.dims()
	if len(b.Ladder) == 0 {
		for width := dim; width == dim || width >= 32; width /= 2 {
			b.Ladder = append([]int{width}, b.Ladder...)
		}
	}
	b.queries = make([]float32, min(o.Queries, blockRows)*dim)
	if err := b.law.draw(queryRows, 0, b.queries); err != nil {
		return nil, err
	}
	b.truth = newTruth(level, b.queries, dim)
	b.others = make([]float32, blockRows*dim)
	if err := b.law.draw(queryRows, 1, b.others); err != nil {
		return nil, err
	}
	if b.bucket, err = store.Open(ctx, o.Store, store.Options{}); err != nil {
		return nil, err
	}
	b.bin, err = fleet.Build(ctx, filepath.Join(b.dir, "bin"))
	fmt.Printf("%d rows x %d, ladder %v: %s; level %v, %d CPUs\n", b.Rows, dim, b.Ladder, b.law, level, runtime.NumCPU())
	return b, err
}

func (o *options) lawOf(level avx.Level) (law, error) {
	if o.Corpus != "" {
		return openCorpus(level, o.Corpus, o.Noise)
	}
	return newTree(level, o.Dims), nil
}

// index is what is in the store. There is one shard.
func (b *bench) index() (*commit.Log, error) {
	shards, err := commit.OpenShards(b.ctx, b.bucket)
	if err != nil {
		return nil, err
	}
	return shards[0], nil
}

// stored is the bytes of all objects, by the folder that they are in.
func (b *bench) stored() (folders map[string]int64, all int64, err error) {
	folders = map[string]int64{}
	for info, err := range b.bucket.List(b.ctx, "", "") {
		if err != nil {
			return nil, 0, err
		}
		folders[folderOf(info.Key)] += info.Size
		all += info.Size
	}
	return folders, all, nil
}

// daemon starts one that is watched, with an address for its operators.
func (b *bench) daemon(role string, args ...string) (p *fleet.Process, ops string, err error) {
	if ops, err = fleet.Address(); err != nil {
		return nil, "", err
	}
	args = append(args, "--store", b.Store, "--ops-listen", ops, "--log-format", "json")
	if role != "ingestor" {
		args = append(args, "--cache-dir", filepath.Join(b.dir, "cache"))
	}
	if p, err = b.bin.Start(role, nil, args...); err != nil {
		return nil, "", err
	}
	b.watcher.watch(role, p)
	return p, "http://" + ops, nil
}

// end stops a daemon and keeps its log.
func (b *bench) end(p *fleet.Process, log string) error {
	return errors.Join(p.Stop(grace), os.WriteFile(filepath.Join(b.dir, log), []byte(p.Log()), 0o600))
}

// record appends what a step measured to the results.
func (b *bench) record(step string, measured any) error {
	f, err := os.OpenFile(filepath.Join(b.dir, "results.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	line := map[string]any{"step": step, "at": time.Now().UTC(), "rows": b.Rows, "dims": b.law.dims(), "law": b.law.String(), "measured": measured}
	return errors.Join(json.NewEncoder(f).Encode(line), f.Close())
}
