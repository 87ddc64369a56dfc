package commit_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Two ingestors believe that they own partition 0. One is told who was first, and goes on from there; a builder makes
// a generation of what they did, and lets queries follow it.
func Example() {
	ctx, bucket := context.Background(), store.NewMemory()
	spec := schemas.Spec{Name: "words", Ladder: []int{64, 128}, Encoder: "mini 2", Topic: schemas.Topic{Name: "embeddings", Partitions: 1}}.WithDefaults()
	if err := commit.Create(ctx, bucket, &spec); err != nil {
		fmt.Println(err)
		return
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		fmt.Println(err)
		return
	}

	record := func(writer string, start, end int64) *schemas.Commit {
		return &schemas.Commit{Format: schemas.CommitFormat, Start: start, End: end, Writer: writer}
	}
	fmt.Println(log.Append(ctx, record("first", 0, 100)))
	var conflict *commit.Conflict
	if err := log.Append(ctx, record("second", 0, 80)); errors.As(err, &conflict) {
		fmt.Println(err)
		fmt.Println(log.Append(ctx, record("second", conflict.Theirs.End, 180)))
	}

	checkpoint := map[string]int64{"0": 0}
	commits, err := log.Since(ctx, 0, checkpoint["0"], 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range commits {
		checkpoint["0"] = c.End
	}
	fmt.Println(log.Publish(ctx, &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "b", Checkpoint: checkpoint}))
	promotion, err := log.Promote(ctx, nil, schemas.Channel{Generation: 1, Reason: "built", By: "b"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("queries follow generation", promotion.Generation, "up to offset", checkpoint["0"])
	// Output:
	// <nil>
	// partition 0: writer first has committed [0, 100): fenced
	// <nil>
	// <nil>
	// queries follow generation 1 up to offset 180
}
