package exact_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

const rows = 1500

var groups = []snapshottest.Group{
	{Kind: snapshottest.Chunks, Start: 0, End: 900},
	{Kind: snapshottest.Segment, Start: 900, End: 1200},
	{Kind: snapshottest.Unlisted, Start: 1200, End: rows},
}

type answer struct {
	id    string
	score float64
}

// naive computes all scores of live rows in float64 from the data, best first.
func naive(d *snapshottest.Data, query []float32, hidden func(i int) bool) []answer {
	length := func(v []float32) float64 {
		if d.Spec.Metric == schemas.InnerProduct {
			return 1
		}
		var sum float64
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		return math.Sqrt(sum)
	}
	var as []answer
	for i, id := range d.IDs {
		if hidden(i) {
			continue
		}
		var dot float64
		for j, x := range d.Vector(i) {
			dot += float64(x) * float64(query[j])
		}
		as = append(as, answer{id, dot / length(query) / length(d.Vector(i))})
	}
	slices.SortFunc(as, func(a, b answer) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id)) })
	return as
}

func TestTopK_isBruteForce(t *testing.T) {
	for _, metric := range []schemas.Metric{schemas.Cosine, schemas.InnerProduct} {
		for _, stored := range []schemas.VectorType{schemas.Float32, schemas.Float16} {
			spec := snapshottest.Spec(metric, 8, 24)
			spec.Vectors = stored
			d := snapshottest.Clustered(spec, rows, 1)
			if stored == schemas.Float16 { // what is stored is what was given
				half := make([]uint16, len(d.Vectors))
				avx.FloatToHalf(avx.Generic, half, d.Vectors)
				avx.HalfToFloat(avx.Generic, d.Vectors, half)
			}
			snap := snapshottest.Build(t, d, d.Train(t, avx.Generic, 16), avx.Generic, groups, func(i int) bool { return i%4 == 3 })
			const nq = 30
			for _, level := range avx.Levels() {
				for _, k := range []int{1, 10, 2 * rows} {
					t.Run(fmt.Sprintf("%s/%s/%s/k%d", metric, stored, level, k), func(t *testing.T) {
						got, err := exact.TopK(context.Background(), level, 2, snap, d.Vectors[:nq*24], nq, k, nil)
						if err != nil {
							t.Fatal(err)
						}
						for q, hits := range got {
							want := naive(d, d.Vector(q), func(i int) bool { return i%4 == 3 })
							compare(t, snap, hits, want[:min(k, len(want))], want)
						}
					})
				}
			}
		}
	}
}

// compare allows rows to swap places whose scores are as close as float32 can tell.
func compare(t *testing.T, snap *snapshot.Snapshot, hits []search.Hit, want, all []answer) {
	t.Helper()
	if len(hits) != len(want) {
		t.Fatalf("%d hits, want %d", len(hits), len(want))
	}
	scores := map[string]float64{}
	for _, a := range all {
		scores[a.id] = a.score
	}
	seen := map[string]bool{}
	for i, h := range hits {
		id := snap.Parts()[h.Part].IDAt(h.Row)
		eps := 1e-5 * max(1, math.Abs(want[i].score))
		score, live := scores[id]
		if !live || seen[id] || math.Abs(float64(h.Score)-score) > eps || math.Abs(float64(h.Score)-want[i].score) > eps {
			t.Fatalf("hit %d is %s, live %v, twice %v, of score %v, want %v", i, id, live, seen[id], h.Score, want[i])
		}
		seen[id] = true
	}
}

func TestTopK_threadsDoNotMatter(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), rows, 2)
	snap := snapshottest.Build(t, d, d.Train(t, avx.Generic, 16), avx.Generic, groups, nil)
	const nq = 20
	want, err := exact.TopK(context.Background(), avx.Generic, 1, snap, d.Vectors[:nq*16], nq, 10, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, threads := range []int{0, 2, 3, 16} {
		got, err := exact.TopK(context.Background(), avx.Generic, threads, snap, d.Vectors[:nq*16], nq, 10, nil)
		if err != nil || !slices.EqualFunc(got, want, slices.Equal[[]search.Hit]) {
			t.Errorf("%d threads: the answer differs (%v)", threads, err)
		}
	}
}

