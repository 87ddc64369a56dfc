package arrowguardtest

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// AllTypes has a column of each type that the library has, and some of types in types.
func AllTypes() *arrow.Schema {
	dictionary := func(t arrow.DataType) *arrow.DictionaryType {
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: t}
	}
	both := []arrow.Field{field("a", int64Type), field("b", utf8Type)}
	types := []arrow.DataType{
		arrow.Null, arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Uint8, int64Type, float16Type, arrow.PrimitiveTypes.Float64,
		utf8Type, largeType, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeBinary, arrow.BinaryTypes.StringView, arrow.BinaryTypes.BinaryView, &arrow.FixedSizeBinaryType{ByteWidth: 3},
		&arrow.Decimal32Type{Precision: 9, Scale: 2}, &arrow.Decimal128Type{Precision: 38, Scale: 2}, &arrow.Decimal256Type{Precision: 40},
		arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Date64, arrow.FixedWidthTypes.Time32s, arrow.FixedWidthTypes.Time64ns, arrow.FixedWidthTypes.Timestamp_us, arrow.FixedWidthTypes.Duration_s,
		arrow.FixedWidthTypes.MonthInterval, arrow.FixedWidthTypes.DayTimeInterval, arrow.FixedWidthTypes.MonthDayNanoInterval,
		arrow.ListOf(arrow.BinaryTypes.StringView), arrow.LargeListOf(arrow.ListOf(utf8Type)), arrow.FixedSizeListOf(2, arrow.Null), arrow.ListViewOf(int64Type), arrow.LargeListViewOf(utf8Type),
		arrow.StructOf(both...), arrow.StructOf(), arrow.MapOf(utf8Type, arrow.StructOf(both...)),
		arrow.SparseUnionOf(both, []arrow.UnionTypeCode{3, 5}), arrow.DenseUnionOf(both, []arrow.UnionTypeCode{0, 1}),
		arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, utf8Type), arrow.StructOf(field("views", arrow.BinaryTypes.BinaryView), field("runs", arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int16, int64Type))),
		dictionary(utf8Type), dictionary(int64Type), dictionary(&arrow.FixedSizeBinaryType{ByteWidth: 2}), arrow.ListOf(dictionary(utf8Type)),
		extensions.NewUUIDType(), extensions.NewBool8Type(),
	}
	var fields []arrow.Field
	for _, t := range types {
		fields = append(fields, field(t.String(), t))
	}
	return Schema(fields...)
}

// Tables are tables as others write them, as streams and as files: all types, compressed or not, dictionaries that grow.
func Tables(t testing.TB) (streams, files [][]byte) {
	add := func(schema *arrow.Schema, batches []arrow.RecordBatch, options ...ipc.Option) {
		for _, o := range [][]ipc.Option{nil, {ipc.WithZstd()}, {ipc.WithLZ4()}} {
			streams = append(streams, Stream(t, schema, batches, append(o, options...)...))
			files = append(files, File(t, schema, batches, append(o, options...)...))
		}
	}
	all := AllTypes()
	add(all, nil)
	add(all, []arrow.RecordBatch{blanks(all, 3)})
	plain := Schema(all.Fields()[1:20]...)
	add(plain, []arrow.RecordBatch{blanks(plain, 3), blanks(plain, 0), blanks(plain, 1)})
	streams = append(streams, Stream(t, all, []arrow.RecordBatch{blanks(all, 3), blanks(all, 0)})) // dictionaries are replaced, which no file has
	for i := range all.NumFields() {                                                               // each by itself, which mutations get further in
		one := Schema(all.Field(i))
		streams = append(streams, Stream(t, one, []arrow.RecordBatch{blanks(one, 2)}))
		files = append(files, File(t, one, []arrow.RecordBatch{blanks(one, 2)}))
	}
	growing := Schema(field("text", dictType))
	streams = append(streams, Stream(t, growing, []arrow.RecordBatch{Batch(t, growing, `[{"text":"x"}]`), Batch(t, growing, `[{"text":"x"},{"text":"y"}]`)}, ipc.WithDictionaryDeltas(true)))
	return streams, files
}

// blanks are rows of empty values and nulls.
func blanks(schema *arrow.Schema, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for _, f := range b.Fields() {
		for i := range rows {
			if i%2 == 1 {
				f.AppendNull()
			} else {
				f.AppendEmptyValue()
			}
		}
	}
	return b.NewRecordBatch()
}
