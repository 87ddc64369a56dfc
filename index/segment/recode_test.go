package segment

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// recoded returns a model with the lists of another and codes of its own.
func recoded(t testing.TB, spec *schemas.Spec, of *model.Model) *model.Model {
	t.Helper()
	rng := rand.New(rand.NewPCG(77, 77))
	const n = 300
	sample := make([]float32, n*spec.Dim())
	for i := range sample {
		sample[i] = float32(rng.NormFloat64())
	}
	mdl, err := model.Train(t.Context(), spec, sample, n, n, model.Options{Repair: model.Codes, From: of, M: of.M(), Seed: 9, Level: avx.Generic})
	if err != nil {
		t.Fatal(err)
	}
	if mdl.ID() == of.ID() || mdl.TrainedRows() != of.TrainedRows() {
		t.Fatalf("recoded %s to %s", of, mdl)
	}
	return mdl
}

// Other codes are those that merging everything anew would make, and nothing else changes.
func TestRecodeIsWhatMergingMakes(t *testing.T) {
	for i, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct, schemas.Cosine} {
		spec := testSpec(metric, schemas.Float16)
		if i == 2 {
			spec.Prefix = schemas.PrefixRotate
		}
		old := testModel(t, spec, 1, 5)
		mdl := recoded(t, spec, old)
		rows := randomRows(t, spec, rand.New(rand.NewPCG(3, 3)), 0, 700)
		part := mustOpen(t, spec, mustWrite(t, spec, nil, rows))
		for _, target := range []int64{1, 20_000, 1 << 30} {
			before := mustMerge(t, spec, old, []Input{{Part: part}}, target)
			want := mustMerge(t, spec, mdl, []Input{{Part: part}}, target)
			base := checkChunks(t, spec, old, before)
			if len(before) != len(want) {
				t.Fatalf("%d chunks, want %d", len(before), len(want))
			}
			for _, threads := range []int{1, 4} {
				got := make([][]byte, len(base))
				if err := Recode(t.Context(), spec, mdl, avx.Generic, base, threads, func(i int, codes []byte) error {
					got[i] = codes
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				for i := range want {
					if !bytes.Equal(got[i], want[i].Codes) || !bytes.Equal(before[i].Rows, want[i].Rows) {
						t.Errorf("%s, target %d, %d threads: chunk %d is another one", metric, target, threads, i)
					}
				}
			}
			for i := range before {
				before[i].Codes = want[i].Codes
			}
			checkChunks(t, spec, mdl, before)
		}
	}
}

func TestRecodeRefuses(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	old := testModel(t, spec, 1, 4)
	mdl := recoded(t, spec, old)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(5, 5)), 0, 300)
	part := mustOpen(t, spec, mustWrite(t, spec, old, rows))
	bodies := mustMerge(t, spec, old, []Input{{Part: part}}, 1)
	base := checkChunks(t, spec, old, bodies)
	bare, err := OpenChunk(spec, chunkOf(bodies[0]), bodies[0].Rows, bodies[0].Codes, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("full")
	turned := *spec
	turned.Prefix = schemas.PrefixRotate
	rotating := testModel(t, &turned, 1, 4)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name  string
		ctx   context.Context
		mdl   *model.Model
		parts []*Part
		emit  error
		want  string
	}{
		{"no model", t.Context(), nil, base, nil, "no model"},
		{"a segment", t.Context(), mdl, []*Part{part}, nil, "not a chunk"},
		{"no vectors", t.Context(), mdl, append([]*Part{bare}, base[1:]...), nil, "with vectors"},
		{"not the first", t.Context(), mdl, base[1:], nil, "begins at row"},
		{"not all", t.Context(), mdl, base[:len(base)-1], nil, "all its chunks"},
		{"other axes", t.Context(), rotating, base, nil, "by the axes \"\", allowed: those of the model"},
		{"fewer lists", t.Context(), trainModel(t, spec, 4, 4, 2), base, nil, "below 2"},
		{"canceled", done, mdl, base, nil, "context canceled"},
		{"emit fails", t.Context(), mdl, base, failed, "full"},
	} {
		err := Recode(test.ctx, spec, test.mdl, avx.Generic, test.parts, 2, func(int, []byte) error { return test.emit })
		if err == nil || !strings.Contains(err.Error(), test.want) || test.emit != nil && !errors.Is(err, test.emit) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
