// Package simulation runs the protocols of pipeline/commit through schedules that no machine would show in years: ingestors that
// share a partition, builders, an operator, query nodes and garbage collectors, each of which may sleep or die at any request to
// the store, whose requests may fail, lose their answer or arrive late, and whose clocks are wrong. The code of pipeline/commit is
// the product's; the store, the scheduler and what the roles do with it are models. One seed is one schedule.
//
//	go test ./pipeline/simulation                                         some seconds
//	go test ./pipeline/simulation -run Schedules -schedules 1000000 -timeout 0
//	go test ./pipeline/simulation -run Schedules -seed 4711 -schedules 1 -trace
package simulation

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

var (
	schedules = flag.Int("schedules", 1000, "how many schedules to run")
	firstSeed = flag.Uint64("seed", 1, "seed of the first one")
	showTrace = flag.Bool("trace", false, "print each request")
)

// rule is one of the protocol, which a broken variant of it does not keep.
type rule string

const (
	nothingIsBroken            rule = "nothing is broken" // a control: under the same circumstances
	storeIgnoresCondition      rule = "the store overwrites"
	writerKeepsItsEnd          rule = "a writer goes on from its own end after a conflict"
	writerDoesNotLook          rule = "Append does not look for collections"
	builderSkipsCommits        rule = "a builder folds commits that do not start at its checkpoint"
	builderInsists             rule = "a fenced builder publishes what it has as the next generation"
	builderDoesNotLook         rule = "Publish does not look for collections"
	builderIgnoresPins         rule = "a promotion is repeated without deciding again"
	builderForgetsPages        rule = "a generation is published without its pages"
	operatorDoesNotLook        rule = "Promote does not look for collections"
	readerServesHalf           rule = "a query node serves a generation without an object that is gone"
	collectorDoesNotFence      rule = "nothing is published before a collection"
	collectorListsAfterFence   rule = "objects are listed after the fence"
	collectorForgetsJobs       rule = "a builder's collection does not wait for its jobs"
	collectorDoesNotAnnounce   rule = "no record of a collection is put"
	collectorDoesNotLookAgain  rule = "a collector does not look at the channel after its record"
	collectorRemovesUnfolded   rule = "commits beyond the checkpoint are removed"
	collectorRemovesLastCommit rule = "the last folded commit of a partition is removed"
)

// simulate runs one schedule and returns the first violation, "" for none, and how many requests there were.
func simulate(t *testing.T, seed uint64, broken rule, trace io.Writer) (failure string, steps int) {
	uuid.SetRand(rand.NewChaCha8(seedOf(seed)))
	defer uuid.SetRand(nil)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed)
		w.broken, w.trace = broken, trace
		w.cast(seed)
		budget := 40 + w.rng.IntN(160)
		if broken != "" {
			budget *= 2
		}
		w.run(budget)
		if !w.failed() {
			w.end(seed)
		}
		failure, steps = w.failure, w.step
	})
	return failure, steps
}

func seedOf(seed uint64) (s [32]byte) {
	binary.LittleEndian.PutUint64(s[:], seed)
	return s
}

