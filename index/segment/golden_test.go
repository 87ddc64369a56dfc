package segment

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/schemas"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// goldenRows are seven rows whose arithmetic is exact, so that every machine writes the same bytes.
func goldenRows(t testing.TB, spec *schemas.Spec) *Rows {
	rows := NewRows(spec)
	text := build(t, arrow.BinaryTypes.String, `["first", null, "", "größer", "e", "f", "g"]`)
	open := build(t, arrow.FixedWidthTypes.Boolean, `[true, false, null, true, true, false, false]`)
	count := build(t, arrow.PrimitiveTypes.Int32, `[1, -2, 3, null, 5, 6, 7]`)
	price := build(t, arrow.PrimitiveTypes.Float64, `[0.5, 1e300, -0.25, 4, 5, 6, 7]`)
	seen := timestamps(arrow.Millisecond, 1_700_000_000_000, -1, 0, 1, 2, 3, 4)
	for i, id := range []string{"a", "17", "0b4ba1a2-19f5-4ec7-8d1e-cc4c4f0e4f6a", "a", "ü", "", "z"} {
		rows.IDs = append(rows.IDs, id)
		rows.Orders = append(rows.Orders, Order{Version: int64(i % 3), Timestamp: 1_700_000_000_000 + int64(i), Partition: 2, Offset: int64(100 + i/2), Row: int32(i % 2)})
		v := make([]float32, spec.Dim())
		v[i%spec.Dim()], v[8+i] = 12, float32(i*16-30) // lengths are square roots of whole numbers
		rows.AppendFloats(avx.Generic, v)
		for j, a := range []arrow.Array{text, open, count, price, seen} {
			if err := rows.Attributes[j].AppendFrom(a, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	return rows
}

// goldenCoder, goldenLists and goldenCodes are made up, so that the files do not depend on how models are trained: of
// the five sub-quantisers the last has half a byte.
var (
	goldenCoder  = coder{model: strings.Repeat("0f", 32), m: 5}
	goldenLists  = []int32{4, 1, 1, 1, 9, 9, 9}
	goldenSpills = []int32{1, 9, -1, 4, 4, 1, -1}
	goldenCodes  = []string{"10320a", "fedc0b", "000000", "12340c", "98760d", "ffff0f", "ba980e"}
)

// goldenTable is the golden rows in the order of their lists.
func goldenTable(t testing.TB, spec *schemas.Spec, rows *Rows) *table {
	order, _ := coarse.SortByList(goldenLists, int(slices.Max(goldenLists))+1)
	attributes, err := columnArrays(spec, rows.Attributes, order)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDeriver(spec, nil, avx.Generic)
	if err != nil {
		t.Fatal(err)
	}
	listed := &table{spec: spec, ids: gather(rows.IDs, order), orders: gather(rows.Orders, order), attributes: attributes}
	listed.lists, listed.spills = gather(goldenLists, order), gather(goldenSpills, order)
	if err := d.derive(listed, rows, order); err != nil {
		t.Fatal(err)
	}
	for _, code := range gather(goldenCodes, order) {
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		listed.codes = append(listed.codes, b...)
	}
	width := codeBytes(goldenCoder.m)
	listed.spillCodes = make([]byte, len(listed.codes))
	for i, l := range listed.spills {
		if l != coarse.NoSpill { // the code backwards
			for b := range width - 1 {
				listed.spillCodes[i*width+b] = listed.codes[i*width+width-2-b]
			}
		}
	}
	return listed
}

// goldenBodies are all kinds of files, as they are written now.
func goldenBodies(t testing.TB) map[string][]byte {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	rows := goldenRows(t, spec)
	listed := goldenTable(t, spec, rows)
	bodies := map[string][]byte{}
	keep := func(name string) func(body []byte, err error) {
		return func(body []byte, err error) {
			if err != nil {
				t.Fatal(err)
			}
			bodies[name] = body
		}
	}
	keep("segment-plain")(Write(spec, nil, avx.Generic, rows))
	wide := testSpec(schemas.InnerProduct, schemas.Float32)
	keep("segment-float32")(Write(wide, nil, avx.Generic, goldenRows(t, wide)))
	keep("segment")(listed.segment(goldenCoder))
	keep("chunk.rows")(listed.rows(""))
	rotated := goldenCoder
	rotated.axes = strings.Repeat("a5", 32)
	keep("segment-rotated")(listed.segment(rotated))
	keep("chunk-rotated.rows")(listed.rows(rotated.axes))
	keep("chunk.codes")(goldenBlocks(listed, 1).file(goldenCoder, 2, len(listed.ids)+4))
	keep("chunk.vectors")(listed.originals())
	keep("tombstones")(WriteTombstones([]Tombstone{{"a", rows.Orders[0]}, {"", rows.Orders[1]}, {"ü", rows.Orders[2]}}))
	keep("dead")(WriteDead(goldenDead()))
	return bodies
}

// goldenBlocks are the codes of the lists of golden rows. Two rows of the base come before them, of which one is spilled to
// list 9, and so many after them: row 9 is not, those from 10 on are.
func goldenBlocks(listed *table, after int) *blockTable {
	t, width := &blockTable{}, codeBytes(goldenCoder.m)
	for l := range int32(10) {
		var rows []int32
		var codes []byte
		add := func(row int, code []byte) { rows, codes = append(rows, int32(row)), append(codes, code...) }
		if l == 9 {
			add(1, []byte{0x11, 0x11, 0x01})
		}
		for i := range listed.ids {
			switch l {
			case listed.lists[i]:
				add(2+i, listed.codes[i*width:][:width])
			case listed.spills[i]:
				add(2+i, listed.spillCodes[i*width:][:width])
			}
		}
		for k := 0; l == 9 && k < after; k++ {
			add(10+k, []byte{0x22, 0x22, 0x02})
		}
		t.add(int(l), rows, codes, goldenCoder.m)
	}
	return t
}

func goldenDead() map[string]*roaring.Bitmap {
	long := roaring.New()
	long.AddRange(70_000, 140_000)
	return map[string]*roaring.Bitmap{"part b": roaring.BitmapOf(1, 5, 70_001), "part a": long, "part c": roaring.New()}
}

func TestGolden(t *testing.T) {
	for name, body := range goldenBodies(t) {
		file := filepath.Join("testdata", name+".arrow")
		if *update {
			if err := os.WriteFile(file, body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body, want) {
			t.Errorf("%s: %d bytes that differ from the %d of the golden file; if the format is meant to change, see -update", name, len(body), len(want))
		}
	}
}

// readPlain reads a file with the plain Arrow reader, value by value, and returns its columns by name.
func readPlain(t *testing.T, name string) (*arrow.Schema, map[string][]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".arrow"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ipc.NewFileReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if r.NumRecords() != 1 {
		t.Fatalf("%s has %d batches", name, r.NumRecords())
	}
	batch, err := r.RecordBatch(0)
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string][]any{}
	for j, f := range r.Schema().Fields() {
		values := make([]any, batch.NumRows())
		for i := range values {
			values[i] = plain(batch.Column(j), i)
		}
		columns[f.Name] = values
	}
	return r.Schema(), columns
}

// plain returns a value in a form that compares with ==: lists and binaries as text.
func plain(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.String:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.Int8:
		return a.Value(i)
	case *array.Int32:
		return a.Value(i)
	case *array.Int64:
		return a.Value(i)
	case *array.Float16:
		return a.Value(i).Float32()
	case *array.Float32:
		return a.Value(i)
	case *array.Float64:
		return a.Value(i)
	case *array.Timestamp:
		return a.Value(i).ToTime(a.DataType().(*arrow.TimestampType).Unit)
	case *array.FixedSizeBinary:
		return fmt.Sprintf("%x", a.Value(i))
	case *array.FixedSizeList:
		var values []string
		start, end := a.ValueOffsets(i)
		for k := start; k < end; k++ {
			values = append(values, fmt.Sprint(plain(a.ListValues(), int(k))))
		}
		return strings.Join(values, " ")
	}
	return a.ValueStr(i)
}

// wantColumns works out the columns of the golden rows from what the documentation says, and puts them in the order of
// lists. lists and codes may be nil.
func wantColumns(spec *schemas.Spec, rows *Rows, lists []int32, codes []string) map[string][]any {
	order := make([]int, rows.Len())
	for i := range order {
		order[i] = i
	}
	if lists == nil {
		lists = slices.Repeat([]int32{-1}, rows.Len())
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(lists[a] - lists[b]) })
	columns := map[string][]any{}
	add := func(name string, v any) { columns[name] = append(columns[name], v) }
	for _, i := range order {
		o := rows.Orders[i]
		add("id", rows.IDs[i])
		add("version", o.Version)
		add("timestamp", o.Timestamp)
		add("partition", o.Partition)
		add("offset", o.Offset)
		add("row", o.Row)
		add("list", lists[i])
		if codes == nil {
			add("spill", int32(-1))
		} else {
			add("spill", goldenSpills[i])
		}
		for j, c := range rows.Attributes {
			add("attr."+spec.Attributes[j].Name, c.Value(i))
		}
		v := make([]float32, spec.Dim())
		widen(spec.Vectors, avx.Generic, v, rows.Vectors[i*spec.VectorBytes():][:spec.VectorBytes()])
		largest := float32(0)
		for _, x := range v {
			largest = max(largest, float32(math.Abs(float64(x))))
		}
		var int8s, values, norms []string
		for _, x := range v {
			int8s = append(int8s, fmt.Sprint(math.RoundToEven(float64(x*(127/largest)))))
			values = append(values, fmt.Sprint(x))
		}
		for _, d := range spec.Ladder {
			sum := 0.0
			for _, x := range v[:d] {
				sum += float64(x) * float64(x)
			}
			norms = append(norms, fmt.Sprint(float32(math.Sqrt(sum))))
		}
		add("int8", strings.Join(int8s, " "))
		add("scale", largest/127)
		add("norms", strings.Join(norms, " "))
		add("vector", strings.Join(values, " "))
		if codes != nil {
			add("code", codes[i])
			if goldenSpills[i] < 0 {
				add("spill_code", "000000")
			} else {
				add("spill_code", codes[i][2:4]+codes[i][:2]+"00")
			}
		}
	}
	return columns
}

func compareColumns(t *testing.T, name string, got, want map[string][]any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d columns, want %d", name, len(got), len(want))
	}
	for column, values := range want {
		if !slices.Equal(got[column], values) {
			t.Errorf("%s: column %q:\n got %v\nwant %v", name, column, got[column], values)
		}
	}
}

