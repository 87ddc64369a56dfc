package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	tripID    = "adastream-doctor" // always the same, so that a row that was left over is replaced, and deleted, by the next run
	tripHits  = 10
	tripLook  = 50 * time.Millisecond // pause between two looks at the store
	tripLeave = 10 * time.Second      // for sending the delete after a fault
)

// trip sends a row of its own through topic, store and query node and takes it out again, or only asks for what is there.
type trip struct {
	done   *checkup
	index  *commit.Log    // that is served: of the epoch, if there is one
	topic  *source.Client // of the index; nil sends nothing
	node   *client.Client // nil asks none
	within time.Duration
	vector []float32 // of the row
}

// trip goes on it, if the flags ask for that, with the index that now, the newest record of the channel, says is served.
func (c *doctorCommand) trip(ctx context.Context, done *checkup, index *commit.Log, now *schemas.Channel, log *slog.Logger) error {
	if !c.Produce && !c.Search {
		return nil
	}
	t := &trip{done: done, index: index, within: c.Within, vector: tripVector(index.Spec().Dim())}
	if now != nil {
		to, err := index.Resolve(ctx, now)
		if err == nil && c.Produce && c.Search && (now.Pinned || to.Own.Pinned) {
			err = fmt.Errorf("%s is pinned, so no new row will be served: unpin it with `adastream snapshot unpin`, or leave out --produce or --search", to)
		}
		if err != nil {
			done.check("channel", err, "")
			return nil
		}
		t.index, t.vector = to.Index, tripVector(to.Index.Spec().Dim())
	}
	if c.Search {
		var err error
		if t.node, err = c.Node.Client(); err != nil {
			return err
		}
	}
	if c.Produce {
		spec := t.index.Spec()
		topic, err := c.Kafka.Client(spec.Topic.Name, log)
		if err != nil {
			return err
		}
		defer topic.Close()
		if _, err := compareTopic(ctx, topic, spec); err != nil {
			done.check("row is sent", fmt.Errorf("topic %s does not match the index: %w", spec.Topic.Name, err), "")
			return nil
		}
		t.topic = topic
	}
	t.run(ctx)
	return nil
}

func (t *trip) run(ctx context.Context) {
	if t.node != nil {
		about, err := t.sameIndex(ctx)
		if !t.done.check("node serves the index", err, about) {
			return
		}
	}
	if t.topic == nil {
		began := time.Now()
		text, err := t.searchAny(ctx)
		t.done.timed("search", err, text, began)
		return
	}
	if err := t.lengthen(ctx); err != nil {
		t.done.check("row is sent", err, "")
		return
	}
	sent := time.Now()
	end, text, err := t.send(ctx, "")
	if !t.done.timed("row is sent", err, text, sent) {
		return
	}
	sent = time.Now() // acknowledged: from here on it is the index's to make it searchable
	arrived := t.arrive(ctx, end, sent)
	t.leave(ctx, arrived)
}

// sameIndex fails if the node is of another index than the store.
func (t *trip) sameIndex(ctx context.Context) (string, error) {
	spec := t.index.Spec()
	var i *client.Index
	err := cli.Patiently(ctx, func(ctx context.Context) (err error) { i, err = t.node.Index(ctx); return err })
	if err != nil {
		return "", fmt.Errorf("%w: is --url the address of a query node's API?", err)
	}
	if i.Name != spec.Name || i.Spec.Topic != spec.Topic || i.Spec.Encoder != spec.Encoder {
		return "", fmt.Errorf("it serves %s of topic %s and encoder %s, the store has %s of topic %s and encoder %s: --url and --store do not match",
			i.Name, i.Spec.Topic.Name, i.Spec.Encoder, spec.Name, spec.Topic.Name, spec.Encoder)
	}
	return fmt.Sprintf("%s, %d dimensions", i.Name, i.Dims), nil
}

// lengthen makes the vector so long that no row has a larger inner product with it than it has itself.
func (t *trip) lengthen(ctx context.Context) error {
	if t.node == nil || t.index.Spec().Metric != schemas.InnerProduct {
		return nil
	}
	a, err := t.node.Search(ctx, client.Query{Vector: t.vector, How: client.How{K: 1}})
	if p := (*client.Problem)(nil); errors.As(err, &p) && p.Code == "not_ready" || err == nil && len(a.Hits) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range t.vector {
		t.vector[i] *= 2 * max(1, a.Hits[0].Score)
	}
	return nil
}

// end is an offset: everything before it has to be there.
type end struct {
	partition int
	offset    int64
}

