package eval

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
)

const (
	nrows, nqueries, classes, dim = 3000, 200, 40, 32
)

// synthetic makes classes that are told apart by early dimensions best. Rigid encoders are the same points with other noise.
func synthetic() *Data {
	r := rand.New(rand.NewPCG(1, 2))
	centres := make([]float32, classes*dim)
	for i := range centres {
		centres[i] = float32(r.NormFloat64() / math.Sqrt(float64(1+i%dim)))
	}
	d := &Data{Vector: "vector", Rigid: []string{"r8", "r16", "r32"}, Ladder: []int{8, 16, 32}}
	table := func(n int) Table {
		t := Table{N: n, Columns: map[string]Column{}}
		for i := range n {
			t.Labels = append(t.Labels, int32(i%classes))
		}
		for _, c := range []struct {
			name string
			dim  int
		}{{"vector", dim}, {"r8", 8}, {"r16", 16}, {"r32", 32}} {
			values := make([]float32, 0, n*c.dim)
			for i := range n {
				for j := range c.dim {
					values = append(values, centres[i%classes*dim+j]+float32(0.5*r.NormFloat64()/math.Sqrt(float64(1+j))))
				}
			}
			t.Columns[c.name] = Column{c.dim, values}
		}
		return t
	}
	d.Rows, d.Queries = table(nrows), table(nqueries)
	return d
}

