package source_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// The tests here hold what kafka-go v0.4.51 does wrong for us. When one fails,
// the library has changed, and the code that works around it can be looked at.

// Reader jumps over a range that retention removed, even when it is told to
// report offsets out of range: lost data goes unnoticed.
func TestTrapReaderSkipsLostRange(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	produce(t, c, numbered("a", 6)...)
	produce(t, c, numbered("b", 4)...)
	deleteRecords(t, c, 6)
	awaitStart(t, c, 6)
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: c.Options().Brokers, Topic: c.Options().Topic, Partition: 0,
		OffsetOutOfRangeError: true, MaxWait: blink, MaxBytes: 1 << 20,
	})
	defer r.Close()
	if err := r.SetOffset(2); err != nil {
		t.Fatal(err)
	}
	m, err := r.ReadMessage(testContext(t))
	if err != nil || m.Offset != 6 {
		t.Errorf("offset %d, %v; it was 6 without an error", m.Offset, err)
	}
}

// clientFetch reads partition 0 with kafka.Client.Fetch.
func clientFetch(t *testing.T, o kafka.FetchRequest) (records string, next, hw int64) {
	t.Helper()
	cl := kafka.Client{Transport: &kafka.Transport{}}
	res, err := cl.Fetch(testContext(t), &o)
	if err := errors.Join(err, res.Error); err != nil {
		t.Fatal(err)
	}
	next = o.Offset
	var values []string
	for {
		rec, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return strings.Join(values, " "), next, res.HighWatermark
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := kafka.ReadAll(rec.Value)
		if err != nil {
			t.Fatal(err)
		}
		values, next = append(values, string(v)), rec.Offset+1
	}
}

// Client.Fetch returns the records of aborted transactions as if they were
// committed, and cannot get past a transaction marker at the end of the log: no
// records, no error, and the high watermark ahead.
func TestTrapClientFetchKnowsNoTransactions(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	transactions(t, c)
	req := kafka.FetchRequest{
		Addr: kafka.TCP(c.Options().Brokers...), Topic: c.Options().Topic, Offset: 12,
		MinBytes: 1, MaxBytes: 1 << 20, MaxWait: blink, IsolationLevel: kafka.ReadCommitted,
	}
	if got, _, _ := clientFetch(t, req); got != "x12" {
		t.Errorf("at the aborted record: got %q; it was there", got)
	}
	req.Offset = 13
	if got, next, hw := clientFetch(t, req); got != "" || next != 13 || hw != 14 {
		t.Errorf("at the marker: got %q, next %d of %d; it was stuck at 13 of 14", got, next, hw)
	}
}

// The function of a generation must not return early: it takes the member out of
// the generation, and the members join again and again.
func TestTrapReturningFromAGenerationEndsIt(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.Options().Topic, Brokers: c.Options().Brokers, Topics: []string{c.Options().Topic},
		JoinGroupBackoff: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cg.Close()
	ctx := testContext(t)
	for got := 0; got < 3; {
		gen, err := cg.Next(ctx)
		if ctx.Err() != nil {
			t.Fatalf("only %d generations: returning does not end them any more", got)
		}
		if err != nil {
			continue
		}
		got++
		gen.Start(func(context.Context) {})
	}
}
