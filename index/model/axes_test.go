package model_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// rotatingKeys, rotatingNames and rotatingColumns are the small model of the other tests with axes that turn dimensions
// round, the first of them to its negative.
func rotatingKeys() [][2]string {
	return append(smallKeys(), [2]string{"adastream.axes", "a8562205244b615653bd654e8009bc45c6e0dc0cda3de47f1fc813c43ae0ca4e"})
}

func rotatingNames() []string { return append(names(), "axes") }

func rotatingColumns() [][]float32 {
	axes := make([]float32, 8*8)
	for i := range 8 {
		axes[i*8+7-i] = 1
	}
	axes[7] = -1
	return append(smallColumns(), axes)
}

func TestGoldenRotating(t *testing.T) {
	const id = "1da5ecd2cf6a9b83c5c5050b806f15fc2e05ceca22529cfe8566ebfff69ce7bc"
	path := filepath.Join("testdata", "model-rotating.arrow")
	written := file(t, rotatingKeys(), rotatingNames(), rotatingColumns(), 1)
	if *update {
		if err := os.WriteFile(path, written, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, golden) {
		t.Error("arrow-go no longer writes the bytes of the golden file: the ID of a model would change")
	}
	m, err := model.Parse(golden)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID() != id || !bytes.Equal(m.Bytes(), golden) || m.Axes() != rotatingKeys()[13][1] {
		t.Errorf("ID %s, axes %s", m.ID(), m.Axes())
	}
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9}
	rotated, back := make([]float32, 16), make([]float32, 8)
	for _, level := range avx.Levels() {
		m.Rotate(level, rotated, x)
		if !slices.Equal(rotated, []float32{-8, 7, 6, 5, 4, 3, 2, 1, -9, 0, 0, 0, 0, 0, 0, 0}) {
			t.Errorf("%s: rotated to %v", level, rotated)
		}
		if m.Unrotate(back, rotated[:8]); !slices.Equal(back, x[:8]) {
			t.Errorf("%s: and back to %v", level, back)
		}
	}
}

// A model without axes, and none, leaves vectors alone.
func TestRotateNothing(t *testing.T) {
	plain, err := model.Parse(file(t, smallKeys(), names(), smallColumns(), 1))
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8}
	for _, m := range []*model.Model{plain, nil} {
		to, back := make([]float32, 8), make([]float32, 8)
		m.Rotate(avx.Generic, to, x)
		m.Unrotate(back, x)
		if m.Axes() != "" || !slices.Equal(to, x) || !slices.Equal(back, x) {
			t.Errorf("axes %q, rotated to %v, and %v", m.Axes(), to, back)
		}
	}
}

