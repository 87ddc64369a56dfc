package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// A fetch into the middle of a batch gets the whole batch from the broker.
func TestFetchFromTheMiddleOfABatch(t *testing.T) {
	for _, codec := range []struct {
		name string
		c    kafka.Compression
	}{{"none", 0}, {"gzip", kafka.Gzip}, {"snappy", kafka.Snappy}, {"lz4", kafka.Lz4}, {"zstd", kafka.Zstd}} {
		t.Run(codec.name, func(t *testing.T) {
			c := sourcetest.Topic(t, 1, nil)
			const n = 10
			now := time.Now().Truncate(time.Millisecond) // older ones fall to retention
			var msgs []source.Message
			for i := range n {
				// Half compressible, of sizes below, at and above a page.
				v := slices.Concat(payload(i*7001, uint64(i)), make([]byte, i*7001))
				msgs = append(msgs, source.Message{Key: fmt.Appendf(nil, "k%d", i), Value: v, Time: now.Add(time.Duration(i) * time.Second)})
			}
			p := c.NewProducer(source.ProducerOptions{BatchMessages: n, Linger: time.Second, Compression: codec.c})
			defer p.Close()
			if err := p.Send(testContext(t), msgs...); err != nil {
				t.Fatal(err)
			}
			for _, from := range []int64{0, 4, n - 1} {
				b, err := fetch(t, c, from, patience)
				if err != nil {
					t.Fatal(err)
				}
				if b.Next != n || b.HighWatermark != n || b.LastStable != n || b.LogStart != 0 || len(b.Records) != int(n-from) {
					t.Fatalf("from %d: next %d, watermarks %d %d %d, %d records", from, b.Next, b.HighWatermark, b.LastStable, b.LogStart, len(b.Records))
				}
				for i, r := range b.Records {
					want := msgs[from+int64(i)]
					if r.Offset != from+int64(i) || !bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) || !r.Timestamp.Equal(want.Time) {
						t.Errorf("from %d: record %d differs", from, r.Offset)
					}
					if at := uintptr(unsafe.Pointer(unsafe.SliceData(r.Value))); len(r.Value) > 0 && at%64 != 0 {
						t.Errorf("value of record %d is not aligned: %#x", r.Offset, at)
					}
				}
			}
		})
	}
}

func TestFetchKeepsNullsAndEmpties(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	p := c.NewProducer(source.ProducerOptions{})
	defer p.Close()
	err := p.Send(testContext(t),
		source.Message{Key: []byte("gone")},
		source.Message{Value: []byte{}},
	)
	if err != nil {
		t.Fatal(err)
	}
	rs := drain(t, c, 0, 2)
	if rs[0].Value != nil || string(rs[0].Key) != "gone" || rs[1].Value == nil || rs[1].Key != nil {
		t.Errorf("got %#v", rs)
	}
}

// transactions writes, to partition 0:
//
//	0 1 committed, 2 marker | 3 4 aborted, 5 marker | 6 plain |
//	7 8 aborted by the producer that then commits 10, 9 and 11 markers |
//	12 aborted, 13 marker, which is the end of the log
//
// and returns what a reader may see.
func transactions(t *testing.T, c *source.Client) string {
	t.Helper()
	ctx := testContext(t)
	a := franz(t, c, kgo.TransactionalID(c.Options().Topic+"-a"))
	b := franz(t, c, kgo.TransactionalID(c.Options().Topic+"-b"))
	// Kafka writes the marker some time after it has agreed to the end of a
	// transaction; it would come after what is produced meanwhile.
	var end int64
	settle := func(n int) {
		t.Helper()
		for end += int64(n); ; {
			bounds, err := c.Bounds(ctx, 0)
			if err != nil && !errors.Is(err, source.ErrTransient) {
				t.Fatal(err)
			}
			if bounds.End == end {
				return
			}
		}
	}
	txn := func(cl *kgo.Client, commit kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := cl.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
		settle(len(values) + 1)
	}
	txn(a, kgo.TryCommit, "c0", "c1")
	txn(b, kgo.TryAbort, "x3", "x4")
	produce(t, c, "p6")
	settle(1)
	txn(a, kgo.TryAbort, "x7", "x8")
	txn(a, kgo.TryCommit, "c10")
	txn(b, kgo.TryAbort, "x12")
	return "0=c0 1=c1 6=p6 10=c10"
}

