package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	deltas    = 8   // of a base; a generation has 1 to all of them
	deltaRows = 256 // of a delta
	queries   = 1000
)

// synthetic makes rows around rows/100 centres, and queries near some of them, of unit length.
func synthetic(rows, dim int) *dataset.Set {
	rng := rand.New(rand.NewPCG(1, 2))
	near := func(centre []float32, spread float64) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(spread * rng.NormFloat64() / math.Pow(float64(i+1), 0.25))
			if centre != nil {
				v[i] += centre[i]
			}
		}
		return v
	}
	s := &dataset.Set{Name: "synthetic", N: rows, Dim: dim, Queries: queries, Ladder: []int{dim / 2, dim}}
	centres := make([][]float32, max(1, rows/100))
	for i := range centres {
		centres[i] = near(nil, 1)
	}
	for i := range rows {
		s.Base = append(s.Base, near(centres[i%len(centres)], 0.8)...)
	}
	for range queries {
		row := rng.IntN(rows)
		s.Vectors = append(s.Vectors, near(s.Base[row*dim:(row+1)*dim], 0.3)...)
	}
	for _, vectors := range [][]float32{s.Base, s.Vectors} {
		for i := 0; i < len(vectors); i += dim {
			mrl.Normalize(avx.Generic, vectors[i:i+dim], vectors[i:i+dim])
		}
	}
	return s
}

// base is all rows under one model, and deltas by that model.
type base struct {
	model    *schemas.ModelRef
	chunks   []schemas.Chunk
	segments []schemas.Segment
}

// publisher makes generations of one base or two, whose objects are in the store.
type publisher struct {
	log          *commit.Log
	set          *dataset.Set
	bases        []base
	rewriteEvery int // generations of one base before those of the next; 0 stays at the first

	made   int // generations
	at     int // the base of the newest
	served *schemas.Channel
}

func newPublisher(ctx context.Context, dir string, set *dataset.Set, level avx.Level, threads, rewriteEvery int) (*publisher, error) {
	bucket, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return nil, err
	}
	if err := commit.Create(ctx, bucket, set.Spec()); err != nil {
		return nil, err
	}
	p := &publisher{set: set, rewriteEvery: rewriteEvery, bases: make([]base, 1)}
	if rewriteEvery > 0 {
		p.bases = make([]base, 2)
	}
	if p.log, err = commit.Open(ctx, bucket); err != nil {
		return nil, err
	}
	nlist := 0 // what the builder chooses
	for i := range p.bases {
		if i > 0 {
			nlist = p.bases[0].model.NList + 1 // so that nothing is the same
		}
		if p.bases[i], err = p.build(ctx, level, bulk.Options{Level: level, Threads: threads, NList: nlist}); err != nil {
			return nil, fmt.Errorf("base %d: %w", i, err)
		}
	}
	return p, nil
}

func (p *publisher) build(ctx context.Context, level avx.Level, o bulk.Options) (b base, err error) {
	built, err := bulk.Build(ctx, p.log.Spec(), p.set.Base, p.set.N, o, func(bodies segment.ChunkBodies) error {
		c, err := p.log.PutChunk(ctx, bodies)
		b.chunks = append(b.chunks, c)
		return err
	})
	if err != nil {
		return b, err
	}
	object, err := p.log.PutModel(ctx, built.Model)
	if err != nil {
		return b, err
	}
	b.model = &schemas.ModelRef{ID: built.Model.ID(), Object: object, NList: built.Model.NList(), TrainedRows: built.Model.TrainedRows()}
	for d := range deltas {
		rows := segment.NewRows(p.log.Spec())
		for i := range deltaRows {
			at := (d*deltaRows + i) % p.set.N
			rows.IDs = append(rows.IDs, fmt.Sprintf("delta-%d-%d", d, i))
			rows.Orders = append(rows.Orders, segment.Order{Offset: int64(p.set.N + d*deltaRows + i)})
			rows.AppendFloats(avx.Generic, p.set.Base[at*p.set.Dim:(at+1)*p.set.Dim])
		}
		body, err := segment.Write(p.log.Spec(), built.Model, level, rows)
		if err != nil {
			return b, err
		}
		o, err := p.log.PutSegment(ctx, 0, int64(d), body)
		if err != nil {
			return b, err
		}
		b.segments = append(b.segments, schemas.Segment{ID: o.SHA256, Object: o, NumRows: deltaRows, Model: b.model.ID})
	}
	return b, nil
}

// next publishes and promotes a generation: one more delta, or after all of them the first alone; in its turn the other base.
func (p *publisher) next(ctx context.Context) error {
	if p.rewriteEvery > 0 && p.made > 0 && p.made%p.rewriteEvery == 0 {
		p.at = 1 - p.at
	}
	b := &p.bases[p.at]
	n := 1 + p.made%deltas
	p.made++
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: int64(p.made), Parent: int64(p.made - 1), Builder: "benchmark",
		Created: time.Now().UTC(), Produced: time.Now().UnixMilli(), Checkpoint: map[string]int64{"0": int64(p.set.N + p.made)},
		Model: b.model, Chunks: b.chunks, Segments: b.segments[:n], LiveRows: int64(p.set.N + n*deltaRows)}
	if err := p.log.Publish(ctx, m); err != nil {
		return err
	}
	var err error
	p.served, err = p.log.Promote(ctx, p.served, schemas.Channel{Generation: m.Generation, Reason: "benchmark", By: m.Builder})
	return err
}
