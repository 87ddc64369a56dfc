package recall

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

const (
	rows  = 4000
	nlist = 64
	dim   = 32
	k     = 10
)

// HeldOut decides for ever: the ids that are held out today must be so in every later version.
func TestHeldOut_isFixed(t *testing.T) {
	var got []int
	for i := range 1000 {
		if HeldOut(fmt.Sprint(i)) {
			got = append(got, i)
		}
	}
	want := []int{20, 65, 77, 190, 253, 256, 299, 397, 414, 439, 444, 540, 592, 594, 607, 621, 768, 787, 866, 996}
	if !slices.Equal(got, want) {
		t.Errorf("held out are %v, want %v", got, want)
	}
}

func TestHeldOut_share(t *testing.T) {
	const n = 200_000
	for _, form := range []string{"%d", "%08x", "item-%d", "0f8fad5b-d9cb-469f-a165-%012x"} {
		held := 0
		for i := range n {
			if HeldOut(fmt.Sprintf(form, i)) {
				held++
			}
		}
		if share := float64(held) * heldOutShare / n; math.Abs(share-1) > 0.1 {
			t.Errorf("ids like %s: %d of %d are held out", form, held, n)
		}
	}
}

func TestSpread(t *testing.T) {
	_, snap := build(t, rows, true)
	third := func(p *segment.Part, row int) bool { return p.IDAt(row)[len(p.IDAt(row))-1]%3 == 0 }
	var all []search.Hit
	for i, p := range snap.Parts() {
		for row := range p.N {
			if third(p, row) {
				all = append(all, search.Hit{Part: i, Row: row})
			}
		}
	}
	for _, most := range []int{0, 1, 2, 7, 100, len(all) - 1, len(all), rows} {
		var want []search.Hit
		for i := range min(most, len(all)) {
			want = append(want, all[i*len(all)/min(most, len(all))])
		}
		for _, threads := range []int{1, 3} {
			if got := Spread(threads, snap, most, third); !slices.Equal(got, want) {
				t.Errorf("%d of %d rows on %d threads: %v, want %v", most, len(all), threads, got, want)
			}
		}
	}
}

func level(t testing.TB) avx.Level {
	t.Helper()
	l, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func build(t *testing.T, n int, withModel bool) (*snapshottest.Data, *snapshot.Snapshot) {
	t.Helper()
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16, dim), n, 1)
	groups := []snapshottest.Group{{Kind: snapshottest.Chunks, End: n - n/10}, {Kind: snapshottest.Segment, Start: n - n/10, End: n}}
	if !withModel {
		return d, snapshottest.Build(t, d, nil, level(t), groups, nil)
	}
	return d, snapshottest.Build(t, d, d.Train(t, level(t), nlist), level(t), groups, nil)
}

