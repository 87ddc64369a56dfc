package search_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

const (
	rows  = 2000
	nlist = 24
)

var bothMetrics = []schemas.Metric{schemas.Cosine, schemas.InnerProduct}

func best(t testing.TB) avx.Level {
	t.Helper()
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	return level
}

// layouts are ways to store the same rows.
var layouts = map[string][]snapshottest.Group{
	"unlisted": {{Kind: snapshottest.Unlisted, End: rows}},
	"segment":  {{Kind: snapshottest.Segment, End: rows}},
	"chunks":   {{Kind: snapshottest.Chunks, End: rows}},
	"tiers":    {{Kind: snapshottest.Chunks, End: 1200}, {Kind: snapshottest.Chunks, Start: 1200, End: rows}},
	"mixed": {
		{Kind: snapshottest.Chunks, End: 1500}, {Kind: snapshottest.Segment, Start: 1500, End: 1503},
		{Kind: snapshottest.Unlisted, Start: 1503, End: 1600}, {Kind: snapshottest.Segment, Start: 1600, End: 1900},
		{Kind: snapshottest.Unlisted, Start: 1900, End: rows},
	},
}

type answer struct {
	id    string
	score float32
}

func run(t *testing.T, s *search.Searcher, snap *snapshot.Snapshot, query []float32, k int, plan search.Plan) []answer {
	t.Helper()
	hits, _, err := s.Search(context.Background(), snap, query, k, plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answers(snap, hits)
}

func answers(snap *snapshot.Snapshot, hits []search.Hit) []answer {
	var as []answer
	for _, h := range hits {
		as = append(as, answer{strings.Clone(snap.Parts()[h.Part].IDAt(h.Row)), h.Score})
	}
	return as
}

// everything is a plan that leaves nothing out.
func everything(mdl *model.Model) search.Plan {
	return search.Plan{NProbe: mdl.NList(), ScanDims: mdl.Dim(), Refine: 2 * rows}
}

// bruteForce scores the int8 rows one by one in float64, with the query as it is.
func bruteForce(snap *snapshot.Snapshot, query []float32) []answer {
	length := 1.0
	if snap.Spec().Metric == schemas.Cosine {
		var squares float64
		for _, x := range query {
			squares += float64(x) * float64(x)
		}
		length = math.Sqrt(squares)
	}
	var as []answer
	dim := snap.Spec().Dim()
	for i, p := range snap.Parts() {
		for row := range p.N {
			if snap.Dead(i).Has(row) {
				continue
			}
			var dot float64
			for j, x := range p.Int8[row*dim : (row+1)*dim] {
				dot += float64(x) * float64(query[j]) / length
			}
			as = append(as, answer{p.IDAt(row), float32(dot * float64(p.Scales[row]))})
		}
	}
	slices.SortFunc(as, func(a, b answer) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id)) })
	return as
}

func longest(v []float32) float64 {
	return float64(max(slices.Max(v), -slices.Min(v)))
}

// Without originals an exact search compares int8 rows.
func TestSearch_exactOnInt8(t *testing.T) {
	for _, metric := range bothMetrics {
		d := snapshottest.Clustered(snapshottest.Spec(metric, 16, 32, 48), rows, 1)
		snap := snapshottest.BuildBare(t, d, d.Train(t, avx.Generic, nlist), avx.Generic, layouts["mixed"], func(i int) bool { return i%5 == 0 })
		for _, level := range avx.Levels() {
			t.Run(fmt.Sprintf("%s/%s", metric, level), func(t *testing.T) {
				s := search.New(level)
				for q := range 20 {
					query := d.Vector(q * 31)
					want := bruteForce(snap, query)
					scores := map[string]float32{}
					for _, a := range want {
						scores[a.id] = a.score
					}
					for _, k := range []int{1, 10, 200} {
						got := run(t, s, snap, query, k, search.Plan{Exact: true})
						if len(got) != k {
							t.Fatalf("%d hits, want %d", len(got), k)
						}
						for i, a := range got {
							// The query's 16 bits may swap rows that are this close, and no others.
							eps := 2e-4 * max(1, longest(query))
							if math.Abs(float64(a.score-scores[a.id])) > eps || math.Abs(float64(a.score-want[i].score)) > eps {
								t.Fatalf("query %d: hit %d is %v of score %v, want %v", q, i, a, scores[a.id], want[i])
							}
						}
					}
				}
			})
		}
	}
}

