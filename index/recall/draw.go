package recall

import (
	"context"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
)

// Draw makes a sample of at most queries held-out rows, spread evenly over a snapshot without dead rows whose parts have
// their vectors, with their k true neighbours.
func Draw(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, queries, k int) (Sample, error) {
	dim := snap.Spec().Dim()
	var s Sample
	for i, part := range snap.Parts() {
		for row := range part.N {
			if HeldOut(part.IDAt(row)) {
				s.Self = append(s.Self, search.Hit{Part: i, Row: row})
			}
		}
	}
	s.N = min(len(s.Self), queries)
	for i := range s.N {
		s.Self[i] = s.Self[i*len(s.Self)/s.N]
	}
	s.Self = s.Self[:s.N]
	s.Queries = make([]float32, s.N*dim)
	for i, self := range s.Self {
		snap.Parts()[self.Part].Vector(level, self.Row, s.Queries[i*dim:(i+1)*dim])
	}
	var err error
	s.Truth, err = exact.TopK(ctx, level, threads, snap, s.Queries, s.N, k, func(q, part, row int) bool {
		return sameRow(s.Self[q], search.Hit{Part: part, Row: row})
	})
	return s, err
}
