package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/export"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// promoted is an index in a directory that serves its newest generation.
func promoted(t *testing.T, spec schemas.Spec) (*buildtest.History, cli.Store) {
	t.Helper()
	storage := cli.Store{Store: t.TempDir()}
	b, err := store.Open(t.Context(), storage.Store, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := buildtest.NewHistory(t, b, spec, 3)
	h.Commit(0, 60, 90)
	h.Build(nil)
	h.Commit(1, 50, 90)
	m := h.Build(nil)
	c := &channelTest{T: t, storage: storage, index: h.Index}
	c.promote(m.Generation, "a@b")
	return h, storage
}

// What was exported is produced to another index, and is the same there: ids, attributes, and what the originals score exactly.
func TestExportIsProducedAgain(t *testing.T) {
	spec := buildtest.HistorySpec(4, 8)
	spec.Metric = schemas.InnerProduct
	h, storage := promoted(t, spec)
	out := filepath.Join(t.TempDir(), "out")
	(&channelTest{T: t}).output(&exportCommand{Index: cli.Index{Store: storage}, Format: "parquet", To: out})
	got := indexed(t, filepath.Join(out, "rows.parquet"), produceCommand{}, len(h.Live()))

	query := []float32{1, 2, 3, 4, 5, 6, 7, 9} // that of indexed
	seen := map[string]bool{}
	for _, line := range got {
		var id string
		var score float64
		if _, err := fmt.Sscan(line, &id, &score); err != nil {
			t.Fatal(err)
		}
		v, live := h.Live()[id]
		exact := 0.0
		for i, x := range v.Vector {
			exact += float64(x) * float64(query[i])
		}
		if !live || seen[id] || math.Abs(exact-score) > 1e-3 || v.Values[0] != nil && !strings.Contains(line, fmt.Sprint("title:", v.Values[0])) {
			t.Errorf("%s, want %+v with %g", line, v, exact)
		}
		seen[id] = true
	}
	if len(got) != len(h.Live()) {
		t.Errorf("%d rows, want %d", len(got), len(h.Live()))
	}
	again := indexed(t, filepath.Join(out, "rows.parquet"), produceCommand{}, len(h.Live()))
	if !slices.Equal(again, got) {
		t.Errorf("another index of it differs: %.300q", again)
	}
}

func TestExportCommand(t *testing.T) {
	h, storage := promoted(t, buildtest.HistorySpec(4, 8))
	c := &channelTest{T: t, storage: storage}
	dir := t.TempDir()
	var report export.Report
	described(t, "export", c.output(&exportCommand{Index: cli.Index{Store: storage}, Format: "faiss", To: filepath.Join(dir, "a"), JSON: true}), &report)
	if report.Rows != int64(len(h.Live())) || report.Labels != "rows" {
		t.Errorf("%+v, %d rows are live", report, len(h.Live()))
	}
	for fault, command := range map[string]*exportCommand{
		"name another one, or remove it":    {Index: cli.Index{Store: storage}, Format: "npy", To: filepath.Join(dir, "a")},
		`format "csv", allowed: [parquet`:   {Index: cli.Index{Store: storage}, Format: "csv", To: filepath.Join(dir, "b")},
		"snapshot ls":                       {Index: cli.Index{Store: storage}, Format: "npy", Generation: 99, To: filepath.Join(dir, "b")},
		"go with formats parquet and arrow": {Index: cli.Index{Store: storage}, Format: "npy", Columns: []string{"id"}, To: filepath.Join(dir, "b")},
	} {
		if _, err := c.outputOf(command); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v, want %s", err, fault)
		}
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}
