package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// testSpec is an index of small vectors with an attribute of each type.
func testSpec(metric schemas.Metric, vectors schemas.VectorType) *schemas.Spec {
	spec := schemas.Spec{
		Name: "test", Metric: metric, Ladder: []int{8, 16}, Encoder: "test/1", Vectors: vectors,
		Attributes: []schemas.Attribute{
			{Name: "title", Type: schemas.AttributeString},
			{Name: "open", Type: schemas.AttributeBool},
			{Name: "count", Type: schemas.AttributeInt},
			{Name: "price", Type: schemas.AttributeFloat},
			{Name: "seen", Type: schemas.AttributeTimestamp},
		},
		Topic: schemas.Topic{Name: "test", Partitions: 4},
	}.WithDefaults()
	return &spec
}

// randomRows returns n rows with ids from first on. About a third of the attributes are null. Values are small multiples
// of a power of two, so float16 holds them.
func randomRows(t testing.TB, spec *schemas.Spec, rng *rand.Rand, first, n int) *Rows {
	rows := NewRows(spec)
	for i := first; i < first+n; i++ {
		rows.IDs = append(rows.IDs, fmt.Sprintf("id-%d", i))
		rows.Orders = append(rows.Orders, Order{
			Version: rng.Int64N(3), Timestamp: 1_700_000_000_000 + int64(i), Partition: int32(rng.IntN(4)), Offset: int64(i) * 10, Row: int32(rng.IntN(5)),
		})
		v := make([]float32, spec.Dim())
		for j := range v {
			v[j] = float32(rng.IntN(129)-64) / 16
		}
		v[len(v)-1] = 1 // never all zero
		rows.AppendFloats(avx.Generic, v)
		appendAttributes(t, rows, rng)
	}
	return rows
}

