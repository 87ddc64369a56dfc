package ingest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/avro"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

// Shape of the messages of the benchmarks: 2 MiB of float32 vectors, a title and a year.
const (
	benchDim  = 256
	benchRows = 2048
)

func benchSpec() *schemas.Spec {
	s := schemas.Spec{
		Name:       "bench",
		Ladder:     []int{64, 128, benchDim},
		Encoder:    testEncoder,
		Attributes: []schemas.Attribute{{Name: "title", Type: schemas.AttributeString}, {Name: "year", Type: schemas.AttributeInt}},
		Topic:      schemas.Topic{Name: "topic", Partitions: 1},
	}.WithDefaults()
	return &s
}

// benchMessage has gaussian vectors of float32 or float16, and ids of a type.
func benchMessage(tb testing.TB, id, element arrow.DataType, options ...ipc.Option) []byte {
	tb.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	schema := messageSchema(field("id", id), field("vector", arrow.FixedSizeListOf(benchDim, element)), field("title", utf8Type), field("year", arrow.PrimitiveTypes.Int32))
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	list := b.Field(1).(*array.FixedSizeListBuilder)
	for i := range benchRows {
		switch ids := b.Field(0).(type) {
		case *array.Int64Builder:
			ids.Append(int64(i))
		case *array.StringBuilder:
			ids.Append("document-" + strconv.Itoa(i))
		}
		list.Append(true)
		for range benchDim {
			switch x := float32(rng.NormFloat64()); items := list.ValueBuilder().(type) {
			case *array.Float32Builder:
				items.Append(x)
			case *array.Float16Builder:
				items.Append(float16.New(x))
			}
		}
		b.Field(2).(*array.StringBuilder).Append("a title of some thirty characters")
		b.Field(3).(*array.Int32Builder).Append(int32(i))
	}
	return streamOf(tb, schema, []arrow.RecordBatch{b.NewRecordBatch()}, options...)
}

func bestLevel(tb testing.TB) avx.Level {
	level, err := avx.Best()
	if err != nil {
		tb.Fatal(err)
	}
	return level
}

