package model_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// matryoshka makes n vectors around topics, whose spread decays from dimension to dimension, of unit length under cosine.
func matryoshka(n int, spec *schemas.Spec, seed uint64) []float32 {
	const topics = 40
	dim := spec.Dim()
	centres := make([]float64, topics*dim)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range centres {
		centres[i] = r.NormFloat64() / math.Sqrt(float64(i%dim+1))
	}
	r = rand.New(rand.NewPCG(seed, 2))
	x := make([]float32, n*dim)
	for i := range n {
		row, c := x[i*dim:][:dim], centres[r.IntN(topics)*dim:]
		for d := range row {
			row[d] = float32(c[d] + 0.5*r.NormFloat64()/math.Sqrt(float64(d+1)))
		}
		if spec.Metric == schemas.Cosine {
			mrl.Normalize(avx.Generic, row, row)
		}
	}
	return x
}

func spec(metric schemas.Metric, ladder ...int) *schemas.Spec {
	return &schemas.Spec{Metric: metric, Ladder: ladder}
}

func train(t testing.TB, s *schemas.Spec, n int, o model.Options) (*model.Model, []float32) {
	t.Helper()
	x := matryoshka(n, s, 3)
	m, err := model.Train(context.Background(), s, x, n, int64(n), o)
	if err != nil {
		t.Fatal(err)
	}
	return m, x
}

func ExampleTrain() {
	s := spec(schemas.Cosine, 8, 16, 32)
	sample := matryoshka(2000, s, 1)
	m, err := model.Train(context.Background(), s, sample, 2000, 1_000_000, model.Options{CoarseDims: 16, Level: avx.Generic})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.NList(), "lists on", m.CoarseDims(), "dimensions, codes of", m.CodeBytes(), "bytes")

	query, scratch := make([]float32, 32), model.NewScratch()
	mrl.Normalize(avx.Generic, query, sample[:32])
	values := make([]int16, 32)
	probes := m.Probe(avx.Generic, values, mrl.QuantizeQuery(values, query), 4, 0, nil, scratch)
	var lut opq.LUT
	m.LUT(avx.Generic, query, 32, &lut, scratch)
	fmt.Println(len(probes), "lists to scan with", lut.Subs, "sub-quantisers")
	// Output:
	// 48 lists on 16 dimensions, codes of 4 bytes
	// 4 lists to scan with 8 sub-quantisers
}

func TestDefaultNList(t *testing.T) {
	tests := []struct {
		total int64
		n     int
		want  int
	}{
		{1, 1, 1},
		{100, 100, 3},
		{511, 511, 15},
		{512, 512, 16},
		{1000, 1000, 16},
		{20_000, 20_000, 624},
		{65_000, 65_000, 2016},
		{472_754, 472_754, 8240},
		{1_000_000, 1_000_000, 12000},
		{1_000_000, 64_000, 2000},
		{1 << 40, 1 << 20, 32768},
		{4, 1 << 20, 1},
		{-1, 0, 1},
	}
	for _, tt := range tests {
		if got := model.DefaultNList(tt.total, tt.n); got != tt.want {
			t.Errorf("%d rows, sample of %d: %d lists, want %d", tt.total, tt.n, got, tt.want)
		}
	}
}

// Base + table is close enough to the inner product to bring the true neighbours to the front.
func TestCodesFindNeighbours(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		const n, queries = 3000, 30
		s := spec(metric, 16, 32, 64)
		m, x := train(t, s, n, model.Options{CoarseDims: 32})
		lists, codes := make([]int32, n), make([]byte, n*m.CodeBytes())
		scratch := model.NewScratch()
		m.Assign(avx.Generic, x, n, lists, nil, scratch)
		m.Encode(avx.Generic, x, n, scratch, model.Coding{Lists: lists, Codes: codes})
		q := matryoshka(queries, s, 77)
		found := 0
		for i := range queries {
			query := q[i*64:][:64]
			base := make([]float32, m.NList())
			values := make([]int16, 64)
			for _, p := range m.Probe(avx.Generic, values, mrl.QuantizeQuery(values, query), m.NList(), 0, nil, scratch) {
				base[p.List] = p.Base
			}
			var lut opq.LUT
			m.LUT(avx.Generic, query, 64, &lut, scratch)
			truth, got := make([]float32, n), make([]float32, n)
			for row := range n {
				truth[row] = avx.Dot(avx.Generic, query, x[row*64:][:64])
				sum := 0
				for sub := range lut.Subs {
					sum += int(lut.Table[16*sub+int(codes[row*m.CodeBytes()+sub/2]>>(4*(sub%2))&15)])
				}
				got[row] = base[lists[row]] + lut.Bias + lut.Scale*float32(sum)
			}
			best := top(got, 50)
			for _, row := range top(truth, 10) {
				if slices.Contains(best, row) {
					found++
				}
			}
		}
		if share := float64(found) / (10 * queries); share < 0.95 {
			t.Errorf("%s: %.3f of the 10 neighbours are in the best 50", metric, share)
		}
	}
}

