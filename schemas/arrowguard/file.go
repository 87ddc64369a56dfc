package arrowguard

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas"
)

// File guards an Arrow IPC file. Its messages are those of a stream: the schema of the footer, dictionaries, record batches.
//
// The footer says where they are. None may lie outside of the file or in the footer, and all of them together have no more bytes than the
// file, so that none is read a thousand times.
type File struct {
	r             io.ReaderAt
	g             guard
	schema        Frame
	blocks        []block // dictionaries, then record batches
	dictionaries  int
	next          int // block
	schemaIsTaken bool
}

// block is a message of a file.
type block struct {
	at             int64
	metadata, body int64 // bytes, the prefix among those of the metadata
}

const (
	headBytes  = len(magic) + 2 // with padding
	tailBytes  = 4 + len(magic) // the length of the footer
	blockBytes = 24             // struct Block: offset int64, metaDataLength int32, padding, bodyLength int64
)

// NewFile reads the footer of a file of so many bytes. An error that is no *[schemas.Fault] is one of reading.
func NewFile(r io.ReaderAt, size int64, limits Limits) (*File, error) {
	f := &File{r: r, g: newGuard(limits.WithDefaults())}
	f.g.whole = map[int64]bool{}
	if size < int64(headBytes+tailBytes) {
		return nil, schemas.Faultf(schemas.ReasonMalformed, "file of %d bytes is none of Arrow", size)
	}
	tail, err := f.read(size-int64(tailBytes), int64(tailBytes))
	if err != nil {
		return nil, err
	}
	if string(tail[4:]) != magic {
		return nil, schemas.Faultf(schemas.ReasonMalformed, "file of %d bytes is cut: it does not end with %s", size, magic)
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	end := size - int64(tailBytes) - length
	switch {
	case end < int64(headBytes) || length < 4:
		return nil, schemas.Faultf(schemas.ReasonMalformed, "footer claims %d bytes of a file of %d", length, size)
	case length > int64(f.g.limits.MaxMetadata):
		return nil, schemas.Faultf(schemas.ReasonTooLarge, "footer has %d bytes, allowed: %d", length, f.g.limits.MaxMetadata)
	}
	footer, err := f.read(end, length)
	if err != nil {
		return nil, err
	}
	if fault := f.footer(footer, end); fault != nil {
		return nil, fault
	}
	return f, nil
}

func (f *File) read(at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := f.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("%d bytes at %d: %w", n, at, err)
	}
	return b, nil
}

// footer checks a Footer table: version, schema, dictionaries, record batches. Messages end where it begins.
func (f *File) footer(footer []byte, end int64) *schemas.Fault {
	m := newMetadata(footer)
	t := m.root()
	version := t.int16(0)
	schema, ok := t.child(1)
	if !ok {
		m.fail(schemas.ReasonMalformed, "footer has no schema")
	}
	left := f.list(t, 2, end, end)
	f.dictionaries = len(f.blocks)
	f.list(t, 3, end, left)
	if m.fault != nil {
		return m.fault
	}
	f.schema = Frame{Metadata: schemaMessage(footer, version, schema.at)}
	m = newMetadata(f.schema.Metadata)
	f.g.message(m.root(), nil)
	return m.fault
}

// list appends the blocks of a vector of the footer, and returns what is left of the bytes that all may have.
func (f *File) list(t table, slot, end, left int64) int64 {
	m := t.m
	at, n := t.vector(slot, blockBytes)
	for i := int64(0); i < n && m.fault == nil; i++ {
		b := m.bytes[at+blockBytes*i:][:blockBytes]
		k := block{int64(binary.LittleEndian.Uint64(b)), int64(int32(binary.LittleEndian.Uint32(b[8:]))), int64(binary.LittleEndian.Uint64(b[16:]))}
		if k.at < int64(headBytes) || k.at%alignment != 0 || k.metadata < prefixBytes || k.metadata%alignment != 0 || k.body < 0 || k.body%alignment != 0 ||
			k.body > left-k.metadata || k.at > end-k.metadata-k.body {
			m.fail(schemas.ReasonMalformed, "message %d of the footer claims %d bytes of metadata and %d of body at %d, there are %d", len(f.blocks), k.metadata, k.body, k.at, end)
			break
		}
		left -= k.metadata + k.body
		f.blocks = append(f.blocks, k)
	}
	return left
}

