package buildtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Version is the newest one of an id.
type Version struct {
	Order   segment.Order
	Deleted bool
	Vector  []float32 // as given
	Values  []any     // of the attributes, as segment.Part.Value has them
}

// History is an index that is fed at random, one seed being one history, and what is true of it.
type History struct {
	testing.TB
	Index   *commit.Log
	Newest  map[string]Version
	Integer bool         // ids are integers
	Model   *model.Model // that commits are made with, nil for none

	rng  *rand.Rand
	next []int64 // by partition
}

// HistorySpec is one with two partitions and an attribute of each type.
func HistorySpec(ladder ...int) schemas.Spec {
	return schemas.Spec{Name: "history", Ladder: ladder, Encoder: "e/1", Vectors: schemas.Float32, Topic: schemas.Topic{Name: "t", Partitions: 2},
		Attributes: []schemas.Attribute{
			{Name: "title", Type: schemas.AttributeString}, {Name: "count", Type: schemas.AttributeInt}, {Name: "price", Type: schemas.AttributeFloat},
			{Name: "new", Type: schemas.AttributeBool}, {Name: "seen", Type: schemas.AttributeTimestamp},
		},
		Defaults: schemas.Defaults{TargetRecall: 0.5}}
}

// NewHistory makes an index of a spec that is HistorySpec's in all but ladder, metric, prefix and vectors.
func NewHistory(t testing.TB, b store.Bucket, spec schemas.Spec, seed uint64) *History {
	t.Helper()
	spec = spec.WithDefaults()
	return &History{TB: t, Index: Create(t, b, &spec), Newest: map[string]Version{}, rng: rand.New(rand.NewPCG(seed, 2)), next: make([]int64, spec.Topic.Partitions)}
}

// Live are the newest versions that are no deletes.
func (h *History) Live() map[string]Version {
	live := maps.Clone(h.Newest)
	maps.DeleteFunc(live, func(_ string, v Version) bool { return v.Deleted })
	return live
}

// Commit adds n rows to the log of a partition, three in a message, and their commit: of ids out of so many, a sixth of them deletes,
// some of versions that are older than what is there.
func (h *History) Commit(partition, n, ids int) {
	h.Helper()
	spec := h.Index.Spec()
	rows := segment.NewRows(spec)
	var stones []segment.Tombstone
	start := h.next[partition]
	end := start + int64((n+2)/3)
	for i := range n {
		id := fmt.Sprint("id-", h.rng.IntN(ids))
		if h.Integer {
			id = id[len("id-"):]
		}
		v := Version{Order: segment.Order{Timestamp: 100 + start + int64(i/3), Partition: int32(partition), Offset: start + int64(i/3), Row: int32(i % 3)}}
		if h.rng.IntN(8) == 0 {
			v.Order.Version = int64(h.rng.IntN(3))
		}
		if v.Deleted = h.rng.IntN(6) == 0; v.Deleted {
			stones = append(stones, segment.Tombstone{ID: id, Order: v.Order})
		} else {
			v.Vector = make([]float32, spec.Dim())
			for j := range v.Vector {
				v.Vector[j] = float32(h.rng.NormFloat64())
			}
			v.Values = h.values(rows)
			rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, v.Order)
			rows.AppendFloats(avx.Generic, v.Vector)
		}
		if old, ok := h.Newest[id]; !ok || v.Order.Compare(old.Order) > 0 {
			h.Newest[id] = v
		}
	}
	c := &schemas.Commit{Partition: partition, Start: start, End: end, Watermark: 100 + end, Produced: 100 + end, AtEnd: true}
	AppendBy(h, h.Index, h.Model, c, rows, stones, nil, nil)
	h.next[partition] = end
}

// values appends one of each attribute to rows, and returns them.
func (h *History) values(rows *segment.Rows) []any {
	mem := memory.DefaultAllocator
	title, count, price, fresh, seen := array.NewStringBuilder(mem), array.NewInt64Builder(mem), array.NewFloat64Builder(mem), array.NewBooleanBuilder(mem), array.NewTimestampBuilder(mem, arrow.FixedWidthTypes.Timestamp_ms.(*arrow.TimestampType))
	all := []any{fmt.Sprint("t", h.rng.IntN(100)), h.rng.Int64N(1000), float64(h.rng.IntN(64)) / 4, h.rng.IntN(2) == 0, time.UnixMilli(1_700_000_000_000 + h.rng.Int64N(1e9)).UTC()}
	title.Append(all[0].(string))
	count.Append(all[1].(int64))
	price.Append(all[2].(float64))
	fresh.Append(all[3].(bool))
	seen.Append(arrow.Timestamp(all[4].(time.Time).UnixMilli()))
	for j, b := range []array.Builder{title, count, price, fresh, seen} {
		if h.rng.IntN(5) == 0 {
			all[j] = nil
			rows.Attributes[j].AppendNull()
			continue
		}
		if err := rows.Attributes[j].AppendFrom(b.NewArray(), 0); err != nil {
			h.Fatal(err)
		}
	}
	return all
}

// Build runs builders until all commits are folded and done says so of the newest generation, nil for at once.
func (h *History) Build(done func(*schemas.Manifest) bool) *schemas.Manifest {
	h.Helper()
	if done == nil {
		done = func(*schemas.Manifest) bool { return true }
	}
	return Build(h, h.Index, done)
}
