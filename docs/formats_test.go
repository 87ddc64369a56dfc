package docs

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/verify"
	"github.com/adastream/adastream/schemas"
)

// example is the index that formats.md takes apart, as a directory.
const example = "testdata/example"

// row is a live row, as read_index.py prints it.
type row struct {
	ID     string    `json:"id"`
	Vector []float32 `json:"vector"`
	Title  *string   `json:"title"`
	Price  *float64  `json:"price"`
}

// author makes an index by commits, and knows what must be live after them.
type author struct {
	*testing.T
	log  *commit.Log
	next int64 // offset
	live map[string]row
}

func newAuthor(t *testing.T, dir string, spec schemas.Spec) *author {
	t.Helper()
	b, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec = spec.WithDefaults()
	return &author{T: t, log: buildtest.Create(t, b, &spec), live: map[string]row{}}
}

// commit adds a message of upserts and deletes.
func (a *author) commit(upserts []row, deletes ...string) {
	a.Helper()
	rows := segment.NewRows(a.log.Spec())
	var stones []segment.Tombstone
	at := func(i int) segment.Order {
		return segment.Order{Timestamp: 1_700_000_000_000 + a.next, Offset: a.next, Row: int32(i)}
	}
	for i, r := range upserts {
		rows.IDs, rows.Orders = append(rows.IDs, r.ID), append(rows.Orders, at(i))
		rows.AppendFloats(avx.Generic, r.Vector)
		title, price := array.NewStringBuilder(memory.DefaultAllocator), array.NewFloat64Builder(memory.DefaultAllocator)
		if r.Title == nil {
			title.AppendNull()
		} else {
			title.Append(*r.Title)
		}
		if r.Price == nil {
			price.AppendNull()
		} else {
			price.Append(*r.Price)
		}
		if err := rows.Attributes[0].AppendFrom(title.NewStringArray(), 0); err != nil {
			a.Fatal(err)
		}
		if err := rows.Attributes[1].AppendFrom(price.NewFloat64Array(), 0); err != nil {
			a.Fatal(err)
		}
		a.live[r.ID] = r
	}
	for i, id := range deletes {
		stones = append(stones, segment.Tombstone{ID: id, Order: at(len(upserts) + i)})
		delete(a.live, id)
	}
	watermark := 1_700_000_000_000 + a.next
	buildtest.Append(a, a.log, &schemas.Commit{Start: a.next, End: a.next + 1, Watermark: watermark, Produced: watermark, AtEnd: true}, rows, stones, nil, nil)
	a.next++
}

func specOf(vectors schemas.VectorType, ladder ...int) schemas.Spec {
	return schemas.Spec{Format: schemas.SpecFormat, Name: "example", Metric: schemas.Cosine, Ladder: ladder, Encoder: "example/1", Vectors: vectors, Shards: 1,
		Attributes: []schemas.Attribute{{Name: "title", Type: schemas.AttributeString}, {Name: "price", Type: schemas.AttributeFloat}},
		Topic:      schemas.Topic{Name: "example", Partitions: 1}}
}

// exampleRows are the first commit of the example; the second changes a and deletes b.
func exampleRows() (first, second []row) {
	title := func(s string) *string { return &s }
	price := 9.5
	first = []row{
		{"a", []float32{0.6, -0.8, 0, 0, 0, 0, 0, 0}, title("first"), nil},
		{"b", []float32{1, 0, 0, 0, 0, 0, 0, 0}, nil, nil},
		{"c", []float32{0.5, 0.5, 0.5, 0, 0, 0, 0, 0.5}, title("third"), &price},
	}
	return first, []row{{"a", []float32{0, 0.6, 0.8, 0, 0, 0, 0, 0}, title("changed"), &price}}
}

