package ingest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

// TestHostileMessages: whatever is wrong, the message is refused whole, nothing panics, and its neighbours go on.
func TestHostileMessages(t *testing.T) {
	for name, message := range arrowguardtest.Hostile(t) {
		t.Run(name, func(t *testing.T) {
			original := bytes.Clone(message)
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

func TestLimits(t *testing.T) {
	if err := (Limits{MaxRows: -1, MaxBatches: -1}).Validate(); err == nil || strings.Count(err.Error(), "allowed") != 2 {
		t.Errorf("negative limits: %v", err)
	}
}

// TestWhatWritersWrite: empty streams, batches and columns, several batches, dictionaries that are replaced.
func TestWhatWritersWrite(t *testing.T) {
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

// TestArrowFacts are traps of the library that this package works around. When one of them fails after an upgrade, look
// whether the work-around is still needed.
func TestArrowFacts(t *testing.T) {
	t.Run("a stream cut at a message boundary reads as a shorter one", func(t *testing.T) {
		message := arrowguardtest.Hostile(t)["cut after the schema"]
		r, err := ipc.NewReader(bytes.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		if r.Next() || r.Err() != nil {
			t.Errorf("now an error: %v", r.Err())
		}
	})
	t.Run("a null column as it was read is not valid", func(t *testing.T) {
		message := arrowguardtest.WithColumn(t, field("extra", arrow.Null))
		r, err := ipc.NewReader(bytes.NewReader(message), ipc.WithAllocator(memory.NewGoAllocator()))
		if err != nil || !r.Next() {
			t.Fatal(err, r.Err())
		}
		if array.ValidateFull(r.RecordBatch().Column(2)) == nil {
			t.Error("now it is")
		}
	})
}

// TestSharedLayouts: flatbuffers of Go share a description of tables whose fields lie alike, whatever their sizes: that of a dictionary's
// encoding, whose id has 8 bytes, may be that of an entry of metadata, and says that the table ends in the middle of the id.
func TestSharedLayouts(t *testing.T) {
	noted := func(name string, of arrow.DataType) arrow.Field {
		f := field(name, of)
		f.Metadata = arrow.NewMetadata([]string{"k"}, []string{"v"})
		return f
	}
	fields := append(plainSchema.Fields(), noted("year", int64Type), field("op", dictType), field("title", dictType))
	got := decode(t, testSpec(), Limits{}, messageOf(t, messageSchema(fields...), `[{"id":"a","vector":[1,0,0,0],"title":"x"}]`))
	if got.rows.Len() != 1 {
		t.Errorf("%v", got.bad)
	}
}