func appendAttributes(t testing.TB, rows *Rows, rng *rand.Rand) {
	for _, c := range rows.Attributes {
		if rng.IntN(3) == 0 {
			c.AppendNull()
			continue
		}
		b := array.NewBuilder(memory.DefaultAllocator, c.typ.ArrowType())
		switch b := b.(type) {
		case *array.StringBuilder:
			b.Append([]string{"", "a", "zwölf Boxkämpfer", "x\x00y"}[rng.IntN(4)])
		case *array.BooleanBuilder:
			b.Append(rng.IntN(2) == 0)
		case *array.Int64Builder:
			b.Append(rng.Int64() - 1<<62)
		case *array.Float64Builder:
			b.Append(rng.NormFloat64())
		case *array.TimestampBuilder:
			b.AppendTime(timeOf(rng.Int64N(2e12) - 1e12))
		}
		if err := c.AppendFrom(b.NewArray(), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// testModel trains a model of 6 lists on rows that have nothing to do with those of tests.
func testModel(t testing.TB, spec *schemas.Spec, seed uint64, m int) *model.Model {
	t.Helper()
	return trainModel(t, spec, seed, m, 6)
}

func trainModel(t testing.TB, spec *schemas.Spec, seed uint64, m, nlist int) *model.Model {
	t.Helper()
	const n = 400
	d, err := newDeriver(spec, nil, avx.Generic)
	if err != nil {
		t.Fatal(err)
	}
	rows := randomRows(t, spec, rand.New(rand.NewPCG(seed, 99)), 0, n)
	sample := make([]float32, n*spec.Dim())
	for i := range n {
		if err := d.search(sample[i*spec.Dim():][:spec.Dim()], rows.Vectors[i*spec.VectorBytes():][:spec.VectorBytes()]); err != nil {
			t.Fatal(err)
		}
	}
	mdl, err := model.Train(context.Background(), spec, sample, n, n, model.Options{NList: nlist, CoarseDims: 8, M: m, Seed: seed, Level: avx.Generic, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return mdl
}

func mustWrite(t testing.TB, spec *schemas.Spec, mdl *model.Model, rows *Rows) []byte {
	t.Helper()
	body, err := Write(spec, mdl, avx.Generic, rows)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func mustOpen(t testing.TB, spec *schemas.Spec, body []byte) *Part {
	t.Helper()
	p, err := OpenSegment(spec, digest(body), body)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func chunkOf(c ChunkBodies) schemas.Chunk {
	return schemas.Chunk{
		ID: digest(c.Rows), FirstList: c.FirstList, EndList: c.EndList, NumRows: c.NumRows,
		Rows: schemas.Object{Key: "c.rows.arrow"}, Codes: schemas.Object{Key: "c.codes.arrow"}, Vectors: schemas.Object{Key: "c.vectors.arrow"},
	}
}

func mustOpenChunk(t testing.TB, spec *schemas.Spec, c ChunkBodies) *Part {
	t.Helper()
	p, err := OpenChunk(spec, chunkOf(c), c.Rows, c.Codes, c.Vectors)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReopenChunk(spec, chunkOf(c), c.Rows, c.Codes, c.Vectors)
	if err != nil {
		t.Fatal(err)
	}
	if p.EndSpill() != again.EndSpill() {
		t.Errorf("opened again it has second lists below %d, not %d", again.EndSpill(), p.EndSpill())
	}
	for _, of := range []*Part{p, again} { // what cannot be compared
		of.endSpill, of.index = nil, nil
	}
	if !reflect.DeepEqual(p, again) {
		t.Errorf("opened again it is %+v, not %+v", again, p)
	}
	if p, err = OpenChunk(spec, chunkOf(c), c.Rows, c.Codes, c.Vectors); err != nil {
		t.Fatal(err)
	}
	return p
}

// record is all that a part holds of a row, in a form that compares with ==.
type record struct {
	id         string
	order      Order
	attributes string
	vector     string // stored bytes
	int8s      string
	scale      float32
	norms      string
	list       int32
	code       string
	spill      int32
	spillCode  string
}

func recordAt(p *Part, i int) record {
	r := record{id: string([]byte(p.IDAt(i))), order: p.OrderAt(i), list: p.ListAt(i), spill: p.SpillAt(i), scale: p.Scales[i]}
	for j := range p.attributes {
		r.attributes += fmt.Sprintf("%T %v|", p.Value(j, i), p.Value(j, i))
	}
	levels := len(p.Norms) / max(p.N, 1)
	r.int8s = fmt.Sprint(p.Int8[i*p.dim:][:p.dim])
	r.norms = fmt.Sprint(p.Norms[i*levels:][:levels])
	if p.vectors != nil {
		r.vector = string(p.Stored(i))
	}
	if p.codes != nil {
		r.code, r.spillCode = string(p.Code(i)), string(p.SpillCode(i))
	}
	return r
}

// records returns those of all rows, by the offset of their order, which tests keep unique. Chunks are those of one base.
func records(parts ...*Part) map[int64]record {
	all := map[int64]record{}
	codes := codesOf(parts)
	for _, p := range parts {
		for i := range p.N {
			r := recordAt(p, i)
			if p.Blocks != nil {
				r.code, r.spillCode = codes[coded{p.FirstRow + i, r.list}], codes[coded{p.FirstRow + i, r.spill}]
				if r.spill == coarse.NoSpill {
					r.spillCode = string(make([]byte, codeBytes(p.M)))
				}
			}
			all[p.OrderAt(i).Offset] = r
		}
	}
	return all
}

// coded is a place where a row has a code.
type coded struct {
	baseRow int
	list    int32
}

// codesOf returns all codes of the chunks of a base.
func codesOf(parts []*Part) map[coded]string {
	codes := map[coded]string{}
	for _, p := range parts {
		for l := p.FirstList; l < p.EndList; l++ {
			for at, end := p.CodeRange(l); at < end; at++ {
				code := make([]byte, codeBytes(p.M))
				p.ReadCode(code, at)
				codes[coded{int(p.CodeRows[at]), int32(l)}] = string(code)
			}
		}
	}
	return codes
}

// split cuts rows into a random number of segments, some of them empty, each of one of the models.
func split(t testing.TB, spec *schemas.Spec, rng *rand.Rand, rows *Rows, models []*model.Model) []*Part {
	pieces := make([]*Rows, 1+rng.IntN(6))
	for k := range pieces {
		pieces[k] = NewRows(spec)
	}
	for i := range rows.Len() {
		appendRow(t, pieces[rng.IntN(len(pieces))], rows, i)
	}
	parts := make([]*Part, len(pieces))
	for k, piece := range pieces {
		parts[k] = mustOpen(t, spec, mustWrite(t, spec, models[rng.IntN(len(models))], piece))
	}
	return parts
}

func appendRow(t testing.TB, to, from *Rows, i int) {
	width := len(from.Vectors) / from.Len()
	to.IDs = append(to.IDs, from.IDs[i])
	to.Orders = append(to.Orders, from.Orders[i])
	to.Vectors = append(to.Vectors, from.Vectors[i*width:][:width]...)
	for j, c := range from.Attributes {
		a, err := c.array(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Attributes[j].AppendFrom(a, i); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteSortsByListThenArrival(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	p := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(1, 2)), 0, 700)))
	if p.N != 700 || p.M != 4 || p.Model != mdl.ID() {
		t.Fatalf("part has %d rows, m %d, model %q", p.N, p.M, p.Model)
	}
	for i := 1; i < p.N; i++ {
		if p.ListAt(i) < p.ListAt(i-1) || p.ListAt(i) == p.ListAt(i-1) && p.OrderAt(i).Offset <= p.OrderAt(i-1).Offset {
			t.Fatalf("row %d (list %d, offset %d) comes after row (list %d, offset %d)",
				i, p.ListAt(i), p.OrderAt(i).Offset, p.ListAt(i-1), p.OrderAt(i-1).Offset)
		}
	}
	seen := 0
	for l := -1; l <= mdl.NList(); l++ {
		start, end := p.ListRange(l)
		for i := start; i < end; i++ {
			if int(p.ListAt(i)) != l {
				t.Fatalf("range of list %d holds row %d of list %d", l, i, p.ListAt(i))
			}
			seen++
		}
	}
	if seen != p.N {
		t.Fatalf("ranges of lists hold %d of %d rows", seen, p.N)
	}
}

// A row's codes are those that the model gives its vector in either list, and the rows of a second list can be found.
func TestWriteCodesBothListsOfARow(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float32)
	mdl := testModel(t, spec, 1, 5)
	const n = deriveBatch + 50
	p := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(1, 2)), 0, n)))
	v, code, scratch := make([]float32, spec.Dim()), make([]byte, mdl.CodeBytes()), model.NewScratch()
	list, spill := make([]int32, 1), make([]int32, 1)
	most := int32(coarse.NoSpill)
	for i := range p.N {
		p.Vector(avx.Generic, i, v)
		mdl.Assign(avx.Generic, v, 1, list, spill, scratch)
		if p.ListAt(i) != list[0] || p.SpillAt(i) != spill[0] || spill[0] == coarse.NoSpill || spill[0] == list[0] {
			t.Fatalf("row %d is in lists %d and %d, want %d and %d", i, p.ListAt(i), p.SpillAt(i), list[0], spill[0])
		}
		if mdl.Encode(avx.Generic, v, 1, scratch, model.Coding{Lists: list, Codes: code}); !bytes.Equal(p.Code(i), code) {
			t.Fatalf("row %d has code %x in list %d, want %x", i, p.Code(i), list[0], code)
		}
		if mdl.Encode(avx.Generic, v, 1, scratch, model.Coding{Lists: spill, Codes: code}); !bytes.Equal(p.SpillCode(i), code) {
			t.Fatalf("row %d has code %x in list %d, want %x", i, p.SpillCode(i), spill[0], code)
		}
		most = max(most, spill[0])
	}
	checkSpilled(t, p)
	if len(p.Spilled) != n || p.EndSpill() != int(most)+1 {
		t.Errorf("%d of %d rows are spilled, to lists below %d, want %d", len(p.Spilled), n, p.EndSpill(), most+1)
	}
}

// checkSpilled checks that the rows with a second list are all there, by that list, then in their own order.
func checkSpilled(t *testing.T, p *Part) {
	t.Helper()
	var want []int32
	for i := range p.N {
		if p.SpillAt(i) != coarse.NoSpill {
			want = append(want, int32(i))
		}
	}
	slices.SortStableFunc(want, func(a, b int32) int { return int(p.SpillAt(int(a)) - p.SpillAt(int(b))) })
	if !slices.Equal(p.Spilled, want) {
		t.Errorf("spilled rows are %v, want %v", p.Spilled, want)
	}
}

// A model that spills has no second list to give when there is but one.
func TestWriteOfASingleListSpillsNothing(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := trainModel(t, spec, 1, 4, 1)
	if mdl.NList() != 1 || !mdl.Spill() {
		t.Fatalf("model has %d lists, spills: %v", mdl.NList(), mdl.Spill())
	}
	p := mustOpen(t, spec, mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(1, 2)), 0, 70)))
	for i := range p.N {
		if p.ListAt(i) != 0 || p.SpillAt(i) != coarse.NoSpill || !bytes.Equal(p.SpillCode(i), make([]byte, codeBytes(p.M))) {
			t.Fatalf("row %d is in lists %d and %d, with code %x in the second", i, p.ListAt(i), p.SpillAt(i), p.SpillCode(i))
		}
	}
	if len(p.Spilled) != 0 || p.EndSpill() != 0 {
		t.Errorf("%d rows are spilled, to lists below %d", len(p.Spilled), p.EndSpill())
	}
	chunks := checkChunks(t, spec, mdl, mustMerge(t, spec, mdl, []Input{{Part: p}}, 0))
	if got := records(chunks...); !maps.Equal(got, records(p)) {
		t.Error("merged rows are others")
	}
	if n := len(codesOf(chunks)); n != p.N {
		t.Errorf("%d codes of %d rows", n, p.N)
	}
}

