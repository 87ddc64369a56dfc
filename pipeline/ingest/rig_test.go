package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// patience is how long a test waits for something that should come.
const patience = 30 * time.Second

// edge is the store as the ingestors of a test see it: it can fail, and tells when something was put.
type edge struct {
	store.Bucket
	mu     sync.Mutex
	cond   *sync.Cond
	before func(key string) error // an error is the answer, and nothing is put
	after  func(key string) error // an error is the answer to a put that has happened
}

func newEdge(b store.Bucket) *edge {
	e := &edge{Bucket: b}
	e.cond = sync.NewCond(&e.mu)
	return e
}

// fail sets what happens around the puts from now on.
func (e *edge) fail(before, after func(key string) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before, e.after = before, after
}

func (e *edge) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	e.mu.Lock()
	before, after := e.before, e.after
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cond.Broadcast()
	}()
	if before != nil {
		if err := before(key); err != nil {
			return err
		}
	}
	err := e.Bucket.PutIfAbsent(ctx, key, body)
	if err == nil && after != nil {
		return after(key)
	}
	return err
}

// rig is an index with a topic of its own.
type rig struct {
	t      testing.TB
	client *source.Client
	edge   *edge
	spec   *schemas.Spec
	log    *commit.Log // the test's own view
}

func newRig(t testing.TB, partitions int, bucket store.Bucket, change ...func(*schemas.Spec)) *rig {
	t.Helper()
	client := sourcetest.Topic(t, partitions, map[string]string{"max.message.bytes": fmt.Sprint(64 << 20)})
	r := &rig{t: t, client: client, edge: newEdge(bucket)}
	r.spec = testSpec(append(change, func(s *schemas.Spec) {
		s.Topic = schemas.Topic{Name: client.Options().Topic, Partitions: partitions}
	})...)
	r.create()
	return r
}

// create makes the index.
func (r *rig) create() {
	r.t.Helper()
	if err := commit.Create(r.context(), r.edge.Bucket, r.spec); err != nil {
		r.t.Fatal(err)
	}
	r.log = r.open(r.edge.Bucket)
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) open(b store.Bucket) *commit.Log {
	r.t.Helper()
	log, err := commit.Open(r.context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return log
}

// produce sends messages, each as a record batch of its own unless they are sent together.
func (r *rig) produce(together int, messages ...source.Message) {
	r.t.Helper()
	p := r.client.NewProducer(source.ProducerOptions{BatchMessages: together, Linger: time.Millisecond})
	defer p.Close()
	for chunk := range slices.Chunk(messages, together) {
		if err := p.Send(r.context(), chunk...); err != nil {
			r.t.Fatal(err)
		}
	}
}

// running is an ingestor at work.
type running struct {
	*Ingestor
	cancel context.CancelFunc
	done   chan error
}

// start runs an ingestor in a group of its own, as if it had been given partitions that others hold.
func (r *rig) start(change ...func(*Options)) *running {
	r.t.Helper()
	o := Options{Shards: []*commit.Log{r.open(r.edge)}, Source: r.client, Group: "group-" + uuid.NewString(), FlushAge: 20 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	i, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	run := &running{Ingestor: i, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- i.Run(ctx) }()
	r.t.Cleanup(func() { cancel() })
	return run
}

// stop ends an ingestor as if it had crashed: nothing that is in hand is committed.
func (run *running) stop(t testing.TB) {
	t.Helper()
	run.cancel()
	if err := <-run.done; err != nil {
		t.Errorf("run: %v", err)
	}
}

// await waits until a chain has reached an offset, looking after each put.
func (r *rig) await(partition int, end int64) {
	r.t.Helper()
	r.until(fmt.Sprintf("chain of partition %d to reach %d", partition, end), func() bool { return r.next(partition) >= end })
}

// next is the end of a chain.
func (r *rig) next(partition int) int64 {
	r.t.Helper()
	head, err := r.log.Head(r.context(), partition, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return head.Next
}

// until looks whether something is so after each put, and now and then: what is counted of a put may come after the last one.
func (r *rig) until(what string, so func() bool) {
	r.t.Helper()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.edge.cond.Broadcast()
			case <-ended:
				return
			}
		}
	}()
	deadline := time.Now().Add(patience)
	r.edge.mu.Lock()
	defer r.edge.mu.Unlock()
	for !so() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for the %s", what)
		}
		r.edge.cond.Wait()
	}
}

