package model

import (
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// Slots of the tables of Arrow's File.fbs, Schema.fbs and Message.fbs, and types of fields.
const (
	footerSchema       = 6
	footerDictionaries = 8
	footerBatches      = 10
	schemaFields       = 6
	schemaMetadata     = 8
	fieldType          = 8
	fieldDictionary    = 12
	fieldChildren      = 14
	fieldMetadata      = 16
	messageMetadata    = 12

	typeFloat = 3
	typeList  = 12
)

// checkFlatbuffers refuses files whose tables claim another shape than a model's. arrow-go allocates what a vector
// claims to hold before it reads the first entry, and running out of memory cannot be recovered from. A table that is
// out of bounds panics, which the caller recovers and which means the same.
func checkFlatbuffers(data []byte) error {
	const trailer = 4 + 6 // length of the footer, "ARROW1"
	if len(data) < trailer {
		return errors.New("too short for an Arrow file")
	}
	end := len(data) - trailer
	size := int(int32(binary.LittleEndian.Uint32(data[end:])))
	if size < 4 || size > end {
		return fmt.Errorf("footer of %d bytes in a file of %d", size, len(data))
	}
	footer := root(data[end-size : end : end]) // clipped: flatbuffers reads up to the capacity
	if n := entries(footer, footerDictionaries); n != 0 {
		return fmt.Errorf("%d dictionaries, allowed: 0", n)
	}
	if n := entries(footer, footerBatches); n != 1 {
		return fmt.Errorf("%d record batches, allowed: 1", n)
	}
	if err := checkMessage(data, footer); err != nil {
		return err
	}
	at := flatbuffers.UOffsetT(footer.Offset(footerSchema))
	if at == 0 {
		return errors.New("no schema")
	}
	schema := flatbuffers.Table{Bytes: footer.Bytes, Pos: footer.Indirect(at + footer.Pos)}
	if n := entries(schema, schemaMetadata); n != metaKeys {
		return fmt.Errorf("%d keys of metadata, allowed: %d", n, metaKeys)
	}
	if n := entries(schema, schemaFields); n != len(columns) {
		return fmt.Errorf("%d columns, allowed: %d", n, len(columns))
	}
	for i, name := range columns {
		column := entry(schema, schemaFields, i)
		if err := checkField(column, typeList, 1); err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
		if err := checkField(entry(column, fieldChildren, 0), typeFloat, 0); err != nil {
			return fmt.Errorf("values of column %s: %w", name, err)
		}
	}
	return nil
}

// checkMessage checks the message of the first record batch.
func checkMessage(data []byte, footer flatbuffers.Table) error {
	block := footer.Vector(flatbuffers.UOffsetT(footer.Offset(footerBatches)))
	offset, size := footer.GetInt64(block), footer.GetInt32(block+8)
	const prefix = 8 // continuation marker and length
	if offset < 0 || size < prefix+4 || offset > int64(len(data))-int64(size) {
		return fmt.Errorf("record batch of %d bytes at %d in a file of %d", size, offset, len(data))
	}
	message := data[offset:][:size:size]
	if binary.LittleEndian.Uint32(message) != 0xffffffff {
		return errors.New("record batch without its marker")
	}
	if n := entries(root(message[prefix:]), messageMetadata); n != 0 {
		return fmt.Errorf("%d keys of metadata of the record batch, allowed: 0", n)
	}
	return nil
}

func checkField(field flatbuffers.Table, kind byte, children int) error {
	if k := field.GetByteSlot(fieldType, 0); k != kind {
		return fmt.Errorf("type %d, allowed: %d", k, kind)
	}
	if field.Offset(fieldDictionary) != 0 {
		return errors.New("it is a dictionary, allowed: plain values")
	}
	if n := entries(field, fieldChildren); n != children {
		return fmt.Errorf("%d children, allowed: %d", n, children)
	}
	if n := entries(field, fieldMetadata); n != 0 {
		return fmt.Errorf("%d keys of metadata, allowed: 0", n)
	}
	return nil
}

// root returns the outermost table.
func root(b []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: b, Pos: flatbuffers.GetUOffsetT(b)}
}

// entries returns the length of the vector in a slot of a table, 0 if there is none.
func entries(t flatbuffers.Table, slot flatbuffers.VOffsetT) int {
	at := t.Offset(slot)
	if at == 0 {
		return 0
	}
	return t.VectorLen(flatbuffers.UOffsetT(at))
}

// entry returns table i of the vector of tables in a slot, which has more than i.
func entry(t flatbuffers.Table, slot flatbuffers.VOffsetT, i int) flatbuffers.Table {
	at := t.Vector(flatbuffers.UOffsetT(t.Offset(slot))) + flatbuffers.UOffsetT(4*i)
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}
}
