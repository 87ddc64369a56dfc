package segment

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

// use reads all that a part gives out.
func use(p *Part) {
	v := make([]float32, p.dim)
	codes := 0
	for l := p.FirstList - 1; l <= p.EndList && l < p.FirstList+1000; l++ {
		p.ListRange(l)
		start, end := p.CodeRange(l)
		codes = max(codes, end)
		for _, row := range p.CodeRows[start:end] {
			if row < 0 || int(row) >= p.BaseRows || p.FirstRow < 0 || p.FirstRow+p.N > p.BaseRows {
				panic("a code of no row")
			}
		}
	}
	_ = p.Blocks[:(codes+31)/32*avx.BlockBytes(p.M)]
	for _, row := range p.Spilled {
		_ = p.SpillCode(int(row))
	}
	for i := range p.N {
		r := recordAt(p, i)
		for row := range p.Find(r.id) {
			_ = p.Int8[row*p.dim:][:p.dim]
		}
		if p.HasVectors() {
			p.Vector(avx.Generic, i, v)
		}
	}
}

// opener opens one kind of golden file, and reads all of it.
type opener struct {
	file string
	open func(data []byte) error
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".arrow"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func openers(t testing.TB) []opener {
	spec, wide := testSpec(schemas.InnerProduct, schemas.Float16), testSpec(schemas.InnerProduct, schemas.Float32)
	segmentOf := func(spec *schemas.Spec, data []byte) error {
		p, err := OpenSegment(spec, "s", data)
		if err == nil {
			use(p)
		}
		return err
	}
	segment := func(data []byte) error { return segmentOf(spec, data) }
	rows, codes, vectors := readGolden(t, "chunk.rows"), readGolden(t, "chunk.codes"), readGolden(t, "chunk.vectors")
	golden := mustOpen(t, spec, readGolden(t, "segment"))
	c := schemas.Chunk{ID: "c", FirstList: golden.FirstList, EndList: golden.EndList, NumRows: golden.N}
	chunk := func(rows, codes, vectors []byte) error {
		p, err := OpenChunk(spec, c, rows, codes, vectors)
		if err == nil {
			use(p)
		}
		if p, again := ReopenChunk(spec, c, rows, codes, vectors); again == nil {
			p.EndSpill() // nothing else is known of it
		} else if err == nil {
			t.Fatalf("opened, and then: %v", again)
		}
		return err
	}
	return []opener{
		{"segment", segment},
		{"segment-plain", segment},
		{"segment-float32", func(data []byte) error { return segmentOf(wide, data) }},
		{"chunk.rows", func(data []byte) error { return chunk(data, codes, vectors) }},
		{"chunk.codes", func(data []byte) error { return chunk(rows, data, vectors) }},
		{"chunk.vectors", func(data []byte) error { return chunk(rows, codes, data) }},
		{"tombstones", func(data []byte) error { _, err := ReadTombstones("t", data); return err }},
		{"dead", func(data []byte) error { _, err := ReadDead("d", data); return err }},
	}
}

// allocationLimit is far more than any of the small golden files needs, and far less than a flipped length asks for. The
// bounds of lists take 4 MiB when one list is as large as can be.
const allocationLimit = 12 << 20

// checkOpen opens bytes that may be anything. They may be fine, but not cause a panic, an error of another class, or a
// great allocation.
func checkOpen(t testing.TB, o opener, data []byte, what string) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s: %s: panic: %v", o.file, what, r)
		}
	}()
	before := mutate.Allocated()
	err := o.open(data)
	if err != nil && !errors.Is(err, schemas.ErrCorrupt) {
		t.Fatalf("%s: %s: error is not corrupt: %v", o.file, what, err)
	}
	if got := mutate.Allocated() - before; got > allocationLimit {
		t.Fatalf("%s: %s: allocated %d bytes", o.file, what, got)
	}
}