// The score of int8 rows is off that of the originals by at most half a step for each dimension.
func TestSearch_int8IsNearOriginals(t *testing.T) {
	level := best(t)
	for _, metric := range bothMetrics {
		d := snapshottest.Clustered(snapshottest.Spec(metric, 64), rows, 2)
		mdl := d.Train(t, level, nlist)
		snap := snapshottest.Build(t, d, mdl, level, layouts["chunks"], nil)
		bare := snapshottest.BuildBare(t, d, mdl, level, layouts["chunks"], nil)
		const nq, k = 16, 10
		queries := d.Vectors[:nq*64]
		truth, err := exact.TopK(context.Background(), level, 2, snap, queries, nq, rows, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := search.New(level)
		same := 0
		for q := range nq {
			originals := map[string]float32{}
			for _, a := range answers(snap, truth[q]) {
				originals[a.id] = a.score
			}
			query := make([]float32, 64)
			if err := search.Prepare(d.Spec, queries[q*64:(q+1)*64], query); err != nil {
				t.Fatal(err)
			}
			var sum float64
			for _, x := range query {
				sum += math.Abs(float64(x))
			}
			hits, _, err := s.Search(context.Background(), bare, queries[q*64:(q+1)*64], k, search.Plan{Exact: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, h := range hits {
				p := snap.Parts()[h.Part]
				bound := 1.001*sum*float64(p.Scales[h.Row])/2 + 1e-4
				if off := math.Abs(float64(h.Score - originals[p.IDAt(h.Row)])); off > bound {
					t.Errorf("%s: query %d: hit %d is off by %v, at most %v", metric, q, i, off, bound)
				}
				if slices.ContainsFunc(truth[q][:k], func(x search.Hit) bool { return x.Part == h.Part && x.Row == h.Row }) {
					same++
				}
			}
		}
		if same < nq*k*9/10 {
			t.Errorf("%s: %d of the true %d are found", metric, same, nq*k)
		}
	}
}

// However the rows are stored, the exact answer is the same to the bit, on every level; and a plan that leaves nothing
// out gives that of int8 rows.
func TestSearch_layoutDoesNotMatter(t *testing.T) {
	for _, metric := range bothMetrics {
		d := snapshottest.Clustered(snapshottest.Spec(metric, 16, 32), rows, 3)
		dead := func(i int) bool { return i%3 == 0 }
		mdl := d.Train(t, avx.Generic, nlist)
		reference := snapshottest.Build(t, d, nil, avx.Generic, layouts["unlisted"], dead)
		bare := snapshottest.BuildBare(t, d, mdl, avx.Generic, layouts["chunks"], dead)
		for name, groups := range layouts {
			snap := snapshottest.Build(t, d, mdl, avx.Generic, groups, dead)
			for _, level := range avx.Levels() {
				t.Run(fmt.Sprintf("%s/%s/%s", metric, name, level), func(t *testing.T) {
					s, oracle := search.New(level), search.New(avx.Generic)
					for q := range 20 {
						query := d.Vector(q * 7)
						for _, k := range []int{1, 10, 333} {
							want := run(t, oracle, reference, query, k, search.Plan{Exact: true})
							if got := run(t, s, snap, query, k, search.Plan{Exact: true}); !slices.Equal(got, want) {
								t.Fatalf("query %d, k %d: the exact answer differs", q, k)
							}
							want = run(t, oracle, bare, query, k, search.Plan{Exact: true})
							if got := run(t, s, snap, query, k, everything(mdl)); !slices.Equal(got, want) {
								t.Fatalf("query %d, k %d: probing all lists differs from exact", q, k)
							}
						}
					}
				})
			}
		}
	}
}

// Rows with the same vector come in the order of their ids, wherever they are stored.
func TestSearch_tiesById(t *testing.T) {
	spec := snapshottest.Spec(schemas.Cosine, 8)
	d := &snapshottest.Data{Spec: spec}
	r := rand.New(rand.NewPCG(1, 1))
	for _, i := range r.Perm(rows) {
		d.IDs = append(d.IDs, fmt.Sprintf("%04d", i))
		d.Vectors = append(d.Vectors, 1, float32(i%2), 0, 0, 0, 0, 0, 0) // two directions
	}
	mdl := d.Train(t, best(t), 2)
	for name, groups := range layouts {
		snap := snapshottest.Build(t, d, mdl, best(t), groups, nil)
		for _, plan := range []search.Plan{{Exact: true}, everything(mdl)} {
			got := run(t, search.New(best(t)), snap, []float32{1, 0, 0, 0, 0, 0, 0, 0}, 20, plan)
			for i, a := range got {
				if want := fmt.Sprintf("%04d", 2*i); a.id != want {
					t.Errorf("%s: hit %d is %s, want %s", name, i, a.id, want)
				}
			}
		}
	}
}

func TestSearch_deadRowsNeverCome(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 4)
	mdl := d.Train(t, best(t), nlist)
	dead := map[string]bool{}
	for i, id := range d.IDs {
		dead[id] = i%2 == 0
	}
	for name, groups := range layouts {
		snap := snapshottest.Build(t, d, mdl, best(t), groups, func(i int) bool { return i%2 == 0 })
		s := search.New(best(t))
		for _, plan := range []search.Plan{{Exact: true}, everything(mdl), {NProbe: 2, ScanDims: 16, Refine: 20}} {
			for q := range 40 {
				seen := map[string]bool{}
				for _, a := range run(t, s, snap, d.Vector(q), 10, plan) {
					if dead[a.id] || seen[a.id] {
						t.Fatalf("%s, %+v: %s is dead (%v) or there twice", name, plan, a.id, dead[a.id])
					}
					seen[a.id] = true
				}
				if len(seen) != 10 {
					t.Fatalf("%s, %+v: %d hits, want 10", name, plan, len(seen))
				}
			}
		}
	}
}

// A plan whose lists hold too little goes on until there are k hits, or all live rows.
func TestSearch_findsKWhereTheyAre(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 5)
	mdl := d.Train(t, best(t), nlist)
	for name, groups := range layouts {
		for share, dead := range map[int]func(i int) bool{
			rows:          nil,
			rows / 50:     func(i int) bool { return i%50 != 0 },
			rows / 2000:   func(i int) bool { return i != 77 },
			rows - rows/2: func(i int) bool { return i < rows/2 },
			0:             func(int) bool { return true },
		} {
			snap := snapshottest.Build(t, d, mdl, best(t), groups, dead)
			for _, k := range []int{1, 30, 700, rows, 10 * rows} {
				for _, plan := range []search.Plan{{NProbe: 1, ScanDims: 32, Refine: 1}, {NProbe: 3, ScanDims: 16, Refine: 5000}, {Exact: true}} {
					hits, u, err := search.New(best(t)).Search(context.Background(), snap, d.Vector(1), k, plan, nil)
					if err != nil {
						t.Fatal(err)
					}
					if want := min(k, share); len(hits) != want {
						t.Errorf("%s, %d live, k %d, %+v: %d hits, want %d (%+v)", name, share, k, plan, len(hits), want, u)
					}
					seen := map[search.Hit]bool{}
					for i, h := range hits {
						if seen[h] || i > 0 && h.Score > hits[i-1].Score {
							t.Fatalf("%s, k %d, %+v: hit %d is there twice or out of order", name, k, plan, i)
						}
						seen[h] = true
					}
				}
			}
		}
	}
}

func TestSearch_usage(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 6)
	mdl := d.Train(t, best(t), nlist)
	for _, tt := range []struct {
		layout string
		plan   search.Plan
		want   search.Usage
	}{
		{"chunks", search.Plan{Exact: true}, search.Usage{Refined: rows, Bytes: 32 * rows}},
		{"mixed", search.Plan{Exact: true}, search.Usage{Refined: rows, Bytes: 32 * rows}},
		{"mixed", search.Plan{Exact: true, Dims: 16}, search.Usage{Refined: rows, Bytes: 16 * rows}},
		{"chunks", everything(mdl), search.Usage{Lists: nlist, Codes: 2 * rows, Refined: rows, Bytes: 2*4*rows + 32*rows}},
		{"segment", everything(mdl), search.Usage{Lists: nlist, Refined: rows, Bytes: 32 * rows}},
		{"unlisted", search.Plan{NProbe: 1, ScanDims: 32, Refine: 10}, search.Usage{Lists: 1, Refined: rows, Bytes: 32 * rows}},
	} {
		snap := snapshottest.BuildBare(t, d, mdl, best(t), layouts[tt.layout], nil)
		_, u, err := search.New(best(t)).Search(context.Background(), snap, d.Vector(0), 10, tt.plan, nil)
		if err != nil || u != tt.want {
			t.Errorf("%s, %+v: usage %+v, %v, want %+v", tt.layout, tt.plan, u, err, tt.want)
		}
	}
}