func TestTopK_tiesById(t *testing.T) {
	d := &snapshottest.Data{Spec: snapshottest.Spec(schemas.Cosine, 4)}
	for i := range rows {
		d.IDs = append(d.IDs, fmt.Sprintf("%04d", (i*7)%rows))
		d.Vectors = append(d.Vectors, 2, 0, 0, 0)
	}
	snap := snapshottest.Build(t, d, d.Train(t, avx.Generic, 2), avx.Generic, groups, nil)
	got, err := exact.TopK(context.Background(), avx.Generic, 3, snap, []float32{1, 1, 0, 0}, 1, 20, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range got[0] {
		if id := snap.Parts()[h.Part].IDAt(h.Row); id != fmt.Sprintf("%04d", i) {
			t.Errorf("hit %d is %s", i, id)
		}
	}
}

func TestTopK_skip(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), rows, 3)
	snap := snapshottest.Build(t, d, nil, avx.Generic, groups, nil)
	const nq = 10
	got, err := exact.TopK(context.Background(), avx.Generic, 2, snap, d.Vectors[:nq*16], nq, 10, func(q, part, row int) bool {
		return snap.Parts()[part].IDAt(row) == d.IDs[q]
	})
	if err != nil {
		t.Fatal(err)
	}
	for q, hits := range got {
		all := naive(d, d.Vector(q), func(i int) bool { return i == q })
		compare(t, snap, hits, all[:10], all)
	}
}

func TestTopK_refuses(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 4), rows, 4)
	snap := snapshottest.Build(t, d, nil, avx.Generic, groups, nil)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		queries []float32
		nq, k   int
		bad     bool // a *search.QueryError
		want    string
	}{
		{"width", context.Background(), make([]float32, 7), 2, 1, true, "queries: 7 values, allowed: 8 values for 2 queries of 4 dimensions"},
		{"zero", context.Background(), []float32{1, 0, 0, 0, 0, 0, 0, 0}, 2, 1, true, "query 1: vector: zero or too short to have a direction, allowed: a length of at least 1e-15"},
		{"k", context.Background(), []float32{1, 0, 0, 0}, 1, 0, true, "k: 0, allowed: at least 1"},
		{"cancelled", cancelled, []float32{1, 0, 0, 0}, 1, 1, false, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := exact.TopK(tt.ctx, avx.Generic, 1, snap, tt.queries, tt.nq, tt.k, nil)
			var bad *search.QueryError
			if err == nil || err.Error() != tt.want || errors.As(err, &bad) != tt.bad {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestTopK_needsVectors(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 4), rows, 5)
	mdl := d.Train(t, avx.Generic, 4)
	var bare *segment.Part
	m := &schemas.Manifest{Generation: 1, LiveRows: rows, Model: &schemas.ModelRef{ID: mdl.ID(), NList: mdl.NList()}}
	source := snapshottest.Write(t, d, mdl, avx.Generic, []snapshottest.Group{{Kind: snapshottest.Segment, End: rows}}, nil)
	err := segment.Merge(context.Background(), d.Spec, mdl, avx.Generic, []segment.Input{{Part: source.Parts[0]}}, segment.MergeOptions{ChunkBytes: 1 << 30}, func(b segment.ChunkBodies) error {
		c := schemas.Chunk{ID: "bare", FirstList: b.FirstList, EndList: b.EndList, NumRows: b.NumRows}
		m.Chunks = append(m.Chunks, c)
		var err error
		bare, err = segment.OpenChunk(d.Spec, c, b.Rows, b.Codes, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := snapshot.Open(d.Spec, m, mdl, []*segment.Part{bare}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = exact.TopK(context.Background(), avx.Generic, 1, snap, []float32{1, 0, 0, 0}, 1, 1, nil)
	if err == nil || err.Error() != "exact search: part bare was opened without its vectors" {
		t.Errorf("got %v", err)
	}
}

func BenchmarkTopK(b *testing.B) {
	level, err := avx.Best()
	if err != nil {
		b.Fatal(err)
	}
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 128), 20_000, 6)
	snap := snapshottest.Build(b, d, nil, level, []snapshottest.Group{{Kind: snapshottest.Unlisted, End: d.N()}}, nil)
	for _, nq := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("queries%d", nq), func(b *testing.B) {
			for b.Loop() {
				if _, err := exact.TopK(context.Background(), level, 1, snap, d.Vectors[:nq*128], nq, 10, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*nq*d.N()), "ns/row")
		})
	}
}
