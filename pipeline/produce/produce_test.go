package produce

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/pipeline/source"
)

// rows is a batch with an id of the given type, a dictionary column and the row's number.
func rows(t *testing.T, id arrow.DataType, appendID func(b array.Builder, i int), n int) arrow.RecordBatch {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "class", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}},
		{Name: "id", Type: id, Nullable: true},
		{Name: "row", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range n {
		if err := b.Field(0).(*array.BinaryDictionaryBuilder).AppendString("c" + strconv.Itoa(i%3)); err != nil {
			t.Fatal(err)
		}
		appendID(b.Field(1), i)
		b.Field(2).(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecordBatch()
}

// Every row goes to the partition of its id's text, once, in order; the other columns come along. A null id goes to 0.
func TestMessages(t *testing.T) {
	const partitions, n = 5, 200
	for _, c := range []struct {
		name   string
		id     arrow.DataType
		append func(b array.Builder, i int)
		text   func(i int) string
	}{
		{"int64", arrow.PrimitiveTypes.Int64, func(b array.Builder, i int) { b.(*array.Int64Builder).Append(int64(-i)) }, func(i int) string { return strconv.Itoa(-i) }},
		{"uint64", arrow.PrimitiveTypes.Uint64, func(b array.Builder, i int) { b.(*array.Uint64Builder).Append(1<<63 + uint64(i)) }, func(i int) string { return strconv.FormatUint(1<<63+uint64(i), 10) }},
		{"utf8", arrow.BinaryTypes.String, func(b array.Builder, i int) { b.(*array.StringBuilder).Append("x" + strconv.Itoa(i)) }, func(i int) string { return "x" + strconv.Itoa(i) }},
		{"uuid", &arrow.FixedSizeBinaryType{ByteWidth: 16}, func(b array.Builder, i int) {
			b.(*array.FixedSizeBinaryBuilder).Append(bytes.Repeat([]byte{byte(i)}, 16))
		}, func(i int) string {
			h := strings.Repeat(string("0123456789abcdef"[i>>4&15])+string("0123456789abcdef"[i&15]), 16)
			return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
		}},
		{"null", arrow.BinaryTypes.String, func(b array.Builder, _ int) { b.AppendNull() }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			messages, err := Messages(t.Context(), partitions, rows(t, c.id, c.append, n))
			if err != nil {
				t.Fatal(err)
			}
			var seen []int64
			for _, m := range messages {
				r, err := ipc.NewReader(bytes.NewReader(m.Value))
				if err != nil {
					t.Fatal(err)
				}
				for r.Next() {
					b := r.RecordBatch()
					numbers := b.Column(2).(*array.Int64).Int64Values()
					if !slices.IsSorted(numbers) {
						t.Errorf("partition %d: rows in the order %v", m.Partition, numbers)
					}
					for i, row := range numbers {
						want := 0
						if c.text != nil {
							want = source.PartitionOf(c.text(int(row)), partitions)
						}
						if m.Partition != want {
							t.Errorf("row %d is in partition %d, want %d", row, m.Partition, want)
						}
						class := b.Column(0).(*array.Dictionary)
						if got := class.Dictionary().(*array.String).Value(class.GetValueIndex(i)); got != "c"+strconv.Itoa(int(row)%3) {
							t.Errorf("row %d has class %s", row, got)
						}
					}
					seen = append(seen, numbers...)
				}
				if err := r.Err(); err != nil {
					t.Error(err)
				}
			}
			slices.Sort(seen)
			if len(seen) != n || len(slices.Compact(seen)) != n {
				t.Errorf("%d rows came out, want %d, each once", len(seen), n)
			}
		})
	}
}

func TestWrongID(t *testing.T) {
	b := rows(t, arrow.PrimitiveTypes.Float64, func(b array.Builder, i int) { b.(*array.Float64Builder).Append(float64(i)) }, 2)
	if _, err := Messages(t.Context(), 2, b); err == nil || !strings.Contains(err.Error(), "float64") || !strings.Contains(err.Error(), "uint64") {
		t.Errorf("%v does not name the type and those allowed", err)
	}
}

// Open reads files and streams alike.
func TestOpen(t *testing.T) {
	b := rows(t, arrow.PrimitiveTypes.Int64, func(b array.Builder, i int) { b.(*array.Int64Builder).Append(int64(i)) }, 7)
	stream, err := Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(b.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b), w.Write(b), w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		in          io.Reader
		known, rows int64
	}{
		{"file", bytes.NewReader(file.Bytes()), 14, 14},
		{"stream that can seek", bytes.NewReader(stream), -1, 7},
		{"stream", io.MultiReader(bytes.NewReader(stream)), -1, 7},
	} {
		r, err := Open(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		total := int64(0)
		for {
			batch, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			total += batch.NumRows()
		}
		if r.Rows() != c.known || total != c.rows {
			t.Errorf("%s: says %d rows and has %d, want %d and %d", c.name, r.Rows(), total, c.known, c.rows)
		}
	}
	if _, err := Open(strings.NewReader("neither")); err == nil {
		t.Error("something else was opened")
	}
}