func TestOpenOfDamagedBytes(t *testing.T) {
	for _, o := range openers(t) {
		golden := readGolden(t, o.file)
		if err := o.open(golden); err != nil {
			t.Fatal(err)
		}
		// Capacity beyond the length stands for what else may lie there: flatbuffers' slicing reached into it once.
		data := newBytes(len(golden) + 32<<20)[:len(golden)]
		for i := range golden {
			flip := []byte{0x01, 0x80, 0xff}[i%3]
			copy(data, golden)
			data[i] ^= flip
			checkOpen(t, o, data, fmt.Sprintf("byte %d xor %#x", i, flip))
		}
		copy(data, golden)
		for n := range golden {
			if err := o.open(data[:n]); !errors.Is(err, schemas.ErrCorrupt) {
				t.Fatalf("%s: first %d of %d bytes: %v", o.file, n, len(golden), err)
			}
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for k := range 1000 { // whole words, so that lengths and offsets become anything
			copy(data, golden)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(data)/4) * 4
				for b := range 4 {
					data[at+b] = byte(rng.IntN(256) * rng.IntN(2))
				}
			}
			checkOpen(t, o, data, fmt.Sprintf("random words %d", k))
		}
	}
}

// wideCodes is the codes file of the golden chunk in a larger base, of which so many rows are spilled to list 9 that it has
// three blocks: 2 to 4, of 32, 32 and 11 codes.
func wideCodes(t testing.TB) (body []byte, baseRows int) {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	const after = 70
	baseRows = 10 + after
	body, err := goldenBlocks(goldenTable(t, spec, goldenRows(t, spec)), after).file(goldenCoder, 2, baseRows)
	if err != nil {
		t.Fatal(err)
	}
	return body, baseRows
}

func FuzzOpenSegment(f *testing.F)      { mutate.Fuzz(f, opening("segment", "segment-plain")) }
func FuzzOpenFloat32(f *testing.F)      { mutate.Fuzz(f, opening("segment-float32")) }
func FuzzOpenChunkRows(f *testing.F)    { mutate.Fuzz(f, opening("chunk.rows")) }
func FuzzOpenChunkCodes(f *testing.F)   { mutate.Fuzz(f, opening("chunk.codes")) }
func FuzzOpenChunkVectors(f *testing.F) { mutate.Fuzz(f, opening("chunk.vectors")) }
func FuzzReadTombstones(f *testing.F)   { mutate.Fuzz(f, opening("tombstones")) }
func FuzzReadDead(f *testing.F)         { mutate.Fuzz(f, opening("dead")) }
func FuzzReadBitmap(f *testing.F)       { mutate.Fuzz(f, readingBitmaps) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
		"FuzzOpenSegment":      opening("segment", "segment-plain"),
		"FuzzOpenFloat32":      opening("segment-float32"),
		"FuzzOpenChunkRows":    opening("chunk.rows"),
		"FuzzOpenChunkCodes":   opening("chunk.codes"),
		"FuzzOpenChunkVectors": opening("chunk.vectors"),
		"FuzzReadTombstones":   opening("tombstones"),
		"FuzzReadDead":         opening("dead"),
		"FuzzReadBitmap":       readingBitmaps,
	})
}

// opening is checkOpen of a kind of file.
func opening(files ...string) mutate.Target {
	return func(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
		all := openers(t)
		o := all[slices.IndexFunc(all, func(o opener) bool { return o.file == files[0] })]
		for _, name := range files {
			seeds = append(seeds, readGolden(t, name))
		}
		if o.file == "chunk.codes" {
			wide, _ := wideCodes(t)
			seeds = append(seeds, wide)
		}
		return seeds, func(t testing.TB, data []byte) { checkOpen(t, o, data, "mutated") }
	}
}

// tampered writes a well-formed file of one kind after change had its way with the columns.
func tampered(t *testing.T, schema *arrow.Schema, data []byte, kind string, change func(columns map[string]arrow.Array)) []byte {
	t.Helper()
	f, err := openFile("golden", kind, data, func(*file) *arrow.Schema { return schema })
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]arrow.Array{}
	for j, field := range schema.Fields() {
		columns[field.Name] = f.columns[j]
	}
	before := maps.Clone(columns)
	change(columns)
	if maps.Equal(before, columns) {
		t.Fatal("nothing was changed")
	}
	n := -1
	var arrays []arrow.Array
	for _, field := range schema.Fields() {
		arrays = append(arrays, columns[field.Name])
		n = columns[field.Name].Len()
	}
	body, err := writeFile(schema, arrays, n, -1)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func int32s(values ...int32) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Int32, len(values), BytesOf(values))
}

