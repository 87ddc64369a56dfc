package build

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
)

const (
	recentAge     = time.Hour // before the newest record
	recentQueries = 256       // of that time, at most
	leastSlice    = 30        // of which a recall is told at all
)

// queries draws the queries of the gate, with their exact neighbours: held-out rows, spread evenly over the outputs, and
// rows of the last hour before the newest, if there are leastSlice of them. Those may have trained the model: of so
// short a time too few are held out, unless all rows are of it; then the held-out ones are both. One pass over the rows finds the
// neighbours of all.
func (b *Builder) queries(ctx context.Context, snap *snapshot.Snapshot) (held, recent recall.Sample, err error) {
	oldest, newest := int64(math.MaxInt64), int64(0)
	for _, p := range snap.Parts() {
		for row := range p.N {
			at := p.OrderAt(row).Timestamp
			oldest, newest = min(oldest, at), max(newest, at)
		}
	}
	since := newest - recentAge.Milliseconds()
	wanted := recall.Queries(int(snap.Live()), snap.Spec().Dim())
	heldRows := recall.Spread(b.o.Threads, snap, wanted, func(p *segment.Part, row int) bool { return recall.HeldOut(p.IDAt(row)) })
	if oldest > since && len(heldRows) >= recentQueries {
		held, err = recall.SampleOf(ctx, b.o.Level, b.o.Threads, snap, heldRows, gateK)
		return held, held, err
	}
	recentRows := recall.Spread(b.o.Threads, snap, recentQueries, func(p *segment.Part, row int) bool { return p.OrderAt(row).Timestamp > since })
	if len(recentRows) < leastSlice {
		recentRows = nil
	}
	all, err := recall.SampleOf(ctx, b.o.Level, b.o.Threads, snap, slices.Concat(heldRows, recentRows), gateK)
	if err != nil {
		return held, recent, err
	}
	dim, n := snap.Spec().Dim(), len(heldRows)
	held = recall.Sample{Queries: all.Queries[:n*dim], N: n, Self: all.Self[:n], Truth: all.Truth[:n]}
	recent = recall.Sample{Queries: all.Queries[n*dim:], N: all.N - n, Self: all.Self[n:], Truth: all.Truth[n:]}
	return held, recent, nil
}
