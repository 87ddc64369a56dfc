package opq_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
)

// A quantiser of equal widths scores vectors and codes as the one that it is made of, whatever widths that one has, also where it codes
// some dimensions not at all.
func TestUniform(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		ladder mrl.Ladder
		blocks []int
	}{
		{mrl.Ladder{8, 16, 32}, []int{2, 2, 4}},
		{mrl.Ladder{8, 16, 32}, []int{5, 3, 1}},
		{mrl.Ladder{8, 16, 32}, []int{3, 0, 0}},
		{mrl.Ladder{12, 300}, []int{7, 11, 0}},
	} {
		trained := train(t, residuals(400, c.ladder.Dim(), 1), 400, c.ladder, opq.Options{M: 4, Iterations: 1})
		codebooks := make([]float32, 0)
		for i, width := range widthsOf(c.ladder, c.blocks) {
			for range opq.Codewords * width {
				codebooks = append(codebooks, float32(rng.NormFloat64()*float64(i+1)))
			}
		}
		q, err := opq.New(c.ladder, c.blocks, trained.Rotation(), codebooks)
		if err != nil {
			t.Fatal(err)
		}
		u, dim := q.Uniform(), q.Dim()
		x, y, decoded, code := residuals(1, dim, 2), residuals(1, dim, 3), make([]float32, dim), make([]byte, u.CodeBytes())
		q.Encode(avx.Generic, y, 1, code[:q.CodeBytes()], &opq.Scratch{})
		q.Decode(decoded, code)
		mx, my, words := mapped(u, x), mapped(u, y), make([]float64, u.Subs*u.Width)
		for s := range u.Subs {
			word := int(code[s/2] >> (opq.Bits * (s % 2)) & (opq.Codewords - 1))
			for i, v := range u.Codebooks[(s*opq.Codewords+word)*u.Width:][:u.Width] {
				words[s*u.Width+i] = float64(v)
			}
		}
		var whole, coded, wantWhole, wantCoded float64
		for i := range mx {
			whole += mx[i] * my[i]
			coded += mx[i] * words[i]
		}
		for d := range dim {
			wantWhole += float64(x[d]) * float64(y[d])
			wantCoded += float64(x[d]) * float64(decoded[d])
		}
		if math.Abs(whole-wantWhole) > 1e-5 || math.Abs(coded-wantCoded) > 1e-4*(1+math.Abs(wantCoded)) {
			t.Errorf("%v %v: %g and %g of the code, want %g and %g", c.ladder, c.blocks, whole, coded, wantWhole, wantCoded)
		}
	}
}

func mapped(u *opq.Uniform, v []float32) []float64 {
	out := make([]float64, u.Subs*u.Width)
	for i := range out {
		for d, x := range v {
			out[i] += float64(u.Map[i*len(v)+d]) * float64(x)
		}
	}
	return out
}

// widthsOf are those of the sub-quantisers, as the doc of Codebooks has them; a level of more than 256 is cut in two here.
func widthsOf(ladder mrl.Ladder, blocks []int) (all []int) {
	var widths []int
	for i, end := range ladder {
		if w := end - ladder.Start(i); w > 256 {
			first := 4 * (w / 4 / 2)
			widths = append(widths, first, w-first)
		} else {
			widths = append(widths, w)
		}
	}
	for i, n := range blocks {
		for s := range n {
			all = append(all, widths[i]*(s+1)/n-widths[i]*s/n)
		}
	}
	return all
}
