package model_test

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

var update = flag.Bool("update", false, "write the golden files anew")

// smallKeys and smallColumns are a model that is written by hand: two lists on 4 of 8 dimensions, a rotation that swaps
// dimensions 0 and 1, one sub-quantiser for the first level and one for the second.
func smallKeys() [][2]string {
	return [][2]string{
		{"adastream.kind", "model"},
		{"adastream.format", "1"},
		{"adastream.metric", "ip"},
		{"adastream.ladder", "4,8"},
		{"adastream.dim", "8"},
		{"adastream.coarse_dims", "4"},
		{"adastream.nlist", "2"},
		{"adastream.groups", "1,1"},
		{"adastream.spill", "true"},
		{"adastream.m", "2"},
		{"adastream.bits", "4"},
		{"adastream.blocks", "1,1"},
		{"adastream.trained_rows", "1000"},
	}
}

func smallColumns() [][]float32 {
	books := make([]float32, 2*16*4)
	for i := range books {
		books[i] = float32(i%64/4) / 8 * float32(1-i/64*2) // codeword c is c/8 in all dimensions, negative in the second level
	}
	return [][]float32{
		{1, 0, 0, 0, 0.5, 0, 0, 0, 0, 1, 0, 0, 0, 0.5, 0, 0},
		{0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1},
		books,
	}
}