func TestWriteWithoutModelKeepsArrival(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float32)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(3, 4)), 0, 50)
	p := mustOpen(t, spec, mustWrite(t, spec, nil, rows))
	if p.Model != "" || p.M != 0 || p.FirstList != p.EndList || p.Blocks != nil {
		t.Fatalf("part of no model has model %q, m %d, lists [%d, %d)", p.Model, p.M, p.FirstList, p.EndList)
	}
	for i := range p.N {
		v := p.Stored(i)
		if p.IDAt(i) != rows.IDs[i] || p.OrderAt(i) != rows.Orders[i] || p.ListAt(i) != -1 || !bytes.Equal(v, rows.Vectors[i*len(v):][:len(v)]) {
			t.Fatalf("row %d: %q %v list %d %v", i, p.IDAt(i), p.OrderAt(i), p.ListAt(i), v)
		}
		for j, c := range rows.Attributes {
			if p.Value(j, i) != c.Value(i) {
				t.Errorf("row %d attribute %d: %v, want %v", i, j, p.Value(j, i), c.Value(i))
			}
		}
	}
	if start, end := p.ListRange(0); start != end {
		t.Errorf("list 0 of no model has rows [%d, %d)", start, end)
	}
}

func TestWriteIsDeterministicAndKeepsItsInput(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 4)
	make := func() *Rows { return randomRows(t, spec, rand.New(rand.NewPCG(5, 6)), 0, 99) }
	rows := make()
	body := mustWrite(t, spec, mdl, rows)
	if !bytes.Equal(body, mustWrite(t, spec, mdl, rows)) {
		t.Error("writing the same rows again gives other bytes")
	}
	if !bytes.Equal(body, mustWrite(t, spec, mdl, make())) {
		t.Error("equal rows give other bytes")
	}
}

