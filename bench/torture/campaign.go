// Command torture runs the daemons as processes on a real Kafka and a real S3 store, does to them whatever can happen to
// processes, lines and stores, and checks that nothing is lost, doubled, stale or refused. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/rs/zerolog"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	roleIngestor = "ingestor"
	roleBuilder  = "builder"
	roleQuery    = "query"

	linkKafka = "kafka"

	loopback = "127.0.0.1"

	searchers, probers = 2, 4
)

var (
	storeLinks = []string{roleIngestor, roleBuilder, roleQuery} // each role reaches the store by its own line
	links      = append([]string{linkKafka}, storeLinks...)
)

// Options say what a campaign is to be.
type Options struct {
	Store        string        // http://KEY:SECRET@host:port of an S3 server
	Port         int           // broker and line are on free ports from here on
	Seed         uint64        // of schedules, rows and queries
	First        int           // round to begin with
	Duration     time.Duration // no round begins after it
	Kills        int           // no round begins after so many, if positive
	Faults       int           // no round begins after so many of the network and the store, if positive
	Brokers      int           // one that is killed now and then, or three and more, of which one is killed or stopped at a time
	Size         size          // of a round
	Damages      int           // objects that are damaged after a round
	Items        int
	Rate         int // rows a second
	Batch        int // queries in a request
	Pause        time.Duration
	BuilderFlags []string // more of them
	Dir          string   // for logs and caches
	Out          io.Writer
}

// campaign is the state of one.
type campaign struct {
	o       Options
	dir     string
	brokers brokers

	links     map[string]*link
	injectors map[string]*injector
	members   map[string][]*member

	spareBuilder                                     *member
	spareIngestors                                   []*member
	fresh                                            *member // a query node that starts with an empty cache
	vandal                                           vandal
	oneNode, oneZombie, oneStorm, oneDisk, oneBroker sync.Mutex
	noDisks                                          bool // that can be filled

	generator *generator
	truth     *truth
	checker   *checker
	clients   *clients
	totals    totals
	cleanup   []func()
}

// Run runs a campaign to its end. The error is of its machinery; what the product did wrong is in Totals.Faults.
func Run(ctx context.Context, o Options) (Totals, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics trace what they do to the logger of the process
	c := &campaign{o: o, links: map[string]*link{}, injectors: map[string]*injector{}, members: map[string][]*member{}, totals: totals{deeds: map[string]int{}}}
	defer c.close()
	if err := c.setUp(ctx); err != nil {
		return Totals{}, err
	}
	return c.run(ctx)
}

func (c *campaign) close() {
	for _, all := range c.members {
		for _, m := range all {
			m.kill()
		}
	}
	for i := len(c.cleanup) - 1; i >= 0; i-- {
		c.cleanup[i]()
	}
}

func (c *campaign) onClose(f func()) { c.cleanup = append(c.cleanup, f) }

func (c *campaign) member(role string, index int) *member {
	return c.members[role][index%len(c.members[role])]
}

func (c *campaign) setUp(ctx context.Context) error {
	tree, err := fleet.Tree(ctx)
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp(c.o.Dir, "torture-"); err != nil {
		return err
	}
	c.onClose(func() { os.RemoveAll(c.dir) })
	overlay, err := clockOverlay(ctx, c.dir)
	if err != nil {
		return err
	}
	bin := fleet.In(c.dir)
	if err := errors.Join(bin.Compile(ctx, nil, "adastream"), bin.Compile(ctx, []string{overlay}, storeLinks...)); err != nil { // roles are named as their commands
		return err
	}
	if err := c.startBrokers(ctx, tree); err != nil {
		return err
	}
	place, err := c.makeBucket(ctx)
	if err != nil {
		return err
	}
	topic := "torture-" + uuid.NewString()
	out, err := bin.Run(ctx, "adastream", "init", "--store", place(""), "--brokers", strings.Join(c.brokers.direct(), ","), "--name", "torture", "--topic", topic,
		"--ladder", "8,16,32", "--encoder", encoder, "--attribute", columnSerial+"=int64", "--partitions", fmt.Sprint(partitions), "--target-recall", "0.8")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	c.vandal.bin, c.vandal.place = bin, place("")
	if err := c.makeMembers(bin, place); err != nil {
		return err
	}
	return c.makeWitnesses(ctx, place(""), topic)
}

