package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/schemas"
)

// truth is a fold of the topic with nothing of the product: franz-go reads it, Arrow's own reader decodes it, and of each
// id the version counts that is largest by docs/adr/0007-order-of-versions.md.
type truth struct {
	client   *kgo.Client
	topic    string
	next     [partitions]int64 // position
	ends     [partitions]int64 // after the last message
	newest   [partitions]int64 // largest timestamp so far, ms
	items    map[string]version
	serials  map[int64]bool // seen since the last check
	messages int64
	leaders  atomic.Int64 // elections of the topic's partitions, since it was made
}

// version is one of an item.
type version struct {
	version, timestamp int64
	partition          int32
	offset             int64
	row                int32
	deleted            bool
	vector             []float32
}

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.version, w.version), cmp.Compare(v.timestamp, w.timestamp), cmp.Compare(v.partition, w.partition),
		cmp.Compare(v.offset, w.offset), cmp.Compare(v.row, w.row))
}

func newTruth(brokers []string, topic string) (*truth, error) {
	t := &truth{topic: topic, items: map[string]version{}, serials: map[int64]bool{}}
	start := map[string]map[int32]kgo.Offset{topic: {}}
	for p := range int32(partitions) {
		start[topic][p] = kgo.NewOffset().At(0)
	}
	var err error
	// Markers of transactions tell how far a partition was read that ends with them.
	t.client, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(start), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	return t, err
}

// read folds up to the end of the topic, on which nobody writes.
func (t *truth) read(ctx context.Context) error {
	end, err := t.settledEnd(ctx)
	if err != nil {
		return err
	}
	for !t.reached(end) {
		fetches := t.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read topic to %v, at %v: %w", end, t.next, ctx.Err())
		}
		var fault error
		fetches.EachRecord(func(r *kgo.Record) { // errors are those of a broker that comes back
			t.next[r.Partition] = r.Offset + 1
			if fault == nil && !r.Attrs.IsControl() {
				fault = t.fold(r)
			}
		})
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (t *truth) reached(end [partitions]int64) bool {
	for p := range end {
		if t.next[p] < end[p] {
			return false
		}
	}
	return true
}

// settledEnd waits until no transaction is open, and returns where the partitions end.
func (t *truth) settledEnd(ctx context.Context) ([partitions]int64, error) {
	for {
		stable, err1 := t.listEnds(ctx, 1)
		all, err2 := t.listEnds(ctx, 0)
		if err := cmp.Or(err1, err2); err == nil && stable == all {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return all, fmt.Errorf("ends of the topic: committed %v of %v (%v): %w", stable, all, cmp.Or(err1, err2), ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (t *truth) listEnds(ctx context.Context, isolation int8) (ends [partitions]int64, err error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID, request.IsolationLevel = -1, isolation
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = t.topic
	for p := range int32(partitions) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		topic.Partitions = append(topic.Partitions, part)
	}
	request.Topics = append(request.Topics, topic)
	for _, shard := range t.client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return ends, shard.Err
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return ends, err
				}
				ends[p.Partition] = p.Offset
			}
		}
	}
	return ends, nil
}

// inSync waits until each partition of the cluster, those of groups and transactions too, has so many replicas in sync, and counts elections.
func (t *truth) inSync(ctx context.Context, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for ; ; pause(ctx, 200*time.Millisecond) {
		request := kmsg.NewPtrMetadataRequest()
		request.Topics = nil // all of them
		response, err := request.RequestWith(ctx, t.client)
		if ctx.Err() != nil {
			return fmt.Errorf("replicas in sync: %w", cmp.Or(err, ctx.Err()))
		}
		if err != nil {
			continue
		}
		lacking, epochs := 0, int64(0)
		for _, topic := range response.Topics {
			for _, p := range topic.Partitions {
				if len(p.ISR) < replicas {
					lacking++
				}
				if topic.Topic != nil && *topic.Topic == t.topic {
					epochs += int64(p.LeaderEpoch)
				}
			}
		}
		if lacking == 0 {
			t.leaders.Store(epochs)
			return nil
		}
	}
}

func (t *truth) fold(record *kgo.Record) error {
	t.messages++
	p := record.Partition
	t.ends[p] = record.Offset + 1
	t.newest[p] = max(t.newest[p], record.Timestamp.UnixMilli())
	r, err := ipc.NewReader(bytes.NewReader(record.Value))
	if err != nil {
		return fmt.Errorf("message %d of partition %d: %w", record.Offset, p, err)
	}
	defer r.Release()
	at := int32(0)
	for r.Next() {
		b := r.RecordBatch()
		ids, ops := b.Column(0).(*array.String), b.Column(1).(*array.String)
		versions, serials := b.Column(2).(*array.Int64), b.Column(3).(*array.Int64)
		vectors := b.Column(4).(*array.FixedSizeList).ListValues().(*array.Float32).Float32Values()
		for i := range int(b.NumRows()) {
			v := version{timestamp: t.newest[p], partition: p, offset: record.Offset, row: at,
				deleted: ops.IsValid(i) && ops.Value(i) == schemas.OpDelete}
			if versions.IsValid(i) {
				v.version = versions.Value(i)
			}
			at++
			t.serials[serials.Value(i)] = true
			id := ids.Value(i)
			if old, ok := t.items[id]; ok && v.compare(old) < 0 {
				continue
			}
			v.vector = slices.Clone(vectors[i*dim : (i+1)*dim])
			t.items[string([]byte(id))] = v
		}
	}
	return nil
}

// account compares what the topic holds with what the generator was told, and forgets both.
func (t *truth) account(g *generator) (missing, ghosts int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for serial := range g.acked {
		if !t.serials[serial] {
			missing++
		}
	}
	for serial := range g.aborted {
		if t.serials[serial] {
			ghosts++
		}
	}
	clear(t.serials)
	clear(g.acked)
	clear(g.aborted)
	return missing, ghosts
}