// A few lists and few candidates find most of the neighbours, with either number of scanned dimensions.
func TestSearch_planFindsNeighbours(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 7)
	mdl := d.Train(t, best(t), nlist)
	snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], nil)
	s := search.New(best(t))
	for _, tt := range []struct {
		plan search.Plan
		want float64
	}{
		{search.Plan{NProbe: 12, ScanDims: 32, Refine: 100}, 0.95},
		{search.Plan{NProbe: 12, ScanDims: 16, Refine: 200}, 0.9},
	} {
		found, all := 0, 0
		for q := range 50 {
			want := run(t, s, snap, d.Vector(q), 10, search.Plan{Exact: true})
			for _, a := range run(t, s, snap, d.Vector(q), 10, tt.plan) {
				if slices.ContainsFunc(want, func(b answer) bool { return b.id == a.id }) {
					found++
				}
			}
			all += len(want)
		}
		if got := float64(found) / float64(all); got < tt.want {
			t.Errorf("%+v: recall %.3f, want %.2f", tt.plan, got, tt.want)
		}
	}
}

func TestSearch_mistakes(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16), rows, 8)
	mdl := d.Train(t, best(t), nlist)
	cosine := snapshottest.Build(t, d, mdl, best(t), layouts["chunks"], nil)
	ip := snapshottest.Build(t, snapshottest.Clustered(snapshottest.Spec(schemas.InnerProduct, 16), rows, 8), nil, best(t), layouts["unlisted"], nil)
	with := func(i int, x float64) []float32 {
		v := make([]float32, 16)
		v[0], v[i] = 1, float32(x)
		return v
	}
	plan := search.Plan{NProbe: 1, ScanDims: 16, Refine: 10}
	for _, tt := range []struct {
		name  string
		snap  *snapshot.Snapshot
		query []float32
		k     int
		plan  search.Plan
		want  string
	}{
		{"dims", cosine, make([]float32, 15), 1, plan, "vector: 15 values, allowed: 16 values"},
		{"nan", cosine, with(3, math.NaN()), 1, plan, "vector[3]: NaN, allowed: a finite number"},
		{"infinity", ip, with(15, math.Inf(-1)), 1, plan, "vector[15]: -Inf, allowed: a finite number"},
		{"zero", cosine, make([]float32, 16), 1, plan, "vector: zero or too short to have a direction, allowed: a length of at least 1e-15"},
		{"short", cosine, with(0, 1e-16), 1, plan, "vector: zero or too short to have a direction, allowed: a length of at least 1e-15"},
		{"long", cosine, with(1, 3e38), 1, plan, "vector: too long, allowed: a length of at most 1e+15"},
		{"longUnderProduct", ip, with(1, 2e15), 1, plan, "vector: too long, allowed: a length of at most 1e+15"},
		{"k", cosine, with(0, 1), 0, plan, "k: 0, allowed: at least 1"},
		{"nprobe", cosine, with(0, 1), 1, search.Plan{NProbe: 0, ScanDims: 16, Refine: 10}, "plan.nprobe: 0, allowed: 1 to 24"},
		{"nprobeAll", cosine, with(0, 1), 1, search.Plan{NProbe: 25, ScanDims: 16, Refine: 10}, "plan.nprobe: 25, allowed: 1 to 24"},
		{"scanDims", cosine, with(0, 1), 1, search.Plan{NProbe: 1, ScanDims: 12, Refine: 10}, "plan.scan_dims: 12, allowed: one of 8,16"},
		{"refine", cosine, with(0, 1), 1, search.Plan{NProbe: 1, ScanDims: 16, Refine: 0}, "plan.refine: 0, allowed: at least 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hits, _, err := search.New(best(t)).Search(context.Background(), tt.snap, tt.query, tt.k, tt.plan, nil)
			var bad *search.QueryError
			if !errors.As(err, &bad) || err.Error() != tt.want || len(hits) != 0 {
				t.Errorf("got %v with %d hits, want %s", err, len(hits), tt.want)
			}
		})
	}
	for _, q := range [][]float32{make([]float32, 16), with(2, 1e-30), with(0, 1e15)} {
		hits, _, err := search.New(best(t)).Search(context.Background(), ip, q, 3, search.Plan{Exact: true}, nil)
		if err != nil || len(hits) != 3 {
			t.Errorf("inner product with %v: %d hits, %v", q, len(hits), err)
		}
	}
}

