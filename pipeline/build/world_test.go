package build

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	testDim        = 32
	testPartitions = 3
)

func testSpec() *schemas.Spec {
	s := schemas.Spec{Name: "test", Ladder: []int{8, 16, testDim}, Encoder: "e", Attributes: []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}},
		Topic: schemas.Topic{Name: "t", Partitions: testPartitions}, Defaults: schemas.Defaults{TargetRecall: 0.9}}.WithDefaults()
	return &s
}

func level(t testing.TB) avx.Level {
	t.Helper()
	l, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// world is an index in memory together with the truth that it has to show.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	bucket store.Bucket
	log    *commit.Log
	level  avx.Level
	clock  int64 // ms that timestamps are ahead of offsets, beside a second
	next   [testPartitions]int64
	newest map[string]version // by id, the last version by order, deleted ones too
	topics [2]int             // that vectors are around: the first of them and how many
	noise  float64            // of vectors around their topic
	turn   func(v []float32) []float32

	pageParts int // of pages of builders, 0 for as many as they have
}

type version struct {
	order   segment.Order
	deleted bool
	vector  []float32
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	return newWorldOf(t, seed, testSpec())
}

func newWorldOf(t testing.TB, seed uint64, spec *schemas.Spec) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), bucket: store.NewMemory(), level: level(t), newest: map[string]version{}, topics: [2]int{0, 40}, noise: 0.4,
		turn: func(v []float32) []float32 { return v }}
	w.create(spec)
	return w
}

// create makes the index.
func (w *world) create(spec *schemas.Spec) {
	w.t.Helper()
	if err := commit.Create(w.t.Context(), w.bucket, spec); err != nil {
		w.t.Fatal(err)
	}
	w.log, w.next = w.open(), [testPartitions]int64{}
}

// keys are the names of all objects.
func (w *world) keys() map[string]bool {
	w.t.Helper()
	keys := map[string]bool{}
	for info, err := range w.bucket.List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys[info.Key] = true
	}
	return keys
}

func (w *world) open() *commit.Log {
	w.t.Helper()
	l, err := commit.Open(w.t.Context(), w.bucket)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.pageParts > 0 {
		l = l.WithPages(w.pageParts)
	}
	return l
}

func (w *world) vector() []float32 {
	v := make([]float32, testDim)
	center := rand.New(rand.NewPCG(uint64(w.topics[0]+w.rng.IntN(w.topics[1])), 1))
	for i := range v {
		v[i] = float32((center.NormFloat64() + w.noise*w.rng.NormFloat64()) * math.Pow(0.95, float64(i)))
	}
	return w.turn(v)
}

// ingest commits n random changes of one partition, as an ingestor with the model mdl would: upserts and deletes, some
// with versions, over ids of which some move between partitions.
func (w *world) ingest(partition, n, ids int, mdl *model.Model) {
	w.t.Helper()
	rows := segment.NewRows(w.log.Spec())
	var stones []segment.Tombstone
	start := w.next[partition]
	for i := range n {
		k := w.rng.IntN(ids)
		id := fmt.Sprintf("id-%d", k)
		if w.rng.IntN(50) > 0 && k%testPartitions != partition { // mostly the producer keeps the rule
			id = fmt.Sprintf("id-%d", k-k%testPartitions+partition)
		}
		order := segment.Order{Timestamp: w.clock + 1000 + start + int64(i), Partition: int32(partition), Offset: start + int64(i)}
		if w.rng.IntN(10) == 0 {
			order.Version = int64(w.rng.IntN(4))
		}
		v := version{order: order, deleted: w.rng.IntN(12) == 0, vector: w.vector()}
		if v.deleted {
			stones = append(stones, segment.Tombstone{ID: id, Order: order})
		} else {
			rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, order)
			rows.AppendFloats(avx.Generic, v.vector)
			rows.Attributes[0].AppendNull()
		}
		if old, ok := w.newest[id]; !ok || order.Compare(old.order) > 0 {
			w.newest[id] = v
		}
	}
	w.append(partition, start+int64(n), 1000+start+int64(n), rows, stones, mdl)
}