// cast chooses who takes part and how bad it gets, and starts them.
func (w *world) cast(seed uint64) {
	pick := func(p ...float64) float64 { return p[w.rng.IntN(len(p))] }
	w.odds = odds{
		crash: pick(0, 0.005, 0.02), fault: pick(0, 0.03, 0.15), late: pick(0, 0.5), sleep: pick(0, 0.02, 0.1), stick: pick(0, 0.5, 0.9), jump: pick(0, 0.1),
	}
	least := 0 // of operators, collectors and query nodes
	if w.broken != "" {
		w.odds = odds{sleep: pick(0.03, 0.1), stick: pick(0.8, 0.95)} // what shows a broken rule is who sleeps, not what fails
		least = 1
	}
	spec := &schemas.Spec{
		Format: schemas.SpecFormat, Name: "words", Metric: schemas.Cosine, Ladder: []int{64}, Encoder: "e", Vectors: schemas.Float16,
		Topic: schemas.Topic{Name: "embeddings", Cluster: "c", ID: "t", Partitions: 1 + w.rng.IntN(2)}, Shards: 1, Defaults: schemas.Defaults{TargetRecall: 0.95},
	}
	w.pageParts = []int{1, 2, 8}[w.rng.IntN(3)]
	w.direct = true
	if err := commit.Create(context.Background(), &port{process: &process{name: "init", world: w}}, spec); err != nil {
		w.fail("create: %v", err)
	}
	w.direct = false
	n := 0
	add := func(role string) *actor {
		n++
		return w.actor(role+strconv.Itoa(n), n, seed)
	}
	start := func(a *actor, life func(context.Context) error) {
		w.running.Go(func() { a.live(life) })
	}
	for p := range spec.Topic.Partitions {
		end := int64(4 + w.rng.IntN(24))
		for range 1 + w.rng.IntN(3) {
			i := &ingestor{actor: add("ingestor"), partition: p, end: end}
			if w.broken == writerDoesNotLook {
				i.handicap = func(p *port) { p.blind = without("collections/") }
			}
			start(i.actor, i.life)
		}
	}
	for range 1 + w.rng.IntN(2) {
		b := &builder{actor: add("builder"), collects: w.rng.IntN(2) == 0 || w.broken == collectorForgetsJobs}
		switch w.broken {
		case builderDoesNotLook:
			b.handicap = func(p *port) { p.blind = without("collections/") }
		case builderForgetsPages:
			b.handicap = func(p *port) { p.drops = isPage }
		}
		start(b.actor, b.life)
	}
	for range max(least, w.rng.IntN(3)) {
		o := &operator{actor: add("operator"), acts: 1 + w.rng.IntN(4)}
		if w.broken == operatorDoesNotLook {
			o.handicap = func(p *port) { p.blind = without("collections/") }
		}
		start(o.actor, o.life)
	}
	for range max(least, w.rng.IntN(3)) {
		c := &collector{actor: add("collector"), times: 1 + least*3 + w.rng.IntN(5)}
		switch w.broken {
		case collectorDoesNotAnnounce:
			c.handicap = func(p *port) { p.drops = func(key string) bool { return strings.HasPrefix(key, "collections/") } }
		case collectorDoesNotLookAgain:
			c.handicap = blindAfterRecord
		}
		start(c.actor, c.life)
	}
	for range max(least, w.rng.IntN(2)) {
		r := &reader{actor: add("reader")}
		start(r.actor, r.life)
	}
}

// blindAfterRecord hides the channel from a collector between its record and its deletions.
func blindAfterRecord(p *port) {
	p.drops = func(key string) bool {
		if strings.HasPrefix(key, "collections/") {
			p.blind = without("channels/")
		}
		return false
	}
}

// end has one of each role come back when all others are gone and nothing fails any more: whatever the schedule left, all goes on.
func (w *world) end(seed uint64) {
	w.over, w.direct = false, true
	w.log("the end")
	ctx := context.Background()
	n := 100
	begin := func(role string) *actor {
		n++
		a := w.actor("last "+role, n, seed)
		if err := a.begin(ctx); err != nil {
			w.fail("%s: %v", a.name, err)
		}
		return a
	}
	step := func(what string, err error) {
		if err != nil {
			w.fail("at the end, %s: %v", what, err)
		}
	}
	w.endChains(ctx, begin, step)
	for round := range 2 {
		b := &builder{actor: begin("builder")}
		step("build", b.once(ctx))
		r := &reader{actor: begin("reader"), once: true}
		step("read", r.life(ctx))
		if round == 0 && !w.failed() {
			c := &collector{actor: begin("collector"), thorough: true}
			err := c.collect(ctx)
			if errors.Is(err, schemas.ErrTransient) { // it has taken back what a promoter left that died
				err = c.collect(ctx)
			}
			step("collect", err)
		}
		if w.failed() {
			return
		}
	}
	w.endGarbage(step)
}

// endChains has every partition grow, and checks that what is left of each chain is of it.
func (w *world) endChains(ctx context.Context, begin func(string) *actor, step func(string, error)) {
	a := begin("ingestor")
	for p := range a.log.Spec().Topic.Partitions {
		head := w.truth.head(p)
		i := &ingestor{actor: a, partition: p, end: head + 3}
		step("ingest", i.life(ctx))
		if got := w.truth.head(p); got != head+3 {
			w.fail("partition %d ends at %d instead of %d", p, got, head+3)
		}
		for c, err := range a.log.Commits(ctx, p) {
			if err != nil {
				step("read commits", err)
				break
			}
			if there := w.truth.commits[fmt.Sprintf("commits/%06d/%020d", p, c.Start)]; there == nil || there.Writer != c.Writer {
				w.fail("the commit [%d, %d) of %s is shown and is not of the chain", c.Start, c.End, c.Writer)
			}
		}
	}
}