// Files that are sound Arrow but not what the index wrote are refused, with the object and the field in the error.
func TestOpenRefuses(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	segment, plain := readGolden(t, "segment"), readGolden(t, "segment-plain")
	rows, codes, vectors := readGolden(t, "chunk.rows"), readGolden(t, "chunk.codes"), readGolden(t, "chunk.vectors")
	golden := mustOpen(t, spec, segment)
	schema := spec.SegmentSchema(golden.Model, golden.M, "")
	chunk := schemas.Chunk{ID: "c", FirstList: golden.FirstList, EndList: golden.EndList, NumRows: golden.N,
		Rows: schemas.Object{Key: "chunks/c.rows"}, Codes: schemas.Object{Key: "chunks/c.codes"}, Vectors: schemas.Object{Key: "chunks/c.vectors"}}
	lists := slices.Clone(golden.lists)
	openSegment := func(spec *schemas.Spec, data []byte) error { _, err := OpenSegment(spec, "5e9", data); return err }
	openChunk := func(c schemas.Chunk, rows, codes, vectors []byte) error {
		_, err := OpenChunk(spec, c, rows, codes, vectors)
		return err
	}
	withLists := func(change func(lists []int32)) []byte {
		l := slices.Clone(lists)
		change(l)
		return tampered(t, schema, segment, schemas.KindSegment, func(c map[string]arrow.Array) { c["list"] = int32s(l...) })
	}
	withSpills := func(change func(lists []int32)) []byte {
		l := slices.Clone(golden.spills)
		change(l)
		return tampered(t, schema, segment, schemas.KindSegment, func(c map[string]arrow.Array) { c["spill"] = int32s(l...) })
	}
	codesSchema := schemas.CodesSchema(golden.Model, golden.M, 2, golden.N+4)
	changed := func(schema *arrow.Schema, codes []byte, column string, change func(values []int32)) []byte {
		return tampered(t, schema, codes, schemas.KindCodes, func(c map[string]arrow.Array) {
			if list, ok := c[column].(*array.FixedSizeList); ok {
				values := slices.Clone(list.ListValues().(*array.Int32).Int32Values())
				change(values)
				c[column] = fixedLists(list.DataType(), list.Len(), BytesOf(values))
				return
			}
			values := slices.Clone(c[column].(*array.Int32).Int32Values())
			change(values)
			c[column] = int32s(values...)
		})
	}
	withBlocks := func(column string, change func(values []int32)) []byte {
		return changed(codesSchema, codes, column, change)
	}
	wide, wideRows := wideCodes(t)
	withWide := func(column string, change func(values []int32)) []byte {
		return changed(schemas.CodesSchema(golden.Model, golden.M, 2, wideRows), wide, column, change)
	}
	if err := openChunk(chunk, rows, wide, vectors); err != nil {
		t.Fatal(err)
	}
	rewritten := func(schema *arrow.Schema) []byte { return changed(schema, codes, "list", func([]int32) {}) }
	moved := func(firstRow, baseRows int) []byte {
		return rewritten(schemas.CodesSchema(golden.Model, golden.M, firstRow, baseRows))
	}
	described := func(key, value string) []byte { // with another value of the metadata, or without it
		keys, values := slices.Clone(codesSchema.Metadata().Keys()), slices.Clone(codesSchema.Metadata().Values())
		at := slices.Index(keys, key)
		values[at] = value
		if value == "" {
			keys, values = slices.Delete(keys, at, at+1), slices.Delete(values, at, at+1)
		}
		meta := arrow.NewMetadata(keys, values)
		return rewritten(arrow.NewSchema(codesSchema.Fields(), &meta))
	}
	noModel := func() []byte {
		fields := slices.Clone(codesSchema.Fields())
		fields[3].Type = &arrow.FixedSizeBinaryType{ByteWidth: 0}
		meta := arrow.NewMetadata([]string{schemas.MetaKind, schemas.MetaFormat}, []string{schemas.KindCodes, schemas.FileFormat})
		body, err := writeFile(arrow.NewSchema(fields, &meta), []arrow.Array{int32s(), int32s(), fixedLists(fields[2].Type, 0, nil), fixed(fields[3].Type, 0, nil)}, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	withChunkSpills := func(change func(spills []int32)) []byte {
		l := slices.Clone(golden.spills)
		change(l)
		return tampered(t, spec.RowsSchema(""), rows, schemas.KindRows, func(c map[string]arrow.Array) { c["spill"] = int32s(l...) })
	}
	other := testSpec(schemas.InnerProduct, schemas.Float16)
	other.Attributes[2].Name = "number"
	wider := testSpec(schemas.InnerProduct, schemas.Float16)
	wider.Ladder = []int{8, 16, 20}
	narrow := chunk
	narrow.EndList--
	shorter := chunk
	shorter.NumRows--
	tests := []struct {
		name string
		err  error
		want []string
	}{
		{"no bytes", openSegment(spec, nil), []string{"segment 5e9", "not an arrow file"}},
		{"kind", openSegment(spec, rows), []string{"segment 5e9", `adastream.kind "rows", allowed: "segment"`}},
		{"attribute", openSegment(other, segment), []string{`column 10 is "attr.count"`, `"attr.number"`}},
		{"dims", openSegment(wider, segment), []string{`"int8"`, "fixed_size_list"}},
		{"vector type", openSegment(testSpec(schemas.InnerProduct, schemas.Float32), segment), []string{`"vector"`, "float32"}},
		{"lists descend", openSegment(spec, withLists(func(l []int32) { copy(l, []int32{0, 0, 3, 1, 4, 4, 5}) })), []string{`"list"`, "row 3 is in list 1"}},
		{"list is negative", openSegment(spec, withLists(func(l []int32) { l[0] = -1 })), []string{"lists [-1,"}},
		{"list is too large", openSegment(spec, withLists(func(l []int32) { l[len(l)-1] = MaxLists })), []string{"lists ["}},
		{"list without model", openSegment(spec, tampered(t, spec.SegmentSchema("", 0, ""), plain, schemas.KindSegment,
			func(c map[string]arrow.Array) { c["list"] = int32s(-1, -1, -1, 0, -1, -1, -1) })), []string{"row 3 is in lists 0 and -1"}},
		{"codes are short", openSegment(spec, tampered(t, schema, segment, schemas.KindSegment, func(c map[string]arrow.Array) {
			c["code"] = fixed(c["code"].DataType(), golden.N, golden.codes[:len(golden.codes)-1])
		})), []string{`column "code" has 20 bytes, allowed: 21`}},
		{"an id is null", openSegment(spec, tampered(t, schema, segment, schemas.KindSegment, func(c map[string]arrow.Array) {
			b := array.NewStringBuilder(memory.DefaultAllocator)
			b.AppendValues(make([]string, golden.N), []bool{true, true, false, true, true, true, true})
			c["id"] = b.NewArray()
		})), []string{`column "id" has 1 nulls`}},
		{"rows of the manifest", openChunk(shorter, rows, codes, vectors), []string{"chunks/c.rows", "7 rows, allowed: the 6"}},
		{"lists of the manifest", openChunk(narrow, rows, codes, vectors), []string{"chunks/c.rows", `"list"`}},
		{"codes and rows swapped", openChunk(chunk, codes, rows, vectors), []string{"chunks/c.rows", "adastream.kind"}},
		{"codes for vectors", openChunk(chunk, rows, codes, codes), []string{"chunks/c.vectors", "adastream.kind"}},
		{"block of another list", openChunk(chunk, rows, tampered(t, codesSchema, codes, schemas.KindCodes, func(c map[string]arrow.Array) {
			c["list"] = int32s(make([]int32, c["list"].Len())...)
		}), vectors), []string{"chunks/c.codes", "block "}},
		{"block of too many rows", openChunk(chunk, rows, tampered(t, codesSchema, codes, schemas.KindCodes, func(c map[string]arrow.Array) {
			c["rows"] = int32s(slices.Repeat([]int32{65}, c["rows"].Len())...)
		}), vectors), []string{"chunks/c.codes", "block 0"}},
		{"a block is missing", openChunk(chunk, rows, sliced(t, codesSchema, codes, schemas.KindCodes, 1), vectors), []string{"chunks/c.codes", "codes of 4 rows in their first list, allowed: of all 7"}},
		{"block of no rows", openChunk(chunk, rows, withBlocks("rows", func(rows []int32) { rows[0] = 0 }), vectors), []string{"block 0 of list 1 has 0 codes"}},
		{"a block within a list is not full", openChunk(chunk, rows, withBlocks("list", func(lists []int32) { lists[1] = lists[0] }), vectors), []string{"block 0 of list 1 has 5 codes, allowed: 32"}},
		{"lists of blocks descend", openChunk(chunk, rows, withBlocks("list", func(lists []int32) { lists[1] = 0 }), vectors), []string{"block 1 is of list 0"}},
		{"codes descend", openChunk(chunk, rows, withBlocks("base_rows", func(rows []int32) { rows[1] = rows[0] }), vectors), []string{"code 1 of block 0 is of base row 2"}},
		{"code of no row", openChunk(chunk, rows, withBlocks("base_rows", func(rows []int32) { rows[4] = int32(golden.N) + 4 }), vectors), []string{"is of base row 11, allowed: ascending below 11"}},
		{"code of a negative row", openChunk(chunk, rows, withBlocks("base_rows", func(rows []int32) { rows[0] = -1 }), vectors), []string{"is of base row -1"}},
		{"code in a list that is not the row's", openChunk(chunk, rows, withBlocks("base_rows", func(rows []int32) { rows[2*32] = 3 }), vectors), []string{"of list 9, is of row 1, which is in lists 1 and "}},
		{"a row without a code", openChunk(chunk, rows, withBlocks("base_rows", func(rows []int32) { rows[0] = 0 }), vectors), []string{"codes of 6 rows in their first list"}},
		{"first row", openChunk(chunk, rows, moved(5, 11), vectors), []string{`adastream.first_row "5", allowed: 0 to 4`}},
		{"first row is negative", openChunk(chunk, rows, described(schemas.MetaFirstRow, "-1"), vectors), []string{"chunks/c.codes", `adastream.first_row "-1", allowed: 0 to 4`}},
		{"first row is no number", openChunk(chunk, rows, described(schemas.MetaFirstRow, "two"), vectors), []string{`adastream.first_row "two"`}},
		{"first row is absent", openChunk(chunk, rows, described(schemas.MetaFirstRow, ""), vectors), []string{`adastream.first_row "", allowed`}},
		{"base rows are absent", openChunk(chunk, rows, described(schemas.MetaBaseRows, ""), vectors), []string{`adastream.base_rows "", allowed`}},
		{"base rows are no number", openChunk(chunk, rows, described(schemas.MetaBaseRows, "11.5"), vectors), []string{`adastream.base_rows "11.5"`}},
		{"more base rows than codes can name", openChunk(chunk, rows, moved(2, 1<<31), vectors), []string{`adastream.base_rows "2147483648", allowed: 0 to 2147483647`}},
		{"fewer base rows than rows", openChunk(chunk, rows, moved(0, golden.N-1), vectors), []string{`adastream.first_row "0"`}},
		{"another first row", openChunk(chunk, rows, moved(3, 11), vectors), []string{"chunks/c.codes", "which is in lists "}},
		{"codes without a model", openChunk(chunk, rows, noModel(), vectors), []string{"chunks/c.codes", "adastream.model is absent"}},
		{"a block of the same list is not full", openChunk(chunk, rows, withWide("rows", func(rows []int32) { rows[3] = 31 }), vectors), []string{"block 3 of list 9 has 31 codes, allowed: 32"}},
		{"last block of too many codes", openChunk(chunk, rows, withWide("rows", func(rows []int32) { rows[4] = 33 }), vectors), []string{"block 4 of list 9 has 33 codes"}},
		{"last block of a negative number of codes", openChunk(chunk, rows, withWide("rows", func(rows []int32) { rows[4] = -1 }), vectors), []string{"block 4 of list 9 has -1 codes"}},
		{"a row again in the next block", openChunk(chunk, rows, withWide("base_rows", func(rows []int32) { rows[3*32] = rows[3*32-1] }), vectors), []string{"code 0 of block 3 is of base row "}},
		{"rows descend in the last block", openChunk(chunk, rows, withWide("base_rows", func(rows []int32) { rows[4*32+10] = 30 }), vectors), []string{"code 10 of block 4 is of base row 30"}},
		{"list of blocks beyond the chunk's", openChunk(chunk, rows, withWide("list", func(lists []int32) { lists[4] = 10 }), vectors), []string{"block 4 is of list 10, allowed: ascending within [1, 10)"}},
		{"list of blocks before the chunk's", openChunk(chunk, rows, withWide("list", func(lists []int32) { lists[0] = 0 }), vectors), []string{"block 0 is of list 0, allowed: ascending within [1, 10)"}},
		{"a list of blocks again", openChunk(chunk, rows, withWide("list", func(lists []int32) { lists[4] = 1 }), vectors), []string{"block 4 is of list 1"}},
		{"row of a chunk spilled to its list", openChunk(chunk, withChunkSpills(func(l []int32) { l[6] = 9 }), codes, vectors), []string{"chunks/c.rows", `"spill"`, "row 6 of list 9 is in list 9"}},
		{"spill of a chunk is too large", openChunk(chunk, withChunkSpills(func(l []int32) { l[1] = MaxLists }), codes, vectors), []string{"chunks/c.rows", `"spill"`, "row 1"}},
		{"spill of a chunk is not that of its codes", openChunk(chunk, withChunkSpills(func(l []int32) { l[0] = 4 }), codes, vectors), []string{"chunks/c.codes", "of list 9, is of row 0, which is in lists 1 and 4"}},
		{"base rows", openChunk(chunk, rows, moved(2, -1), vectors), []string{`adastream.base_rows "-1"`}},
		{"spilled to its list", openSegment(spec, withSpills(func(l []int32) { l[0] = 1 })), []string{`"spill"`, "row 0 of list 1 is in list 1"}},
		{"spill is too large", openSegment(spec, withSpills(func(l []int32) { l[2] = MaxLists })), []string{`"spill"`, "row 2"}},
		{"spill is negative", openSegment(spec, withSpills(func(l []int32) { l[2] = -2 })), []string{`"spill"`, "row 2"}},
		{"spill without model", openSegment(spec, tampered(t, spec.SegmentSchema("", 0, ""), plain, schemas.KindSegment,
			func(c map[string]arrow.Array) { c["spill"] = int32s(-1, -1, -1, 0, -1, -1, -1) })), []string{"row 3 is in lists -1 and 0"}},
		{"a vector is missing", openChunk(chunk, rows, codes, sliced(t, spec.VectorsSchema(), vectors, schemas.KindVectors, 1)), []string{"chunks/c.vectors", "6 vectors for 7 rows"}},
	}
	for _, test := range tests {
		if !errors.Is(test.err, schemas.ErrCorrupt) {
			t.Errorf("%s: %v", test.name, test.err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(test.err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", test.name, test.err, want)
			}
		}
	}
}

// sliced writes a file without its last rows.
func sliced(t *testing.T, schema *arrow.Schema, data []byte, kind string, missing int) []byte {
	return tampered(t, schema, data, kind, func(columns map[string]arrow.Array) {
		for name, c := range columns {
			columns[name] = array.NewSlice(c, 0, int64(c.Len()-missing))
		}
	})
}

// readingBitmaps: a bitmap of dead rows is refused, or can be asked, walked, joined and written at a cost that its bytes pay
// for.
func readingBitmaps(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	dense := roaring.New()
	for i := range uint32(10_000) {
		dense.Add(3 * i)
	}
	runs := roaring.New()
	runs.AddRange(5, 70_000)
	runs.RunOptimize()
	for _, b := range []*roaring.Bitmap{roaring.New(), roaring.BitmapOf(0, 1, 1<<31, 1<<32-1), dense, runs} {
		data, err := b.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, data)
	}
	return seeds, func(t testing.TB, data []byte) {
		before := mutate.Allocated()
		b, err := readBitmap(data)
		if got := mutate.Allocated() - before; got > 16<<20+64*uint64(len(data)) {
			t.Fatalf("%d bytes allocated for %d", got, len(data))
		}
		if err != nil {
			return
		}
		joined := roaring.Or(b, roaring.BitmapOf(7))
		if b.Contains(7) != (joined.GetCardinality() == b.GetCardinality()) {
			t.Fatalf("%v with 7 is %v", b, joined)
		}
		again, err := b.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if second, err := readBitmap(again); err != nil || !second.Equals(b) {
			t.Fatalf("%v was read again as %v, %v", b, second, err)
		}
		n := uint64(0)
		for it := b.Iterator(); it.HasNext() && n < 1<<16; n++ {
			if row := it.Next(); !b.Contains(row) {
				t.Fatalf("%d is in it and is not", row)
			}
		}
		if n < min(b.GetCardinality(), 1<<16) {
			t.Fatalf("%d rows of %d", n, b.GetCardinality())
		}
	}
}
