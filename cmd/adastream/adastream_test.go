package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// A file gives the spec what the flags leave open, and flags go before it. Columns that no attribute can take are left out.
func TestSpecFromFile(t *testing.T) {
	dictionary := func(values arrow.DataType) arrow.DataType {
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: values}
	}
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: "from-file"})
	name := filepath.Join(t.TempDir(), "rows.arrow")
	var file bytes.Buffer
	w, err := ipc.NewFileWriter(&file, ipc.WithSchema(arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "version", Type: arrow.PrimitiveTypes.Int64},
		{Name: "vector", Type: arrow.FixedSizeListOf(16, arrow.FixedWidthTypes.Float16)},
		{Name: "stars", Type: arrow.PrimitiveTypes.Uint8},
		{Name: "class", Type: dictionary(arrow.BinaryTypes.String)},
		{Name: "codes", Type: dictionary(arrow.PrimitiveTypes.Int64)}, // an ingestor takes no dictionary but of strings
		{Name: "blob", Type: arrow.BinaryTypes.Binary},
	}, &md)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), os.WriteFile(name, file.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	f := specFlags{Name: "n", From: name, Metric: "cosine", Partitions: 2, TargetRecall: 0.9}
	var said bytes.Buffer
	s, err := f.spec(slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := []schemas.Attribute{{Name: "class", Type: schemas.AttributeString}, {Name: "stars", Type: schemas.AttributeInt}}
	if s.Encoder != "from-file" || s.Vectors != schemas.Float16 || !slices.Equal(s.Ladder, []int{16}) || !slices.Equal(s.Attributes, want) || s.Topic.Name != "n" {
		t.Errorf("spec from the file: %+v", s)
	}
	for _, column := range []string{"codes", "blob"} {
		if !strings.Contains(said.String(), "column="+column) {
			t.Errorf("nothing is said of column %s: %s", column, said.String())
		}
	}
	f.Prefix = "rotate"
	f.Encoder, f.Ladder, f.Vectors, f.Topic, f.Attribute = "mine", []int{8, 16}, "float32", "t", map[string]string{"stars": "float64"}
	nobody := slog.New(slog.DiscardHandler)
	if s, err = f.spec(nobody); err != nil {
		t.Fatal(err)
	}
	want[1].Type = schemas.AttributeFloat
	if s.Encoder != "mine" || s.Vectors != schemas.Float32 || !slices.Equal(s.Ladder, []int{8, 16}) || !slices.Equal(s.Attributes, want) || s.Topic.Name != "t" || !s.Rotates() {
		t.Errorf("spec from file and flags: %+v", s)
	}
	f.Attribute["class"] = "none"
	if s, err = f.spec(nobody); err != nil || !slices.Equal(s.Attributes, want[1:]) {
		t.Errorf("without class: %+v, %v", s, err)
	}
	f.Attribute["klass"] = "none"
	if _, err = f.spec(nobody); err == nil || !strings.Contains(err.Error(), "--attribute klass=none") {
		t.Errorf("a column that is not there is left out: %v", err)
	}
	f = specFlags{Name: "n", From: name, Metric: "cosine", Partitions: 2, TargetRecall: 0.9, Ladder: []int{4, 8}}
	if _, err = f.spec(nobody); err == nil || !strings.Contains(err.Error(), "vectors of 16 values, of --ladder the last is 8") {
		t.Errorf("a ladder that ends before the vectors: %v", err)
	}
}

func TestPrintAnswer(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"by plan", `{"hits":[{"id":"a","score":0.98765,"attributes":{"z":1,"class":"x"}},{"id":"long","score":0.5,"attributes":{"z":2,"class":null}}],
			"snapshot":{"generation":7,"live_rows":90},"usage":{"lists_probed":4,"codes_scanned":30,"refined":20,"microseconds":55},"expected_recall":0.951}`,
			"  0.988  a     class: x  z: 1\n  0.500  long  class: -  z: 2\ngeneration 7 of 90 rows; 4 lists, 30 codes, 20 rows refined, expected recall@10 0.951; 55 µs\n"},
		{"exact", `{"hits":[],"snapshot":{"generation":1,"live_rows":3},"usage":{"exact":true,"refined":3,"microseconds":9}}`,
			"generation 1 of 3 rows; exact over 3 rows; 9 µs\n"},
	} {
		var a client.Answer
		if err := json.Unmarshal([]byte(c.answer), &a); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		printAnswer(&out, &a)
		if out.String() != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, out.String(), c.want)
		}
	}
}

