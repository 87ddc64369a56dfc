package recall

import (
	"context"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

// Draw makes a sample of at most most held-out rows, spread evenly over a snapshot without dead rows whose parts have
// their vectors, with their k true neighbours.
func Draw(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, most, k int) (Sample, error) {
	rows := Spread(snap, most, func(p *segment.Part, row int) bool { return HeldOut(p.IDAt(row)) })
	return SampleOf(ctx, level, threads, snap, rows, k)
}

// Spread chooses at most most of the rows of a snapshot without dead rows that are good, evenly. It goes over them twice
// instead of listing all.
func Spread(snap *snapshot.Snapshot, most int, good func(p *segment.Part, row int) bool) []search.Hit {
	each := func(visit func(part, row int)) {
		for i, p := range snap.Parts() {
			for row := range p.N {
				if good(p, row) {
					visit(i, row)
				}
			}
		}
	}
	total := 0
	each(func(int, int) { total++ })
	n, at := min(total, most), 0
	rows := make([]search.Hit, 0, n)
	each(func(part, row int) {
		if len(rows) < n && at == len(rows)*total/n {
			rows = append(rows, search.Hit{Part: part, Row: row})
		}
		at++
	})
	return rows
}

// SampleOf makes queries of rows, whose parts must have their vectors, with their k true neighbours: they must not find
// themselves.
func SampleOf(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, rows []search.Hit, k int) (Sample, error) {
	dim := snap.Spec().Dim()
	s := Sample{Queries: make([]float32, len(rows)*dim), N: len(rows), Self: rows}
	for i, self := range rows {
		snap.Parts()[self.Part].Vector(level, self.Row, s.Queries[i*dim:(i+1)*dim])
	}
	var err error
	s.Truth, err = exact.TopK(ctx, level, threads, snap, s.Queries, s.N, k, func(q, part, row int) bool {
		return sameRow(rows[q], search.Hit{Part: part, Row: row})
	})
	return s, err
}
