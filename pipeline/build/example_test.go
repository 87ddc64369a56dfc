package build_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// A builder folds what is committed, here by hand as ingestors do, into generations, and has queries follow them.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := example(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// served: 2 rows, the log up to offset 9
}

func example(ctx context.Context) error {
	log, err := colours(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cache, err := store.NewCache(dir, log.Bucket(), store.CacheOptions{})
	if err != nil {
		return err
	}
	builder, err := build.New(build.Options{Log: log, Cache: cache, Level: avx.Generic})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- builder.Run(running) }()

	m, err := served(ctx, log)
	stop()
	if err != nil {
		return err
	}
	fmt.Printf("served: %d rows, the log up to offset %d\n", m.LiveRows, m.Checkpoint["0"])
	return <-ended
}

// served waits for a generation that has rows and that queries follow.
func served(ctx context.Context, log *commit.Log) (*schemas.Manifest, error) {
	for {
		channel, err := log.Channel(ctx, 0)
		if err != nil {
			return nil, err
		}
		if channel != nil {
			if m, err := log.Manifest(ctx, channel.Generation); err != nil || m.LiveRows > 0 {
				return m, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// colours is an index with a commit of two rows.
func colours(ctx context.Context) (*commit.Log, error) {
	bucket := store.NewMemory()
	spec := schemas.Spec{Name: "colours", Ladder: []int{4}, Encoder: "rgb/1", Topic: schemas.Topic{Name: "colours", Partitions: 1}}.WithDefaults()
	if err := commit.Create(ctx, bucket, &spec); err != nil {
		return nil, err
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		return nil, err
	}
	rows := segment.NewRows(&spec)
	rows.IDs = append(rows.IDs, "red", "green")
	rows.Orders = append(rows.Orders, segment.Order{Offset: 7}, segment.Order{Offset: 8})
	rows.AppendFloats(avx.Generic, []float32{
		1, 0, 0, 0,
		0, 2, 0, 0,
	})
	body, err := segment.Write(&spec, nil, avx.Generic, rows)
	if err != nil {
		return nil, err
	}
	object, err := log.PutSegment(ctx, 0, 0, body)
	if err != nil {
		return nil, err
	}
	return log, log.Append(ctx, &schemas.Commit{Format: schemas.CommitFormat, Start: 0, End: 9, Segment: &object, Rows: 2, Writer: "by hand"})
}
