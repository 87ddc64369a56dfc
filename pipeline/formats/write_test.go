package formats_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

var write = flag.String("write", "", "write the index of these formats to this folder of testdata, which must not be there")

const epochName = "next"

// writer makes an index that has all kinds of records and files.
type writer struct {
	*index
	rng  *rand.Rand
	base int64 // first timestamp
}

func newWriter(x *index, bucket store.Bucket, spec *schemas.Spec) *writer {
	if err := commit.Create(x.Context(), bucket, spec); err != nil {
		x.Fatal(err)
	}
	x = x.in(bucket)
	x.log = x.log.WithPages(1) // v1 has its parts in line
	return &writer{index: x, rng: newRand(), base: 1_700_000_000_000}
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 8)) }

func (w *writer) order(partition int, offset int64) segment.Order {
	return segment.Order{Version: offset % 3, Timestamp: w.base + offset, Partition: int32(partition), Offset: offset}
}

// rows of the offsets [start, end) of a partition, one each; of these ids, over and over.
func (w *writer) rows(partition int, start, end int64, ids func(offset int64) string) *segment.Rows {
	spec := w.log.Spec()
	rows := segment.NewRows(spec)
	for offset := start; offset < end; offset++ {
		rows.IDs, rows.Orders = append(rows.IDs, ids(offset)), append(rows.Orders, w.order(partition, offset))
		topic := rows.Len() % 5
		for d := range spec.Dim() {
			x := 0.4 * w.rng.NormFloat64()
			if d%5 == topic {
				x++
			}
			rows.AppendFloats(avx.Generic, []float32{float32(x / (1 + float64(d)/4))}) // the first dimensions matter most
		}
		for j, a := range spec.Attributes {
			if err := rows.Attributes[j].AppendFrom(value(w.T, a.Type, offset), 0); err != nil {
				w.Fatal(err)
			}
		}
	}
	return rows
}

