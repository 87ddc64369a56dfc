package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// framesOf are the frames of a good stream; changing them changes the stream.
func framesOf(t testing.TB, stream []byte) []frame {
	t.Helper()
	frames, fault := scan(stream, Limits{}.withDefaults(), nil)
	if fault != nil {
		t.Fatal(fault)
	}
	return frames
}

// header is the table of a frame's schema, dictionary or batch.
func (f frame) header() table {
	h, _ := newMetadata(f.metadata).root().child(2)
	return h
}

// put overwrites an int64 of the metadata that a slot of a table holds.
func (t table) put(slot int64, value int64) {
	binary.LittleEndian.PutUint64(t.m.bytes[t.field(slot, 8):], uint64(value))
}

// putCount overwrites the length of a vector.
func (t table) putCount(slot int64, n uint32) {
	binary.LittleEndian.PutUint32(t.m.bytes[t.reference(slot):], n)
}

// putPair overwrites one of the two int64 of element i of a vector of nodes or buffers.
func (t table) putPair(slot, i, half, value int64) {
	start, _ := t.vector(slot, 16)
	binary.LittleEndian.PutUint64(t.m.bytes[start+16*i+8*half:], uint64(value))
}

// Frames of plainMessage, and slots of its batch: node 1 is the vectors, buffer 1 the offsets of the ids.
const (
	schemaFrame = 0
	batchFrame  = 1
)

