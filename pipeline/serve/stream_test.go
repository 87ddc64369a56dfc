package serve

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/endian"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

const streamDim = 4

var streamSpec = &schemas.Spec{Ladder: []int{streamDim}, Encoder: "e"}

var streamValues = []float32{1, -2, 0.5, 4, 0.25, 6, -7, 8}

// batchOf is a record batch from a JSON array of objects.
func batchOf(t testing.TB, schema *arrow.Schema, rows string) arrow.RecordBatch {
	t.Helper()
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadStream(t *testing.T) {
	good := vectorsBatch(singleItems, streamDim, streamValues)
	metadata := arrow.NewMetadata([]string{"adastream.encoder"}, []string{"e"})
	noted := arrow.NewSchema(good.Schema().Fields(), &metadata)
	strict := arrow.NewSchema([]arrow.Field{{Name: "vector", Type: arrow.FixedSizeListOfNonNullable(streamDim, singleItems)}}, nil)
	for name, stream := range map[string][]byte{
		"float32":      vectorsStream(t, singleItems, streamDim, streamValues),
		"float16":      vectorsStream(t, halfItems, streamDim, streamValues),
		"metadata":     streamOf(t, noted, []arrow.RecordBatch{array.NewRecordBatch(noted, good.Columns(), 2)}),
		"not nullable": streamOf(t, strict, []arrow.RecordBatch{batchOf(t, strict, `[{"vector":[1,-2,0.5,4]},{"vector":[0.25,6,-7,8]}]`)}),
		"list":         rowsStream(t, listOf(arrow.ListOf(singleItems)), twoVectors),
		"list<half>":   rowsStream(t, listOf(arrow.ListOf(halfItems)), twoVectors),
		"large list":   rowsStream(t, listOf(arrow.LargeListOf(singleItems)), twoVectors),
		"large<half>":  rowsStream(t, listOf(arrow.LargeListOf(halfItems)), twoVectors),
		"list, strict": rowsStream(t, listOf(arrow.ListOfNonNullable(singleItems)), twoVectors),
		"slice, list":  slicedLists(t, arrow.ListOf(singleItems)),
		"slice, large": slicedLists(t, arrow.LargeListOf(singleItems)),
		"slice":        streamOf(t, good.Schema(), []arrow.RecordBatch{vectorsBatch(singleItems, streamDim, slices.Concat(unit(1)[:4], streamValues, unit(2)[:8])).NewSlice(1, 3)}),
	} {
		for shift := range 3 { // numbers need not be aligned
			got, err := readStream(append(make([]byte, shift), stream...)[shift:], streamSpec, avx.Generic)
			if err != nil || !slices.Equal(got, streamValues) {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	}
}

func TestReadStreamRefuses(t *testing.T) {
	good := vectorsBatch(singleItems, streamDim, streamValues)
	stream := streamOf(t, good.Schema(), []arrow.RecordBatch{good})
	field := func(name string, of arrow.DataType) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{{Name: name, Type: of, Nullable: true}}, nil)
	}
	oneOf := func(schema *arrow.Schema, rows string) []byte { return rowsStream(t, schema, rows) }
	vectors := good.Schema().Field(0)
	two := arrow.NewSchema([]arrow.Field{vectors, {Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	dictionary := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(good.Schema()))
	if err != nil || w.Write(good) != nil || w.Close() != nil {
		t.Fatal("a file of test")
	}
	patched := func(find, replace uint32) []byte {
		at := bytes.Index(stream, binary.LittleEndian.AppendUint32(nil, find))
		if at < 0 {
			t.Fatalf("no %#x in the stream of test", find)
		}
		return slices.Concat(stream[:at], binary.LittleEndian.AppendUint32(nil, replace), stream[at+4:])
	}
	for _, c := range []struct {
		name   string
		stream []byte
		want   string
	}{
		{"empty", nil, "it is cut"},
		{"not closed", stream[:len(stream)-8], "it is cut"},
		{"cut in the body", stream[:len(stream)-20], "a body of"},
		{"cut in the schema", stream[:40], "a message of"},
		{"more behind it", append(slices.Clone(stream), 0), "goes on"},
		{"a file", file.Bytes(), "it is an Arrow file"},
		{"only a schema", streamOf(t, good.Schema(), nil), "no record batch follows"},
		{"two batches", streamOf(t, good.Schema(), []arrow.RecordBatch{good, good}), "goes on after the first"},
		{"no schema", stream[8+int(binary.LittleEndian.Uint32(stream[4:])):], "does not begin with a schema"},
		{"two columns", oneOf(two, `[{"vector":[1,2,3,4],"id":"a"}]`), "2 columns"},
		{"another name", oneOf(field("vektor", vectors.Type), `[{"vektor":[1,2,3,4]}]`), `column "vektor"`},
		{"a number", oneOf(field("vector", singleItems), `[{"vector":1}]`), "no list"},
		{"a view", oneOf(field("vector", arrow.ListViewOf(singleItems)), `[{"vector":[1,2,3,4]}]`), "no list"},
		{"a dictionary", oneOf(field("vector", dictionary), `[{"vector":"a"}]`), "no list"},
		{"a list of lists", oneOf(field("vector", arrow.ListOf(arrow.ListOf(singleItems))), `[{"vector":[[1,2,3,4]]}]`), "not of floats"},
		{"null list", oneOf(listOf(arrow.LargeListOf(singleItems)), `[{"vector":[1,2,3,4]},{"vector":null}]`), "2 values at depth 0, 1 of them null"},
		{"null value of a list", oneOf(listOf(arrow.ListOf(singleItems)), `[{"vector":[1,2,null,4]}]`), "4 values at depth 1, 1 of them null"},
		{"list of float64", oneOf(listOf(arrow.ListOf(arrow.PrimitiveTypes.Float64)), `[{"vector":[1,2,3,4]}]`), "float64"},
		{"lists behind the values", offsetsFrom(t, 4), "values at depth 1"},
		{"lists far behind the values", offsetsFrom(t, math.MaxInt64-8), "lists from value 9223372036854775799"},
		{"lists before the values", offsetsFrom(t, -4), "lists from value -4"},
		{"of integers", oneOf(field("vector", arrow.FixedSizeListOf(streamDim, arrow.PrimitiveTypes.Int32)), `[{"vector":[1,2,3,4]}]`), "not of floats"},
		{"of float64", vectorsStream(t, arrow.PrimitiveTypes.Float64, streamDim, streamValues), "float64"},
		{"width", vectorsStream(t, singleItems, 2, streamValues), "vectors of 2 values"},
		{"compressed", vectorsStream(t, singleItems, streamDim, streamValues, ipc.WithLZ4()), "compressed"},
		{"null vector", oneOf(good.Schema(), `[{"vector":[1,2,3,4]},{"vector":null}]`), "2 values at depth 0, 1 of them null"},
		{"null value", oneOf(good.Schema(), `[{"vector":[1,2,null,4]}]`), "4 values at depth 1, 1 of them null"},
		{"a long message", patched(binary.LittleEndian.Uint32(stream[4:]), math.MaxInt32), "a message of 2147483647 bytes"},
		{"a negative length", patched(binary.LittleEndian.Uint32(stream[4:]), math.MaxUint32-7), "a message of -8 bytes"},
	} {
		_, err := readStream(c.stream, streamSpec, avx.Generic)
		var p *problem
		if !errors.As(err, &p) || p.Code != codeMalformed || !strings.Contains(p.Detail, c.want) || !strings.Contains(p.Allowed, "[4] without nulls") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Every list must be as wide as a row of the index. The first that is not is named.
func TestReadStreamOfLists(t *testing.T) {
	for _, of := range []arrow.DataType{arrow.ListOf(singleItems), arrow.LargeListOf(singleItems), arrow.LargeListOf(halfItems)} {
		for rows, want := range map[string]string{
			`[{"vector":[1,2,3]}]`:                                "vector[0]: 3 values",
			`[{"vector":[1,2,3,4]},{"vector":[]},{"vector":[1]}]`: "vector[1]: 0 values",
			`[{"vector":[1,2,3,4]},{"vector":[1,2,3,4,5,6,7,8]}]`: "vector[1]: 8 values",
			`[{"vector":[1,2,3,4,5]},{"vector":[1,2,3]}]`:         "vector[0]: 5 values",
			`[]`: "vector: 0 queries",
		} {
			_, err := readStream(rowsStream(t, listOf(of), rows), streamSpec, avx.Generic)
			var p *problem
			if !errors.As(err, &p) || p.Code != codeInvalid || p.Detail != want || rows != "[]" && p.Allowed != "4 values of encoder e" {
				t.Errorf("%s of %s: %v, want %q", rows, of, err, want)
			}
		}
	}
}

const twoVectors = `[{"vector":[1,-2,0.5,4]},{"vector":[0.25,6,-7,8]}]`

func rowsStream(t testing.TB, schema *arrow.Schema, rows string) []byte {
	t.Helper()
	return streamOf(t, schema, []arrow.RecordBatch{batchOf(t, schema, rows)})
}

func listOf(of arrow.DataType) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "vector", Type: of, Nullable: true}}, nil)
}

// slicedLists is a stream of lists before and behind which there are others, as is of the values that the two have.
func slicedLists(t testing.TB, of arrow.DataType) []byte {
	t.Helper()
	b := batchOf(t, listOf(of), `[{"vector":[9,9]},`+twoVectors[1:len(twoVectors)-1]+`,{"vector":[7]}]`)
	return streamOf(t, b.Schema(), []arrow.RecordBatch{b.NewSlice(1, 3)})
}

// offsetsFrom is a stream of two large lists that begin at a value.
func offsetsFrom(t testing.TB, first int64) []byte {
	t.Helper()
	stream := rowsStream(t, listOf(arrow.LargeListOf(singleItems)), twoVectors)
	offsets := func(first int64) (raw []byte) {
		for i := range int64(3) {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(first+i*streamDim))
		}
		return raw
	}
	moved := bytes.Replace(stream, offsets(0), offsets(first), 1)
	if bytes.Equal(moved, stream) && first != 0 {
		t.Fatal("no offsets in the stream of test")
	}
	return moved
}

