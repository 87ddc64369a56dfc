package rebuild_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/rebuild"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	dim        = 16
	partitions = 3
)

// town is an index that was fed at random, and what is true of it.
type town struct {
	*testing.T
	bucket store.Bucket
	log    *commit.Log
	rng    *rand.Rand
	next   [partitions]int64
	truth  map[string]truth
}

type truth struct {
	order   segment.Order
	deleted bool
	vector  []float32
	number  int64
}

func newTown(t *testing.T, seed uint64) *town {
	t.Helper()
	b := store.NewMemory()
	return &town{T: t, bucket: b, log: newLog(t, b), rng: rand.New(rand.NewPCG(seed, 2)), truth: map[string]truth{}}
}

func newLog(t *testing.T, b store.Bucket) *commit.Log {
	t.Helper()
	spec := schemas.Spec{Name: "town", Ladder: []int{dim}, Encoder: "e", Vectors: schemas.Float32, Topic: schemas.Topic{Name: "t", Partitions: partitions},
		Attributes: []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}}, Defaults: schemas.Defaults{TargetRecall: 0.5}}.WithDefaults()
	return buildtest.Create(t, b, &spec)
}

// commit adds n rows to the log of a partition, three in a message, and their commit. Ids move between partitions now and then.
func (w *town) commit(partition, n, ids int) {
	w.Helper()
	rows := segment.NewRows(w.log.Spec())
	var stones []segment.Tombstone
	start := w.next[partition]
	end := start + int64((n+2)/3)
	c := &schemas.Commit{Partition: partition, Start: start, End: end + 2, Watermark: 100 + end, Produced: 100 + end}
	numbers := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range n {
		id := fmt.Sprint("id-", w.rng.IntN(ids))
		v := truth{order: segment.Order{Timestamp: 100 + start + int64(i/3), Partition: int32(partition), Offset: start + int64(i/3), Row: int32(i % 3)}, number: int64(w.rng.IntN(1000))}
		if w.rng.IntN(8) == 0 {
			v.order.Version = int64(w.rng.IntN(3))
		}
		if v.deleted = w.rng.IntN(6) == 0; v.deleted {
			stones = append(stones, segment.Tombstone{ID: id, Order: v.order})
		} else {
			v.vector = make([]float32, dim)
			for j := range v.vector {
				v.vector[j] = float32(w.rng.NormFloat64())
			}
			rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, v.order)
			rows.AppendFloats(avx.Generic, v.vector)
			numbers.Append(v.number)
		}
		if old, ok := w.truth[id]; !ok || v.order.Compare(old.order) > 0 {
			w.truth[id] = v
		}
	}
	for i, values := 0, numbers.NewInt64Array(); i < values.Len(); i++ {
		if err := rows.Attributes[0].AppendFrom(values, i); err != nil {
			w.Fatal(err)
		}
	}
	buildtest.Append(w, w.log, c, rows, stones, nil, nil)
	w.next[partition] = c.End
}

// built runs a builder of an index until everything is folded.
func built(t *testing.T, log *commit.Log) *schemas.Manifest {
	t.Helper()
	return buildtest.Build(t, log, func(*schemas.Manifest) bool { return true })
}

// check compares a generation with the truth.
func (w *town) check(log *commit.Log, m *schemas.Manifest) {
	w.Helper()
	s, err := replica.Snapshot(w.Context(), buildtest.Cache(w.T, log.Bucket()), log.Spec(), avx.Generic, m)
	if err != nil {
		w.Fatal(err)
	}
	defer s.Close()
	seen := map[string]bool{}
	v := make([]float32, dim)
	for i, p := range s.Parts() {
		for row := range p.N {
			if s.Dead(i).Has(row) {
				continue
			}
			id, want := p.IDAt(row), w.truth[p.IDAt(row)]
			if p.Vector(avx.Generic, row, v); seen[id] || want.deleted || p.OrderAt(row) != want.order || !slices.Equal(v, want.vector) || p.Value(0, row) != want.number {
				w.Errorf("%s is version %+v (twice: %v), want %+v", id, p.OrderAt(row), seen[id], want)
			}
			seen[strings.Clone(id)] = true
		}
	}
	for id, want := range w.truth {
		if !want.deleted && !seen[id] {
			w.Errorf("%s is lost", id)
		}
	}
}

