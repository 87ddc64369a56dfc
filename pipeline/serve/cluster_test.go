package serve

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// clusteredNode is a node that serves clustered rows in lists of a model, without having followed a channel to them.
func clusteredNode(tb testing.TB, rows, lists int, ladder ...int) (*Node, *snapshottest.Data) {
	tb.Helper()
	data := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, ladder...), rows, 1)
	return nodeOf(tb, data, lists), data
}

// nodeOf is a node that serves rows in lists of a model.
func nodeOf(tb testing.TB, data *snapshottest.Data, lists int) *Node {
	tb.Helper()
	level, err := avx.Best()
	if err != nil {
		tb.Fatal(err)
	}
	bucket := store.NewMemory()
	if err := commit.Create(tb.Context(), bucket, data.Spec); err != nil {
		tb.Fatal(err)
	}
	log, err := commit.Open(tb.Context(), bucket)
	if err != nil {
		tb.Fatal(err)
	}
	cache, err := store.NewCache(tb.TempDir(), bucket, store.CacheOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	n, err := New(Options{Log: log, Cache: cache, Level: level, Timeout: time.Minute}) // however busy this machine is
	if err != nil {
		tb.Fatal(err)
	}
	now, err := n.newServed(snapshottest.Build(tb, data, data.Train(tb, level, lists), level, []snapshottest.Group{{Kind: snapshottest.Chunks, End: data.N()}}, nil), nil, log, "", "")
	if err != nil {
		tb.Fatal(err)
	}
	n.current.Store(now)
	tb.Cleanup(n.Close)
	return n
}

// vectorsSchema is the schema of a request.
func vectorsSchema(items arrow.DataType, dim int) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: schemas.ColumnVector, Type: arrow.FixedSizeListOf(int32(dim), items)}}, nil)
}

// vectorsBatch is queries as a record batch, [rows][dim].
func vectorsBatch(items arrow.DataType, dim int, values []float32) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, vectorsSchema(items, dim))
	lists := b.Field(0).(*array.FixedSizeListBuilder)
	for i, x := range values {
		if i%dim == 0 {
			lists.Append(true)
		}
		switch to := lists.ValueBuilder().(type) {
		case *array.Float16Builder:
			to.Append(float16.New(x))
		case *array.Float32Builder:
			to.Append(x)
		case *array.Float64Builder:
			to.Append(float64(x))
		}
	}
	return b.NewRecordBatch()
}

// streamOf is an Arrow stream of batches of one schema.
func streamOf(tb testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch, options ...ipc.Option) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(options, ipc.WithSchema(schema))...)
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// vectorsStream is queries as a request, [rows][dim].
func vectorsStream(tb testing.TB, items arrow.DataType, dim int, values []float32, options ...ipc.Option) []byte {
	tb.Helper()
	b := vectorsBatch(items, dim, values)
	return streamOf(tb, b.Schema(), []arrow.RecordBatch{b}, options...)
}

// readAnswer reads an answer in Arrow.
func readAnswer(tb testing.TB, body []byte) (arrow.RecordBatch, map[string]string) {
	tb.Helper()
	r, err := ipc.NewReader(bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Release()
	if !r.Next() {
		tb.Fatalf("no batch: %v", r.Err())
	}
	b := r.RecordBatch()
	b.Retain()
	if r.Next() || r.Err() != nil {
		tb.Fatalf("more than one batch, or %v", r.Err())
	}
	if err := array.ValidateFull(array.RecordToStructArray(b)); err != nil {
		tb.Fatal(err)
	}
	return b, r.Schema().Metadata().ToMap()
}

// hitsOf is the hits of an answer in Arrow as text.
func hitsOf(b arrow.RecordBatch) (hits []string) {
	query, id, score := b.Column(0).(*array.Uint32), b.Column(1).(*array.String), b.Column(2).(*array.Float32)
	for i := range query.Len() {
		hits = append(hits, fmt.Sprint(query.Value(i), id.Value(i), score.Value(i)))
	}
	return hits
}
