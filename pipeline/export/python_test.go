package export_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/export"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// pythonEnv names the directory of a python that has what testdata/requirements.txt asks for.
const pythonEnv = "ADASTREAM_TEST_PYTHON"

// DuckDB, polars, pyarrow, numpy and FAISS read what is exported, and what is stored, and find what is there.
func TestOthersRead(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("%s is not set: no Python with DuckDB, polars, pyarrow and FAISS", pythonEnv)
	}
	for name, c := range map[string]struct {
		metric  schemas.Metric
		prefix  schemas.PrefixMode
		vectors schemas.VectorType
		integer bool
	}{
		"cosine of texts":    {metric: schemas.Cosine, vectors: schemas.Float16},
		"products, integers": {metric: schemas.InnerProduct, vectors: schemas.Float32, integer: true},
		"rotated":            {metric: schemas.Cosine, prefix: schemas.PrefixRotate, vectors: schemas.Float32, integer: true},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			spec := buildtest.HistorySpec(4, 8, dim)
			spec.Metric, spec.Prefix, spec.Vectors = c.metric, c.prefix, c.vectors
			b, err := store.Open(t.Context(), filepath.Join(root, "store"), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			h := buildtest.NewHistory(t, b, spec, 11)
			h.Integer = c.integer
			h.Commit(0, 900, 1200)
			h.Build(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
			h.Commit(1, 60, 800)
			h.Build(nil)
			promote(t, h)
			writeExpected(t, h, root)
			writeQueries(t, filepath.Join(root, "queries.npy"), 20)
			for _, format := range export.Formats() {
				o := export.Options{Log: h.Index, To: filepath.Join(root, string(format)), Format: format, Level: avx.Generic}
				if format == export.Npy {
					o.Queries, o.K = filepath.Join(root, "queries.npy"), 10
				}
				if _, err := export.Run(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.CommandContext(t.Context(), filepath.Join(python, "python"), "testdata/others.py", root).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// writeExpected writes the live rows as the index has them: originals are narrowed to its type of vectors.
func writeExpected(t *testing.T, h *buildtest.History, root string) {
	t.Helper()
	all := map[string]map[string]any{}
	for id, v := range h.Live() {
		vector := v.Vector
		if h.Index.Spec().Vectors == schemas.Float16 {
			half := make([]uint16, len(vector))
			avx.FloatToHalf(avx.Generic, half, vector)
			vector = make([]float32, len(half))
			avx.HalfToFloat(avx.Generic, vector, half)
		}
		row := map[string]any{"vector": vector, "version": v.Order.Version}
		for j, a := range h.Index.Spec().Attributes {
			row[a.Name] = v.Values[j]
			if at, ok := v.Values[j].(time.Time); ok {
				row[a.Name] = at.UnixMilli()
			}
		}
		all[id] = row
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "expected.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeQueries(t *testing.T, name string, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	head := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }\n", n, dim)
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), 0)
	out = append(out, head...)
	for range n * dim {
		out, _ = binary.Append(out, binary.LittleEndian, float32(rng.NormFloat64()))
	}
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
}