// hostileMessages are good messages with one thing wrong.
func hostileMessages(t testing.TB) map[string][]byte {
	t.Helper()
	const slotLength, slotNodes, slotBuffers, slotBodyLength, slotFields, slotPairs = 0, 1, 2, 3, 1, 2
	edit := func(change func(frames []frame)) []byte {
		message := plainMessage(t)
		change(framesOf(t, message))
		return message
	}
	batch := func(change func(batch table)) []byte {
		return edit(func(f []frame) { change(f[batchFrame].header()) })
	}
	offsets := func(change func(offsets []byte)) []byte {
		return edit(func(f []frame) {
			start, _ := f[batchFrame].header().vector(slotBuffers, 16)
			at := int64(binary.LittleEndian.Uint64(f[batchFrame].metadata[start+16:]))
			change(f[batchFrame].body[at:])
		})
	}
	message := plainMessage(t)
	frames := framesOf(t, message)
	afterSchema := prefixBytes + len(frames[schemaFrame].metadata)
	eos := message[len(message)-prefixBytes:]
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	zstd := func(claim int64) []byte {
		message := messageOf(t, plainSchema, `[{"id":"a","vector":[1,0,0,0]}]`, ipc.WithZstd())
		f := framesOf(t, message)[batchFrame]
		start, _ := f.header().vector(slotBuffers, 16)
		at := int64(binary.LittleEndian.Uint64(f.metadata[start+16:]))
		binary.LittleEndian.PutUint64(f.body[at:], uint64(claim))
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
		"body of 1 TiB":          edit(func(f []frame) { newMetadata(f[batchFrame].metadata).root().put(slotBodyLength, 1<<40) }),
		"negative body":          edit(func(f []frame) { newMetadata(f[batchFrame].metadata).root().put(slotBodyLength, -8) }),
		"metadata of 2 GiB":      join([]byte{0xff, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0x7f}, message[prefixBytes:]),
		"negative metadata":      join([]byte{0xff, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0xff}, message[prefixBytes:]),
		"bomb of fields":         edit(func(f []frame) { f[schemaFrame].header().putCount(slotFields, 1<<28) }),
		"bomb of metadata":       edit(func(f []frame) { f[schemaFrame].header().putCount(slotPairs, 1<<28) }),
		"root outside":           edit(func(f []frame) { binary.LittleEndian.PutUint32(f[batchFrame].metadata, 1<<30) }),
		"1 million rows":         batch(func(b table) { b.put(slotLength, 1<<20) }),
		"1 billion rows":         batch(func(b table) { b.put(slotLength, 1<<30) }),
		"negative rows":          batch(func(b table) { b.put(slotLength, -1) }),
		"fewer rows than values": batch(func(b table) { b.put(slotLength, 2) }),
		"bomb of nodes":          batch(func(b table) { b.putCount(slotNodes, 1<<28) }),
		"too few nodes":          batch(func(b table) { b.putCount(slotNodes, 2) }),
		"too few buffers":        batch(func(b table) { b.putCount(slotBuffers, 4) }),
		"node of 1 Tera values":  batch(func(b table) { b.putPair(slotNodes, 1, 0, 1<<40) }),
		"negative node":          batch(func(b table) { b.putPair(slotNodes, 1, 0, -1) }),
		"more nulls than values": batch(func(b table) { b.putPair(slotNodes, 1, 1, 4) }),
		"nulls without bitmap":   batch(func(b table) { b.putPair(slotNodes, 0, 1, 1) }),
		"buffer outside":         batch(func(b table) { b.putPair(slotBuffers, 2, 0, 1<<20) }),
		"buffer too long":        batch(func(b table) { b.putPair(slotBuffers, 2, 1, 1<<20) }),
		"negative buffer":        batch(func(b table) { b.putPair(slotBuffers, 2, 0, -8) }),
		"unaligned buffer":       batch(func(b table) { b.putPair(slotBuffers, 1, 0, 1) }),
		"buffers that overlap":   batch(func(b table) { b.putPair(slotBuffers, 0, 1, 128); b.putPair(slotBuffers, 2, 1, 128) }),
		"short buffer":           batch(func(b table) { b.putPair(slotBuffers, 5, 1, 8) }),
		"offset too large":       offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[4:], 1000) }),
		"last offset too large":  offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[12:], 1000) }),
		"negative offset":        offsets(func(o []byte) { binary.LittleEndian.PutUint32(o, 0xffffffff) }),
		"falling offsets":        offsets(func(o []byte) { binary.LittleEndian.PutUint32(o[4:], 2); binary.LittleEndian.PutUint32(o[8:], 1) }),
		"id that is not utf-8":   bytes.Replace(message, []byte("abc"), []byte("a\xffc"), 1),
		"zstd of 8 GiB":          zstd(8 << 30),
		"zstd of -2":             zstd(-2),
		"zstd that is longer":    zstd(1 << 20),
		"struct":                 withColumn(t, field("extra", arrow.StructOf(field("x", int64Type)))),
		"dictionary of numbers":  withColumn(t, field("extra", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: int64Type})),
		"deep lists":             withColumn(t, field("extra", arrow.ListOf(arrow.ListOf(arrow.ListOf(arrow.ListOf(int64Type)))))),
		"300 columns":            columnsOf(t, 300),
		"lists of null":          withColumn(t, field("extra", arrow.ListOf(arrow.Null))),
		"big-endian":             bigEndian(t),
		"delta of a dictionary":  deltaDictionary(t),
		"dictionary index":       badDictionaryIndex(t),
		"many strings in one":    sharedString(t),
	}
}

// withColumn is a message with one more column.
func withColumn(t testing.TB, extra arrow.Field) []byte {
	return messageOf(t, messageSchema(append(plainSchema.Fields(), extra)...), `[{"id":"a","vector":[1,0,0,0]}]`)
}

// columnsOf is a stream of a schema with so many columns, and the end.
func columnsOf(t testing.TB, n int) []byte {
	fields := slices.Clone(plainSchema.Fields())
	for len(fields) < n {
		fields = append(fields, field("", int64Type))
	}
	return streamOf(t, messageSchema(fields...), nil)
}

func bigEndian(t testing.TB) []byte {
	schema := plainSchema.WithEndianness(1)
	return messageOf(t, schema, `[{"id":"a","vector":[1,0,0,0]}]`)
}