// What the node answers is passed on with the names that it has there.
func TestSearchJSON(t *testing.T) {
	const answer = `{"hits":[{"id":"a","score":0.5,"attributes":{"z":1}}],"snapshot":{"generation":1,"encoder":"e","as_of":"2026-05-04T03:02:03Z","age_seconds":2,"live_rows":3,"offsets":{"0":7}},"usage":{"exact":true,"lists_probed":0,"codes_scanned":0,"refined":3,"bytes":96,"dims":16,"microseconds":9}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	c := &searchCommand{Node: cli.Node{URL: server.URL}, Like: "x", K: 1, JSON: true}
	var a client.Answer
	described(t, "search", stdout(t, func() error { return c.Run(t.Context()) }), &a)
	if len(a.Hits) != 1 || a.Hits[0].ID != "a" || a.Snapshot.LiveRows != 3 {
		t.Errorf("%+v", a)
	}
}

// What the node says of a refused search reaches the operator.
func TestRefusedSearch(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"detail":"k: 0","allowed":"1 to 1000"}`)
	}))
	defer server.Close()
	c := &searchCommand{Node: cli.Node{URL: server.URL}, Like: "x"}
	if err := c.Run(t.Context()); err == nil || err.Error() != "400 k: 0, allowed: 1 to 1000" {
		t.Errorf("%v", err)
	}
	c.Filter = "{"
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--filter") {
		t.Errorf("%v", err)
	}
}

// A 0 that would be taken for the default is refused, with the name of the flag; one that means something is not.
func TestZeroIsNoDefault(t *testing.T) {
	vectors := filepath.Join("sample", "words.arrow")
	for _, c := range []struct{ call, want string }{
		{"search --like x -k 0", "-k 0: must be more than 0"},
		{"search --like x --k=-1", "-k -1: must be more than 0"},
		{"search --like x --target-recall 0", "--target-recall 0: must be more than 0 and at most 1"},
		{"search --like x --target-recall NaN", "--target-recall NaN: must be more than 0 and at most 1"},
		{"search --like x --target-recall 1.5", "--target-recall 1.5: must be more than 0 and at most 1"},
		{"search --like x --max-micros 0", "--max-micros 0: must be more than 0"},
		{"search --like x --max-lists 0", "--max-lists 0: must be more than 0"},
		{"search --like x --max-bytes=-1", "--max-bytes -1: must be more than 0"},
		{"search --like x --max-bytes 1 --max-lists 1", "can't be used together"},
		{"search --like x -k 1 --target-recall 1", ""},
		{"search --like x --effort 0 --dims 0", ""},
		{"search --like x --max-lists 0.5", ""},
		{"load --store /s --flush-rows 0 a.parquet", "--flush-rows 0: must be more than 0"},
		{"load --store /s --flush-bytes 0 a.parquet", ""},
		{"snapshot events --store /s --brokers a:1 --topic t --poll-every 0s", "--poll-every 0s: must be more than 0"},
		{"eval --rows " + vectors + " --queries " + vectors + " --timing 0", "--timing 0s: must be more than 0"},
		{"init --store /s --brokers a:1 --shards 0", "--shards 0: must be more than 0"},
		{"init --store /s --brokers a:1 --lists-per-row 0", "--lists-per-row 0: must be more than 0"},
		{"plan --rows 1 --dims 64 --shards 0", "--shards 0: must be more than 0"},
		{"plan --rows 1 --dims 64 --lists-per-row 0", "--lists-per-row 0: must be more than 0"},
		{"standalone --memory-bytes=-1", "--memory-bytes -1: must be positive, or 0 for no limit"},
		{"standalone --memory-bytes 0", ""},
		{"standalone --ops-tls", "--ops-tls: needs --tls-cert"},
		{"standalone --target-recall 0", "--target-recall 0: must be more than 0"},
	} {
		parser, err := kong.New(&command{}, kong.Vars{"cache_dir": t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(strings.Fields(c.call))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.call, err, c.want)
		}
	}
}

// skewed is a store whose clock is off, and that tells whole seconds if coarse.
type skewed struct {
	store.Bucket
	by     time.Duration
	coarse bool
}

func (s skewed) Stat(ctx context.Context, key string) (store.Info, error) {
	info, err := s.Bucket.Stat(ctx, key)
	if info.Modified = info.Modified.Add(s.by); s.coarse {
		info.Modified = info.Modified.Truncate(time.Second)
	}
	return info, err
}

func TestClockSkew(t *testing.T) {
	for _, c := range []struct {
		by     time.Duration
		coarse bool
		least  time.Duration // of what is found
		most   time.Duration
	}{
		{0, false, 0, 0},
		{0, true, 0, 0},
		{-time.Minute, false, time.Minute, 2 * time.Minute},
		{time.Minute, false, -time.Minute, 0},
		{-time.Minute, true, time.Minute, 2 * time.Minute},
	} {
		b := store.NewMemory()
		got, err := clockSkew(t.Context(), skewed{b, c.by, c.coarse})
		if err != nil || got < c.least || got > c.most || got == 0 != (c.by == 0) {
			t.Errorf("store's clock %v off, whole seconds %v: %v, %v", c.by, c.coarse, got, err)
		}
		for info, err := range b.List(t.Context(), "", "") {
			t.Errorf("left behind: %v, %v", info, err)
		}
	}
}