// startBrokers starts Kafka, each broker behind a line of its own.
func (c *campaign) startBrokers(ctx context.Context, tree string) (err error) {
	if c.brokers, err = newBrokers(max(1, c.o.Brokers), c.o.Port, filepath.Join(tree, ".ci", "kafka.sh"), c.dir); err != nil {
		return err
	}
	for i, b := range c.brokers {
		if err := c.addLink(linkOfBroker(i), b.faulty(), b.behind()); err != nil {
			return err
		}
	}
	c.onClose(c.brokers.kill)
	return c.brokers.start(ctx)
}

// linkOfBroker is the name of the line to one.
func linkOfBroker(i int) string {
	if i == 0 {
		return linkKafka
	}
	return fmt.Sprintf("%s %d", linkKafka, i+1)
}

func (c *campaign) addLink(name, address, upstream string) error {
	l, err := newLink(name, address, upstream)
	if err != nil {
		return err
	}
	c.links[name] = l
	c.onClose(l.close)
	return nil
}

// makeBucket makes a bucket, and for each role a line to it with an injector at its end. place is the bucket's url by the line
// of a role, or without faults.
func (c *campaign) makeBucket(ctx context.Context) (place func(role string) string, err error) {
	server, err := url.Parse(c.o.Store)
	if err != nil || server.User == nil || server.Host == "" {
		return nil, errors.New("store: must be http://KEY:SECRET@host:port")
	}
	secret, _ := server.User.Password()
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": server.User.Username(), "AWS_SECRET_ACCESS_KEY": secret} {
		if err := os.Setenv(name, value); err != nil { // of the daemons, and of the checker
			return nil, err
		}
	}
	client, err := minio.New(server.Host, &minio.Options{Creds: credentials.NewStaticV4(server.User.Username(), secret, ""), Region: "us-east-1"})
	if err != nil {
		return nil, err
	}
	bucket := "torture-" + uuid.NewString()
	if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: "us-east-1"}); err != nil {
		return nil, err
	}
	c.vandal.client, c.vandal.bucket = minio.Core{Client: client}, bucket
	c.onClose(func() {
		_ = client.RemoveBucketWithOptions(context.Background(), bucket, minio.RemoveBucketOptions{ForceDelete: true}) // best effort
	})
	endpoints := map[string]string{"": server.Host}
	for i, role := range storeLinks {
		in, err := newInjector("http://"+server.Host, c.o.Seed+uint64(i))
		if err != nil {
			return nil, err
		}
		c.onClose(in.close)
		c.injectors[role] = in
		if err := c.addLink(role, "127.0.0.1:0", in.addr); err != nil {
			return nil, err
		}
		endpoints[role] = c.links[role].proxy.Listen
	}
	return func(role string) string { return "s3://" + bucket + "?endpoint=http://" + endpoints[role] }, nil
}

