package recall

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

const (
	leastQueries, mostQueries = 256, 1024
	// truthWork bounds what is compared to find the neighbours of more than leastQueries, in values. It is some five seconds of a core
	// without AVX-512.
	truthWork = 1 << 38
)

// Queries is how many held-out rows plans are to be measured with, of an index of so many rows: as many as are not much work, and at least
// 256. Near 0.95 the mean over 1,024 rows is known to within 0.006 or so, over 256 to within 0.012.
func Queries(rows, dim int) int {
	return max(leastQueries, min(mostQueries, truthWork/max(1, rows*dim)))
}

// Draw makes a sample of at most most held-out rows, spread evenly over a snapshot without dead rows whose parts have
// their vectors, with their k true neighbours.
func Draw(ctx context.Context, level avx.Level, threads int, snap *snapshot.Snapshot, most, k int) (Sample, error) {
	rows := Spread(threads, snap, most, func(p *segment.Part, row int) bool { return HeldOut(p.IDAt(row)) })
	return SampleOf(ctx, level, threads, snap, rows, k)
}

// Spread chooses at most most of the rows of a snapshot without dead rows that are good, evenly. It goes over them twice
// instead of listing all, with a part for each thread at a time. Good is asked from all of them.
func Spread(threads int, snap *snapshot.Snapshot, most int, good func(p *segment.Part, row int) bool) []search.Hit {
	parts := snap.Parts()
	goods := make([]int, len(parts))
	each := func(look func(i int)) {
		var g errgroup.Group
		g.SetLimit(max(1, threads))
		for i := range parts {
			g.Go(func() error { look(i); return nil })
		}
		_ = g.Wait() // nothing fails
	}
	each(func(i int) {
		for row := range parts[i].N {
			if good(parts[i], row) {
				goods[i]++
			}
		}
	})
	total := 0
	for i, n := range goods {
		goods[i], total = total, total+n // of the parts before
	}
	rows := make([]search.Hit, min(total, most))
	each(func(i int) {
		at := goods[i]
		next := 0 // of those wanted, whose places among the good are apart by total/len(rows)
		for next < len(rows) && next*total/len(rows) < at {
			next++
		}
		for row := 0; row < parts[i].N && next < len(rows); row++ {
			if !good(parts[i], row) {
				continue
			}
			if at == next*total/len(rows) {
				rows[next] = search.Hit{Part: i, Row: row}
				next++
			}
			at++
		}
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
