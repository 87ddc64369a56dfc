package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/kmeans"
)

// kinds are the runbooks that can be generated, each after one of big-ann-benchmarks.
var kinds = []string{"sliding", "clustered", "replace"}

const (
	clusters = 16
	rounds   = 3 // of a clustered runbook
)

// generate makes a runbook of a kind over the vectors, and orders them as its ids are.
//
//	sliding    half of the rows come, then batches of 1/40 of them come as the oldest go: msturing-10M_slidingwindow
//	clustered  in rounds a part of each cluster comes, then more than half of what is there of each goes: final_runbook
//	replace    more than half of each cluster comes, then rows of it become rows of another cluster: random_replace
//
// Searches follow each change, from the first half, or the first round, on: there the settings are found that are compared.
func generate(ctx context.Context, kind string, v *vectors, seed uint64) (*runbook, error) {
	random := rand.New(rand.NewPCG(seed, 1))
	r := &runbook{Name: kind}
	if kind == "sliding" {
		v.order(random.Perm(v.n))
		r.slide(v.n)
	} else {
		bounds, err := v.cluster(ctx, seed, random)
		if err != nil {
			return nil, err
		}
		switch kind {
		case "clustered":
			r.churn(bounds, random)
		case "replace":
			r.replace(bounds, random)
		default:
			return nil, fmt.Errorf("runbook %q, allowed: %q", kind, kinds)
		}
	}
	live, most := newRows(v.n), 0
	for i := range r.Steps {
		if err := live.apply(&r.Steps[i]); err != nil {
			return nil, err
		}
		most = max(most, live.count)
	}
	r.MaxPts = most
	return r, r.check(v.n)
}

func (r *runbook) add(s ...step) { r.Steps = append(r.Steps, s...) }

func (r *runbook) slide(n int) {
	batch := n / 40
	for i := range 20 {
		r.add(step{Operation: opInsert, Start: i * batch, End: (i + 1) * batch})
	}
	r.add(step{Operation: opSearch})
	for i := range 20 {
		oldest, next := i*batch, (20+i)*batch
		r.add(step{Operation: opDelete, Start: oldest, End: oldest + batch}, step{Operation: opInsert, Start: next, End: next + batch}, step{Operation: opSearch})
	}
}

// churn inserts a share of each cluster in each round, most of it in one of them, and then deletes 50 to 90 % of what is there.
func (r *runbook) churn(bounds []int, random *rand.Rand) {
	inserted, deleted := slices.Clone(bounds[:clusters]), slices.Clone(bounds[:clusters])
	shares := make([][]float64, clusters)
	for c := range shares {
		shares[c] = []float64{0.6, 0.25, 0.15}
		random.Shuffle(rounds, func(i, j int) { shares[c][i], shares[c][j] = shares[c][j], shares[c][i] })
	}
	for round := range rounds {
		for c := range clusters {
			end := inserted[c] + int(float64(bounds[c+1]-bounds[c])*shares[c][round])
			r.add(step{Operation: opInsert, Start: inserted[c], End: end})
			inserted[c] = end
			if round > 0 && c%4 == 3 || c == clusters-1 {
				r.add(step{Operation: opSearch})
			}
		}
		for c := range clusters {
			end := deleted[c] + int((0.5+0.4*random.Float64())*float64(inserted[c]-deleted[c]))
			r.add(step{Operation: opDelete, Start: deleted[c], End: end})
			deleted[c] = end
			if c%4 == 3 {
				r.add(step{Operation: opSearch})
			}
		}
	}
}

// replace inserts 50 to 70 % of each cluster, and then gives tags of each to rows of another that have not come yet.
func (r *runbook) replace(bounds []int, random *rand.Rand) {
	inserted := make([]int, clusters)
	for c := range clusters {
		inserted[c] = bounds[c] + int((0.5+0.2*random.Float64())*float64(bounds[c+1]-bounds[c]))
		r.add(step{Operation: opInsert, Start: bounds[c], End: inserted[c]})
	}
	r.add(step{Operation: opSearch})
	for c, other := range random.Perm(clusters) {
		n := min(inserted[c]-bounds[c], bounds[other+1]-inserted[other])
		r.add(step{Operation: opReplace, TagsStart: bounds[c], TagsEnd: bounds[c] + n, IDsStart: inserted[other], IDsEnd: inserted[other] + n}, step{Operation: opSearch})
	}
}

// cluster orders the vectors by cluster, at random within each, and returns where clusters begin.
func (v *vectors) cluster(ctx context.Context, seed uint64, random *rand.Rand) (bounds []int, err error) {
	centroids, err := kmeans.Train(ctx, v.rows, v.n, v.dim, v.dim, kmeans.Options{K: clusters, Seed: seed, Spherical: true, Level: v.level})
	if err != nil {
		return nil, err
	}
	members := make([][]int, clusters)
	scores := make([]float32, clusters)
	for _, i := range random.Perm(v.n) {
		avx.DotRows(v.level, v.row(i), centroids, v.dim, scores)
		best := slices.Index(scores, slices.Max(scores))
		members[best] = append(members[best], i)
	}
	bounds = []int{0}
	var order []int
	for _, m := range members {
		if len(m) < 10 {
			return nil, fmt.Errorf("a cluster has %d rows, allowed: 10 and more; take more rows", len(m))
		}
		order = append(order, m...)
		bounds = append(bounds, len(order))
	}
	v.order(order)
	return bounds, nil
}
