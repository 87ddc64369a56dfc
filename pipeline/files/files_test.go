package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

// text is a row, each column by name, its values written as numbers and texts whatever their types.
func text(b arrow.RecordBatch, row int) string {
	var fields []string
	for i, c := range b.Columns() {
		name := b.ColumnName(i)
		switch {
		case c.IsNull(row):
			fields = append(fields, name+"=null")
		case name == schemas.ColumnVector:
			lists := c.(array.ListLike)
			start, end := lists.ValueOffsets(row)
			var values []string
			for at := start; at < end; at++ {
				values = append(values, lists.ListValues().ValueStr(int(at)))
			}
			fields = append(fields, name+"="+strings.Join(values, " "))
		default:
			fields = append(fields, name+"="+c.ValueStr(row))
		}
	}
	slices.Sort(fields)
	return strings.Join(fields, ", ")
}

// drain reads all rows of r.
func drain(t testing.TB, r *Reader) (rows []string) {
	t.Helper()
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(b.NumRows()) {
			rows = append(rows, text(b, i))
		}
	}
	return rows
}

// rowsOf reads all rows of a file of testdata, and asks for the width before.
func rowsOf(t testing.TB, name string, o Options) (*Reader, []string) {
	t.Helper()
	r, err := Open(filepath.Join("testdata", name), o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if width, err := r.Width(); err != nil || width != 8 {
		t.Errorf("%s: width %d, %v, want 8", name, width, err)
	}
	return r, drain(t, r)
}

// What others wrote of the same rows is the same rows, whatever the format, the types and the compression.
func TestFormatsAgree(t *testing.T) {
	_, want := rowsOf(t, "rows.arrow", Options{})
	if len(want) != 40 || !strings.Contains(want[1], "id=item-1, new=false, op=null, price=0.25, seen=2023-11-14T22:13:20.001Z, vector=-0.015625 0.203125") ||
		want[11] != "class=null, id=item-11, new=null, op=delete, price=null, seen=null, vector=null, version=1011, year=null" {
		t.Fatalf("rows.arrow has %d rows: %s", len(want), strings.Join(want, "\n"))
	}
	for _, name := range []string{"list.parquet", "fixed.parquet", "half.parquet", "binary.parquet", "bytes.parquet", "large.parquet"} {
		t.Run(name, func(t *testing.T) {
			o := Options{Ignored: func(column, why string) { t.Errorf("column %s is ignored: %s", column, why) }}
			if name == "binary.parquet" { // has no metadata
				o.Encoder = "e/1"
			}
			r, got := rowsOf(t, name, o)
			if len(got) != len(want) || r.Rows() != int64(len(want)) {
				t.Fatalf("%d rows, and says %d, want %d", len(got), r.Rows(), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("row %d:\n got %s\nwant %s", i, got[i], want[i])
				}
			}
			if r.Encoder() != "e/1" {
				t.Errorf("encoder %q", r.Encoder())
			}
		})
	}
}

// Types that messages do not have are made those that they have: views of texts, as polars writes them to Arrow, decimals and days.
func TestOtherTypes(t *testing.T) {
	_, want := rowsOf(t, "rows.arrow", Options{})
	r, got := rowsOf(t, "views.arrow", Options{Ignored: func(column, why string) { t.Errorf("column %s is ignored: %s", column, why) }})
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	day := regexp.MustCompile(`seen=2023-11-14T[^,]+`)
	for i := range want {
		if want := day.ReplaceAllString(want[i], "seen=2023-11-14T00:00:00Z"); got[i] != want {
			t.Errorf("row %d:\n got %s\nwant %s", i, got[i], want)
		}
	}
	for _, field := range r.Schema().Fields() {
		stored, ok := schemas.AttributeTypeOf(field.Type)
		if want := map[string]schemas.AttributeType{"class": "utf8", "year": "int64", "price": "float64", "new": "bool", "seen": "timestamp"}[field.Name]; want != "" && (!ok || stored != want) {
			t.Errorf("column %s: type %s, stored as %q, want %q", field.Name, field.Type, stored, want)
		}
	}
}

// Columns of other names are taken for what they are, and those that no message can have are left out and told of.
func TestColumnsByName(t *testing.T) {
	var ignored []string
	r, rows := rowsOf(t, "others.parquet", Options{ID: "key", Vector: "embedding", Encoder: "mine", Ignored: func(column, why string) {
		if why == "" {
			t.Errorf("column %s: no reason", column)
		}
		ignored = append(ignored, column)
	}})
	slices.Sort(ignored)
	if want := []string{"nested", "single", "tags", "vector"}; !slices.Equal(ignored, want) {
		t.Errorf("ignored %v, want %v", ignored, want)
	}
	if want := "class=green, day=2024-01-01T00:00:00Z, exact=1.5, id=1, vector=-0.015625 0.203125 0.421875 0.640625 0.859375 -0.921875 -0.703125 -0.484375"; rows[1] != want {
		t.Errorf("row 1:\n got %s\nwant %s", rows[1], want)
	}
	if r.Encoder() != "mine" {
		t.Errorf("encoder %q", r.Encoder())
	}
}

// A file that is not what it is said to be is refused with the column, what is there and what is allowed.
func TestRefused(t *testing.T) {
	for want, c := range map[string]struct {
		name string
		o    Options
	}{
		`column "id" is missing, there are: key, embedding, vector, day`:                          {"others.parquet", Options{Vector: "embedding"}},
		`column "vectors" is missing, there are: key, embedding`:                                  {"others.parquet", Options{ID: "key", Vector: "vectors"}},
		`column "vector": type int32, allowed: list, `:                                            {"others.parquet", Options{ID: "key"}},
		`column "embedding": type list<element: float64, nullable>, allowed: texts, a dictionary`: {"others.parquet", Options{ID: "embedding"}},
		`the file's vectors are of the encoder "e/1", asked for: "e/2"`:                           {"list.parquet", Options{Encoder: "e/2"}},
		`format "csv", allowed: [arrow parquet`:                                                   {"list.parquet", Options{Format: "csv"}},
		`neither an Arrow IPC file nor a stream`:                                                  {"list.parquet", Options{Format: ArrowIPC}},
		`its name says no format, so it is read as Arrow, and it is neither an Arrow IPC file nor a stream: it begins with 69 74 65 6d 2d 30, allowed: ARROW1, or ff ff ff ff; formats that can be named: [arrow parquet jsonl`: {"ids.txt", Options{}},
		`it does not end with PAR1: cut off, encrypted`: {"rows.arrow", Options{Format: Parquet}},
	} {
		r, err := Open(filepath.Join("testdata", c.name), c.o)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %+v: %v, want %q", c.name, c.o, err, want)
		}
	}
}

