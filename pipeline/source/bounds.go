package source

import (
	"context"
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// Isolation levels of the Kafka protocol.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// Bounds is the range of offsets [Start, End) that a partition can serve now.
type Bounds struct {
	// Start is the log start offset: below it, records were deleted.
	Start int64
	// End is the last stable offset: one past the last record that is
	// replicated and not part of an open transaction. Fetch can return
	// everything below it.
	End int64
}

// Bounds asks the leader of partition for the offsets that it holds.
func (c *Client) Bounds(ctx context.Context, partition int) (Bounds, error) {
	b, err := c.listOffsets(ctx, partition, readCommitted)
	if err != nil {
		return Bounds{}, fmt.Errorf("bounds of %s/%d: %w", c.o.Topic, partition, err)
	}
	return b, nil
}

// listOffsets asks for both ends of the log; with readUncommitted, End is the
// high watermark.
func (c *Client) listOffsets(ctx context.Context, partition int, isolation int8) (Bounds, error) {
	ask := func(timestamp int64) listoffsets.RequestPartition {
		return listoffsets.RequestPartition{
			Partition:          int32(partition),
			CurrentLeaderEpoch: -1,
			Timestamp:          timestamp,
		}
	}
	res, err := c.roundTrip(ctx, c.o.RequestTimeout, &listoffsets.Request{
		ReplicaID:      -1,
		IsolationLevel: isolation,
		Topics: []listoffsets.RequestTopic{{
			Topic:      c.o.Topic,
			Partitions: []listoffsets.RequestPartition{ask(kafka.FirstOffset), ask(kafka.LastOffset)},
		}},
	})
	if err != nil {
		return Bounds{}, err
	}
	b := Bounds{Start: -1, End: -1}
	for _, t := range res.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return Bounds{}, c.brokerError(p.ErrorCode)
			}
			// The library puts the timestamp that was asked into the answer.
			switch p.Timestamp {
			case kafka.FirstOffset:
				b.Start = p.Offset
			case kafka.LastOffset:
				b.End = p.Offset
			}
		}
	}
	if b.Start < 0 || b.End < 0 {
		return Bounds{}, fmt.Errorf("broker answered without both ends: start %d, end %d", b.Start, b.End)
	}
	// Two requests, so retention can overtake between them.
	b.End = max(b.Start, b.End)
	return b, nil
}
