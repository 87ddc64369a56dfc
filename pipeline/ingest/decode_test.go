package ingest

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

func TestDecode(t *testing.T) {
	const two = `[{"id":"a","vector":[1,0,0,0]},{"id":"b","vector":[0,2,0,0]}]`
	for _, test := range []struct {
		name    string
		fields  []arrow.Field
		rows    string
		options []ipc.Option
		ids     []string
		deletes []string
	}{
		{name: "utf8", fields: []arrow.Field{field("id", utf8Type), field("vector", vectorType4)}, rows: two, ids: []string{"a", "b"}},
		{name: "large utf8", fields: []arrow.Field{field("id", largeType), field("vector", vectorType4)}, rows: two, ids: []string{"a", "b"}},
		{name: "any order of columns", fields: []arrow.Field{field("vector", vectorType4), field("id", utf8Type)}, rows: two, ids: []string{"a", "b"}},
		{name: "float16", fields: []arrow.Field{field("id", utf8Type), field("vector", arrow.FixedSizeListOf(4, float16Type))}, rows: two, ids: []string{"a", "b"}},
		{name: "list", fields: []arrow.Field{field("id", utf8Type), field("vector", arrow.ListOf(float32Type))}, rows: two, ids: []string{"a", "b"}},
		{name: "list of float16", fields: []arrow.Field{field("id", utf8Type), field("vector", arrow.ListOf(float16Type))}, rows: two, ids: []string{"a", "b"}},
		{name: "items that are not nullable", fields: []arrow.Field{field("id", utf8Type), field("vector", arrow.FixedSizeListOfNonNullable(4, float32Type))}, rows: two, ids: []string{"a", "b"}},
		{name: "zstd", fields: []arrow.Field{field("id", utf8Type), field("vector", vectorType4)}, rows: two, options: []ipc.Option{ipc.WithZstd()}, ids: []string{"a", "b"}},
		{name: "lz4", fields: []arrow.Field{field("id", utf8Type), field("vector", vectorType4)}, rows: two, options: []ipc.Option{ipc.WithLZ4()}, ids: []string{"a", "b"}},
		{
			name: "int64", fields: []arrow.Field{field("id", int64Type), field("vector", vectorType4)},
			rows: `[{"id":-9223372036854775808,"vector":[1,0,0,0]},{"id":42,"vector":[0,2,0,0]}]`, ids: []string{"-9223372036854775808", "42"},
		},
		{
			name: "uint64", fields: []arrow.Field{field("id", arrow.PrimitiveTypes.Uint64), field("vector", vectorType4)},
			rows: `[{"id":18446744073709551615,"vector":[1,0,0,0]},{"id":0,"vector":[0,2,0,0]}]`, ids: []string{"18446744073709551615", "0"},
		},
		{
			name: "uuid", fields: []arrow.Field{field("id", &arrow.FixedSizeBinaryType{ByteWidth: 16}), field("vector", vectorType4)},
			rows: `[{"id":"AAECAwQFBgcICQoLDA0ODw==","vector":[1,0,0,0]},{"id":"/////////////////////w==","vector":[0,2,0,0]}]`,
			ids:  []string{"00010203-0405-0607-0809-0a0b0c0d0e0f", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
		},
		{
			name: "op", fields: []arrow.Field{field("id", utf8Type), field("op", utf8Type), field("vector", vectorType4)},
			rows: `[{"id":"a","op":"upsert","vector":[1,0,0,0]},{"id":"b","op":null,"vector":[0,2,0,0]},
				{"id":"c","op":"delete","vector":null},{"id":"d","op":"delete","vector":[1,2,3,4]}]`,
			ids: []string{"a", "b"}, deletes: []string{"c", "d"},
		},
		{
			name: "op in a dictionary", fields: []arrow.Field{field("id", utf8Type), field("op", dictType), field("vector", vectorType4)},
			rows: `[{"id":"a","op":"upsert","vector":[1,0,0,0]},{"id":"c","op":"delete","vector":null},{"id":"b","op":null,"vector":[0,2,0,0]}]`,
			ids:  []string{"a", "b"}, deletes: []string{"c"},
		},
		{
			name: "deletes need no vectors", fields: []arrow.Field{field("id", utf8Type), field("op", utf8Type)},
			rows: `[{"id":"c","op":"delete"}]`, deletes: []string{"c"},
		},
		{
			name: "op without a type", fields: []arrow.Field{field("id", utf8Type), field("op", arrow.Null), field("vector", vectorType4)},
			rows: `[{"id":"a","op":null,"vector":[1,0,0,0]},{"id":"b","op":null,"vector":[0,2,0,0]}]`, ids: []string{"a", "b"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := decode(t, testSpec(), Limits{}, messageOf(t, messageSchema(test.fields...), test.rows, test.options...))
			if len(got.bad) > 0 {
				t.Fatalf("quarantined: %v", got.bad[0].Fault)
			}
			if !slices.Equal(got.rows.IDs, test.ids) {
				t.Errorf("ids %q, want %q", got.rows.IDs, test.ids)
			}
			if want := []float32{1, 0, 0, 0, 0, 2, 0, 0}; len(test.ids) == 2 && !slices.Equal(got.floats(), want) {
				t.Errorf("vectors %v, want %v", got.floats(), want)
			}
			var deletes []string
			for _, d := range got.deletes {
				deletes = append(deletes, d.ID)
			}
			if !slices.Equal(deletes, test.deletes) {
				t.Errorf("deletes %q, want %q", deletes, test.deletes)
			}
		})
	}
}

func TestDecodeOrders(t *testing.T) {
	schema := messageSchema(field("id", utf8Type), field("op", utf8Type), field("version", int64Type), field("vector", vectorType4))
	first := batchOf(t, schema, `[{"id":"a","version":7,"vector":[1,0,0,0]},{"id":"b","op":"delete","version":8}]`)
	second := batchOf(t, schema, `[{"id":"c","vector":[1,0,0,0]}]`)
	got := decode(t, testSpec(), Limits{}, plainMessage(t), streamOf(t, schema, []arrow.RecordBatch{first, second}))
	want := []segment.Order{
		{Timestamp: 2000, Partition: 3, Offset: 100, Row: 0},
		{Timestamp: 2000, Partition: 3, Offset: 100, Row: 1},
		{Timestamp: 2000, Partition: 3, Offset: 100, Row: 2},
		{Version: 7, Timestamp: 2001, Partition: 3, Offset: 101, Row: 0},
		{Timestamp: 2001, Partition: 3, Offset: 101, Row: 2},
	}
	if !slices.Equal(got.rows.Orders, want) {
		t.Errorf("orders\n%+v, want\n%+v", got.rows.Orders, want)
	}
	deletes := []segment.Tombstone{{ID: "b", Order: segment.Order{Version: 8, Timestamp: 2001, Partition: 3, Offset: 101, Row: 1}}}
	if !slices.Equal(got.deletes, deletes) {
		t.Errorf("deletes %+v, want %+v", got.deletes, deletes)
	}
}

func TestDecodeAttributes(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	wide := messageSchema(field("id", utf8Type), field("vector", vectorType4), field("title", utf8Type), field("year", int64Type),
		field("price", arrow.PrimitiveTypes.Float64), field("new", arrow.FixedWidthTypes.Boolean),
		field("seen", &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}))
	narrow := messageSchema(field("seen", &arrow.TimestampType{Unit: arrow.Second}), field("year", arrow.PrimitiveTypes.Uint8),
		field("price", float32Type), field("title", dictType), field("vector", vectorType4), field("id", utf8Type))
	empty := messageSchema(field("id", utf8Type), field("vector", vectorType4), field("title", arrow.Null))
	got := decode(t, testSpec(), Limits{},
		messageOf(t, wide, `[{"id":"a","vector":[1,0,0,0],"title":"x","year":2026,"price":1.5,"new":true,"seen":1767355200000}]`),
		messageOf(t, narrow, `[{"id":"b","vector":[1,0,0,0],"title":"y","year":26,"price":0.5,"seen":1767355200},{"id":"c","vector":[1,0,0,0]}]`),
		messageOf(t, empty, `[{"id":"d","vector":[1,0,0,0]}]`))
	if len(got.bad) > 0 {
		t.Fatalf("quarantined: %v", got.bad[0].Fault)
	}
	want := [][]any{
		{"x", int64(2026), 1.5, true, noon},
		{"y", int64(26), 0.5, nil, noon},
		{nil, nil, nil, nil, nil},
		{nil, nil, nil, nil, nil},
	}
	for i, row := range want {
		for j, value := range row {
			if v := got.rows.Attributes[j].Value(i); !reflect.DeepEqual(v, value) {
				t.Errorf("row %d: attribute %d is %v, want %v", i, j, v, value)
			}
		}
	}
}

