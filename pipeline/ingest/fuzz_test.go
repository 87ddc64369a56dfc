package ingest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

func FuzzDecode(f *testing.F)         { mutate.Fuzz(f, decoding) }
func FuzzReadPayload(f *testing.F)    { mutate.Fuzz(f, readingPayloads) }
func FuzzReadQuarantine(f *testing.F) { mutate.Fuzz(f, readingQuarantine) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
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

// decoding: no message panics, breaks the columns of rows, takes more memory than its budget, or loses a row: each is an
// upsert, a delete or quarantined.
func decoding(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	spec := testSpec()
	d, err := NewDecoder(spec, avx.Generic, fuzzLimits, nil)
	if err != nil {
		t.Fatal(err)
	}
	return arrowguardtest.Messages(t), func(t testing.TB, message []byte) {
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
		if guarded := arrowguard.Check(message, fuzzLimits.guard()) == nil; !guarded && !refused {
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
	return arrowguardtest.Messages(t), func(t testing.TB, payload []byte) {
		before := mutate.Allocated()
		batches, err := ReadPayload(payload, fuzzLimits)
		checkBudget(t, before, len(payload), fuzzLimits.MaxUncompressed)
		var fault *schemas.Fault
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