func TestSearch_cancelled(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), rows, 9)
	mdl := d.Train(t, best(t), nlist)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := search.New(best(t))
	for name, groups := range layouts {
		snap := snapshottest.Build(t, d, mdl, best(t), groups, nil)
		for _, plan := range []search.Plan{{Exact: true}, everything(mdl)} {
			if hits, _, err := s.Search(ctx, snap, d.Vector(0), 3, plan, nil); !errors.Is(err, context.Canceled) || len(hits) != 0 {
				t.Errorf("%s, %+v: %d hits, %v", name, plan, len(hits), err)
			}
		}
	}
}

func TestSearch_appends(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16), rows, 10)
	snap := snapshottest.Build(t, d, nil, best(t), layouts["unlisted"], nil)
	first := search.Hit{Part: 8, Row: 9, Score: 10}
	hits, _, err := search.New(best(t)).Search(context.Background(), snap, d.Vector(0), 2, search.Plan{}, []search.Hit{first})
	if err != nil || len(hits) != 3 || hits[0] != first {
		t.Errorf("got %v, %v", hits, err)
	}
}

func TestSearch_allocatesNothing(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 11)
	mdl := d.Train(t, best(t), nlist)
	snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], func(i int) bool { return i%9 == 0 })
	s := search.New(best(t))
	ctx := t.Context()
	dst := make([]search.Hit, 0, 100)
	for _, plan := range []search.Plan{{Exact: true}, everything(mdl), {NProbe: 1, ScanDims: 16, Refine: 10}, {NProbe: 5, ScanDims: 32, Refine: 400, Originals: true}} {
		query := func() {
			if hits, _, err := s.Search(ctx, snap, d.Vector(0), 100, plan, dst[:0]); err != nil || len(hits) != 100 {
				t.Fatal(len(hits), err)
			}
		}
		query() // memory grows to what the plan needs
		if n := testing.AllocsPerRun(20, query); n != 0 {
			t.Errorf("%+v: %v allocations for a query", plan, n)
		}
	}
}

