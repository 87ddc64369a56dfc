package ingest

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

const testEncoder = arrowguardtest.Encoder

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

// Messages of tests, and their parts.
var (
	messageSchema = arrowguardtest.Schema
	plainSchema   = arrowguardtest.PlainSchema
	batchOf       = arrowguardtest.Batch
	streamOf      = arrowguardtest.Stream
	messageOf     = arrowguardtest.Message
	plainMessage  = arrowguardtest.Plain
)

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

// floats are the values of the vectors, of an index that stores float32.
func (d *decoded) floats() []float32 { return floatsOf(d.rows) }

func floatsOf(rows *segment.Rows) []float32 {
	all := make([]float32, len(rows.Vectors)/4)
	if _, err := binary.Decode(rows.Vectors, binary.LittleEndian, all); err != nil {
		panic(err)
	}
	return all
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
	if len(d.rows.Orders) != n || len(d.rows.Vectors) != n*spec.VectorBytes() {
		t.Fatalf("%d ids, %d orders, %d bytes of vectors", n, len(d.rows.Orders), len(d.rows.Vectors))
	}
	for j, c := range d.rows.Attributes {
		if c.Len() != n {
			t.Fatalf("%d ids, %d values of attribute %d", n, c.Len(), j)
		}
	}
}
