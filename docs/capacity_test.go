package docs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/index/capacity"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/schemas"
)

// The bytes of an index that was just built are those of its plan.
func TestPlanOfRealIndex(t *testing.T) {
	for name, c := range map[string]struct {
		vectors schemas.VectorType
		lists   int
		ladder  []int
		rows    int
	}{
		"float16, two lists":         {schemas.Float16, 2, []int{16, 32, 64}, 3000},
		"float32, one list, 48 dims": {schemas.Float32, 1, []int{16, 48}, 6000},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(c.vectors, c.ladder...)
			spec.ListsPerRow = c.lists
			a := newAuthor(t, t.TempDir(), spec)
			rng := rand.New(rand.NewPCG(3, 4))
			price, titles, ids := 1.5, 0, 0
			var rows []row
			for i := range c.rows {
				title := fmt.Sprintf("a title of the row %d", i*i)
				r := row{fmt.Sprint("id-", i), make([]float32, spec.Dim()), &title, &price}
				centre := rand.New(rand.NewPCG(uint64(i%20), 5))
				for j := range r.Vector {
					r.Vector[j] = float32(centre.NormFloat64() + 0.3*rng.NormFloat64())
				}
				titles, ids = titles+len(title), ids+len(r.ID)
				rows = append(rows, r)
			}
			a.commit(rows)
			m := buildtest.Build(t, a.log, func(m *schemas.Manifest) bool { return len(m.Chunks) > 0 })

			w := capacity.Defaults()
			n := float64(c.rows)
			w.Rows, w.Ladder, w.Float16, w.ListsPerRow, w.IDBytes = int64(c.rows), c.ladder, c.vectors == schemas.Float16, c.lists, float64(ids)/n
			w.AttributeBytes = float64(titles)/n + 4 + 8
			plan := capacity.Of(w)
			got := map[string]int64{"model": m.Model.Size}
			for _, chunk := range m.Chunks {
				got["rows"] += chunk.Rows.Size
				got["codes"] += chunk.Codes.Size
				got["originals"] += chunk.Vectors.Size
			}
			sum := 0.0
			for name, bytes := range got {
				sum += float64(bytes)
				check(t, name, float64(bytes), plan.Value("index", name))
			}
			check(t, "all", sum/n, plan.Value("index", "bytes a row"))
		})
	}
}

func check(t *testing.T, name string, real, planned float64) {
	t.Helper()
	t.Logf("%-10s %10.0f bytes, plan %10.0f: %+.1f %%", name, real, planned, 100*(planned/real-1))
	if math.Abs(planned/real-1) > 0.15 {
		t.Errorf("%s: %.0f bytes, the plan says %.0f", name, real, planned)
	}
}
