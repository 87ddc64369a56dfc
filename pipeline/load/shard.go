package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/follow"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/schemas"
)

// shard is the chain of the part in a shard.
type shard struct {
	*loader
	log       *commit.Log
	partition int
	follower  *follow.Follower
	logger    *slog.Logger
	head      commit.Head // of the chain when the run began
	of        schemas.Load

	start   int64 // of what is in hand
	data    ingest.Data
	bytes   int64         // of data, about
	written chan struct{} // closed when all that was cut before is committed; nil for nothing yet
}

// next is the first row of the part that the chain does not have yet.
func (s *shard) next() int64 { return max(0, s.start-s.of.Base-1) }

// offset is that of a row of the part.
func (s *shard) offset(number int64) int64 { return s.of.Base + 1 + number }

// take decodes a piece of a file, whose first row has a number in the part, and cuts what is large enough.
func (l *loader) take(ctx context.Context, g *errgroup.Group, file string, batch arrow.RecordBatch, number int64) error {
	end, behind := number+batch.NumRows(), false
	for _, s := range l.shards {
		at := s.next()
		behind = behind || at < end
		if number < at && at < end { // another version of this program may have cut pieces otherwise
			for _, piece := range []arrow.RecordBatch{batch.NewSlice(0, at-number), batch.NewSlice(at-number, batch.NumRows())} {
				if err := l.take(ctx, g, file, piece, number); err != nil {
					return err
				}
				number += piece.NumRows()
			}
			return nil
		}
	}
	l.count(batch.NumRows())
	if !behind {
		return nil
	}
	pieces, err := produce.Split(ctx, batch, l.spec.Topic.Partitions, l.spec.ShardOf, len(l.Shards))
	if err != nil {
		return err
	}
	for _, s := range l.shards {
		piece := pieces[s.log.Shard()]
		if err := s.add(file, piece, number); err != nil {
			return err
		}
		if rows := s.data.Rows; rows.Len()+len(s.data.Deletes)+len(s.data.Refused) >= l.FlushRows || s.bytes >= l.FlushBytes {
			if err := s.cut(ctx, g, s.offset(end)); err != nil {
				return err
			}
		}
	}
	return nil
}

// count counts rows of the part that were read or passed over.
func (l *loader) count(rows int64) {
	l.report.Read += rows
	l.Metrics.read.Add(float64(rows))
	l.Read(rows)
}

// poisonRows are the fewest of which not nearly all may be refused.
const poisonRows = 1000

// rowBytes is what a row takes beside its vector, about.
const rowBytes = 64

// add decodes the rows of a piece that the chain does not have; number is that of the first row of the batch.
func (s *shard) add(file string, piece produce.Piece, number int64) error {
	if s.data.Rows == nil {
		s.data = ingest.Data{Rows: segment.NewRows(s.spec)}
	}
	if len(piece.Rows) == 0 || number < s.next() {
		return nil
	}
	d := &s.data
	n, nd, nr := d.Rows.Len(), len(d.Deletes), len(d.Refused)
	m := ingest.Message{Topic: s.spec.Topic.Name, Partition: int32(s.partition), Timestamp: s.of.Timestamp, Watermark: s.of.Timestamp, Value: piece.Message}
	if err := s.decoder.Decode(m, d.Rows, &d.Deletes, func(q ingest.Quarantined) { d.Refused = append(d.Refused, q) }); err != nil {
		return err
	}
	place := func(o *segment.Order) { o.Offset, o.Row = s.offset(number+piece.Rows[o.Row]), 0 }
	for i := range d.Rows.Orders[n:] {
		place(&d.Rows.Orders[n+i])
	}
	for i := range d.Deletes[nd:] {
		place(&d.Deletes[nd+i].Order)
	}
	for i := range d.Refused[nr:] {
		q := &d.Refused[nr+i]
		if q.Row == ingest.WholeMessage && len(piece.Rows) > 1 { // one row by itself is not what its file is like
			return fmt.Errorf("row %d of the part and those after it: %s: %s", number+piece.Rows[0], q.Reason, q.Detail)
		}
		row := number + piece.Rows[max(q.Row, 0)]
		q.Offset, q.Row, q.Detail = s.offset(row), 0, fmt.Sprintf("%s (row %d of part %d of load %s, in %s)", q.Detail, row, s.Part, s.Name, file)
		s.bytes += int64(len(q.Payload))
	}
	if refused := len(d.Refused) - nr; !s.AcceptPoison && len(piece.Rows) >= poisonRows && refused > len(piece.Rows)*9/10 {
		q := &d.Refused[nr]
		return fmt.Errorf("%d of the %d rows from %d of the part on are refused, allowed: 90 %%; the first one: %s: %s; --accept-poison quarantines them", refused, len(piece.Rows), number, q.Reason, q.Detail)
	}
	s.bytes += max(int64(d.Rows.Len()-n)*int64(4*s.spec.Dim()+rowBytes), int64(len(piece.Message)))
	return nil
}