// BenchmarkDecode is from a message to rows, on one core. allocs/op are for 2,048 rows.
func BenchmarkDecode(b *testing.B) {
	for _, bench := range []struct {
		name        string
		id, element arrow.DataType
		options     []ipc.Option
	}{
		{"float32", utf8Type, float32Type, nil},
		{"float16", utf8Type, float16Type, nil},
		{"int64-id", int64Type, float32Type, nil},
		{"lz4", utf8Type, float32Type, []ipc.Option{ipc.WithLZ4()}},
		{"zstd", utf8Type, float32Type, []ipc.Option{ipc.WithZstd()}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			message := benchMessage(b, bench.id, bench.element, bench.options...)
			d, rows := benchDecoder(b, benchSpec())
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				rows.Reset()
				benchDecode(b, d, message, rows)
			}
			b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func benchDecoder(b *testing.B, spec *schemas.Spec) (*Decoder, *segment.Rows) {
	d, err := NewDecoder(spec, bestLevel(b), Limits{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return d, segment.NewRows(spec)
}

func benchDecode(b *testing.B, d *Decoder, message []byte, rows *segment.Rows) {
	var deletes []segment.Tombstone
	if err := d.Decode(Message{Topic: "topic", Value: message}, rows, &deletes, func(q Quarantined) { b.Fatal(q.Fault) }); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGuard(b *testing.B) {
	message := benchMessage(b, utf8Type, float32Type)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if err := arrowguard.Check(message, arrowguard.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMessageToSegment is all of an ingestor's work but the network: from messages in memory to the bytes of a
// segment of 16,384 rows, vectors being float16 on both sides, on one core.
func BenchmarkMessageToSegment(b *testing.B) {
	for _, nlist := range []int{0, 1024, 4096} {
		b.Run(fmt.Sprintf("nlist=%d", nlist), func(b *testing.B) {
			const messages = 8
			message := benchMessage(b, utf8Type, float16Type)
			spec := benchSpec()
			spec.Vectors = schemas.Float16
			d, rows := benchDecoder(b, spec)
			mdl := benchModel(b, nlist)
			b.SetBytes(int64(messages * len(message)))
			b.ReportAllocs()
			for b.Loop() {
				rows.Reset()
				for range messages {
					benchDecode(b, d, message, rows)
				}
				if _, err := segment.Write(spec, mdl, bestLevel(b), rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(messages*benchRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// benchModel is a model of that many lists, nil for none. Its quality does not matter.
func benchModel(b *testing.B, nlist int) *model.Model {
	if nlist == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(3, 4))
	n := 2 * nlist
	sample := make([]float32, n*benchDim)
	for i := range sample {
		sample[i] = float32(rng.NormFloat64() / 16)
	}
	mdl, err := model.Train(b.Context(), benchSpec(), sample, n, int64(n), model.Options{NList: nlist, CoarseDims: benchDim, Level: bestLevel(b), Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	return mdl
}

// jsonMessages are the rows of benchMessage as messages of one row.
func jsonMessages(tb testing.TB, envelope bool) [][]byte {
	tb.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	messages := make([][]byte, benchRows)
	for i := range messages {
		vector := make([]float32, benchDim)
		for j := range vector {
			vector[j] = float32(rng.NormFloat64())
		}
		row := map[string]any{"id": "document-" + strconv.Itoa(i), "vector": vector, "title": "a title of some thirty characters", "year": i}
		if envelope {
			row = map[string]any{"before": nil, "after": row, "op": "u", "source": map[string]any{"connector": "postgresql", "lsn": i}}
		}
		var err error
		if messages[i], err = json.Marshal(row); err != nil {
			tb.Fatal(err)
		}
	}
	return messages
}

// BenchmarkDecodeJSON is BenchmarkDecode of as many messages of one row. allocs/op are for 2,048 rows.
func BenchmarkDecodeJSON(b *testing.B) {
	for _, envelope := range []bool{false, true} {
		b.Run(fmt.Sprintf("envelope=%v", envelope), func(b *testing.B) {
			messages := jsonMessages(b, envelope)
			spec := benchSpec()
			spec.Messages = &schemas.Messages{Format: schemas.MessagesJSON}
			if envelope {
				spec.Messages.Envelope = schemas.EnvelopeDebezium
			}
			benchSingles(b, spec, messages)
		})
	}
}

func benchSingles(b *testing.B, spec *schemas.Spec, messages [][]byte) {
	d, err := NewDecoder(spec, bestLevel(b), Limits{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	rows, size := segment.NewRows(spec), 0
	for _, m := range messages {
		size += len(m)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		rows.Reset()
		for _, m := range messages {
			benchDecode(b, d, m, rows)
		}
	}
	b.ReportMetric(float64(len(messages))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkDecodeAvro is BenchmarkDecodeJSON of Avro.
func BenchmarkDecodeAvro(b *testing.B) {
	const text = `{"type":"record","name":"Row","fields":[{"name":"id","type":"string"},{"name":"vector","type":{"type":"array","items":"float"}},{"name":"title","type":["null","string"]},{"name":"year","type":"int"}]}`
	schema, err := avro.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	messages := make([][]byte, benchRows)
	for i := range messages {
		vector := make([]float32, benchDim)
		for j := range vector {
			vector[j] = float32(rng.NormFloat64())
		}
		row := map[string]any{"id": "document-" + strconv.Itoa(i), "vector": vector, "title": "a title of some thirty characters", "year": int32(i)}
		if messages[i], err = schema.AppendEncode([]byte{0, 0, 0, 0, 1}, row); err != nil {
			b.Fatal(err)
		}
	}
	spec := benchSpec()
	spec.Messages = &schemas.Messages{Format: schemas.MessagesAvro, Schemas: map[string]string{"1": text}}
	benchSingles(b, spec, messages)
}
