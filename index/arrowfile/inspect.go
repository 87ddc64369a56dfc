// Package arrowfile makes it safe to hand the bytes of a stored Arrow file to arrow-go, whoever wrote them.
//
// arrow-go v18.8.0 allocates by the lengths of the vectors of fields and metadata as they stand there, and by the
// uncompressed sizes of compressed buffers: a few flipped bits are gigabytes, and running out of memory is not an error
// that can be recovered from. [Inspect] looks at these lengths first.
package arrowfile

import (
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// Limits of what may stand in the footer and before the batch of a file. A spec of 64 attributes stays far below.
const (
	maxFooterBytes = 1 << 18
	maxFields      = 128
	maxMetadata    = 16      // entries
	maxTextBytes   = 1024    // of a name, or a key or value of a field's metadata or a batch's
	maxSchemaBytes = 1 << 16 // of a key or value of the schema's metadata, of which there is one: a model's has the size of each group of lists
	maxListDepth   = 2
)

// Slots of the tables in Arrow's File.fbs, Schema.fbs and Message.fbs that the checks here look at.
const (
	footerSchema, footerDictionaries, footerBatches                   = 1, 2, 3
	schemaFields, schemaMetadata                                      = 1, 2
	fieldName, fieldDictionary, fieldChildren, fieldMetadata          = 0, 4, 5, 6
	entryKey, entryValue                                              = 0, 1
	messageHeaderType, messageHeader, messageBodyLen, messageMetadata = 1, 2, 3, 4
	batchLength, batchNodes, batchBuffers, batchCompression           = 0, 1, 2, 3

	headerRecordBatch = 3
	continuation      = 0xffffffff
	blockBytes        = 24 // struct Block: offset int64, metaDataLength int32, padding, bodyLength int64
	nodeBytes         = 16 // struct FieldNode: length int64, null_count int64
	bufferBytes       = 16 // struct Buffer: offset int64, length int64
)

// trailer is the bytes behind the footer: its length and the magic.
const magic, trailer = "ARROW1", 4 + len("ARROW1")

// Inspect checks the parts of an Arrow file whose lengths the library believes before it looks for the bytes. It demands
// one uncompressed batch, no dictionaries, and buffers that are aligned to 8 bytes and lie inside the body. The tables
// themselves are read with bounds checks that panic, by the library and by this: call both under recover.
func Inspect(data []byte) error {
	if len(data) < len(magic)+2+trailer || string(data[len(data)-len(magic):]) != magic || string(data[:len(magic)]) != magic {
		return errors.New("not an arrow file")
	}
	end := len(data) - trailer
	size := int(binary.LittleEndian.Uint32(data[end:]))
	if size > maxFooterBytes || size > end-len(magic)-2 || size < 4 {
		return fmt.Errorf("footer of %d bytes in a file of %d", size, len(data))
	}
	footer := root(data[end-size : end : end])
	schema, ok := subtable(footer, footerSchema)
	if !ok {
		return errors.New("footer has no schema")
	}
	if err := inspectFields(schema, schemaFields, schemaMetadata, maxFields, 0); err != nil {
		return err
	}
	if n := vectorLen(footer, footerDictionaries); n != 0 {
		return fmt.Errorf("%d dictionaries, allowed: 0", n)
	}
	if n := vectorLen(footer, footerBatches); n != 1 {
		return fmt.Errorf("%d record batches, allowed: 1", n)
	}
	block := footer.Bytes[footer.Vector(offset(footer, footerBatches)):][:blockBytes]
	start, meta, length := int64(binary.LittleEndian.Uint64(block)), int64(int32(binary.LittleEndian.Uint32(block[8:]))), int64(binary.LittleEndian.Uint64(block[16:]))
	limit := int64(end - size)
	if start < 8 || start%8 != 0 || meta < 16 || meta%8 != 0 || start > limit-meta || length < 0 || length > limit-start-meta {
		return fmt.Errorf("record batch at %d with %d bytes of metadata and %d of body in a file of %d", start, meta, length, len(data))
	}
	if err := inspectBatch(data[start:start+meta:start+meta], length); err != nil {
		return fmt.Errorf("record batch: %w", err)
	}
	return nil
}

// inspectFields bounds the vectors of a schema or a field: both hold fields and metadata.
func inspectFields(t flatbuffers.Table, fields, metadata, limit, depth int) error {
	text := maxTextBytes
	if depth == 0 {
		text = maxSchemaBytes
	}
	if err := inspectMetadata(t, metadata, text); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	n := vectorLen(t, fields)
	if n > limit || depth > maxListDepth {
		return fmt.Errorf("schema: %d fields at depth %d, allowed: at most %d and depth %d", n, depth, limit, maxListDepth)
	}
	for i := range n {
		field := element(t, fields, i)
		if n := vectorLen(field, fieldName); n > maxTextBytes {
			return fmt.Errorf("schema: name of %d bytes, allowed: at most %d", n, maxTextBytes)
		}
		if offset(field, fieldDictionary) != 0 {
			return errors.New("schema: a field is dictionary-encoded")
		}
		if err := inspectFields(field, fieldChildren, fieldMetadata, 1, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inspectMetadata bounds the entries of metadata and their texts.
func inspectMetadata(t flatbuffers.Table, slot, text int) error {
	n := vectorLen(t, slot)
	if n > maxMetadata {
		return fmt.Errorf("%d entries of metadata, allowed: at most %d", n, maxMetadata)
	}
	for i := range n {
		entry := element(t, slot, i)
		if n := max(vectorLen(entry, entryKey), vectorLen(entry, entryValue)); n > text {
			return fmt.Errorf("metadata of %d bytes, allowed: at most %d", n, text)
		}
	}
	return nil
}

// inspectBatch checks the message of a record batch, with its prefix, before a body of length bytes.
func inspectBatch(meta []byte, length int64) error {
	if binary.LittleEndian.Uint32(meta) != continuation || int(binary.LittleEndian.Uint32(meta[4:])) != len(meta)-8 {
		return errors.New("prefix does not agree with the footer")
	}
	message := root(meta[8:])
	if at := offset(message, messageHeaderType); at == 0 || message.GetByte(message.Pos+at) != headerRecordBatch {
		return errors.New("message is of another kind")
	}
	if at := offset(message, messageBodyLen); at == 0 && length != 0 || at != 0 && message.GetInt64(message.Pos+at) != length {
		return errors.New("length of the body does not agree with the footer")
	}
	if err := inspectMetadata(message, messageMetadata, maxTextBytes); err != nil {
		return err
	}
	batch, ok := subtable(message, messageHeader)
	if !ok {
		return errors.New("message has no header")
	}
	if offset(batch, batchCompression) != 0 {
		return errors.New("body is compressed")
	}
	if n := vectorLen(batch, batchNodes); n > len(meta)/nodeBytes {
		return fmt.Errorf("%d field nodes in %d bytes", n, len(meta))
	}
	n := vectorLen(batch, batchBuffers)
	if n > len(meta)/bufferBytes {
		return fmt.Errorf("%d buffers in %d bytes", n, len(meta))
	}
	if n == 0 {
		return errors.New("no buffers")
	}
	buffers := batch.Bytes[batch.Vector(offset(batch, batchBuffers)):][:n*bufferBytes]
	for i := range n {
		b := buffers[i*bufferBytes:]
		from, size := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
		if from < 0 || size < 0 || from > length || size > length-from || from%8 != 0 {
			return fmt.Errorf("buffer %d of %d bytes at %d in a body of %d", i, size, from, length)
		}
	}
	return nil
}

func root(buf []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: buf, Pos: flatbuffers.GetUOffsetT(buf)}
}

// offset returns the place of a slot relative to its table, 0 when it is absent.
func offset(t flatbuffers.Table, slot int) flatbuffers.UOffsetT {
	return flatbuffers.UOffsetT(t.Offset(flatbuffers.VOffsetT(4 + 2*slot)))
}

func subtable(t flatbuffers.Table, slot int) (flatbuffers.Table, bool) {
	at := offset(t, slot)
	if at == 0 {
		return flatbuffers.Table{}, false
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + at)}, true
}

// element returns table i of a vector of tables, which must have more than i.
func element(t flatbuffers.Table, slot, i int) flatbuffers.Table {
	at := t.Vector(offset(t, slot)) + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT)
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}
}

func vectorLen(t flatbuffers.Table, slot int) int {
	at := offset(t, slot)
	if at == 0 {
		return 0
	}
	return t.VectorLen(at)
}
