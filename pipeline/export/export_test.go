package export_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/export"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const dim = 16

// newHistory is an index with chunks, segments, replaced rows and deletes.
func newHistory(t *testing.T, integer bool, metric schemas.Metric) *buildtest.History {
	t.Helper()
	spec := buildtest.HistorySpec(8, dim)
	spec.Metric = metric
	h := buildtest.NewHistory(t, store.NewMemory(), spec, 7)
	h.Integer = integer
	h.Commit(0, 700, 900)
	h.Build(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
	h.Commit(1, 60, 500)
	h.Build(nil)
	promote(t, h)
	return h
}

// promote serves the newest generation.
func promote(t *testing.T, h *buildtest.History) {
	t.Helper()
	m, err := h.Index.Latest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := h.Index.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Index.Promote(t.Context(), seen, schemas.Channel{Generation: m.Generation, Reason: "test", By: "a@b"}); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, h *buildtest.History, o export.Options) (dir string, r *export.Report) {
	t.Helper()
	o.Log, o.To, o.Level, o.Dir = h.Index, filepath.Join(t.TempDir(), "out"), avx.Generic, t.TempDir()
	r, err := export.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("copies are left: %v, %v", left, err)
	}
	return o.To, r
}

// want are the live rows of a history as text, each by its id.
func want(h *buildtest.History, vector func([]float32) []float32, attributes bool) map[string]string {
	all := map[string]string{}
	for id, v := range h.Live() {
		row := fmt.Sprint(vector(v.Vector))
		if attributes {
			row += fmt.Sprint(" ", v.Order.Version, " ", v.Values)
		}
		all[id] = row
	}
	return all
}

func asGiven(v []float32) []float32 { return v }