// A file that ends early says so, wherever it ends.
func TestTruncated(t *testing.T) {
	for _, name := range []string{"list.parquet", "bytes.parquet"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 4, 8, len(whole) / 2, len(whole) - 1} {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("parquet file of %d bytes", n)) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
	}
}

// An Arrow file that is cut says so, and what is none of Arrow's costs nothing: the first four bytes of either were taken for a length.
func TestTruncated_arrow(t *testing.T) {
	whole, err := os.ReadFile("testdata/rows.arrow")
	if err != nil {
		t.Fatal(err)
	}
	table := []byte("id,vector\n1,0.5\n")
	for want, input := range map[string][]byte{
		"neither an Arrow IPC file nor a stream: it begins with , allowed: ARROW1, or ff ff ff ff": {},
		"it begins with 69 64 2c 76 65 63, allowed: ARROW1":                                        table,
		"it begins with 41 52 52, allowed: ARROW1":                                                 whole[:3],
		"an Arrow IPC file that is cut or damaged: file of 3505 bytes is cut: it does not end":     whole[:len(whole)/2],
		"an Arrow IPC file that is cut or damaged: file of 7009 bytes is cut: it does not end":     whole[:len(whole)-1],
		"an Arrow stream that is cut":                                                              []byte("\xff\xff\xff\xff"),
		"an Arrow stream that is cut or damaged: metadata at 0 has 2147483632 bytes, allowed: ":    []byte("\xff\xff\xff\xff" + "\xf0\xff\xff\x7f" + string(table)),
	} {
		path := filepath.Join(t.TempDir(), "rows.arrow")
		if err := os.WriteFile(path, input, 0o600); err != nil {
			t.Fatal(err)
		}
		before := mutate.Allocated()
		_, err := Open(path, Options{})
		if got := mutate.Allocated() - before; err == nil || !strings.Contains(err.Error(), want) || got > 1<<20 {
			t.Errorf("%d bytes: %v, want %q; %d bytes allocated", len(input), err, want, got)
		}
	}
	if _, err := Arrow(iotest.OneByteReader(bytes.NewReader(whole))); err == nil || !strings.Contains(err.Error(), "read from its end: it cannot be a stream") {
		t.Errorf("a file in a pipe: %v", err)
	}
}

