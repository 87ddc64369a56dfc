package build

import (
	"context"
	"slices"
	"time"

	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

const (
	recentAge  = time.Hour // before the newest record
	leastSlice = 30        // queries of which a recall is told at all
)

// queries draws the queries of the gate, with their exact neighbours: held-out rows, spread evenly over the outputs, and
// rows of the last hour before the newest, if there are leastSlice of them. Those may have trained the model: of so
// short a time too few are held out. One pass over the rows finds the neighbours of all.
func (b *Builder) queries(ctx context.Context, snap *snapshot.Snapshot) (held, recent recall.Sample, err error) {
	newest := int64(0)
	for _, p := range snap.Parts() {
		for row := range p.N {
			newest = max(newest, p.OrderAt(row).Timestamp)
		}
	}
	since := newest - recentAge.Milliseconds()
	heldRows := spread(snap, gateQueries, func(p *segment.Part, row int) bool { return recall.HeldOut(p.IDAt(row)) })
	recentRows := spread(snap, gateQueries, func(p *segment.Part, row int) bool { return p.OrderAt(row).Timestamp > since })
	if len(recentRows) < leastSlice {
		recentRows = nil
	}
	all, err := b.sampleOf(ctx, snap, slices.Concat(heldRows, recentRows))
	if err != nil {
		return held, recent, err
	}
	dim, n := snap.Spec().Dim(), len(heldRows)
	held = recall.Sample{Queries: all.Queries[:n*dim], N: n, Self: all.Self[:n], Truth: all.Truth[:n]}
	recent = recall.Sample{Queries: all.Queries[n*dim:], N: all.N - n, Self: all.Self[n:], Truth: all.Truth[n:]}
	return held, recent, nil
}

// sampleOf makes queries of rows, which must not find themselves.
func (b *Builder) sampleOf(ctx context.Context, snap *snapshot.Snapshot, rows []search.Hit) (recall.Sample, error) {
	dim := snap.Spec().Dim()
	s := recall.Sample{Queries: make([]float32, len(rows)*dim), N: len(rows), Self: rows}
	for i, self := range rows {
		snap.Parts()[self.Part].Vector(b.o.Level, self.Row, s.Queries[i*dim:(i+1)*dim])
	}
	var err error
	s.Truth, err = exact.TopK(ctx, b.o.Level, b.o.Threads, snap, s.Queries, s.N, gateK, func(q, part, row int) bool {
		return rows[q].Part == part && rows[q].Row == row
	})
	return s, err
}

// spread takes most of the rows that are good, evenly. It goes over them twice instead of listing all.
func spread(snap *snapshot.Snapshot, most int, good func(p *segment.Part, row int) bool) []search.Hit {
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
