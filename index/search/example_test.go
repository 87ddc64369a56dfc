package search_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

// A plan looks into a few of the lists of a generation; exact compares every row.
func Example() {
	ctx := context.Background()
	spec := schemas.Spec{Name: "points", Ladder: []int{16, 32}, Encoder: "e/1", Topic: schemas.Topic{Name: "points", Partitions: 1}}.WithDefaults()
	const n = 4000
	rng := rand.New(rand.NewPCG(1, 2))
	vectors := make([]float32, n*spec.Dim())
	for i := range vectors {
		vectors[i] = float32(rng.NormFloat64())
	}
	for i := range n {
		row := vectors[i*spec.Dim():][:spec.Dim()]
		mrl.Normalize(avx.Generic, row, row)
	}
	snap, _, _, err := bulk.Open(ctx, &spec, vectors, n, bulk.Options{Level: avx.Generic, Threads: 1, NList: 64, CoarseDims: 32})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer snap.Close()

	searcher := search.New(avx.Generic)
	query := vectors[42*spec.Dim():][:spec.Dim()]
	for _, plan := range []search.Plan{{NProbe: 4, ScanDims: 32, Refine: 20}, {Exact: true}} {
		hits, usage, err := searcher.Search(ctx, snap, query, 3, plan, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		hit := hits[0]
		fmt.Printf("row %s scores %.2f: %d lists probed, %d rows scored\n", snap.Parts()[hit.Part].IDAt(hit.Row), hit.Score, usage.Lists, usage.Refined)
	}
	_, _, err = searcher.Search(ctx, snap, query[:16], 3, search.Plan{Exact: true}, nil)
	fmt.Println(err)
	// Output:
	// row 42 scores 1.00: 4 lists probed, 19 rows scored
	// row 42 scores 1.00: 0 lists probed, 4000 rows scored
	// vector: 16 values, allowed: 32 values
}
