package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/embedded"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type demoCommand struct {
	Once      bool   `help:"Exit at the end instead of waiting for Enter, with a non-zero code if a check failed."`
	Listen    string `help:"Address of the query API and the web page. Port 0 is any free one." default:"127.0.0.1:0"`
	OpsListen string `help:"Address of the metrics. Port 0 is any free one." default:"127.0.0.1:0"`
	Verbose   bool   `help:"Print the logs of all roles."`
}

const (
	demoPartitions = 4
	demoRows       = 1000 // rows of a batch
	demoPause      = 250 * time.Millisecond
	demoWait       = 5 * time.Minute // for anything that the demo waits for; it takes seconds, and minutes where a processor has no kernels
)

// demo is one run of the demo.
type demo struct {
	words    *words
	stack    *stack
	producer *source.Producer
	http     *http.Client
	started  time.Time

	produced        atomic.Int64
	queries, failed atomic.Int64
	failure         atomic.Value // string: the first failed query

	nextLine       time.Duration // when show prints again, since started
	checks, broken int
}

func (c *demoCommand) Run(ctx context.Context, l *cli.Logging) error {
	dir, err := os.MkdirTemp("", "adastream-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if !c.Verbose {
		l.LogLevel = 12 // only what breaks the demo, and that is returned
	}
	d := &demo{started: time.Now(), http: &http.Client{Timeout: 10 * time.Second}}
	if d.words, err = readWords(); err != nil {
		return err
	}
	broker, err := embedded.Start(embedded.Options{Dir: filepath.Join(dir, "broker")})
	if err != nil {
		return err
	}
	defer broker.Close()
	flags := specFlags{Name: "words", Ladder: sample.Ladder(), Metric: string(schemas.Cosine), Encoder: sample.Encoder,
		Vectors: string(schemas.Float16), Attribute: map[string]string{"class": "utf8"}, Partitions: demoPartitions, Replication: 1, TargetRecall: 0.95}
	log := l.Logger()
	client, err := cli.Kafka{Brokers: []string{broker.Addr()}}.Client(flags.topic(), log)
	if err != nil {
		return err
	}
	defer client.Close()
	bucket, err := store.Open(ctx, filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		return err
	}
	if err := store.Probe(ctx, bucket); err != nil {
		return err
	}
	if _, err := flags.create(ctx, bucket, client, log); err != nil {
		return err
	}
	shards, err := commit.OpenShards(ctx, bucket)
	if err != nil {
		return err
	}
	registry := cli.NewRegistry()
	gate, err := cli.Access{}.Open(c.Listen, log, registry)
	if err != nil {
		return err
	}
	d.stack, err = newStack(ctx, stackOptions{shards: shards, client: client, cache: cli.Cache{CacheDir: filepath.Join(dir, "cache")},
		listen: c.Listen, ops: c.OpsListen, gate: gate, logger: log, registry: registry})
	if err != nil {
		return err
	}
	d.producer = client.NewProducer(source.ProducerOptions{})
	defer d.producer.Close()

	fmt.Printf("adastream demo: %d words of WordNet as %d-d Matryoshka embeddings (ladder %s)\n", d.words.n, d.words.dim, strings.Trim(fmt.Sprint(sample.Ladder()), "[]"))
	fmt.Printf("in this process: a Kafka-protocol broker at %s, an object store in a directory, an ingestor, a builder and a query node\n\n", broker.Addr())
	return d.run(ctx, c.Once)
}

// run drives the roles through the demo.
func (d *demo) run(ctx context.Context, once bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.stack.run(ctx) })
	g.Go(func() error {
		defer cancel()
		err := d.acts(ctx)
		if err == nil && !once {
			d.wait(ctx)
		}
		return err
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if d.broken > 0 {
		return fmt.Errorf("%d of %d checks failed", d.broken, d.checks)
	}
	return nil
}

func (d *demo) acts(ctx context.Context) error {
	searching, stopSearching := context.WithCancel(ctx)
	defer stopSearching()
	var clients errgroup.Group
	clients.Go(func() error { d.searchAllAlong(searching); return nil })
	if err := d.stream(ctx); err != nil {
		return err
	}
	if err := d.measure(ctx); err != nil {
		return err
	}
	if err := d.change(ctx); err != nil {
		return err
	}
	if err := d.guitar(ctx); err != nil {
		return err
	}
	stopSearching()
	_ = clients.Wait()
	d.check(d.failed.Load() == 0 && d.queries.Load() > 0, "%d queries throughout, %d failed%s", d.queries.Load(), d.failed.Load(), d.firstFailure())
	fmt.Printf("\n%d of %d checks passed in %v\n", d.checks-d.broken, d.checks, time.Since(d.started).Round(100*time.Millisecond))
	return nil
}

// check counts and prints one thing that the demo promises.
func (d *demo) check(ok bool, format string, args ...any) {
	d.checks++
	mark := "ok  "
	if !ok {
		d.broken++
		mark = "FAIL"
	}
	fmt.Printf("%s  %s\n", mark, fmt.Sprintf(format, args...))
}

func (d *demo) firstFailure() string {
	if text, ok := d.failure.Load().(string); ok {
		return ": " + text
	}
	return ""
}

// searchAllAlong is a client that never stops asking. A query before the first generation is not counted.
func (d *demo) searchAllAlong(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		if d.stack.nodes.Ready() != nil && d.queries.Load() == 0 {
			pause(ctx, 20*time.Millisecond)
			continue
		}
		_, err := d.ask(ctx, client.Query{Vector: d.words.vector(i % d.words.n)})
		if ctx.Err() != nil {
			return
		}
		d.queries.Add(1)
		if err != nil {
			d.failed.Add(1)
			d.failure.CompareAndSwap(nil, err.Error())
		}
		pause(ctx, 2*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ask asks once: what fails is to be seen.
func (d *demo) ask(ctx context.Context, q client.Query) (*client.Answer, error) {
	c, err := client.New(d.apiURL(), client.Options{Attempts: 1, HTTP: d.http})
	if err != nil {
		return nil, err
	}
	return c.Search(ctx, q)
}

func (d *demo) apiURL() string { return "http://" + d.stack.api.Addr().String() }
func (d *demo) opsURL() string { return "http://" + d.stack.ops.Addr().String() }

// wait tells where everything listens and returns at Enter or when ctx ends.
func (d *demo) wait(ctx context.Context) {
	fmt.Printf("\nstill serving:\n  page     %s/ui\n  metrics  %s/metrics\n  search   curl -s %s/v1/search -d '{\"like\":\"guitar\",\"k\":5}'\n\nEnter or Ctrl-C stops it and removes its files.\n", d.apiURL(), d.opsURL(), d.apiURL())
	entered := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(entered)
	}()
	select {
	case <-ctx.Done():
	case <-entered:
	}
}