// sample makes queries of the held-out rows, which must not find themselves.
func sample(t *testing.T, snap *snapshot.Snapshot) Sample {
	t.Helper()
	var s Sample
	for i, p := range snap.Parts() {
		for row := range p.N {
			if HeldOut(p.IDAt(row)) {
				v := make([]float32, dim)
				p.Vector(avx.Generic, row, v)
				s.Queries = append(s.Queries, v...)
				s.Self = append(s.Self, search.Hit{Part: i, Row: row})
			}
		}
	}
	s.N = len(s.Self)
	var err error
	s.Truth, err = exact.TopK(context.Background(), level(t), 2, snap, s.Queries, s.N, k, func(q, part, row int) bool {
		return sameRow(s.Self[q], search.Hit{Part: part, Row: row})
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMeasure_planThatLeavesNothingOut(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	for _, plan := range []search.Plan{{Exact: true}, {NProbe: nlist, ScanDims: dim, Refine: 2 * rows}} {
		r, err := Measure(context.Background(), level(t), snap, s, k, plan)
		if err != nil {
			t.Fatal(err)
		}
		// The oracle reads originals, the search int8: a neighbour or two may differ.
		if r.Recall < 0.97 || r.Low > r.Recall || r.High < r.Recall || !(r.Micros > 0) {
			t.Errorf("%+v: %+v", plan, r)
		}
		if plan.Exact && (r.Refined != rows || r.Scanned != 0 || r.Lists != 0) || !plan.Exact && (r.Scanned != 2*(rows-rows/10) || r.Lists != nlist) {
			t.Errorf("%+v: %+v", plan, r)
		}
	}
}

// The truth decides what recall is, and only its first k count.
func TestMeasure_countsWhatIsFound(t *testing.T) {
	_, snap := build(t, rows, false)
	s := sample(t, snap)
	found, err := exact.TopK(context.Background(), level(t), 1, snap, s.Queries, s.N, 3*k, func(q, part, row int) bool {
		return sameRow(s.Self[q], search.Hit{Part: part, Row: row})
	})
	if err != nil {
		t.Fatal(err)
	}
	far := func(q, n int) []search.Hit { return found[q][3*k-n:] } // rows that a search for k does not find
	for _, tt := range []struct {
		name  string
		truth func(q int) []search.Hit
		want  float64
	}{
		{"none", func(q int) []search.Hit { return far(q, k) }, 0},
		{"onlyTheFirstKCount", func(q int) []search.Hit { return append(slices.Clone(far(q, k)), found[q][:k]...) }, 0},
		{"half", func(q int) []search.Hit { return append(slices.Clone(found[q][:2]), far(q, 2)...) }, 0.5},
		{"everyOther", func(q int) []search.Hit {
			if q%2 == 0 {
				return far(q, k)
			}
			return found[q][:2]
		}, float64(s.N/2) / float64(s.N)},
		{"noTruthDoesNotCount", func(q int) []search.Hit {
			if q%2 == 0 {
				return nil
			}
			return append(slices.Clone(found[q][:1]), far(q, 3)...)
		}, 0.25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other := s
			other.Truth = make([][]search.Hit, s.N)
			for q := range other.Truth {
				other.Truth[q] = tt.truth(q)
			}
			r, err := Measure(context.Background(), level(t), snap, other, k, search.Plan{Exact: true})
			if err != nil || math.Abs(r.Recall-tt.want) > 1e-9 || r.Low > tt.want || r.High < tt.want {
				t.Errorf("got %+v, %v, want %v", r, err, tt.want)
			}
		})
	}
}

// Of rows with one vector, as rows without a text have it, any is as good a neighbour as another: a plan that refines fewer of them than
// there are cannot know which have the lowest ids, and nobody asks for those.
func TestMeasure_rowsWithOneVector(t *testing.T) {
	d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 16, dim), rows, 5)
	for i := range rows / 4 {
		copy(d.Vector(4*i), d.Vector(0))
	}
	mdl := d.Train(t, level(t), nlist)
	for _, build := range []func(testing.TB, *snapshottest.Data, *model.Model, avx.Level, []snapshottest.Group, func(int) bool) *snapshot.Snapshot{snapshottest.Build, snapshottest.BuildBare} {
		groups := []snapshottest.Group{{Kind: snapshottest.Chunks, End: rows - rows/10}, {Kind: snapshottest.Segment, Start: rows - rows/10, End: rows}}
		s := sample(t, snapshottest.Build(t, d, mdl, level(t), groups, nil))
		r, err := Measure(t.Context(), level(t), build(t, d, mdl, level(t), groups, nil), s, k, search.Plan{NProbe: mdl.NList(), ScanDims: dim, Refine: 200})
		if err != nil || r.Recall < 0.95 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// A hit stands for one neighbour of the same vector, and for none of another.
func TestCompare(t *testing.T) {
	d := &snapshottest.Data{Spec: snapshottest.Spec(schemas.Cosine, 2)}
	for i := range 8 {
		d.IDs = append(d.IDs, fmt.Sprint(i))
		d.Vectors = append(d.Vectors, 1, float32(i/4)) // two vectors
	}
	snap := snapshottest.Build(t, d, nil, level(t), []snapshottest.Group{{Kind: snapshottest.Unlisted, End: 3}, {Kind: snapshottest.Unlisted, Start: 3, End: 8}}, nil)
	row := func(i int) search.Hit {
		part, row, _ := snap.Find(fmt.Sprint(i))
		return search.Hit{Part: part, Row: row}
	}
	for _, tt := range []struct {
		truth, hits []int
		want        int
	}{
		{[]int{0, 1}, []int{1, 0}, 2},
		{[]int{0, 1}, []int{2, 3}, 2},
		{[]int{0, 1}, []int{1, 2}, 2},
		{[]int{0, 1}, []int{3}, 1},
		{[]int{0, 1}, []int{1}, 1},
		{[]int{0, 1, 2}, []int{2, 4, 5}, 1},
		{[]int{0, 4}, []int{5, 6}, 1},
		{[]int{0}, nil, 0},
		{nil, []int{0}, 0},
	} {
		var truth, hits []search.Hit
		for _, i := range tt.truth {
			truth = append(truth, row(i))
		}
		for _, i := range tt.hits {
			hits = append(hits, row(i))
		}
		if got := Compare(snap, truth, hits); got != (Found{tt.want, len(truth)}) {
			t.Errorf("%v among %v: %+v, want %d", tt.truth, tt.hits, got, tt.want)
		}
	}
}

// Queries that are rows find k others; queries that are not rows may find any.
func TestMeasure_self(t *testing.T) {
	_, snap := build(t, rows, false)
	s := sample(t, snap)
	own := s
	own.Self, own.Truth = nil, nil
	for _, self := range s.Self {
		own.Truth = append(own.Truth, []search.Hit{self})
	}
	r, err := Measure(context.Background(), level(t), snap, own, 1, search.Plan{Exact: true})
	if err != nil || r.Recall != 1 {
		t.Errorf("a row is its own neighbour: %+v, %v", r, err)
	}
	own.Self = s.Self
	r, err = Measure(context.Background(), level(t), snap, own, 1, search.Plan{Exact: true})
	if err != nil || r.Recall != 0 {
		t.Errorf("a row that must not find itself: %+v, %v", r, err)
	}
}

func TestMeasure_refuses(t *testing.T) {
	_, snap := build(t, 200, false)
	good := Sample{Queries: make([]float32, 2*dim), N: 2, Truth: make([][]search.Hit, 2)}
	for i := range good.Queries {
		good.Queries[i] = 1
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		s    func(s *Sample)
		want string
	}{
		{"none", context.Background(), func(s *Sample) { s.N = 0 }, "recall sample: 0 queries"},
		{"width", context.Background(), func(s *Sample) { s.Queries = s.Queries[1:] }, "recall sample: 2 queries with 63 values"},
		{"truth", context.Background(), func(s *Sample) { s.Truth = s.Truth[1:] }, "1 truths"},
		{"self", context.Background(), func(s *Sample) { s.Self = make([]search.Hit, 1) }, "1 selves"},
		{"noNeighbours", context.Background(), func(*Sample) {}, "no query has a neighbour"},
		{"zero", context.Background(), func(s *Sample) { s.Queries = make([]float32, 2*dim); s.Truth[1] = []search.Hit{{}} }, "recall of query 1: vector: zero"},
		{"cancelled", cancelled, func(s *Sample) { s.Truth[0] = []search.Hit{{}} }, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			s.Truth = slices.Clone(good.Truth)
			tt.s(&s)
			_, err := Measure(tt.ctx, level(t), snap, s, k, search.Plan{Exact: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if tt.ctx.Err() != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the error of the context", err)
			}
		})
	}
}
