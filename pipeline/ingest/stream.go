package ingest

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

// readStream reads the batches of guarded frames and checks everything inside them that reading relies on: lengths,
// string and list offsets, dictionary indices, null counts, UTF-8. Uncompressed batches alias the frames.
func readStream(frames []arrowguard.Frame) (*arrow.Schema, []arrow.RecordBatch, *schemas.Fault) {
	// Strings are handed out that alias decompressed buffers: only the collector may free those.
	mem := ipc.WithAllocator(memory.NewGoAllocator())
	r, err := ipc.NewReaderFromMessageReader(arrowguard.Messages(frames), mem)
	if err != nil {
		return nil, nil, schemas.Faultf(schemas.ReasonMalformed, "stream: %v", err)
	}
	defer r.Release()
	var batches []arrow.RecordBatch
	for r.Next() {
		batch := r.RecordBatch()
		if fault := checkBatch(batch); fault != nil {
			return nil, nil, fault
		}
		batch.Retain()
		batches = append(batches, batch)
	}
	if err := r.Err(); err != nil {
		return nil, nil, schemas.Faultf(schemas.ReasonMalformed, "stream: %v", err)
	}
	return r.Schema(), batches, nil
}

func checkBatch(batch arrow.RecordBatch) *schemas.Fault {
	for i, column := range batch.Columns() {
		name := batch.ColumnName(i)
		if int64(column.Len()) != batch.NumRows() {
			return schemas.Faultf(schemas.ReasonMalformed, "column %q has %d values in a batch of %d rows", name, column.Len(), batch.NumRows())
		}
		// A null array as the library itself reads it has fewer buffers than its validation asks for (arrow-go 18.8.0).
		if column.DataType().ID() == arrow.NULL {
			continue
		}
		if err := validate(column); err != nil {
			return schemas.Faultf(schemas.ReasonMalformed, "column %q: %v", name, err)
		}
	}
	return nil
}

// validate is array.ValidateFull, which panics on some of the offsets that it looks for (arrow-go 18.8.0).
func validate(column arrow.Array) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("offsets are out of range: %v", r)
		}
	}()
	return array.ValidateFull(column)
}
