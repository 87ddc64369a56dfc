package export_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adastream/adastream/pipeline/export"
	"github.com/adastream/adastream/schemas"
)

// A query's neighbours are numbers of exported rows, of those of a limit only.
func TestTruth(t *testing.T) {
	h := newHistory(t, false, schemas.InnerProduct)
	queries := filepath.Join(t.TempDir(), "q.fvecs")
	var q bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(h.Live()))[:5] {
		for _, part := range []any{uint32(dim), h.Live()[id].Vector} {
			if err := binary.Write(&q, binary.LittleEndian, part); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(queries, q.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const k = 60
	for _, limit := range []int64{0, 50} {
		dir, r := run(t, h, export.Options{Format: export.Npy, Queries: queries, K: k, Limit: limit})
		ids := lines(t, filepath.Join(dir, "ids.txt"))
		neighbours, err := os.ReadFile(filepath.Join(dir, "neighbours.npy"))
		if err != nil {
			t.Fatal(err)
		}
		scores, err := os.ReadFile(filepath.Join(dir, "scores.npy"))
		if err != nil {
			t.Fatal(err)
		}
		neighbours, scores = neighbours[len(neighbours)-5*k*8:], scores[len(scores)-5*k*4:]
		for query := range 5 {
			v := make([]float32, dim)
			if _, err := binary.Decode(q.Bytes()[query*(4+4*dim)+4:], binary.LittleEndian, v); err != nil {
				t.Fatal(err)
			}
			var truth []float64
			score := map[string]float64{}
			for _, id := range ids {
				s := 0.0
				for d, x := range h.Live()[id].Vector {
					s += float64(x) * float64(v[d])
				}
				truth, score[id] = append(truth, s), s
			}
			slices.SortFunc(truth, func(a, b float64) int { return cmp.Compare(b, a) })
			for i := range k {
				n := int64(binary.LittleEndian.Uint64(neighbours[8*(query*k+i):]))
				if int64(i) >= r.Rows {
					if n != -1 {
						t.Fatalf("limit %d, query %d: neighbour %d is %d, there are %d rows", limit, query, i, n, r.Rows)
					}
					continue
				}
				var s float32
				if _, err := binary.Decode(scores[4*(query*k+i):], binary.LittleEndian, &s); err != nil {
					t.Fatal(err)
				}
				if got := score[ids[n]]; math.Abs(got-truth[i]) > 1e-4 || math.Abs(float64(s)-truth[i]) > 1e-4 {
					t.Fatalf("limit %d, query %d: neighbour %d is %s with %g, said %g, want %g", limit, query, i, ids[n], got, s, truth[i])
				}
			}
		}
	}
}
