// Package cmd holds the commands; this test runs them as a fleet of processes.
package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

const (
	rows       = 30_000
	ids        = 24_000 // so that some are changed, and some deleted
	batchRows  = 500
	partitions = 6
	dim        = 64
)

// fleetTest is a fleet over a broker and a store: the real ones when ADASTREAM_TEST_BROKERS and ADASTREAM_TEST_S3 name
// them, else the embedded broker and a directory.
type fleetTest struct {
	*testing.T
	bin     *fleet.Binaries
	brokers string
	storage string
	topic   string
	client  *source.Client
}

// newFleetTest makes an index too, with more flags of init.
func newFleetTest(t *testing.T, flags ...string) *fleetTest {
	t.Helper()
	f := &fleetTest{T: t, topic: "e2e-" + uuid.NewString()}
	brokers := sourcetest.Brokers(t)
	f.brokers, f.storage = brokers[0], storetest.URL(t)
	var err error
	if f.bin, err = fleet.Build(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if f.client, err = source.New(source.Options{Brokers: brokers, Topic: f.topic}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.client.Close() })
	f.init(f.storage, flags...)
	return f
}

// init makes an index of the topic.
func (f *fleetTest) init(storage string, flags ...string) {
	f.Helper()
	if err := f.tryInit(storage, flags...); err != nil {
		f.Fatal(err)
	}
}

func (f *fleetTest) tryInit(storage string, flags ...string) error {
	out, err := f.bin.Run(f.Context(), "adastream", append([]string{"init", "--store", storage, "--brokers", f.brokers, "--name", "e2e", "--topic", f.topic,
		"--ladder", "16,32,64", "--encoder", "test-1", "--attribute", "n=int64", "--partitions", fmt.Sprint(partitions)}, flags...)...)
	if err == nil {
		f.Log(out)
	}
	return err
}

// start starts a daemon on free ports, and prints its log if the test fails.
func (f *fleetTest) start(name string, args ...string) (p *fleet.Process, ops string) {
	f.Helper()
	ops, err := fleet.Address()
	if err != nil {
		f.Fatal(err)
	}
	args = append([]string{"--store", f.storage, "--ops-listen", ops}, args...)
	if name != "ingestor" {
		args = append([]string{"--cache-dir", f.TempDir()}, args...)
	}
	if p, err = f.bin.Start(name, nil, args...); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		p.Kill()
		if f.Failed() {
			f.Logf("---- log of %s\n%s", name, last(p.Log(), 6000))
		}
	})
	return p, ops
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// truth is a fold of what was produced, by its own simple rules: within a partition the later row wins.
type truth map[string]found

type found struct {
	partition int32
	offset    int64
	row       int32
	vector    []float32
	deleted   bool
}

var messageSchema = func() *arrow.Schema {
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: "test-1"})
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "op", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "n", Type: arrow.PrimitiveTypes.Int32},
		{Name: "vector", Type: arrow.FixedSizeListOf(dim, arrow.PrimitiveTypes.Float32)},
	}, &md)
}()

// batch makes random rows: new ids in order, and changes and deletes of those before.
func batch(rng *rand.Rand, from, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, messageSchema)
	defer b.Release()
	list := b.Field(3).(*array.FixedSizeListBuilder)
	for i := from; i < from+n; i++ {
		id, op := int64(i), ""
		if i >= ids || i%17 == 3 {
			id = int64(rng.IntN(min(i+1, ids)))
			if rng.IntN(4) == 0 {
				op = schemas.OpDelete
			}
		}
		b.Field(0).(*array.Int64Builder).Append(id)
		if op == "" {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(op)
		}
		b.Field(2).(*array.Int32Builder).Append(int32(i))
		list.Append(true)
		for _, x := range vector(rng) {
			list.ValueBuilder().(*array.Float32Builder).Append(x)
		}
	}
	return b.NewRecordBatch()
}

func vector(rng *rand.Rand) []float32 {
	center := rand.New(rand.NewPCG(uint64(rng.IntN(200)), 5))
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32((center.NormFloat64() + 0.5*rng.NormFloat64()) * math.Pow(0.97, float64(i)))
	}
	return v
}

// readTopic folds the topic with nothing of the product but the fetch: messages are read by Arrow's own reader.
func (f *fleetTest) readTopic() (truth, map[string]int64) {
	f.Helper()
	all, ends := truth{}, map[string]int64{}
	for p := range partitions {
		bounds, err := f.client.Bounds(f.Context(), p)
		if err != nil {
			f.Fatal(err)
		}
		for at := bounds.Start; at < bounds.End; {
			page, err := f.client.Fetch(f.Context(), p, at, time.Second)
			if err != nil {
				f.Fatal(err)
			}
			for _, record := range page.Records {
				f.foldMessage(all, int32(p), record)
			}
			at = page.Next
		}
		ends[fmt.Sprint(p)] = bounds.End
	}
	return all, ends
}