func TestParseRefusesAxes(t *testing.T) {
	axes := func(change func(x []float32)) [][]float32 {
		c := rotatingColumns()
		change(c[3])
		return c
	}
	other := rotatingKeys()
	other[13][1] = sum64
	empty := rotatingKeys()
	empty[13][1] = ""
	for name, data := range map[string][]byte{
		"the column without its key":   file(t, smallKeys(), rotatingNames(), rotatingColumns(), 1),
		"the key without its column":   file(t, rotatingKeys(), names(), smallColumns(), 1),
		"an empty key":                 file(t, empty, names(), smallColumns(), 1),
		"an empty key with the column": file(t, empty, rotatingNames(), rotatingColumns(), 1),
		"another checksum":             file(t, other, rotatingNames(), rotatingColumns(), 1),
		"other axes":                   file(t, rotatingKeys(), rotatingNames(), axes(func(x []float32) { x[7] = 1 }), 1),
		"not of unit length":           file(t, rotatingKeys(), rotatingNames(), axes(func(x []float32) { x[7] = 2 }), 1),
		"too short":                    file(t, rotatingKeys(), rotatingNames(), append(smallColumns(), make([]float32, 63)), 1),
	} {
		if _, err := model.Parse(data); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	good := file(t, rotatingKeys(), rotatingNames(), rotatingColumns(), 1)
	for i := range good {
		data := bytes.Clone(good)
		data[i] ^= 0x80
		tryParse(t, data)
	}
}

const sum64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// rotating is a spec of an index whose models rotate.
func rotating(metric schemas.Metric, ladder ...int) *schemas.Spec {
	s := spec(metric, ladder...)
	s.Prefix = schemas.PrefixRotate
	return s
}

// The axes are at right angles, of falling variance, and the same for any number of threads; lists and codes are of rotated
// vectors. Repairs keep them.
func TestTrainRotates(t *testing.T) {
	const n, dim = 3000, 32
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		s := rotating(metric, 8, 16, dim)
		x := snapshottest.Turning(dim, 1)(matryoshka(n, s, 3))
		given := slices.Clone(x)
		m, err := model.Train(t.Context(), s, x, n, n, model.Options{NList: 20, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := model.Train(t.Context(), s, x, n, n, model.Options{NList: 20, Threads: 3}); err != nil || again.ID() != m.ID() {
			t.Errorf("%s: the model depends on threads: %v", metric, err)
		}
		if !slices.Equal(x, given) {
			t.Fatalf("%s: training changed the sample", metric)
		}
		rotated, back := make([]float32, len(x)), make([]float32, dim)
		m.Rotate(avx.Generic, rotated, x)
		variances := make([]float64, dim)
		for d := range dim {
			mean, square := 0.0, 0.0
			for i := range n {
				v := float64(rotated[i*dim+d])
				mean, square = mean+v/n, square+v*v/n
			}
			variances[d] = square - mean*mean
		}
		if least, most := slices.Min(variances[:8]), slices.Max(variances[8:16]); least < most {
			t.Errorf("%s: variance %v along an axis of the first level, %v along one of the second", metric, least, most)
		}
		if least, most := slices.Min(variances[8:16]), slices.Max(variances[16:]); least < most {
			t.Errorf("%s: variance %v along an axis of the second level, %v along one of the third", metric, least, most)
		}
		if spread := slices.Max(variances[:8]) / slices.Min(variances[:8]); spread > 6 {
			t.Errorf("%s: variances of the first level differ by a factor of %v", metric, spread)
		}
		for i := range 20 {
			a, b := x[i*dim:][:dim], x[(i+20)*dim:][:dim]
			dot, turned := avx.Dot(avx.Generic, a, b), avx.Dot(avx.Generic, rotated[i*dim:][:dim], rotated[(i+20)*dim:][:dim])
			if math.Abs(float64(dot-turned)) > 1e-5*float64(avx.SumSquares(avx.Generic, a)+avx.SumSquares(avx.Generic, b)) {
				t.Errorf("%s: inner product %v becomes %v", metric, dot, turned)
			}
			m.Unrotate(back, rotated[i*dim:][:dim])
			for d, v := range back {
				if math.Abs(float64(v-a[d])) > 1e-5 {
					t.Fatalf("%s: %v comes back as %v", metric, a, back)
				}
			}
		}
		if read, err := model.Parse(m.Bytes()); err != nil || read.Axes() != m.Axes() || m.Axes() == "" {
			t.Errorf("%s: read %v, %v", metric, read, err)
		}
		scratch := model.NewScratch()
		if fit := m.Fit(avx.Generic, rotated, n, scratch); fit.Coarse[2] > 0.9*m.Fit(avx.Generic, x, n, scratch).Coarse[2] {
			t.Errorf("%s: centroids leave %v of rotated vectors", metric, fit.Coarse)
		}
		for _, repair := range []model.Repair{model.Codes, model.Lists, model.Everything} {
			next, err := model.Train(t.Context(), s, snapshottest.Turning(dim, 2)(x), n, n, model.Options{Repair: repair, From: m, NList: 20})
			if err != nil {
				t.Fatal(err)
			}
			if (next.Axes() == m.Axes()) != (repair != model.Everything) || next.Axes() == "" {
				t.Errorf("%s: %s makes axes %s of %s", metric, repair, next.Axes(), m.Axes())
			}
		}
	}
}

// Prefixes of a Matryoshka encoder, here of falling variance, are worth more than any dimensions; turned by a random rotation
// they are not, and are refused; and a model that rotates finds them again.
func TestPrefixes(t *testing.T) {
	const n, dim = 2400, 64
	levels := avx.Levels()
	level := levels[len(levels)-1]
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		native, rotate := spec(metric, 8, 16, 32, dim), rotating(metric, 8, 16, 32, dim)
		x := matryoshka(n, native, 3)
		turned := snapshottest.Turning(dim, 4)(x)
		measure := func(s *schemas.Spec, x []float32) []schemas.PrefixRecall {
			m, err := model.Train(t.Context(), s, x, n, n, model.Options{NList: 10, CoarseDims: dim, Level: level})
			if err != nil {
				t.Fatal(err)
			}
			var found [2][]schemas.PrefixRecall
			for i := range found {
				if found[i], err = m.Prefixes(t.Context(), level, 1+2*i, x, n); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(found[0], found[1]) || len(found[0]) != 3 {
				t.Errorf("%s: %v on one thread, %v on three", metric, found[0], found[1])
			}
			return found[0]
		}
		ordered, unordered, found := measure(native, x), measure(native, turned), measure(rotate, turned)
		if before, err := model.NativePrefixes(t.Context(), level, 2, native, turned, n); err != nil || !slices.Equal(before, unordered) {
			t.Errorf("%s: before there is a model %v, %v, with one %v", metric, before, err, unordered)
		}
		if err := model.CheckPrefixes(ordered); err != nil {
			t.Errorf("%s: %v", metric, err)
		}
		if err := model.CheckPrefixes(unordered); err == nil {
			t.Errorf("%s: prefixes of %v are accepted", metric, unordered)
		}
		for l := range ordered {
			if found[l].Recall < ordered[l].Recall-0.06 || found[l].Chance != unordered[l].Chance {
				t.Errorf("%s: rotated %v, as they were %v, turned %v", metric, found[l], ordered[l], unordered[l])
			}
		}
	}
}

func TestPrefixesOfTooLittle(t *testing.T) {
	s := spec(schemas.Cosine, 8, 16)
	m, x := train(t, s, 511, model.Options{NList: 4})
	if found, err := m.Prefixes(t.Context(), avx.Generic, 1, x, 511); found != nil || err != nil {
		t.Errorf("of few rows %v, %v", found, err)
	}
	m, x = train(t, spec(schemas.Cosine, 16), 600, model.Options{NList: 4})
	if found, err := m.Prefixes(t.Context(), avx.Generic, 1, x, 600); found != nil || err != nil {
		t.Errorf("of one level %v, %v", found, err)
	}
}

func TestCheckPrefixes(t *testing.T) {
	p := func(dims int, recall, chance float64) schemas.PrefixRecall {
		return schemas.PrefixRecall{Dims: dims, Recall: recall, Chance: chance}
	}
	for _, tt := range []struct {
		name  string
		found []schemas.PrefixRecall
		want  string
	}{
		{"nothing known", nil, ""},
		{"ordered", []schemas.PrefixRecall{p(8, 0.24, 0.06), p(16, 0.43, 0.2)}, ""},
		{"one level is", []schemas.PrefixRecall{p(8, 0.06, 0.06), p(16, 0.43, 0.2)}, ""},
		{"nothing to gain", []schemas.PrefixRecall{p(8, 1, 1)}, ""},
		{"by a hair", []schemas.PrefixRecall{p(8, 0.14, 0.05)}, "recall@10 of exact search on the prefix of 8 dimensions 0.140 (any 8: 0.050)"},
		{"unordered", []schemas.PrefixRecall{p(8, 0.06, 0.06), p(128, 0.74, 0.73)}, "of 8 dimensions 0.060 (any 8: 0.060), of 128 dimensions 0.740 (any 128: 0.730)"},
	} {
		err := model.CheckPrefixes(tt.found)
		if (err == nil) != (tt.want == "") || err != nil && !(bytes.Contains([]byte(err.Error()), []byte(tt.want)) && bytes.Contains([]byte(err.Error()), []byte("prefix: rotate"))) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func BenchmarkRotate(b *testing.B) {
	for _, dim := range []int{256, 768} {
		const rows = 256
		x := matryoshka(rows, rotating(schemas.Cosine, dim), 3)
		m, err := model.Train(b.Context(), rotating(schemas.Cosine, dim), x, rows, rows, model.Options{NList: 2})
		if err != nil {
			b.Fatal(err)
		}
		to := make([]float32, len(x))
		for _, level := range avx.Levels() {
			b.Run(fmt.Sprintf("%d/query/%s", dim, level), func(b *testing.B) {
				for b.Loop() {
					m.Rotate(level, to[:dim], x[:dim])
				}
			})
			b.Run(fmt.Sprintf("%d/rows/%s", dim, level), func(b *testing.B) {
				for b.Loop() {
					m.Rotate(level, to, x)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
			})
		}
	}
}