// The golden files hold what the documentation says, to a reader that knows nothing of this package.
func TestGoldenByPlainReader(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	rows := goldenRows(t, spec)
	listed := wantColumns(spec, rows, goldenLists, goldenCodes)

	schema, got := readPlain(t, "segment")
	compareColumns(t, "segment", got, listed)
	if want := spec.SegmentSchema(goldenCoder.model, goldenCoder.m, ""); !schema.Equal(want) || !schema.Metadata().Equal(want.Metadata()) {
		t.Errorf("segment: schema %s", schema)
	}
	if schema, _ := readPlain(t, "segment-rotated"); !schema.Metadata().Equal(spec.SegmentSchema(goldenCoder.model, goldenCoder.m, strings.Repeat("a5", 32)).Metadata()) {
		t.Errorf("segment-rotated: schema %s", schema)
	}
	plain := wantColumns(spec, rows, nil, nil)
	_, got = readPlain(t, "segment-plain")
	compareColumns(t, "segment-plain", got, plain)
	_, got = readPlain(t, "segment-float32")
	compareColumns(t, "segment-float32", got, plain)

	_, got = readPlain(t, "chunk.vectors")
	compareColumns(t, "chunk.vectors", got, map[string][]any{"vector": listed["vector"]})
	_, got = readPlain(t, "chunk.codes")
	compareColumns(t, "chunk.codes", got, wantBlocks(goldenCoder.m, listed))
	delete(listed, "vector")
	delete(listed, "code")
	delete(listed, "spill_code")
	_, got = readPlain(t, "chunk.rows")
	compareColumns(t, "chunk.rows", got, listed)

	_, got = readPlain(t, "tombstones")
	if len(got) != 6 || !slices.Equal(got["id"], []any{"a", "", "ü"}) || !slices.Equal(got["offset"], []any{int64(100), int64(100), int64(101)}) {
		t.Errorf("tombstones: %v", got)
	}
	_, got = readPlain(t, "dead")
	if !slices.Equal(got["part"], []any{"part a", "part b"}) || len(got["rows"]) != 2 {
		t.Errorf("dead: %v", got)
	}
}

