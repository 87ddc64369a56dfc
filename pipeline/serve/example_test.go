package serve_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// A node serves what the channel names: here a generation of one segment, published by hand as builders do.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := example(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// generation 1 of 2 rows: green 0.98
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
	node, err := serve.New(serve.Options{Log: log, Cache: cache, Level: avx.Generic})
	if err != nil {
		return err
	}
	defer node.Close()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }() // follows the channel
	defer func() {
		stop()
		<-ended
	}()
	server := httptest.NewServer(node.API())
	defer server.Close()

	c, err := client.New(server.URL, client.Options{Attempts: 10}) // the node is not ready at once
	if err != nil {
		return err
	}
	answer, err := c.Search(ctx, client.Query{Vector: []float32{0.2, 1, 0, 0}, How: client.How{K: 1}})
	if err != nil {
		return err
	}
	fmt.Printf("generation %d of %d rows: %s %.2f\n", answer.Snapshot.Generation, answer.Snapshot.LiveRows, answer.Hits[0].ID, answer.Hits[0].Score)
	return nil
}

// colours is an index that serves a generation of two rows.
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
	object, err := log.PutSegment(ctx, 0, 7, body)
	if err != nil {
		return nil, err
	}
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "by hand", Checkpoint: map[string]int64{"0": 9}, LiveRows: 2,
		Segments: []schemas.Segment{{ID: object.SHA256, Object: object, NumRows: 2}}}
	if err := log.Publish(ctx, m); err != nil {
		return nil, err
	}
	_, err = log.Promote(ctx, nil, schemas.Channel{Generation: 1, Reason: "an example", By: m.Builder})
	return log, err
}
