package arrowfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Extent is a place in a file.
type Extent struct{ Start, Size int64 }

// Locate returns how many rows the batch of a file has and where its buffers lie, from the first bytes of a file that
// [Inspect] would let pass: those up to the end of what describes the batch, at least. It panics on tables that do not hold
// together: call it under recover. Whether the file is so long it cannot know.
func Locate(head []byte) (rows int64, buffers []Extent, err error) {
	if len(head) < 8 || string(head[:len(magic)]) != magic {
		return 0, nil, errors.New("not an arrow file")
	}
	at := 8
	if _, at, err = message(head, at); err != nil { // the schema, which has no body
		return 0, nil, fmt.Errorf("schema: %w", err)
	}
	meta, body, err := message(head, at)
	if err != nil {
		return 0, nil, fmt.Errorf("record batch: %w", err)
	}
	m := root(meta[8:])
	var length int64
	if at := offset(m, messageBodyLen); at != 0 {
		length = m.GetInt64(m.Pos + at)
	}
	if err := inspectBatch(meta, length); err != nil {
		return 0, nil, fmt.Errorf("record batch: %w", err)
	}
	if length > math.MaxInt64-int64(body) {
		return 0, nil, fmt.Errorf("record batch: a body of %d bytes at %d", length, body)
	}
	batch, _ := subtable(m, messageHeader)
	if at := offset(batch, batchLength); at != 0 {
		rows = batch.GetInt64(batch.Pos + at)
	}
	n := vectorLen(batch, batchBuffers)
	all := batch.Bytes[batch.Vector(offset(batch, batchBuffers)):][:n*bufferBytes]
	for i := range n {
		b := all[i*bufferBytes:]
		buffers = append(buffers, Extent{int64(body) + int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))})
	}
	return rows, buffers, nil
}

// message returns the message at a place, with its prefix, and where it ends.
func message(head []byte, at int) (meta []byte, end int, err error) {
	if at+8 > len(head) || binary.LittleEndian.Uint32(head[at:]) != continuation {
		return nil, 0, errors.New("no message begins there")
	}
	size := int64(binary.LittleEndian.Uint32(head[at+4:]))
	if size < 4 || size%8 != 0 || size > int64(len(head)-at-8) {
		return nil, 0, fmt.Errorf("a message of %d bytes, there are %d", size, len(head)-at-8)
	}
	end = at + 8 + int(size)
	return head[at:end:end], end, nil
}