// counted waits until a metric has a value. An ingestor counts a commit a moment after all can see it, and one that is
// stopped in that moment never does.
func (r *rig) counted(metric prometheus.Collector, want float64) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); testutil.ToFloat64(metric) != want; <-tick.C {
		if time.Now().After(deadline) {
			r.t.Fatalf("counted %v, want %v", testutil.ToFloat64(metric), want)
		}
	}
}

// end is the end of a partition's log.
func (r *rig) end(partition int) int64 {
	r.t.Helper()
	b, err := r.client.Bounds(r.context(), partition)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.End
}

// folded is what a builder would make of a chain: the last version of each id, and everything that was refused.
type folded struct {
	last    map[string]string
	refused []string
}

type version struct {
	segment.Order
	what string
}

func fold(rows, deletes map[string][]version, bad []Quarantined) folded {
	f := folded{last: map[string]string{}}
	for _, of := range []map[string][]version{rows, deletes} {
		for id := range of {
			all := slices.Concat(rows[id], deletes[id])
			newest := slices.MaxFunc(all, func(a, b version) int { return a.Compare(b.Order) })
			f.last[id] = fmt.Sprintf("%+v %s", newest.Order, newest.what)
		}
	}
	for _, q := range bad {
		f.refused = append(f.refused, fmt.Sprintf("%d:%d %s at %d, %d bytes", q.Offset, q.Row, q.Reason, q.Timestamp, len(q.Payload)))
	}
	slices.Sort(f.refused)
	return f
}

func (f folded) check(t testing.TB, want folded) {
	t.Helper()
	if len(f.last) != len(want.last) {
		t.Errorf("%d ids, want %d", len(f.last), len(want.last))
	}
	for id, w := range want.last {
		if f.last[id] != w {
			t.Errorf("id %s is %s, want %s", id, f.last[id], w)
		}
	}
	if !slices.Equal(f.refused, want.refused) {
		t.Errorf("quarantine\n%s, want\n%s", strings.Join(f.refused, "\n"), strings.Join(want.refused, "\n"))
	}
}

