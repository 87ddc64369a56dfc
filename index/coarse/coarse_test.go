package coarse

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// topics makes n vectors around n/20 topics, whose spread decays from dimension to dimension, of unit length under cosine.
func topics(n, dim int, metric schemas.Metric, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(1, 1))
	centres := make([]float64, max(1, n/20)*dim)
	for i := range centres {
		centres[i] = r.NormFloat64() / math.Pow(float64(i%dim+1), 0.3)
	}
	r = rand.New(rand.NewPCG(seed, 2))
	x := make([]float32, n*dim)
	for i := range n {
		row, c := x[i*dim:][:dim], centres[r.IntN(len(centres)/dim)*dim:]
		for d := range row {
			row[d] = float32(c[d] + 0.7*r.NormFloat64()/math.Pow(float64(d+1), 0.3))
		}
		if metric == schemas.Cosine {
			mrl.Normalize(avx.Generic, row, row)
		}
	}
	return x
}

func train(t testing.TB, metric schemas.Metric, n, dim int, o Options) (*Quantizer, []float32, []int32) {
	t.Helper()
	x := topics(n, dim, metric, 3)
	q, lists, err := Train(context.Background(), metric, x, n, dim, o)
	if err != nil {
		t.Fatal(err)
	}
	return q, x, lists
}

// nearness is what the list of a vector has the most of, computed plainly.
func nearness(q *Quantizer, v []float32, list int) float64 {
	c, dot, length, distance := q.Centroid(list), 0.0, 0.0, 0.0
	for d := range q.Dims() {
		x, y := float64(v[d]), float64(c[d])
		dot, length, distance = dot+x*y, length+y*y, distance+(x-y)*(x-y)
	}
	if q.metric == schemas.Cosine {
		return dot / math.Sqrt(length)
	}
	return -distance
}

var metrics = []schemas.Metric{schemas.Cosine, schemas.InnerProduct}

// With one group a list is the nearest, with many it nearly always is; all kernels say so alike, and neighbours in the
// call do not matter.
func TestAssign(t *testing.T) {
	const n, dim = 3000, 24
	for _, metric := range metrics {
		for _, nlist := range []int{60, 560} {
			t.Run(fmt.Sprintf("%s/%d", metric, nlist), func(t *testing.T) {
				q, x, trained := train(t, metric, n, dim, Options{NList: nlist, Dims: 16})
				if one := len(q.Groups()) == 2; one != (nlist <= flatLists) {
					t.Fatalf("%d lists are in %d groups", q.NList(), len(q.Groups())-1)
				}
				for _, level := range avx.Levels() {
					lists, alone := make([]int32, n), make([]int32, 1)
					q.Assign(level, x, n, lists, nil, &Scratch{})
					nearest := 0
					for i, list := range lists {
						v := x[i*dim:][:dim]
						best := 0
						for j := range q.NList() {
							if nearness(q, v, j) > nearness(q, v, best) {
								best = j
							}
						}
						if nearness(q, v, int(list)) >= nearness(q, v, best)-1e-5 {
							nearest++
						}
						if i%100 == 0 {
							if q.Assign(level, v, 1, alone, nil, &Scratch{}); alone[0] != list {
								t.Fatalf("row %d is in list %d among others, %d alone", i, list, alone[0])
							}
						}
					}
					if share := float64(nearest) / n; share < 0.95 || nlist <= flatLists && nearest < n {
						t.Errorf("%s: %.3f of the rows are in their nearest list", level, share)
					}
					if level == avx.Generic && !slices.Equal(lists, trained) {
						t.Error("training returned other lists")
					}
				}
			})
		}
	}
}

