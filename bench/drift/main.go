// Command drift shows what becomes of a model when the rows it was made for are replaced by rows about other things, and what
// each repair restores: it sorts a corpus by topic, trains on the first rows, and searches the last ones under the old model, the
// repaired ones, and one that was trained on nothing else.
//
//	go run ./bench/drift --dir bench/data/corpus
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/schemas"
)

const (
	topics  = 64
	queries = 500
	k       = 10
)

type options struct {
	Dir    string  `help:"Directory with base.f32 and meta.json." required:"" type:"existingdir"`
	Rows   int     `help:"Rows that are live at a time." default:"200000"`
	Shift  float64 `help:"Share of the topics that are replaced, 0 to 1." default:"1"`
	Recall float64 `help:"Recall@10 that codes are counted for." default:"0.95"`

	Against []string `help:"Directories of other rows of the same width, of which to tell how strange they are." type:"existingdir"`
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("What repairs of a model restore after drift."))
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "drift:", err)
		os.Exit(1)
	}
}

// bench is rows of a corpus, and how to measure models on them.
type bench struct {
	o     options
	level avx.Level
	spec  *schemas.Spec
	out   *tabwriter.Writer
	ships string // what renewed codes cost a node
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
	spec := schemas.Spec{Name: "drift", Ladder: set.Ladder, Encoder: "corpus", Vectors: schemas.Float16,
		Topic: schemas.Topic{Name: "drift", Partitions: 1}}.WithDefaults()
	b := &bench{o: o, level: level, spec: &spec, out: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	before, now, err := b.rows(ctx, set)
	if err != nil {
		return err
	}
	return b.compare(ctx, before, now)
}

// rows returns the rows before and after, in random order each.
func (b *bench) rows(ctx context.Context, set *dataset.Set) (before, now []float32, err error) {
	if b.o.Rows < 1 || b.o.Rows > set.N || b.o.Shift < 0 || b.o.Shift > 1 {
		return nil, nil, fmt.Errorf("rows: %d of %d, shift: %v, allowed: no more than there are, 0 to 1", b.o.Rows, set.N, b.o.Shift)
	}
	dim := set.Dim
	for i := range set.N {
		row := set.Base[i*dim:][:dim]
		mrl.Normalize(b.level, row, row)
	}
	centres, err := kmeans.Train(ctx, set.Base, min(set.N, 50_000), dim, dim, kmeans.Options{K: topics, Iterations: 10, Spherical: true, Level: b.level, Threads: 2})
	if err != nil {
		return nil, nil, err
	}
	topic, score := make([]int32, set.N), make([]float32, set.N)
	avx.Assign(b.level, avx.Pack(centres, len(centres)/dim, dim, nil), set.Base, set.N, dim, topic, score)
	order := make([]int, set.N)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return int(topic[x] - topic[y]) })
	take := func(from int) []float32 {
		x := make([]float32, 0, b.o.Rows*dim)
		for i := range b.o.Rows {
			at := order[from+i*7919%b.o.Rows] // a prime: all of them, in another order
			x = append(x, set.Base[at*dim:][:dim]...)
		}
		return x
	}
	return take(0), take(int(b.o.Shift * float64(set.N-b.o.Rows))), nil
}