// collect removes what the newest generation does not need.
func (w *town) collect() {
	w.Helper()
	found, err := w.log.Find(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if err := w.log.Fence(w.Context()); err != nil {
		w.Fatal(err)
	}
	if _, err := w.log.Collect(w.Context(), commit.CollectOptions{Found: found, By: "test"}); err != nil {
		w.Fatal(err)
	}
}

// Whatever was folded, merged, rewritten and collected when its records were lost, an index comes back with the same live rows,
// and goes on.
func TestRebuildFromObjects(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newTown(t, seed)
			for round := range 3 {
				for range 6 {
					w.commit(w.rng.IntN(partitions), 1+w.rng.IntN(200), 900)
				}
				w.check(w.log, built(t, w.log))
				if round == int(seed)%3 {
					w.collect()
				}
			}
			w.commit(0, 50, 900) // and what no generation has folded
			lost := 0
			for info, err := range w.bucket.List(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(info.Key, ".arrow") || info.Key == "index.json" {
					continue
				}
				lost++
				if err := w.bucket.Delete(t.Context(), info.Key); err != nil {
					t.Fatal(err)
				}
			}
			if lost < 5 {
				t.Fatalf("only %d records were there to lose", lost)
			}
			from, err := commit.Open(t.Context(), w.bucket)
			if err != nil {
				t.Fatal(err)
			}
			to := newLog(t, store.NewMemory())
			report, err := rebuild.Run(t.Context(), rebuild.Options{From: from, To: to, Cache: buildtest.Cache(t, w.bucket), Level: avx.Generic})
			if err != nil || len(report.Faults) > 0 {
				t.Fatalf("%+v, %v", report, err)
			}
			m := built(t, to)
			w.check(to, m)
			live := 0
			for _, v := range w.truth {
				if !v.deleted {
					live++
				}
			}
			if report.Live != live || m.LiveRows != int64(live) || report.Live+report.Deletes != len(w.truth) {
				t.Errorf("%+v, %d live rows in generation %d, want %d and %d deletes", report, m.LiveRows, m.Generation, live, len(w.truth)-live)
			}
			if _, err := rebuild.Run(t.Context(), rebuild.Options{From: from, To: to, Cache: buildtest.Cache(t, w.bucket), Level: avx.Generic}); err == nil || !strings.Contains(err.Error(), "allowed: a new index") {
				t.Errorf("into an index that has commits: %v", err)
			}

			w.log = to // ingestors read again what the log holds beyond the last row that is known, and go on
			for p := range partitions {
				head, err := to.Head(t.Context(), p, 0)
				if err != nil {
					t.Fatal(err)
				}
				if head.Next > w.next[p] {
					t.Errorf("partition %d is rebuilt to %d, its log was committed to %d", p, head.Next, w.next[p])
				}
				w.next[p] = head.Next
			}
			w.commit(1, 60, 900)
			w.check(to, built(t, to))
		})
	}
}

// A chunk without its originals is told: its rows are lost unless they are elsewhere.
func TestRebuildFromHalfAChunk(t *testing.T) {
	w := newTown(t, 5)
	w.commit(0, 900, 3000)
	m := buildtest.Build(t, w.log, func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	if err := w.bucket.Delete(t.Context(), m.Chunks[0].Vectors.Key); err != nil {
		t.Fatal(err)
	}
	to := newLog(t, store.NewMemory())
	report, err := rebuild.Run(t.Context(), rebuild.Options{From: w.log, To: to, Cache: buildtest.Cache(t, w.bucket), Level: avx.Generic})
	if err != nil || len(report.Faults) != 1 || !strings.Contains(report.Faults[0].Error(), m.Chunks[0].Rows.Key) {
		t.Fatalf("%+v, %v", report, err)
	}
	w.check(to, built(t, to)) // the segment that the chunk was made of is still there
}

// What is damaged is told, and all else is rebuilt.
func TestRebuildFromDamagedObjects(t *testing.T) {
	w := newTown(t, 9)
	for range 4 {
		w.commit(w.rng.IntN(partitions), 100, 5000)
	}
	all := maps.Clone(w.truth)
	w.truth = map[string]truth{}
	w.commit(2, 40, 100000)
	found, err := w.log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := found.Rows()
	damaged := rows.Segments[len(rows.Segments)-1].Key // of the last partition, and of its last commit
	body, err := w.bucket.Get(t.Context(), damaged)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.bucket.Delete(t.Context(), damaged), w.bucket.PutIfAbsent(t.Context(), damaged, body[:len(body)/2])); err != nil {
		t.Fatal(err)
	}
	for id, v := range w.truth {
		if v.deleted {
			all[id] = v
		}
	}
	w.truth = all
	to := newLog(t, store.NewMemory())
	report, err := rebuild.Run(t.Context(), rebuild.Options{From: w.log, To: to, Cache: buildtest.Cache(t, w.bucket), Level: avx.Generic})
	if err != nil || len(report.Faults) != 1 || !strings.Contains(report.Faults[0].Error(), damaged) {
		t.Fatalf("%+v, %v", report, err)
	}
	w.check(to, built(t, to))
}

// An ingestor that was killed had put one of the two objects of its next commit. Ingestors of the index that is made again have to read
// that range again: what the other object would have had is in the log only.
func TestRebuildFromHalfACommit(t *testing.T) {
	for _, missing := range []string{"segments", "tombstones"} {
		t.Run(missing, func(t *testing.T) {
			w, again := newTown(t, 3), newTown(t, 3) // of one log
			for range 2 {
				w.commit(0, 200, 100)
				again.commit(0, 200, 100)
			}
			start := w.next[0]
			w.commit(0, 60, 100)
			for _, lost := range []string{fmt.Sprintf("commits/000000/%020d", start), fmt.Sprintf("%s/000000/%020d-", missing, start)} {
				for info, err := range w.bucket.List(t.Context(), lost, "") {
					if err = errors.Join(err, w.bucket.Delete(t.Context(), info.Key)); err != nil {
						t.Fatal(err)
					}
				}
			}
			to := newLog(t, store.NewMemory())
			if _, err := rebuild.Run(t.Context(), rebuild.Options{From: w.log, To: to, Cache: buildtest.Cache(t, w.bucket), Level: avx.Generic}); err != nil {
				t.Fatal(err)
			}
			head, err := to.Head(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if head.Next != start || head.Watermark > 100+start {
				t.Fatalf("it is rebuilt to %d, with watermark %d, want %d, where a commit begins that nobody can tell to be whole", head.Next, head.Watermark, start)
			}
			again.log = to
			again.commit(0, 60, 100)
			again.check(to, built(t, to))
		})
	}
}
