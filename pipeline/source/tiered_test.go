package source_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// earliestLocal is the first offset of partition 0 that the broker itself still holds; what is before it is in the other tier.
func earliestLocal(t *testing.T, cl *kgo.Client, name string) int64 {
	t.Helper()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.CurrentLeaderEpoch = -1
	part.Timestamp = -4
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = name
	topic.Partitions = append(topic.Partitions, part)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.Topics = append(req.Topics, topic)
	s := cl.RequestSharded(testContext(t), req)[0]
	if s.Err != nil {
		t.Fatal(s.Err)
	}
	p := s.Resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		t.Fatalf("earliest local offset: error %d", p.ErrorCode)
	}
	return p.Offset
}

// tieredLog makes a topic of segments of 1 MiB with transactions that end in other segments than they began in, waits until all but the
// open segment has left the broker, and returns what a reader may see, and where the broker's own part begins and the log ends.
func tieredLog(t *testing.T) (c *source.Client, want []source.Record, local, end int64) {
	t.Helper()
	c = sourcetest.Topic(t, 1, map[string]string{
		"remote.storage.enable": "true",
		"segment.bytes":         fmt.Sprint(1 << 20), // the least that Kafka allows
		"local.retention.bytes": "1",
	})
	ctx := testContext(t)
	send := func(cl *kgo.Client, seen bool, n, size int) {
		t.Helper()
		for range n {
			r := &kgo.Record{Key: fmt.Append(nil, end), Value: payload(size, uint64(end))}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if r.Offset != end {
				t.Fatalf("record got offset %d, want %d", r.Offset, end)
			}
			if seen {
				want = append(want, source.Record{Offset: end, Key: r.Key, Value: r.Value})
			}
			end++
		}
	}
	// A marker is there when the log is one longer; the other transaction holds back what is stable.
	finish := func(cl *kgo.Client, commit kgo.TransactionEndTry) {
		t.Helper()
		if err := cl.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
		for end++; ; {
			b, err := fetch(t, c, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if b.HighWatermark == end {
				return
			}
		}
	}
	plain := franz(t, c)
	committer := franz(t, c, kgo.TransactionalID(c.Options().Topic+"-c"))
	aborter := franz(t, c, kgo.TransactionalID(c.Options().Topic+"-a"))
	for range 2 {
		send(plain, true, 3, 200<<10)
		for _, cl := range []*kgo.Client{committer, aborter} {
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 { // over more than a segment
			send(aborter, false, 2, 100<<10)
			send(committer, true, 2, 100<<10)
			send(plain, true, 2, 100<<10)
		}
		finish(aborter, kgo.TryAbort)
		send(plain, true, 1, 10)
		finish(committer, kgo.TryCommit)
	}
	tail := end
	send(plain, true, 12, 200<<10)
	for local <= tail {
		if _, err := fetch(t, c, end, blink); err != nil {
			t.Fatal(err)
		}
		local = earliestLocal(t, plain, c.Options().Topic)
	}
	return c, want, local, end
}

// What has left the broker for cheaper storage is read as if it had not: from any offset, over the border of the tiers,
// and without the records of transactions that were aborted.
func TestFetchTieredTopic(t *testing.T) {
	sourcetest.Tiered(t)
	c, want, local, end := tieredLog(t)
	if b, err := c.Bounds(testContext(t), 0); err != nil || b != (source.Bounds{Start: 0, End: end}) {
		t.Errorf("bounds %+v, %v; the log is [0, %d)", b, err, end)
	}
	narrow := sibling(t, c, 1)
	for _, from := range []int64{0, 4, local / 2, local - 1, local, end - 1} {
		suffix := slices.Clone(want)
		suffix = slices.DeleteFunc(suffix, func(r source.Record) bool { return r.Offset < from })
		for _, cl := range []*source.Client{c, narrow} {
			if got := drain(t, cl, from, end); !equalRecords(got, suffix) {
				t.Errorf("from %d, at most %d bytes: got offsets %v, want %v", from, cl.Options().MaxBytes, offsets(got), offsets(suffix))
			}
		}
	}
}

// A range that is deleted from the other tier is a loss like any other.
func TestFetchTieredOutOfRange(t *testing.T) {
	sourcetest.Tiered(t)
	c, _, local, end := tieredLog(t)
	start := local / 2
	deleteRecords(t, c, start)
	awaitStart(t, c, start)
	_, err := fetch(t, c, start-1, blink)
	var oe *source.OffsetError
	if !errors.As(err, &oe) || *oe != (source.OffsetError{Topic: c.Options().Topic, Want: start - 1, Start: start, End: end}) || !oe.Overrun() {
		t.Errorf("below the start: got %v", err)
	}
	if got := drain(t, c, start, end); len(got) == 0 || got[0].Offset < start {
		t.Errorf("from the start: got offsets %v", offsets(got))
	}
}

func offsets(rs []source.Record) []int64 {
	s := make([]int64, len(rs))
	for i, r := range rs {
		s[i] = r.Offset
	}
	return s
}
