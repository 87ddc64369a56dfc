// Command figures measures the whole path on one machine: it starts the daemons as processes over a broker and a store,
// streams an Arrow file through them while a client searches, and prints recall against exact search, freshness, memory
// and the cost of ingesting.
//
//	go run ./bench/figures                                      the sample that ships with adastream
//	go run ./bench/figures --data base.arrow --queries q.arrow  your rows and held-out queries
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/embedded"

	"github.com/alecthomas/kong"
)

type options struct {
	Data       string   `help:"Arrow IPC file with id and vector; default: the sample." type:"existingfile"`
	Queries    string   `help:"Arrow IPC file with held-out vectors; default: rows of the data, which must not find themselves." type:"existingfile"`
	Ladder     []int    `help:"Trained prefix widths." default:"8,16,32,64,128,256"`
	Rate       int      `help:"Rows a second to produce; 0 is as fast as the broker takes them." default:"0"`
	BatchRows  int64    `help:"Rows that are produced at a time." default:"2000"`
	MaxQueries int      `help:"Queries to measure recall on." default:"2000"`
	Partitions int      `help:"Partitions of the topic." default:"4"`
	Brokers    []string `help:"A real Kafka; default: the embedded broker."`
	Logs       bool     `help:"Print the logs of the daemons at the end."`
	Store      string   `help:"A real S3; default: a directory."`
}

const k = 10

func main() {
	var o options
	kong.Parse(&o, kong.Description("Measures the whole path: recall, freshness, memory, cost of ingesting."))
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "adastream-figures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.Data == "" {
		o.Data = filepath.Join(dir, "sample.arrow")
		if err := os.WriteFile(o.Data, sample.Words, 0o600); err != nil {
			return err
		}
	}
	data, err := readTable(o.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Data, err)
	}
	queries, self, err := pickQueries(o, data)
	if err != nil {
		return err
	}
	truth, err := data.neighbours(ctx, queries, self, k)
	if err != nil {
		return err
	}
	if len(o.Brokers) == 0 {
		broker, err := embedded.Start(embedded.Options{Dir: filepath.Join(dir, "broker")})
		if err != nil {
			return err
		}
		defer broker.Close()
		o.Brokers = []string{broker.Addr()}
	}
	if o.Store == "" {
		o.Store = filepath.Join(dir, "store")
	}
	d, err := startDaemons(ctx, o, dir)
	if err != nil {
		return err
	}
	defer d.kill()
	streamed, err := d.stream(ctx, o, data)
	if err != nil {
		return errors.Join(err, d.ended())
	}
	settled, err := d.settle(ctx, int64(data.n))
	if err != nil {
		return errors.Join(err, d.ended())
	}
	searched, err := d.recall(ctx, data, queries, truth)
	if err != nil {
		return err
	}
	if o.Logs {
		for _, p := range d.all() {
			fmt.Printf("---- %s\n%s", p.Name, p.Log())
		}
	}
	return d.print(o, data, streamed, settled, searched)
}

// pickQueries returns the query vectors, and for each the row that it is, or -1.
func pickQueries(o options, data *table) (queries []float32, self []int, err error) {
	from := data
	if o.Queries != "" {
		if from, err = readTable(o.Queries); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o.Queries, err)
		}
		if from.dim != data.dim {
			return nil, nil, fmt.Errorf("%s has %d dimensions, the data %d", o.Queries, from.dim, data.dim)
		}
	}
	n := min(o.MaxQueries, from.n)
	for i := range n {
		row := i * (from.n / n)
		queries = append(queries, from.vector(row)...)
		if o.Queries != "" {
			row = -1
		}
		self = append(self, row)
	}
	return queries, self, nil
}

// daemons are one of each kind, and the client of their topic.
type daemons struct {
	ingestor, builder, query *fleet.Process
	api, builderOps          string
	client                   *source.Client
}

func startDaemons(ctx context.Context, o options, dir string) (*daemons, error) {
	bin, err := fleet.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	topic := fmt.Sprintf("figures-%d", time.Now().UnixNano())
	brokers := strings.Join(o.Brokers, ",")
	ladder := strings.Trim(strings.ReplaceAll(fmt.Sprint(o.Ladder), " ", ","), "[]")
	if _, err := bin.Run(ctx, "adastream", "init", "--store", o.Store, "--brokers", brokers, "--name", "figures", "--topic", topic,
		"--from", o.Data, "--ladder", ladder, "--partitions", fmt.Sprint(o.Partitions)); err != nil {
		return nil, err
	}
	var addresses [4]string
	for i := range addresses {
		if addresses[i], err = fleet.Address(); err != nil {
			return nil, err
		}
	}
	d := &daemons{}
	if d.client, err = source.New(source.Options{Brokers: o.Brokers, Topic: topic}); err != nil {
		return nil, err
	}
	d.api, d.builderOps = "http://"+addresses[3], "http://"+addresses[1]
	start := func(name string, ops string, args ...string) (p *fleet.Process) {
		if err == nil {
			p, err = bin.Start(name, nil, append([]string{"--store", o.Store, "--ops-listen", ops}, args...)...)
		}
		return p
	}
	cache := filepath.Join(dir, "cache")
	d.ingestor = start("ingestor", addresses[0], "--brokers", brokers)
	d.builder = start("builder", addresses[1], "--cache-dir", cache)
	d.query = start("query", addresses[2], "--cache-dir", cache, "--listen", addresses[3])
	if err != nil {
		d.kill()
		return nil, err
	}
	return d, nil
}