func deltaDictionary(t testing.TB) []byte {
	schema := messageSchema(append(plainSchema.Fields(), field("title", dictType))...)
	first := batchOf(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`)
	second := batchOf(t, schema, `[{"id":"b","vector":[1,0,0,0],"title":"x"},{"id":"c","vector":[1,0,0,0],"title":"y"}]`)
	return streamOf(t, schema, []arrow.RecordBatch{first, second}, ipc.WithDictionaryDeltas(true))
}

func badDictionaryIndex(t testing.TB) []byte {
	schema := messageSchema(append(plainSchema.Fields(), field("title", dictType))...)
	batch := batchOf(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`)
	batch.Column(2).Data().Buffers()[1].Bytes()[0] = 100
	return streamOf(t, schema, []arrow.RecordBatch{batch})
}

// sharedString is a schema of which all pairs of metadata refer to the same long strings: a reader that copies them
// needs memory for their product.
func sharedString(t testing.TB) []byte {
	keys, values := []string{schemas.MetaEncoder}, []string{testEncoder}
	for range 100 {
		keys, values = append(keys, "k"), append(values, "v")
	}
	values[1] = strings.Repeat("x", 10_000)
	md := arrow.NewMetadata(keys, values)
	message := messageOf(t, arrow.NewSchema(plainSchema.Fields(), &md), `[{"id":"a","vector":[1,0,0,0]}]`)
	schema := framesOf(t, message)[schemaFrame].header()
	start, n := schema.vector(2, 4)
	at := func(i int64) int64 { return start + 4*i }
	long := at(1) + schema.m.uint32(at(1))
	for i := int64(2); i < n; i++ {
		binary.LittleEndian.PutUint32(schema.m.bytes[at(i):], uint32(long-at(i)))
	}
	return message
}

// TestGuardHostile: whatever is wrong, the message is refused whole, nothing panics, and its neighbours go on.
func TestGuardHostile(t *testing.T) {
	// What Guard leaves to the decoder, because it does not look into buffers or at batches as a whole.
	inside := map[string]bool{
		"1 million rows": true, "fewer rows than values": true, "nulls without bitmap": true, "short buffer": true,
		"offset too large": true, "last offset too large": true, "negative offset": true, "falling offsets": true,
		"id that is not utf-8": true, "zstd that is longer": true, "dictionary index": true,
	}
	for name, message := range hostileMessages(t) {
		t.Run(name, func(t *testing.T) {
			original := bytes.Clone(message)
			err := Guard(message, Limits{})
			var fault *Fault
			if errors.As(err, &fault) == inside[name] {
				t.Errorf("guard says %v", err)
			}
			got := decode(t, testSpec(), Limits{}, plainMessage(t), message, plainMessage(t))
			if got.rows.Len() != 6 || len(got.bad) != 1 {
				t.Fatalf("%d rows, %d quarantined, want the 6 of the neighbours and 1", got.rows.Len(), len(got.bad))
			}
			q := got.bad[0]
			if q.Row != WholeMessage || !bytes.Equal(q.Payload, original) || q.Detail == "" {
				t.Errorf("quarantined row %d with %d bytes: %v", q.Row, len(q.Payload), q.Fault)
			}
			switch q.Reason {
			case schemas.ReasonMalformed, schemas.ReasonTooLarge, schemas.ReasonSchema:
			default:
				t.Errorf("reason %s", q.Reason)
			}
			t.Log(q.Fault)
		})
	}
}

