package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// How two widths compare is a matter of the data, not of the sample: a width that is a tenth better should be chosen.
func TestMeasure_isNotChance(t *testing.T) {
	const n, dim, short = measureRows, 32, 22
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	topics := make([]float64, 600*dim)
	for i := range topics {
		topics[i] = r.NormFloat64() * math.Pow(float64(i%dim+1), -0.5)
	}
	var ratios []float64
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		x := make([]float32, n*dim)
		for i := range n {
			row, topic := x[i*dim:][:dim], topics[r.IntN(600)*dim:]
			for d := range row {
				row[d] = float32(topic[d] + 0.7*r.NormFloat64()*math.Pow(float64(d+1), -0.5))
			}
			mrl.Normalize(avx.Generic, row, row)
		}
		s := &training{metric: schemas.Cosine, ladder: mrl.Ladder{short, dim}, dim: dim, sample: x, n: n,
			o: Options{Level: level, Threads: 2, Seed: 1, Progress: func(string, int, int) {}}}
		h := s.holdOut(min(measureQueries, n/8))
		var candidates [2]float64
		for i, d := range s.ladder {
			if candidates[i], err = h.candidates(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		ratios = append(ratios, candidates[0]/candidates[1])
	}
	if least, most := slices.Min(ratios), slices.Max(ratios); most > 1.2*least {
		t.Errorf("the shorter prefix reads %.2f times the candidates of the longer one, or %.2f times, by the sample", least, most)
	}
}
