package ingest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

func FuzzJSON(f *testing.F)     { mutate.Fuzz(f, readingJSON) }
func FuzzDebezium(f *testing.F) { mutate.Fuzz(f, readingDebezium) }
func FuzzAvro(f *testing.F)     { mutate.Fuzz(f, readingAvro) }

func TestSingleMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzJSON": readingJSON, "FuzzDebezium": readingDebezium, "FuzzAvro": readingAvro})
}

// checkSingle: no message panics or takes more memory than its budget, and each is one row, one delete or refused. As a key, it is a delete
// or refused.
func checkSingle(t testing.TB, spec *schemas.Spec) func(testing.TB, []byte) {
	d, err := NewDecoder(spec, avx.Generic, fuzzLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB, input []byte) {
		if input == nil {
			input = []byte{}
		}
		for _, m := range []Message{{Topic: "topic", Value: input}, {Topic: "topic", Key: input}} {
			out := &decoded{rows: segment.NewRows(spec)}
			before := mutate.Allocated()
			if err := d.Decode(m, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
				t.Fatal(err)
			}
			checkBudget(t, before, len(input), 0)
			out.check(t, spec)
			if n := out.rows.Len() + len(out.deletes) + len(out.bad); n != 1 || m.Value == nil && out.rows.Len() > 0 {
				t.Fatalf("%d rows, %d deletes, %d refused", out.rows.Len(), len(out.deletes), len(out.bad))
			}
		}
	}
}

func readingJSON(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	spec := messagesSpec(t, `{"format":"json","op":"op","version":"meta.rev","key":"id"}`)
	return [][]byte{
		[]byte(`{"id":"a\u0062","op":"upsert","meta":{"rev":-5},"title":"x\n\u00e9","year":7,"price":1.5e3,"new":true,"seen":"2026-11-27T08:00:00Z","vector":[1,-0.5,2e-3,0],"more":[{"x":[null]}]}`),
		[]byte(`{"schema":{"type":"struct"},"payload":{"id":18446744073709551615,"seen":1764230400123,"new":0,"vector":"[1, 2,3,4]"}}`),
		[]byte(`{"id":-3,"op":"delete","vector":null,"title":"__debezium_unavailable_value"}`),
	}, checkSingle(t, spec)
}

func readingDebezium(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	spec := messagesSpec(t, `{"format":"json","envelope":"debezium","id":"sku","vector":"embedding","version":"$.source.lsn","attributes":{"year":"stock","new":"fresh","seen":"updated_at"}}`)
	files, err := filepath.Glob("testdata/debezium/postgres-*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	var seeds [][]byte
	for _, file := range files {
		seed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	return seeds, checkSingle(t, spec)
}

func readingAvro(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	spec := avroSpec(t, `{"format":"avro","op":"op","version":"rev","key":"id"`)
	long, odd := "chain", obj{"id": "x", "vector": []any{1.0, nil, 3.0, 4.0}, "seen": time.Unix(0, 0).UTC(), "price": float32(0.5)}
	return [][]byte{
		avroMessage(t, 1, obj{"id": "a", "vector": []float32{1, 0.5, -0.25, 0}, "junk": obj{"x": int64(5), "y": "z", "n": nil}, "title": "x", "year": int32(-7), "price": 1.5, "new": true, "seen": time.Unix(1, 0).UTC(), "rev": int64(9), "op": "upsert"}),
		avroMessage(t, 2, odd),
		avroMessage(t, 3, obj{"id": []byte("0123456789abcdef"), "vector": make([]byte, 16)}),
		avroMessage(t, 8, obj{"id": "a", "vector": []any{nil, nil}, "junk": []any{obj{}, obj{}}}),
		avroMessage(t, 11, obj{"id": "a", "vector": []int64{1, -2, 3, 4}, "junk": []any{nil, nil, nil}}),
		avroMessage(t, 9, obj{"id": "a", "vector": []float32{1, 2, 3, 4}, "next": obj{"id": long, "vector": []float32{}, "next": nil}}),
	}, checkSingle(t, spec)
}