// The example that formats.md takes apart is what the code makes of its rows, and the page has its bytes.
func TestFormatsExample(t *testing.T) {
	first, second := exampleRows()
	if *update {
		if err := os.RemoveAll(example); err != nil {
			t.Fatal(err)
		}
		a := newAuthor(t, example, specOf(schemas.Float32, 4, 8))
		a.commit(first)
		buildtest.Build(t, a.log, func(*schemas.Manifest) bool { return true })
		a.commit(second, "b")
		buildtest.Build(t, a.log, func(*schemas.Manifest) bool { return true })
	}
	dir := t.TempDir()
	fresh := newAuthor(t, dir, specOf(schemas.Float32, 4, 8))
	fresh.commit(first)
	fresh.commit(second, "b")
	for _, kind := range []string{"segments", "tombstones"} {
		got, want := bodies(t, filepath.Join(example, kind)), bodies(t, filepath.Join(dir, kind))
		if !slices.EqualFunc(got, want, bytes.Equal) || len(got) == 0 {
			t.Errorf("%s: the example has %d objects, of these rows there are %d, and they are not the same", kind, len(got), len(want))
		}
	}
	page, err := os.ReadFile("formats.md")
	if err != nil {
		t.Fatal(err)
	}
	segments := bodies(t, filepath.Join(example, "segments"))
	for _, line := range dump(t, segments[0]) {
		if !strings.Contains(string(page), line) {
			t.Errorf("formats.md does not have\n%s", line)
		}
	}
}

// The example opens, as every index of this format must.
func TestFormatsExampleOpens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	b, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := commit.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Run(t.Context(), verify.Options{Log: log, Cache: buildtest.Cache(t, b), Level: avx.Generic})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Faults) > 0 || report.Rows != 2 {
		t.Errorf("%d rows are live, want 2; %v", report.Rows, report.Faults)
	}
}

// dump has a line for each buffer of a file: where it is, its bytes, and the column.
func dump(t *testing.T, body []byte) (lines []string) {
	t.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := r.RecordBatch(0)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(body, []byte("adastream.pad")) // the batch comes after this
	var add func(name string, d arrow.ArrayData)
	add = func(name string, d arrow.ArrayData) {
		for i, buffer := range d.Buffers() {
			if buffer == nil || buffer.Len() == 0 || i == 0 && d.NullN() == 0 {
				continue
			}
			for at = (at + 7) &^ 7; !bytes.HasPrefix(body[at:], buffer.Bytes()); at += 8 {
			}
			lines = append(lines, fmt.Sprintf("| %d | `%x` | %s | ", at, buffer.Bytes(), name))
			at += buffer.Len()
		}
		for _, child := range d.Children() {
			add(name, child)
		}
	}
	for i, c := range b.Columns() {
		add("`"+b.ColumnName(i)+"`", c.Data())
	}
	return lines
}