func newBench(t testing.TB) *Bench {
	t.Helper()
	level, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(synthetic(), Options{Level: level, Threads: 2, Seed: 1, Timing: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func prefixOf(w int) View { return View{Column: "vector", Dims: w} }

// found returns the rows that a system finds.
func found(t *testing.T, b *Bench, s System) []int32 {
	t.Helper()
	if err := s.Validate(b.data); err != nil {
		t.Fatal(err)
	}
	x, err := b.build(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	nprobe := 0
	if s.Coarse != nil {
		nprobe = s.Coarse.NProbe
	}
	rows, _, err := b.answers(t.Context(), s, x, nprobe)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// brute is exact search in float64, of cosines of prefixes.
func brute(d *Data, column string, w int) []int32 {
	var out []int32
	for q := range d.Queries.N {
		scores := make([]float64, d.Rows.N)
		order := make([]int32, d.Rows.N)
		for i := range scores {
			order[i] = int32(i)
			var dot, square float64
			for j, v := range d.Rows.Columns[column].Row(i)[:w] {
				dot += float64(v) * float64(d.Queries.Columns[column].Row(q)[j])
				square += float64(v) * float64(v)
			}
			scores[i] = dot / math.Sqrt(square)
		}
		slices.SortFunc(order, func(a, b int32) int {
			if scores[a] > scores[b] {
				return -1
			}
			return 1
		})
		out = append(out, order[:k]...)
	}
	return out
}

// Systems that leave nothing out find what brute force finds.
func TestNothingLeftOut(t *testing.T) {
	b := newBench(t)
	all := func(c Coarse) *Coarse {
		c.NList, c.NProbe = 20, 20
		return &c
	}
	stages := []Stage{{16, nrows}, {32, nrows}}
	for _, tt := range []struct {
		name   string
		system System
		column string
		dims   int
	}{
		{"exact8", System{Scan: Scan{View: prefixOf(8)}}, "vector", 8},
		{"exact32", System{Scan: Scan{View: prefixOf(32)}}, "vector", 32},
		{"rigid", System{Scan: Scan{View: View{Column: "r16", Dims: 16}}}, "r16", 16},
		{"adaptive", System{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{32, nrows}}}, "vector", 32},
		{"adaptive to a prefix", System{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{16, nrows}}}, "vector", 16},
		{"funnel", System{Scan: Scan{View: prefixOf(8)}, Rerank: stages}, "vector", 32},
		{"ivf", System{Coarse: all(Coarse{View: prefixOf(16)}), Scan: Scan{View: prefixOf(16)}}, "vector", 16},
		{"adanns", System{Coarse: all(Coarse{View: prefixOf(8)}), Scan: Scan{View: prefixOf(32)}}, "vector", 32},
		{"two encoders", System{Coarse: all(Coarse{View: View{Column: "r8", Dims: 8}}), Scan: Scan{View: View{Column: "r32", Dims: 32}}}, "r32", 32},
		{"adannsD", System{Coarse: all(Coarse{View: prefixOf(8), Trained: 32}), Scan: Scan{View: prefixOf(8), Stored: 32}}, "vector", 8},
		{"ivf and adaptive", System{Coarse: all(Coarse{View: prefixOf(8)}), Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{32, nrows}}}, "vector", 32},
		{"codes and adaptive", System{Scan: Scan{View: prefixOf(8), Bytes: 2}, Rerank: []Stage{{32, nrows}}}, "vector", 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, want := found(t, b, tt.system), brute(b.data, tt.column, tt.dims)
			differ := 0
			for i := range got {
				if got[i] != want[i] {
					differ++
				}
			}
			if differ > 4 { // float32 puts a few neighbours in another order
				t.Errorf("%d of %d rows differ from brute force", differ, len(got))
			}
		})
	}
}

// The scan of one query finds what the scan for all queries finds.
func TestSearchAgreesWithExact(t *testing.T) {
	b := newBench(t)
	s := System{Scan: Scan{View: prefixOf(16)}, Rerank: []Stage{{32, 50}}}
	want := found(t, b, s)
	one := b.newSearcher(b.built, 0)
	for q := range nqueries {
		for i, x := range one.search(q) {
			if x.item != want[q*k+i] {
				t.Fatalf("query %d, place %d: row %d, want %d", q, i, x.item, want[q*k+i])
			}
		}
	}
}

func TestCodesApproachExact(t *testing.T) {
	b := newBench(t)
	for _, coarse := range []*Coarse{nil, {View: prefixOf(8), NList: 20, NProbe: 20}} {
		last := 0.0
		for _, bytes := range []int{1, 4, 16} {
			r, err := b.Run(t.Context(), System{Family: "codes", Coarse: coarse, Scan: Scan{View: prefixOf(32), Bytes: bytes}})
			if err != nil {
				t.Fatal(err)
			}
			if r.Recall < last+0.1 {
				t.Errorf("coarse %v, %d bytes: recall %.3f, %.3f with fewer", coarse, bytes, r.Recall, last)
			}
			last = r.Recall
		}
		if last < 0.5 || last > 1 {
			t.Errorf("coarse %v: recall %v of codes of 4 bits a dimension", coarse, last)
		}
	}
}

// The scan of codes loses nothing against looking up every code.
func TestScanCodes(t *testing.T) {
	b := newBench(t)
	s := System{Coarse: &Coarse{View: prefixOf(8), NList: 20, NProbe: 5}, Scan: Scan{View: prefixOf(32), Bytes: 8}}
	x, err := b.build(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	one := b.newSearcher(x, 5)
	decoded := make([]float32, dim)
	c := b.codes[codesKey{s.Scan.View, 8, listsKey{prefixOf(8), 20}}]
	for q := range 20 {
		hits := slices.Clone(one.search(q))
		query := b.data.Queries.Columns["vector"].Row(q)
		worst := hits[len(hits)-1].score
		slack := 2*one.lut.MaxError() + 1e-4
		for _, l := range one.lists.items {
			for i := x.starts[l.item]; i < x.starts[l.item+1]; i++ {
				row := x.place(int(i))
				x.quantizer.Decode(decoded, c.bytes[row*8:][:8])
				score := avx.Dot(avx.Generic, query, decoded) + avx.Dot(avx.Generic, query, x.means[int(l.item)*dim:][:dim])
				at := slices.IndexFunc(hits, func(h scored) bool { return int(h.item) == row })
				if at < 0 && score > worst+slack || at >= 0 && math.Abs(float64(score-hits[at].score)) > float64(slack) {
					t.Fatalf("query %d, row %d: score %v at %d of hits down to %v", q, row, score, at, worst)
				}
			}
		}
	}
}

// Centroids that are cut have unit length again.
func TestSliced(t *testing.T) {
	b := newBench(t)
	l, err := b.cluster(t.Context(), prefixOf(32), 20)
	if err != nil {
		t.Fatal(err)
	}
	cut := l.sliced(b.o.Level, 8)
	for j := range l.n {
		if s := avx.SumSquares(avx.Generic, cut[j*8:][:8]); math.Abs(float64(s)-1) > 1e-5 {
			t.Errorf("centroid %d has squared length %v", j, s)
		}
	}
}

// Rows that are mirrored have mean zero, and all principal axes together are a rotation: it changes no neighbour.
func TestPrincipalAxesOfAll(t *testing.T) {
	d := synthetic()
	d.Rows.Labels, d.Queries.Labels = nil, nil
	v := d.Rows.Columns["vector"].Values
	for i := nrows / 2 * dim; i < nrows*dim; i++ {
		v[i] = -v[i-nrows/2*dim]
	}
	b, err := New(d, Options{Level: avx.Generic, Threads: 1, Timing: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Run(t.Context(), System{Scan: Scan{View: View{"vector", PCA, dim}}})
	if err != nil || r.Recall < 0.999 || r.Top1 != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	half, err := b.Run(t.Context(), System{Scan: Scan{View: View{"vector", PCA, 16}}})
	if err != nil {
		t.Fatal(err)
	}
	random, err := b.Run(t.Context(), System{Scan: Scan{View: View{"vector", Random, 16}}})
	if err != nil || random.Recall >= half.Recall || half.Recall >= r.Recall {
		t.Errorf("recall of 16 principal axes %v, 16 random dimensions %v, %v", half.Recall, random.Recall, err)
	}
}

func TestSearchDoesNotAllocate(t *testing.T) {
	b := newBench(t)
	for _, s := range []System{
		{Coarse: &Coarse{View: prefixOf(8), NList: 20, NProbe: 4}, Scan: Scan{View: prefixOf(32), Bytes: 8}, Rerank: []Stage{{16, 100}, {32, 20}}},
		{Coarse: &Coarse{View: View{"vector", PCA, 8}, NList: 20, NProbe: 4}, Scan: Scan{View: View{"vector", Random, 16}}},
		{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{32, 50}}},
	} {
		x, err := b.build(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		one, q := b.newSearcher(x, 4), 0
		if n := testing.AllocsPerRun(nqueries, func() { one.search(q % nqueries); q++ }); n != 0 {
			t.Errorf("%s: %v allocations", s.Name(), n)
		}
	}
}

// Numbers that the papers' figures are drawn from.
func TestCost_ofThePapers(t *testing.T) {
	const imagenet1k, imagenet4k = 1_281_167, 4_202_000
	ivf := func(dc, nlist, nprobe, ds int) System {
		return System{Coarse: &Coarse{View: prefixOf(dc), NList: nlist, NProbe: nprobe}, Scan: Scan{View: prefixOf(ds)}}
	}
	for _, tt := range []struct {
		name   string
		system System
		n      int
		want   float64

		completed float64
	}{
		{"ivf 2048, 32 lists", ivf(2048, 32, 1, 2048), imagenet1k, 82.060224, 0},
		{"ivf 64", ivf(64, 1024, 1, 64), imagenet1k, 0.145609, 0},
		{"ivf 2048, 8 of 2048", ivf(2048, 2048, 8, 2048), imagenet4k, 37.810304, 0},
		{"adanns 32, 128", ivf(32, 2048, 1, 128), imagenet1k, 0.145609, 0},
		{"exact 2048", System{Scan: Scan{View: prefixOf(2048)}}, imagenet1k, 2623.830016, 0},
		{"adaptive 16", System{Scan: Scan{View: prefixOf(16)}, Rerank: []Stage{{2048, 200}}}, imagenet1k, 20.908272, 0},
		{"funnel 8", System{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{16, 200}, {32, 100}, {64, 50}, {128, 25}, {2048, 10}}}, imagenet1k, 10.282616, 0},
		// 32 bytes are 64 look-ups; the table is 16 inner products of 256 dimensions, after a rotation.
		{"opq 32 bytes", System{Scan: Scan{View: prefixOf(256), Bytes: 32}}, 1000, (1000*64 + 256*256 + 16*256) / 1e6, 0},
		{"pca", System{Scan: Scan{View: View{"vector", PCA, 64}}}, 1000, (1000*64 + 2048*64) / 1e6, 0},
		{"bounded at 64", System{Scan: Scan{View: prefixOf(256), Bound: 64}}, 1000, (1000*64 + 100*192) / 1e6, 100},
	} {
		if got := tt.system.Cost(tt.n, tt.completed, func(string) int { return 2048 }) / 1e6; math.Abs(got-tt.want) > 1e-6 {
			t.Errorf("%s: %.6f, want %.6f", tt.name, got, tt.want)
		}
	}
}

func TestJudge(t *testing.T) {
	labels := []int32{0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, tt := range []struct {
		name  string
		found []int32
		of    int
		want  Grade
	}{
		{"none", []int32{1, 3, -1}, 11, Grade{}},
		{"all", []int32{0, 2, 4, 5, 6, 7, 8, 9, 10, 11}, 11, Grade{First: true, Average: 1, Precision: 1}},
		{"second and fourth", []int32{1, 0, 3, 2}, 11, Grade{Average: (0.5 + 0.5) / 10, Precision: 0.2}},
		{"first of a class of two", []int32{0, 1}, 2, Grade{First: true, Average: 0.5, Precision: 0.1}},
		{"class without rows", []int32{1}, 0, Grade{}},
	} {
		var g Grade
		g.judge(tt.found, labels, 0, tt.of)
		if g.First != tt.want.First || math.Abs(float64(g.Average-tt.want.Average)) > 1e-6 || math.Abs(float64(g.Precision-tt.want.Precision)) > 1e-6 {
			t.Errorf("%s: %+v, want %+v", tt.name, g, tt.want)
		}
	}
	if got := share([]int32{4, 2, -1}, []scored{{1, 2}, {0.5, 3}}); got != 0.5 {
		t.Errorf("recall %v, want 0.5", got)
	}
}

func TestMcNemar(t *testing.T) {
	for _, tt := range []struct {
		a, b int
		want float64
	}{{0, 0, 1}, {1, 9, 22. / 1024}, {9, 1, 22. / 1024}, {5, 5, 1}, {0, 20, math.Pow(2, -19)}} {
		if got := mcnemar(tt.a, tt.b); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%d and %d: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

// The best on one half is judged on the other: a system that is right where it was chosen, and nowhere else, gains nothing.
func TestCompare_choosesOnTheOtherHalf(t *testing.T) {
	result := func(family string, mflops float64, right func(q int) bool) *Result {
		r := &Result{Family: family, MFLOPs: mflops}
		for q := range 100 {
			r.Queries = append(r.Queries, Grade{First: right(q)})
		}
		return r
	}
	even, odd := func(q int) bool { return q%2 == 0 }, func(q int) bool { return q%2 == 1 }
	results := []*Result{
		result(AdannsIVF, 0.01, even), result(AdannsIVF, 0.01, odd), result(RigidIVF, 0.02, func(q int) bool { return q%4 < 1 }),
		result(RigidIVF, 0.03, func(int) bool { return true }), // dearer than the limit
	}
	all := Compare(results, true)
	at := slices.IndexFunc(all, func(c Comparison) bool {
		return c.What == "mflops" && c.Limit == 0.02 && c.B == RigidIVF && c.A == AdannsIVF
	})
	if at < 0 {
		t.Fatal("no comparison")
	}
	c := all[at]
	if c.InA != 0 || math.Abs(c.InB-0.25) > 1e-9 || c.OnlyA != 0 || c.OnlyB != 25 || !(c.Chance < 1e-6) || math.Abs(c.Error-math.Sqrt(0.25*0.75/100)) > 1e-9 {
		t.Errorf("%+v", c)
	}
	if f := Fastest(results, RigidIVF, func(r *Result) float64 { return r.MFLOPs }, 0.03); f != results[3] {
		t.Errorf("%+v", f)
	}
}

func TestBest_keepsTheBest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 60 {
		scores := make([]float32, n)
		want := make([]scored, n)
		for i := range scores {
			scores[i] = float32(r.IntN(8)) // many ties
			want[i] = scored{scores[i], int32(i)}
		}
		slices.SortStableFunc(want, func(a, b scored) int { return int(b.score - a.score) })
		var b best
		b.reset(7)
		b.pushAll(scores, 0)
		if got := b.sorted(); !slices.Equal(got, want[:min(7, n)]) {
			t.Fatalf("of %v: %v, want %v", scores, got, want[:min(7, n)])
		}
	}
}

func TestValidate(t *testing.T) {
	d := synthetic()
	for _, tt := range []struct {
		name, want string
		system     System
	}{
		{"column", `column "nope", allowed: "vector"`, System{Scan: Scan{View: View{Column: "nope", Dims: 8}}}},
		{"dims", "scan: 33 dims of column", System{Scan: Scan{View: prefixOf(33)}}},
		{"reduction", `reduction "svd"`, System{Scan: Scan{View: View{"vector", "svd", 8}}}},
		{"bytes", "scan: 5 bytes", System{Scan: Scan{View: prefixOf(8), Bytes: 5}}},
		{"stored", "stored width 4", System{Scan: Scan{View: prefixOf(8), Stored: 4}}},
		{"bound", "bounded at 8 dims", System{Scan: Scan{View: prefixOf(8), Bound: 8}}},
		{"bound of codes", "bounded at 4 dims", System{Scan: Scan{View: prefixOf(8), Bytes: 4, Bound: 4}}},
		{"lists", "coarse: 3 of 2 lists", System{Coarse: &Coarse{View: prefixOf(8), NList: 2, NProbe: 3}, Scan: Scan{View: prefixOf(8)}}},
		{"trained", "trained on 4 dims", System{Coarse: &Coarse{View: prefixOf(8), NList: 2, NProbe: 1, Trained: 4}, Scan: Scan{View: prefixOf(8)}}},
		{"keep", "keep 9", System{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{16, 5}, {32, 9}}}},
		{"rerank", "rerank: 64 dims", System{Scan: Scan{View: prefixOf(8)}, Rerank: []Stage{{64, 5}}}},
	} {
		if err := tt.system.Validate(d); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	d.Queries.Labels, d.Ladder, d.Rigid = nil, []int{16, 8}, []string{"r32", "r8"}
	_, err := New(d, Options{})
	for _, want := range []string{"labels: only one", "ladder: 16,8", "ascending in width"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Each system of the catalogue is one that can be built, and has a name of its own.
func TestCatalogue(t *testing.T) {
	d := synthetic()
	for _, rigid := range [][]string{nil, d.Rigid} {
		d.Rigid = rigid
		seen := map[string]bool{}
		for _, s := range Catalogue(d) {
			if err := s.Validate(d); err != nil {
				t.Error(err)
			}
			if seen[s.Name()] {
				t.Errorf("%s is there twice", s.Name())
			}
			seen[s.Name()] = true
		}
		if len(seen) < 100 {
			t.Errorf("%d systems", len(seen))
		}
	}
}

// The product's index reaches the recall that its plans promise, on queries that are not rows.
func TestRunProduct(t *testing.T) {
	b := newBench(t)
	for _, lists := range []int{1, 2} {
		results, err := b.RunProduct(context.Background(), Product{Family: fmt.Sprint(lists), Vector: "vector", ListsPerRow: lists, Targets: []float64{0.9}})
		if err != nil {
			t.Fatal(err)
		}
		if len(results) != 1 || results[0].Recall < 0.8 || results[0].Bytes < 32+4 || results[0].Counted <= 0 || results[0].Top1 < 0.5 {
			t.Errorf("lists %d: %+v", lists, results[0])
		}
	}
}
