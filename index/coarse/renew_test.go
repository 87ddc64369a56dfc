package coarse

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

const renewDim = 32

// mixture draws rows around some of many topics, those [first, end).
func mixture(n, first, end int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(8, 8))
	topics := make([]float32, 4000*renewDim)
	for i := range topics {
		topics[i] = float32(r.NormFloat64())
	}
	r = rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n*renewDim)
	for i := range n {
		row, c := x[i*renewDim:][:renewDim], topics[(first+r.IntN(end-first))*renewDim:]
		for d := range row {
			row[d] = c[d] + 0.6*float32(r.NormFloat64())
		}
		mrl.Normalize(avx.Generic, row, row)
	}
	return x
}

// left returns what centroids leave of rows, as a share of their squares, and the rows of each list.
func left(t *testing.T, q *Quantizer, x []float32) (share float64, rows []int) {
	t.Helper()
	n := len(x) / renewDim
	lists := make([]int32, n)
	q.Assign(fastest(t), x, n, lists, nil, &Scratch{})
	rows = make([]int, q.NList())
	residual := make([]float32, renewDim)
	for i, l := range lists {
		rows[l]++
		for d, c := range q.Centroid(int(l)) {
			residual[d] = x[i*renewDim+d] - c
		}
		share += float64(avx.SumSquares(avx.Generic, residual))
	}
	return share / float64(n), rows
}

func fastest(t testing.TB) avx.Level {
	t.Helper()
	l, err := avx.Best()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func learn(t *testing.T, x []float32, nlist int, from *Quantizer) *Quantizer {
	t.Helper()
	q, lists, err := Train(context.Background(), schemas.Cosine, x, len(x)/renewDim, renewDim, Options{NList: nlist, Dims: 16, Seed: 1, Level: fastest(t), From: from})
	if err != nil {
		t.Fatal(err)
	}
	if len(lists) != len(x)/renewDim || int(slices.Max(lists)) >= q.NList() {
		t.Fatalf("%d lists of rows, up to %d of %d", len(lists), slices.Max(lists), q.NList())
	}
	return q
}

// Renewed lists are about as good as lists that are learnt of all, whatever happened to the rows.
func TestRenewFollowsTheRows(t *testing.T) {
	const n = 40_000
	half := func(x []float32) []float32 { return x[:len(x)/2] }
	skewed := slices.Concat(mixture(n*4/5, 0, 20, 5), mixture(n/5, 0, 2000, 6))
	same := slices.Concat(mixture(n*7/10, 0, 2000, 5), slices.Repeat(mixture(1, 7, 8, 9), n*3/10))
	for _, tt := range []struct {
		name  string
		rows  []float32
		nlist int
	}{
		{"nothing", mixture(n, 0, 2000, 5), 800},
		{"half of the topics are others", mixture(n, 1000, 3000, 5), 800},
		{"all topics are others", mixture(n, 2000, 4000, 5), 800},
		{"most rows come to few lists", skewed, 800},
		{"a third of the rows are one", same, 800},
		{"four times the rows", mixture(n, 0, 2000, 5), 1600},
		{"a tenth of the rows", mixture(n/4, 0, 2000, 5), 250},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old := learn(t, mixture(n, 0, 2000, 3), 800, nil)
			r := rand.New(rand.NewPCG(1, 2))
			r.Shuffle(len(tt.rows)/renewDim, func(i, j int) {
				for d := range renewDim {
					tt.rows[i*renewDim+d], tt.rows[j*renewDim+d] = tt.rows[j*renewDim+d], tt.rows[i*renewDim+d]
				}
			})
			fresh := learn(t, tt.rows, tt.nlist, nil)
			renewed := learn(t, half(tt.rows), tt.nlist, old)
			want, _ := left(t, fresh, tt.rows)
			got, rows := left(t, renewed, tt.rows)
			stale, _ := left(t, old, tt.rows)
			mean := float64(len(tt.rows)/renewDim) / float64(renewed.NList())
			t.Logf("%d lists leave %.3f, longest %.1f of the mean; %d learnt ones %.3f, old ones %.3f",
				renewed.NList(), got, float64(slices.Max(rows))/mean, fresh.NList(), want, stale)
			if got > 1.06*want {
				t.Errorf("renewed lists leave %.3f, learnt ones %.3f", got, want)
			}
			if tt.name == "a third of the rows are one" {
				*slices.MinFunc(pointers(rows), func(a, b *int) int { return *b - *a }) = 0 // equal rows stay together
			}
			if longest := float64(slices.Max(rows)); longest > 4*mean {
				t.Errorf("a list has %.0f rows, the mean is %.1f", longest, mean)
			}
			if f := float64(renewed.NList()) / float64(tt.nlist); tt.name != "a third of the rows are one" && (f < 0.75 || f > 1.25) {
				t.Errorf("%d lists, want about %d", renewed.NList(), tt.nlist)
			}
		})
	}
}

func pointers(of []int) (p []*int) {
	for i := range of {
		p = append(p, &of[i])
	}
	return p
}

func TestRenewOfHardlyAnything(t *testing.T) {
	old := learn(t, mixture(8000, 0, 500, 1), 600, nil)
	for _, n := range []int{1, 2, 40} {
		q := learn(t, mixture(n, 3000, 4000, 1), 600, old)
		if q.NList() > n {
			t.Errorf("%d lists of %d rows", q.NList(), n)
		}
	}
	if q := learn(t, make([]float32, 50*renewDim), 600, old); q.NList() != 1 {
		t.Errorf("%d lists of zeros", q.NList())
	}
}

func TestRenewDoesNotDependOnThreads(t *testing.T) {
	x := mixture(12_000, 0, 1000, 1)
	old := learn(t, x, 600, nil)
	moved := mixture(12_000, 500, 1500, 2)
	var want []float32
	for _, threads := range []int{1, 3} {
		q, _, err := Train(t.Context(), schemas.Cosine, moved, 12_000, renewDim, Options{NList: 700, Dims: 16, Seed: 1, Level: fastest(t), Threads: threads, From: old})
		if err != nil {
			t.Fatal(err)
		}
		if want != nil && !slices.Equal(want, q.Centroids()) {
			t.Error("three threads make other lists than one")
		}
		want = q.Centroids()
	}
}

func TestRenewRefuses(t *testing.T) {
	old := learn(t, mixture(1000, 0, 100, 1), 30, nil)
	for _, tt := range []struct {
		metric schemas.Metric
		dims   int
	}{{schemas.InnerProduct, 16}, {schemas.Cosine, 8}} {
		_, _, err := Train(t.Context(), tt.metric, mixture(100, 0, 9, 1), 100, renewDim, Options{NList: 5, Dims: tt.dims, From: old})
		if err == nil || !strings.Contains(err.Error(), "from: lists by cosine on 16 of 32") {
			t.Errorf("%s, %d dimensions: %v", tt.metric, tt.dims, err)
		}
	}
}