// The second list has the least SOAR loss, in plain arithmetic, but for rounding. Of few lists all are candidates; of many the best of each
// group are, which misses the best of all half of the time. Neighbours in the call do not matter.
func TestSpill(t *testing.T) {
	const n, dim = 3000, 24
	for _, metric := range metrics {
		for _, nlist := range []int{1, 2, 12, 560} {
			t.Run(fmt.Sprintf("%s/%d", metric, nlist), func(t *testing.T) {
				q, x, _ := train(t, metric, n, dim, Options{NList: nlist, Dims: 16, Spill: true})
				for _, level := range avx.Levels() {
					lists, plain, spills := make([]int32, n), make([]int32, n), make([]int32, n)
					q.Assign(level, x, n, lists, spills, &Scratch{})
					if q.Assign(level, x, n, plain, nil, &Scratch{}); !slices.Equal(lists, plain) {
						t.Fatalf("%s: the first lists are others with second ones", level)
					}
					least := 0
					for i, spill := range spills {
						if q.NList() == 1 {
							if spill != NoSpill {
								t.Fatalf("row %d is spilled to list %d of one", i, spill)
							}
							continue
						}
						if spill == lists[i] || spill < 0 || int(spill) >= q.NList() {
							t.Fatalf("row %d of list %d is spilled to list %d", i, lists[i], spill)
						}
						v, best := x[i*dim:][:dim], math.Inf(1)
						for j := range q.NList() {
							if j != int(lists[i]) {
								best = min(best, soarLoss(q, v, int(lists[i]), j))
							}
						}
						if soarLoss(q, v, int(lists[i]), int(spill)) <= best+1e-4 {
							least++
						}
						if i%100 == 0 {
							first, second := make([]int32, 1), make([]int32, 1)
							if q.Assign(level, v, 1, first, second, &Scratch{}); second[0] != spill {
								t.Fatalf("row %d is spilled to %d among others, to %d alone", i, spill, second[0])
							}
						}
					}
					if share := float64(least) / n; q.NList() > 1 && (share < 0.4 || q.NList() <= assignGroups && share < 0.95) {
						t.Errorf("%s: %.3f of the rows are in the second list that suits them most", level, share)
					}
				}
			})
		}
	}
}

func soarLoss(q *Quantizer, v []float32, first, second int) float64 {
	var length, dot, distance float64
	for d, x := range v {
		r, s := float64(x-q.Centroid(first)[d]), float64(x-q.Centroid(second)[d])
		length, dot, distance = length+r*r, dot+r*s, distance+s*s
	}
	if length > 0 {
		distance += spillPenalty * dot * dot / length
	}
	return distance
}