// value of an attribute, which every seventh row does not have.
func value(t *testing.T, kind schemas.AttributeType, offset int64) arrow.Array {
	text := map[schemas.AttributeType]string{
		schemas.AttributeString:    fmt.Sprintf(`"größe %d"`, offset%4),
		schemas.AttributeBool:      fmt.Sprint(offset%2 == 0),
		schemas.AttributeInt:       fmt.Sprint(offset - 10),
		schemas.AttributeFloat:     fmt.Sprint(float64(offset) / 8),
		schemas.AttributeTimestamp: fmt.Sprint(1_600_000_000_000 + offset),
	}[kind]
	if offset%7 == 6 {
		text = "null"
	}
	a, _, err := array.FromJSON(memory.DefaultAllocator, kind.ArrowType(), strings.NewReader("["+text+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func refused(partition int, offset int64, row int32) ingest.Quarantined {
	q := ingest.Quarantined{Topic: "t", Partition: int32(partition), Offset: offset, Row: row, Timestamp: 5, Payload: []byte("bytes")}
	q.Reason, q.Detail = schemas.ReasonDims, "vector of 15 values, allowed: 16"
	if row == ingest.WholeMessage {
		q.Reason, q.Detail = schemas.ReasonMalformed, "cut"
	}
	return q
}

// fill has an index's life so far: a base, deltas of its model and without, what died, was refused, resolved, lost and collected, and
// commits that wait for a builder.
func (w *writer) fill() {
	w.Helper()
	id := func(offset int64) string { return fmt.Sprint("id-", offset) }
	other := func(offset int64) string { return fmt.Sprint("other-", offset) }
	w.append(schemas.Commit{End: 200, Watermark: w.base + 199, Produced: w.base + 199}, w.rows(0, 0, 198, id), nil,
		[]ingest.Quarantined{refused(0, 198, ingest.WholeMessage), refused(0, 199, 3)})
	w.append(schemas.Commit{Partition: 1, End: 140, Watermark: w.base + 139, Produced: w.base + 139}, w.rows(1, 0, 130, other),
		[]segment.Tombstone{{ID: "other-7", Order: w.order(1, 130)}, {ID: "never-there", Order: w.order(1, 131)}}, nil)
	w.build()

	replay := w.settle(commit.Place{Offset: 199, Row: 3}, nil, schemas.Resolution{State: schemas.Replaying, To: 1, From: 140, ID: "replay-1"})
	w.settle(commit.Place{Offset: 199, Row: 3}, replay, schemas.Resolution{State: schemas.Replayed})
	w.settle(commit.Place{Offset: 198, Row: -1}, nil, schemas.Resolution{State: schemas.Dropped, Reason: "cut by its producer"})
	w.append(schemas.Commit{Partition: 1, End: 150, Watermark: w.base + 139, Gap: true}, nil, nil, nil)
	w.build()
	w.collect()

	w.append(schemas.Commit{End: 230, Watermark: w.base + 229, Produced: w.base + 229, AtEnd: true, Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		w.rows(0, 200, 225, func(offset int64) string { return id(offset - 30) }), // half of them newer versions
		[]segment.Tombstone{{ID: "id-3", Order: w.order(0, 226)}, {ID: "id-3000", Order: w.order(0, 227)}}, nil)
	w.build()
}

// leave has commits that no generation has folded.
func (w *writer) leave() {
	w.append(schemas.Commit{End: 240, Watermark: w.base + 239, Produced: w.base + 239}, w.rows(0, 230, 240, func(offset int64) string { return fmt.Sprint("late-", offset) }), nil, nil)
	w.append(schemas.Commit{Partition: 1, End: 151, Watermark: w.base + 150, Produced: w.base + 150}, nil, []segment.Tombstone{{ID: "other-9", Order: w.order(1, 150)}}, nil)
}

func (w *writer) settle(at commit.Place, seen *schemas.Resolution, r schemas.Resolution) *schemas.Resolution {
	w.Helper()
	r.By = "mara@ops"
	settled, err := w.log.Settle(w.Context(), at, seen, r)
	if err != nil {
		w.Fatal(err)
	}
	return settled
}

func (w *writer) collect() {
	w.Helper()
	found, err := w.log.Find(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if err := w.log.Fence(w.Context()); err != nil {
		w.Fatal(err)
	}
	if _, err := w.log.Collect(w.Context(), commit.CollectOptions{Found: found, By: "mara@ops"}); err != nil {
		w.Fatal(err)
	}
}

func (w *writer) promote(c schemas.Channel) {
	w.Helper()
	c.Reason, c.By = "a try", "mara@ops"
	if _, err := w.log.Promote(w.Context(), w.channel(), c); err != nil {
		w.Fatal(err)
	}
}

// questions, of a spec.
func questions(spec *schemas.Spec) []string {
	vector, err := json.Marshal(append([]float32{1, 0.5}, make([]float32, spec.Dim()-2)...))
	if err != nil {
		panic(err) // numbers
	}
	return []string{
		`{"like":"id-20","k":5}`,
		`{"like":"id-180","k":5,"exact":true}`,
		`{"like":"other-50","k":5,"dims":` + fmt.Sprint(spec.Ladder[0]) + `}`,
		fmt.Sprintf(`{"vector":%s,"k":5,"effort":1}`, vector),
		fmt.Sprintf(`{"vector":%s,"k":5,"filter":{"number":{"$lt":100},"text":"größe 1"}}`, vector),
	}
}

// TestWrite writes a folder of testdata, with -write. It is made once for each set of formats, and stays.
func TestWrite(t *testing.T) {
	if *write == "" {
		t.Skip("only with -write")
	}
	folder := filepath.Join("testdata", *write)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Fatalf("%s: %v, allowed: a folder that is not there", folder, err)
	}
	attributes := []schemas.Attribute{{Name: "text", Type: schemas.AttributeString}, {Name: "flag", Type: schemas.AttributeBool}, {Name: "number", Type: schemas.AttributeInt},
		{Name: "share", Type: schemas.AttributeFloat}, {Name: "seen", Type: schemas.AttributeTimestamp}}
	spec := schemas.Spec{Name: "formats", Ladder: []int{8, 16}, Encoder: "e/1", Attributes: attributes, Topic: schemas.Topic{Name: "t", Partitions: 2, Cluster: "c", ID: "i"},
		Prefix: schemas.PrefixNative, Defaults: schemas.Defaults{TargetRecall: 0.5}}.WithDefaults()
	bucket, err := store.Open(t.Context(), filepath.Join(folder, "index"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := &index{T: t}
	w := newWriter(x, bucket, &spec)
	w.fill()

	spec.Name, spec.Ladder, spec.Encoder, spec.Prefix, spec.Metric, spec.Vectors, spec.ListsPerRow = "formats-next", []int{4, 8}, "e/2", schemas.PrefixRotate, schemas.InnerProduct, schemas.Float32, 1
	next := newWriter(x, store.Under(bucket, "epochs/"+epochName), &spec)
	next.fill()
	next.leave()

	served := w.channel().Generation
	w.promote(schemas.Channel{Epoch: epochName})
	w.promote(schemas.Channel{Generation: served, Pinned: true})
	w.promote(schemas.Channel{Generation: served})
	w.leave()

	w.index.writeAnswers(filepath.Join(folder, "answers.json"))
	if err := os.RemoveAll(filepath.Join(folder, "index", ".tmp")); err != nil {
		t.Fatal(err)
	}
}

// writeAnswers asks the root, and then the epoch of a copy.
func (x *index) writeAnswers(file string) {
	x.Helper()
	var answers []answer
	for _, of := range []*index{x, x.epoch()} {
		n := of.node()
		for _, question := range questions(of.log.Spec()) {
			answers = append(answers, answer{Question: json.RawMessage(question), Encoder: of.log.Spec().Encoder, Hits: of.ask(n, question)})
		}
	}
	body, err := json.MarshalIndent(answers, "", " ")
	if err == nil {
		err = os.WriteFile(file, append(body, '\n'), 0o644)
	}
	if err != nil {
		x.Fatal(err)
	}
}