func (b *bench) compare(ctx context.Context, before, now []float32) error {
	dim := b.spec.Dim()
	fmt.Fprintf(b.out, "model\tlists\td_c\tcentroids leave\tcodes leave\ttraining, CPU s\tencoding, CPU s\tcodes for recall %v\t\n", b.o.Recall)
	old, took, err := b.train(ctx, model.Options{}, before)
	if err != nil {
		return err
	}
	n, scratch := min(2000, b.o.Rows), model.NewScratch()
	was, is := old.Fit(b.level, before, n, scratch), old.Fit(b.level, now, n, scratch) // was, of rows that it was trained on: a few percent too good
	last := len(was.Coarse) - 1
	fmt.Printf("of the rows that the old model was trained on centroids leave %.3f, codes %.3f; strangeness of the rows now: %.2f\n",
		was.Coarse[last], was.Codes[last], was.Strange(is.Coarse[0]))
	for _, dir := range b.o.Against {
		other, err := dataset.Read(dir)
		if err != nil {
			return err
		}
		if other.Dim != dim {
			return fmt.Errorf("%s: %d dimensions, want %d", dir, other.Dim, dim)
		}
		n := min(n, other.N)
		for i := range n {
			row := other.Base[i*dim:][:dim]
			mrl.Normalize(b.level, row, row)
		}
		fmt.Printf("strangeness of %s: %.2f\n", other.Name, was.Strange(old.Fit(b.level, other.Base[:n*dim], n, scratch).Coarse[0]))
	}
	if err := b.show(ctx, "old", old, now, took); err != nil {
		return err
	}
	for _, repair := range []model.Repair{model.Codes, model.Lists, model.Everything} {
		sample := now[:min(len(now), model.SampleRows(int64(b.o.Rows), dim, repair)*dim)]
		if repair == model.Lists && len(sample) > len(now)/2 {
			sample = now[:b.o.Rows/2*dim]
		}
		m, took, err := b.train(ctx, model.Options{Repair: repair, From: old}, sample)
		if err != nil {
			return err
		}
		if err := b.show(ctx, string(repair), m, now, took); err != nil {
			return err
		}
	}
	fmt.Fprintln(b.out, b.ships)
	return b.out.Flush()
}

func (b *bench) train(ctx context.Context, o model.Options, x []float32) (*model.Model, time.Duration, error) {
	o.Level, o.Seed = b.level, 1
	start := cpu()
	m, err := model.Train(ctx, b.spec, x, len(x)/b.spec.Dim(), int64(b.o.Rows), o)
	return m, cpu() - start, err
}

func (b *bench) show(ctx context.Context, name string, m *model.Model, now []float32, trained time.Duration) error {
	start := cpu()
	snap, _, bytes, err := bulk.Open(ctx, b.spec, now, b.o.Rows, bulk.Options{Level: b.level, Threads: 2, Model: m})
	if err != nil {
		return err
	}
	defer snap.Close()
	built := cpu() - start
	s, err := recall.Draw(ctx, b.level, 2, snap, queries, k)
	if err != nil {
		return err
	}
	plans, err := recall.Table(ctx, b.level, 2, snap, s, k)
	if err != nil {
		return err
	}
	f := m.Fit(b.level, now, min(2000, b.o.Rows), model.NewScratch())
	last := len(f.Coarse) - 1
	fmt.Fprintf(b.out, "%s\t%d\t%d\t%.3f\t%.3f\t%.1f\t%.1f\t%.0f\t\n", name, m.NList(), m.CoarseDims(), f.Coarse[last], f.Codes[last],
		trained.Seconds(), built.Seconds(), codesFor(plans, b.o.Recall))
	if name != string(model.Codes) {
		return nil
	}
	// What a node fetches when rows stay where they are, of all that it has.
	fetched := int64(len(m.Bytes()))
	for _, p := range snap.Parts() {
		fetched += int64(len(p.Blocks) + 4*len(p.CodeRows))
	}
	originals := int64(2 * b.o.Rows * b.spec.Dim())
	b.ships = fmt.Sprintf("model and codes are %.1f %% of a generation, %.1f %% of one with originals", 100*float64(fetched)/float64(bytes), 100*float64(fetched)/float64(bytes+originals))
	return nil
}

// codesFor is how many codes the plans scan for a recall, between the measured ones.
func codesFor(plans []schemas.PlanPoint, recall float64) float64 {
	front := slices.Clone(plans)
	slices.SortFunc(front, func(a, b schemas.PlanPoint) int { return int(a.Scanned - b.Scanned) })
	var below schemas.PlanPoint
	for _, p := range front {
		if p.Recall >= recall && below.Scanned > 0 {
			share := (recall - below.Recall) / (p.Recall - below.Recall)
			return math.Exp(math.Log(below.Scanned) + share*(math.Log(p.Scanned)-math.Log(below.Scanned)))
		}
		if p.Recall > below.Recall {
			below = p
		}
	}
	return math.NaN()
}

// cpu is the processor time of this process so far.
func cpu() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
