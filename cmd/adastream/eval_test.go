package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/adastream/adastream/index/eval"
)

// writeLabelled writes n rows near the corners of a cube as 16 dimensions in float16 and 8 in float32, in two batches.
func writeLabelled(t *testing.T, n int, seed uint64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rows.arrow")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "class", Type: arrow.BinaryTypes.String},
		{Name: "vector", Type: arrow.FixedSizeListOf(16, arrow.FixedWidthTypes.Float16)},
		{Name: "small", Type: arrow.FixedSizeListOf(8, arrow.PrimitiveTypes.Float32)},
	}, nil)
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for half := range 2 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := n / 2 * half; i < n/2*(half+1); i++ {
			class := i % 8
			b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("class ", class))
			wide, small := b.Field(1).(*array.FixedSizeListBuilder), b.Field(2).(*array.FixedSizeListBuilder)
			wide.Append(true)
			small.Append(true)
			for d := range 16 {
				v := float32(class>>(d%3)&1) - 0.5 + float32(0.2*r.NormFloat64())
				wide.ValueBuilder().(*array.Float16Builder).Append(float16.New(v))
				if d < 8 {
					small.ValueBuilder().(*array.Float32Builder).Append(v)
				}
			}
		}
		if err := w.Write(b.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// stdout returns what f prints.
func stdout(t *testing.T, f func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	printed := make(chan string)
	go func() {
		all, _ := io.ReadAll(r) // the pipe ends when w is closed
		printed <- string(all)
	}()
	err = f()
	os.Stdout = old
	w.Close()
	out := <-printed
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEval(t *testing.T) {
	rows, queries := writeLabelled(t, 600, 1), writeLabelled(t, 40, 2)
	base := evalCommand{Rows: rows, Queries: queries, Vector: "vector", Timing: time.Microsecond, Seed: 1, Threads: 2}

	t.Run("all systems, with labels and a rigid encoder", func(t *testing.T) {
		c := base
		c.Label, c.Rigid, c.Out, c.JSON = "class", []string{"small"}, t.TempDir(), true
		out := stdout(t, func() error { return c.Run(t.Context()) })
		var r evalReport
		described(t, "eval", out, &r)
		if r.Rows != 600 || r.Queries != 40 || !r.Labels || len(r.Results) < 50 {
			t.Errorf("%d rows, %d queries, labels %v, %d results", r.Rows, r.Queries, r.Labels, len(r.Results))
		}
		for _, x := range r.Results {
			if x.Family == eval.MRL && (x.Top1 < 0.9 || x.Micros <= 0) { // corners are far apart
				t.Errorf("%+v", x)
			}
		}
		for _, name := range []string{"mflops.svg", "microseconds.svg", "bytes.svg"} {
			f, err := os.Open(filepath.Join(c.Out, name))
			if err != nil {
				t.Fatal(err)
			}
			circles := 0
			for d := xml.NewDecoder(f); ; {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
					circles++
				}
			}
			if circles < 3 {
				t.Errorf("%s: %d points", name, circles)
			}
			f.Close()
		}
		table, err := os.ReadFile(filepath.Join(c.Out, "results.md"))
		if err != nil || !strings.Contains(string(table), "| dims | MRL | rigid |") {
			t.Errorf("%s, %v", table, err)
		}
	})
	t.Run("without labels there is recall", func(t *testing.T) {
		c := base
		c.Systems = []string{"M*L", "AR"}
		out := stdout(t, func() error { return c.Run(t.Context()) })
		if !strings.Contains(out, "## Exact search: recall@10") || strings.Contains(out, "## Exact search: top-1") || !strings.Contains(out, "| 16 | 100.0 |") || strings.Contains(out, "IVF") {
			t.Error(out)
		}
	})
	t.Run("nothing to compare", func(t *testing.T) {
		c := base
		c.Systems, c.JSON = []string{"MRL"}, true
		var r evalReport
		described(t, "eval", stdout(t, func() error { return c.Run(t.Context()) }), &r)
		if len(r.Results) == 0 || r.Comparisons == nil {
			t.Errorf("%d results, comparisons %v", len(r.Results), r.Comparisons)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		for _, tt := range []struct {
			want   string
			change func(c *evalCommand)
		}{
			{`column "nope": there are 0`, func(c *evalCommand) { c.Vector = "nope" }},
			{`column "class": type utf8`, func(c *evalCommand) { c.Vector = "class" }},
			{`column "colour": there are 0`, func(c *evalCommand) { c.Label = "colour" }},
			{"no such family, allowed: AR; AdANNS-D", func(c *evalCommand) { c.Systems = []string{"HNSW"} }},
			{"ladder: 8,12", func(c *evalCommand) { c.Ladder = []int{8, 12} }},
		} {
			c := base
			tt.change(&c)
			if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		}
	})
}

// Rows of a Parquet file, whose vectors are lists of any width, are those of the Arrow file.
func TestEvalReadsParquet(t *testing.T) {
	name := writeLabelled(t, 40, 1)
	read := func(name string) (eval.Table, error) {
		l := &labelled{label: "class", columns: []string{"small"}, classes: map[string]int32{}}
		return l.read(name)
	}
	want, err := read(name)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	r, err := ipc.NewFileReader(whole)
	if err != nil {
		t.Fatal(err)
	}
	columns := []arrow.Field{r.Schema().Field(0), r.Schema().Field(2)}
	name = filepath.Join(t.TempDir(), "rows.parquet")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(arrow.NewSchema(columns, nil), f, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.NumRecords() {
		b, err := r.RecordBatch(i)
		if err == nil {
			err = w.Write(array.NewRecordBatch(arrow.NewSchema(columns, nil), []arrow.Array{b.Column(0), b.Column(2)}, b.NumRows()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := read(name)
	if err != nil || got.N != 40 || !slices.Equal(got.Labels, want.Labels) || got.Columns["small"].Dim != 8 || !slices.Equal(got.Columns["small"].Values, want.Columns["small"].Values) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	zero, _, err := array.FromJSON(memory.DefaultAllocator, arrow.ListOf(arrow.PrimitiveTypes.Float64), strings.NewReader("[[1, 2], [0, 0]]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appendVectors(eval.Column{}, zero); err == nil || !strings.Contains(err.Error(), "vector 1 has no direction") {
		t.Errorf("a zero vector: %v", err)
	}
	l := &labelled{columns: []string{"vector"}}
	if _, err := l.read(name); err == nil || !strings.Contains(err.Error(), `column "vector": there are 0, there must be exactly one of: class, small`) {
		t.Errorf("a column that is not there: %v", err)
	}
}

func TestDefaultLadder(t *testing.T) {
	data := func(rigid ...int) *eval.Data {
		d := &eval.Data{Vector: "v", Rows: eval.Table{Columns: map[string]eval.Column{"v": {Dim: 256}}}}
		for _, w := range rigid {
			d.Rigid = append(d.Rigid, fmt.Sprint(w))
			d.Rows.Columns[fmt.Sprint(w)] = eval.Column{Dim: w}
		}
		return d
	}
	for _, tt := range []struct{ got, want []int }{
		{defaultLadder(data()), []int{8, 16, 32, 64, 128, 256}},
		{defaultLadder(data(64, 256)), []int{64, 256}},
		{defaultLadder(data(48, 512)), []int{48, 256}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%v, want %v", tt.got, tt.want)
		}
	}
}