func TestDecodeIgnoresUndeclaredColumnsAndTellsOnce(t *testing.T) {
	schema := messageSchema(field("id", utf8Type), field("note", utf8Type), field("tags", arrow.ListOf(utf8Type)), field("blob", arrow.BinaryTypes.LargeBinary), field("vector", vectorType4))
	message := messageOf(t, schema, `[{"id":"a","note":"n","tags":["x","y"],"blob":"AAEC","vector":[1,0,0,0]}]`)
	got := decode(t, testSpec(), Limits{}, message, message)
	if got.rows.Len() != 2 || len(got.bad) > 0 {
		t.Errorf("%d rows, quarantined %v", got.rows.Len(), got.bad)
	}
	if want := []string{"note", "tags", "blob"}; !slices.Equal(got.ignored, want) {
		t.Errorf("ignored %q, want %q", got.ignored, want)
	}
}

// TestDecodeRowFaults: only the bad row is refused, and what is quarantined of it gives the same fault again.
func TestDecodeRowFaults(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	poke := func(values ...float32) func(arrow.RecordBatch) {
		return func(b arrow.RecordBatch) {
			copy(b.Column(1).(array.ListLike).ListValues().(*array.Float32).Float32Values()[4:], values)
		}
	}
	withVector := func(name string, list arrow.DataType, extra ...arrow.Field) *arrow.Schema {
		return messageSchema(append([]arrow.Field{field("id", utf8Type), field("vector", list)}, extra...)...)
	}
	const good = `{"id":"a","vector":[1,0,0,0]}`
	for _, test := range []struct {
		name   string
		schema *arrow.Schema
		bad    string // the row between two good ones
		edit   func(arrow.RecordBatch)
		reason string
		detail string
	}{
		{name: "null id", bad: `{"id":null,"vector":[1,0,0,0]}`, reason: schemas.ReasonNullID, detail: "null"},
		{name: "empty id", bad: `{"id":"","vector":[1,0,0,0]}`, reason: schemas.ReasonNullID, detail: "empty"},
		{name: "long id", bad: `{"id":"` + strings.Repeat("x", 1025) + `","vector":[1,0,0,0]}`, reason: schemas.ReasonIDLength, detail: "1025 bytes, allowed: 1024"},
		{name: "null vector", bad: `{"id":"b","vector":null}`, reason: schemas.ReasonDims, detail: "missing"},
		{name: "null in a vector", bad: `{"id":"b","vector":[1,0,null,0]}`, reason: schemas.ReasonDims, detail: "null at 2"},
		{name: "short list", schema: withVector("list", arrow.ListOf(float32Type)), bad: `{"id":"b","vector":[1,0,0]}`, reason: schemas.ReasonDims, detail: "3 values, allowed: 4"},
		{name: "long list", schema: withVector("list", arrow.ListOf(float32Type)), bad: `{"id":"b","vector":[1,0,0,0,0]}`, reason: schemas.ReasonDims, detail: "5 values, allowed: 4"},
		{name: "empty list", schema: withVector("list", arrow.ListOf(float32Type)), bad: `{"id":"b","vector":[]}`, reason: schemas.ReasonDims, detail: "0 values, allowed: 4"},
		{name: "nan", bad: `{"id":"b","vector":[1,0,0,0]}`, edit: poke(0, nan), reason: schemas.ReasonNotFinite},
		{name: "infinite", bad: `{"id":"b","vector":[1,0,0,0]}`, edit: poke(inf), reason: schemas.ReasonNotFinite},
		{name: "zero vector", bad: `{"id":"b","vector":[0,0,0,0]}`, reason: schemas.ReasonZero},
		{name: "op", schema: withVector("op", vectorType4, field("op", utf8Type)), bad: `{"id":"b","op":"replace","vector":[1,0,0,0]}`, reason: schemas.ReasonOp, detail: `"replace", allowed: upsert, delete`},
		{name: "attribute", schema: withVector("year", vectorType4, field("year", arrow.PrimitiveTypes.Uint64)), bad: `{"id":"b","year":18446744073709551615,"vector":[1,0,0,0]}`, reason: schemas.ReasonAttribute, detail: `"year": integer 18446744073709551615`},
		{name: "fraction among integers", schema: withVector("year", vectorType4, field("year", arrow.PrimitiveTypes.Float64)), bad: `{"id":"b","year":2026.5,"vector":[1,0,0,0]}`, reason: schemas.ReasonAttribute, detail: `"year": 2026.5, allowed: a whole number`},
		{name: "among dictionaries", schema: withVector("title", vectorType4, field("title", dictType), field("note", dictType)), bad: `{"id":"b","title":"t","note":"n","vector":[0,0,0,0]}`, reason: schemas.ReasonZero},
		{name: "null in a dictionary", schema: withVector("title", vectorType4, field("title", dictType)), bad: `{"id":"b","title":null,"vector":[0,0,0,0]}`, reason: schemas.ReasonZero},
	} {
		t.Run(test.name, func(t *testing.T) {
			schema := test.schema
			if schema == nil {
				schema = plainSchema
			}
			batch := batchOf(t, schema, fmt.Sprintf("[%s,%s,%s]", good, test.bad, good))
			if test.edit != nil {
				test.edit(batch)
			}
			message := streamOf(t, schema, []arrow.RecordBatch{batch})
			got := decode(t, testSpec(), Limits{}, message)
			if got.rows.Len() != 2 || got.rows.Orders[1].Row != 2 {
				t.Errorf("%d rows with orders %v, want the neighbours", got.rows.Len(), got.rows.Orders)
			}
			if len(got.bad) != 1 {
				t.Fatalf("%d quarantined, want 1: %v", len(got.bad), got.bad)
			}
			q := got.bad[0]
			if q.Reason != test.reason || !strings.Contains(q.Detail, test.detail) {
				t.Errorf("fault %v, want %s with %q", q.Fault, test.reason, test.detail)
			}
			if q.Topic != "topic" || q.Partition != 3 || q.Offset != 100 || q.Row != 1 || q.Timestamp != 1100 {
				t.Errorf("quarantined as %+v", q)
			}
			again := decode(t, testSpec(), Limits{}, q.Payload)
			if again.rows.Len() != 0 || len(again.bad) != 1 || again.bad[0].Row != 0 || again.bad[0].Fault != q.Fault {
				t.Errorf("payload gives %d rows and %v, want %v for row 0", again.rows.Len(), again.bad, q.Fault)
			}
		})
	}
}

