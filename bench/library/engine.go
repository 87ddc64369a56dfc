package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
)

const k = dataset.K // neighbours that are asked for

// engine is a generation in memory with its searcher.
type engine struct {
	set      *dataset.Set
	level    avx.Level
	snap     *snapshot.Snapshot
	searcher *search.Searcher
	settings []search.Plan
	found    []int32 // [Queries][k] rows of the base
	built    *bulk.Built
	bytes    int64 // of the files that serving keeps in memory
}

// build makes a generation in memory.
func build(ctx context.Context, o options, level avx.Level, set *dataset.Set) (*engine, error) {
	spec := set.Spec()
	spec.ListsPerRow = o.Lists
	if o.Prefix != "" {
		spec.Prefix = o.Prefix
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	e := &engine{set: set, level: level, found: make([]int32, set.Queries*k), searcher: search.New(level)}
	how := bulk.Options{Level: level, Threads: o.Threads, NList: o.NList, CoarseDims: o.CoarseDims}
	var err error
	if e.snap, e.built, e.bytes, err = bulk.Open(ctx, spec, set.Base, set.N, how); err != nil {
		return nil, err
	}
	e.settings = set.Settings(e.built.Model.NList())
	return e, nil
}

func (e *engine) ready() dataset.Ready {
	return e.set.NewReady(fmt.Sprintf("Adastream, %d lists, a row in %d", e.built.Model.NList(), e.snap.Spec().ListsPerRow), e.level.String(), e.built, e.bytes, e.settings)
}

// run answers the first queries by a plan and returns the rows, [queries][k].
func (e *engine) run(ctx context.Context, p search.Plan, queries int, batched bool) ([]int32, time.Duration, error) {
	hits := make([][]search.Hit, queries)
	room := make([]search.Hit, queries*k)
	for q := range hits {
		hits[q] = room[q*k : q*k : (q+1)*k]
	}
	started := time.Now()
	if batched {
		if _, _, err := e.searcher.SearchBatch(ctx, e.snap, e.set.Vectors[:queries*e.set.Dim], k, p, hits); err != nil {
			return nil, 0, err
		}
	} else {
		for q := range hits {
			var err error
			if hits[q], _, err = e.searcher.Search(ctx, e.snap, e.set.Query(q), k, p, hits[q]); err != nil {
				return nil, 0, err
			}
		}
	}
	took := time.Since(started)
	for q, list := range hits {
		for i := range k {
			row := -1
			if i < len(list) {
				var err error
				if row, err = strconv.Atoi(e.snap.Parts()[list[i].Part].IDAt(list[i].Row)); err != nil {
					return nil, 0, err
				}
			}
			e.found[q*k+i] = int32(row)
		}
	}
	return e.found[:queries*k], took, nil
}

// table prints what every setting gives.
func (e *engine) table(ctx context.Context, o options) error {
	r := e.ready()
	fmt.Printf("%s, %s: train %.1f s, add %.1f s, %.0f bytes a vector, coarse dims %d\n", r.Engine, r.Version, r.TrainSeconds,
		r.AddSeconds, r.BytesPerVector, e.snap.Model().CoarseDims())
	if o.Profile != "" {
		f, err := os.Create(o.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	queries := min(o.Queries, e.set.Queries)
	for _, p := range e.settings {
		if o.Only != 0 && p.NProbe != o.Only {
			continue
		}
		n := queries
		if p.Exact {
			n = min(n, 100)
		}
		var recall float64
		best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
		for range o.Repeat {
			for i, form := range []string{"single", "batched"} {
				var found []int32
				var took time.Duration
				var err error
				pprof.Do(ctx, pprof.Labels("form", form), func(ctx context.Context) { found, took, err = e.run(ctx, p, n, form == "batched") })
				if err != nil {
					return err
				}
				best[i] = min(best[i], took)
				if form == "single" {
					recall = e.set.Recall(found, n)
				}
			}
		}
		fmt.Printf("%-26s recall %.4f  %8.0f queries/s  %8.0f batched\n", dataset.Describe(p), recall, float64(n)/best[0].Seconds(), float64(n)/best[1].Seconds())
	}
	return nil
}