// cut commits what is in hand as the offsets up to end, once there is room for it. It goes on before that is done.
func (s *shard) cut(ctx context.Context, g *errgroup.Group, end int64) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	data, record, before, written := s.data, s.record(s.start, end, &s.of), s.written, make(chan struct{})
	s.start, s.data, s.bytes, s.written = end, ingest.Data{Rows: segment.NewRows(s.spec)}, 0, written
	record.Produced = s.of.Timestamp
	g.Go(func() error {
		defer func() { <-s.writing }()
		begun := time.Now()
		if err := data.Put(ctx, s.log, s.follower.Model(), s.Level, record, s.insist); err != nil {
			return fmt.Errorf("partition %d [%d, %d): %w", s.partition, record.Start, record.End, err)
		}
		if before != nil {
			select {
			case <-before:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.append(ctx, record); err != nil {
			return err
		}
		close(written)
		s.logger.Debug("committed", "partition", s.partition, "start", record.Start, "end", record.End, "rows", record.Rows, "took", time.Since(begun).Round(time.Millisecond))
		return nil
	})
	return nil
}

// end commits what is left of a part of so many rows, and that it is done.
func (l *loader) end(ctx context.Context, g *errgroup.Group, rows int64) error {
	for _, s := range l.shards {
		end := s.offset(rows)
		if s.next() > rows {
			return fmt.Errorf("partition %d has rows up to %d of the part, the files have %d: they are others than before", s.partition, s.next(), rows)
		}
		if d := &s.data; d.Rows != nil && d.Rows.Len()+len(d.Deletes)+len(d.Refused) > 0 {
			if err := s.cut(ctx, g, end); err != nil {
				return err
			}
		}
	}
	for _, s := range l.shards {
		if s.written != nil {
			select {
			case <-s.written:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		of := s.of
		of.Done = true
		record := s.record(s.start, s.offset(rows)+1, &of)
		record.AtEnd = true
		if err := s.append(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// committed adds a commit to the report.
func (l *loader) committed(c *schemas.Commit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Metrics.committed(c)
	l.report.Commits++
	l.report.Rows += int64(c.Rows)
	l.report.Deletes += int64(c.Deletes)
	for reason, n := range c.Quarantined {
		l.report.Refused[reason] += n
		l.report.Quarantined += int64(n)
	}
}

func (s *shard) record(start, end int64, of *schemas.Load) *schemas.Commit {
	own := *of
	return &schemas.Commit{
		Format: schemas.CommitFormat, Partition: s.partition, Start: start, End: end,
		Load: &own, Watermark: max(s.head.Watermark, of.Timestamp),
	}
}

// append writes a record. Asked again it is the very same record, so that the store can tell whether it is there.
func (s *shard) append(ctx context.Context, record *schemas.Commit) error {
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	record.Writer, record.Created = s.Writer+"-"+id.String(), time.Now().UTC()
	err = s.insist(ctx, func() error { return s.log.Append(ctx, record) })
	if errors.Is(err, schemas.ErrFenced) {
		return fmt.Errorf("another process loads this part, or did: %w", err)
	}
	if err == nil {
		s.committed(record)
	}
	return err
}

// insist repeats what passes by itself.
func (l *loader) insist(ctx context.Context, op func() error) error {
	return ingest.UntilPassed(ctx, op, func(err error) { l.Logger.Warn("no answer, will try again", "error", err) })
}
