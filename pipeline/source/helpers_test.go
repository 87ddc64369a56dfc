package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/pipeline/source"
)

// patience is how long a test waits for something that should come.
const patience = 20 * time.Second

// blink is a maxWait for fetches that are expected to find nothing.
const blink = 50 * time.Millisecond

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// sibling is a client like c that fetches at most so many bytes.
func sibling(t testing.TB, c *source.Client, maxBytes int) *source.Client {
	t.Helper()
	o := c.Options()
	o.MaxBytes = maxBytes
	s, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// produce sends one batch with the given values to partition 0.
func produce(t testing.TB, c *source.Client, values ...string) {
	t.Helper()
	p := c.NewProducer(source.ProducerOptions{BatchMessages: len(values), Linger: time.Second})
	defer p.Close()
	msgs := make([]source.Message, len(values))
	for i, v := range values {
		msgs[i] = source.Message{Value: []byte(v)}
	}
	if err := p.Send(testContext(t), msgs...); err != nil {
		t.Fatal(err)
	}
}

// fetch fetches from partition 0 and repeats transient faults.
func fetch(t testing.TB, c *source.Client, offset int64, wait time.Duration) (source.Batch, error) {
	t.Helper()
	ctx := testContext(t)
	for {
		b, err := c.Fetch(ctx, 0, offset, wait)
		if !errors.Is(err, source.ErrTransient) || ctx.Err() != nil {
			return b, err
		}
		t.Log("transient:", err)
	}
}

// drain fetches partition 0 from offset until next reaches end.
func drain(t testing.TB, c *source.Client, offset, end int64) []source.Record {
	t.Helper()
	var all []source.Record
	for offset < end {
		b, err := fetch(t, c, offset, patience)
		if err != nil {
			t.Fatal(err)
		}
		if b.Next <= offset {
			t.Fatalf("no progress at %d before %d", offset, end)
		}
		all = append(all, b.Records...)
		offset = b.Next
	}
	if offset != end {
		t.Fatalf("drained to %d, want %d", offset, end)
	}
	return all
}

// show writes records as "offset=value ...".
func show(rs []source.Record) string {
	var s []string
	for _, r := range rs {
		s = append(s, fmt.Sprintf("%d=%s", r.Offset, r.Value))
	}
	return strings.Join(s, " ")
}

// franz returns a franz-go client for what kafka-go cannot do.
func franz(t testing.TB, c *source.Client, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.Options().Brokers...),
		kgo.DefaultProduceTopic(c.Options().Topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// deleteRecords moves the log start of partition 0.
func deleteRecords(t testing.TB, c *source.Client, before int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = c.Options().Topic
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = before
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	req.TimeoutMillis = 5000
	for _, s := range franz(t, c).RequestSharded(testContext(t), req) {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
		if code := s.Resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
			t.Fatalf("delete records: error %d", code)
		}
	}
}

// awaitStart waits until the leader shows the log start of partition 0.
func awaitStart(t testing.TB, c *source.Client, start int64) {
	t.Helper()
	ctx := testContext(t)
	for {
		b, err := c.Bounds(ctx, 0)
		if err != nil && !errors.Is(err, source.ErrTransient) {
			t.Fatal(err)
		}
		if err == nil && b.Start == start {
			return
		}
	}
}

func numbered(prefix string, n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return s
}

// payload is deterministic, hard to compress data.
func payload(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}

func equalRecords(a, b []source.Record) bool {
	return slices.EqualFunc(a, b, func(x, y source.Record) bool {
		return x.Offset == y.Offset && bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value) &&
			(x.Value == nil) == (y.Value == nil)
	})
}
