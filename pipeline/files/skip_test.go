package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// Row groups that are not wanted are passed over, and nothing else is.
func TestSkip(t *testing.T) {
	const rows, group = 1050, 100
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "vector", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range rows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("id-", i))
		l := b.Field(1).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{float32(i), 1}, nil)
	}
	batch := b.NewRecordBatch()
	name := filepath.Join(t.TempDir(), "rows.parquet")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(group)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for from := int64(0); from < rows; from += group {
		if err := w.Write(batch.NewSlice(from, min(from+group, rows))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for skip, want := range map[int64]int64{-5: 0, 0: 0, 99: 0, 100: 100, 101: 100, 999: 900, 1000: 1000, 1050: 1000, 1 << 40: 1000} {
		r, err := Open(name, Options{Encoder: "e", Skip: skip})
		if err != nil {
			t.Fatal(err)
		}
		if r.Skipped() != want || r.Rows() != rows {
			t.Errorf("skip %d: %d of %d rows are passed over, want %d", skip, r.Skipped(), r.Rows(), want)
		}
		next := want
		for {
			batch, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("skip %d: %v", skip, err)
			}
			for i := range int(batch.NumRows()) {
				if id := batch.Column(0).ValueStr(i); id != fmt.Sprint("id-", next) {
					t.Fatalf("skip %d: %s follows, want id-%d", skip, id, next)
				}
				next++
			}
		}
		if next != rows {
			t.Errorf("skip %d: it ends at row %d", skip, next)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	r, err := Open("testdata/list.parquet", Options{Skip: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Skipped() != 0 {
		t.Errorf("%d rows of a file of one group are passed over", r.Skipped())
	}
}
