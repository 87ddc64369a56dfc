package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/eval"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/schemas"
)

// prefixDataFile names an Arrow file for TestPrefixesOfRealVectors, and after a colon the column of its vectors. It takes a
// part of the sample else.
const prefixDataFile = "ADASTREAM_PREFIX_DATA"

// realVectors returns vectors of unit length, [n][dim].
func realVectors(t *testing.T) (vectors []float32, dim int) {
	t.Helper()
	file, column, every := io.ReadSeeker(bytes.NewReader(sample.Words)), "vector", 5
	if name, of, _ := strings.Cut(os.Getenv(prefixDataFile), ":"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		file, column, every = f, of, 1
	}
	r, err := files.Arrow(file)
	if err != nil {
		t.Fatal(err)
	}
	table, reader := eval.Table{Columns: map[string]eval.Column{}}, &labelled{columns: []string{column}}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = reader.append(&table, batch)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all := table.Columns[column]
	for i := 0; i < table.N; i += every {
		v := all.Row(i)
		mrl.Normalize(avx.Generic, v, v)
		vectors = append(vectors, v...)
	}
	return vectors, all.Dim
}

// A Matryoshka encoder is taken as it is; under a random rotation its prefixes are refused; and a model that rotates makes as
// good an index of what was turned.
func TestPrefixesOfRealVectors(t *testing.T) {
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	given, dim := realVectors(t)
	turned := snapshottest.Turning(dim, 1)(given)
	n := len(given) / dim
	type figures struct {
		prefixes []schemas.PrefixRecall
		plan     schemas.PlanPoint // for recall 0.95
	}
	measure := func(name string, prefix schemas.PrefixMode, vectors []float32) (f figures) {
		spec := schemas.Spec{Name: "test", Encoder: "test", Prefix: prefix, Topic: schemas.Topic{Name: "test", Partitions: 1}}.WithDefaults()
		for d := 8; d <= dim; d *= 2 {
			spec.Ladder = append(spec.Ladder, d)
		}
		snap, built, _, err := bulk.Open(t.Context(), &spec, vectors, n, bulk.Options{
			Level: level, Threads: 1, HeldOut: func(row int) bool { return recall.HeldOut(strconv.Itoa(row)) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Close()
		if f.prefixes, err = built.Model.Prefixes(t.Context(), level, 1, vectors, n); err != nil {
			t.Fatal(err)
		}
		drawn, err := recall.Draw(t.Context(), level, 1, snap, 256, 10)
		if err != nil {
			t.Fatal(err)
		}
		plans, err := recall.Table(t.Context(), level, 1, snap, drawn, 10)
		if err != nil {
			t.Fatal(err)
		}
		_, f.plan, _ = recall.Choose(plans, 0.95)
		var text strings.Builder
		for _, p := range f.prefixes {
			fmt.Fprintf(&text, " %d: %.3f (%.3f)", p.Dims, p.Recall, p.Chance)
		}
		t.Logf("%-14s %s; recall %.3f, %.0f lists by %d dims, %.0f codes of %d dims, %.0f rows, %.0f µs; trained in %.1f s",
			name, text.String(), f.plan.Recall, f.plan.Lists, built.Model.CoarseDims(), f.plan.Scanned, f.plan.ScanDims, f.plan.Refined, f.plan.Micros, built.Trained.Seconds())
		return f
	}
	native, lost := measure("native", schemas.PrefixNative, given), measure("native, turned", schemas.PrefixNative, turned)
	rotating := measure("rotate, turned", schemas.PrefixRotate, turned)
	if os.Getenv(prefixDataFile) != "" {
		return // of any encoder
	}
	if err := model.CheckPrefixes(native.prefixes); err != nil {
		t.Error(err)
	}
	if err := model.CheckPrefixes(lost.prefixes); err == nil {
		t.Errorf("turned prefixes are accepted: %v", lost.prefixes)
	}
	for l, p := range rotating.prefixes {
		if was := native.prefixes[l]; p.Recall < was.Recall-0.05 {
			t.Errorf("%d dimensions: recall %.3f of those that a rotation made, %.3f of the encoder's", p.Dims, p.Recall, was.Recall)
		}
	}
	if rotating.plan.Recall < 0.95 || rotating.plan.Scanned > 1.3*native.plan.Scanned+200 {
		t.Errorf("plan %+v, of the encoder's own prefixes %+v", rotating.plan, native.plan)
	}
}