// foldChain reads what the chain of a partition names, and checks that the records say what is in it.
func (r *rig) foldChain(partition int) folded {
	r.t.Helper()
	commits, err := r.log.Since(r.context(), partition, 0, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	rows, deletes := map[string][]version{}, map[string][]version{}
	var bad []Quarantined
	vector := make([]float32, r.spec.Dim())
	for _, c := range commits {
		inRange := func(offset int64) {
			if offset < c.Start || offset >= c.End {
				r.t.Errorf("offset %d in [%d, %d)", offset, c.Start, c.End)
			}
		}
		if c.Segment != nil {
			part, err := segment.OpenSegment(r.spec, c.Segment.SHA256, r.get(c.Segment))
			if err != nil {
				r.t.Fatal(err)
			}
			if part.N != c.Rows {
				r.t.Errorf("segment of %d rows, its commit says %d", part.N, c.Rows)
			}
			for i := range part.N {
				inRange(part.OrderAt(i).Offset)
				part.Vector(avx.Generic, i, vector)
				id := strings.Clone(part.IDAt(i))
				rows[id] = append(rows[id], version{part.OrderAt(i), fmt.Sprintf("%v %v", vector, part.Value(0, i))})
			}
		}
		if c.Tombstones != nil {
			stones, err := segment.ReadTombstones(c.Tombstones.Key, r.get(c.Tombstones))
			if err != nil {
				r.t.Fatal(err)
			}
			for _, s := range stones {
				inRange(s.Offset)
				deletes[s.ID] = append(deletes[s.ID], version{s.Order, "deleted"})
			}
		}
		if c.Quarantine != nil {
			refused, err := ReadQuarantine(c.Quarantine.Key, r.get(c.Quarantine))
			if err != nil {
				r.t.Fatal(err)
			}
			for _, q := range refused {
				inRange(q.Offset)
			}
			bad = append(bad, refused...)
		}
	}
	return fold(rows, deletes, bad)
}

func (r *rig) get(o *schemas.Object) []byte {
	r.t.Helper()
	data, err := r.edge.Get(r.context(), o.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// foldLog decodes the log of a partition in one go: what every chain must fold to.
func (r *rig) foldLog(partition int) folded {
	r.t.Helper()
	d, err := NewDecoder(r.spec, avx.Generic, Limits{}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	out := cut{rows: segment.NewRows(r.spec)}
	for next, end := int64(0), r.end(partition); next < end; {
		batch, err := r.client.Fetch(r.context(), partition, next, patience)
		if errors.Is(err, source.ErrTransient) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		for _, record := range batch.Records {
			if err := out.add(d, r.spec.Topic.Name, partition, record); err != nil {
				r.t.Fatal(err)
			}
		}
		next = batch.Next
	}
	rows, deletes := map[string][]version{}, map[string][]version{}
	dim, floats := r.spec.Dim(), floatsOf(out.rows)
	for i, id := range out.rows.IDs {
		rows[id] = append(rows[id], version{out.rows.Orders[i], fmt.Sprintf("%v %v", floats[i*dim:(i+1)*dim], out.rows.Attributes[0].Value(i))})
	}
	for _, s := range out.deletes {
		deletes[s.ID] = append(deletes[s.ID], version{s.Order, "deleted"})
	}
	return fold(rows, deletes, out.bad)
}

// deleteRecords moves the start of the log of partition 0, as retention does.
func (r *rig) deleteRecords(before int64) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.client.Options().Brokers...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = r.spec.Topic.Name
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = before
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	req.TimeoutMillis = 5000
	for _, s := range cl.RequestSharded(r.context(), req) {
		if s.Err != nil {
			r.t.Fatal(s.Err)
		}
		if code := s.Resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
			r.t.Fatalf("delete records: error %d", code)
		}
	}
}

// awaitGroupOffset waits until a group has committed an offset of partition 0.
func (r *rig) awaitGroupOffset(group string, want int64) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.client.Options().Brokers...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = r.spec.Topic.Name, []int32{0}
	req.Topics = append(req.Topics, topic)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		res, err := req.RequestWith(r.context(), cl)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(res.Topics) == 1 && res.Topics[0].Partitions[0].Offset == want {
			return
		}
	}
	r.t.Fatalf("group %s was not told of offset %d", group, want)
}

// publishModel publishes a first generation with a model of two lists.
func (r *rig) publishModel(change func(*schemas.ModelRef)) *model.Model {
	r.t.Helper()
	var sample []float32
	for i := range 64 {
		angle := float64(i) / 10
		sample = append(sample, float32(math.Cos(angle)), float32(math.Sin(angle)), 0, 0)
	}
	mdl, err := model.Train(r.context(), r.spec, sample, 64, 64, model.Options{NList: 2})
	if err != nil {
		r.t.Fatal(err)
	}
	object, err := r.log.PutModel(r.context(), mdl)
	if err != nil {
		r.t.Fatal(err)
	}
	m := &schemas.Manifest{
		Format:     schemas.ManifestFormat,
		Generation: 1,
		Builder:    "test",
		Created:    time.Now().UTC(),
		Model:      &schemas.ModelRef{ID: mdl.ID(), Object: object, TrainedRows: 64, NList: mdl.NList()},
		Checkpoint: map[string]int64{"0": 0},
	}
	if change != nil {
		change(m.Model)
	}
	if err := r.log.Publish(r.context(), m); err != nil {
		r.t.Fatal(err)
	}
	return mdl
}