// send sends the row, or its delete, and returns the end of the log after it.
func (t *trip) send(ctx context.Context, op string) (end, string, error) {
	spec := t.index.Spec()
	at := end{partition: tripPartition(spec)}
	producer := t.topic.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	messages, err := tripMessages(ctx, spec, op, t.vector)
	if err != nil {
		return at, "", err
	}
	if err := producer.Send(ctx, messages...); err != nil {
		return at, "", fmt.Errorf("%w: this needs the right to write to topic %s", err, spec.Topic.Name)
	}
	bounds, err := t.topic.Bounds(ctx, at.partition)
	if err != nil {
		return at, "", err
	}
	at.offset = bounds.End
	return at, fmt.Sprintf("%s, before offset %d of partition %d", tripID, at.offset, at.partition), nil
}

// tripPartition is where the row belongs.
func tripPartition(spec *schemas.Spec) int { return source.PartitionOf(tripID, spec.Topic.Partitions) }

// tripVector is of unit length, and as far from the rows of an index as a random one is.
func tripVector(dim int) []float32 {
	rng := rand.New(rand.NewPCG(8, 8))
	v, squares := make([]float32, dim), 0.0
	for i := range v {
		x := rng.NormFloat64()
		v[i], squares = float32(x), squares+x*x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(squares))
	}
	return v
}

// tripMessages are the row, or its delete, as the messages of the index are.
func tripMessages(ctx context.Context, spec *schemas.Spec, op string, vector []float32) ([]source.Message, error) {
	if !spec.ReadsArrow() {
		m, err := produce.Single(spec, tripID, vector, op == schemas.OpDelete)
		return []source.Message{m}, err
	}
	row := tripRow(spec, op, vector)
	defer row.Release()
	return produce.Messages(ctx, produce.Topic{Partitions: spec.Topic.Partitions}, row)
}

// tripRow has no attributes: they are null.
func tripRow(spec *schemas.Spec, op string, vector []float32) arrow.RecordBatch {
	encoder := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: spec.Encoder})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: schemas.ColumnID, Type: arrow.BinaryTypes.String},
		{Name: schemas.ColumnOp, Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: schemas.ColumnVector, Type: arrow.FixedSizeListOf(int32(spec.Dim()), arrow.PrimitiveTypes.Float32)},
	}, &encoder))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(tripID)
	if op == "" {
		b.Field(1).AppendNull()
	} else {
		b.Field(1).(*array.StringBuilder).Append(op)
	}
	list := b.Field(2).(*array.FixedSizeListBuilder)
	list.Append(true)
	list.ValueBuilder().(*array.Float32Builder).AppendValues(vector, nil)
	return b.NewRecordBatch()
}

// arrive follows the row until it is found, or as far as it gets.
func (t *trip) arrive(ctx context.Context, at end, sent time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, t.within)
	defer cancel()
	text, err := t.committed(ctx, at)
	if !t.done.timed("row is committed", err, text, sent) {
		return false
	}
	text, err = t.published(ctx, at)
	if !t.done.timed("row is in a generation", err, text, sent) || t.node == nil {
		return err == nil
	}
	text, err = t.searchable(ctx, at)
	return t.done.timed("row is searchable", err, text, sent)
}

// until looks until there is something, an error, or no time left: then the error says what is missing, and why there is no
// answer if that was so.
func (t *trip) until(ctx context.Context, missing string, look func() (string, error)) (string, error) {
	var last error
	for {
		text, err := look()
		switch {
		case err == nil && text != "":
			return text, nil
		case err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrTransient):
			return "", err
		case ctx.Err() == nil:
			last = err
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("not done within %v (--within): %s", t.within, missing)
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = ctx.Err()
			}
			if last != nil {
				err = fmt.Errorf("%w: %w", err, last)
			}
			return "", err
		case <-time.After(tripLook):
		}
	}
}

func (t *trip) committed(ctx context.Context, at end) (string, error) {
	return t.until(ctx, "is an ingestor running, and what does its /readyz say?", func() (string, error) {
		head, err := t.index.Head(ctx, at.partition, 0)
		if err != nil || head.Next < at.offset {
			return "", err
		}
		return fmt.Sprintf("up to offset %d", head.Next), nil
	})
}

func (t *trip) published(ctx context.Context, at end) (string, error) {
	return t.until(ctx, "is a builder running, and what does its /readyz say?", func() (string, error) {
		m, err := t.index.LatestRecord(ctx, 0)
		if err != nil || m == nil || m.Checkpoint[strconv.Itoa(at.partition)] < at.offset {
			return "", err
		}
		return strconv.FormatInt(m.Generation, 10), nil
	})
}