func top(scores []float32, k int) []int {
	rows := make([]int, len(scores))
	for i := range rows {
		rows[i] = i
	}
	slices.SortFunc(rows, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return rows[:k]
}

func TestTrainIsDeterministic(t *testing.T) {
	s := spec(schemas.Cosine, 8, 16, 32)
	for _, level := range avx.Levels() {
		a, _ := train(t, s, 2000, model.Options{Level: level, Threads: 1, Seed: 4})
		b, _ := train(t, s, 2000, model.Options{Level: level, Threads: 3, Seed: 4})
		c, _ := train(t, s, 2000, model.Options{Level: level, Seed: 5})
		if a.ID() != b.ID() || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: three threads make another model than one", level)
		}
		if a.ID() == c.ID() {
			t.Errorf("%s: another seed makes the same model", level)
		}
	}
}

func TestTrainOnFewRows(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		for _, n := range []int{1, 2, 15, 16, 17, 100, 600} {
			m, x := train(t, spec(metric, 4, 16, 32), n, model.Options{NList: 64})
			if m.NList() > n || m.TrainedRows() != int64(n) {
				t.Errorf("%s: %s from %d rows, %d lists", metric, m, n, m.NList())
			}
			lists, codes := make([]int32, n), make([]byte, n*m.CodeBytes())
			m.Assign(avx.Generic, x, n, lists, nil, model.NewScratch())
			m.Encode(avx.Generic, x, n, model.NewScratch(), model.Coding{Lists: lists, Codes: codes})
			if same, err := model.Parse(m.Bytes()); err != nil || same.ID() != m.ID() {
				t.Errorf("%s: %v", m, err)
			}
		}
		zeros := make([]float32, 40*32)
		if _, err := model.Train(t.Context(), spec(metric, 4, 16, 32), zeros, 40, 40, model.Options{}); err != nil {
			t.Errorf("%s: zeros: %v", metric, err)
		}
	}
}