// One searcher serves indexes of other widths and models in turn.
func TestSearcher_isReusable(t *testing.T) {
	s := search.New(best(t))
	for _, dim := range []int{32, 8, 64, 32} {
		d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, dim), rows, 12)
		mdl := d.Train(t, best(t), nlist)
		snap := snapshottest.BuildBare(t, d, mdl, best(t), layouts["mixed"], nil)
		want := run(t, search.New(best(t)), snap, d.Vector(3), 10, search.Plan{Exact: true})
		if got := run(t, s, snap, d.Vector(3), 10, everything(mdl)); !slices.Equal(got, want) {
			t.Errorf("%d dimensions: got %v, want %v", dim, got, want)
		}
	}
}

// A list that fills many calls of the kernel, with dead rows, is scanned to its end.
func TestSearch_longLists(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8), 5000, 13)
	mdl := d.Train(t, best(t), 1)
	snap := snapshottest.BuildBare(t, d, mdl, best(t), []snapshottest.Group{{Kind: snapshottest.Chunks, End: 5000}}, func(i int) bool { return i%4 == 1 })
	s := search.New(best(t))
	for q := range 30 {
		want := run(t, s, snap, d.Vector(q), 10, search.Plan{Exact: true})
		got := run(t, s, snap, d.Vector(q), 10, search.Plan{NProbe: 1, ScanDims: 8, Refine: 1000})
		if !slices.Equal(got, want) {
			t.Errorf("query %d: got %v, want %v", q, got, want)
		}
	}
}

// Searchers share a snapshot, each on its own goroutine.
func TestSearch_concurrent(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, 32), rows, 14)
	mdl := d.Train(t, best(t), nlist)
	snap := snapshottest.Build(t, d, mdl, best(t), layouts["mixed"], nil)
	plan := search.Plan{NProbe: 4, ScanDims: 32, Refine: 50}
	var want [][]search.Hit
	s := search.New(best(t))
	for q := range 50 {
		hits, _, err := s.Search(context.Background(), snap, d.Vector(q), 10, plan, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, hits)
	}
	var wg sync.WaitGroup
	level := best(t)
	for range 4 {
		wg.Go(func() {
			s := search.New(level)
			for q := range want {
				hits, _, err := s.Search(context.Background(), snap, d.Vector(q), 10, plan, nil)
				if err != nil || !slices.Equal(hits, want[q]) {
					t.Errorf("query %d: got %v, %v, want %v", q, hits, err, want[q])
				}
			}
		})
	}
	wg.Wait()
}
