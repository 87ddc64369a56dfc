package segment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

const (
	benchRows  = 10_000
	benchDim   = 256
	benchLists = 256
)

type benchmark struct {
	spec  *schemas.Spec
	level avx.Level
	rows  *Rows
	mdl   *model.Model
}

var newBenchmark = sync.OnceValues(func() (*benchmark, error) {
	level, err := avx.Best()
	if err != nil {
		return nil, err
	}
	spec := testSpec(schemas.Cosine, schemas.Float16)
	spec.Ladder, spec.Attributes = []int{64, 128, benchDim}, spec.Attributes[:2]
	b := &benchmark{spec: spec, level: level, rows: NewRows(spec)}
	rng, vectors := rand.New(rand.NewPCG(1, 1)), make([]float32, benchRows*benchDim)
	for i := range benchRows {
		b.rows.IDs = append(b.rows.IDs, fmt.Sprintf("document-%08d", i))
		b.rows.Orders = append(b.rows.Orders, Order{Timestamp: int64(i), Offset: int64(i)})
		v := vectors[i*benchDim:][:benchDim]
		for j := range v {
			v[j] = float32(rng.NormFloat64())
		}
		b.rows.AppendFloats(level, v)
		for _, c := range b.rows.Attributes {
			c.AppendNull()
		}
	}
	const sample = 4 * benchLists
	searched := make([]float32, sample*benchDim)
	for i := range sample {
		mrl.Normalize(level, searched[i*benchDim:][:benchDim], vectors[i*benchDim:][:benchDim])
	}
	b.mdl, err = model.Train(context.Background(), spec, searched, sample, benchRows,
		model.Options{NList: benchLists, CoarseDims: benchDim, Seed: 1, Level: level})
	return b, err
})

func setup(b *testing.B) *benchmark {
	s, err := newBenchmark()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func perRow(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func (s *benchmark) segment(b *testing.B, mdl *model.Model) *Part {
	body, err := Write(s.spec, mdl, s.level, s.rows)
	if err != nil {
		b.Fatal(err)
	}
	return mustOpen(b, s.spec, body)
}

func BenchmarkWrite(b *testing.B) {
	s := setup(b)
	for _, c := range []struct {
		name string
		mdl  *model.Model
	}{{"model", s.mdl}, {"plain", nil}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Write(s.spec, c.mdl, s.level, s.rows); err != nil {
					b.Fatal(err)
				}
			}
			perRow(b, s.rows.Len())
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	s := setup(b)
	same, other := s.segment(b, s.mdl), s.segment(b, nil)
	var chunk ChunkBodies
	keep := func(c ChunkBodies) error { chunk = c; return nil }
	if err := Merge(b.Context(), s.spec, s.mdl, s.level, []Input{{Part: same}}, MergeOptions{ChunkBytes: 1 << 30}, keep); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		part *Part
	}{{"segment", same}, {"chunk", mustOpenChunk(b, s.spec, chunk)}, {"derive", other}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Merge(b.Context(), s.spec, s.mdl, s.level, []Input{{Part: c.part}}, MergeOptions{ChunkBytes: 1 << 20}, keep); err != nil {
					b.Fatal(err)
				}
			}
			perRow(b, c.part.N)
		})
	}
}

func BenchmarkOpenChunk(b *testing.B) {
	s := setup(b)
	var chunk ChunkBodies
	err := Merge(b.Context(), s.spec, s.mdl, s.level, []Input{{Part: s.segment(b, s.mdl)}}, MergeOptions{ChunkBytes: 1 << 30}, func(c ChunkBodies) error { chunk = c; return nil })
	if err != nil {
		b.Fatal(err)
	}
	meta := chunkOf(chunk)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenChunk(s.spec, meta, chunk.Rows, chunk.Codes, chunk.Vectors); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b, chunk.NumRows)
}

func BenchmarkFind(b *testing.B) {
	s := setup(b)
	p := s.segment(b, nil)
	i := 0
	for b.Loop() {
		for range p.Find(s.rows.IDs[i%benchRows]) {
			i++
		}
	}
}