func TestFetchDropsAbortedTransactions(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	want := transactions(t, c)
	const end = 14
	if got := show(drain(t, c, 0, end)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// From any offset, and with fetches of one batch each, the same suffix.
	narrow := sibling(t, c, 1)
	all := drain(t, c, 0, end)
	for from := range int64(end) {
		suffix := all
		for len(suffix) > 0 && suffix[0].Offset < from {
			suffix = suffix[1:]
		}
		for _, cl := range []*source.Client{c, narrow} {
			if got := drain(t, cl, from, end); !equalRecords(got, suffix) {
				t.Errorf("from %d, at most %d bytes: got %s, want %s", from, cl.Options().MaxBytes, show(got), show(suffix))
			}
		}
	}
}

// An open transaction holds the reader back, without spinning, until it ends.
func TestFetchWaitsForOpenTransaction(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	ctx := testContext(t)
	produce(t, c, "p0")
	cl := franz(t, c, kgo.TransactionalID(c.Options().Topic))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("c1")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	produce(t, c, "p2")
	if got := show(drain(t, c, 0, 1)); got != "0=p0" {
		t.Errorf("before the end: got %s", got)
	}
	start := time.Now()
	b, err := fetch(t, c, 1, blink)
	if err != nil {
		t.Fatal(err)
	}
	if b.Next != 1 || len(b.Records) != 0 || b.LastStable != 1 || b.HighWatermark != 3 {
		t.Errorf("behind the open transaction: %+v", b)
	}
	if d := time.Since(start); d < blink {
		t.Errorf("came back after %s, asked to wait %s", d, blink)
	}
	bounds, err := c.Bounds(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if bounds != (source.Bounds{Start: 0, End: 1}) {
		t.Errorf("bounds %+v", bounds)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := show(drain(t, c, 1, 4)); got != "1=c1 2=p2" {
		t.Errorf("after the end: got %s", got)
	}
}

func TestFetchEmptyTopicWaits(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	start := time.Now()
	b, err := fetch(t, c, 0, blink)
	if err != nil {
		t.Fatal(err)
	}
	if b.Next != 0 || len(b.Records) != 0 {
		t.Errorf("got %+v", b)
	}
	if d := time.Since(start); d < blink {
		t.Errorf("came back after %s, asked to wait %s", d, blink)
	}
}

func TestFetchWakesWhenDataArrives(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	if _, err := fetch(t, c, 0, 0); err != nil { // connections and metadata are there
		t.Fatal(err)
	}
	type result struct {
		b   source.Batch
		err error
	}
	got := make(chan result, 1)
	ctx := testContext(t)
	start := time.Now()
	go func() {
		b, err := c.Fetch(ctx, 0, 0, patience)
		got <- result{b, err}
	}()
	produce(t, c, "wake")
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	if show(r.b.Records) != "0=wake" {
		t.Errorf("got %s", show(r.b.Records))
	}
	if d := time.Since(start); d > patience/4 {
		t.Errorf("woke after %s", d)
	}
}

func TestFetchOutOfRange(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	produce(t, c, numbered("v", 10)...)
	deleteRecords(t, c, 4)
	awaitStart(t, c, 4)

	for _, tc := range []struct {
		name    string
		want    int64
		overrun bool
	}{{"below", 2, true}, {"beyond", 11, false}} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := fetch(t, c, tc.want, blink)
			var oe *source.OffsetError
			if !errors.As(err, &oe) || !errors.Is(err, source.ErrOutOfRange) || errors.Is(err, source.ErrTransient) {
				t.Fatalf("got %v", err)
			}
			// Real Kafka says -1 for everything here, so these come from
			// ListOffsets.
			if *oe != (source.OffsetError{Topic: c.Options().Topic, Want: tc.want, Start: 4, End: 10}) || oe.Overrun() != tc.overrun {
				t.Errorf("got %+v", *oe)
			}
			t.Log(err)
		})
	}

	// The broker keeps the batch 0..9 and returns all of it.
	if got := show(drain(t, c, 4, 10)); got != "4=v4 5=v5 6=v6 7=v7 8=v8 9=v9" {
		t.Errorf("from the log start: got %s", got)
	}
	b, err := fetch(t, c, 10, 0)
	if err != nil || b.Next != 10 || b.LogStart != 4 {
		t.Errorf("at the end: %+v, %v", b, err)
	}
}