// once folds all, publishes and promotes.
func (b *builder) once(ctx context.Context) error {
	if err := b.load(ctx); err != nil {
		return err
	}
	for p := 0; p < b.log.Spec().Topic.Partitions; {
		if err := b.round(ctx); err != nil {
			return err
		}
		if b.next[strconv.Itoa(p)] == b.world.truth.head(p) {
			p++
		}
	}
	return nil
}

// endGarbage checks that nothing is left which nothing names.
func (w *world) endGarbage(step func(string, error)) {
	for key := range w.objects {
		folder, _, _ := strings.Cut(key, "/")
		switch folder {
		case "index.json", "commits", "channels", "collections":
			continue
		case "manifests":
			generation, err := strconv.ParseInt(key[strings.LastIndexByte(key, '/')+1:], 10, 64)
			step("parse "+key, err)
			if !w.truth.keepsNow(generation) {
				w.fail("%s is left", key)
			}
		default:
			if w.truth.needed(key, w.truth.keepsNow) == nil {
				w.fail("%s is left", key)
			}
		}
	}
}

// TestSchedules: no schedule violates an invariant.
func TestSchedules(t *testing.T) {
	var trace io.Writer
	if *showTrace {
		trace = os.Stdout
	}
	started, requests, failures := time.Now(), 0, 0
	tell := func(n int) {
		took := time.Since(started)
		t.Logf("%d schedules from seed %d on, %d requests, %d violations, in %v", n, *firstSeed, requests, failures, took.Round(time.Second))
	}
	for i := range *schedules {
		if i > 0 && i%50_000 == 0 {
			tell(i)
		}
		failure, steps := simulate(t, *firstSeed+uint64(i), "", trace)
		if requests += steps; failure == "" {
			continue
		}
		t.Errorf("seed %d: %s", *firstSeed+uint64(i), failure)
		if failures++; failures == 20 {
			t.FailNow()
		}
	}
	tell(*schedules)
}

// A seed is a schedule: all of it is the same each time.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(50) {
		var first, second bytes.Buffer
		simulate(t, seed, "", &first)
		simulate(t, seed, "", &second)
		one, _, _ := bytes.Cut(first.Bytes(), []byte("the end")) // after it nothing is random
		two, _, _ := bytes.Cut(second.Bytes(), []byte("the end"))
		if len(one) == 0 || !bytes.Equal(one, two) {
			t.Fatalf("seed %d has two traces:\n%s\n\n%s", seed, one, two)
		}
	}
}

// shown is where a broken rule has been caught: a search begins there, to be over at once for as long as what is simulated has
// not changed.
var shown = map[rule]uint64{
	storeIgnoresCondition: 1, writerKeepsItsEnd: 7, writerDoesNotLook: 313, builderSkipsCommits: 1, builderInsists: 10, builderDoesNotLook: 34,
	builderForgetsPages: 1, builderIgnoresPins: 30, operatorDoesNotLook: 5069, readerServesHalf: 17626, collectorDoesNotFence: 55,
	collectorListsAfterFence: 412, collectorDoesNotAnnounce: 12, collectorRemovesUnfolded: 3, collectorRemovesLastCommit: 1,
}

// Each rule is needed: without it some schedule ends in a violation, and with all of them none does. Not shown are two:
// collectorForgetsJobs, for which schedules are too rare and package build has a test, and collectorDoesNotLookAgain, since
// what that leaves is mended by the next builder that looks at the channel.
func TestBrokenRulesAreCaught(t *testing.T) {
	const most = 20_000
	for seed := range uint64(300) {
		if failure, _ := simulate(t, 1+seed, nothingIsBroken, nil); failure != "" {
			t.Fatalf("seed %d: %s, and %s", 1+seed, nothingIsBroken, failure)
		}
	}
	for broken, from := range shown {
		t.Run(string(broken), func(t *testing.T) {
			for seed := from; seed < from+most; seed++ {
				if failure, _ := simulate(t, seed, broken, nil); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Errorf("%d schedules have not shown it", most)
		})
	}
}
