package ingest

import (
	"fmt"
	"io"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// frameReader hands guarded frames to the Arrow reader without copying them.
//
// ipc.NewReader would copy each body, and ignores its own limits (arrow-go 18.8.0); a reader of our own does neither.
type frameReader struct {
	frames []frame
}

func (r *frameReader) Message() (*ipc.Message, error) {
	if len(r.frames) == 0 {
		return nil, io.EOF
	}
	f := r.frames[0]
	r.frames = r.frames[1:]
	return ipc.NewMessage(memory.NewBufferBytes(f.metadata), memory.NewBufferBytes(f.body)), nil
}

func (r *frameReader) Retain()  {}
func (r *frameReader) Release() {}

// readStream reads the batches of guarded frames and checks everything inside them that reading relies on: lengths,
// string and list offsets, dictionary indices, null counts, UTF-8. Uncompressed batches alias the frames.
func readStream(frames []frame) (*arrow.Schema, []arrow.RecordBatch, *Fault) {
	// Strings are handed out that alias decompressed buffers: only the collector may free those.
	mem := ipc.WithAllocator(memory.NewGoAllocator())
	r, err := ipc.NewReaderFromMessageReader(&frameReader{frames}, mem)
	if err != nil {
		return nil, nil, faultf(schemas.ReasonMalformed, "stream: %v", err)
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
		return nil, nil, faultf(schemas.ReasonMalformed, "stream: %v", err)
	}
	return r.Schema(), batches, nil
}

func checkBatch(batch arrow.RecordBatch) *Fault {
	for i, column := range batch.Columns() {
		name := batch.ColumnName(i)
		if int64(column.Len()) != batch.NumRows() {
			return faultf(schemas.ReasonMalformed, "column %q has %d values in a batch of %d rows", name, column.Len(), batch.NumRows())
		}
		// A null array as the library itself reads it has fewer buffers than its validation asks for (arrow-go 18.8.0).
		if column.DataType().ID() == arrow.NULL {
			continue
		}
		if err := validate(column); err != nil {
			return faultf(schemas.ReasonMalformed, "column %q: %v", name, err)
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

// aligned is p, or a copy of it that begins at a multiple of 8 bytes as the numbers in it need.
func aligned(p []byte) []byte {
	if uintptr(unsafe.Pointer(unsafe.SliceData(p)))%alignment == 0 {
		return p
	}
	words := make([]uint64, (len(p)+alignment-1)/alignment)
	copied := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), alignment*len(words))
	return copied[:copy(copied, p)]
}