func (f *fleetTest) foldMessage(all truth, partition int32, record source.Record) {
	f.Helper()
	r, err := ipc.NewReader(bytes.NewReader(record.Value))
	if err != nil {
		f.Fatal(err)
	}
	defer r.Release()
	row := int32(0)
	for r.Next() {
		b := r.RecordBatch()
		vectors := b.Column(3).(*array.FixedSizeList).ListValues().(*array.Float32).Float32Values()
		for i := range int(b.NumRows()) {
			op := b.Column(1).(*array.String)
			id := fmt.Sprint(b.Column(0).(*array.Int64).Value(i))
			all[id] = found{partition, record.Offset, row, slices.Clone(vectors[i*dim : (i+1)*dim]), op.IsValid(i) && op.Value(i) == schemas.OpDelete}
			row++
		}
	}
}

// Three kinds of daemons as processes, one ingestor and the builder killed while it all runs: the final generation holds
// each id exactly once with its last version, as an independent fold of the topic says, and no search failed.
func TestFleetSurvivesKills(t *testing.T) {
	f := newFleetTest(t)
	ingestor := func() *fleet.Process {
		p, _ := f.start("ingestor", "--brokers", f.brokers, "--flush-age", "100ms")
		return p
	}
	first := ingestor()
	ingestor()
	builder, _ := f.start("builder", "--min-train-rows", "4000")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	query, ops := f.start("query", "--listen", api, "--poll-every", "50ms")

	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	rng := rand.New(rand.NewPCG(42, 1))
	var client searcher
	stopClient := client.run(t, "http://"+api, ops)
	for from := 0; from < rows; from += batchRows {
		if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
			t.Fatal(err)
		}
		switch from {
		case rows / 3 / batchRows * batchRows:
			awaitMember(t, first)
			first.Kill()
		case rows / 2 / batchRows * batchRows:
			first = ingestor()
			builder.Kill()
			builder, _ = f.start("builder", "--min-train-rows", "4000")
		}
	}
	want, ends := f.readTopic()
	m := f.await(ends)
	f.checkGeneration(m, want)
	f.checkServed("http://"+api, m, want)
	stopClient()
	if n := client.failed.Load(); n > 0 || client.asked.Load() == 0 {
		t.Errorf("%d of %d searches failed, the first: %v", n, client.asked.Load(), client.first.Load())
	}
	t.Logf("%d searches, %d generations, %d live rows", client.asked.Load(), m.Generation, m.LiveRows)
	for _, p := range []*fleet.Process{first, builder, query} {
		if err := p.Stop(time.Minute); err != nil {
			t.Errorf("%s at SIGTERM: %v", p.Name, err)
		}
	}
}

// awaitMember waits until an ingestor is in its group: the embedded broker, unlike Kafka, never gives up a member that dies
// between its joining and its first sync.
func awaitMember(t *testing.T, ingestor *fleet.Process) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(ingestor.Log(), "group generation started"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("ingestor is in no group:\n%s", ingestor.Log())
		}
	}
}

// searcher asks all along, from the first generation on.
type searcher struct {
	asked, failed atomic.Int64
	first         atomic.Value // error
}