func TestGuardLimits(t *testing.T) {
	message := plainMessage(t)
	batch := batchOf(t, plainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	three := streamOf(t, plainSchema, []arrow.RecordBatch{batch, batch, batch})
	for _, test := range []struct {
		name    string
		message []byte
		limits  Limits
		detail  string
	}{
		{"bytes", message, Limits{MaxMessage: len(message) - 1}, "bytes, allowed"},
		{"metadata", message, Limits{MaxMetadata: 64}, "metadata at 0"},
		{"uncompressed", message, Limits{MaxUncompressed: 60}, "after decompression"},
		{"rows", three, Limits{MaxRows: 2}, "3 rows or more, allowed: 2"},
		{"columns", message, Limits{MaxColumns: 2}, "more than 2 fields"},
		{"batches", three, Limits{MaxBatches: 2}, "more than 2 batches"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := Guard(test.message, Limits{}); err != nil {
				t.Errorf("default limits: %v", err)
			}
			var fault *Fault
			if err := Guard(test.message, test.limits); !errors.As(err, &fault) || fault.Reason != schemas.ReasonTooLarge || !strings.Contains(fault.Detail, test.detail) {
				t.Errorf("got %v, want too_large with %q", err, test.detail)
			}
		})
	}
	if err := (Limits{MaxRows: -1, MaxBatches: -1}).Validate(); err == nil || strings.Count(err.Error(), "allowed") != 2 {
		t.Errorf("negative limits: %v", err)
	}
}

// TestGuardTakesWhatWritersWrite: empty streams, batches and columns, several batches, dictionaries that are replaced.
func TestGuardTakesWhatWritersWrite(t *testing.T) {
	titled := messageSchema(append(plainSchema.Fields(), field("title", dictType))...)
	batch := batchOf(t, plainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	none := batchOf(t, plainSchema, `[]`)
	for _, test := range []struct {
		name    string
		message []byte
		rows    int
	}{
		{"no batch", streamOf(t, plainSchema, nil), 0},
		{"empty batch", streamOf(t, plainSchema, []arrow.RecordBatch{none}), 0},
		{"many batches", streamOf(t, plainSchema, []arrow.RecordBatch{batch, none, batch}), 2},
		{"dictionary of nothing", streamOf(t, titled, []arrow.RecordBatch{batchOf(t, titled, `[]`)}), 0},
		{"replaced dictionary", streamOf(t, titled, []arrow.RecordBatch{
			batchOf(t, titled, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`),
			batchOf(t, titled, `[{"id":"b","vector":[1,0,0,0],"title":"y"}]`),
		}), 2},
		{"wide dictionary", messageOf(t, messageSchema(append(plainSchema.Fields(), field("title", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: utf8Type}))...),
			`[{"id":"a","vector":[1,0,0,0],"title":"x"}]`), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := decode(t, testSpec(), Limits{}, test.message)
			if len(got.bad) > 0 || got.rows.Len() != test.rows {
				t.Errorf("%d rows, want %d; quarantined %v", got.rows.Len(), test.rows, got.bad)
			}
		})
	}
}

// TestGuardBombsCostNothing: refusing what claims gigabytes takes no memory to speak of.
func TestGuardBombsCostNothing(t *testing.T) {
	messages := hostileMessages(t)
	for _, name := range []string{"body of 1 TiB", "bomb of fields", "bomb of metadata", "1 billion rows", "zstd of 8 GiB", "many strings in one"} {
		const times = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if Guard(messages[name], Limits{}) == nil {
				t.Fatalf("%s: not refused", name)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 4096 {
			t.Errorf("%s: %d bytes to refuse it", name, got)
		}
	}
}

// TestArrowFacts are traps of the library that this package works around. When one of them fails after an upgrade, look
// whether the work-around is still needed.
func TestArrowFacts(t *testing.T) {
	t.Run("a stream cut at a message boundary reads as a shorter one", func(t *testing.T) {
		message := hostileMessages(t)["cut after the schema"]
		r, err := ipc.NewReader(bytes.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		if r.Next() || r.Err() != nil {
			t.Errorf("now an error: %v", r.Err())
		}
	})
	t.Run("a null column as it was read is not valid", func(t *testing.T) {
		message := withColumn(t, field("extra", arrow.Null))
		r, err := ipc.NewReader(bytes.NewReader(message), ipc.WithAllocator(memory.NewGoAllocator()))
		if err != nil || !r.Next() {
			t.Fatal(err, r.Err())
		}
		if array.ValidateFull(r.RecordBatch().Column(2)) == nil {
			t.Error("now it is")
		}
	})
}
