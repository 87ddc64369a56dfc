package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

// WholeMessage is the Row of a message that was refused as a whole.
const WholeMessage = -1

// Quarantined is a message or a row that was refused.
type Quarantined struct {
	Topic     string
	Partition int32
	Offset    int64
	Row       int32 // index in the message, or WholeMessage
	schemas.Fault
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

// ReadQuarantine reads a quarantine file, called name in errors, which wrap schemas.ErrCorrupt. What it returns may
// alias data.
func ReadQuarantine(name string, data []byte) (rows []Quarantined, err error) {
	corrupt := func(why any) error { return fmt.Errorf("%w: quarantine %s: %v", schemas.ErrCorrupt, name, why) }
	defer func() {
		if r := recover(); r != nil {
			rows, err = nil, corrupt(fmt.Sprintf("reading it panicked: %v", r))
		}
	}()
	stream, err := streamOfFile(data)
	if err != nil {
		return nil, corrupt(err)
	}
	limits := Limits{MaxMessage: len(data), MaxUncompressed: int64(len(data)), MaxRows: math.MaxInt32}
	frames, fault := arrowguard.Scan(stream, limits.guard(), nil)
	if fault != nil {
		return nil, corrupt(fault)
	}
	schema, batches, fault := readStream(frames)
	if fault != nil {
		return nil, corrupt(fault)
	}
	if err := schemas.CheckKind(schema.Metadata(), schemas.KindQuarantine); err != nil {
		return nil, corrupt(err)
	}
	if want := schemas.QuarantineSchema(); !schema.Equal(want) || !schema.Metadata().Equal(want.Metadata()) {
		return nil, corrupt("its schema is another one")
	}
	for _, batch := range batches {
		rows = appendQuarantined(rows, batch)
	}
	return rows, nil
}

// ReadPayload reads a payload, or what it was mended to, as messages are read, as far as Arrow goes: whether its columns are
// those of an index is not looked at. What it returns may alias the payload.
func ReadPayload(payload []byte, limits Limits) (batches []arrow.RecordBatch, err error) {
	defer func() {
		if r := recover(); r != nil {
			batches, err = nil, schemas.Faultf(schemas.ReasonMalformed, "reading it panicked: %v", r)
		}
	}()
	frames, fault := arrowguard.Scan(payload, limits.guard(), nil)
	if fault != nil {
		return nil, fault
	}
	_, batches, fault = readStream(frames)
	if fault != nil {
		return nil, fault
	}
	return batches, nil
}

// fileMagic is at both ends of an Arrow file: with two bytes of padding at the begin, after the length of the footer at
// the end.
const fileMagic = "ARROW1"

// streamOfFile is the complete stream that is inside an Arrow file. The footer only repeats where its batches are; read
// as a stream a file can be guarded like a message.
func streamOfFile(data []byte) ([]byte, error) {
	const head, tail = len(fileMagic) + 2, 4 + len(fileMagic)
	if len(data) < head+tail || string(data[:len(fileMagic)]) != fileMagic || string(data[len(data)-len(fileMagic):]) != fileMagic {
		return nil, errors.New("it is no Arrow file")
	}
	end := len(data) - tail
	footer := binary.LittleEndian.Uint32(data[end:])
	if int64(footer) > int64(end-head) {
		return nil, fmt.Errorf("its footer claims %d bytes of %d", footer, len(data))
	}
	return data[head : end-int(footer)], nil
}

func appendQuarantined(rows []Quarantined, batch arrow.RecordBatch) []Quarantined {
	for i := range int(batch.NumRows()) {
		q := Quarantined{
			Topic:     batch.Column(0).(*array.String).Value(i),
			Partition: batch.Column(1).(*array.Int32).Value(i),
			Offset:    batch.Column(2).(*array.Int64).Value(i),
			Row:       WholeMessage,
			Fault: schemas.Fault{
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