// wantBlocks lays out the codes of fewer than 17 rows for each list: they are all in low nibbles. Two rows of other chunks
// are in list 9, see goldenBlocks.
func wantBlocks(m int, listed map[string][]any) map[string][]any {
	want := map[string][]any{}
	for l := range int32(10) {
		block, rows := make([]byte, (m+m%2)*16), make([]string, 32)
		n := 0
		add := func(row int, code string) {
			for s := range m {
				var b int
				fmt.Sscanf(code[s/2*2:][:2], "%x", &b)
				block[16*s+n] = byte(b >> (4 * (s % 2)) & 15)
			}
			rows[n] = fmt.Sprint(row)
			n++
		}
		if l == 9 {
			add(1, "111101")
		}
		for i := range listed["list"] {
			if listed["list"][i] == l {
				add(2+i, listed["code"][i].(string))
			} else if listed["spill"][i] == l {
				add(2+i, listed["spill_code"][i].(string))
			}
		}
		if l == 9 {
			add(10, "222202")
		}
		if n == 0 {
			continue
		}
		for i := n; i < 32; i++ {
			rows[i] = "0"
		}
		want["list"] = append(want["list"], l)
		want["rows"] = append(want["rows"], int32(n))
		want["base_rows"] = append(want["base_rows"], strings.Join(rows, " "))
		want["block"] = append(want["block"], fmt.Sprintf("%x", block))
	}
	return want
}

