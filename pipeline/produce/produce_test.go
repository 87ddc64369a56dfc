package produce

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/pipeline/files"
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
			messages, err := Messages(t.Context(), Topic{Partitions: partitions}, rows(t, c.id, c.append, n))
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
	if _, err := Messages(t.Context(), Topic{Partitions: 2}, b); err == nil || !strings.Contains(err.Error(), "float64") || !strings.Contains(err.Error(), "uint64") {
		t.Errorf("%v does not name the type and those allowed", err)
	}
}

// What an ingestor accepts comes through, in messages as small as need be: half-precision lists, whichever kind of list, with nulls in any column.
func TestColumnsSurvive(t *testing.T) {
	const partitions, n = 3, 40
	md := arrow.MetadataFrom(map[string]string{"adastream.encoder": "e"})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "vector", Type: arrow.FixedSizeListOf(2, arrow.FixedWidthTypes.Float16), Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.FixedWidthTypes.Float16), Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	}, &md)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	half := func(i int) float16.Num { return float16.New(float32(i) / 2) }
	for i := range n {
		if i%7 == 3 {
			for _, f := range b.Fields() {
				f.AppendNull()
			}
			continue
		}
		b.Field(0).(*array.LargeStringBuilder).Append(strconv.Itoa(i))
		vector := b.Field(1).(*array.FixedSizeListBuilder)
		vector.Append(true)
		vector.ValueBuilder().(*array.Float16Builder).AppendValues([]float16.Num{half(i), half(-i)}, nil)
		list := b.Field(2).(*array.ListBuilder)
		list.Append(true)
		for range i % 3 {
			list.ValueBuilder().(*array.Float16Builder).Append(half(i))
		}
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
	}
	whole := b.NewRecordBatch()
	part := whole.NewSlice(2, n)         // as All cuts it
	want := make([][]string, partitions) // rows of each partition, as JSON
	for i := range int(part.NumRows()) {
		p := 0
		if ids := part.Column(0).(*array.LargeString); ids.IsValid(i) {
			p = source.PartitionOf(ids.Value(i), partitions)
		}
		want[p] = append(want[p], rowText(part, i))
	}
	count := 0
	for _, limit := range []int64{0, 1300, 1150, 1} {
		messages, err := Messages(t.Context(), Topic{Partitions: partitions, MaxMessage: limit}, part)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) <= count {
			t.Errorf("at most %d bytes: %d messages, %d of a larger limit", limit, len(messages), count)
		}
		count = len(messages)
		got := make([][]string, partitions)
		for _, m := range messages {
			if limit > 0 && int64(len(m.Value)) > limit && m.Rows > 1 {
				t.Errorf("at most %d bytes: %d rows in %d", limit, m.Rows, len(m.Value))
			}
			r, err := ipc.NewReader(bytes.NewReader(m.Value))
			if err != nil {
				t.Fatal(err)
			}
			if !r.Schema().Equal(schema) {
				t.Errorf("partition %d: schema %s", m.Partition, r.Schema())
			}
			if encoder, _ := r.Schema().Metadata().GetValue("adastream.encoder"); encoder != "e" {
				t.Errorf("partition %d: encoder %q", m.Partition, encoder)
			}
			rows := int64(0)
			for r.Next() {
				rows += r.RecordBatch().NumRows()
				for i := range int(r.RecordBatch().NumRows()) {
					got[m.Partition] = append(got[m.Partition], rowText(r.RecordBatch(), i))
				}
			}
			if err := r.Err(); err != nil || rows != m.Rows {
				t.Errorf("%d rows, said to be %d, %v", rows, m.Rows, err)
			}
		}
		for p := range want {
			if !slices.Equal(got[p], want[p]) {
				t.Errorf("at most %d bytes, partition %d:\n got %q\nwant %q", limit, p, got[p], want[p])
			}
		}
	}
	if count != int(part.NumRows()) {
		t.Errorf("%d messages of %d rows, of which none fits", count, part.NumRows())
	}
}

func rowText(b arrow.RecordBatch, i int) string {
	var fields []string
	for _, c := range b.Columns() {
		fields = append(fields, c.ValueStr(i))
	}
	return strings.Join(fields, " ")
}

// counter is a broker that counts rows.
type counter struct {
	t    *testing.T
	rows int64
}

func (c *counter) Send(_ context.Context, messages ...source.Message) error {
	for _, m := range messages {
		r, err := ipc.NewReader(bytes.NewReader(m.Value))
		if err != nil {
			c.t.Fatal(err)
		}
		for r.Next() {
			c.rows += r.RecordBatch().NumRows()
		}
	}
	return nil
}

// All cuts every batch and tells of each piece after it was sent.
func TestAll(t *testing.T) {
	b := rows(t, arrow.PrimitiveTypes.Int64, func(b array.Builder, i int) { b.(*array.Int64Builder).Append(int64(i)) }, 7)
	stream, err := Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	r, err := files.Arrow(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	to := &counter{t: t}
	if err := All(t.Context(), to, Topic{Partitions: 2}, r, 0, nil); err == nil || !strings.Contains(err.Error(), "at least 1") {
		t.Errorf("batches of no rows: %v", err)
	}
	var told []int64
	if err := All(t.Context(), to, Topic{Partitions: 2}, r, 3, func(rows int64) { told = append(told, rows) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int64{3, 3, 1}) || to.rows != 7 {
		t.Errorf("told of %v, sent %d rows", told, to.rows)
	}
}

// A damaged file is an error that the operator can read.
func TestDamagedFile(t *testing.T) {
	b := rows(t, arrow.BinaryTypes.String, func(b array.Builder, i int) { b.(*array.StringBuilder).Append(strconv.Itoa(i)) }, 7)
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(b.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(b), w.Close()); err != nil {
		t.Fatal(err)
	}
	mark := []byte("\xff\xff\xff\xff") // before each message: schema, dictionary, batch
	parts := bytes.Split(file.Bytes(), mark)
	for i, what := range []string{"dictionary", "batch"} {
		damaged := slices.Clone(parts)
		damaged[2+i] = bytes.Clone(damaged[2+i])
		copy(damaged[2+i][4:], "\xff\xff\xff\x7f") // after the length: where in the message its root table is
		r, err := files.Arrow(bytes.NewReader(bytes.Join(damaged, mark)))
		if err == nil {
			err = All(t.Context(), &counter{t: t}, Topic{Partitions: 2}, r, 100, func(int64) {})
		}
		if err == nil || !strings.Contains(err.Error(), "an Arrow IPC file that is cut or damaged: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
