package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/kmeans"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	k            = dataset.K
	sliceQueries = 8000
)

type bench struct {
	o        options
	level    avx.Level
	set      *dataset.Set
	snap     *snapshot.Snapshot
	log      *commit.Log // of a store in memory, where chunks and model are
	bucket   store.Bucket
	manifest *schemas.Manifest
	searcher *search.Searcher
}

func newBench(ctx context.Context, o options, level avx.Level, set *dataset.Set) (*bench, error) {
	spec := set.Spec()
	b := &bench{o: o, level: level, set: set, searcher: search.New(level), bucket: store.NewMemory(),
		manifest: &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "benchmark", Created: time.Now().UTC(),
			Produced: time.Now().UnixMilli(), Checkpoint: map[string]int64{"0": int64(set.N)}, LiveRows: int64(set.N)}}
	if err := commit.Create(ctx, b.bucket, spec); err != nil {
		return nil, err
	}
	var err error
	if b.log, err = commit.Open(ctx, b.bucket); err != nil {
		return nil, err
	}
	var parts []*segment.Part
	built, err := bulk.Build(ctx, spec, set.Base, set.N, bulk.Options{Level: level, Threads: o.Threads}, func(c segment.ChunkBodies) error {
		chunk, err := b.log.PutChunk(ctx, c)
		if err != nil {
			return err
		}
		p, err := segment.OpenChunk(spec, chunk, c.Rows, c.Codes, c.Vectors)
		b.manifest.Chunks, parts = append(b.manifest.Chunks, chunk), append(parts, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	object, err := b.log.PutModel(ctx, built.Model)
	if err != nil {
		return nil, err
	}
	b.manifest.Model = &schemas.ModelRef{ID: built.Model.ID(), Object: object, NList: built.Model.NList(), TrainedRows: built.Model.TrainedRows()}
	if b.snap, err = snapshot.Open(spec, b.manifest, built.Model, parts, nil, nil); err != nil {
		return nil, err
	}
	s, err := recall.Draw(ctx, level, o.Threads, b.snap, recall.Queries(set.N, set.Dim), k)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	b.manifest.Plans, err = recall.Table(ctx, level, o.Threads, b.snap, s, k)
	fmt.Printf("%s: %d rows x %d, %d lists; plans measured in %.1f s with %d queries\n", set.Name, set.N, set.Dim, built.Model.NList(), time.Since(started).Seconds(), s.N)
	return b, err
}

// table prints the plans.
func (b *bench) table(context.Context) error {
	fmt.Println("\n| dims | lists at most | margin | scan dims | refine | recall@10 | interval | lists | codes | rows | bytes | µs |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, p := range b.manifest.Plans {
		fmt.Printf("| %d | %d | %.3f | %d | %d | %.4f | %.3f to %.3f | %.1f | %.0f | %.0f | %.0f | %.0f |\n", search.Plan{Dims: p.Dims}.Width(b.set.Dim),
			p.NProbe, p.Margin, p.ScanDims, p.Refine, p.Recall, p.Low, p.High, p.Lists, p.Scanned, p.Refined, p.Bytes, p.Micros)
	}
	return nil
}

// run answers the queries of the set one by one.
func (b *bench) run(ctx context.Context, plan search.Plan) (found []int32, u search.Usage, took time.Duration, err error) {
	found = make([]int32, b.set.Queries*k)
	hits := make([]search.Hit, 0, k)
	for q := range b.set.Queries {
		started := time.Now()
		var one search.Usage
		hits, one, err = b.searcher.Search(ctx, b.snap, b.set.Query(q), k, plan, hits[:0])
		took += time.Since(started)
		if err != nil {
			return nil, u, 0, err
		}
		u.Add(one)
		for i, h := range hits {
			row, err := strconv.Atoi(b.snap.Parts()[h.Part].IDAt(h.Row))
			if err != nil {
				return nil, u, 0, err
			}
			found[q*k+i] = int32(row)
		}
	}
	return found, u, took, nil
}

// margins compares plans with a margin with those that probe the same lists for each query, at equal recall of the queries
// of the set. What it measures is interleaved.
func (b *bench) margins(ctx context.Context) error {
	fmt.Println("\n| recall@10 | fixed: lists | codes | queries/s | margin: lists | codes | queries/s | ratio |\n|---|---|---|---|---|---|---|---|")
	var fixed, adaptive []search.Plan
	for _, p := range recall.Of(b.manifest.Plans, 0) {
		if p.Margin == 0 || p.Recall < 0.88 || p.Recall > 0.985 { // where queries are
			continue
		}
		for share := 0.45; share < 1; share += 0.05 {
			fixed = append(fixed, search.Plan{NProbe: max(1, int(share*float64(p.NProbe))), ScanDims: p.ScanDims, Refine: p.Refine})
		}
		adaptive = append(adaptive, search.Plan{NProbe: p.NProbe, Margin: p.Margin, ScanDims: p.ScanDims, Refine: p.Refine})
	}
	recallOf := map[search.Plan]float64{}
	for _, p := range append(slices.Clone(fixed), adaptive...) {
		if _, ok := recallOf[p]; !ok {
			found, _, _, err := b.run(ctx, p)
			if err != nil {
				return err
			}
			recallOf[p] = b.set.Recall(found, b.set.Queries)
		}
	}
	for _, a := range adaptive {
		best, ok := search.Plan{}, false
		for _, f := range fixed { // the fewest lists with the same refine that reach the recall
			if f.Refine == a.Refine && f.ScanDims == a.ScanDims && recallOf[f] >= recallOf[a] && (!ok || f.NProbe < best.NProbe) {
				best, ok = f, true
			}
		}
		if !ok {
			continue
		}
		cost, speed, err := b.interleaved(ctx, best, a)
		if err != nil {
			return err
		}
		n := float64(b.set.Queries)
		fmt.Printf("| %.4f | %.1f | %.0f | %.0f | %.1f | %.0f | %.0f | %.3f |\n", recallOf[a],
			float64(cost[0].Lists)/n, float64(cost[0].Codes)/n, speed[0], float64(cost[1].Lists)/n, float64(cost[1].Codes)/n, speed[1], speed[1]/speed[0])
	}
	return nil
}

// interleaved returns what plans cost, and the median of their queries a second.
func (b *bench) interleaved(ctx context.Context, plans ...search.Plan) (cost []search.Usage, speed []float64, err error) {
	times := make([][]float64, len(plans))
	cost = make([]search.Usage, len(plans))
	for range b.o.Rounds {
		for i, p := range plans {
			_, u, took, err := b.run(ctx, p)
			if err != nil {
				return nil, nil, err
			}
			cost[i], times[i] = u, append(times[i], float64(b.set.Queries)/took.Seconds())
		}
	}
	for _, t := range times {
		slices.Sort(t)
		speed = append(speed, t[len(t)/2])
	}
	return cost, speed, nil
}

// targets are recalls that are asked for.
func targets() []float64 { return []float64{0.8, 0.9, 0.95, 0.98, 0.99} }

// wishes says what each wish gets on the queries of the set.
func (b *bench) wishes(ctx context.Context) error {
	fmt.Println("\n| wish | dims | expected | recall@10 | lists | codes | rows | bytes | µs | queries/s |\n|---|---|---|---|---|---|---|---|---|---|")
	at := func(x float64) *float64 { return &x }
	type ask struct {
		name string
		wish recall.Wish
	}
	var asks []ask
	for _, t := range targets() {
		asks = append(asks, ask{fmt.Sprintf("target_recall %v", t), recall.Wish{TargetRecall: at(t)}})
	}
	for _, e := range []float64{0, 0.25, 0.5, 0.75, 1} {
		asks = append(asks, ask{fmt.Sprintf("effort %v", e), recall.Wish{Effort: at(e)}})
	}
	for _, v := range []float64{20, 50, 100, 200, 500} {
		asks = append(asks, ask{fmt.Sprintf("budget.microseconds %v", v), recall.Wish{Budget: &recall.Budget{Microseconds: &v}}})
	}
	for _, v := range []float64{4, 16, 64, 256} {
		asks = append(asks, ask{fmt.Sprintf("budget.lists %v", v), recall.Wish{Budget: &recall.Budget{Lists: &v}}})
	}
	for _, v := range []float64{50e3, 200e3, 1e6} {
		asks = append(asks, ask{fmt.Sprintf("budget.bytes %v", int(v)), recall.Wish{Budget: &recall.Budget{Bytes: &v}}})
	}
	for _, d := range b.set.Ladder[:len(b.set.Ladder)-1] {
		asks = append(asks, ask{"effort 1", recall.Wish{Effort: at(1), Dims: d}})
	}
	asks = append(asks, ask{"exact", recall.Wish{Exact: true}})
	for _, a := range asks {
		c, err := a.wish.Choose(b.snap, 1)
		if err != nil {
			return err
		}
		found, u, took, err := b.run(ctx, c.Plan)
		if err != nil {
			return err
		}
		expected := "-"
		if c.Expected != nil {
			expected = fmt.Sprintf("%.3f (%.3f to %.3f)", c.Expected.Recall, c.Expected.Low, c.Expected.High)
		}
		if c.Short != "" {
			expected += ", short of " + c.Short
		}
		n := float64(b.set.Queries)
		fmt.Printf("| %s | %d | %s | %.4f | %.1f | %.0f | %.0f | %.0f | %.0f | %.0f |\n", a.name, c.Plan.Width(b.set.Dim), expected,
			b.set.Recall(found, b.set.Queries), float64(u.Lists)/n, float64(u.Codes)/n, float64(u.Refined)/n, float64(u.Bytes)/n, took.Seconds()*1e6/n, n/took.Seconds())
	}
	return nil
}

// sliced measures each target on each slice.
func (b *bench) sliced(ctx context.Context) error {
	// Others than the plans were measured with.
	rows := recall.Spread(b.o.Threads, b.snap, sliceQueries, func(p *segment.Part, row int) bool { return !recall.HeldOut(p.IDAt(row)) })
	s, err := recall.SampleOf(ctx, b.level, b.o.Threads, b.snap, rows, k)
	if err != nil {
		return err
	}
	dim := b.set.Dim
	centroids, err := kmeans.Train(ctx, s.Queries, s.N, dim, dim, kmeans.Options{K: b.o.Slices, Spherical: true, Seed: 1, Level: b.level, Threads: b.o.Threads})
	if err != nil {
		return err
	}
	slice := make([]recall.Sample, b.o.Slices)
	scores := make([]float32, len(centroids)/dim)
	for q := range s.N {
		v := s.Queries[q*dim:][:dim]
		avx.DotRows(b.level, v, centroids, dim, scores)
		at := &slice[slices.Index(scores, slices.Max(scores))]
		at.Queries, at.Self, at.Truth, at.N = append(at.Queries, v...), append(at.Self, s.Self[q]), append(at.Truth, s.Truth[q]), at.N+1
	}
	fmt.Printf("\n%d rows in %d slices\n\n| target | plan | expected | recall@10 | slices that reach it | whose interval does | worst slices |\n|---|---|---|---|---|---|---|\n", s.N, b.o.Slices)
	for _, target := range targets() {
		c, err := recall.Wish{TargetRecall: &target}.Choose(b.snap, 1)
		if err != nil {
			return err
		}
		reach, may, sum, of := 0, 0, 0.0, 0
		var recalls []float64
		for _, x := range slice {
			if x.N == 0 {
				continue
			}
			r, err := recall.Measure(ctx, b.level, b.snap, x, k, c.Plan)
			if err != nil {
				return err
			}
			of++
			sum += r.Recall * float64(x.N)
			recalls = append(recalls, r.Recall)
			if r.Recall >= target {
				reach++
			}
			if r.High >= target {
				may++
			}
		}
		slices.Sort(recalls)
		expected := 1.0
		if c.Expected != nil {
			expected = c.Expected.Recall
		}
		fmt.Printf("| %v | %s, margin %.3f | %.4f | %.4f | %d of %d | %d of %d | %.4f, %.4f |\n", target, dataset.Describe(c.Plan), c.Plan.Margin, expected, sum/float64(s.N), reach, of, may, of, recalls[0], recalls[min(1, len(recalls)-1)])
	}
	return nil
}
