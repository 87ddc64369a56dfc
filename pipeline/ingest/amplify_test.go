package ingest

import (
	"fmt"
	runtimemetrics "runtime/metrics"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// allocated returns the bytes that were ever allocated. Small objects may be counted late, but not great ones.
func allocated() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// checkBudget holds what reading a message or file may allocate since before: 64 bytes for each of its bytes and 16 for each
// byte that it may have after decompression, and 16 MiB for what else runs meanwhile.
func checkBudget(t *testing.T, before uint64, size int, uncompressed int64) {
	t.Helper()
	if got, most := allocated()-before, uint64(16<<20+64*size)+16*uint64(uncompressed); got > most {
		t.Fatalf("%d bytes allocated for %d, allowed: %d", got, size, most)
	}
}

// TestBadRowsDoNotMultiply: what a message has once and each of its bad rows would carry - a text of a dictionary, a name, a
// time zone - costs no more than a multiple of the message.
func TestBadRowsDoNotMultiply(t *testing.T) {
	const rows = 2000
	long := strings.Repeat("x", 200_000)
	bad := func(row string) string { return "[" + row + strings.Repeat(","+row, rows-1) + "]" }
	items := field(long, float32Type)
	listed := messageSchema(field("id", utf8Type), field("vector", arrow.ListOfField(items)))
	noted := messageSchema(field("id", utf8Type), field("vector", arrow.ListOfField(arrow.Field{Name: "item", Type: float32Type,
		Metadata: arrow.NewMetadata([]string{"k"}, []string{long})})))
	zoned := messageSchema(append(plainSchema.Fields(), field("seen", &arrow.TimestampType{Unit: arrow.Second, TimeZone: long}))...)
	op := messageSchema(append(plainSchema.Fields(), field("op", dictType))...)
	for name, message := range map[string][]byte{
		"op":                 messageOf(t, op, bad(fmt.Sprintf(`{"id":"a","vector":[1,2,3,4],"op":%q}`, long))),
		"name of items":      messageOf(t, listed, bad(`{"id":"a","vector":[]}`)),
		"metadata of items":  messageOf(t, noted, bad(`{"id":"a","vector":[]}`)),
		"time zone of a row": messageOf(t, zoned, bad(`{"id":"a","vector":[0,0,0,0]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{MaxMessage: 1 << 20, MaxUncompressed: 2 << 20}
			spec := testSpec()
			d, err := NewDecoder(spec, avx.Generic, limits, nil)
			if err != nil {
				t.Fatal(err)
			}
			out := &decoded{rows: segment.NewRows(spec)}
			before := allocated()
			if err := d.Decode(Message{Topic: "topic", Value: message}, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
				t.Fatal(err)
			}
			if got := allocated() - before; got > 32<<20 {
				t.Errorf("%d bytes allocated for a message of %d", got, len(message))
			}
			out.check(t, spec)
			if len(out.bad) != 1 || out.bad[0].Row != WholeMessage || out.rows.Len() > 0 {
				t.Fatalf("%d rows, %d quarantined, want the message as a whole", out.rows.Len(), len(out.bad))
			}
			if q := out.bad[0]; q.Reason == schemas.ReasonMalformed || !strings.Contains(q.Detail, "bytes") {
				t.Errorf("%v", q.Fault)
			}
		})
	}
}
