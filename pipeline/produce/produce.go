// Package produce turns Arrow record batches into the messages of an index's topic.
//
// Every row goes to the partition of its id, so all versions of an item stand in one partition in the order in which they
// were made; that is what makes the last one win. A message is one complete Arrow IPC stream with the schema of its
// source. One batch of rows becomes one message for each partition, or several if the topic takes no larger ones.
package produce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// Topic is what decides how rows are put into messages.
type Topic struct {
	Partitions int
	MaxMessage int64 // bytes of the value of a message, 0 for no limit; a row that alone is larger is sent alone
}

// Batch splits batch by the partition of each row's id, and sends what comes out. Rows with a null id go to partition 0:
// the ingestor is to quarantine them, not the producer to lose them. It returns the number of rows that were acknowledged.
func Batch(ctx context.Context, to Sender, topic Topic, batch arrow.RecordBatch) (int64, error) {
	messages, err := Messages(ctx, topic, batch)
	if err != nil {
		return 0, err
	}
	if err := to.Send(ctx, messages...); err != nil {
		return 0, err
	}
	return batch.NumRows(), nil
}

// Messages splits batch by the partition of each row's id. Those of a partition are in the order of the rows.
func Messages(ctx context.Context, topic Topic, batch arrow.RecordBatch) (messages []source.Message, err error) {
	defer damaged(&err)
	pieces, err := Split(ctx, batch, topic.Partitions, func(partition int) int { return partition }, topic.Partitions)
	if err != nil {
		return nil, err
	}
	for p, piece := range pieces {
		small, err := cut(ctx, batch, piece, topic.MaxMessage)
		if err != nil {
			return nil, fmt.Errorf("rows of partition %d: %w", p, err)
		}
		for _, piece := range small {
			messages = append(messages, source.Message{Partition: p, Value: piece.Message, Rows: int64(len(piece.Rows))})
		}
	}
	return messages, nil
}

// cut divides the rows of a piece of batch evenly, until each message has at most limit bytes, or one row.
func cut(ctx context.Context, batch arrow.RecordBatch, piece Piece, limit int64) ([]Piece, error) {
	n, size := int64(len(piece.Rows)), int64(len(piece.Message))
	switch {
	case n == 0:
		return nil, nil
	case n == 1 || limit == 0 || size <= limit:
		return []Piece{piece}, nil
	}
	parts := (size + limit - 1) / limit
	var all []Piece
	for rows := range slices.Chunk(piece.Rows, int((n+parts-1)/parts)) {
		message, err := encodeRows(ctx, batch, rows)
		if err != nil {
			return nil, err
		}
		some, err := cut(ctx, batch, Piece{Rows: rows, Message: message}, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
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
	for p, some := range rows {
		if len(some) == 0 {
			continue
		}
		pieces[p].Rows = some
		if pieces[p].Message, err = encodeRows(ctx, batch, some); err != nil {
			return nil, fmt.Errorf("rows of part %d: %w", p, err)
		}
	}
	return pieces, nil
}

// encodeRows writes these rows of batch, ascending, as one complete Arrow IPC stream.
func encodeRows(ctx context.Context, batch arrow.RecordBatch, rows []int64) ([]byte, error) {
	if int64(len(rows)) == batch.NumRows() {
		return Encode(batch)
	}
	numbers := array.NewInt64Builder(memory.DefaultAllocator)
	numbers.AppendValues(rows, nil)
	part, err := take(ctx, batch, numbers.NewInt64Array())
	if err != nil {
		return nil, err
	}
	defer part.Release()
	return Encode(part)
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

func byPartition(partitions int, batch arrow.RecordBatch, of func(partition int) int, n int) ([][]int64, error) {
	found := batch.Schema().FieldIndices(schemas.ColumnID)
	if len(found) != 1 {
		return nil, fmt.Errorf("column %q: there are %d, there must be exactly one", schemas.ColumnID, len(found))
	}
	ids := batch.Column(found[0])
	text, err := idText(ids)
	if err != nil {
		return nil, err
	}
	rows := make([][]int64, n)
	for i := range ids.Len() {
		p := 0
		if ids.IsValid(i) {
			p = source.PartitionOf(text(i), partitions)
		}
		at := of(p)
		rows[at] = append(rows[at], int64(i))
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
func All(ctx context.Context, to Sender, topic Topic, r *files.Reader, rows int64, done func(rows int64)) error {
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
			n, err := Batch(ctx, to, topic, slice)
			slice.Release()
			if err != nil {
				return err
			}
			done(n)
		}
	}
}