// bodies are the objects of a folder, in order of their names.
func bodies(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// read_index.py, which knows the formats and nothing of the code, finds the rows that are live: in chunks and in segments, changed,
// deleted, and as they were.
func TestPythonReadsIndex(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("%s is not set", pythonEnv)
	}
	read := func(dir string) map[string]row {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), filepath.Join(python, "python"), "read_index.py", dir)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("read_index.py %s: %v\n%s", dir, err, stderr.Bytes())
		}
		all := map[string]row{}
		for line := range strings.Lines(string(out)) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if _, twice := all[r.ID]; twice {
				t.Errorf("%s is live twice", r.ID)
			}
			all[r.ID] = r
		}
		return all
	}
	t.Run("bitmaps", func(t *testing.T) {
		b := roaring.BitmapOf(0, 7, 70_000, 1<<31)
		b.AddRange(200_000, 201_000) // becomes a run
		for i := uint32(300_000); i < 320_000; i += 2 {
			b.Add(i) // too many for an array
		}
		for _, runs := range []bool{false, true} {
			if runs {
				b.RunOptimize()
			}
			body, err := b.ToBytes()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(python, "python"), "-c",
				"import sys, read_index; print(*sorted(read_index.bitmap(bytes.fromhex(sys.stdin.read()))))")
			cmd.Stdin = strings.NewReader(hex.EncodeToString(body))
			out, err := cmd.CombinedOutput()
			if want := strings.Trim(fmt.Sprint(b.ToArray()), "[]") + "\n"; err != nil || string(out) != want {
				t.Errorf("with runs %v: %v\n%s", runs, err, out[:min(len(out), 2000)])
			}
		}
	})
	t.Run("example", func(t *testing.T) {
		first, second := exampleRows()
		compare(t, read(example), map[string]row{"a": second[0], "c": first[2]})
	})
	t.Run("epoch", func(t *testing.T) {
		dir := t.TempDir()
		first, second := exampleRows()
		root := newAuthor(t, dir, specOf(schemas.Float32, 4, 8))
		root.commit(first)
		served := func(log *commit.Log) func(*schemas.Manifest) bool { // published is not enough: the reader follows the channel
			return func(*schemas.Manifest) bool {
				c, err := log.Channel(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				return c != nil
			}
		}
		buildtest.Build(t, root.log, served(root.log))
		next := newAuthor(t, filepath.Join(dir, "epochs", "next"), specOf(schemas.Float32, 4, 8))
		next.commit(second)
		buildtest.Build(t, next.log, served(next.log))
		compare(t, read(dir), root.live)
		if _, err := root.log.Move(t.Context(), commit.Move{Verb: commit.VerbPromote, Epoch: "next", Reason: "to be read", By: "test@docs"}); err != nil {
			t.Fatal(err)
		}
		compare(t, read(dir), next.live)
	})
	for _, vectors := range []schemas.VectorType{schemas.Float16, schemas.Float32} {
		t.Run(string(vectors), func(t *testing.T) {
			dir := t.TempDir()
			a := newAuthor(t, dir, specOf(vectors, 8, 16))
			if vectors == schemas.Float32 {
				a.log = a.log.WithPages(1)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			make := func(id int) row {
				v := make([]float32, 16)
				for i := range v {
					v[i] = float32(rng.IntN(2001)-1000) / 256 // also as float16
				}
				title, price := fmt.Sprint("title ", rng.IntN(1000)), float64(id)/4
				return row{fmt.Sprint("id-", id), v, &title, &price}
			}
			var rows []row
			for id := range 600 {
				rows = append(rows, make(id))
			}
			a.commit(rows[:300])
			a.commit(rows[300:])
			buildtest.Build(t, a.log, func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
			rows = nil
			for id := 590; id < 620; id++ {
				rows = append(rows, make(id))
			}
			a.commit(rows, "id-3", "id-4", "id-17", "nobody")
			a.commit([]row{make(7), make(610)}, "id-611")
			m := buildtest.Build(t, a.log, func(m *schemas.Manifest) bool { return true })
			if len(m.Chunks) == 0 || len(m.Segments) == 0 || m.Dead == nil || vectors == schemas.Float32 && len(m.Pages) == 0 {
				t.Fatalf("%d pages, %d chunks, %d segments, dead rows %v: all of them are to be read", len(m.Pages), len(m.Chunks), len(m.Segments), m.Dead)
			}
			// The gate may not think much of random rows.
			if _, err := a.log.Move(t.Context(), commit.Move{Verb: commit.VerbPromote, Generation: m.Generation, Reason: "to be read", By: "test@docs"}); err != nil {
				t.Fatal(err)
			}
			compare(t, read(dir), a.live)
		})
	}
}

func compare(t *testing.T, got, want map[string]row) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d rows are live, want %d", len(got), len(want))
	}
	for id, w := range want {
		g, ok := got[id]
		if !ok {
			t.Errorf("%s is not live", id)
		} else if a, b := fmt.Sprint(text(g)), fmt.Sprint(text(w)); a != b {
			t.Errorf("%s is\n%s, want\n%s", id, a, b)
		}
	}
}

func text(r row) string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