// TestArrowFacts are traps of the library that this package or its tests work around. When one of them fails after an upgrade,
// look whether the work-around is still needed.
func TestArrowFacts(t *testing.T) {
	t.Run("subnormal halves become other numbers", func(t *testing.T) { // arrow-go 18.8.0; the product converts by package avx
		half := []uint16{31}
		want := []float32{31.0 / (1 << 24)}
		got := make([]float32, 1)
		if avx.HalfToFloat(avx.Generic, got, half); got[0] != want[0] {
			t.Errorf("avx reads %v, want %v", got, want)
		}
		if float16.FromBits(half[0]).Float32() == want[0] {
			t.Error("now they do not")
		}
	})
}

// readingStreams: whatever comes, reading ends in a problem or in what arrow-go reads.
func readingStreams(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	seeds := [][]byte{vectorsStream(t, singleItems, streamDim, streamValues), vectorsStream(t, halfItems, streamDim, streamValues)}
	good := vectorsBatch(singleItems, streamDim, streamValues)
	foreign := good.Schema().WithEndianness(endian.BigEndian)
	for _, of := range []arrow.DataType{arrow.ListOf(singleItems), arrow.LargeListOf(singleItems), arrow.LargeListOf(halfItems)} {
		seeds = append(seeds, rowsStream(t, listOf(of), twoVectors))
	}
	seeds = append(seeds, offsetsFrom(t, 0), slicedLists(t, arrow.LargeListOf(singleItems)))
	refused := [][]byte{
		rowsStream(t, listOf(arrow.ListOf(singleItems)), `[{"vector":[1,2,3,4]},{"vector":[1]}]`),
		offsetsFrom(t, math.MaxInt64-8),
		vectorsStream(t, singleItems, streamDim, streamValues, ipc.WithLZ4()),
		vectorsStream(t, singleItems, streamDim, streamValues, ipc.WithZstd()),
		vectorsStream(t, singleItems, 2, streamValues),
		vectorsStream(t, arrow.PrimitiveTypes.Float64, streamDim, streamValues),
		streamOf(t, foreign, []arrow.RecordBatch{batchOf(t, foreign, `[{"vector":[1,2,3,4]}]`)}),
		streamOf(t, good.Schema(), []arrow.RecordBatch{good, good}),
		streamOf(t, good.Schema(), []arrow.RecordBatch{batchOf(t, good.Schema(), `[{"vector":[1,2,null,4]},{"vector":null}]`)}),
		streamOf(t, good.Schema(), nil),
	}
	return slices.Concat(seeds, refused), func(t testing.TB, stream []byte) {
		before := mutate.Allocated()
		got, err := readStream(stream, streamSpec, avx.Generic)
		if spent := mutate.Allocated() - before; spent > uint64(1<<20+bytesPerByte*len(stream)) {
			t.Fatalf("%d bytes allocated for %d", spent, len(stream))
		}
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.Status != 400 {
				t.Fatalf("%v is no problem", err)
			}
			return
		}
		if len(got) < streamDim || len(got)%streamDim != 0 || 2*len(got) > len(stream) {
			t.Fatalf("%d values of %d bytes", len(got), len(stream))
		}
		if !tame(stream, seeds) {
			return
		}
		if want, ok := readByArrow(stream); ok && !slices.EqualFunc(got, want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b }) {
			t.Fatalf("%v, arrow-go reads %v", got, want)
		}
	}
}

