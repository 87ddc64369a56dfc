package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// traffic is n messages that use all that a message can have: updates, deletes, versions that go back, bad rows, rubbish,
// compression, several batches, timestamps out of order.
func traffic(t testing.TB, n int, seed uint64) []source.Message {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	full := messageSchema(field("id", utf8Type), field("op", dictType), field("version", int64Type), field("title", utf8Type), field("vector", vectorType4))
	messages := make([]source.Message, n)
	for i := range messages {
		at := time.UnixMilli(1_700_000_000_000 + int64(i*10+rng.IntN(200)))
		messages[i] = source.Message{Time: at, Value: []byte("rubbish")}
		if rng.IntN(12) == 0 {
			continue
		}
		schema := full
		batches := make([]arrow.RecordBatch, 1+rng.IntN(2))
		for b := range batches {
			var rows []string
			for range rng.IntN(6) {
				op, version, x := "upsert", "null", rng.IntN(4) // x = 0 makes a zero vector
				if rng.IntN(5) == 0 {
					op = "delete"
				}
				if rng.IntN(4) == 0 {
					version = fmt.Sprint(rng.IntN(5))
				}
				rows = append(rows, fmt.Sprintf(`{"id":"id-%d","op":%q,"version":%s,"title":"%d","vector":[%d,0,0,0]}`, rng.IntN(20), op, version, rng.IntN(100), x))
			}
			batches[b] = batchOf(t, schema, "["+strings.Join(rows, ",")+"]")
		}
		options := [][]ipc.Option{nil, {ipc.WithLZ4()}, {ipc.WithZstd()}}[rng.IntN(3)]
		messages[i].Value = streamOf(t, schema, batches, options...)
	}
	return messages
}

// TestFoldIsTheSame_whateverTheCuts: how a log is batched, fetched and cut does not matter for what it folds to.
func TestFoldIsTheSame_whateverTheCuts(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	messages := traffic(t, 120, 7)
	r.produce(1, messages[:40]...)
	r.produce(7, messages[40:]...)
	want, end := r.foldLog(0), r.end(0)
	if len(want.last) < 10 || len(want.refused) < 10 {
		t.Fatalf("traffic of %d ids and %d bad rows shows nothing", len(want.last), len(want.refused))
	}
	small := sibling(t, r.client, 1000)
	for name, change := range map[string]func(*Options){
		"one cut":         func(o *Options) { o.FlushAge = time.Second },
		"a row":           func(o *Options) { o.FlushRows = 1 },
		"seven rows":      func(o *Options) { o.FlushRows = 7 },
		"bytes":           func(o *Options) { o.FlushBytes = 3000 },
		"age":             func(o *Options) { o.FlushAge = time.Nanosecond },
		"little fetches":  func(o *Options) { o.Source = small },
		"little and rows": func(o *Options) { o.Source = small; o.FlushRows = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			again := &rig{t: t, client: r.client, edge: newEdge(store.NewMemory()), spec: r.spec}
			again.create()
			run := again.start(change)
			again.await(0, end)
			run.stop(t)
			again.foldChain(0).check(t, want)
		})
	}
}

// TestFoldIsTheSame_whereverItCrashes: an ingestor that crashes before or after any of its puts, or gets no answer, is
// followed by another one, and nothing is lost or doubled.
func TestFoldIsTheSame_whereverItCrashes(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(5, traffic(t, 60, 11)...)
	want, end := r.foldLog(0), r.end(0)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			again := &rig{t: t, client: r.client, edge: newEdge(store.NewMemory()), spec: r.spec}
			again.create()
			rng := rand.New(rand.NewPCG(seed, 2))
			crashes := 0
			for again.next(0) < end {
				var left atomic.Int32
				left.Store(1 + rng.Int32N(12))
				strike := func(string) error {
					if left.Add(-1) <= 0 {
						return fmt.Errorf("no answer: %w", store.ErrUnknown)
					}
					return nil
				}
				if rng.IntN(2) == 0 {
					again.edge.fail(strike, nil)
				} else {
					again.edge.fail(nil, strike)
				}
				run := again.start(func(o *Options) { o.FlushRows = 10 })
				again.until("crash or the end", func() bool { return left.Load() <= 0 || again.next(0) >= end })
				run.stop(t)
				crashes++
			}
			crashes-- // the last one was none
			t.Logf("%d crashes", crashes)
			if crashes == 0 {
				t.Error("it never crashed")
			}
			again.foldChain(0).check(t, want)
		})
	}
}