func (d *daemons) all() []*fleet.Process { return []*fleet.Process{d.ingestor, d.builder, d.query} }

func (d *daemons) kill() {
	for _, p := range d.all() {
		if p != nil {
			p.Kill()
		}
	}
	_ = d.client.Close() // the measurement is over
}

// ended says which daemon has ended although it should not.
func (d *daemons) ended() error {
	for _, p := range d.all() {
		if over, err := p.Ended(); over {
			return fmt.Errorf("%s has ended: %w\n%s", p.Name, err, p.Log())
		}
	}
	return nil
}

// streamed is what was seen while the data was produced.
type streamed struct {
	rows            int64
	took            time.Duration   // until the last row was acknowledged
	fresh           []time.Duration // of each batch, from before it was sent to its being searchable; ascending
	queries, failed int64
	latencies       []time.Duration  // of the queries, with HTTP; ascending
	probe           func() []float32 // the next query
}

// sent is a batch that is on its way: it is searchable when the served offsets have reached ends.
type sent struct {
	at   time.Time
	ends map[int]int64
}

func (d *daemons) stream(ctx context.Context, o options, data *table) (*streamed, error) {
	f, err := os.Open(o.Data)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := files.Arrow(f)
	if err != nil {
		return nil, err
	}
	producer := d.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	asked := 0
	s := &streamed{probe: func() []float32 { asked++; return data.vector(asked * 7919 % data.n) }}
	batches := make(chan sent, 1<<16)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		started := time.Now()
		before := time.Now()
		err := produce.All(gctx, producer, produce.Topic{Partitions: o.Partitions}, r, o.BatchRows, func(rows int64) {
			ends := map[int]int64{}
			for p := range o.Partitions {
				if b, err := d.client.Bounds(gctx, p); err == nil {
					ends[p] = b.End
				}
			}
			batches <- sent{before, ends}
			if s.rows += rows; o.Rate > 0 {
				time.Sleep(time.Until(started.Add(time.Duration(s.rows) * time.Second / time.Duration(o.Rate))))
			}
			before = time.Now()
		})
		s.took = time.Since(started)
		return err
	})
	g.Go(func() error { return d.watch(gctx, batches, s) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(s.fresh)
	slices.Sort(s.latencies)
	return s, nil
}

func (d *daemons) print(o options, data *table, s *streamed, m *settled, q *searched) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("machine", "%s, %d CPUs, %s", cpuid.CPU.BrandName, runtime.NumCPU(), runtime.Version())
	line("data", "%s: %d rows x %d, ladder %v", filepath.Base(o.Data), data.n, data.dim, o.Ladder)
	line("produced", "%d rows in %.1f s, %.0f rows/s", s.rows, s.took.Seconds(), float64(s.rows)/s.took.Seconds())
	line("fresh, produce to searchable", "p50 %v, p99 %v, worst %v over %d batches of %d rows", at(s.fresh, 50), at(s.fresh, 99), at(s.fresh, 100), len(s.fresh), o.BatchRows)
	line("queries meanwhile", "%d, %d failed; p50 %v, p99 %v, worst %v", s.queries, s.failed, at(s.latencies, 50), at(s.latencies, 99), at(s.latencies, 100))
	line("settled", "generation %d: %d rows, nlist %d, %d chunks, %d segments, %.1f s after the last row", m.Generation, m.LiveRows, m.nlist(), m.Chunks, m.Segments, m.took.Seconds())
	line("recall@10, default plan", "%.4f of %d queries against brute force in float32 (builder measured %.4f)", q.recall, q.n, m.builderRecall())
	line("default plan", "nprobe %d, scan dims %d, refine %d: %.0f codes, %.0f rows refined a query", q.plan.NProbe, q.plan.ScanDims, q.plan.Refine, q.codes, q.refined)
	line("search in the node", "p50 %v, p99 %v, one query at a time", at(q.took, 50), at(q.took, 99))
	for _, p := range d.all() {
		all, peak, anonymous, err := p.Resident()
		if err != nil {
			return err
		}
		cpu, err := p.CPU()
		if err != nil {
			return err
		}
		line(p.Name, "resident %d MiB (peak %d), of it anonymous %d; %.1f CPU s, %.0f rows a CPU s", all>>20, peak>>20, anonymous>>20, cpu.Seconds(), float64(s.rows)/cpu.Seconds())
	}
	return t.Flush()
}

// at is a percentile of ascending durations.
func at(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	v := d[min(len(d)-1, len(d)*percent/100)]
	if v < time.Millisecond {
		return v.Round(time.Microsecond)
	}
	return v.Round(time.Millisecond)
}