func TestWriteNoRows(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float32)
	for _, mdl := range []*model.Model{nil, testModel(t, spec, 1, 4)} {
		p := mustOpen(t, spec, mustWrite(t, spec, mdl, NewRows(spec)))
		if p.N != 0 || !p.HasVectors() {
			t.Errorf("part of no rows has %d", p.N)
		}
		for range p.Find("a") {
			t.Error("found a row in none")
		}
	}
}

// The columns that kernels read most begin at cache lines when the file does.
func TestColumnsAreAligned(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	mdl := testModel(t, spec, 1, 5)
	attributes := spec.Attributes
	for n := 1; n < 9; n++ {
		spec.Attributes = attributes[:n%6]
		body := mustWrite(t, spec, mdl, randomRows(t, spec, rand.New(rand.NewPCG(7, 8)), 0, 3*n))
		segment := mustOpen(t, spec, atCacheLine(body))
		c := mustMerge(t, spec, mdl, []Input{{Part: segment}}, 1<<30)[0]
		c.Rows, c.Codes, c.Vectors = atCacheLine(c.Rows), atCacheLine(c.Codes), atCacheLine(c.Vectors)
		chunk := mustOpenChunk(t, spec, c)
		for name, column := range map[string][]byte{
			"int8 of the segment": BytesOf(segment.Int8), "int8": BytesOf(chunk.Int8), "blocks": chunk.Blocks, "vectors": chunk.vectors,
		} {
			if at := uintptr(unsafe.Pointer(&column[0])) % columnAlignment; at != 0 {
				t.Errorf("%d attributes, %d rows: %s begin %d bytes after a cache line", n%6, 3*n, name, at)
			}
		}
	}
}

