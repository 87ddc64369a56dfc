package segment

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// What a model that rotates makes of a row is made of its rotated vector: lists, codes, int8 and norms. The original stays.
func TestWriteRotates(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		spec := testSpec(metric, schemas.Float32)
		spec.Prefix = schemas.PrefixRotate
		mdl := testModel(t, spec, 1, 4)
		rows := randomRows(t, spec, rand.New(rand.NewPCG(2, 2)), 0, 300)
		p := mustOpen(t, spec, mustWrite(t, spec, mdl, rows))
		if p.Axes != mdl.Axes() || p.Axes == "" {
			t.Fatalf("axes %q, of the model %q", p.Axes, mdl.Axes())
		}
		dim := spec.Dim()
		original, x, int8s, norms := make([]float32, dim), make([]float32, dim), make([]int8, dim), make([]float32, 2)
		list, spill, code := make([]int32, 1), make([]int32, 1), make([]byte, mdl.CodeBytes())
		d, err := newDeriver(spec, mdl, avx.Generic)
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.N {
			p.Vector(avx.Generic, i, original)
			if at := slices.Index(rows.IDs, p.IDAt(i)); !bytes.Equal(BytesOf(original), rows.Vectors[4*at*dim:][:4*dim]) {
				t.Fatalf("row %d: original %v", i, original)
			}
			if metric == schemas.Cosine {
				mrl.Normalize(avx.Generic, original, original)
			}
			mdl.Rotate(avx.Generic, x, original)
			scale := mrl.QuantizeRow(avx.Generic, int8s, x)
			mrl.PrefixNorms(avx.Generic, x, spec.Ladder, norms)
			mdl.Assign(avx.Generic, x, 1, list, spill, d.scratch)
			mdl.Encode(avx.Generic, x, 1, d.scratch, model.Coding{Lists: list, Codes: code})
			if p.Scales[i] != scale || !slices.Equal(p.Int8[i*dim:][:dim], int8s) || !slices.Equal(p.Norms[i*2:][:2], norms) ||
				p.ListAt(i) != list[0] || p.SpillAt(i) != spill[0] || !slices.Equal(p.Code(i), code) {
				t.Fatalf("%s: row %d is not of its rotated vector", metric, i)
			}
		}
	}
}

// A part that is turned has int8 rows and norms as if it had been written by the model, and all else as it was.
func TestTurn(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		spec := testSpec(metric, schemas.Float16)
		spec.Prefix = schemas.PrefixRotate
		a, b := testModel(t, spec, 1, 4), testModel(t, spec, 2, 4)
		rows := randomRows(t, spec, rand.New(rand.NewPCG(2, 2)), 0, 2*deriveBatch+7)
		plain, byA, byB := mustOpen(t, spec, mustWrite(t, spec, nil, rows)), mustOpen(t, spec, mustWrite(t, spec, a, rows)), mustOpen(t, spec, mustWrite(t, spec, b, rows))
		if a.Axes() == b.Axes() {
			t.Fatal("two models have the same axes")
		}
		for _, from := range []*Part{plain, byA, byB} {
			turned, err := Turn(spec, b, avx.Generic, from)
			if err != nil {
				t.Fatal(err)
			}
			if (turned == from) != (from == byB) || turned.Axes != b.Axes() || turned.Model != from.Model {
				t.Errorf("%s: part of model %q, axes %q, turned to model %q, axes %q", metric, from.Model, from.Axes, turned.Model, turned.Axes)
			}
			want := records(from)
			for at, r := range records(byB) {
				w := want[at]
				w.int8s, w.scale, w.norms = r.int8s, r.scale, r.norms
				want[at] = w
			}
			if got := records(turned); !maps.Equal(got, want) {
				t.Errorf("%s: from axes %q: other rows", metric, from.Axes)
			}
			for row := range turned.Find("id-5") {
				if turned.IDAt(row) != "id-5" {
					t.Errorf("found %q", turned.IDAt(row))
				}
			}
		}
		back, err := Turn(spec, nil, avx.Generic, byA)
		if err != nil {
			t.Fatal(err)
		}
		for at, r := range records(plain) {
			if got := records(back)[at]; got.int8s != r.int8s || got.scale != r.scale || got.norms != r.norms {
				t.Fatalf("%s: turned back: %+v, want %+v", metric, got, r)
			}
			break
		}
	}
}

func TestTurnRefuses(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	plain := testModel(t, spec, 1, 4)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(2, 2)), 0, 50)
	c := mustMerge(t, spec, plain, []Input{{Part: mustOpen(t, spec, mustWrite(t, spec, nil, rows))}}, 1<<30)[0]
	bare, err := OpenChunk(spec, chunkOf(c), c.Rows, c.Codes, nil)
	if err != nil {
		t.Fatal(err)
	}
	turned := *spec
	turned.Prefix = schemas.PrefixRotate
	rotating := testModel(t, &turned, 1, 4)
	if _, err := Turn(spec, rotating, avx.Generic, bare); err == nil || !strings.Contains(err.Error(), "with vectors") {
		t.Errorf("without vectors: %v", err)
	}
	spoilt := mustOpen(t, spec, mustWrite(t, spec, nil, rows))
	spoilt.vectors = make([]byte, len(spoilt.vectors))
	if _, err := Turn(spec, rotating, avx.Generic, spoilt); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("zero vectors: %v", err)
	}
}

// Axes belong to a model: a segment without one has none.
func TestOpenRefusesAxesWithoutModel(t *testing.T) {
	spec := testSpec(schemas.Cosine, schemas.Float16)
	rows := randomRows(t, spec, rand.New(rand.NewPCG(2, 2)), 0, 5)
	metadata := arrow.NewMetadata([]string{schemas.MetaKind, schemas.MetaFormat, schemas.MetaAxes}, []string{schemas.KindSegment, schemas.FileFormat, "a"})
	schema := arrow.NewSchema(spec.SegmentSchema("", 0, "").Fields(), &metadata)
	body := tampered(t, schema, mustWrite(t, spec, nil, rows), schemas.KindSegment,
		func(c map[string]arrow.Array) { c["list"] = int32s(-1, -1, -1, -1, -1) })
	if _, err := OpenSegment(spec, "x", body); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("axes without a model: %v", err)
	}
}
