package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
)

// k is how many neighbours are asked for.
const k = dataset.K

// vectors are what ids of a runbook name, of unit length.
type vectors struct {
	n, dim int
	rows   []float32 // [n][dim]
	level  avx.Level
}

// spread takes n rows of a data set, evenly spread over it.
func spread(set *dataset.Set, n int) (*vectors, error) {
	if n < 1 || n > set.N {
		return nil, fmt.Errorf("--rows %d, allowed: 1 to %d, the rows of %s", n, set.N, set.Name)
	}
	level, err := avx.Best()
	if err != nil {
		return nil, err
	}
	v := &vectors{n: n, dim: set.Dim, level: level, rows: make([]float32, 0, n*set.Dim)}
	for i := range n {
		from := i * set.N / n * set.Dim
		v.rows = append(v.rows, set.Base[from:from+set.Dim]...)
	}
	return v, nil
}

func (v *vectors) row(i int) []float32 { return v.rows[i*v.dim : (i+1)*v.dim] }

// order puts the vectors into an order, a permutation.
func (v *vectors) order(of []int) {
	rows := make([]float32, 0, len(v.rows))
	for _, i := range of {
		rows = append(rows, v.row(i)...)
	}
	v.rows = rows
}

func writeFloats(name string, x []float32) error {
	return os.WriteFile(name, unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)), 0o600)
}

// truth is the exact answers of each search of a runbook: the tags of the k nearest live rows of each query.
func truth(ctx context.Context, r *runbook, v *vectors, queries []float32) ([][][]int32, error) {
	live := newRows(v.n)
	var all [][][]int32
	for i := range r.Steps {
		if err := live.apply(&r.Steps[i]); err != nil {
			return nil, err
		}
		if r.Steps[i].Operation == opSearch {
			answers, err := nearest(ctx, live, v, queries)
			if err != nil {
				return nil, err
			}
			all = append(all, answers)
		}
	}
	return all, nil
}

// near is a tag and how near its row is.
type near struct {
	tag   int32
	score float32
}

func nearest(ctx context.Context, live *rows, v *vectors, queries []float32) ([][]int32, error) {
	const block = 1024 // rows that stay in cache for all queries
	tags, gathered := make([]int32, 0, live.count), make([]float32, 0, live.count*v.dim)
	for tag, id := range live.vector {
		if id >= 0 {
			tags = append(tags, int32(tag))
			gathered = append(gathered, v.row(int(id))...)
		}
	}
	answers := make([][]int32, len(queries)/v.dim)
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			scores := make([]float32, block)
			tops := make([][]near, len(answers))
			for from := 0; from < len(tags) && ctx.Err() == nil; from += block {
				part := tags[from:min(from+block, len(tags))]
				for q := w; q < len(answers); q += workers {
					avx.DotRows(v.level, queries[q*v.dim:(q+1)*v.dim], gathered[from*v.dim:(from+len(part))*v.dim], v.dim, scores[:len(part)])
					tops[q] = best(tops[q], part, scores)
				}
			}
			for q := w; q < len(answers); q += workers {
				for _, t := range tops[q] {
					answers[q] = append(answers[q], t.tag)
				}
			}
			return ctx.Err()
		})
	}
	return answers, g.Wait()
}

// best is the k best of top, which is sorted, and of more rows, sorted; of equal ones those of the lower tag.
func best(top []near, tags []int32, scores []float32) []near {
	for i, tag := range tags {
		n := near{tag, scores[i]}
		if len(top) == k && n.score <= top[k-1].score {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, n, func(a, b near) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.tag, b.tag)) })
		top = slices.Insert(top, at, n)
		top = top[:min(k, len(top))]
	}
	return top
}

// recall is the share of true neighbours among the tags found, [queries][k] with -1 for none.
func recall(truth [][]int32, found []int32) float64 {
	hits, wanted := 0, 0
	for q, want := range truth {
		wanted += len(want)
		for _, tag := range found[q*k : (q+1)*k] {
			if slices.Contains(want, tag) {
				hits++
			}
		}
	}
	return float64(hits) / float64(wanted)
}
