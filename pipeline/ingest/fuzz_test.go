package ingest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

func FuzzGuard(f *testing.F)          { mutate.Fuzz(f, guarding) }
func FuzzDecode(f *testing.F)         { mutate.Fuzz(f, decoding) }
func FuzzReadPayload(f *testing.F)    { mutate.Fuzz(f, readingPayloads) }
func FuzzReadQuarantine(f *testing.F) { mutate.Fuzz(f, readingQuarantine) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
		"FuzzGuard":          guarding,
		"FuzzDecode":         decoding,
		"FuzzReadPayload":    readingPayloads,
		"FuzzReadQuarantine": readingQuarantine,
	})
}

// fuzzLimits are small, so that inputs reach them.
var fuzzLimits = Limits{MaxMessage: 1 << 20, MaxUncompressed: 1 << 20, MaxRows: 1 << 12, MaxRowFaults: 256}

// budgetSlack is for what else allocates meanwhile, such as a fuzzer.
const budgetSlack = 1 << 20

// checkBudget holds what reading a message or file may allocate since before: 64 bytes for each of its bytes and 16 for each
// byte that it may have after decompression, and some slack.
func checkBudget(t testing.TB, before uint64, size int, uncompressed int64) {
	t.Helper()
	if got, most := mutate.Allocated()-before, uint64(budgetSlack+64*size)+16*uint64(uncompressed); got > most {
		t.Fatalf("%d bytes allocated for %d, allowed: %d", got, size, most)
	}
}

// messageSeeds are messages with one thing wrong, and good ones of all that writers write: each type at each place, null or
// not, compressed, nested, dictionaries and those that are replaced, several batches and none.
func messageSeeds(t testing.TB) [][]byte {
	var seeds [][]byte
	add := func(rows string, fields ...arrow.Field) {
		for _, o := range [][]ipc.Option{nil, {ipc.WithZstd()}, {ipc.WithLZ4()}} {
			seeds = append(seeds, messageOf(t, messageSchema(fields...), rows, o...))
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
	titled := messageSchema(append(plainSchema.Fields(), field("title", dictType))...)
	replaced := []arrow.RecordBatch{
		batchOf(t, titled, `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`),
		batchOf(t, titled, `[{"id":"b","vector":[1,0,0,0],"title":"y"},{"id":"a","vector":[0,1,0,0]}]`),
		batchOf(t, titled, `[]`),
	}
	seeds = append(seeds, streamOf(t, titled, replaced), streamOf(t, titled, replaced, ipc.WithLZ4()), streamOf(t, plainSchema, nil), plainMessage(t))
	// Chance mends little of what is broken already, so the good ones are taken more often.
	seeds = slices.Repeat(seeds, 20)
	hostile := hostileMessages(t)
	for _, name := range slices.Sorted(maps.Keys(hostile)) {
		seeds = append(seeds, hostile[name])
	}
	return seeds
}

// guarding: whatever a message is, guarding it costs no memory to speak of, and a fault says what is wrong.
func guarding(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return messageSeeds(t), func(t testing.TB, message []byte) {
		before := mutate.Allocated()
		err := Guard(message, fuzzLimits)
		if got := mutate.Allocated() - before; got > budgetSlack {
			t.Fatalf("%d bytes allocated for %d, allowed: %d", got, len(message), budgetSlack)
		}
		var fault *Fault
		if err != nil && (!errors.As(err, &fault) || fault.Reason == "" || fault.Detail == "" || len(fault.Detail) > maxDetail) {
			t.Fatalf("guard says %v", err)
		}
	}
}

// decoding: no message panics, breaks the columns of rows, takes more memory than its budget, or loses a row: each is an
// upsert, a delete or quarantined.
func decoding(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	spec := testSpec()
	d, err := NewDecoder(spec, avx.Generic, fuzzLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	return messageSeeds(t), func(t testing.TB, message []byte) {
		out := &decoded{rows: segment.NewRows(spec)}
		before := mutate.Allocated()
		if err := d.Decode(Message{Topic: "topic", Value: message}, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
			t.Fatal(err)
		}
		checkBudget(t, before, len(message), fuzzLimits.MaxUncompressed)
		out.check(t, spec)
		refused := len(out.bad) == 1 && out.bad[0].Row == WholeMessage
		if refused && out.rows.Len()+len(out.deletes) > 0 {
			t.Fatalf("quarantined whole, yet %d rows and %d deletes", out.rows.Len(), len(out.deletes))
		}
		if guarded := Guard(message, fuzzLimits) == nil; !guarded && !refused {
			t.Fatal("guard refuses, decode does not")
		}
		if refused {
			return // what follows takes most of the time
		}
		if _, err := segment.Write(spec, nil, avx.Generic, out.rows); err != nil {
			t.Fatalf("rows cannot be written: %v", err)
		}
		if _, err := WriteQuarantine(out.bad); err != nil {
			t.Fatalf("quarantine cannot be written: %v", err)
		}
	}
}

// readingPayloads: whatever an operator mends a payload to, it is a fault or batches that can be read to the last value.
func readingPayloads(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return messageSeeds(t), func(t testing.TB, payload []byte) {
		before := mutate.Allocated()
		batches, err := ReadPayload(payload, fuzzLimits)
		checkBudget(t, before, len(payload), fuzzLimits.MaxUncompressed)
		var fault *Fault
		if err != nil && (!errors.As(err, &fault) || strings.Contains(fault.Detail, "panicked")) {
			t.Fatalf("payload: %v", err)
		}
		for _, batch := range batches {
			for _, column := range batch.Columns() {
				if err := array.ValidateFull(column); err != nil && column.DataType().ID() != arrow.NULL {
					t.Fatalf("column of %v: %v", column.DataType(), err)
				}
			}
		}
	}
}

// readingQuarantine: whatever a file is, it is corrupt or its rows are written and read again as the same.
func readingQuarantine(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	for _, rows := range [][]Quarantined{quarantined, quarantined[:1], nil} {
		data, err := WriteQuarantine(rows)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, data)
	}
	return seeds, func(t testing.TB, data []byte) {
		before := mutate.Allocated()
		rows, err := ReadQuarantine("q", data)
		checkBudget(t, before, len(data), 0)
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) || strings.Contains(err.Error(), "panicked") {
				t.Fatal(err)
			}
			return
		}
		again, err := WriteQuarantine(rows)
		if err != nil {
			t.Fatal(err)
		}
		second, err := ReadQuarantine("q", again)
		if err != nil || !slices.EqualFunc(second, rows, sameQuarantined) {
			t.Fatalf("%+v were read again as %+v, %v", rows, second, err)
		}
	}
}

func sameQuarantined(a, b Quarantined) bool {
	return bytes.Equal(a.Payload, b.Payload) && a.Topic == b.Topic && a.Partition == b.Partition && a.Offset == b.Offset &&
		a.Row == b.Row && a.Fault == b.Fault && a.Timestamp == b.Timestamp
}