// append adds a commit to the chain of a partition that ends at an offset, with the upserts and deletes given, as an ingestor
// with the model mdl would.
func (w *world) append(partition int, end, watermark int64, rows *segment.Rows, stones []segment.Tombstone, mdl *model.Model) {
	w.t.Helper()
	start := w.next[partition]
	c := &schemas.Commit{Format: schemas.CommitFormat, Partition: partition, Start: start, End: end, Rows: rows.Len(), Deletes: len(stones),
		Watermark: watermark, Produced: watermark, Writer: fmt.Sprintf("w-%d-%d", partition, start), Created: time.Now().UTC()}
	put := func(body []byte, err error, put func(context.Context, int, int64, []byte) (schemas.Object, error)) *schemas.Object {
		if err != nil {
			w.t.Fatal(err)
		}
		o, err := put(w.t.Context(), partition, start, body)
		if err != nil {
			w.t.Fatal(err)
		}
		return &o
	}
	if rows.Len() > 0 {
		body, err := segment.Write(w.log.Spec(), mdl, w.level, rows)
		c.Segment = put(body, err, w.log.PutSegment)
		if mdl != nil {
			c.Model = mdl.ID()
		}
	}
	if len(stones) > 0 {
		body, err := segment.WriteTombstones(stones)
		c.Tombstones = put(body, err, w.log.PutTombstones)
	}
	if err := w.log.Append(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	w.next[partition] = end
}

func (w *world) cache() *store.Cache {
	w.t.Helper()
	c, err := store.NewCache(w.t.TempDir(), w.bucket, store.CacheOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// with adds the index to the options of a builder.
func (w *world) with(o Options) Options {
	w.t.Helper()
	o.Log, o.Cache, o.Level = w.open(), w.cache(), w.level
	return o
}

// builder starts a builder with small thresholds; stop waits for its end.
func (w *world) builder(o Options) (b *Builder, stop func()) {
	w.t.Helper()
	o.PublishEvery, o.MinTrainRows, o.RewriteRows, o.ChunkBytes, o.Threads = time.Millisecond, 300, 150, 64<<10, 3
	return w.start(o)
}

// start starts a builder; stop waits for its end.
func (w *world) start(o Options) (b *Builder, stop func()) {
	w.t.Helper()
	b, err := New(w.with(o))
	if err != nil {
		w.t.Fatal(err)
	}
	return b, w.running(b)
}

// running runs a builder; stop waits for its end.
func (w *world) running(b *Builder) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("builder: %v", err)
		}
	}
}

// settled waits for a generation whose checkpoint is the end of every chain.
func (w *world) settled() *schemas.Manifest {
	w.t.Helper()
	return w.settledWith(func(*schemas.Manifest) bool { return true })
}

func (w *world) settledWith(good func(*schemas.Manifest) bool) *schemas.Manifest {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		m, err := w.log.Latest(w.t.Context(), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		if m == nil {
			continue
		}
		done := good(m)
		for p, next := range w.next {
			done = done && m.Checkpoint[fmt.Sprint(p)] == next
		}
		if done {
			return m
		}
	}
	w.t.Fatal("no generation is as wanted within a minute")
	return nil
}