// searchable waits for the node to serve the row, and then wants it found.
func (t *trip) searchable(ctx context.Context, at end) (string, error) {
	q := client.Query{Vector: t.vector, How: client.How{K: 1, Freshness: at.freshness()}}
	var a *client.Answer
	text, err := t.until(ctx, "does the query node follow the channel, and what does its /readyz say?", func() (_ string, err error) {
		if a, err = t.node.Search(ctx, q); err != nil {
			return "", notYet(err)
		}
		return fmt.Sprintf("generation %d, found first", a.Snapshot.Generation), nil
	})
	if err != nil {
		return "", t.whyNotServed(ctx, err)
	}
	if len(a.Hits) > 0 && a.Hits[0].ID == tripID {
		return text, nil
	}
	return "", fmt.Errorf("generation %d has offset %d, but a search with the vector of the row does not find it first: see in `adastream quarantine ls` whether it was refused, and in `adastream snapshot show` the quality of the index",
		a.Snapshot.Generation, at.offset)
}

func (at end) freshness() client.Freshness {
	return client.Freshness{MinOffsets: map[string]int64{strconv.Itoa(at.partition): at.offset}}
}

// notYet makes an error that time may mend a transient one: an older generation, or no answer.
func notYet(err error) error {
	if p := (*client.Problem)(nil); errors.As(err, &p) && p.Code != "not_fresh" && p.Status < 500 {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrTransient, err)
}

// whyNotServed adds to err that the newest generation is held back, which no node can know.
func (t *trip) whyNotServed(ctx context.Context, err error) error {
	m, failed := t.index.LatestRecord(context.WithoutCancel(ctx), 0)
	if failed != nil || m == nil || m.Quality == nil || m.Quality.Promoted {
		return err
	}
	return fmt.Errorf("%w: generation %d is held back: %s", err, m.Generation, m.Quality.Reason)
}

// leave deletes the row again, also if it did not arrive: then it is deleted when it does.
func (t *trip) leave(ctx context.Context, arrived bool) {
	const stays = "%w: the row " + tripID + " stays in the index until doctor --produce runs again"
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripLeave)
	defer cancel()
	sent := time.Now()
	at, _, err := t.send(sending, schemas.OpDelete)
	if err != nil {
		t.done.timed("row is deleted", fmt.Errorf(stays, err), "", sent)
		return
	}
	if !arrived || t.node == nil {
		t.done.timed("row is deleted", nil, "the delete is sent", sent)
		return
	}
	ctx, cancel = context.WithTimeout(ctx, t.within)
	defer cancel()
	text, err := t.until(ctx, "the delete is sent, but the query node still has the row", func() (string, error) {
		found, err := t.node.Vectors(ctx, client.VectorsRequest{IDs: []string{tripID}, Freshness: at.freshness()})
		switch {
		case err != nil:
			return "", notYet(err)
		case len(found.Missing) != 1:
			return "", fmt.Errorf("generation %d has offset %d, but still has the row: is another doctor running?", found.Snapshot.Generation, at.offset)
		}
		return fmt.Sprintf("generation %d", found.Snapshot.Generation), nil
	})
	t.done.timed("row is deleted", err, text, sent)
}

// searchAny wants as many hits as there can be, and one of them found by its own vector.
func (t *trip) searchAny(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.within)
	defer cancel()
	a, err := t.node.Search(ctx, client.Query{Vector: t.vector, How: client.How{K: tripHits}})
	if err != nil {
		return "", err
	}
	if most := min(tripHits, a.Snapshot.LiveRows); int64(len(a.Hits)) != most {
		return "", fmt.Errorf("%d hits from %d rows, expected %d", len(a.Hits), a.Snapshot.LiveRows, most)
	}
	text := fmt.Sprintf("generation %d, %d hits of %d rows", a.Snapshot.Generation, len(a.Hits), a.Snapshot.LiveRows)
	if len(a.Hits) == 0 || t.index.Spec().Metric == schemas.InnerProduct { // where a row need not be its own best
		return text, nil
	}
	id := a.Hits[0].ID
	found, err := t.node.Vectors(ctx, client.VectorsRequest{IDs: []string{id}, IncludeVector: true})
	if err != nil {
		return "", err
	}
	if len(found.Vectors) == 0 {
		return text + ", the first one deleted meanwhile", nil
	}
	if a, err = t.node.Search(ctx, client.Query{Vector: found.Vectors[0].Vector, How: client.How{K: 1}}); err != nil {
		return "", err
	}
	// Another row may have the same vector, but none a worse one.
	if len(a.Hits) != 1 || a.Hits[0].Score < 0.99 {
		return "", fmt.Errorf("row %s is not found by its own vector: %+v: see in `adastream snapshot show` the quality of the index", id, a.Hits)
	}
	return text + ", a row found by its own vector", nil
}