func TestTombstonesRoundTrip(t *testing.T) {
	for _, want := range [][]Tombstone{nil, {{"a", Order{1, 2, 3, 4, 5}}, {"", Order{}}, {"a", Order{Version: -1}}}} {
		body, err := WriteTombstones(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadTombstones("x", body)
		clear(body)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
}

func TestDeadRoundTrip(t *testing.T) {
	want := goldenDead()
	body, err := WriteDead(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadDead("x", slices.Clone(body))
	if err != nil {
		t.Fatal(err)
	}
	delete(want, "part c") // has no dead rows
	if len(got) != len(want) {
		t.Fatalf("%d parts, want %d", len(got), len(want))
	}
	for part, rows := range want {
		if !got[part].Equals(rows) {
			t.Errorf("rows of %s are %v", part, got[part])
		}
	}
	if body, err := WriteDead(nil); err != nil {
		t.Error(err)
	} else if got, err := ReadDead("x", body); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
}

// A bitmap is content-addressed: the same set must make the same bytes, however it came about.
func TestDeadDoesNotDependOnHistory(t *testing.T) {
	byRange, one, taken := roaring.New(), roaring.New(), roaring.New()
	byRange.AddRange(10, 5000)
	for i := 4999; i >= 10; i-- {
		one.Add(uint32(i))
	}
	taken.AddRange(0, 9000)
	taken.RemoveRange(0, 10)
	for i := 5000; i < 9000; i++ {
		taken.Remove(uint32(i))
	}
	want, err := WriteDead(map[string]*roaring.Bitmap{"p": byRange})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*roaring.Bitmap{one, taken} {
		if got, err := WriteDead(map[string]*roaring.Bitmap{"p": b}); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the same rows make other bytes: %v", err)
		}
	}
}