// TestRace_onlyHarmlessWork: two ingestors believe that they own the partition. Each first commit waits for that of the
// other, so at least one of them is fenced.
func TestRace_onlyHarmlessWork(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(3, traffic(t, 80, 13)...)
	want, end := r.foldLog(0), r.end(0)

	var both sync.WaitGroup
	both.Add(2)
	var arrivals atomic.Int32
	r.edge.fail(func(key string) error {
		if strings.HasSuffix(key, "/00000000000000000000") && strings.HasPrefix(key, "commits/") && arrivals.Add(1) <= 2 {
			both.Done()
			both.Wait()
		}
		return nil
	}, nil)
	registries := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	var runs []*running
	for i := range registries {
		runs = append(runs, r.start(func(o *Options) { o.FlushRows, o.Registry = 5+i, registries[i] }))
	}
	r.await(0, end)
	// One that is stopped before it has found that out never counts it.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); testutil.ToFloat64(runs[0].metrics.fenced)+testutil.ToFloat64(runs[1].metrics.fenced) == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("nobody was fenced")
		}
	}
	for _, run := range runs {
		run.stop(t)
	}
	r.foldChain(0).check(t, want)
}

// TestLostAnswers_noDoubleCommit: every third put happens without an answer.
func TestLostAnswers_noDoubleCommit(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(5, traffic(t, 20, 17)...)
	want, end := r.foldLog(0), r.end(0)
	var puts atomic.Int32
	r.edge.fail(nil, func(string) error {
		if puts.Add(1)%3 == 0 {
			return fmt.Errorf("no answer: %w", store.ErrUnknown)
		}
		return nil
	})
	run := r.start(func(o *Options) { o.FlushRows = 10 })
	r.await(0, end)
	run.stop(t)
	if got := testutil.ToFloat64(run.metrics.transient.WithLabelValues("append")) + testutil.ToFloat64(run.metrics.transient.WithLabelValues("put")); got == 0 {
		t.Error("no transient error was counted")
	}
	r.foldChain(0).check(t, want)
}

// TestQuarantineAlone_advances: a range without a single good row is committed too.
func TestQuarantineAlone_advances(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1, source.Message{Value: []byte("rubbish")}, source.Message{Value: nil})
	run := r.start()
	r.await(0, 2)
	r.counted(run.metrics.quarantined.WithLabelValues(schemas.ReasonMalformed), 2)
	run.stop(t)
	got := r.foldChain(0)
	if len(got.refused) != 2 || len(got.last) != 0 {
		t.Errorf("folded to %+v", got)
	}
}

// TestEmptyChain_logWithoutItsBeginning: what was deleted before the index was made is a gap that nobody need accept.
func TestEmptyChain_logWithoutItsBeginning(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1, traffic(t, 10, 19)...)
	r.deleteRecords(4)
	run := r.start()
	r.await(0, 10)
	run.stop(t)
	commits, err := r.log.Since(r.context(), 0, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c := commits[0]; !c.Gap || c.Start != 0 || c.End != 4 {
		t.Errorf("first commit %+v, want a gap [0, 4)", c)
	}
}

// stopped waits for a partition to stop, and returns why.
func (r *rig) stopped(run *running, partition int) error {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		for _, s := range run.board.status() {
			if s.partition == partition && s.state == stopped {
				return s.err
			}
		}
	}
	r.t.Fatalf("partition %d did not stop: %+v", partition, run.board.status())
	return nil
}

