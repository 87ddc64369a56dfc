package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/embedded"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// A message becomes a commit: good rows in a segment, a row without direction in quarantine.
func Example() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := example(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// offsets [0, 1): 2 rows, refused map[zero_vector:1]
}

func example(ctx context.Context) (err error) {
	broker, err := embedded.Start(embedded.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	client, err := source.New(source.Options{Brokers: []string{broker.Addr()}, Topic: "colours"})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.CreateTopic(ctx, 1, 1, nil); err != nil {
		return err
	}
	bucket := store.NewMemory()
	spec := schemas.Spec{Name: "colours", Ladder: []int{4}, Encoder: "rgb/1", Topic: schemas.Topic{Name: "colours", Partitions: 1}}.WithDefaults()
	if err := commit.Create(ctx, bucket, &spec); err != nil {
		return err
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		return err
	}
	if err := send(ctx, client, `[{"id":"red","vector":[1,0,0,0]},{"id":"green","vector":[0,2,0,0]},{"id":"black","vector":[0,0,0,0]}]`); err != nil {
		return err
	}

	ingestor, err := ingest.New(ingest.Options{Shards: []*commit.Log{log}, Source: client, Group: "example", Level: avx.Generic})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- ingestor.Run(running) }()

	c, err := first(ctx, log)
	stop()
	if err != nil {
		return err
	}
	fmt.Printf("offsets [%d, %d): %d rows, refused %v\n", c.Start, c.End, c.Rows, c.Quarantined)
	return <-ended
}

// send produces rows as one message.
func send(ctx context.Context, client *source.Client, rows string) error {
	encoder := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{"rgb/1"})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "vector", Type: arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Float32)},
	}, &encoder)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		return err
	}
	producer := client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	_, err = produce.Batch(ctx, producer, produce.Topic{Partitions: 1}, batch)
	return err
}

// first waits for the first commit.
func first(ctx context.Context, log *commit.Log) (*schemas.Commit, error) {
	for {
		commits, err := log.Since(ctx, 0, 0, 1)
		if err != nil {
			return nil, err
		}
		if len(commits) > 0 {
			return commits[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
