package ingest

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// WholeMessage is the Row of a message that was refused as a whole.
const WholeMessage = -1

// Quarantined is a message or a row that was refused.
type Quarantined struct {
	Topic     string
	Partition int32
	Offset    int64
	Row       int32 // index in the message, or WholeMessage
	Fault
	Timestamp int64  // ms since the epoch: the record's own
	Payload   []byte // the message, or an Arrow stream of the one row: what to produce again once it is mended
}

// WriteQuarantine is the quarantine file of rows, in their order.
func WriteQuarantine(rows []Quarantined) ([]byte, error) {
	schema := schemas.QuarantineSchema()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	payload := 0
	for _, q := range rows {
		payload += len(q.Payload)
	}
	b.Field(7).(*array.BinaryBuilder).ReserveData(payload)
	for _, q := range rows {
		b.Field(0).(*array.StringBuilder).Append(q.Topic)
		b.Field(1).(*array.Int32Builder).Append(q.Partition)
		b.Field(2).(*array.Int64Builder).Append(q.Offset)
		if row := b.Field(3).(*array.Int32Builder); q.Row == WholeMessage {
			row.AppendNull()
		} else {
			row.Append(q.Row)
		}
		b.Field(4).(*array.StringBuilder).Append(q.Reason)
		b.Field(5).(*array.StringBuilder).Append(q.Detail)
		b.Field(6).(*array.Int64Builder).Append(q.Timestamp)
		b.Field(7).(*array.BinaryBuilder).Append(q.Payload)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()

	out := bytes.NewBuffer(make([]byte, 0, payload+4096))
	w, err := ipc.NewFileWriter(out, ipc.WithSchema(schema))
	if err != nil {
		return nil, fmt.Errorf("write quarantine: %w", err)
	}
	if err := w.Write(batch); err != nil {
		return nil, fmt.Errorf("write quarantine: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write quarantine: %w", err)
	}
	return out.Bytes(), nil
}

// ReadQuarantine reads a quarantine file, called name in errors, which wrap schemas.ErrCorrupt. What it returns aliases
// data.
func ReadQuarantine(name string, data []byte) (rows []Quarantined, err error) {
	corrupt := func(why any) error { return fmt.Errorf("%w: quarantine %s: %v", schemas.ErrCorrupt, name, why) }
	defer func() {
		if r := recover(); r != nil {
			rows, err = nil, corrupt(r)
		}
	}()
	r, err := ipc.NewMappedFileReader(data)
	if err != nil {
		return nil, corrupt(err)
	}
	defer r.Close()
	if !r.Schema().Equal(schemas.QuarantineSchema()) || !r.Schema().Metadata().Equal(schemas.QuarantineSchema().Metadata()) {
		return nil, corrupt("its schema is another one")
	}
	for i := range r.NumRecords() {
		batch, err := r.RecordBatchAt(i)
		if err != nil {
			return nil, corrupt(err)
		}
		if err := array.ValidateRecordFull(batch); err != nil {
			return nil, corrupt(err)
		}
		rows = appendQuarantined(rows, batch)
	}
	return rows, nil
}

func appendQuarantined(rows []Quarantined, batch arrow.RecordBatch) []Quarantined {
	for i := range int(batch.NumRows()) {
		q := Quarantined{
			Topic:     batch.Column(0).(*array.String).Value(i),
			Partition: batch.Column(1).(*array.Int32).Value(i),
			Offset:    batch.Column(2).(*array.Int64).Value(i),
			Row:       WholeMessage,
			Fault: Fault{
				Reason: batch.Column(4).(*array.String).Value(i),
				Detail: batch.Column(5).(*array.String).Value(i),
			},
			Timestamp: batch.Column(6).(*array.Int64).Value(i),
			Payload:   batch.Column(7).(*array.LargeBinary).Value(i),
		}
		if row := batch.Column(3).(*array.Int32); row.IsValid(i) {
			q.Row = row.Value(i)
		}
		rows = append(rows, q)
	}
	return rows
}
