package export_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/export"
	"github.com/adastream/adastream/pipeline/replica"
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
			m := h.Build(func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })
			h.Commit(1, 30, 800)
			if h.Model, err = replica.Model(t.Context(), buildtest.Cache(t, b), *m.Model); err != nil {
				t.Fatal(err)
			}
			h.Commit(1, 30, 800)
			h.Build(nil)
			promote(t, h)
			writeExpected(t, h, root)
			queries := writeQueries(t, filepath.Join(root, "queries.npy"), 20)
			writeCodes(t, h, root, queries, 3)
			for _, format := range export.Formats() {
				o := export.Options{Log: h.Index, To: filepath.Join(root, string(format)), Format: format, Level: avx.Generic, GroupBytes: 1, FileBytes: 1}
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

func writeQueries(t *testing.T, name string, n int) (all []float32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	head := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }\n", n, dim)
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), 0)
	out = append(out, head...)
	for range n * dim {
		all = append(all, float32(rng.NormFloat64()))
	}
	out, err := binary.Append(out, binary.LittleEndian, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return all
}

// coded are the scores of all live rows by their codes, for one query.
type coded struct {
	Scores map[string]float64 `json:"scores"`
	Error  float64            `json:"error"` // of the table, for all
}

// writeCodes writes what the model's tables of the first queries say of the codes in the first lists.
func writeCodes(t *testing.T, h *buildtest.History, root string, queries []float32, n int) {
	t.Helper()
	spec := h.Index.Spec()
	c, err := h.Index.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Index.Manifest(t.Context(), c.Generation)
	if err != nil {
		t.Fatal(err)
	}
	s, err := replica.Snapshot(t.Context(), buildtest.Cache(t, h.Index.Bucket()), spec, avx.Generic, m)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mdl, scratch := s.Model(), model.NewScratch()
	all := make([]coded, n)
	q, rotated := make([]float32, dim), make([]float32, dim)
	for i := range all {
		if err := search.Prepare(spec, queries[i*dim:][:dim], q); err != nil {
			t.Fatal(err)
		}
		mdl.Rotate(avx.Generic, rotated, q)
		var lut opq.LUT
		mdl.LUT(avx.Generic, rotated, dim, &lut, scratch)
		all[i] = coded{map[string]float64{}, float64(lut.MaxError()) + 1e-4}
		for part, p := range s.Parts() {
			for row := range p.N {
				if s.Dead(part).Has(row) {
					continue
				}
				list, code := codeOf(s, p, row)
				score := float64(lut.Bias)
				for d, x := range mdl.Centroid(int(list)) {
					score += float64(x) * float64(rotated[d])
				}
				for sub := range lut.Subs {
					score += float64(lut.Scale) * float64(lut.Table[opq.Codewords*sub+int(code[sub/2]>>(opq.Bits*(sub%2))&(opq.Codewords-1))])
				}
				all[i].Scores[strings.Clone(p.IDAt(row))] = score
			}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "codes.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// codeOf is the first list of a row, and its code there, made anew.
func codeOf(s *snapshot.Snapshot, p *segment.Part, row int) (int32, []byte) {
	mdl, v, x, lists := s.Model(), make([]float32, dim), make([]float32, dim), []int32{p.ListAt(row)}
	if p.Vector(avx.Generic, row, v); s.Spec().Metric == schemas.Cosine {
		mrl.Normalize(avx.Generic, v, v)
	}
	mdl.Rotate(avx.Generic, x, v)
	if p.Model != mdl.ID() {
		mdl.Assign(avx.Generic, x, 1, lists, nil, model.NewScratch())
	}
	code := make([]byte, mdl.CodeBytes())
	mdl.Encode(avx.Generic, x, 1, model.NewScratch(), model.Coding{Lists: lists, Codes: code})
	return lists[0], code
}
