package source_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

func TestProducePutsMessagesWhereToldInOrder(t *testing.T) {
	c := sourcetest.Topic(t, 3, nil)
	for _, batch := range []int{0, 7} {
		p := c.NewProducer(source.ProducerOptions{BatchMessages: batch})
		var msgs []source.Message
		for i := range 30 {
			msgs = append(msgs, source.Message{Partition: i % 3, Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "v%d", i)})
		}
		if err := p.Send(testContext(t), msgs...); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for part := range 3 {
		var rs []source.Record
		for next := int64(0); next < 20; {
			b, err := c.Fetch(testContext(t), part, next, patience)
			if err != nil {
				t.Fatal(err)
			}
			rs, next = append(rs, b.Records...), b.Next
		}
		for i, r := range rs {
			if want := fmt.Sprintf("v%d", (i%10)*3+part); string(r.Value) != want || r.Timestamp.IsZero() {
				t.Errorf("partition %d record %d: %s at %s, want %s", part, i, r.Value, r.Timestamp, want)
			}
		}
	}
}

// Who wants to know where messages are is told, before Send returns, what the log says.
func TestProduceTellsOffsets(t *testing.T) {
	c := sourcetest.Topic(t, 2, nil)
	for _, batch := range []int{0, 7} {
		var mu sync.Mutex
		heard := map[string]bool{}
		p := c.NewProducer(source.ProducerOptions{BatchMessages: batch, Acknowledged: func(partition int, offset, rows int64) {
			mu.Lock()
			defer mu.Unlock()
			heard[fmt.Sprintf("%d/%d: %d", partition, offset, rows)] = true
		}})
		want := map[string]bool{}
		var msgs []source.Message
		for part := range 2 {
			b, err := c.Bounds(testContext(t), part)
			if err != nil {
				t.Fatal(err)
			}
			for i := range int64(10) {
				msgs = append(msgs, source.Message{Partition: part, Value: []byte("v"), Rows: 100*int64(part) + i})
				want[fmt.Sprintf("%d/%d: %d", part, b.End+i, 100*int64(part)+i)] = true
			}
		}
		if err := p.Send(testContext(t), msgs...); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(heard, want) {
			t.Errorf("heard %v, want %v", heard, want)
		}
		if err := p.Send(testContext(t), source.Message{Partition: 0, Value: make([]byte, 65<<20), Rows: 7}); !errors.Is(err, source.ErrTooLarge) || !maps.Equal(heard, want) {
			t.Errorf("of what is refused %v is heard, %v", heard, err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProduceErrorsSurface(t *testing.T) {
	c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": "1000"})
	p := c.NewProducer(source.ProducerOptions{MaxMessageBytes: 5000})
	defer p.Close()
	for _, tc := range []struct {
		name string
		m    source.Message
		want error
	}{
		{"above our limit", source.Message{Value: make([]byte, 6000)}, source.ErrTooLarge},
		{"above the broker's limit", source.Message{Value: make([]byte, 3000)}, source.ErrTooLarge},
		{"no such partition", source.Message{Partition: 1}, nil},
		{"negative partition", source.Message{Partition: -1}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := p.Send(testContext(t), tc.m)
			if err == nil || errors.Is(err, source.ErrTransient) || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
	if err := p.Send(testContext(t)); err != nil {
		t.Errorf("nothing to send: %v", err)
	}
	b, err := c.Bounds(context.Background(), 0)
	if err != nil || b.End != 0 {
		t.Errorf("something was stored: %+v, %v", b, err)
	}
}

// What is said to fit does, and not much less than fits is said.
func TestMaxMessage(t *testing.T) {
	for _, tc := range []struct {
		config string
		want   int64 // 0: the broker's
	}{{"", 0}, {"100000", 100000}, {"500", 1}, {"200000000", 64 << 20}} {
		config := map[string]string{}
		if tc.config != "" {
			config["max.message.bytes"] = tc.config
		}
		c := sourcetest.Topic(t, 1, config)
		got, err := c.MaxMessage(testContext(t))
		if err != nil || got < 1 || tc.want > 0 && (got > tc.want || got < tc.want-2048) {
			t.Errorf("max.message.bytes %q: %d, %v", tc.config, got, err)
		}
		if got == 1 {
			continue
		}
		p := c.NewProducer(source.ProducerOptions{})
		if err := p.Send(testContext(t), source.Message{Key: []byte("key"), Value: make([]byte, got)}); err != nil {
			t.Errorf("max.message.bytes %q: of %d bytes: %v", tc.config, got, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A fact about the library that NewProducer has to undo: the zero Writer does not
// wait for an answer, so it reports success for what the broker refuses.
func TestTrapZeroWriterLosesErrors(t *testing.T) {
	c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": "1000"})
	w := &kafka.Writer{
		Addr: kafka.TCP(c.Options().Brokers...), Topic: c.Options().Topic, BatchTimeout: time.Millisecond,
		// The default transport's metadata may be older than the topic.
		Transport: &kafka.Transport{},
	}
	defer w.Close()
	if err := w.WriteMessages(testContext(t), kafka.Message{Value: make([]byte, 3000)}); err != nil {
		t.Errorf("the library has changed, it now says: %v", err)
	}
}

func BenchmarkSend(b *testing.B) {
	c := sourcetest.Topic(b, 1, map[string]string{"max.message.bytes": fmt.Sprint(2 << 20)})
	p := c.NewProducer(source.ProducerOptions{})
	defer p.Close()
	m := source.Message{Value: payload(1<<20, 1)}
	b.SetBytes(1 << 20)
	for b.Loop() {
		if err := p.Send(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}