// What a compressed buffer claims to be costs nothing, and texts of more than there is are a fault with their column.
func TestArrowClaims(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "vector", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 100 {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("id-", i))
		b.Field(1).(*array.ListBuilder).Append(true)
	}
	batch := b.NewRecordBatch()
	encode := func(o ...ipc.Option) (file, stream []byte) {
		var f, s bytes.Buffer
		fw, err := ipc.NewFileWriter(&f, append(o, ipc.WithSchema(schema))...)
		if err != nil {
			t.Fatal(err)
		}
		sw := ipc.NewWriter(&s, append(o, ipc.WithSchema(schema))...)
		if err := errors.Join(fw.Write(batch), fw.Close(), sw.Write(batch), sw.Close()); err != nil {
			t.Fatal(err)
		}
		return f.Bytes(), s.Bytes()
	}
	check := func(want string, input []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "rows.arrow")
		if err := os.WriteFile(path, input, 0o600); err != nil {
			t.Fatal(err)
		}
		before := mutate.Allocated()
		r, err := Open(path, Options{})
		if err == nil {
			_, err = r.Next()
			r.Close()
		}
		if got := mutate.Allocated() - before; err == nil || !strings.Contains(err.Error(), want) || got > 16<<20 {
			t.Errorf("%v, want %q; %d bytes allocated", err, want, got)
		}
	}
	const frame = "\x28\xb5\x2f\xfd"
	length := binary.LittleEndian.AppendUint64(nil, 101*4) // of the offsets, before their frame
	file, stream := encode(ipc.WithZstd())
	for _, input := range [][]byte{file, stream} {
		changed := bytes.ReplaceAll(input, append(length, frame...), append(binary.LittleEndian.AppendUint64(nil, 1<<40), frame...))
		if bytes.Equal(changed, input) {
			t.Fatal("there is no such buffer")
		}
		check("buffers claim 1099243146752 bytes more than the ", changed)
	}
	file, stream = encode()
	middle := binary.LittleEndian.AppendUint64(nil, 240|245<<32) // two offsets of texts
	for _, input := range [][]byte{file, stream} {
		check(`column "id", rows 0 to 99: damaged: `, bytes.ReplaceAll(input, middle, binary.LittleEndian.AppendUint64(nil, 1000|245<<32)))
	}
}

// A stream of Arrow that is cut says so too, also where one batch ends and the next would begin: a load of it would be done, without the rest.
func TestTruncated_stream(t *testing.T) {
	in, err := Open(filepath.Join("testdata", "rows.arrow"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	batch, err := in.Next()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(in.Schema()))
	var ends []int
	for range 3 {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, stream.Len())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(n int) (rows int64, err error) {
		r, err := Arrow(iotest.OneByteReader(bytes.NewReader(stream.Bytes()[:n])))
		for err == nil {
			var b arrow.RecordBatch
			if b, err = r.Next(); err == nil {
				rows += b.NumRows()
			}
		}
		return rows, err
	}
	if rows, err := read(stream.Len()); rows != 3*batch.NumRows() || err != io.EOF {
		t.Fatalf("whole: %d rows, %v", rows, err)
	}
	for n := range stream.Len() {
		if _, err := read(n); err == io.EOF {
			t.Errorf("cut to %d of %d bytes it is read as if it were whole", n, stream.Len())
		}
	}
	if rows, err := read(ends[1]); rows != 2*batch.NumRows() || !strings.Contains(err.Error(), "no end-of-stream mark") {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// A file or stream that claims to be of gigabytes is an error, and costs none.
func TestArrowLies(t *testing.T) {
	for _, o := range [][]ipc.Option{{ipc.WithZstd()}, {ipc.WithLZ4()}} {
		file, stream := arrowguardtest.File(t, arrowguardtest.PlainSchema, []arrow.RecordBatch{arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)}, o...), arrowguardtest.Plain(t)
		for kind, inputs := range map[string]map[string][]byte{"file": arrowguardtest.Files(t, file), "stream": arrowguardtest.Streams(t, stream)} {
			for name, input := range inputs {
				t.Run(kind+" "+name, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "rows.arrow")
					if err := os.WriteFile(path, input, 0o600); err != nil {
						t.Fatal(err)
					}
					arrowguardtest.Budget(t, func() {
						r, err := Open(path, Options{})
						if err == nil {
							_, err = r.Next()
							r.Close()
						}
						if err == nil {
							t.Error("it was read")
						}
						t.Log(err)
					})
				})
			}
		}
	}
}

