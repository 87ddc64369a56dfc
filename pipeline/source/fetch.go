package source

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

const (
	// earlyPause paces a broker that answers an unfilled long poll early.
	earlyPause = 25 * time.Millisecond
	// widest is where doubling the size of a fetch ends, in bytes.
	widest = 1 << 30
)

// Record is one committed record of a partition.
type Record struct {
	Offset int64
	// Timestamp is the producer's, in milliseconds; zero if it sent none.
	// (The library gives the producer's time also for topics configured with
	// LogAppendTime.)
	Timestamp time.Time
	// Key is nil if the record has none.
	Key []byte
	// Value is nil for a tombstone. Otherwise its first byte lies on a
	// 64-byte boundary, so Arrow can use it without copying. Nobody else
	// refers to its memory: it is the caller's, for as long as it likes.
	Value []byte
	// Headers are nil if the record has none.
	Headers []kafka.Header
}

// Batch is what one Fetch found: the committed records of [offset, Next).
type Batch struct {
	// Records are in offset order; offsets have gaps where records were
	// compacted away, belong to aborted transactions or are markers.
	Records []Record
	// Next is the offset to fetch next.
	Next int64
	// HighWatermark is one past the last replicated offset, LastStable one
	// past the last that is not in an open transaction, LogStart the first
	// that is not deleted.
	HighWatermark, LastStable, LogStart int64
}

// Fetch returns the committed records of partition from offset on, about as many
// as fit Options.MaxBytes, but at least one record batch.
//
// When there is nothing it waits up to maxWait for data, then returns an empty
// batch with Next == offset. Next > offset with no records means that only
// markers, aborted or compacted records lay there.
//
// An offset that the log does not hold is an [*OffsetError]. Faults that pass
// are [ErrTransient]; no state is kept, so the call is simply repeated.
func (c *Client) Fetch(ctx context.Context, partition int, offset int64, maxWait time.Duration) (Batch, error) {
	b, err := c.fetch(ctx, partition, offset, maxWait)
	if err != nil {
		var oe *OffsetError
		if errors.As(err, &oe) {
			return Batch{}, err // names topic, partition and offset by itself
		}
		return Batch{}, fmt.Errorf("fetch %s/%d at %d: %w", c.o.Topic, partition, offset, err)
	}
	return b, nil
}

func (c *Client) fetch(ctx context.Context, partition int, offset int64, maxWait time.Duration) (Batch, error) {
	deadline := time.Now().Add(maxWait)
	size := c.o.MaxBytes
	for {
		p, err := c.fetchPage(ctx, partition, offset, max(0, time.Until(deadline)), size)
		if err != nil {
			return Batch{}, err
		}
		switch {
		case p.Next > offset || p.LastStable <= offset:
			// Progress, or nothing there yet.
		case p.batches > 0:
			// The log goes on, but all that came is the batch around offset,
			// with its records from offset on compacted away.
			p.Next, err = c.batchEnd(ctx, partition, p.base, offset, p.LastStable)
			if err != nil {
				return Batch{}, err
			}
		default:
			// The log goes on, but nothing came: brokers owe us the first
			// batch whatever its size, but not all of them pay.
			size = min(2*size, widest)
		}
		left := time.Until(deadline)
		if p.Next > offset || left <= 0 {
			return p.Batch, nil
		}
		if err := sleep(ctx, min(left, earlyPause)); err != nil {
			return Batch{}, err
		}
	}
}

// page is the answer to one fetch request.
type page struct {
	Batch
	batches int   // record batches in it, of any kind
	base    int64 // base offset of the first of them
}

// fetchPage sends one fetch request. Its Next is at least offset, and above it
// if the answer proves that there is nothing more to be had below.
func (c *Client) fetchPage(ctx context.Context, partition int, offset int64, wait time.Duration, size int) (page, error) {
	ms := min((wait+time.Millisecond-1)/time.Millisecond, math.MaxInt32)
	res, err := c.roundTrip(ctx, wait+c.o.RequestTimeout, &fetch.Request{
		ReplicaID:   -1,
		MaxWaitTime: int32(ms),
		MinBytes:    1,
		// One partition is asked, so its own limit is enough. Trap: where the
		// embedded broker cuts an answer by this limit, it forgets to list
		// the aborted transactions, and their records would pass.
		MaxBytes:       math.MaxInt32,
		IsolationLevel: readCommitted,
		SessionEpoch:   -1, // no fetch session: each request stands alone
		Topics: []fetch.RequestTopic{{
			Topic: c.o.Topic,
			Partitions: []fetch.RequestPartition{{
				Partition:          int32(partition),
				CurrentLeaderEpoch: -1,
				FetchOffset:        offset,
				LogStartOffset:     -1,
				PartitionMaxBytes:  int32(size),
			}},
		}},
	})
	if err != nil {
		return page{}, err
	}
	r := res.(*fetch.Response)
	if r.ErrorCode != 0 {
		return page{}, c.brokerError(r.ErrorCode)
	}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return page{}, errors.New("broker answered for other partitions than asked")
	}
	p := &r.Topics[0].Partitions[0]
	switch {
	case p.ErrorCode == int16(kafka.OffsetOutOfRange):
		return page{}, c.outOfRange(ctx, partition, offset)
	case p.ErrorCode != 0:
		return page{}, c.brokerError(p.ErrorCode)
	}
	return readPage(p, offset)
}

// outOfRange asks for the true bounds, because Kafka answers an out of range
// fetch with -1 for all of them. Bounds that do hold the offset mean that
// leadership was moving, which passes.
func (c *Client) outOfRange(ctx context.Context, partition int, offset int64) error {
	b, err := c.listOffsets(ctx, partition, readUncommitted)
	if err != nil {
		return fmt.Errorf("offset out of range, and asking for the bounds: %w", err)
	}
	if offset >= b.Start && offset <= b.End {
		return &fault{ErrTransient, fmt.Errorf("leader refused an offset inside its log [%d, %d): %w", b.Start, b.End, kafka.OffsetOutOfRange)}
	}
	return &OffsetError{Topic: c.o.Topic, Partition: partition, Want: offset, Start: b.Start, End: b.End}
}

// batchEnd returns where the record batch with the given base offset ends: one
// past its last offset, in (offset, limit]. The caller has seen that offset is
// in the batch, which has no records from there on, and that limit is not.
//
// Compaction keeps the offsets of a batch whose records it removes, but the
// library does not expose the last one. So it is searched: a fetch anywhere
// inside the batch returns the batch. A wrong "outside" only ends the search
// early, at an offset that is still safe to go on from.
func (c *Client) batchEnd(ctx context.Context, partition int, base, offset, limit int64) (int64, error) {
	in, out := offset, limit
	// The batch is usually the last of the log, so its end is tried first.
	// After that the steps double from offset until they leave the batch, and
	// halve from there.
	probe, step := limit-1, int64(1)
	for out-in > 1 {
		p, err := c.fetchPage(ctx, partition, probe, 0, 1)
		if err != nil {
			return 0, err
		}
		if p.batches > 0 && p.base == base {
			in, step = probe, 2*step
		} else {
			out = probe
		}
		probe = in + max(1, min(step, (out-in)/2))
	}
	return out, nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