func TestRecreatedTopicIsNotTheSame(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	ctx := testContext(t)
	produce(t, c, numbered("v", 5)...)
	drain(t, c, 0, 5)
	before, err := c.Topic(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sourcetest.DeleteTopic(t, c)
	if err := c.CreateTopic(ctx, 1, 1, nil); err != nil {
		t.Fatal(err)
	}
	_, err = fetch(t, c, 5, blink)
	var oe *source.OffsetError
	if !errors.As(err, &oe) || oe.Overrun() || oe.End != 0 {
		t.Errorf("fetch: got %v", err)
	}
	after, err := c.Topic(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before.TopicID == "" || before.TopicID == after.TopicID || before.Cluster != after.Cluster || after.Cluster == "" {
		t.Errorf("identity before %+v, after %+v", before, after)
	}
}

func TestFetchLargeMessage(t *testing.T) {
	c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": fmt.Sprint(8 << 20)})
	small := sibling(t, c, 64<<10)
	p := c.NewProducer(source.ProducerOptions{})
	defer p.Close()
	big := payload(5<<20, 1)
	if err := p.Send(testContext(t), source.Message{Value: []byte("a")}, source.Message{Value: big}, source.Message{Value: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	rs := drain(t, small, 0, 3)
	if len(rs) != 3 || !bytes.Equal(rs[1].Value, big) || string(rs[2].Value) != "b" {
		t.Errorf("got %d records", len(rs))
	}
}

// Compaction leaves holes: batches that are gone, and batches without their
// begin or end. Emptied ones are in TestFetchMatchesOracle.
func TestFetchCompactedTopic(t *testing.T) {
	if !sourcetest.Real() {
		t.Skip("the embedded broker compacts once an hour")
	}
	c := sourcetest.Topic(t, 1, map[string]string{
		"cleanup.policy":            "compact",
		"segment.ms":                "100",
		"min.cleanable.dirty.ratio": "0.0",
		"min.compaction.lag.ms":     "0",
		"max.compaction.lag.ms":     "1",
	})
	p := c.NewProducer(source.ProducerOptions{BatchMessages: 4, Linger: time.Second})
	defer p.Close()
	ctx := testContext(t)
	send := func(keys ...string) {
		t.Helper()
		var msgs []source.Message
		for _, k := range keys {
			msgs = append(msgs, source.Message{Key: []byte(k), Value: []byte(k)})
		}
		if err := p.Send(ctx, msgs...); err != nil {
			t.Fatal(err)
		}
	}
	send("a", "b", "a", "b") // will be gone
	send("c", "d", "a", "b") // will keep only d
	send("a", "b", "c", "e") // stays
	var end int64 = 12
	// Segments are closed when something arrives after segment.ms, and only
	// closed ones are compacted.
	for {
		send(fmt.Sprint(end), "", "", "")
		end += 4
		if rs := drain(t, c, 0, end); rs[0].Offset == 5 {
			break
		}
		if _, err := fetch(t, c, end, 2*blink); err != nil {
			t.Fatal(err)
		}
	}
	for _, cl := range []*source.Client{c, sibling(t, c, 1)} {
		for from, want := range []string{
			0: "5=d 8=a 9=b 10=c 11=e", 5: "5=d 8=a 9=b 10=c 11=e", 6: "8=a 9=b 10=c 11=e", 7: "8=a 9=b 10=c 11=e", 11: "11=e",
		} {
			if want == "" {
				continue
			}
			rs := drain(t, cl, int64(from), end)
			rs = slices.DeleteFunc(rs, func(r source.Record) bool { return r.Offset >= 12 })
			if got := show(rs); got != want {
				t.Errorf("from %d, at most %d bytes: got %s, want %s", from, cl.Options().MaxBytes, got, want)
			}
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, codec := range []struct {
		name string
		c    kafka.Compression
	}{{"plain", 0}, {"lz4", kafka.Lz4}, {"zstd", kafka.Zstd}} {
		b.Run(codec.name, func(b *testing.B) { benchmarkFetch(b, codec.c) })
	}
}

// benchmarkFetch reads 1 MiB messages, half of each compressible.
func benchmarkFetch(b *testing.B, codec kafka.Compression) {
	c := sourcetest.Topic(b, 1, map[string]string{"max.message.bytes": fmt.Sprint(2 << 20)})
	const n, size = 128, 1 << 20
	p := c.NewProducer(source.ProducerOptions{Compression: codec})
	defer p.Close()
	for i := range n {
		v := slices.Concat(payload(size/2, uint64(i)), bytes.Repeat([]byte{byte(i)}, size/2))
		if err := p.Send(b.Context(), source.Message{Value: v}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	var offset int64
	for i := 0; i < b.N; {
		batch, err := c.Fetch(b.Context(), 0, offset%n, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		i += len(batch.Records)
		offset = batch.Next
	}
}