// atCacheLine copies a file to where a mapping would have it.
func atCacheLine(body []byte) []byte {
	data := newBytes(len(body))
	copy(data, body)
	return data
}

func TestOpenCopiesOnlyWhatIsNotAligned(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	body := mustWrite(t, spec, nil, randomRows(t, spec, rand.New(rand.NewPCG(7, 8)), 0, 20))
	for shift := range 9 {
		data := newBytes(len(body) + shift)[shift:]
		copy(data, body)
		p := mustOpen(t, spec, data)
		want := p.IDAt(3)
		clear(data)
		if aliases := p.IDAt(3) != want; aliases != (shift%8 == 0) {
			t.Errorf("shifted by %d: aliases is %v", shift, aliases)
		}
	}
}

func TestFind(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float32)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(9, 9)), 0, 300)
	for i := 0; i < 300; i += 3 {
		rows.IDs[i] = "again"
	}
	p := mustOpen(t, spec, mustWrite(t, spec, nil, rows))
	ids := slices.Concat(rows.IDs, []string{"absent", ""})
	done := make(chan map[string][]int)
	for range 4 {
		go func() {
			found := map[string][]int{}
			for _, id := range ids {
				found[id] = slices.Collect(p.Find(id))
			}
			done <- found
		}()
	}
	want := map[string][]int{"absent": nil, "": nil}
	for i, id := range rows.IDs {
		want[id] = append(want[id], i)
	}
	for range 4 {
		found := <-done
		for id, rows := range want {
			if !slices.Equal(found[id], rows) {
				t.Fatalf("rows of %q: %v, want %v", id, found[id], rows)
			}
		}
	}
	for row := range p.Find("again") {
		if row != 0 {
			t.Fatalf("first row is %d", row)
		}
		break
	}
}

func TestReset(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(1, 1)), 0, 20)
	rows.Reset()
	if rows.Len() != 0 {
		t.Fatalf("%d rows after reset", rows.Len())
	}
	other := randomRows(t, spec, rand.New(rand.NewPCG(2, 1)), 0, 9)
	for i := range other.Len() {
		appendRow(t, rows, other, i)
	}
	if !bytes.Equal(mustWrite(t, spec, nil, rows), mustWrite(t, spec, nil, other)) {
		t.Error("rows that were reset write other bytes than new ones")
	}
}