func (s *searcher) run(t *testing.T, api, ops string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if fleet.AwaitOK(ctx, "http://"+ops+"/readyz") != nil {
			return
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for ctx.Err() == nil {
			_, err := post(ctx, api, map[string]any{"vector": vector(rng)})
			if ctx.Err() != nil {
				return
			}
			s.asked.Add(1)
			if err != nil {
				s.failed.Add(1)
				s.first.CompareAndSwap(nil, err)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

type answer struct {
	Hits []struct {
		ID    string
		Score float64
	}
	Snapshot struct{ Generation int64 }
}

func post(ctx context.Context, api string, body any) (*answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/v1/search", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, raw)
	}
	a := new(answer)
	return a, json.Unmarshal(raw, a)
}

// await waits for a promoted generation, with a model, that has folded everything.
func (f *fleetTest) await(ends map[string]int64) *schemas.Manifest {
	f.Helper()
	return f.awaitOf(f.shards(f.storage)[0], ends)
}

// awaitOf is await for one shard.
func (f *fleetTest) awaitOf(log *commit.Log, ends map[string]int64) *schemas.Manifest {
	f.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		c, err := log.Channel(f.Context(), 0)
		if err != nil {
			f.Fatal(err)
		}
		if c == nil {
			continue
		}
		m, err := log.Manifest(f.Context(), c.Generation)
		if err != nil {
			f.Fatal(err)
		}
		done := m.Model != nil && len(m.Chunks) > 0
		for _, p := range log.Partitions() {
			done = done && m.Checkpoint[fmt.Sprint(p)] >= ends[fmt.Sprint(p)]
		}
		if done {
			return m
		}
	}
	f.Fatalf("no generation has folded everything within two minutes, up to %v", ends)
	return nil
}

func (f *fleetTest) shards(storage string) []*commit.Log {
	f.Helper()
	bucket, err := store.Open(f.Context(), storage, store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	shards, err := commit.OpenShards(f.Context(), bucket)
	if err != nil {
		f.Fatal(err)
	}
	return shards
}

// checkGeneration reads a generation's rows from the store and compares them with the truth.
func (f *fleetTest) checkGeneration(m *schemas.Manifest, want truth) {
	f.Helper()
	f.checkRows(f.shards(f.storage)[0], m, want)
}

// checkRows is checkGeneration for one shard.
func (f *fleetTest) checkRows(log *commit.Log, m *schemas.Manifest, want truth) {
	f.Helper()
	cache, err := store.NewCache(filepath.Join(f.TempDir(), "check"), log.Bucket(), store.CacheOptions{})
	if err != nil {
		f.Fatal(err)
	}
	dead, err := replica.Dead(f.Context(), cache, m.Dead)
	if err != nil {
		f.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(p *replica.Part, err error) {
		if err != nil {
			f.Fatal(err)
		}
		defer p.Release()
		v := make([]float32, dim)
		for row := range p.N {
			if d := dead[p.ID]; d != nil && d.ContainsInt(row) {
				continue
			}
			id, order := p.IDAt(row), p.OrderAt(row)
			w, ok := want[id]
			p.Vector(0, row, v)
			switch {
			case seen[id]:
				f.Errorf("%s is there twice", id)
			case !ok || w.deleted:
				f.Errorf("%s is there, it was deleted or never sent", id)
			case order != segment.Order{Timestamp: order.Timestamp, Partition: w.partition, Offset: w.offset, Row: w.row} || !slices.Equal(v, w.vector):
				f.Errorf("%s is version %+v, want partition %d offset %d row %d", id, order, w.partition, w.offset, w.row)
			}
			seen[string([]byte(id))] = true
		}
	}
	for _, c := range m.Chunks {
		check(replica.ChunkWithVectors(f.Context(), cache, log.Spec(), c))
	}
	for _, s := range m.Segments {
		check(replica.Segment(f.Context(), cache, log.Spec(), s))
	}
	live := 0
	for id, w := range want {
		if !w.deleted && log.Spec().ShardOf(int(w.partition)) == log.Shard() {
			live++
			if !seen[id] {
				f.Errorf("%s is lost", id)
			}
		}
	}
	if int64(live) != m.LiveRows {
		f.Errorf("%d live rows, want %d", m.LiveRows, live)
	}
}

// checkServed asks the query node, once it serves m, for rows by their own vectors, and for deleted ones by id.
func (f *fleetTest) checkServed(api string, m *schemas.Manifest, want truth) {
	f.Helper()
	rng := rand.New(rand.NewPCG(3, 3))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a, err := post(f.Context(), api, map[string]any{"vector": vector(rng)})
		if err != nil {
			f.Fatal(err)
		}
		if a.Snapshot.Generation >= m.Generation {
			break
		}
		if time.Now().After(deadline) {
			f.Fatalf("query node serves generation %d, want %d", a.Snapshot.Generation, m.Generation)
		}
	}
	f.checkFound(api, want)
}

// checkFound asks for rows by their own vectors, and for deleted ones by id.
func (f *fleetTest) checkFound(api string, want truth) {
	f.Helper()
	asked := 0
	for id, w := range want {
		if asked++; asked > 300 {
			break
		}
		if w.deleted {
			if err := missing(f.Context(), api, id); err != nil {
				f.Error(err)
			}
			continue
		}
		a, err := post(f.Context(), api, map[string]any{"vector": w.vector, "k": 1, "exact": true}) // a plan may miss one
		if err != nil {
			f.Fatal(err)
		}
		if len(a.Hits) != 1 || a.Hits[0].ID != id || a.Hits[0].Score < 0.99 { // int8 rows are good to about 0.002
			f.Errorf("the nearest of %s is %+v", id, a.Hits)
		}
	}
}

func missing(ctx context.Context, api, id string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/v1/vectors/"+id, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		return errors.New(id + " was deleted, the node answers " + response.Status)
	}
	return nil
}
