package arrowguardtest

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

// Encoder is what [Schema] says that vectors are of.
const Encoder = "test-encoder@1"

var (
	utf8Type    = arrow.BinaryTypes.String
	largeType   = arrow.BinaryTypes.LargeString
	int64Type   = arrow.PrimitiveTypes.Int64
	float32Type = arrow.PrimitiveTypes.Float32
	float16Type = arrow.FixedWidthTypes.Float16
	dictType    = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: utf8Type}
)

func field(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// Schema is a schema with an encoder.
func Schema(fields ...arrow.Field) *arrow.Schema {
	md := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{Encoder})
	return arrow.NewSchema(fields, &md)
}

// PlainSchema is that of [Plain]: texts as ids and vectors of four float32.
var PlainSchema = Schema(field("id", utf8Type), field("vector", arrow.FixedSizeListOf(4, float32Type)))

// Batch makes a batch from a JSON array of objects.
func Batch(t testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	batch, _, err := array.RecordFromJSON(memory.NewGoAllocator(), schema, strings.NewReader(rows))
	if err != nil {
		t.Fatalf("rows of test: %v", err)
	}
	return batch
}

// Stream writes batches as a message.
func Stream(t testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch, options ...ipc.Option) []byte {
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

// File writes batches as a file.
func File(t testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch, options ...ipc.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, append(options, ipc.WithSchema(schema))...)
	if err != nil {
		t.Fatalf("file of test: %v", err)
	}
	for _, b := range batches {
		if err := w.Write(b); err != nil {
			t.Fatalf("file of test: %v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("file of test: %v", err)
	}
	return out.Bytes()
}

// Message is a message of one batch from JSON.
func Message(t testing.TB, schema *arrow.Schema, rows string, options ...ipc.Option) []byte {
	t.Helper()
	return Stream(t, schema, []arrow.RecordBatch{Batch(t, schema, rows)}, options...)
}

// Plain is a message of three good rows.
func Plain(t testing.TB) []byte {
	t.Helper()
	return Message(t, PlainSchema, `[
		{"id":"a","vector":[1,0,0,0]},
		{"id":"b","vector":[0,1,0,0]},
		{"id":"c","vector":[0,0,1,0]}]`)
}

// Frames of [Plain], and slots of its batch: node 1 is the vectors, buffer 1 the offsets of the ids.
const (
	schemaFrame = 0
	batchFrame  = 1
)

// Hostile are good messages with one thing wrong.
func Hostile(t testing.TB) map[string][]byte {
	t.Helper()
	const slotLength, slotNodes, slotBuffers, slotBodyLength, slotFields, slotPairs = 0, 1, 2, 3, 1, 2
	edit := func(change func(frames []arrowguard.Frame)) []byte {
		message := Plain(t)
		change(Frames(t, message))
		return message
	}
	batch := func(change func(batch Table)) []byte {
		return edit(func(f []arrowguard.Frame) { change(Header(f[batchFrame])) })
	}
	offsets := func(change func(offsets []byte)) []byte {
		return edit(func(f []arrowguard.Frame) {
			start, _ := Header(f[batchFrame]).Vector(slotBuffers)
			at := int64(binary.LittleEndian.Uint64(f[batchFrame].Metadata[start+16:]))
			change(f[batchFrame].Body[at:])
		})
	}
	message := Plain(t)
	frames := Frames(t, message)
	afterSchema := prefixBytes + len(frames[schemaFrame].Metadata)
	eos := message[len(message)-prefixBytes:]
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	zstd := func(claim int64) []byte {
		message := Message(t, PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`, ipc.WithZstd())
		f := Frames(t, message)[batchFrame]
		start, _ := Header(f).Vector(slotBuffers)
		at := int64(binary.LittleEndian.Uint64(f.Metadata[start+16:]))
		binary.LittleEndian.PutUint64(f.Body[at:], uint64(claim))
		return message
	}
	return map[string][]byte{
		"empty":                  {},
		"not arrow":              []byte(`{"id":"a","vector":[1,0,0,0]}`),
		"arrow file":             join([]byte("ARROW1\x00\x00"), message),
		"before arrow 0.15":      message[4:],
		"cut in the schema":      message[:afterSchema-8],
		"cut after the schema":   message[:afterSchema],
		"cut in the batch":       message[:len(message)-64],
		"cut before the end":     message[:len(message)-prefixBytes],
		"cut in the end":         message[:len(message)-4],
		"bytes after the end":    join(message, []byte{0}),
		"stream after stream":    join(message, message),
		"only the end":           eos,
		"batch before schema":    message[afterSchema:],
		"second schema":          join(message[:afterSchema], message),
		"body of 1 TiB":          edit(func(f []arrowguard.Frame) { Root(f[batchFrame].Metadata).Put(slotBodyLength, 1<<40) }),
		"negative body":          edit(func(f []arrowguard.Frame) { Root(f[batchFrame].Metadata).Put(slotBodyLength, -8) }),
		"metadata of 2 GiB":      join([]byte{0xff, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0x7f}, message[prefixBytes:]),
		"negative metadata":      join([]byte{0xff, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0xff}, message[prefixBytes:]),
		"bomb of fields":         edit(func(f []arrowguard.Frame) { Header(f[schemaFrame]).PutCount(slotFields, 1<<28) }),
		"bomb of metadata":       edit(func(f []arrowguard.Frame) { Header(f[schemaFrame]).PutCount(slotPairs, 1<<28) }),
		"root outside":           edit(func(f []arrowguard.Frame) { binary.LittleEndian.PutUint32(f[batchFrame].Metadata, 1<<30) }),
		"1 million rows":         batch(func(b Table) { b.Put(slotLength, 1<<20) }),
		"1 billion rows":         batch(func(b Table) { b.Put(slotLength, 1<<30) }),
		"negative rows":          batch(func(b Table) { b.Put(slotLength, -1) }),
		"fewer rows than values": batch(func(b Table) { b.Put(slotLength, 2) }),
		"bomb of nodes":          batch(func(b Table) { b.PutCount(slotNodes, 1<<28) }),
		"too few nodes":          batch(func(b Table) { b.PutCount(slotNodes, 2) }),
		"too few buffers":        batch(func(b Table) { b.PutCount(slotBuffers, 4) }),
		"node of 1 Tera values":  batch(func(b Table) { b.PutPair(slotNodes, 1, 0, 1<<40) }),
		"negative node":          batch(func(b Table) { b.PutPair(slotNodes, 1, 0, -1) }),
		"more nulls than values": batch(func(b Table) { b.PutPair(slotNodes, 1, 1, 4) }),
		"nulls without bitmap":   batch(func(b Table) { b.PutPair(slotNodes, 0, 1, 1) }),
		"buffer outside":         batch(func(b Table) { b.PutPair(slotBuffers, 2, 0, 1<<20) }),
		"buffer too long":        batch(func(b Table) { b.PutPair(slotBuffers, 2, 1, 1<<20) }),
		"negative buffer":        batch(func(b Table) { b.PutPair(slotBuffers, 2, 0, -8) }),
		"unaligned buffer":       batch(func(b Table) { b.PutPair(slotBuffers, 1, 0, 1) }),
		"buffers that overlap":   batch(func(b Table) { b.PutPair(slotBuffers, 0, 1, 128); b.PutPair(slotBuffers, 2, 1, 128) }),
		"short buffer":           batch(func(b Table) { b.PutPair(slotBuffers, 5, 1, 8) }),
		"offset too large":       offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[4:], 1000) }),
		"last offset too large":  offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[12:], 1000) }),
		"negative offset":        offsets(func(o []byte) { binary.LittleEndian.PutUint32(o, 0xffffffff) }),
		"falling offsets":        offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[4:], 2); binary.LittleEndian.PutUint32(o[8:], 1) }),
		"id that is not utf-8":   bytes.Replace(message, []byte("abc"), []byte("a\xffc"), 1),
		"zstd of 8 GiB":          zstd(8 << 30),
		"zstd of -2":             zstd(-2),
		"zstd that is longer":    zstd(1 << 20),
		"struct":                 WithColumn(t, field("extra", arrow.StructOf(field("x", int64Type)))),
		"dictionary of numbers":  WithColumn(t, field("extra", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: int64Type})),
		"deep lists":             WithColumn(t, field("extra", arrow.ListOf(arrow.ListOf(arrow.ListOf(arrow.ListOf(int64Type)))))),
		"300 columns":            columnsOf(t, 300),
		"lists of null":          WithColumn(t, field("extra", arrow.ListOf(arrow.Null))),
		"big-endian":             bigEndian(t),
		"delta of a dictionary":  deltaDictionary(t),
		"dictionary index":       badDictionaryIndex(t),
		"many strings in one":    sharedString(t),
	}
}

// WithColumn is a message with one more column.
func WithColumn(t testing.TB, extra arrow.Field) []byte {
	return Message(t, Schema(append(PlainSchema.Fields(), extra)...), `[{"id":"a","vector":[1,0,0,0]}]`)
}

// columnsOf is a stream of a schema with so many columns, and the end.
func columnsOf(t testing.TB, n int) []byte {
	fields := slices.Clone(PlainSchema.Fields())
	for len(fields) < n {
		fields = append(fields, field("", int64Type))
	}
	return Stream(t, Schema(fields...), nil)
}

func bigEndian(t testing.TB) []byte {
	schema := PlainSchema.WithEndianness(1)
	return Message(t, schema, `[{"id":"a","vector":[1,0,0,0]}]`)
}

func deltaDictionary(t testing.TB) []byte {
	schema := Schema(append(PlainSchema.Fields(), field("title", dictType))...)
	first := Batch(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`)
	second := Batch(t, schema, `[{"id":"b","vector":[1,0,0,0],"title":"x"},{"id":"c","vector":[1,0,0,0],"title":"y"}]`)
	return Stream(t, schema, []arrow.RecordBatch{first, second}, ipc.WithDictionaryDeltas(true))
}

func badDictionaryIndex(t testing.TB) []byte {
	schema := Schema(append(PlainSchema.Fields(), field("title", dictType))...)
	batch := Batch(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`)
	batch.Column(2).Data().Buffers()[1].Bytes()[0] = 100
	return Stream(t, schema, []arrow.RecordBatch{batch})
}

// sharedString is a schema of which all pairs of metadata refer to the same long strings: a reader that copies them
// needs memory for their product.
func sharedString(t testing.TB) []byte {
	keys, values := []string{schemas.MetaEncoder}, []string{Encoder}
	for range 100 {
		keys, values = append(keys, "k"), append(values, "v")
	}
	values[1] = strings.Repeat("x", 10_000)
	md := arrow.NewMetadata(keys, values)
	message := Message(t, arrow.NewSchema(PlainSchema.Fields(), &md), `[{"id":"a","vector":[1,0,0,0]}]`)
	schema := Header(Frames(t, message)[schemaFrame])
	start, n := schema.Vector(2)
	at := func(i int64) int64 { return start + 4*i }
	long := at(1) + schema.uint32(at(1))
	for i := int64(2); i < n; i++ {
		binary.LittleEndian.PutUint32(schema.Bytes[at(i):], uint32(long-at(i)))
	}
	return message
}

// Messages are messages with one thing wrong, and good ones of all that writers write: each type at each place, null or
// not, compressed, nested, dictionaries and those that are replaced, several batches and none.
func Messages(t testing.TB) [][]byte {
	var seeds [][]byte
	add := func(rows string, fields ...arrow.Field) {
		for _, o := range [][]ipc.Option{nil, {ipc.WithZstd()}, {ipc.WithLZ4()}} {
			seeds = append(seeds, Message(t, Schema(fields...), rows, o...))
		}
	}
	seconds := &arrow.TimestampType{Unit: arrow.Second}
	wide := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: utf8Type}
	add(`[{"id":1,"op":"upsert","version":3,"vector":[1,2,3,4],"title":"x","year":5,"price":1.5,"new":true,"seen":0,"extra":["y"]},{"id":2,"op":"delete"}]`,
		field("id", int64Type), field("op", dictType), field("version", int64Type), field("vector", arrow.ListOf(float16Type)),
		field("title", dictType), field("year", arrow.PrimitiveTypes.Uint64), field("price", float32Type), field("new", arrow.FixedWidthTypes.Boolean),
		field("seen", &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}), field("extra", arrow.ListOf(utf8Type)))
	add(`[{"id":"a","op":"upsert","version":3,"vector":[1,2,3,4],"title":"x","year":5,"price":1.5,"seen":1,"extra":[[1],[2]]},{"id":"b"},{"id":"c","vector":[0,0,0,1],"op":"delete"}]`,
		field("id", wide), field("op", largeType), field("version", arrow.PrimitiveTypes.Uint32), field("vector", arrow.LargeListOf(arrow.PrimitiveTypes.Float64)),
		field("title", largeType), field("year", arrow.PrimitiveTypes.Int8), field("price", arrow.PrimitiveTypes.Float64),
		field("seen", seconds), field("extra", arrow.ListOf(arrow.FixedSizeListOf(1, arrow.PrimitiveTypes.Uint8))))
	add(`[{"id":"YQ==","vector":[1,2,3,4],"title":"YQ==","raw":"YWI="},{"id":"Yg==","vector":[1,2,null,4]},{"vector":[1,2,3,4]}]`,
		field("id", arrow.BinaryTypes.Binary), field("vector", arrow.FixedSizeListOf(4, float16Type)),
		field("title", arrow.BinaryTypes.LargeBinary), field("raw", &arrow.FixedSizeBinaryType{ByteWidth: 2}), field("none", arrow.Null))
	titled := Schema(append(PlainSchema.Fields(), field("title", dictType))...)
	replaced := []arrow.RecordBatch{
		Batch(t, titled, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`),
		Batch(t, titled, `[{"id":"b","vector":[1,0,0,0],"title":"y"},{"id":"a","vector":[0,1,0,0]}]`),
		Batch(t, titled, `[]`),
	}
	seeds = append(seeds, Stream(t, titled, replaced), Stream(t, titled, replaced, ipc.WithLZ4()), Stream(t, PlainSchema, nil), Plain(t))
	// Chance mends little of what is broken already, so the good ones are taken more often.
	seeds = slices.Repeat(seeds, 20)
	hostile := Hostile(t)
	for _, name := range slices.Sorted(maps.Keys(hostile)) {
		seeds = append(seeds, hostile[name])
	}
	return seeds
}
