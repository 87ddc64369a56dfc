package model_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// What is not made anew stays as it was.
func TestTrainRepairs(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		s := spec(metric, 8, 16, 32)
		old, _ := train(t, s, 2000, model.Options{NList: 40})
		x := matryoshka(3000, s, 9)
		for d := range x {
			x[d] *= float32(1 + d%5) // another shape
		}
		if metric == schemas.Cosine {
			for i := range 3000 {
				mrl.Normalize(avx.Generic, x[i*32:][:32], x[i*32:][:32])
			}
		}
		for _, repair := range []model.Repair{model.Codes, model.Lists, model.Everything} {
			m, err := model.Train(t.Context(), s, x, 3000, 3000, model.Options{Repair: repair, From: old, NList: 50})
			if err != nil {
				t.Fatal(err)
			}
			sameLists := slices.Equal(column(t, m.Bytes(), 0), column(t, old.Bytes(), 0))
			sameCodes := slices.Equal(column(t, m.Bytes(), 2), column(t, old.Bytes(), 2))
			if sameLists != (repair == model.Codes) || sameCodes {
				t.Errorf("%s, %s: the same lists: %v, the same codebooks: %v", metric, repair, sameLists, sameCodes)
			}
			if repair != model.Everything && (m.CoarseDims() != old.CoarseDims() || m.M() != old.M()) {
				t.Errorf("%s: %s from %s", repair, m, old)
			}
			if rows := int64(3000); (m.TrainedRows() == rows) != (repair != model.Codes) {
				t.Errorf("%s: trained on %d rows", repair, m.TrainedRows())
			}
			scratch := model.NewScratch()
			was, is := old.Fit(avx.Generic, x, 3000, scratch), m.Fit(avx.Generic, x, 3000, scratch)
			if was.Codes[2] <= is.Codes[2] {
				t.Errorf("%s, %s: codes left %.4f and leave %.4f", metric, repair, was.Codes[2], is.Codes[2])
			}
		}
	}
}

func TestTrainRepairRefuses(t *testing.T) {
	s := spec(schemas.Cosine, 4, 8)
	other, _ := train(t, spec(schemas.Cosine, 8), 100, model.Options{})
	for _, tt := range []struct {
		o    model.Options
		want string
	}{
		{model.Options{Repair: model.Codes}, "from: no model of ladder 4,8"},
		{model.Options{Repair: model.Lists, From: other}, "from: no model of ladder 4,8"},
		{model.Options{Repair: "some"}, `repair: "some", allowed: codes, lists, full`},
		{model.Options{Repair: model.Nothing}, `repair: "none"`},
	} {
		if _, err := model.Train(t.Context(), s, make([]float32, 80), 10, 10, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

// The fit of the smallest model, by hand: see TestGolden. List 1 leaves 3/8 in the first level and -5/8 in the second; codes
// leave nothing of that. The second row is 1/16 off in each dimension, half a step of the codewords.
func TestFit(t *testing.T) {
	m, err := model.Parse(file(t, smallKeys(), names(), smallColumns(), 1))
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{
		0.375, 1.375, 0.375, 0.375, -0.625, -0.125, -0.625, -0.625,
		0.4375, 1.4375, 0.4375, 0.4375, -0.6875, -0.1875, -0.6875, -0.6875,
	}
	s := model.NewScratch()
	f := m.Fit(avx.Generic, x[:8], 1, s)
	squares := 3*0.375*0.375 + 1.375*1.375
	all := squares + 3*0.625*0.625 + 0.125*0.125
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-6 }
	if f.Rows != 1 || !near(f.Coarse[0], 4*0.375*0.375/squares) || !near(f.Coarse[1], (4*0.375*0.375+4*0.625*0.625)/all) ||
		!near(f.Codes[0], 0) || !near(f.Codes[1], 0) || f.Chance < f.Coarse[0] {
		t.Errorf("%+v", f)
	}
	if f = m.Fit(avx.Generic, x, 2, s); f.Codes[1] <= 0 || f.Codes[0] <= 0 {
		t.Errorf("%+v", f)
	}
	if f = m.Fit(avx.Generic, nil, 0, s); f.Rows != 0 || len(f.Coarse) != 2 || f.Chance != 0 {
		t.Errorf("%+v", f)
	}
	if got, want := m.FirstLevel(avx.Generic, x[:8], []int32{1}), 4*0.375*0.375/squares; !near(got, want) {
		t.Errorf("first level: %v is left, want %v", got, want)
	}
}

// Rows like those of the training are not strange, rows of another encoder are.
func TestStrange(t *testing.T) {
	s := spec(schemas.Cosine, 16, 64)
	m, _ := train(t, s, 5000, model.Options{})
	scratch, lists := model.NewScratch(), make([]int32, 2000)
	same := matryoshka(2000, s, 77)
	fit := m.Fit(avx.Generic, matryoshka(2000, s, 78), 2000, scratch)
	other := make([]float32, len(same)) // the dimensions in another order: what another training of the same encoder gives
	for i := range same {
		other[i] = same[i/64*64+63-i%64]
	}
	for _, tt := range []struct {
		rows     []float32
		low, top float64
	}{{same, 0, 0.05}, {other, 0.8, 100}} {
		m.Assign(avx.Generic, tt.rows, 2000, lists, nil, scratch)
		if got := fit.Strange(m.FirstLevel(avx.Generic, tt.rows, lists)); got < tt.low || got > tt.top {
			t.Errorf("strangeness %v, want %v to %v", got, tt.low, tt.top)
		}
	}
}
