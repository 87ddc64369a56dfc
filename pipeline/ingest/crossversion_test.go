package ingest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	arrow15 "github.com/apache/arrow/go/v15/arrow"
	array15 "github.com/apache/arrow/go/v15/arrow/array"
	ipc15 "github.com/apache/arrow/go/v15/arrow/ipc"
	memory15 "github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// Producers write with whatever release they have: the bytes of Arrow's stream format are the contract, not a library.

const crossRows = `[
	{"id":"a","op":"upsert","version":3,"vector":[1,0,0,0],"title":"x","year":2026},
	{"id":"b","op":"delete","version":4,"vector":null,"title":null,"year":null},
	{"id":"c","op":null,"version":null,"vector":[0,0.5,0,0],"title":"y","year":7}]`

// message15 is crossRows as arrow/go v15 writes them.
func message15(t testing.TB, element arrow15.DataType, options ...ipc15.Option) []byte {
	t.Helper()
	dict := &arrow15.DictionaryType{IndexType: arrow15.PrimitiveTypes.Int16, ValueType: arrow15.BinaryTypes.String}
	md := arrow15.NewMetadata([]string{schemas.MetaEncoder}, []string{testEncoder})
	nullable := func(name string, of arrow15.DataType) arrow15.Field {
		return arrow15.Field{Name: name, Type: of, Nullable: true}
	}
	schema := arrow15.NewSchema([]arrow15.Field{
		nullable("id", arrow15.BinaryTypes.String),
		nullable("op", dict),
		nullable("version", arrow15.PrimitiveTypes.Int64),
		nullable("vector", arrow15.FixedSizeListOf(4, element)),
		nullable("title", dict),
		nullable("year", arrow15.PrimitiveTypes.Uint16),
	}, &md)
	batch, _, err := array15.RecordFromJSON(memory15.NewGoAllocator(), schema, strings.NewReader(crossRows))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := ipc15.NewWriter(&out, append(options, ipc15.WithSchema(schema))...)
	if err := w.Write(batch); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestArrow15IsDecoded(t *testing.T) {
	for name, message := range map[string][]byte{
		"float32": message15(t, arrow15.PrimitiveTypes.Float32),
		"float16": message15(t, arrow15.FixedWidthTypes.Float16),
		"lz4":     message15(t, arrow15.PrimitiveTypes.Float32, ipc15.WithLZ4()),
		"zstd":    message15(t, arrow15.PrimitiveTypes.Float32, ipc15.WithZstd()),
	} {
		t.Run(name, func(t *testing.T) {
			got := decode(t, testSpec(), Limits{}, message)
			if len(got.bad) > 0 {
				t.Fatalf("quarantined: %v", got.bad[0].Fault)
			}
			if want := []string{"a", "c"}; !slices.Equal(got.rows.IDs, want) {
				t.Errorf("ids %q, want %q", got.rows.IDs, want)
			}
			if want := []float32{1, 0, 0, 0, 0, 0.5, 0, 0}; !slices.Equal(got.floats(), want) {
				t.Errorf("vectors %v, want %v", got.floats(), want)
			}
			if len(got.deletes) != 1 || got.deletes[0].ID != "b" || got.deletes[0].Version != 4 {
				t.Errorf("deletes %+v", got.deletes)
			}
			if title, year := got.rows.Attributes[0].Value(1), got.rows.Attributes[1].Value(1); title != "y" || year != int64(7) {
				t.Errorf("title %v, year %v", title, year)
			}
		})
	}
}

// TestArrow15ReadsOurs: what producers of ours write, and what is quarantined of it, is read by the old library.
func TestArrow15ReadsOurs(t *testing.T) {
	schema := messageSchema(append(plainSchema.Fields(), field("title", dictType))...)
	message := messageOf(t, schema, `[{"id":"a","vector":[1,0,0,0],"title":"x"},{"id":"b","vector":[0,0,0,0],"title":"y"}]`)
	bad := decode(t, testSpec(), Limits{}, message).bad
	if len(bad) != 1 {
		t.Fatalf("%d quarantined, want 1", len(bad))
	}
	for name, test := range map[string]struct {
		stream []byte
		want   string
	}{
		"message":    {message, `[{"id":"a","title":"x","vector":[1,0,0,0]},{"id":"b","title":"y","vector":[0,0,0,0]}]`},
		"quarantine": {bad[0].Payload, `[{"id":"b","title":"y","vector":[0,0,0,0]}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ipc15.NewReader(bytes.NewReader(test.stream))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release()
			if !r.Next() {
				t.Fatal(r.Err())
			}
			if at := r.Schema().Metadata().FindKey(schemas.MetaEncoder); at < 0 || r.Schema().Metadata().Values()[at] != testEncoder {
				t.Errorf("metadata %v", r.Schema().Metadata())
			}
			got, err := r.Record().MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if s := strings.Join(strings.Fields(string(got)), ""); s != test.want {
				t.Errorf("read %s, want %s", s, test.want)
			}
		})
	}
}