// A long text that thousands of rows share, of a dictionary or of views, is not made thousands of texts.
func TestSharedTexts(t *testing.T) {
	const rows, size = 100_000, 1 << 20
	long := strings.Repeat("x", size)
	indices := array.MakeFromData(array.NewData(arrow.PrimitiveTypes.Int8, rows, []*memory.Buffer{nil, memory.NewBufferBytes(make([]byte, rows))}, nil, 0, 0))
	texts := array.NewLargeStringBuilder(memory.DefaultAllocator)
	texts.Append(long)
	dictionary := array.NewDictionaryArray(&arrow.DictionaryType{IndexType: indices.DataType(), ValueType: arrow.BinaryTypes.LargeString}, indices, texts.NewArray())
	view := binary.LittleEndian.AppendUint32(nil, size)
	view = append(view, "xxxx\x00\x00\x00\x00\x00\x00\x00\x00"...)
	views := array.MakeFromData(array.NewData(arrow.BinaryTypes.StringView, rows, []*memory.Buffer{nil, memory.NewBufferBytes(bytes.Repeat(view, rows)), memory.NewBufferBytes([]byte(long))}, nil, 0, 0))
	vectors := array.NewFixedSizeListBuilder(memory.DefaultAllocator, 1, arrow.PrimitiveTypes.Float32)
	for range rows {
		vectors.Append(true)
		vectors.ValueBuilder().(*array.Float32Builder).Append(1)
	}
	vector := vectors.NewArray()
	for name, ids := range map[string]arrow.Array{"dictionary": dictionary, "views": views} {
		t.Run(name, func(t *testing.T) {
			schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: ids.DataType()}, {Name: "vector", Type: vector.DataType()}}, nil)
			stream := arrowguardtest.Stream(t, schema, []arrow.RecordBatch{array.NewRecordBatch(schema, []arrow.Array{ids, vector}, rows)})
			path := filepath.Join(t.TempDir(), "rows.arrow")
			if err := os.WriteFile(path, stream, 0o600); err != nil {
				t.Fatal(err)
			}
			arrowguardtest.Budget(t, func() {
				r, err := Open(path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), `column "id", rows 0 to 99999: its texts are of more than `) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// A footer of a few hundred bytes that claims a list of 90 million columns costs nothing.
func TestFooterClaims(t *testing.T) {
	whole, err := os.ReadFile("testdata/list.parquet")
	if err != nil {
		t.Fatal(err)
	}
	at := len(whole) - 8 - int(binary.LittleEndian.Uint32(whole[len(whole)-8:]))
	footer := whole[at : len(whole)-8]
	if !bytes.HasPrefix(footer, []byte{0x15, 0x04, 0x19, 0xcc}) { // field 1: version 2; field 2: a list of 12 structs
		t.Fatalf("footer begins with % x", footer[:4])
	}
	claims := binary.AppendUvarint([]byte{0x15, 0x04, 0x19, 0xfc}, 90_000_000)
	input := slices.Concat(whole[:at], claims, footer[4:])
	input = append(binary.LittleEndian.AppendUint32(input, uint32(len(claims)+len(footer)-4)), "PAR1"...)
	before := mutate.Allocated()
	_, err = openParquet(bytes.NewReader(input), int64(len(input)), maxBuffer, &Options{})
	if got := mutate.Allocated() - before; err == nil || !strings.Contains(err.Error(), "its metadata claim more than they have, at offset ") || got > 1<<20 {
		t.Errorf("%v, %d bytes allocated", err, got)
	}
}

// Lists of integers, as pyarrow makes them of lists of Python, are vectors, unless a float32 has no such value.
func TestIntegerVectors(t *testing.T) {
	for _, item := range []arrow.DataType{arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64} {
		to, convert := vectorOf(arrow.ListOf(item))
		if to == nil || convert == nil {
			t.Fatalf("%s is no vector", item)
		}
		for text, want := range map[string]string{`[[1, 16777216], null, [3]]`: "[[1 1.6777216e+07] (null) [3]]", `[[16777217]]`: ""} {
			from, _, err := array.FromJSON(memory.DefaultAllocator, arrow.ListOf(item), strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := convert(from)
			if (err != nil) != (want == "") || err == nil && got.String() != want {
				t.Errorf("%s of %s: %v, %v, want %s", text, item, got, err, want)
			}
		}
	}
}
