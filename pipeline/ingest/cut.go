package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// cut is what was decoded of the offsets [start, end) of a partition and is not committed yet.
type cut struct {
	start, end   int64
	rows         *segment.Rows
	deletes      []segment.Tombstone
	bad          []Quarantined
	bytes        int64 // decoded, about
	messages     int
	messageBytes int64
	causes       trace.Causes // spans of the messages
	watermark    int64        // ms since the epoch: largest timestamp of the chain up to end
	produced     int64        // ms since the epoch: largest timestamp of the range alone
}

// rowBytes is what a row takes beside its vector, about: order, id, attributes. A vector counts as float32 whatever is stored of it, for
// it, its int8s and its codes are in memory twice while a segment is written.
const rowBytes = 64

// timeOf is the time of a timestamp in ms since the epoch, zero for 0: none.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// empty says whether there is nothing to commit.
func (c *cut) empty() bool { return c.end == c.start }

// len is the number of rows of all kinds.
func (c *cut) len() int { return c.rows.Len() + len(c.deletes) + len(c.bad) }

// begin makes c an empty cut that goes on at an offset.
func (c *cut) begin(spec *schemas.Spec, start int64) {
	// Room for a large cut is given back when small ones follow: a partition is behind only for a while.
	if c.rows == nil || 4*len(c.rows.Vectors) < cap(c.rows.Vectors) {
		c.rows = segment.NewRows(spec)
	}
	c.rows.Reset()
	clear(c.deletes)
	clear(c.bad)
	*c = cut{start: start, end: start, rows: c.rows, deletes: c.deletes[:0], bad: c.bad[:0], watermark: c.watermark}
}

// add decodes a record that is at or beyond the end of the cut, which the caller moves behind it. After an error nothing of it is in
// the cut, its time neither.
func (c *cut) add(d *Decoder, topic string, partition int, r source.Record) error {
	stamp := int64(0)
	if !r.Timestamp.IsZero() {
		stamp = max(0, r.Timestamp.UnixMilli())
	}
	watermark := max(c.watermark, stamp)
	m := Message{Topic: topic, Partition: int32(partition), Offset: r.Offset, Timestamp: stamp, Watermark: watermark, Key: r.Key, Value: r.Value}
	rows, refused := c.rows.Len(), int64(0)
	if err := d.Decode(m, c.rows, &c.deletes, func(q Quarantined) {
		c.bad = append(c.bad, q)
		refused += int64(len(q.Payload))
	}); err != nil {
		return err
	}
	c.watermark, c.produced = watermark, max(c.produced, stamp)
	c.messages++
	c.messageBytes += int64(len(r.Value))
	decoded := int64(c.rows.Len()-rows) * int64(4*d.spec.Dim()+rowBytes)
	c.bytes += max(decoded, int64(len(r.Value))) + refused
	return nil
}

// traced notes the span that a record comes from, if it names one.
func (c *cut) traced(r source.Record) {
	for _, h := range r.Headers {
		if h.Key == trace.Header {
			c.causes.Add(string(h.Value))
		}
	}
}

// commit writes what is in the cut, and then the record that makes it part of the index. Whatever does not answer is
// asked until it does. The log was last seen to end at high. An error that wraps schemas.ErrFenced means that another ingestor was first.
func (p *partition) commit(ctx context.Context, c *cut, high int64) (err error) {
	started := time.Now()
	ctx, span := p.o.Tracer.Continue(ctx, "commit", &c.causes)
	defer func() { span.End(err) }()
	span.Int("adastream.partition", int64(p.id))
	span.Int("adastream.start", c.start)
	span.Int("adastream.end", c.end)
	span.Int("adastream.rows", int64(c.rows.Len()))
	span.Int("adastream.deletes", int64(len(c.deletes)))
	span.Int("adastream.quarantined", int64(len(c.bad)))
	record := &schemas.Commit{
		Format:    schemas.CommitFormat,
		Partition: p.id,
		Start:     c.start,
		End:       c.end,
		Rows:      c.rows.Len(),
		Deletes:   len(c.deletes),
		AtEnd:     c.end >= high,
		Watermark: c.watermark,
		Produced:  c.produced,
		Trace:     span.Parent(),
	}
	data := Data{Rows: c.rows, Deletes: c.deletes, Refused: c.bad}
	if err := data.Put(ctx, p.log, p.follower.Model(), p.o.Level, record, func(ctx context.Context, op func() error) error { return p.insist(ctx, "put", op) }); err != nil {
		return fmt.Errorf("%v: %w", p.span(record), err)
	}
	if err := p.append(ctx, record); err != nil {
		return err
	}
	p.metrics.committed(record, c, time.Since(started))
	p.refusals.tell(p.logger, c.bad)
	p.logger.DebugContext(ctx, "committed", "start", record.Start, "end", record.End, "rows", record.Rows, "took", time.Since(started).Round(time.Millisecond))
	return nil
}

// append writes the record. Asked again it is the very same record, so that the store can tell whether it is there.
func (p *partition) append(ctx context.Context, record *schemas.Commit) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("writer id of %v: %w", p.span(record), err)
	}
	record.Writer = p.o.Writer + "-" + id.String()
	record.Created = time.Now().UTC()
	return p.insist(ctx, "append", func() error { return p.log.Append(ctx, record) })
}

// span names the range of a record in errors.
func (p *partition) span(record *schemas.Commit) string {
	return fmt.Sprintf("%s/%d [%d, %d)", p.log.Spec().Topic.Name, p.id, record.Start, record.End)
}
