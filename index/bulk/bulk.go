// Package bulk makes a generation of rows that are all there: it does at once what ingestors and the builder do over time,
// with the same code. Measurements use it; the pipeline does not.
package bulk

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	segmentRows = 1 << 15 // of a segment, as ingestors would write them
	chunkBytes  = 128 << 20
)

// Options say how a generation is built.
type Options struct {
	Level      avx.Level
	Threads    int                // at least 1
	NList      int                // lists; 0 is what the builder chooses
	CoarseDims int                // level of the ladder that lists are chosen by; 0 is measured
	HeldOut    func(row int) bool // rows that training does not see; nil = none
	Model      *model.Model       // is taken instead of a trained one; nil = one is trained
}

// Built is what building took.
type Built struct {
	Model          *model.Model
	Trained, Added time.Duration
}

// Build trains a model, unless it is given one, on n vectors [n][spec.Dim()] of unit length, writes segments by it and merges
// them to chunks, each of which is given to emit. The id of a row is its number.
func Build(ctx context.Context, spec *schemas.Spec, vectors []float32, n int, o Options, emit func(segment.ChunkBodies) error) (*Built, error) {
	s := &source{spec: spec, vectors: vectors, n: n, dim: spec.Dim(), o: o}
	b := &Built{Model: o.Model}
	started := time.Now()
	if b.Model == nil {
		var err error
		if b.Model, err = s.train(ctx); err != nil {
			return nil, err
		}
	}
	b.Trained = time.Since(started)
	started = time.Now()
	segments, err := s.segments(ctx, b.Model)
	if err != nil {
		return nil, err
	}
	if err := segment.Merge(ctx, spec, b.Model, o.Level, segments, segment.MergeOptions{ChunkBytes: chunkBytes}, emit); err != nil {
		return nil, err
	}
	b.Added = time.Since(started)
	return b, nil
}

// Open is [Build] in memory: a snapshot of the generation, and the bytes of the files that serving reads. Originals are
// part of the snapshot, not of the bytes.
func Open(ctx context.Context, spec *schemas.Spec, vectors []float32, n int, o Options) (*snapshot.Snapshot, *Built, int64, error) {
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, LiveRows: int64(n)}
	var parts []*segment.Part
	var bytes int64
	b, err := Build(ctx, spec, vectors, n, o, func(b segment.ChunkBodies) error {
		c := schemas.Chunk{ID: strconv.Itoa(len(parts)), FirstList: b.FirstList, EndList: b.EndList, NumRows: b.NumRows}
		p, err := segment.OpenChunk(spec, c, b.Rows, b.Codes, b.Vectors)
		m.Chunks, parts = append(m.Chunks, c), append(parts, p)
		bytes += int64(len(b.Rows) + len(b.Codes))
		return err
	})
	if err != nil {
		return nil, nil, 0, err
	}
	bytes += int64(len(b.Model.Bytes()))
	m.Model = &schemas.ModelRef{ID: b.Model.ID(), NList: b.Model.NList(), TrainedRows: b.Model.TrainedRows()}
	snap, err := snapshot.Open(spec, m, b.Model, parts, nil, nil)
	return snap, b, bytes, err
}

type source struct {
	spec    *schemas.Spec
	vectors []float32
	n, dim  int
	o       Options
}

func (s *source) train(ctx context.Context) (*model.Model, error) {
	wanted, n := model.SampleRows(int64(s.n), s.dim, model.Everything), 0
	sample := make([]float32, 0, wanted*s.dim)
	for i := range wanted {
		at := int(int64(i) * int64(s.n) / int64(wanted))
		if s.o.HeldOut != nil && s.o.HeldOut(at) {
			continue
		}
		sample = append(sample, s.vectors[at*s.dim:][:s.dim]...)
		n++
	}
	return model.Train(ctx, s.spec, sample, n, int64(s.n), model.Options{
		NList: s.o.NList, CoarseDims: s.o.CoarseDims, Seed: 1, Level: s.o.Level, Threads: s.o.Threads,
	})
}

// segments writes the rows as segments of the model.
func (s *source) segments(ctx context.Context, mdl *model.Model) ([]segment.Input, error) {
	inputs := make([]segment.Input, (s.n+segmentRows-1)/segmentRows)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.o.Threads)
	for at := range inputs {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows := segment.NewRows(s.spec)
			for i := at * segmentRows; i < min((at+1)*segmentRows, s.n); i++ {
				rows.IDs = append(rows.IDs, strconv.Itoa(i))
				rows.Orders = append(rows.Orders, segment.Order{Offset: int64(i)})
			}
			rows.AppendFloats(s.o.Level, s.vectors[at*segmentRows*s.dim:][:rows.Len()*s.dim])
			body, err := segment.Write(s.spec, mdl, s.o.Level, rows)
			if err != nil {
				return err
			}
			inputs[at].Part, err = segment.OpenSegment(s.spec, strconv.Itoa(at), body)
			return err
		})
	}
	return inputs, g.Wait()
}
