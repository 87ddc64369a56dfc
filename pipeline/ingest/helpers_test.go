package ingest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

const testEncoder = "test-encoder@1"

// testSpec is an index of 4 dimensions with an attribute of each type.
func testSpec(change ...func(*schemas.Spec)) *schemas.Spec {
	s := schemas.Spec{
		Name:    "test",
		Ladder:  []int{4},
		Encoder: testEncoder,
		Attributes: []schemas.Attribute{
			{Name: "title", Type: schemas.AttributeString},
			{Name: "year", Type: schemas.AttributeInt},
			{Name: "price", Type: schemas.AttributeFloat},
			{Name: "new", Type: schemas.AttributeBool},
			{Name: "seen", Type: schemas.AttributeTimestamp},
		},
		Topic: schemas.Topic{Name: "topic", Partitions: 1},
	}.WithDefaults()
	for _, c := range change {
		c(&s)
	}
	return &s
}

var (
	utf8Type    = arrow.BinaryTypes.String
	largeType   = arrow.BinaryTypes.LargeString
	int64Type   = arrow.PrimitiveTypes.Int64
	float32Type = arrow.PrimitiveTypes.Float32
	float16Type = arrow.FixedWidthTypes.Float16
	dictType    = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: utf8Type}
	vectorType4 = arrow.FixedSizeListOf(4, float32Type)
)

func field(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// messageSchema is a schema with the encoder of testSpec.
func messageSchema(fields ...arrow.Field) *arrow.Schema {
	md := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{testEncoder})
	return arrow.NewSchema(fields, &md)
}

// plainSchema is what most tests send.
var plainSchema = messageSchema(field("id", utf8Type), field("vector", vectorType4))

// batchOf makes a batch from a JSON array of objects.
func batchOf(t testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	batch, _, err := array.RecordFromJSON(memory.NewGoAllocator(), schema, strings.NewReader(rows))
	if err != nil {
		t.Fatalf("rows of test: %v", err)
	}
	return batch
}

// streamOf writes batches as a message.
func streamOf(t testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch, options ...ipc.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(options, ipc.WithSchema(schema))...)
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			t.Fatalf("message of test: %v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("message of test: %v", err)
	}
	return out.Bytes()
}

// messageOf is a message of one batch from JSON.
func messageOf(t testing.TB, schema *arrow.Schema, rows string, options ...ipc.Option) []byte {
	t.Helper()
	return streamOf(t, schema, []arrow.RecordBatch{batchOf(t, schema, rows)}, options...)
}

// plainMessage has three good rows.
func plainMessage(t testing.TB) []byte {
	t.Helper()
	return messageOf(t, plainSchema, `[
		{"id":"a","vector":[1,0,0,0]},
		{"id":"b","vector":[0,1,0,0]},
		{"id":"c","vector":[0,0,1,0]}]`)
}

// decoded is what became of messages.
type decoded struct {
	rows    *segment.Rows
	deletes []segment.Tombstone
	bad     []Quarantined
	ignored []string
}

// decode reads messages of partition 3 at offsets from 100 on, produced at 1000 + offset.
func decode(t testing.TB, spec *schemas.Spec, limits Limits, values ...[]byte) *decoded {
	t.Helper()
	out := &decoded{rows: segment.NewRows(spec)}
	d, err := NewDecoder(spec, avx.Generic, limits, func(c string) { out.ignored = append(out.ignored, c) })
	if err != nil {
		t.Fatal(err)
	}
	for i, value := range values {
		m := Message{Topic: "topic", Partition: 3, Offset: int64(100 + i), Timestamp: int64(1100 + i), Watermark: int64(2000 + i), Value: value}
		if err := d.Decode(m, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
			t.Fatal(err)
		}
	}
	out.check(t, spec)
	return out
}

// check holds what is true of any decoding: the columns have the same length.
func (d *decoded) check(t testing.TB, spec *schemas.Spec) {
	t.Helper()
	for _, q := range d.bad {
		if strings.Contains(q.Detail, "panicked") {
			t.Fatalf("not foreseen: %v", q.Fault)
		}
	}
	n := d.rows.Len()
	if len(d.rows.Orders) != n || len(d.rows.Vectors) != n*spec.Dim() {
		t.Fatalf("%d ids, %d orders, %d vector values", n, len(d.rows.Orders), len(d.rows.Vectors))
	}
	for j, c := range d.rows.Attributes {
		if c.Len() != n {
			t.Fatalf("%d ids, %d values of attribute %d", n, c.Len(), j)
		}
	}
}