// tame reports whether arrow-go may read a stream that readStream took: it allocates what the metadata of a schema and
// of a batch claims, so the schema must be that of a seed and the batch must have none.
func tame(stream []byte, seeds [][]byte) bool {
	const messageMetadata = 4
	end := prefixBytes + int(binary.LittleEndian.Uint32(stream[4:]))
	batch := stream[end+prefixBytes:]
	root := flatbuffers.Table{Bytes: batch, Pos: flatbuffers.GetUOffsetT(batch)}
	return offset(root, messageMetadata) == 0 && slices.ContainsFunc(seeds, func(seed []byte) bool { return bytes.HasPrefix(seed, stream[:end]) })
}

// readByArrow reads the vectors of a stream. It is not ok if the library refuses what is not looked at here.
func readByArrow(stream []byte) (values []float32, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, false
	}
	defer r.Release()
	if !r.Next() {
		return nil, false
	}
	column, ok := r.RecordBatch().Column(0).(array.ListLike)
	if !ok || column.Len() == 0 {
		return nil, false
	}
	start, _ := column.ValueOffsets(0)
	_, end := column.ValueOffsets(column.Len() - 1)
	switch items := array.NewSlice(column.ListValues(), start, end).(type) {
	case *array.Float32:
		return slices.Clone(items.Float32Values()), true
	case *array.Float16:
		for _, x := range items.Values() {
			value := x.Float32()
			if bits := x.Uint16(); bits&0x7c00 == 0 { // see TestArrowFacts
				value = float32(math.Copysign(math.Ldexp(float64(bits&0x3ff), -24), float64(value)))
			}
			values = append(values, value)
		}
		return values, true
	}
	return nil, false
}