// schemaMessage is a message of a schema that is in a footer: what a stream has instead of a footer.
func schemaMessage(footer []byte, version, schema int64) []byte {
	const vtable, table, header, bytes = 4, 16, 24, 32
	b := make([]byte, bytes, bytes+len(footer))
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	put32(b, table)
	put16(b[vtable:], 4+3*2)            // bytes of the vtable
	put16(b[vtable+2:], header+4-table) // of the table
	put16(b[vtable+4:], 4)              // where in it the version is,
	put16(b[vtable+6:], 6)              // the kind,
	put16(b[vtable+8:], header-table)   // and the header
	put32(b[table:], table-vtable)
	put16(b[table+4:], uint16(version))
	b[table+6] = headerSchema
	put32(b[header:], uint32(bytes+schema-header))
	return append(b, footer...)
}

// Messages are those of the file, for the Arrow library.
func (f *File) Messages() ipc.MessageReader { return messages(f.Next) }

// Next returns the next message, which stays as it is, or io.EOF.
func (f *File) Next() (Frame, error) {
	if !f.schemaIsTaken {
		f.schemaIsTaken = true
		return f.schema, nil
	}
	if f.next == len(f.blocks) {
		return Frame{}, io.EOF
	}
	k := f.blocks[f.next]
	m, message, err := f.metadata(f.next)
	if err != nil {
		return Frame{}, err
	}
	body, err := f.read(k.at+k.metadata, k.body)
	if err != nil {
		return Frame{}, err
	}
	if f.g.message(message, body); m.fault != nil {
		return Frame{}, m.fault
	}
	f.next++
	return Frame{m.bytes, body}, nil
}

// metadata reads the metadata of a block, as far as they have to agree with the footer.
func (f *File) metadata(i int) (*metadata, table, error) {
	k := f.blocks[i]
	b, err := f.read(k.at, k.metadata)
	if err != nil {
		return nil, table{}, err
	}
	length, fault := f.g.length(b, k.at)
	if fault != nil {
		return nil, table{}, fault
	}
	if length != k.metadata-prefixBytes {
		return nil, table{}, schemas.Faultf(schemas.ReasonMalformed, "message %d of the footer has %d bytes of metadata there, and says %d", i, k.metadata-prefixBytes, length)
	}
	m := newMetadata(b[prefixBytes:])
	message := m.root()
	if body := message.int64(3); body != k.body {
		m.fail(schemas.ReasonMalformed, "message %d of the footer has a body of %d bytes there, and says %d", i, k.body, body)
	}
	want := int64(headerRecordBatch)
	if i < f.dictionaries {
		want = headerDictionary
	}
	if kind := message.uint8(1); kind != want {
		m.fail(schemas.ReasonMalformed, "message %d of the footer is of kind %d, needed: %d", i, kind, want)
	}
	if m.fault != nil {
		return nil, table{}, m.fault
	}
	return m, message, nil
}

// Rows is how many rows the record batches say that they have. It reads their metadata.
func (f *File) Rows() (rows int64, err error) {
	for i := f.dictionaries; i < len(f.blocks); i++ {
		m, message, err := f.metadata(i)
		if err != nil {
			return 0, err
		}
		header, ok := message.child(2)
		n := header.int64(0)
		if !ok || n < 0 || n > int64(f.g.limits.MaxRows) {
			m.fail(schemas.ReasonTooLarge, "batch claims %d rows, allowed: %d", n, f.g.limits.MaxRows)
		}
		if m.fault != nil {
			return 0, m.fault
		}
		rows += n
	}
	return rows, nil
}