func (c *campaign) makeMembers(bin *fleet.Binaries, place func(string) string) error {
	count := 0
	add := func(role string, args ...string) (*member, error) {
		ops, err := fleet.Address()
		if err != nil {
			return nil, err
		}
		count++
		m := &member{role: role, name: fmt.Sprintf("%s %d", role, count), bin: bin, ops: ops, host: loopback}
		at := place(role)
		if len(c.members[role]) > 0 {
			m.host = "localhost"
			at = strings.Replace(at, loopback, m.host, 1)
		}
		m.args = append([]string{"--store", at, "--ops-listen", ops}, args...)
		if role == roleQuery {
			if m.api, err = fleet.Address(); err != nil {
				return nil, err
			}
			m.args = append(m.args, "--listen", m.api, "--poll-every", "100ms")
		}
		if role != roleIngestor {
			disk := filepath.Join(c.dir, fmt.Sprintf("disk-%d", count))
			if m.host == loopback {
				if err := c.mount(disk); err != nil {
					return nil, err
				}
			}
			m.cache = filepath.Join(disk, "cache")
			m.args = append(m.args, "--cache-dir", m.cache)
		}
		c.members[role] = append(c.members[role], m)
		return m, nil
	}
	ingestor := []string{"--brokers", strings.Join(c.brokers.faulty(), ","), "--flush-age", "100ms"}
	builder := append([]string{"--min-train-rows", "3000", "--threads", "1"}, c.o.BuilderFlags...)
	for _, m := range []struct {
		role string
		args []string
	}{{roleIngestor, ingestor}, {roleIngestor, ingestor}, {roleBuilder, builder}, {roleQuery, nil}, {roleQuery, nil}} {
		if _, err := add(m.role, m.args...); err != nil {
			return err
		}
	}
	c.clients = &clients{nodes: c.members[roleQuery], batch: c.o.Batch}
	var err error
	if c.fresh, err = add(roleQuery); err != nil {
		return err
	}
	c.members[roleQuery] = c.clients.nodes
	if c.spareBuilder, err = add(roleBuilder, builder...); err != nil {
		return err
	}
	c.members[roleBuilder] = c.members[roleBuilder][:1]
	for range 2 {
		m, err := add(roleIngestor, ingestor...)
		if err != nil {
			return err
		}
		c.spareIngestors = append(c.spareIngestors, m)
	}
	c.members[roleIngestor] = c.members[roleIngestor][:2]
	c.onClose(func() {
		for _, m := range c.spares() {
			m.kill()
		}
	})
	return nil
}

func (c *campaign) spares() []*member {
	return append([]*member{c.spareBuilder, c.fresh}, c.spareIngestors...)
}

// makeWitnesses makes all that knows what is right: generator, fold and checker, on lines without faults.
func (c *campaign) makeWitnesses(ctx context.Context, place, topic string) error {
	var err error
	if c.generator, err = newGenerator(c.brokers.direct(), topic, c.o.Seed, c.o.Items, c.o.Rate); err != nil {
		return err
	}
	c.onClose(c.generator.close)
	if c.truth, err = newTruth(c.brokers.direct(), topic); err != nil {
		return err
	}
	c.onClose(c.truth.client.Close)
	bucket, err := store.Open(ctx, place, store.Options{})
	if err != nil {
		return err
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		return err
	}
	cache, err := store.NewCache(filepath.Join(c.dir, "checker"), bucket, store.CacheOptions{MaxBytes: 1 << 30})
	if err != nil {
		return err
	}
	c.checker = &checker{log: log, cache: cache}
	return nil
}

// watch starts again what ended by itself, which is a fault: daemons end when they are asked to.
func (c *campaign) watch(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		for _, m := range append(c.all(), c.spares()...) {
			log, ended := m.ended()
			if !ended {
				continue
			}
			if !portTaken(log) {
				c.totals.exit()
				c.totals.fault("%s ended by itself:\n%s", m.name, tail(log, 1500))
			}
			if err := m.start(); err != nil {
				c.totals.fault("%v", err)
			}
			if m.role == roleQuery {
				go func() { _ = m.awaitReady(ctx) }() // it says so when it is
			}
		}
	}
}

func (c *campaign) all() []*member {
	var all []*member
	for _, role := range storeLinks {
		all = append(all, c.members[role]...)
	}
	return all
}

func (c *campaign) run(ctx context.Context) (Totals, error) {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	for _, m := range c.all() {
		if err := m.start(); err != nil {
			return Totals{}, err
		}
	}
	background.Go(func() { c.watch(ctx) })
	if err := c.warmUp(ctx); err != nil {
		return c.sums(began, 0), fmt.Errorf("%w\n%s", err, c.logs())
	}
	for i := range searchers {
		background.Go(func() { c.clients.search(ctx, rand.New(rand.NewPCG(c.o.Seed, uint64(100+i))), c.o.Pause) })
	}
	round, known := c.o.First, 0
	for ; c.wanted(began, round); round++ {
		if err := c.round(ctx, round); err != nil {
			return c.sums(began, round-c.o.First), fmt.Errorf("round %d of seed %d: %w\n%s", round, c.o.Seed, err, c.logs())
		}
		t := c.sums(began, round-c.o.First+1)
		for _, f := range t.Faults[min(known, len(t.Faults)):] {
			fmt.Fprintln(c.o.Out, "WRONG:", f)
		}
		known = len(t.Faults)
		fmt.Fprintf(c.o.Out, "round %d: %d kills, %d network and %d store faults, %d rows, %d queries, %d wrong so far\n",
			round, t.Kills, sum(t.Network), sum(t.Store), t.Rows, t.Queries, len(t.Faults))
	}
	return c.sums(began, round-c.o.First), nil
}

