package search_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// BenchmarkSearch is one query a call over 100,000 rows of 128 dimensions that are in cache or nearly so.
func BenchmarkSearch(b *testing.B) {
	const lists, k = 512, 10
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 64, 128), 100_000, 1)
	mdl := d.Train(b, best(b), lists)
	snap := snapshottest.Build(b, d, mdl, best(b), []snapshottest.Group{{Kind: snapshottest.Chunks, End: d.N()}}, nil)
	for _, level := range avx.Levels() {
		for _, plan := range []search.Plan{
			{NProbe: 1, ScanDims: 128, Refine: 100},
			{NProbe: 16, ScanDims: 128, Refine: 100},
			{NProbe: 64, ScanDims: 128, Refine: 100},
			{NProbe: 64, ScanDims: 64, Refine: 100},
			{NProbe: 64, ScanDims: 128, Refine: 400},
			{NProbe: 64, ScanDims: 128, Refine: 400, Originals: true},
			{NProbe: lists, ScanDims: 128, Refine: 100},
			{Exact: true},
		} {
			name := fmt.Sprintf("%s/nprobe%d_dims%d_refine%d", level, plan.NProbe, plan.ScanDims, plan.Refine)
			switch {
			case plan.Originals:
				name += "_originals"
			case plan.Exact:
				name = fmt.Sprintf("%s/exact", level)
			}
			b.Run(name, func(b *testing.B) {
				s := search.New(level)
				hits := make([]search.Hit, 0, k)
				codes, queries, originals := 0, 0, 0
				for b.Loop() {
					_, u, err := s.Search(context.Background(), snap, d.Vector(queries%1000), k, plan, hits)
					if err != nil {
						b.Fatal(err)
					}
					queries++
					codes, originals = codes+u.Codes, originals+u.Originals
					if plan.Exact {
						codes += u.Refined
					}
				}
				b.ReportMetric(float64(codes)/b.Elapsed().Seconds()/1e9, "Gcodes/s")
				b.ReportMetric(float64(codes)/float64(queries), "codes/op")
				b.ReportMetric(float64(originals)/float64(queries), "originals/op")
			})
		}
	}
}

// BenchmarkSearchFresh is one query a call over 25,000 rows, of which none or a fifth are in small segments that no rewrite has taken yet.
//
//	go test -run xxx -bench SearchFresh ./index/search
func BenchmarkSearchFresh(b *testing.B) {
	const n, dim, k = 25_000, 256, 10
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 64, 128, dim), n, 1)
	mdl := d.Train(b, best(b), 736)
	for _, segments := range []int{0, 4, 16} {
		end := n
		var groups []snapshottest.Group
		for range segments {
			end -= n / 5 / segments
			groups = append(groups, snapshottest.Group{Kind: snapshottest.Segment, Start: end, End: end + n/5/segments})
		}
		groups = append(groups, snapshottest.Group{Kind: snapshottest.Chunks, End: end})
		snap := snapshottest.Build(b, d, mdl, best(b), groups, nil)
		for _, among := range []bool{false, true} {
			plan := search.Plan{NProbe: 96, ScanDims: dim, Refine: 100}
			if among {
				plan.Among = selectBy(b, snap, draw(d, 0.5))
			}
			b.Run(fmt.Sprintf("segments=%d/filter=%v", segments, among), func(b *testing.B) {
				s := search.New(best(b))
				hits := make([]search.Hit, 0, k)
				refined, queries := 0, 0
				for b.Loop() {
					_, u, err := s.Search(context.Background(), snap, d.Vector(queries%1000*25), k, plan, hits)
					if err != nil {
						b.Fatal(err)
					}
					queries++
					refined += u.Refined
				}
				b.ReportMetric(float64(refined)/float64(queries), "rows/op")
			})
		}
	}
}

// BenchmarkExactBatch compares all rows with the queries of a call, on one goroutine. There is no model: that is what an index without
// one does with each query.
//
//	go test -run xxx -bench ExactBatch ./index/search
func BenchmarkExactBatch(b *testing.B) {
	const k = 10
	for _, of := range []struct{ rows, dim int }{{50_000, 128}, {100_000, 256}} {
		d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, of.dim), of.rows, 1)
		snap := snapshottest.Build(b, d, nil, best(b), []snapshottest.Group{{Kind: snapshottest.Unlisted, End: d.N()}}, nil)
		for _, nq := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("rows=%d/dims=%d/queries=%d", of.rows, of.dim, nq), func(b *testing.B) {
				s, results := search.New(best(b)), make([][]search.Hit, nq)
				for b.Loop() {
					for i := range results {
						results[i] = results[i][:0]
					}
					if _, _, err := s.SearchBatch(context.Background(), snap, d.Vectors[:nq*of.dim], k, search.Plan{}, results); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N*nq), "ms/query")
			})
		}
	}
}
