package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/store"
)

// writeParquet makes a file of row groups of 50 rows.
func writeParquet(t *testing.T, name string, first, rows int, want map[string]string) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "vector", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)}}, nil)
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(schema, f, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := first; i < first+rows; i++ {
		vector := []float32{float32(i), 1, 2, 3}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("id-", i))
		l := b.Field(1).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Float32Builder).AppendValues(vector, nil)
		want[fmt.Sprint("id-", i)] = fmt.Sprint(vector)
		if (i+1-first)%50 == 0 || i+1 == first+rows {
			if err := w.Write(b.NewRecordBatch()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A part of Parquet files that is killed again and again goes on with the row group where it was, and gives each row once.
func TestLoad_passesOverRowGroups(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 6 {
		want, dir := map[string]string{}, t.TempDir()
		var names []string
		for i := range 3 {
			names = append(names, filepath.Join(dir, fmt.Sprint(i, ".parquet")))
			writeParquet(t, names[i], 1000*i, 300+rng.IntN(200), want)
		}
		b := store.NewMemory()
		shards := open(t, b, testSpec(2, 4))
		var over int64
		for step := int64(0); ; step++ {
			k := &killer{Bucket: b, after: rng.IntN(2) == 0}
			k.left.Store(2 + rng.Int64N(6))
			through, err := commit.OpenShards(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, through, names, 0, 1)
			inner := o.Open
			o.Open = func(name string, first, skip int64) (*files.Reader, error) {
				r, err := inner(name, first, skip)
				if err == nil {
					over += r.Skipped()
				}
				return r, err
			}
			o.FlushRows, o.Threads = 20+rng.IntN(60), 1+rng.IntN(3)
			report, err := Run(t.Context(), o)
			if err == nil {
				if !report.Already && (report.Read != int64(len(want)) || report.Read != report.Passed+report.Rows) {
					t.Errorf("report %+v, want %d rows", report, len(want))
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
		}
		if over < 300 {
			t.Errorf("%d rows were passed over", over)
		}
		check(t, shards, want, 0)
	}
}
