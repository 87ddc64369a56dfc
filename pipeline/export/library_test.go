package export_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// A fact about arrow-go 18.8: where it cuts a batch at the end of a row group, it writes the values of the first fixed-size lists again for
// those after the cut. So the export cuts by itself, and if this test fails, it need not any more.
func TestLibraryWritesWrongSlices(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.FixedSizeListOfNonNullable(2, arrow.PrimitiveTypes.Float32)}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	list := b.Field(0).(*array.FixedSizeListBuilder)
	given := []float32{0, 1, 2, 3, 4, 5, 6, 7}
	for range len(given) / 2 {
		list.Append(true)
	}
	list.ValueBuilder().(*array.Float32Builder).AppendValues(given, nil)
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(3)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBuffered(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fr.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []float32
	for _, chunk := range table.Column(0).Data().Chunks() {
		got = append(got, chunk.(array.ListLike).ListValues().(*array.Float32).Float32Values()...)
	}
	if slices.Equal(got, given) {
		t.Error("arrow-go writes what it is given now: parquetWriter need not cut row groups itself")
	}
	t.Logf("given %v, read %v", given, got)
}