func TestTrainStops(t *testing.T) {
	s := spec(schemas.Cosine, 16, 32)
	x := matryoshka(2000, s, 1)
	stages := []string{model.StageCoarseDims, model.StageLists, model.StageCodes}
	for i, stop := range stages {
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		_, err := model.Train(ctx, s, x, 2000, 2000, model.Options{Progress: func(stage string, done, total int) {
			if !slices.Contains(seen, stage) {
				seen = append(seen, stage)
			}
			if done < 1 || done > total {
				t.Errorf("%s: %d of %d", stage, done, total)
			}
			if stage == stop {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), stop) || !slices.Equal(seen, stages[:i+1]) {
			t.Errorf("stopped in %s: error %v after %v", stop, err, seen)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	s := spec(schemas.Cosine, 4, 8)
	x := make([]float32, 80)
	tests := []struct {
		n    int
		o    model.Options
		want []string
	}{
		{0, model.Options{}, []string{"sample of 0"}},
		{11, model.Options{}, []string{"sample of 11"}},
		{10, model.Options{NList: -1, CoarseDims: 5, M: 9, Threads: -1}, []string{"nlist: -1", "coarse_dims: 5", "m: 9", "threads: -1"}},
	}
	for _, tt := range tests {
		_, err := model.Train(t.Context(), s, x, tt.n, 10, tt.o)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		}
	}
}

// The measured width is short when prefixes say all that matters, and long when they say nothing.
func TestCoarseDimsAreMeasured(t *testing.T) {
	const n, dim, head = 3000, 48, 16
	tests := []struct {
		name              string
		signal, noise     float64 // of the first 16 dimensions
		rest              float64 // signal of the others
		shortest, longest int     // allowed
	}{
		{"all is in the head", 1, 0, 0.02, 16, 16},
		{"all is in the tail", 0, 0.2, 1, 17, 48},
	}
	for _, tt := range tests {
		s := spec(schemas.Cosine, 8, head, dim)
		r := rand.New(rand.NewPCG(5, 5))
		directions := make([]float64, 6*dim) // few, so that neighbours are near
		for i := range directions {
			directions[i] = r.NormFloat64()
		}
		x := make([]float32, n*dim)
		for i := range n {
			var signal [dim]float64
			for k := range 6 {
				f := r.NormFloat64()
				for d := range signal {
					signal[d] += f * directions[k*dim+d]
				}
			}
			row := x[i*dim:][:dim]
			for d := range row {
				row[d] = float32(tt.rest * signal[d])
				if d < head {
					row[d] = float32(tt.signal*signal[d] + tt.noise*r.NormFloat64())
				}
			}
			mrl.Normalize(avx.Generic, row, row)
		}
		m, err := model.Train(t.Context(), s, x, n, n, model.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := m.CoarseDims(); d < tt.shortest || d > tt.longest {
			t.Errorf("%s: %d dimensions", tt.name, d)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	s := spec(schemas.Cosine, 16, 32)
	const n = 700
	m, x := train(t, s, n, model.Options{})
	scratch := model.NewScratch()
	lists, codes := make([]int32, n), make([]byte, n*m.CodeBytes())
	values := make([]int16, 32)
	var lut opq.LUT
	for _, level := range avx.Levels() {
		for name, f := range map[string]func(){
			"Assign": func() { m.Assign(level, x, n, lists, nil, scratch) },
			"Encode": func() {
				m.Encode(level, x, n, scratch, model.Coding{Lists: lists, Codes: codes}, model.Coding{Lists: lists, Codes: codes})
			},
			"Probe": func() { m.Probe(level, values, 0.5, 5, 0, nil, scratch) },
			"LUT":   func() { m.LUT(level, x[:32], 16, &lut, scratch) },
		} {
			if a := testing.AllocsPerRun(10, f); a != 0 {
				t.Errorf("%s, %s: %v allocations", name, level, a)
			}
		}
	}
}

func BenchmarkAssignEncode(b *testing.B) {
	s := spec(schemas.Cosine, 64, 128)
	const n = 4096
	m, x := train(b, s, n, model.Options{NList: 1024, CoarseDims: 64})
	lists, codes := make([]int32, n), make([]byte, n*m.CodeBytes())
	for _, level := range avx.Levels() {
		b.Run(level.String(), func(b *testing.B) {
			scratch := model.NewScratch()
			for b.Loop() {
				m.Assign(level, x, n, lists, nil, scratch)
				m.Encode(level, x, n, scratch, model.Coding{Lists: lists, Codes: codes})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}

// A code is the same whatever else is encoded with it, and zeros where there is no list.
func TestEncodeSeveral(t *testing.T) {
	const n = 3*opq.Batch + 5
	s := spec(schemas.Cosine, 16, 32, 64)
	m, x := train(t, s, n, model.Options{CoarseDims: 32})
	scratch, size := model.NewScratch(), m.CodeBytes()
	first, second := make([]int32, n), make([]int32, n)
	m.Assign(avx.Generic, x, n, first, nil, scratch)
	for i := range second {
		if second[i] = int32(i % m.NList()); i%7 == 3 {
			second[i] = coarse.NoSpill
		}
	}
	for _, level := range avx.Levels() {
		codes := [2][]byte{bytes.Repeat([]byte{0xff}, n*size), bytes.Repeat([]byte{0xff}, n*size)}
		m.Encode(level, x, n, scratch, model.Coding{Lists: first, Codes: codes[0]}, model.Coding{Lists: second, Codes: codes[1]})
		alone := make([]byte, size)
		for i := range n {
			for c, lists := range [2][]int32{first, second} {
				m.Encode(level, x[i*64:], 1, scratch, model.Coding{Lists: lists[i : i+1], Codes: alone})
				if got := codes[c][i*size:][:size]; !bytes.Equal(got, alone) {
					t.Fatalf("%v: row %d, list %d: %x, %x alone", level, i, lists[i], got, alone)
				}
			}
			if second[i] == coarse.NoSpill && !bytes.Equal(codes[1][i*size:][:size], make([]byte, size)) {
				t.Fatalf("%v: row %d has no list and code %x", level, i, codes[1][i*size:][:size])
			}
		}
	}
}