// open opens a generation as a reader would.
func (w *world) snapshot(m *schemas.Manifest) *snapshot.Snapshot {
	w.t.Helper()
	s, err := replica.Snapshot(w.t.Context(), w.cache(), w.log.Spec(), w.level, m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// check compares a generation with the truth: each id once, with its last version, and the same exact neighbours.
func (w *world) check(m *schemas.Manifest) {
	w.t.Helper()
	s := w.snapshot(m)
	got := map[string]segment.Order{}
	for i, p := range s.Parts() {
		for row := range p.N {
			if s.Dead(i).Has(row) {
				continue
			}
			id := p.IDAt(row)
			if _, twice := got[id]; twice {
				w.t.Errorf("generation %d: %s is live twice", m.Generation, id)
			}
			got[id] = p.OrderAt(row)
		}
	}
	w.checkLists(m, s)
	want := map[string]segment.Order{}
	var ids []string
	var vectors []float32
	for id, v := range w.newest {
		if !v.deleted {
			want[id] = v.order
			ids = append(ids, id)
		}
	}
	if !maps.Equal(got, want) {
		w.t.Fatalf("generation %d: %d live ids, want %d: %s", m.Generation, len(got), len(want), difference(got, want))
	}
	slices.Sort(ids)
	for _, id := range ids {
		vectors = append(vectors, w.newest[id].vector...)
	}
	w.checkNeighbours(s, ids, vectors)
}

// checkLists compares what a manifest says of the lengths of lists with the parts, row by row.
func (w *world) checkLists(m *schemas.Manifest, s *snapshot.Snapshot) {
	w.t.Helper()
	if m.Model == nil {
		if m.Lists != nil {
			w.t.Errorf("generation %d without a model has lists: %+v", m.Generation, m.Lists)
		}
		return
	}
	rows := make([]int, m.Model.NList)
	for _, p := range s.Parts() {
		for row := range p.N {
			if p.Model == m.Model.ID {
				rows[p.ListAt(row)]++
			}
		}
	}
	if want := statsOf(rows); m.Lists == nil || *m.Lists != *want {
		w.t.Errorf("generation %d says of its lists %+v, want %+v", m.Generation, m.Lists, want)
	}
}

func difference(got, want map[string]segment.Order) string {
	var b bytes.Buffer
	for id, o := range want {
		if got[id] != o {
			fmt.Fprintf(&b, "%s is %+v, want %+v; ", id, got[id], o)
		}
	}
	for id, o := range got {
		if _, ok := want[id]; !ok {
			fmt.Fprintf(&b, "%s is %+v, want none; ", id, o)
		}
	}
	return b.String()[:min(b.Len(), 400)]
}

// checkNeighbours compares exact search over the generation with exact search over a plain table of the truth.
func (w *world) checkNeighbours(s *snapshot.Snapshot, ids []string, vectors []float32) {
	w.t.Helper()
	const nq, k = 5, 10
	queries := make([]float32, 0, nq*testDim)
	for range nq {
		queries = append(queries, w.vector()...)
	}
	rows := segment.NewRows(w.log.Spec())
	rows.IDs, rows.Orders = ids, make([]segment.Order, len(ids))
	rows.AppendFloats(w.level, vectors)
	for range ids {
		rows.Attributes[0].AppendNull()
	}
	body, err := segment.Write(w.log.Spec(), nil, w.level, rows)
	if err != nil {
		w.t.Fatal(err)
	}
	plain, err := segment.OpenSegment(w.log.Spec(), "plain", body)
	if err != nil {
		w.t.Fatal(err)
	}
	table, err := snapshot.Open(w.log.Spec(), &schemas.Manifest{Format: 1, Generation: 1, LiveRows: int64(len(ids)),
		Segments: []schemas.Segment{{ID: "plain", NumRows: len(ids)}}}, nil, []*segment.Part{plain}, nil, func() {})
	if err != nil {
		w.t.Fatal(err)
	}
	found := func(s *snapshot.Snapshot) (names [][]string) {
		hits, err := exact.TopK(w.t.Context(), w.level, 1, s, queries, nq, k, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, of := range hits {
			var n []string
			for _, h := range of {
				n = append(n, s.Parts()[h.Part].IDAt(h.Row))
			}
			names = append(names, n)
		}
		return names
	}
	if got, want := fmt.Sprint(found(s)), fmt.Sprint(found(table)); got != want {
		w.t.Errorf("exact neighbours differ:\n got %s\nwant %s", got, want)
	}
}

// current is the newest model, as an ingestor would pin it.
func (w *world) current() *model.Model {
	w.t.Helper()
	m, err := w.log.Latest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if m == nil || m.Model == nil {
		return nil
	}
	mdl, err := replica.Model(w.t.Context(), w.cache(), *m.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	return mdl
}
