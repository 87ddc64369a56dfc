package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Whatever rows are like, a model of them is made of numbers, gives each row lists that there are, and tables of numbers.
func TestTrainOnRowsThatAreAlike(t *testing.T) {
	levels := avx.Levels()
	level := levels[len(levels)-1]
	const n, dim = 1000, 16
	r := rand.New(rand.NewPCG(1, 2))
	normal := func() float32 { return float32(r.NormFloat64()) }
	for name, row := range map[string]func(i int, v []float32){
		"zero":      func(int, []float32) {},
		"one":       func(_ int, v []float32) { copy(v, []float32{1, 2, 3, 4, 5}) },
		"two":       func(i int, v []float32) { v[i%2*9] = 1 },
		"opposites": func(i int, v []float32) { v[3] = float32(i%2*2 - 1) },
		"line": func(_ int, v []float32) {
			x := normal()
			for d := range v {
				v[d] = x * float32(d+1)
			}
		},
		"no prefix": func(_ int, v []float32) {
			for d := 8; d < dim; d++ {
				v[d] = normal()
			}
		},
		"one row apart": func(i int, v []float32) {
			v[0] = 1
			if i == n/2 {
				v[0], v[15] = 0, -1
			}
		},
		"half alike": func(i int, v []float32) {
			for d := range v {
				if v[d] = 1; i%2 == 0 {
					v[d] = normal()
				}
			}
		},
		"tiny": func(_ int, v []float32) {
			for d := range v {
				v[d] = 1e-14 * normal()
			}
		},
		"huge": func(_ int, v []float32) {
			for d := range v {
				v[d] = 1e13 * normal()
			}
		},
	} {
		for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
			for _, prefix := range []schemas.PrefixMode{schemas.PrefixNative, schemas.PrefixRotate} {
				if name == "zero" && metric == schemas.Cosine {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", name, metric, prefix), func(t *testing.T) {
					spec := &schemas.Spec{Metric: metric, Ladder: []int{4, 8, dim}, Prefix: prefix}
					x := make([]float32, n*dim)
					for i := range n {
						v := x[i*dim:][:dim]
						row(i, v)
						if metric == schemas.Cosine {
							mrl.Normalize(level, v, v)
						}
					}
					var m *model.Model
					for _, repair := range []model.Repair{model.Everything, model.Lists, model.Codes} {
						var err error
						if m, err = model.Train(t.Context(), spec, slices.Clone(x), n, n, model.Options{Repair: repair, From: m, Seed: 1, Level: level, NList: 40, M: 5}); err != nil {
							t.Fatal(err)
						}
						if _, err := model.Parse(m.Bytes()); err != nil {
							t.Fatal(err)
						}
						checkUse(t, m, level, x, n)
					}
				})
			}
		}
	}
}

func checkUse(t *testing.T, m *model.Model, level avx.Level, x []float32, n int) {
	t.Helper()
	rotated := make([]float32, len(x))
	m.Rotate(level, rotated, x)
	s, lists, spills := model.NewScratch(), make([]int32, n), make([]int32, n)
	m.Assign(level, rotated, n, lists, spills, s)
	for i, l := range lists {
		if l < 0 || int(l) >= m.NList() || spills[i] < coarse.NoSpill || int(spills[i]) >= m.NList() || spills[i] == l {
			t.Fatalf("row %d is in lists %d and %d of %d", i, l, spills[i], m.NList())
		}
	}
	m.Encode(level, rotated, n, s, model.Coding{Lists: lists, Codes: make([]byte, n*m.CodeBytes())})
	finite := func(what string, v float64) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("%s: %v", what, v)
		}
	}
	var lut opq.LUT
	quant := make([]int16, m.Dim())
	for i := 0; i < n; i += n / 7 {
		query := rotated[i*m.Dim():][:m.Dim()]
		m.LUT(level, query, m.Dim(), &lut, s)
		finite("bias", float64(lut.Bias))
		finite("scale", float64(lut.Scale))
		scale := mrl.QuantizeQuery(quant, query)
		probes := m.Probe(level, quant, scale, m.NList(), 0, nil, s)
		seen := map[int32]bool{}
		for _, p := range probes {
			finite("base", float64(p.Base))
			seen[p.List] = true
		}
		if len(seen) != m.NList() {
			t.Fatalf("%d of %d lists", len(seen), m.NList())
		}
	}
	fit := m.Fit(level, rotated[:256*m.Dim()], 256, s)
	for l := range fit.Coarse {
		finite("fit", fit.Coarse[l]+fit.Codes[l])
	}
}
