package arrowfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// file writes n batches of one column of the given type.
func file(t *testing.T, typ arrow.DataType, n int, options ...ipc.Option) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: typ}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, append(options, ipc.WithSchema(schema))...)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		for i := range 64 {
			switch c := b.Field(0).(type) {
			case *array.Int64Builder:
				c.Append(int64(i % 3))
			case *array.BinaryDictionaryBuilder:
				if err := c.AppendString("x"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Write(b.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// inspect turns the panics of tables that do not hold together into an answer.
func inspect(data []byte) (said string) {
	defer func() {
		if recover() != nil {
			said = "panic"
		}
	}()
	if err := Inspect(data); err != nil {
		return err.Error()
	}
	return "fine"
}

func TestInspect(t *testing.T) {
	good := file(t, arrow.PrimitiveTypes.Int64, 1)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", good, "fine"},
		{"empty", nil, "not an arrow file"},
		{"cut", good[:len(good)-3], "not an arrow file"},
		{"no batch", file(t, arrow.PrimitiveTypes.Int64, 0), "0 record batches"},
		{"two batches", file(t, arrow.PrimitiveTypes.Int64, 2), "2 record batches"},
		{"compressed", file(t, arrow.PrimitiveTypes.Int64, 1, ipc.WithZstd()), "compressed"},
		{"dictionary", file(t, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, 1), "dictionary"},
	} {
		if got := inspect(c.data); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A schema may have texts of kilobytes, each of its many fields not.
func TestInspectLongTexts(t *testing.T) {
	long := func(n int) arrow.Metadata { return arrow.NewMetadata([]string{"k"}, []string{strings.Repeat("x", n)}) }
	none := arrow.Metadata{}
	for _, c := range []struct {
		name          string
		schema, field arrow.Metadata
		want          string
	}{
		{"schema", long(maxSchemaBytes), none, "fine"},
		{"schema, one more", long(maxSchemaBytes + 1), none, "metadata of 65537 bytes, allowed: at most 65536"},
		{"field", none, long(maxTextBytes), "fine"},
		{"field, one more", none, long(maxTextBytes + 1), "metadata of 1025 bytes, allowed: at most 1024"},
	} {
		schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: arrow.PrimitiveTypes.Int64, Metadata: c.field}}, &c.schema)
		if got := inspect(empty(t, schema)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// empty writes one batch without rows.
func empty(t *testing.T, schema *arrow.Schema) []byte {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whatever bit is flipped, the reader that follows allocates no more than the file could need.
func TestInspectBoundsAllocation(t *testing.T) {
	good := file(t, arrow.PrimitiveTypes.Int64, 1)
	for i := range good {
		for bit := range 8 {
			data := bytes.Clone(good)
			data[i] ^= 1 << bit
			if inspect(data) != "fine" {
				continue
			}
			if n := testing.AllocsPerRun(1, func() { read(data) }); n > 2000 {
				t.Fatalf("byte %d bit %d: %v allocations", i, bit, n)
			}
		}
	}
}

func read(data []byte) {
	defer func() { _ = recover() }() // tables that do not hold together
	r, err := ipc.NewMappedFileReader(data, ipc.WithMetadataSizeLimit(int64(len(data))), ipc.WithBodySizeLimit(int64(len(data))))
	if err != nil {
		return
	}
	defer r.Close()
	if b, err := r.RecordBatchAt(0); err == nil {
		b.Release()
	}
}
