// Package produce turns Arrow record batches into the messages of an index's topic.
//
// Every row goes to the partition of its id, so all versions of an item stand in one partition in the order in which they
// were made; that is what makes the last one win. A message is one complete Arrow IPC stream with the schema of its
// source, and one batch of rows becomes at most one message for each partition.
package produce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// Sender takes messages; *source.Producer is one.
type Sender interface {
	Send(ctx context.Context, messages ...source.Message) error
}

// Batch splits batch by the partition of each row's id, and sends what comes out. Rows with a null id go to partition 0:
// the ingestor is to quarantine them, not the producer to lose them. It returns the number of rows that were acknowledged.
func Batch(ctx context.Context, to Sender, partitions int, batch arrow.RecordBatch) (int64, error) {
	messages, err := Messages(ctx, partitions, batch)
	if err != nil {
		return 0, err
	}
	if err := to.Send(ctx, messages...); err != nil {
		return 0, err
	}
	return batch.NumRows(), nil
}

// Messages splits batch by the partition of each row's id.
func Messages(ctx context.Context, partitions int, batch arrow.RecordBatch) (messages []source.Message, err error) {
	pieces, err := Split(ctx, batch, partitions, func(partition int) int { return partition }, partitions)
	if err != nil {
		return nil, err
	}
	for p, piece := range pieces {
		if piece.Message != nil {
			messages = append(messages, source.Message{Partition: p, Value: piece.Message, Rows: int64(len(piece.Rows))})
		}
	}
	return messages, nil
}

// Piece is the rows of a batch that belong together.
type Piece struct {
	Rows    []int64 // of the batch, ascending
	Message []byte  // a complete Arrow stream of them; nil for none
}

// Split divides batch into n pieces: of tells from the partition of a row's id, of so many, in which one the row is.
func Split(ctx context.Context, batch arrow.RecordBatch, partitions int, of func(partition int) int, n int) (pieces []Piece, err error) {
	defer damaged(&err)
	rows, err := byPartition(partitions, batch, of, n)
	if err != nil {
		return nil, err
	}
	pieces = make([]Piece, n)
	for p, indices := range rows {
		if indices.Len() == 0 {
			continue
		}
		part, numbers := batch, indices.NewInt64Array()
		pieces[p].Rows = numbers.Int64Values()
		if int64(numbers.Len()) == batch.NumRows() {
			part.Retain()
		} else if part, err = take(ctx, batch, numbers); err != nil {
			return nil, fmt.Errorf("rows of part %d: %w", p, err)
		}
		pieces[p].Message, err = Encode(part)
		part.Release()
		if err != nil {
			return nil, fmt.Errorf("rows of part %d: %w", p, err)
		}
	}
	return pieces, nil
}

// Encode writes batch as one complete Arrow IPC stream.
func Encode(batch arrow.RecordBatch) ([]byte, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(batch.Schema()))
	if err := w.Write(batch); err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return b.Bytes(), nil
}

func byPartition(partitions int, batch arrow.RecordBatch, of func(partition int) int, n int) ([]*array.Int64Builder, error) {
	found := batch.Schema().FieldIndices(schemas.ColumnID)
	if len(found) != 1 {
		return nil, fmt.Errorf("column %q: there are %d, there must be exactly one", schemas.ColumnID, len(found))
	}
	ids := batch.Column(found[0])
	text, err := idText(ids)
	if err != nil {
		return nil, err
	}
	rows := make([]*array.Int64Builder, n)
	for p := range rows {
		rows[p] = array.NewInt64Builder(memory.DefaultAllocator)
	}
	for i := range ids.Len() {
		p := 0
		if ids.IsValid(i) {
			p = source.PartitionOf(text(i), partitions)
		}
		rows[of(p)].Append(int64(i))
	}
	return rows, nil
}

// idText returns the canonical text of an id, see schemas.StoredID.
func idText(ids arrow.Array) (func(i int) string, error) {
	switch ids := ids.(type) {
	case *array.String:
		return ids.Value, nil
	case *array.LargeString:
		return ids.Value, nil
	case *array.Int64:
		return func(i int) string { return strconv.FormatInt(ids.Value(i), 10) }, nil
	case *array.Uint64:
		return func(i int) string { return strconv.FormatUint(ids.Value(i), 10) }, nil
	case *array.FixedSizeBinary:
		if w := ids.DataType().(*arrow.FixedSizeBinaryType).ByteWidth; w == 16 {
			return func(i int) string { return uuid.UUID(ids.Value(i)).String() }, nil
		}
	}
	return nil, fmt.Errorf("column %q: type %s, allowed: utf8, large_utf8, int64, uint64, fixed_size_binary[16]", schemas.ColumnID, ids.DataType())
}

func take(ctx context.Context, batch arrow.RecordBatch, indices arrow.Array) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, batch.NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, c := range batch.Columns() {
		taken, err := compute.TakeArray(ctx, c, indices)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", batch.ColumnName(i), err)
		}
		columns[i] = taken
	}
	return array.NewRecordBatch(batch.Schema(), columns, int64(indices.Len())), nil
}

// damaged, deferred, turns a panic of the Arrow library into an error: it trusts what it reads.
func damaged(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("damaged Arrow data: %v", fault)
	}
}

// All sends everything that r has, in batches of at most rows rows, and calls done with the rows of each batch that was
// acknowledged.
func All(ctx context.Context, to Sender, partitions int, r *files.Reader, rows int64, done func(rows int64)) error {
	if rows < 1 {
		return fmt.Errorf("rows of a batch: %d, allowed: at least 1", rows)
	}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for from := int64(0); from < batch.NumRows(); from += rows {
			slice := batch.NewSlice(from, min(from+rows, batch.NumRows()))
			n, err := Batch(ctx, to, partitions, slice)
			slice.Release()
			if err != nil {
				return err
			}
			done(n)
		}
	}
}