// Of few lists all are looked at: the order is that of plain arithmetic on the rounded centroids. Of many the funnel finds
// nearly all.
func TestProbe(t *testing.T) {
	const n, dim = 3000, 160
	for _, metric := range metrics {
		for _, dims := range []int{32, 144, 160} {
			q, x, _ := train(t, metric, n, dim, Options{NList: 800, Dims: dims})
			values, s := make([]int16, dim), &Scratch{}
			found, of := 0, 0
			for i := range 20 {
				scale := mrl.QuantizeQuery(values, x[i*dim:][:dim])
				want := make([]int, q.NList())
				score := make([]float64, q.NList())
				for j := range want {
					want[j] = j
					var dot int32
					for d := range dims {
						dot += int32(values[d]) * int32(q.funnel.rows[j*dim+d])
					}
					score[j] = float64(float32(dot) * q.funnel.weights.rows[j])
				}
				slices.SortStableFunc(want, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
				for _, nprobe := range []int{-1, 0, 1, 7, 64, q.NList() - 1, q.NList(), 5000} {
					probes := slices.Clone(q.Probe(avx.Generic, values, scale, nprobe, 0, nil, s))
					if len(probes) != max(0, min(nprobe, q.NList())) {
						t.Fatalf("nprobe %d: %d lists", nprobe, len(probes))
					}
					for _, level := range avx.Levels() {
						if !slices.Equal(q.Probe(level, values, scale, nprobe, 0, nil, s), probes) {
							t.Fatalf("%s finds other lists", level)
						}
					}
					all := 2*(shortlistFactor*nprobe+shortlistMore) > q.NList()
					for r, p := range probes {
						among := want[:len(probes)]
						if r < len(probes)/8 {
							among = want[:len(probes)/8]
						}
						if all && !slices.Contains(among, int(p.List)) {
							t.Fatalf("%s, %d dims, nprobe %d: place %d is list %d, want one of %v", metric, dims, nprobe, r, p.List, among)
						}
						if slices.Contains(want[:len(probes)], int(p.List)) {
							found++
						}
						of++
						base := avx.Dot(avx.Generic, x[i*dim:][:dim], q.Centroid(int(p.List)))
						if limit := q.funnel.step[p.List] * 8; math.Abs(float64(p.Base-base)) > float64(limit) {
							t.Fatalf("base %v, want %v to within %v", p.Base, base, limit)
						}
					}
				}
			}
			if share := float64(found) / float64(of); share < 0.97 {
				t.Errorf("%s, %d dims: %.3f of the lists are found", metric, dims, share)
			}
		}
	}
}

// Centroids are about the means of the rows of their lists: residuals have little of a mean left.
func TestCentroidsAreMeans(t *testing.T) {
	for _, nlist := range []int{30, 700} {
		const n, dim = 4000, 24
		q, x, lists := train(t, schemas.Cosine, n, dim, Options{NList: nlist, Dims: 16})
		sum := make([]float64, q.NList()*dim)
		for i, list := range lists {
			for d, v := range x[i*dim:][:dim] {
				sum[int(list)*dim+d] += float64(v - q.Centroid(int(list))[d])
			}
		}
		off, length := 0.0, 0.0
		for _, s := range sum {
			off += s * s / n / n * float64(q.NList())
		}
		for _, v := range x {
			length += float64(v*v) / n
		}
		if off > 0.001*length {
			t.Errorf("%d lists: mean residuals have %.5f of the length of rows", nlist, off/length)
		}
	}
}

func TestTrainIsDeterministic(t *testing.T) {
	const n, dim = 3000, 16
	var first *Quantizer
	for _, threads := range []int{1, 2, 3} {
		q, _, lists := train(t, schemas.Cosine, n, dim, Options{NList: 600, Dims: 16, Threads: threads})
		if first == nil {
			first = q
		}
		if !slices.Equal(q.Centroids(), first.Centroids()) || !slices.Equal(q.Groups(), first.Groups()) {
			t.Errorf("%d threads make other lists", threads)
		}
		if int(slices.Max(lists)) >= q.NList() || slices.Min(lists) < 0 {
			t.Errorf("lists from %d to %d of %d", slices.Min(lists), slices.Max(lists), q.NList())
		}
	}
}

// Equal rows, or fewer than lists, leave lists without rows: those are dropped.
func TestTrainOnFewRows(t *testing.T) {
	same := slices.Repeat([]float32{1, 0, 0, 0}, 2000)
	for _, tt := range []struct {
		n, nlist, want int
	}{{1, 1, 1}, {1, 600, 1}, {2000, 600, 1}, {2000, 10, 1}} {
		q, lists, err := Train(t.Context(), schemas.Cosine, same, tt.n, 4, Options{NList: tt.nlist, Dims: 2})
		if err != nil || q.NList() != tt.want || len(lists) != tt.n || lists[0] != 0 {
			t.Errorf("%d equal rows in %d lists: %v, error %v", tt.n, tt.nlist, q, err)
		}
	}
}

func TestTrainStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, nlist := range []int{10, 600} {
		if _, _, err := Train(ctx, schemas.Cosine, topics(1000, 8, schemas.Cosine, 1), 1000, 8, Options{NList: nlist, Dims: 8}); err == nil {
			t.Error("a cancelled training returned lists")
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	_, _, err := Train(t.Context(), schemas.Cosine, make([]float32, 8), 3, 4, Options{Dims: 5, Threads: -1})
	for _, want := range []string{"3 vectors of 4", "nlist: 0", "dims: 5", "threads: -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		centroids, dim, dims int
		groups               []int32
	}{
		{0, 4, 4, []int32{0, 0}},
		{8, 4, 5, []int32{0, 2}},
		{8, 4, 0, []int32{0, 2}},
		{9, 4, 4, []int32{0, 2}},
		{8, 4, 4, nil},
		{8, 4, 4, []int32{0}},
		{8, 4, 4, []int32{0, 1}},
		{8, 4, 4, []int32{1, 2}},
		{8, 4, 4, []int32{0, 0, 2}},
		{8, 4, 4, []int32{0, 3, 2}},
	} {
		if _, err := New(schemas.Cosine, make([]float32, tt.centroids), tt.dim, tt.dims, tt.groups, true); err == nil {
			t.Errorf("%+v is taken", tt)
		}
	}
}

// Queries that have looked together find what they find alone.
func TestLook(t *testing.T) {
	const n, dim, queries = 3000, 160, 19
	for _, metric := range metrics {
		q, x, _ := train(t, metric, n, dim, Options{NList: 900, Dims: 144})
		for _, width := range []int{dim, 144, 64} {
			values, scales := make([][]int16, queries), make([]float64, queries)
			for i := range values {
				values[i] = make([]int16, width)
				scales[i] = mrl.QuantizeQuery(values[i], x[i*dim:][:width])
			}
			for _, level := range avx.Levels() {
				s, alone := &Scratch{}, &Scratch{}
				looked := q.Look(level, values, 30, s)
				if len(looked) != queries*q.NList() {
					t.Fatalf("%d products of %d lists", len(looked), q.NList())
				}
				for i := range values {
					mine := looked[i*q.NList():][:q.NList()]
					got, want := q.Probe(level, values[i], scales[i], 30, 0, mine, s), q.Probe(level, values[i], scales[i], 30, 0, nil, alone)
					if !slices.Equal(got, want) {
						t.Fatalf("%s, %s, width %d: query %d finds %v, alone %v", metric, level, width, i, got, want)
					}
					ordered, n := q.ProbeInOrder(level, values[i], scales[i], 20, 0.1, 30, mine, s)
					if want, m := q.ProbeInOrder(level, values[i], scales[i], 20, 0.1, 30, nil, alone); n != m || !slices.Equal(ordered, want) {
						t.Fatalf("%s, %s, width %d: query %d finds %v in order, alone %v", metric, level, width, i, ordered, want)
					}
				}
				if q.Look(level, values, 400, s) != nil {
					t.Error("all lists are looked at in full, and still a look was taken")
				}
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	const n, dim = 3000, 160
	q, x, lists := train(t, schemas.Cosine, n, dim, Options{NList: 900, Dims: dim, Spill: true})
	spills := make([]int32, n)
	values, s := make([]int16, dim), &Scratch{}
	scale := mrl.QuantizeQuery(values, x[:dim])
	for _, level := range avx.Levels() {
		for name, f := range map[string]func(){
			"Assign":     func() { q.Assign(level, x, n, lists, nil, s) },
			"Spill":      func() { q.Assign(level, x, n, lists, spills, s) },
			"Probe":      func() { q.Probe(level, values, scale, 20, 0, nil, s) },
			"Probe most": func() { q.Probe(level, values, scale, 800, 0, nil, s) },
			"Look":       func() { q.Look(level, [][]int16{values, values}, 20, s) },
			"In order":   func() { q.ProbeInOrder(level, values, scale, 20, 0.1, 60, nil, s) },
		} {
			if a := testing.AllocsPerRun(5, f); a != 0 {
				t.Errorf("%s, %s: %v allocations", name, level, a)
			}
		}
	}
}

// The benchmarks are those of an index of half a million rows.
const benchLists, benchDim = 8192, 256

func benchQuantizer(b *testing.B, nlist int) *Quantizer {
	b.Helper()
	x := topics(nlist, benchDim, schemas.Cosine, 1)
	groups, ngroups := []int32{0}, groupsOf(nlist)
	for g := range ngroups {
		groups = append(groups, int32((g+1)*nlist/ngroups))
	}
	q, err := New(schemas.Cosine, x, benchDim, benchDim, groups, true)
	if err != nil {
		b.Fatal(err)
	}
	return q
}

func BenchmarkProbe(b *testing.B) {
	const queries = 1024
	x := topics(queries, benchDim, schemas.Cosine, 2)
	values := make([]int16, queries*benchDim)
	for i := range queries {
		mrl.QuantizeQuery(values[i*benchDim:][:benchDim], x[i*benchDim:][:benchDim])
	}
	for _, nlist := range []int{benchLists, 65536} {
		q := benchQuantizer(b, nlist)
		for _, level := range avx.Levels() {
			for _, nprobe := range []int{32, 256, nlist} {
				b.Run(fmt.Sprintf("nlist=%d/%s/nprobe=%d", nlist, level, nprobe), func(b *testing.B) {
					s := &Scratch{}
					for i := 0; b.Loop(); i++ {
						q.Probe(level, values[i%queries*benchDim:][:benchDim], 1e-5, nprobe, 0, nil, s)
					}
				})
			}
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	const n = 4096
	x, lists := topics(n, benchDim, schemas.Cosine, 2), make([]int32, n)
	for _, nlist := range []int{benchLists, 65536} {
		q := benchQuantizer(b, nlist)
		for _, level := range avx.Levels() {
			for name, spills := range map[string][]int32{"one": nil, "two": make([]int32, n)} {
				b.Run(fmt.Sprintf("nlist=%d/%s/%s", nlist, level, name), func(b *testing.B) {
					s := &Scratch{}
					for b.Loop() {
						q.Assign(level, x, n, lists, spills, s)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
				})
			}
		}
	}
}

// sameLists reports whether a and b are the same lists in any order.
func sameLists(a, b []Probe) bool {
	byList := func(a, b Probe) int { return cmp.Compare(a.List, b.List) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), byList), slices.SortedFunc(slices.Values(b), byList))
}

// A margin leaves out lists by their scores alone: the best eighth stay, a large one leaves out none, and a narrower query
// is the prefix of a wider one.
func TestProbe_margin(t *testing.T) {
	const n, dim, nprobe = 3000, 32, 64
	for _, metric := range metrics {
		q, x, _ := train(t, metric, n, dim, Options{NList: 400, Dims: dim})
		s, values := &Scratch{}, make([]int16, dim)
		for i := range 20 {
			scale := mrl.QuantizeQuery(values, x[i*dim:][:dim])
			for _, width := range []int{8, dim} {
				query := values[:width]
				all := slices.Clone(q.Probe(avx.Generic, query, scale, nprobe, 0, nil, s))
				score := func(p Probe) float64 { // with the query of unit length
					var dot int64
					for d, v := range query {
						dot += int64(v) * int64(q.funnel.rows[int(p.List)*dim+d])
					}
					return float64(dot) * float64(q.weightsOf(width).rows[p.List]) / length(query)
				}
				worst := math.Inf(1)
				for _, p := range all[:nprobe/bestShare] {
					worst = min(worst, score(p))
				}
				before := 0
				for _, margin := range []float64{1e-9, 0.01, 0.1, 0.3, 1e9} {
					got := slices.Clone(q.Probe(avx.Generic, query, scale, nprobe, margin, nil, s))
					for _, level := range avx.Levels() {
						if !slices.Equal(q.Probe(level, query, scale, nprobe, margin, nil, s), got) {
							t.Fatalf("%s finds other lists", level)
						}
					}
					ordered, within := q.ProbeInOrder(avx.Generic, query, scale, nprobe, margin, 3*nprobe, nil, s)
					ordered = slices.Clone(ordered)
					if len(ordered) != 3*nprobe || !sameLists(ordered[:within], got) || !slices.IsSortedFunc(ordered, func(a, b Probe) int { return cmp.Compare(score(b), score(a)) }) {
						t.Fatalf("%s, %d dims, margin %v: in order %v, the first %d should be %v", metric, width, margin, ordered, within, got)
					}
					for _, level := range avx.Levels() {
						if again, n := q.ProbeInOrder(level, query, scale, nprobe, margin, 3*nprobe, nil, s); n != within || !slices.Equal(again, ordered) {
							t.Fatalf("%s orders otherwise", level)
						}
					}
					for _, p := range all {
						below := worst - score(p)
						if in := slices.Contains(got, p); below < margin-1e-4 && !in || below > margin+1e-4 && in {
							t.Fatalf("%s, %d dims, margin %v: list %d is %v below, probed: %v", metric, width, margin, p.List, below, in)
						}
					}
					if len(got) < max(before, nprobe/bestShare) || margin > 1e8 && len(got) != nprobe {
						t.Fatalf("%s, %d dims, margin %v: %d lists after %d", metric, width, margin, len(got), before)
					}
					before = len(got)
				}
			}
		}
	}
}
