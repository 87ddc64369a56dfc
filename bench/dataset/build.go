package dataset

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

const (
	segmentRows = 1 << 15 // of a segment, as ingestors would write them
	chunkBytes  = 128 << 20
)

// BuildOptions say how a generation is built.
type BuildOptions struct {
	Level      avx.Level
	Threads    int
	NList      int // lists; 0 is what the builder chooses
	CoarseDims int // level of the ladder that lists are chosen by; 0 is measured
}

// Built is what building took.
type Built struct {
	Model          *model.Model
	Trained, Added time.Duration
}

// Build does what ingestors and the builder do: it trains a model, writes segments by it and merges them to chunks, each of
// which is given to emit. The id of a row is its number.
func (s *Set) Build(ctx context.Context, spec *schemas.Spec, o BuildOptions, emit func(segment.ChunkBodies) error) (*Built, error) {
	started := time.Now()
	mdl, err := s.train(ctx, spec, o)
	if err != nil {
		return nil, err
	}
	b := &Built{Model: mdl, Trained: time.Since(started)}
	started = time.Now()
	segments, err := s.segments(ctx, spec, mdl, o)
	if err != nil {
		return nil, err
	}
	if err := segment.Merge(ctx, spec, mdl, o.Level, segments, chunkBytes, emit); err != nil {
		return nil, err
	}
	b.Added = time.Since(started)
	return b, nil
}

func (s *Set) train(ctx context.Context, spec *schemas.Spec, o BuildOptions) (*model.Model, error) {
	n := model.SampleRows(int64(s.N), s.Dim, model.Everything)
	sample := make([]float32, 0, n*s.Dim)
	for i := range n {
		at := int(int64(i) * int64(s.N) / int64(n))
		sample = append(sample, s.Base[at*s.Dim:][:s.Dim]...)
	}
	return model.Train(ctx, spec, sample, n, int64(s.N), model.Options{
		NList: o.NList, CoarseDims: o.CoarseDims, Seed: 1, Level: o.Level, Threads: o.Threads,
	})
}

// segments writes the rows as segments of the model.
func (s *Set) segments(ctx context.Context, spec *schemas.Spec, mdl *model.Model, o BuildOptions) ([]segment.Input, error) {
	inputs := make([]segment.Input, (s.N+segmentRows-1)/segmentRows)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Threads)
	for at := range inputs {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows := segment.NewRows(spec)
			for i := at * segmentRows; i < min((at+1)*segmentRows, s.N); i++ {
				rows.IDs = append(rows.IDs, strconv.Itoa(i))
				rows.Orders = append(rows.Orders, segment.Order{Offset: int64(i)})
				rows.Vectors = append(rows.Vectors, s.Base[i*s.Dim:][:s.Dim]...)
			}
			body, err := segment.Write(spec, mdl, o.Level, rows)
			if err != nil {
				return err
			}
			inputs[at].Part, err = segment.OpenSegment(spec, strconv.Itoa(at), body)
			return err
		})
	}
	return inputs, g.Wait()
}

// Settings are the plans that are measured, exact search last. The more lists, the more candidates are worth refining.
func (s *Set) Settings(nlist int) []search.Plan {
	var plans []search.Plan
	for nprobe := 8; nprobe <= max(8, nlist/8); nprobe *= 2 {
		for _, part := range []int{nprobe, nprobe + nprobe/2} {
			for _, each := range []int{2, 4, 8} {
				plans = append(plans, search.Plan{NProbe: min(part, nlist), ScanDims: s.Dim, Refine: min(max(40, each*part), 2000)})
			}
		}
	}
	return append(plans, search.Plan{Exact: true})
}

// Describe names a plan.
func Describe(p search.Plan) string {
	if p.Exact {
		return "exact"
	}
	return fmt.Sprintf("nprobe=%d refine=%d", p.NProbe, p.Refine)
}