// read reads files with package files, which others than this package's own code hold against what other programs write.
func read(t *testing.T, attributes bool, o files.Options, names ...string) (ids []string, rows map[string]string) {
	t.Helper()
	rows = map[string]string{}
	for _, name := range names {
		r, err := files.Open(name, o)
		if err != nil {
			t.Fatal(err)
		}
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(b.NumRows()) {
				id, row := rowOf(b, i, attributes)
				ids = append(ids, id)
				rows[id] = row
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	return ids, rows
}

func rowOf(b arrow.RecordBatch, i int, attributes bool) (id, row string) {
	column := func(name string) arrow.Array { return b.Column(b.Schema().FieldIndices(name)[0]) }
	list := column("vector").(array.ListLike)
	start, end := list.ValueOffsets(i)
	row = fmt.Sprint(list.ListValues().(*array.Float32).Float32Values()[start:end])
	if attributes {
		values := []any{}
		for _, a := range buildtest.HistorySpec(8).Attributes {
			c := column(a.Name)
			switch c := c.(type) {
			case *array.String:
				values = append(values, c.Value(i))
			case *array.Int64:
				values = append(values, c.Value(i))
			case *array.Float64:
				values = append(values, c.Value(i))
			case *array.Boolean:
				values = append(values, c.Value(i))
			case *array.Timestamp:
				values = append(values, time.UnixMilli(int64(c.Value(i))).UTC())
			}
			if c.IsNull(i) {
				values[len(values)-1] = nil
			}
		}
		row += fmt.Sprint(" ", column("version").(*array.Int64).Value(i), " ", values)
	}
	return column("id").ValueStr(i), row
}

func compare(t *testing.T, ids []string, got, want map[string]string) {
	t.Helper()
	if len(ids) != len(want) || !maps.Equal(got, want) {
		t.Errorf("%d rows of %d ids, want %d", len(ids), len(got), len(want))
		for id := range want {
			if got[id] != want[id] {
				t.Errorf("%s:\n got %s\nwant %s", id, got[id], want[id])
				break
			}
		}
	}
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// Every format has the live rows, each once, with what they are: nothing of replaced and deleted ones.
func TestEveryFormatHasTheLiveRows(t *testing.T) {
	h := newHistory(t, false, schemas.Cosine)
	order := map[export.Format][]string{}
	for _, format := range export.Formats() {
		t.Run(string(format), func(t *testing.T) {
			dir, r := run(t, h, export.Options{Format: format})
			if r.Rows != int64(len(h.Live())) || r.Dims != dim || r.Checkpoint == nil || r.Generation == 0 {
				t.Errorf("report: %+v, %d rows are live", r, len(h.Live()))
			}
			var on export.Report
			if text, err := os.ReadFile(filepath.Join(dir, "_export.json")); err != nil || json.Unmarshal(text, &on) != nil || on.Rows != r.Rows || !slices.Equal(on.Files, r.Files) {
				t.Errorf("_export.json: %+v, %v", on, err)
			}
			var ids []string
			var got map[string]string
			switch format {
			case export.Parquet:
				ids, got = read(t, true, files.Options{}, filepath.Join(dir, "rows.parquet"))
				compare(t, ids, got, want(h, asGiven, true))
			case export.Arrow:
				ids, got = read(t, true, files.Options{}, filepath.Join(dir, "part-00000.arrow"))
				compare(t, ids, got, want(h, asGiven, true))
			case export.Faiss:
				var labels []int64
				ids = lines(t, filepath.Join(dir, "ids.txt"))
				labels, got = flat(t, filepath.Join(dir, "index.faiss"), ids, true)
				for i, l := range labels {
					if l != int64(i) {
						t.Fatalf("label %d is %d", i, l)
					}
				}
				compare(t, ids, got, want(h, func(v []float32) []float32 {
					unit := make([]float32, len(v))
					mrl.Normalize(avx.Generic, unit, v)
					return unit
				}, false))
			case export.FaissIVFPQ: // TestOthersRead looks into it
				ids = lines(t, filepath.Join(dir, "ids.txt"))
			default:
				ids, got = read(t, false, files.Options{IDs: filepath.Join(dir, "ids.txt")}, filepath.Join(dir, "vectors."+string(format)))
				compare(t, ids, got, want(h, asGiven, false))
				if _, err := os.Stat(filepath.Join(dir, "ids.npy")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("ids that are no integers have an ids.npy: %v", err)
				}
			}
			order[format] = ids
		})
	}
	for format, ids := range order {
		if !slices.Equal(ids, order[export.Parquet]) {
			t.Errorf("%s has its rows in another order", format)
		}
	}
}

// flat takes a flat index of FAISS apart.
func flat(t *testing.T, name string, ids []string, cosine bool) (labels []int64, rows map[string]string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(data)
	next := func(into any) {
		if err := binary.Read(r, binary.LittleEndian, into); err != nil {
			t.Fatal(err)
		}
	}
	header := func(four string) {
		var h struct {
			Name    [4]byte
			Dims    int32
			Rows    int64
			_, _    int64
			Trained bool
			Metric  int32
		}
		if next(&h); string(h.Name[:]) != four || h.Dims != dim || h.Rows != int64(len(ids)) || !h.Trained || h.Metric != 0 {
			t.Fatalf("header %+v, want %s", h, four)
		}
	}
	header("IxMp")
	if cosine {
		header("IxPT")
		next(make([]byte, 4+4+4+4+4+1)) // a transform
	}
	header("IxFI")
	var n uint64
	next(&n)
	vectors := make([]float32, n)
	next(vectors)
	next(&n)
	labels = make([]int64, n)
	next(labels)
	if r.Len() != 0 {
		t.Errorf("%d bytes after the end", r.Len())
	}
	rows = map[string]string{}
	for i, id := range ids {
		rows[id] = fmt.Sprint(vectors[i*dim:][:dim])
	}
	return labels, rows
}

// Integers are labels and an array; a number that is written otherwise, or negative where that is no label, makes them texts.
func TestIntegersAsIDs(t *testing.T) {
	h := newHistory(t, true, schemas.InnerProduct)
	dir, r := run(t, h, export.Options{Format: export.Faiss})
	ids := lines(t, filepath.Join(dir, "ids.txt"))
	labels, got := flat(t, filepath.Join(dir, "index.faiss"), ids, false)
	compare(t, ids, got, want(h, asGiven, false))
	for i, l := range labels {
		if fmt.Sprint(l) != ids[i] {
			t.Fatalf("label %d is %d, the id %s", i, l, ids[i])
		}
	}
	if r.Labels != "ids" {
		t.Errorf("labels are %s", r.Labels)
	}
	dir, _ = run(t, h, export.Options{Format: export.Npy})
	if array, err := os.ReadFile(filepath.Join(dir, "ids.npy")); err != nil || len(array)%64 != (8*len(ids))%64 || binary.LittleEndian.Uint64(array[len(array)-8:]) != uint64(labels[len(labels)-1]) {
		t.Errorf("ids.npy of %d bytes, %v", len(array), err)
	}
}

func TestPartsOfRows(t *testing.T) {
	h := newHistory(t, false, schemas.InnerProduct)
	dir, r := run(t, h, export.Options{Format: export.Arrow, Dims: 8, Limit: 50})
	ids, got := read(t, true, files.Options{}, filepath.Join(dir, "part-00000.arrow"))
	all := want(h, func(v []float32) []float32 { return v[:8] }, true)
	for _, id := range ids {
		if got[id] != all[id] {
			t.Fatalf("%s:\n got %s\nwant %s", id, got[id], all[id])
		}
	}
	if len(ids) != 50 || len(got) != 50 || r.Rows != 50 || r.Dims != 8 {
		t.Errorf("%d rows, report %+v", len(ids), r)
	}
	dir, _ = run(t, h, export.Options{Format: export.Parquet, Columns: []string{"price", "id"}})
	f, err := files.Open(filepath.Join(dir, "rows.parquet"), files.Options{})
	if err == nil || !strings.Contains(err.Error(), "vector") { // a message has to have one
		t.Errorf("%v, %v", f, err)
	}
}

// Row groups and files are as small as is said, and have all rows together.
func TestBoundedPieces(t *testing.T) {
	h := newHistory(t, false, schemas.Cosine)
	dir, r := run(t, h, export.Options{Format: export.Arrow, FileBytes: 1})
	var names []string
	for _, name := range r.Files {
		names = append(names, filepath.Join(dir, name))
	}
	ids, got := read(t, true, files.Options{}, names...)
	compare(t, ids, got, want(h, asGiven, true))
	if len(names) < 2 || names[1] != filepath.Join(dir, "part-00001.arrow") {
		t.Errorf("files %v", r.Files)
	}
	dir, _ = run(t, h, export.Options{Format: export.Parquet, GroupBytes: 1})
	ids, got = read(t, true, files.Options{}, filepath.Join(dir, "rows.parquet"))
	compare(t, ids, got, want(h, asGiven, true))
	f, err := file.OpenParquetFile(filepath.Join(dir, "rows.parquet"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range f.NumRowGroups() {
		if n := f.MetaData().RowGroup(i).NumRows(); n > 256 {
			t.Errorf("row group %d has %d rows", i, n)
		}
	}
	if want := (len(h.Live()) + 255) / 256; f.NumRowGroups() != want || want < 2 {
		t.Errorf("%d row groups of %d rows", f.NumRowGroups(), len(h.Live()))
	}
}

// What cannot be is refused, and leaves nothing.
func TestRefused(t *testing.T) {
	h := newHistory(t, false, schemas.Cosine)
	for fault, o := range map[string]export.Options{
		`format "csv", allowed: [parquet arrow`:                      {Format: "csv"},
		"columns id: go with formats parquet and arrow":              {Format: export.Npy, Columns: []string{"id"}},
		`column "colour", allowed: id, version, title`:               {Format: export.Arrow, Columns: []string{"id", "colour"}},
		`column "id" is there twice`:                                 {Format: export.Arrow, Columns: []string{"id", "id"}},
		"dims 12, allowed: a level of the ladder, [8 16]":            {Format: export.Npy, Dims: 12},
		"limit -1, allowed: at least 1":                              {Format: export.Npy, Limit: -1},
		"k 0, allowed: at least 1":                                   {Format: export.Npy, Queries: "q.npy"},
		"dims 8: neighbours are those by all":                        {Format: export.Npy, Queries: "q.npy", K: 1, Dims: 8},
		"dims 8: codes are of all dimensions":                        {Format: export.FaissIVFPQ, Dims: 8},
		"generation 1 has no model yet":                              {Format: export.FaissIVFPQ, Generation: 1},
		"generation 99: ":                                            {Format: export.Npy, Generation: 99},
		"queries none.npy: open none.npy: no such file or directory": {Format: export.Npy, Queries: "none.npy", K: 1},
	} {
		place := t.TempDir()
		o.Log, o.To, o.Dir = h.Index, filepath.Join(place, "out"), place
		_, err := export.Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v, want %s", err, fault)
		}
		if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", fault, left, err)
		}
	}
	there := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := export.Run(t.Context(), export.Options{Log: h.Index, To: there, Format: export.Npy}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// An id that would be two lines is refused where ids are lines, and nowhere else.
func TestLinesOfIDs(t *testing.T) {
	spec := schemas.Spec{Name: "n", Ladder: []int{4}, Encoder: "e", Vectors: schemas.Float32, Topic: schemas.Topic{Name: "t", Partitions: 1}}.WithDefaults()
	log := buildtest.Create(t, store.NewMemory(), &spec)
	rows := segment.NewRows(&spec)
	rows.IDs, rows.Orders = []string{"two\nlines"}, []segment.Order{{}}
	rows.AppendFloats(avx.Generic, []float32{1, 2, 3, 4})
	buildtest.Append(t, log, &schemas.Commit{End: 1}, rows, nil, nil, nil)
	m := buildtest.Build(t, log, func(*schemas.Manifest) bool { return true })
	for _, format := range export.Formats() {
		_, err := export.Run(t.Context(), export.Options{Log: log, Generation: m.Generation, Format: format, To: filepath.Join(t.TempDir(), "out")})
		if format == export.FaissIVFPQ {
			continue // there is no model
		}
		if lines := format != export.Parquet && format != export.Arrow; lines != (err != nil && strings.Contains(err.Error(), `id "two\nlines": it has a line end`)) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// What is served may be of an epoch, with another width and other rows.
func TestServedEpoch(t *testing.T) {
	b := store.NewMemory()
	h := buildtest.NewHistory(t, b, buildtest.HistorySpec(8, dim), 1)
	h.Commit(0, 30, 40)
	h.Build(nil)
	promote(t, h)
	next := buildtest.NewHistory(t, store.Under(b, "epochs/next"), buildtest.HistorySpec(8, 24), 2)
	next.Commit(0, 20, 40)
	next.Build(nil)
	promote(t, next)
	seen, err := h.Index.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Index.Promote(t.Context(), seen, schemas.Channel{Epoch: "next", Reason: "test", By: "a@b"}); err != nil {
		t.Fatal(err)
	}
	dir, r := run(t, h, export.Options{Format: export.Arrow})
	ids, got := read(t, true, files.Options{}, filepath.Join(dir, "part-00000.arrow"))
	compare(t, ids, got, want(next, asGiven, true))
	if r.Epoch != "next" || r.Dims != 24 {
		t.Errorf("%+v", r)
	}
	if _, r = run(t, h, export.Options{Format: export.Arrow, Generation: 1}); r.Epoch != "" || r.Dims != dim {
		t.Errorf("generation 1 of the index itself: %+v", r)
	}
}

// An export that ends early leaves nothing, and takes no place.
func TestStopped(t *testing.T) {
	h := newHistory(t, false, schemas.Cosine)
	for _, format := range export.Formats() {
		ctx, cancel := context.WithCancel(t.Context())
		place := t.TempDir()
		o := export.Options{Log: h.Index, Format: format, To: filepath.Join(place, "out"), Dir: place, Progress: func(int64, int64) { cancel() }}
		if format == export.FaissIVFPQ { // tells nothing
			cancel()
		}
		if _, err := export.Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", format, err)
		}
		if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", format, left, err)
		}
		cancel()
	}
}
