package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// Defaults of the zero [ProducerOptions].
const (
	defaultMaxMessageBytes = 64 << 20
	defaultMaxAttempts     = 10
	defaultLinger          = 5 * time.Millisecond
	defaultWriteTimeout    = 30 * time.Second
)

// ProducerOptions tune a [Producer]; the zero value works.
type ProducerOptions struct {
	// MaxMessageBytes is the largest message, and the most that is sent to a
	// partition at once. The topic's max.message.bytes has to allow it; it
	// is 1 MiB unless configured. 0: 64 MiB.
	MaxMessageBytes int64
	// BatchMessages is how many messages are sent to a partition at once.
	// 0: one, because an Arrow message is a batch already. Programs that
	// send many small messages set more, and MaxMessageBytes to the topic's
	// max.message.bytes, which then bounds the sum.
	BatchMessages int
	// Linger is how long an incomplete batch waits for more messages.
	// 0: 5 ms.
	Linger time.Duration
	// MaxAttempts bounds the tries for a batch. 0: 10.
	MaxAttempts int
	// WriteTimeout bounds one try. 0: 30 s.
	WriteTimeout time.Duration
	// Compression of the batches. 0: none.
	Compression kafka.Compression
	// Acknowledged, unless nil, hears of each message that the broker has, before
	// Send returns, with the Rows that it was sent with. It is called from
	// several goroutines, for one partition in the order of offsets. A message
	// whose first acknowledgement was lost is there twice, and heard of once.
	Acknowledged func(partition int, offset, rows int64)
}

// Message is a record to be produced.
type Message struct {
	// Partition is where the message goes; see [PartitionOf].
	Partition int
	// Key and Value are not copied: they must not change before Send
	// returns nil, nor ever after if it returns an error.
	Key, Value []byte
	// Headers go with it; nothing but a replay and tracing looks at them.
	Headers []kafka.Header
	// Time is the record's timestamp. Zero: now.
	Time time.Time
	// Rows is how many of an index it brings. It is not sent: Acknowledged has
	// it back.
	Rows int64
}

// Producer sends messages to the topic and waits until all in-sync replicas have
// them. It is safe for concurrent use.
//
// Failed tries are repeated, and the library has no idempotent producer, so a
// message whose acknowledgement is lost is stored twice. The index is idempotent
// by (id, version), so such doubles change no answer.
type Producer struct {
	c *Client
	w *kafka.Writer
}

// NewProducer returns a producer that shares the connections of c.
func (c *Client) NewProducer(o ProducerOptions) *Producer {
	if o.MaxMessageBytes <= 0 {
		o.MaxMessageBytes = defaultMaxMessageBytes
	}
	if o.BatchMessages <= 0 {
		o.BatchMessages = 1
	}
	if o.Linger <= 0 {
		o.Linger = defaultLinger
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = defaultMaxAttempts
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = defaultWriteTimeout
	}
	p := &Producer{c: c, w: &kafka.Writer{
		Addr:  c.addr,
		Topic: c.o.Topic,
		Balancer: kafka.BalancerFunc(func(m kafka.Message, _ ...int) int {
			return m.Partition
		}),
		MaxAttempts:  o.MaxAttempts,
		BatchSize:    o.BatchMessages,
		BatchBytes:   o.MaxMessageBytes,
		BatchTimeout: o.Linger,
		ReadTimeout:  c.o.RequestTimeout,
		WriteTimeout: o.WriteTimeout,
		// Trap: the Writer's zero value is RequireNone, which loses errors.
		RequiredAcks: kafka.RequireAll,
		Compression:  o.Compression,
		Transport:    c.transport,
	}}
	if o.Acknowledged != nil {
		p.w.Completion = func(msgs []kafka.Message, err error) {
			if err != nil {
				return // Send returns it
			}
			for _, m := range msgs {
				o.Acknowledged(m.Partition, m.Offset, m.WriterData.(int64))
			}
		}
	}
	return p
}

// Send produces msgs and returns when all of them are acknowledged or have
// failed. Messages for one partition keep their order. After an error some of
// them may be stored, or even be stored later: the whole call can be repeated.
func (p *Producer) Send(ctx context.Context, msgs ...Message) error {
	if len(msgs) == 0 {
		return nil
	}
	// Also makes the Writer's metadata know a topic that is new.
	ids, err := p.c.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	out := make([]kafka.Message, len(msgs))
	for i, m := range msgs {
		// Without this the Writer would try an unknown partition again and
		// again. Partition ids are contiguous from 0.
		if m.Partition < 0 || m.Partition >= len(ids) {
			return fmt.Errorf("produce to %s: message %d: partition %d is outside [0, %d)", p.c.o.Topic, i, m.Partition, len(ids))
		}
		out[i] = kafka.Message{Partition: m.Partition, Key: m.Key, Value: m.Value, Headers: m.Headers, Time: m.Time, WriterData: m.Rows}
	}
	if err := p.w.WriteMessages(ctx, out...); err != nil {
		return fmt.Errorf("produce to %s: %w", p.c.o.Topic, writeError(err))
	}
	return nil
}

// writeError makes one classified error of what the Writer returns.
func writeError(err error) error {
	var each kafka.WriteErrors
	if !errors.As(err, &each) {
		return classify(err)
	}
	for _, e := range each {
		if e != nil {
			return fmt.Errorf("%d of %d messages failed, the first with: %w", each.Count(), len(each), classify(e))
		}
	}
	return err
}

// Close waits for messages in flight. The client stays open.
func (p *Producer) Close() error {
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("close producer of %s: %w", p.c.o.Topic, err)
	}
	return nil
}