// TestRetentionOverrun_stopsAlone: the partition that lost offsets stops and says so; the other goes on. With --accept-gap
// it goes on as well.
func TestRetentionOverrun_stopsAlone(t *testing.T) {
	r := newRig(t, 2, store.NewMemory())
	on := func(partition int, messages []source.Message) []source.Message {
		for i := range messages {
			messages[i].Partition = partition
		}
		return messages
	}
	r.produce(1, on(0, traffic(t, 5, 23))...)
	run := r.start()
	r.await(0, 5)
	run.stop(t)
	r.produce(1, on(0, traffic(t, 5, 29))...)
	r.deleteRecords(8)
	r.produce(1, on(1, traffic(t, 5, 31))...)

	run = r.start()
	r.await(1, 5)
	err := r.stopped(run, 0)
	var gap *GapError
	if !errors.As(err, &gap) || !gap.Overrun() || gap.Next != 5 || gap.Start != 8 || gap.End != 10 {
		t.Fatalf("stopped with %v", err)
	}
	for _, part := range []string{"[5, 8)", "--accept-gap", r.spec.Topic.Name + "/0"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if ready := run.Ready(); !errors.Is(ready, err) {
		t.Errorf("ready says %v", ready)
	}
	if stopped := run.Stopped(); len(stopped) != 1 || !errors.Is(stopped[0], err) {
		t.Errorf("stopped are %v", stopped)
	}
	run.stop(t)

	run = r.start(func(o *Options) { o.AcceptGap = true })
	r.await(0, 10)
	run.stop(t)
	commits, err := r.log.Since(r.context(), 0, 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c := commits[0]; !c.Gap || c.End != 8 {
		t.Errorf("commit %+v, want a gap [5, 8)", c)
	}
}

// TestTransactions: aborted records are nobody's, and ranges of markers alone are committed too.
func TestTransactions(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.client.Options().Brokers...), kgo.DefaultProduceTopic(r.spec.Topic.Name), kgo.TransactionalID("tx-"+r.spec.Topic.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(r.context(), &kgo.Record{Value: plainMessage(t)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(r.context(), end); err != nil {
			t.Fatal(err)
		}
	}
	run := r.start(func(o *Options) { o.FlushRows = 1 })
	r.await(0, 6)
	r.counted(run.metrics.rows, 3) // those of the transaction that was committed
	run.stop(t)
}

// TestModel_isFollowed: segments are written with the newest generation's model, also if it comes while running.
func TestModel_isFollowed(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1, source.Message{Value: plainMessage(t)})
	run := r.start(func(o *Options) { o.FollowEvery = time.Millisecond })
	r.await(0, 1)

	mdl := r.publishModel(nil)
	for run.followers[0].Model() == nil {
		r.produce(1, source.Message{Value: plainMessage(t)})
	}
	end := r.end(0) + 1
	r.produce(1, source.Message{Value: plainMessage(t)})
	r.await(0, end)
	run.stop(t)
	commits, err := r.log.Since(r.context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if first, last := commits[0].Model, commits[len(commits)-1].Model; first != "" || last != mdl.ID() {
		t.Errorf("segments are of models %q and %q, want none and %s", first, last, mdl.ID())
	}
	r.foldChain(0)
}

// TestCorruptModel_doesNotStopIngestion: segments are searched whole then, and the ingestor says why.
func TestCorruptModel_doesNotStopIngestion(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.publishModel(func(ref *schemas.ModelRef) { ref.SHA256 = strings.Repeat("0", 64) })
	r.produce(1, source.Message{Value: plainMessage(t)})
	run := r.start()
	r.await(0, 1)
	if err := run.Ready(); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("ready says %v", err)
	}
	run.stop(t)
}

// TestCorruptChain_stops: what cannot be is not retried.
func TestCorruptChain_stops(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	if err := r.edge.PutIfAbsent(r.context(), fmt.Sprintf("commits/000000/%020d", 7), []byte(`{"format":1,"partition":0,"start":7,"end":9,"writer":"x","rows":0,"deletes":0,"watermark":0,"produced":0,"created":"2026-01-01T00:00:00Z"}`)); err != nil {
		t.Fatal(err)
	}
	run := r.start()
	if err := r.stopped(run, 0); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("stopped with %v", err)
	}
	run.stop(t)
}

// TestIdlePartition_cutsByAge: a cut that nothing follows is committed all the same, and the group is told.
func TestIdlePartition_cutsByAge(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	run := r.start(func(o *Options) { o.FlushAge = 50 * time.Millisecond })
	for i := range int64(3) {
		r.produce(1, source.Message{Value: plainMessage(t)})
		r.await(0, i+1)
	}
	if err := run.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	r.awaitGroupOffset(run.o.Group, 3)
	run.stop(t)
	// An ingestor that finds nothing to do tells the truth too, for its predecessor may have had no time to.
	heir := r.start()
	r.awaitGroupOffset(heir.o.Group, 3)
	heir.stop(t)
	// Counted after the commit is there for all to see: only an ingestor that has ended has counted all.
	if got := testutil.ToFloat64(run.metrics.rows); got != 9 {
		t.Errorf("%v rows counted, want 9", got)
	}
	commits, err := r.log.Since(r.context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range commits[1:] {
		if c.Watermark < commits[i].Watermark || c.Produced > c.Watermark || c.Produced == 0 {
			t.Errorf("commit %d: watermark %d, produced %d after %d", i+1, c.Watermark, c.Produced, commits[i].Watermark)
		}
	}
}

// TestQuietPartition_cutsSooner: a record that nothing follows is committed long before it is as old as the flush age allows, and the one after
// it, but not sooner than that after the first.
func TestQuietPartition_cutsSooner(t *testing.T) {
	const age = 4 * time.Second
	r := newRig(t, 1, store.NewMemory())
	run := r.start(func(o *Options) { o.FlushAge = age })
	r.until("the ingestor to be ready", func() bool { return run.Ready() == nil })
	r.produce(1, source.Message{Value: plainMessage(t)})
	sent := time.Now()
	r.await(0, 1)
	if took := time.Since(sent); took > age-time.Second {
		t.Errorf("the first record was committed after %v", took)
	}
	committed := time.Now()
	r.produce(1, source.Message{Value: plainMessage(t)})
	r.await(0, 2)
	if apart := time.Since(committed); apart < age-time.Second {
		t.Errorf("the second commit came %v after the first", apart)
	}
	run.stop(t)
}

// TestAtEnd_isSaid: only the commit that reaches the end of the log says so.
func TestAtEnd_isSaid(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(3, source.Message{Value: plainMessage(t)}, source.Message{Value: plainMessage(t)}, source.Message{Value: plainMessage(t)})
	run := r.start(func(o *Options) { o.FlushRows = 1 })
	r.await(0, 3)
	run.stop(t)
	commits, err := r.log.Since(r.context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commits {
		if c.AtEnd != (c.End == 3) {
			t.Errorf("commit of [%d, %d) says at_end: %v", c.Start, c.End, c.AtEnd)
		}
	}
}

func TestReady_beforeTheGroup(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	i, err := New(Options{Shards: []*commit.Log{r.log}, Source: r.client, Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Ready(); err == nil || !strings.Contains(err.Error(), "consumer group") {
		t.Errorf("ready says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Run(ctx); err != nil {
		t.Errorf("run with an ended context: %v", err)
	}
}

func TestOptions(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	other := sourcetest.TopicOn(t, source.Options{Brokers: r.client.Options().Brokers}, 1, nil)
	for _, test := range []struct {
		name    string
		options Options
		faults  []string
	}{
		{"zero", Options{}, []string{"ingestor shards: 0, allowed: all of an index", "ingestor source: missing", "ingestor group: empty"}},
		{"other topic", Options{Shards: []*commit.Log{r.log}, Source: other, Group: "g"}, []string{"the one of the index"}},
		{"negative", Options{Shards: []*commit.Log{r.log}, Source: r.client, Group: "g", FlushAge: -1, FlushRows: -2, FlushBytes: -3, MaxBuffered: -4, FollowEvery: -5, ProbeEvery: -7, Limits: Limits{MaxRows: -6}},
			[]string{"flush age: -1", "flush rows: -2", "flush bytes: -3", "max buffered: -4", "follow interval: -5", "probe interval: -7", "limit of rows: -6"}},
		{"good", Options{Shards: []*commit.Log{r.log}, Source: r.client, Group: "g"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.options.Validate()
			if (err == nil) != (test.faults == nil) {
				t.Fatalf("got %v", err)
			}
			for _, f := range test.faults {
				if !strings.Contains(err.Error(), f) {
					t.Errorf("%q does not say %q", err, f)
				}
			}
		})
	}
	o := Options{}.withDefaults()
	for partitions, want := range map[int]int64{0: 32 << 20, 1: 32 << 20, 16: 32 << 20, 64: 8 << 20, 10_000: 1 << 20} {
		if got := o.flushBytes(partitions); got != want {
			t.Errorf("with %d partitions a cut has %d bytes, want %d", partitions, got, want)
		}
	}
}

// sibling is a client like c that fetches at most so many bytes.
func sibling(t testing.TB, c *source.Client, maxBytes int) *source.Client {
	t.Helper()
	o := c.Options()
	o.MaxBytes = maxBytes
	s, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