func TestDecodeMessageFaults(t *testing.T) {
	const rows = `[{"id":"a","vector":[1,0,0,0]}]`
	vector := field("vector", vectorType4)
	with := func(fields ...arrow.Field) []byte { return messageOf(t, messageSchema(fields...), `[{}]`) }
	metadata := func(keys, values []string) []byte {
		md := arrow.NewMetadata(keys, values)
		return messageOf(t, arrow.NewSchema(plainSchema.Fields(), &md), rows)
	}
	for _, test := range []struct {
		name    string
		message []byte
		limits  Limits
		reason  string
		detail  string
	}{
		{name: "no id", message: with(vector), reason: schemas.ReasonSchema, detail: `"id" is missing`},
		{name: "no vector", message: with(field("id", utf8Type)), reason: schemas.ReasonSchema, detail: `"vector" is missing`},
		{name: "id twice", message: with(field("id", utf8Type), field("id", utf8Type), vector), reason: schemas.ReasonSchema, detail: `"id" is there twice`},
		{name: "type of id", message: with(field("id", arrow.PrimitiveTypes.Int32), vector), reason: schemas.ReasonSchema, detail: `"id" has type int32, allowed: utf8`},
		{name: "width of id", message: with(field("id", &arrow.FixedSizeBinaryType{ByteWidth: 8}), vector), reason: schemas.ReasonSchema, detail: `"id" has type fixed_size_binary`},
		{name: "type of op", message: with(field("id", utf8Type), field("op", int64Type), vector), reason: schemas.ReasonSchema, detail: `"op" has type int64`},
		{name: "type of version", message: with(field("id", utf8Type), field("version", arrow.PrimitiveTypes.Int32), vector), reason: schemas.ReasonSchema, detail: `"version" has type int32, allowed: int64`},
		{name: "type of vector", message: with(field("id", utf8Type), field("vector", float32Type)), reason: schemas.ReasonSchema, detail: `"vector" has type float32`},
		{name: "double vector", message: with(field("id", utf8Type), field("vector", arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Float64))), reason: schemas.ReasonSchema, detail: "float16 or float32"},
		{name: "width of vector", message: with(field("id", utf8Type), field("vector", arrow.FixedSizeListOf(8, float32Type))), reason: schemas.ReasonDims, detail: "8 values, allowed: 4"},
		{name: "type of attribute", message: with(field("id", utf8Type), vector, field("year", utf8Type)), reason: schemas.ReasonSchema, detail: `"year" has type utf8, which does not widen to the int64`},
		{name: "unknown type", message: with(field("id", utf8Type), vector, field("day", arrow.FixedWidthTypes.Date32)), reason: schemas.ReasonSchema, detail: `"day" has type date`},
		{name: "no encoder", message: metadata([]string{"other"}, []string{"x"}), reason: schemas.ReasonEncoder, detail: `no key "adastream.encoder", needed: it with the value "test-encoder@1"`},
		{name: "other encoder", message: metadata([]string{schemas.MetaEncoder}, []string{"other@1"}), reason: schemas.ReasonEncoder, detail: `"other@1"`},
		{name: "too many bad rows", message: messageOf(t, plainSchema, `[{"id":"a","vector":[0,0,0,0]},{"id":"b","vector":[1,0,0,0]},{"id":null},{"id":null}]`),
			limits: Limits{MaxRowFaults: 2}, reason: schemas.ReasonZero, detail: "more than 2 rows are bad, the first is row 0"},
		{name: "long text for many rows", message: messageOf(t, messageSchema(field("id", utf8Type), vector, field("title", dictType)),
			`[{"id":"a","title":"`+strings.Repeat("x", 600)+`"},{"id":"b","title":"`+strings.Repeat("x", 600)+`"}]`),
			limits: Limits{MaxUncompressed: 1000}, reason: schemas.ReasonTooLarge, detail: "without their dictionaries"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := decode(t, testSpec(), test.limits, plainMessage(t), test.message, plainMessage(t))
			if got.rows.Len() != 6 {
				t.Errorf("%d rows, want the 6 of the neighbours", got.rows.Len())
			}
			if len(got.bad) != 1 {
				t.Fatalf("%d quarantined, want 1", len(got.bad))
			}
			q := got.bad[0]
			if q.Reason != test.reason || !strings.Contains(q.Detail, test.detail) {
				t.Errorf("fault %v, want %s with %q", q.Fault, test.reason, test.detail)
			}
			if q.Offset != 101 || q.Row != WholeMessage || &q.Payload[0] != &test.message[0] {
				t.Errorf("quarantined offset %d, row %d, want the message itself", q.Offset, q.Row)
			}
		})
	}
}