// file writes columns of lists as an Arrow file, knowing nothing of package model.
func file(t testing.TB, keys [][2]string, names []string, columns [][]float32, rows int, o ...ipc.Option) []byte {
	t.Helper()
	var k, v []string
	for _, pair := range keys {
		k, v = append(k, pair[0]), append(v, pair[1])
	}
	metadata := arrow.NewMetadata(k, v)
	var fields []arrow.Field
	for _, name := range names {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Float32)})
	}
	schema := arrow.NewSchema(fields, &metadata)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for range rows {
		for i, column := range columns {
			list := b.Field(i).(*array.ListBuilder)
			list.Append(true)
			list.ValueBuilder().(*array.Float32Builder).AppendValues(column, nil)
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, append(o, ipc.WithSchema(schema))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func names() []string { return []string{"centroids", "rotation", "codebooks"} }

// column reads a column of a model's file.
func column(t testing.TB, data []byte, i int) []float32 {
	t.Helper()
	r, err := ipc.NewMappedFileReader(data)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	batch, err := r.RecordBatchAt(0)
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	return slices.Clone(batch.Column(i).(*array.List).ListValues().(*array.Float32).Float32Values())
}

func TestGolden(t *testing.T) {
	const id = "2cc046335a7f731435470ae11a17adeb16b71ab9b9cf95bae1a0a40dc2dee09f"
	path := filepath.Join("testdata", "model.arrow")
	if *update {
		if err := os.WriteFile(path, file(t, smallKeys(), names(), smallColumns(), 1), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file(t, smallKeys(), names(), smallColumns(), 1), golden) {
		t.Error("arrow-go no longer writes the bytes of the golden file: the ID of a model would change")
	}
	m, err := model.Parse(golden)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID() != id || !bytes.Equal(m.Bytes(), golden) {
		t.Errorf("ID %s", m.ID())
	}
	if m.Metric() != schemas.InnerProduct || m.Ladder().String() != "4,8" || m.Dim() != 8 || m.CoarseDims() != 4 || m.NList() != 2 ||
		m.M() != 2 || m.CodeBytes() != 1 || m.TrainedRows() != 1000 || m.Subs(4) != 1 || m.Subs(8) != 2 {
		t.Errorf("read as %s", m)
	}

	// Row 0 is nearer to list 1, and its residual is 3/8 in the first and -5/8 in the second level.
	x := []float32{0.375, 1.375, 0.375, 0.375, -0.625, -0.125, -0.625, -0.625}
	for _, level := range avx.Levels() {
		s := model.NewScratch()
		lists, spills, codes := make([]int32, 1), make([]int32, 1), make([]byte, 1)
		m.Assign(level, x, 1, lists, spills, s)
		m.Encode(level, x, 1, s, model.Coding{Lists: lists, Codes: codes})
		if lists[0] != 1 || spills[0] != 0 || codes[0] != 0x53 {
			t.Errorf("%s: lists %d and %d, code %#x", level, lists[0], spills[0], codes[0])
		}
		probes := m.Probe(level, []int16{200, 300, 0, 0, 0, 400, 0, 0}, 0.01, 2, 0, nil, s)
		slices.SortFunc(probes, func(a, b coarse.Probe) int { return int(b.List - a.List) })
		for i := range probes { // centroids are rounded to a 127th of their largest value
			probes[i].Base = float32(math.Round(float64(probes[i].Base)*20) / 20)
		}
		if want := []coarse.Probe{{List: 1, Base: 5}, {List: 0, Base: 2}}; !slices.Equal(probes, want) {
			t.Errorf("%s: probes %v, want %v", level, probes, want)
		}
	}
}

// A model of as many lists as tens of millions of rows want is read: its groups are a text of kilobytes.
func TestParseManyLists(t *testing.T) {
	const nlist, ngroups = 65536, 512
	keys, columns := smallKeys(), smallColumns()
	for i, key := range keys {
		switch key[0] {
		case "adastream.nlist":
			keys[i][1] = strconv.Itoa(nlist)
		case "adastream.groups":
			keys[i][1] = strings.TrimSuffix(strings.Repeat(strconv.Itoa(nlist/ngroups)+",", ngroups), ",")
		}
	}
	columns[0] = make([]float32, nlist*8)
	for i := range columns[0] {
		columns[0][i] = float32(i%7+1) / 8
	}
	m, err := model.Parse(file(t, keys, names(), columns, 1))
	if err != nil {
		t.Fatal(err)
	}
	if m.NList() != nlist {
		t.Errorf("%d lists, want %d", m.NList(), nlist)
	}
}

// What Train writes is what the tests' own writer makes of the same columns.
func TestTrainWritesTheFormat(t *testing.T) {
	m, _ := train(t, spec(schemas.Cosine, 4, 16), 300, model.Options{NList: 5, CoarseDims: 4, M: 3})
	var columns [][]float32
	for i := range names() {
		columns = append(columns, column(t, m.Bytes(), i))
	}
	keys := smallKeys()
	blocks := "1,2"
	if m.Subs(4) == 2 {
		blocks = "2,1"
	}
	for i, v := range []string{"model", "1", "cosine", "4,16", "16", "4", "5", "5", "true", "3", "4", blocks, "300"} {
		keys[i][1] = v
	}
	if !bytes.Equal(m.Bytes(), file(t, keys, names(), columns, 1)) {
		t.Error("another file")
	}
}

// A later format is refused as such, whatever else of it is not known here.
func TestParseLaterFormat(t *testing.T) {
	keys := append(smallKeys(), [2]string{"adastream.news", "1"})
	keys[1][1], keys[3][1] = "2", "4-8"
	_, err := model.Parse(file(t, keys, names(), smallColumns(), 1))
	const want = `adastream.format "2" is not known here, allowed: "1"; a later version of Adastream wrote it`
	if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want an error with %s", err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	key := func(i int, v string) [][2]string {
		k := smallKeys()
		k[i][1] = v
		return k
	}
	columns := func(i int, change func([]float32) []float32) [][]float32 {
		c := smallColumns()
		c[i] = change(slices.Clone(c[i]))
		return c
	}
	nan := func(x []float32) []float32 {
		zero := float32(0)
		x[1] = zero / zero
		return x
	}
	shorter := func(x []float32) []float32 { return x[1:] }
	longer := func(x []float32) []float32 { return append(x, x...) }
	tests := map[string][]byte{
		"nothing":            {},
		"magic alone":        []byte("ARROW1\x00\x00ARROW1"),
		"kind":               file(t, key(0, "rows"), names(), smallColumns(), 1),
		"format":             file(t, key(1, "2"), names(), smallColumns(), 1),
		"metric":             file(t, key(2, "l2"), names(), smallColumns(), 1),
		"empty ladder":       file(t, key(3, ""), names(), smallColumns(), 1),
		"falling ladder":     file(t, key(3, "8,4"), names(), smallColumns(), 1),
		"zero ladder":        file(t, key(3, "0,8"), names(), smallColumns(), 1),
		"ladder with a plus": file(t, key(3, "+4,8"), names(), smallColumns(), 1),
		"dim":                file(t, key(4, "9"), names(), smallColumns(), 1),
		"coarse dims":        file(t, key(5, "5"), names(), smallColumns(), 1),
		"nlist":              file(t, key(6, "3"), names(), smallColumns(), 1),
		"huge nlist":         file(t, key(6, "2147483647"), names(), smallColumns(), 1),
		"groups":             file(t, key(7, "2,1"), names(), smallColumns(), 1),
		"an empty group":     file(t, key(7, "2,0"), names(), smallColumns(), 1),
		"no groups":          file(t, key(7, ""), names(), smallColumns(), 1),
		"spill":              file(t, key(8, "yes"), names(), smallColumns(), 1),
		"spill as a number":  file(t, key(8, "1"), names(), smallColumns(), 1),
		"m":                  file(t, key(9, "3"), names(), smallColumns(), 1),
		"bits":               file(t, key(10, "8"), names(), smallColumns(), 1),
		"blocks":             file(t, key(11, "2,0"), names(), smallColumns(), 1),
		"too many blocks":    file(t, key(11, "1,1,0"), names(), smallColumns(), 1),
		"negative rows":      file(t, key(12, "-1"), names(), smallColumns(), 1),
		"a key more":         file(t, append(smallKeys(), [2]string{"x", "y"}), names(), smallColumns(), 1),
		"a key less":         file(t, smallKeys()[1:], names(), smallColumns(), 1),
		"column name":        file(t, smallKeys(), []string{"centroids", "rotation", "books"}, smallColumns(), 1),
		"a column less":      file(t, smallKeys(), names()[:2], smallColumns()[:2], 1),
		"no rows":            file(t, smallKeys(), names(), smallColumns(), 0),
		"two rows":           file(t, smallKeys(), names(), smallColumns(), 2),
		"centroids too long": file(t, smallKeys(), names(), columns(0, longer), 1),
		"rotation too short": file(t, smallKeys(), names(), columns(1, shorter), 1),
		"codebooks too long": file(t, smallKeys(), names(), columns(2, longer), 1),
		"centroids are NaN":  file(t, smallKeys(), names(), columns(0, nan), 1),
		"rotation is NaN":    file(t, smallKeys(), names(), columns(1, nan), 1),
		"no rotation":        file(t, smallKeys(), names(), columns(1, func(x []float32) []float32 { clear(x); return x }), 1),
		"compressed":         file(t, smallKeys(), names(), smallColumns(), 1, ipc.WithZstd()),
	}
	good := file(t, smallKeys(), names(), smallColumns(), 1)
	if _, err := model.Parse(good); err != nil {
		t.Fatal(err)
	}
	for end := range len(good) {
		if _, err := model.Parse(good[:end]); !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("first %d of %d bytes: error %v", end, len(good), err)
		}
	}
	for name, data := range tests {
		if _, err := model.Parse(data); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Any one byte may be anything: Parse refuses, or makes a model that works.
func TestParseFlippedBytes(t *testing.T) {
	good := file(t, smallKeys(), names(), smallColumns(), 1)
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			data := bytes.Clone(good)
			data[i] ^= flip
			tryParse(t, data)
		}
	}
}

func tryParse(t testing.TB, data []byte) {
	before := mutate.Allocated()
	m, err := model.Parse(data)
	if got, most := mutate.Allocated()-before, uint64(1<<20+64*len(data)); got > most {
		t.Fatalf("%d bytes allocated for %d, allowed: %d", got, len(data), most)
	}
	if err != nil {
		if !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("error %v", err)
		}
		return
	}
	if !bytes.Equal(m.Bytes(), data) {
		t.Fatal("the model's bytes are not those it was read from")
	}
	x, s := make([]float32, m.Dim()), model.NewScratch()
	lists, codes := make([]int32, 1), make([]byte, m.CodeBytes())
	m.Assign(avx.Generic, x, 1, lists, nil, s)
	m.Encode(avx.Generic, x, 1, s, model.Coding{Lists: lists, Codes: codes})
	m.Probe(avx.Generic, make([]int16, m.Dim()), 1, m.NList(), 0, nil, s)
	m.LUT(avx.Generic, x, m.Dim(), &opq.LUT{}, s)
	m.Rotate(avx.Generic, make([]float32, m.Dim()), x)
}

func FuzzParse(f *testing.F) { mutate.Fuzz(f, parsing) }

func TestMutations(t *testing.T) { mutate.Run(t, map[string]mutate.Target{"FuzzParse": parsing}) }

// parsing: whatever a file is, it is refused or a model that works, and reading it costs what its bytes pay for.
func parsing(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	m, _ := train(t, spec(schemas.Cosine, 4), 40, model.Options{NList: 2})
	return [][]byte{
		file(t, smallKeys(), names(), smallColumns(), 1),
		file(t, smallKeys(), names(), smallColumns(), 1, ipc.WithZstd()),
		file(t, rotatingKeys(), rotatingNames(), rotatingColumns(), 1),
		m.Bytes(),
	}, tryParse
}