func (c *campaign) wanted(began time.Time, round int) bool {
	t := c.sums(began, round)
	return time.Since(began) < c.o.Duration && (c.o.Kills <= 0 || t.Kills < c.o.Kills) && (c.o.Faults <= 0 || sum(t.Network)+sum(t.Store) < c.o.Faults)
}

// warmUp produces some rows and waits until nodes serve them.
func (c *campaign) warmUp(ctx context.Context) error {
	for range 20 {
		if err := c.generator.step(ctx); err != nil {
			return err
		}
	}
	if _, err := c.converge(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, m := range c.clients.nodes {
		if err := m.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// round lets faults loose under load, mends all, and checks exactly.
func (c *campaign) round(ctx context.Context, n int) error {
	events := draw(c.o.Seed, n, c.o.Size)
	fmt.Fprintf(c.o.Out, "round %d of seed %d:\n", n, c.o.Seed)
	for _, e := range events {
		fmt.Fprintf(c.o.Out, "  %s\n", e)
	}
	load, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	var fault, added error
	writers.Go(func() { fault = c.generator.run(load) })
	for i := range probers {
		writers.Go(func() { c.clients.probe(load, c.generator, rand.New(rand.NewPCG(c.o.Seed, uint64(n*probers+i)))) })
	}
	if n == c.o.First+1 {
		writers.Go(func() { added = c.addPartition(ctx) })
	}
	c.rage(ctx, events)
	stop()
	writers.Wait()
	if err := errors.Join(fault, added); err != nil {
		return err
	}
	began := time.Now()
	m, err := c.converge(ctx)
	if err != nil {
		return err
	}
	converged := time.Since(began)
	missing, ghosts := c.truth.account(c.generator)
	if missing > 0 || ghosts > 0 {
		c.totals.fault("round %d: the topic lacks %d acknowledged rows and has %d of aborted transactions", n, missing, ghosts)
	}
	if err := errors.Join(c.checker.generation(ctx, m, c.truth.items), c.checker.chains(ctx, m)); err != nil {
		return err
	}
	served, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rng := rand.New(rand.NewPCG(c.o.Seed, uint64(2000+n)))
	for _, node := range c.clients.nodes {
		if err := node.awaitReady(served); err != nil {
			return err
		}
		if err := c.checker.served(served, node, m, c.truth.items, rng, 60); err != nil {
			return err
		}
	}
	if n == c.o.First+1 {
		c.partitionRefused(ctx)
	}
	checked := time.Since(began) - converged
	if err := c.damage(ctx, n); err != nil {
		return err
	}
	fmt.Fprintf(c.o.Out, "round %d: generation %d has all %d live rows after %.1fs, checked in %.1fs, %d objects damaged in %.1fs\n",
		n, m.Generation, m.LiveRows, converged.Seconds(), checked.Seconds(), c.o.Damages, (time.Since(began) - converged - checked).Seconds())
	return nil
}

// converge waits until all that was produced is in a promoted generation.
func (c *campaign) converge(ctx context.Context) (*schemas.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := c.truth.read(ctx); err != nil {
		return nil, err
	}
	return c.checker.await(ctx, c.truth.ends)
}

// logs is the end of what each daemon printed.
func (c *campaign) logs() string {
	var b strings.Builder
	for _, m := range c.all() {
		fmt.Fprintf(&b, "---- %s\n%s\n", m.name, tail(m.log(), 2500))
	}
	return b.String()
}
