package ingest

import (
	"context"
	"time"

	"github.com/twmb/avro"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
)

// consumer makes cuts of what is fetched during one session.
type consumer struct {
	*partition
	decoder *Decoder
	cut     cut
	flood   flood
	due     *time.Timer // runs while the cut is not empty, until it is committed at the latest
	begun   time.Time   // when the first record of the cut came
	flushed time.Time   // when the last cut was committed
	high    int64       // end of the log as of the last fetch
}

// quietShare of the flush age must pass without a batch before a cut that reaches to the end of the log is taken for all that is coming.
const quietShare = 10

// consume decodes batches, and commits a cut when it is large enough or old enough, or when all that there was is in it and the last one is old
// enough. It ends with ctx or with an error.
func (p *partition) consume(ctx context.Context, head commit.Head, found <-chan fetched) error {
	spec := p.log.Spec()
	decoder, err := NewDecoder(spec, p.o.Level, p.o.Limits, p.ignored)
	if err != nil {
		return err
	}
	if p.o.Schemas != nil {
		decoder.Ask(func(id uint32) (*avro.Schema, error) { return p.o.Schemas.Schema(ctx, id) })
	}
	c := &consumer{partition: p, decoder: decoder, due: time.NewTimer(p.o.FlushAge), high: head.Next}
	c.due.Stop()
	defer c.due.Stop()
	c.cut.watermark = head.Watermark
	c.cut.begin(spec, head.Next)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.due.C:
			err = c.flush(ctx)
		case f := <-found:
			err = c.take(ctx, f)
		}
		if err != nil {
			return err
		}
	}
}

// take adds a batch to the cut.
func (c *consumer) take(ctx context.Context, f fetched) error {
	if f.err != nil {
		// What is in hand may be gone from the log by the time that someone asks for it again.
		if err := c.flush(ctx); err != nil {
			return err
		}
		return f.err
	}
	c.high = f.HighWatermark
	var next time.Time // of the first record that is not committed, if it is this batch's
	if c.cut.empty() && len(f.Records) > 0 {
		next = f.Records[0].Timestamp
	}
	c.metrics.lagging(c.id, c.cut.start, c.high, next)
	for i, r := range f.Records {
		if err := c.add(ctx, r); err != nil {
			return err
		}
		if i == len(f.Records)-1 {
			break
		}
		if err := c.extend(ctx, r.Offset+1); err != nil {
			return err
		}
	}
	// Beyond the last record there may be markers of transactions, and offsets that were compacted away.
	if err := c.extend(ctx, f.Next); err != nil {
		return err
	}
	c.await()
	return nil
}

// await sets when the cut is committed if nothing more comes: when its first record is as old as the flush age allows; or sooner if the
// partition has been read to its end, but no sooner than that after the cut before, so that there are no more of them.
func (c *consumer) await() {
	if c.cut.empty() {
		return
	}
	due := c.begun.Add(c.o.FlushAge)
	if c.cut.end >= c.high {
		soon := time.Now().Add(c.o.FlushAge / quietShare)
		if next := c.flushed.Add(c.o.FlushAge); soon.Before(next) {
			soon = next
		}
		if soon.Before(due) {
			due = soon
		}
	}
	c.due.Reset(time.Until(due))
}

// add decodes a record into the cut. If it is one too many of those that are refused, what is in hand is committed, and the
// partition has to stop.
func (c *consumer) add(ctx context.Context, r source.Record) error {
	topic, rows, bad := c.log.Spec().Topic.Name, c.cut.len(), len(c.cut.bad)
	err := c.cut.add(c.decoder, topic, c.id, r)
	if err != nil && passes(err) { // its schema cannot be had now; what came before it does not wait for that
		if err := c.flush(ctx); err != nil {
			return err
		}
		rows, bad = c.cut.len(), len(c.cut.bad)
		err = c.insist(ctx, "schema", func() error { return c.cut.add(c.decoder, topic, c.id, r) })
	}
	if err != nil {
		return err
	}
	if c.o.Tracer != nil {
		c.cut.traced(r)
	}
	c.flood.add(c.cut.len()-rows, c.cut.bad[bad:])
	if c.o.AcceptPoison || !c.flood.poisoned() {
		return nil
	}
	c.cut.end = r.Offset + 1
	if err := c.flush(ctx); err != nil {
		return err
	}
	return c.flood.err(topic, c.id, r.Offset+1)
}

// extend makes the cut reach to an offset.
func (c *consumer) extend(ctx context.Context, end int64) error {
	if c.cut.empty() {
		c.begun = time.Now()
	}
	c.cut.end = end
	if c.cut.len() >= c.o.FlushRows || c.cut.bytes >= c.flushBytes {
		return c.flush(ctx)
	}
	return nil
}

// flush commits the cut, unless it is empty, and begins the next one.
func (c *consumer) flush(ctx context.Context) error {
	if c.cut.empty() {
		return nil
	}
	c.due.Stop()
	if err := c.commit(ctx, &c.cut, c.high); err != nil {
		return err
	}
	c.flushed = time.Now()
	end := c.cut.end
	c.offsets.mark(c.id, end)
	c.metrics.lagging(c.id, end, c.high, timeOf(c.cut.produced))
	c.cut.begin(c.log.Spec(), end)
	return nil
}