func TestDecodeZeroVectorUnderInnerProduct(t *testing.T) {
	spec := testSpec(func(s *schemas.Spec) { s.Metric = schemas.InnerProduct })
	got := decode(t, spec, Limits{}, messageOf(t, plainSchema, `[{"id":"a","vector":[0,0,0,0]}]`))
	if got.rows.Len() != 1 {
		t.Errorf("quarantined: %v", got.bad)
	}
}

func TestDecodeMisalignedMessage(t *testing.T) {
	message := plainMessage(t)
	shifted := make([]byte, len(message)+1)
	for _, at := range []int{0, 1} {
		got := decode(t, testSpec(), Limits{}, shifted[at:at+copy(shifted[at:], message)])
		if want := []string{"a", "b", "c"}; !slices.Equal(got.rows.IDs, want) {
			t.Errorf("shifted by %d: ids %q, want %q; quarantined %v", at, got.rows.IDs, want, got.bad)
		}
	}
}

// Values are stored as they came where a message has the type of the index, and rounded or widened otherwise.
func TestDecodeStoresVectors(t *testing.T) {
	schema := func(item arrow.DataType) *arrow.Schema {
		return messageSchema(field("id", utf8Type), field("vector", arrow.FixedSizeListOf(4, item)))
	}
	const tenth, half = 0x2e66, 0x3800 // 0.1 is rounded, 0.5 is not
	rounded := float16.FromBits(tenth).Float32()
	for _, test := range []struct {
		item   arrow.DataType
		stored schemas.VectorType
		want   []byte
	}{
		{arrow.FixedWidthTypes.Float16, schemas.Float16, segment.BytesOf([]uint16{half, tenth, 0, half})},
		{arrow.PrimitiveTypes.Float32, schemas.Float16, segment.BytesOf([]uint16{half, tenth, 0, half})},
		{arrow.FixedWidthTypes.Float16, schemas.Float32, segment.BytesOf([]float32{0.5, rounded, 0, 0.5})},
		{arrow.PrimitiveTypes.Float32, schemas.Float32, segment.BytesOf([]float32{0.5, 0.1, 0, 0.5})},
	} {
		spec := testSpec(func(s *schemas.Spec) { s.Vectors = test.stored })
		got := decode(t, spec, Limits{}, messageOf(t, schema(test.item), `[{"id":"a","vector":[0.5,0.1,0,0.5]}]`))
		if !bytes.Equal(got.rows.Vectors, test.want) || len(got.bad) > 0 {
			t.Errorf("%v stored as %s: %x, want %x; quarantined %v", test.item, test.stored, got.rows.Vectors, test.want, got.bad)
		}
	}
}

// TestDecodeLetsGo: rows do not refer to their message, whose vectors would be in memory twice.
func TestDecodeLetsGo(t *testing.T) {
	schema := messageSchema(field("id", utf8Type), field("op", utf8Type), field("vector", vectorType4), field("title", utf8Type))
	message := messageOf(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"},{"id":"b","op":"delete"}]`)
	got := decode(t, testSpec(), Limits{}, message)
	clear(message)
	if got.rows.IDs[0] != "a" || got.floats()[0] != 1 || got.rows.Attributes[0].Value(0) != "x" || got.deletes[0].ID != "b" {
		t.Errorf("rows changed with their message: %+v, %+v", got.rows, got.deletes)
	}
}
