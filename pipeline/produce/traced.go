package produce

import (
	"context"

	"github.com/segmentio/kafka-go"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/trace"
)

// Traced sends by way of to, each time in a span that the messages name to those who read them. A nil tracer changes nothing.
func Traced(to Sender, t *trace.Tracer) Sender {
	if t == nil {
		return to
	}
	return traced{to, t}
}

type traced struct {
	to     Sender
	tracer *trace.Tracer
}

// Send implements Sender.
func (s traced) Send(ctx context.Context, messages ...source.Message) (err error) {
	ctx, span := s.tracer.Send(ctx, "produce")
	defer func() { span.End(err) }()
	span.Int("adastream.messages", int64(len(messages)))
	if parent := span.Parent(); parent != "" {
		for i := range messages {
			messages[i].Headers = append(messages[i].Headers, kafka.Header{Key: trace.Header, Value: []byte(parent)})
		}
	}
	return s.to.Send(ctx, messages...)
}
