package serve

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// A request in Arrow is so narrow - a schema with one column of lists of floats, one record batch, the end - that it is read
// here rather than by arrow-go, which copies bodies and allocates what metadata claims (18.8.0). Reading allocates the
// vectors and nothing else.

// Values of Arrow's Message.fbs and Schema.fbs, and slots of their tables.
const (
	kindSchema, kindBatch = 1, 3 // MessageHeader

	typeFloat, typeList, typeFixedSizeList, typeLargeList = 3, 12, 16, 21 // Type
	precisionHalf, precisionSingle                        = 0, 1

	messageKind, messageHeader, messageBodyLength                = 1, 2, 3
	schemaEndianness, schemaFields                               = 0, 1
	fieldName, fieldKind, fieldType, fieldDictionary, fieldItems = 0, 2, 3, 4, 5
	listSize, floatPrecision                                     = 0, 0
	batchRows, batchNodes, batchBuffers, batchCompression        = 0, 1, 2, 3

	continuation = 0xffffffff // before the length of a message
	prefixBytes  = 8          // both
	pairBytes    = 16         // of a FieldNode and of a Buffer: two int64
)

// readStream returns the vectors of an Arrow IPC stream, [rows][D], 1 to maxQueries rows. Whatever the stream is, the
// error is a problem that says what is wrong with it.
func readStream(stream []byte, spec *schemas.Spec, level avx.Level) ([]float32, error) {
	b, err := parseStream(stream, spec.Dim())
	var bad *widthError
	switch {
	case errors.As(err, &bad):
		return nil, invalid(fmt.Sprintf("%s[%d]: %d values", schemas.ColumnVector, bad.row, bad.got), width(spec))
	case err != nil:
		return nil, malformed("arrow stream: "+err.Error(), fmt.Sprintf(
			"one complete Arrow IPC stream of one uncompressed record batch with one column, %s: fixed_size_list<float16 or float32>[%d] without nulls, or a list or large_list of as many: %s", schemas.ColumnVector, spec.Dim(), width(spec)))
	}
	if err := checkCount(schemas.ColumnVector, b.rows); err != nil {
		return nil, err
	}
	if b.half {
		return halvesOf(level, b.values), nil
	}
	return floatsOf(b.values), nil
}

// halvesOf reads little-endian float16 values.
func halvesOf(level avx.Level, raw []byte) []float32 {
	values := make([]float32, len(raw)/2)
	var halves [512]uint16
	for start := 0; start < len(values); start += len(halves) {
		n := min(len(halves), len(values)-start)
		for i := range halves[:n] {
			halves[i] = binary.LittleEndian.Uint16(raw[2*(start+i):])
		}
		avx.HalfToFloat(level, values[start:], halves[:n])
	}
	return values
}

// widthError is that of a list of another width than the rows of the index.
type widthError struct {
	row int
	got int
}

func (e *widthError) Error() string { return fmt.Sprintf("row %d has %d values", e.row, e.got) }

// vectorBatch is the record batch of a request.
type vectorBatch struct {
	rows   int
	list   byte   // type of the column
	half   bool   // values are float16, else float32
	values []byte // rows * dim of them
}

// parseStream finds the batch of a stream. The flatbuffers package reads tables with the bounds checks of slices: a table
// that does not hold together panics, here and nowhere later.
func parseStream(stream []byte, dim int) (b vectorBatch, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("metadata does not hold together")
		}
	}()
	m, rest, err := nextMessage(stream)
	if err != nil {
		return b, err
	}
	if m.kind != kindSchema {
		return b, errors.New("it does not begin with a schema")
	}
	if b.list, b.half, err = checkSchema(m.header, dim); err != nil {
		return b, err
	}
	if m, rest, err = nextMessage(rest); err != nil {
		return b, err
	}
	if m.kind != kindBatch {
		return b, errors.New("no record batch follows the schema")
	}
	if err := b.read(m, dim); err != nil {
		return b, err
	}
	if m, rest, err = nextMessage(rest); err != nil {
		return b, err
	}
	if m.kind != 0 || len(rest) > 0 {
		return b, errors.New("it goes on after the first record batch")
	}
	return b, nil
}

// isStream reports whether bytes begin as an Arrow stream, which no JSON does.
func isStream(body []byte) bool {
	return len(body) >= prefixBytes && binary.LittleEndian.Uint32(body) == continuation
}

// message is one message of a stream. The end-of-stream mark is one of kind 0.
type message struct {
	kind   byte
	header flatbuffers.Table
	body   []byte
}

func nextMessage(stream []byte) (m message, rest []byte, err error) {
	if len(stream) < prefixBytes {
		return m, nil, errors.New("it is cut: no end-of-stream mark")
	}
	if bytes.HasPrefix(stream, []byte("ARROW1")) {
		return m, nil, errors.New("it is an Arrow file, which is no stream")
	}
	if binary.LittleEndian.Uint32(stream) != continuation {
		return m, nil, fmt.Errorf("no message begins with %x", stream[:4])
	}
	size := int64(int32(binary.LittleEndian.Uint32(stream[4:])))
	rest = stream[prefixBytes:]
	if size == 0 {
		return m, rest, nil
	}
	if size < 0 || size > int64(len(rest)) {
		return m, nil, fmt.Errorf("a message of %d bytes, there are %d", size, len(rest))
	}
	metadata := rest[:size:size]
	rest = rest[size:]
	root := flatbuffers.Table{Bytes: metadata, Pos: flatbuffers.GetUOffsetT(metadata)}
	length := int64Of(root, messageBodyLength)
	if length < 0 || length > int64(len(rest)) {
		return m, nil, fmt.Errorf("a body of %d bytes, there are %d", length, len(rest))
	}
	m.kind, m.body = byteOf(root, messageKind), rest[:length:length]
	if m.kind == 0 {
		return m, nil, errors.New("a message without a header")
	}
	m.header, err = child(root, messageHeader)
	return m, rest[length:], err
}

// checkSchema says which lists vectors are and whether they are float16, or what is wrong with the schema.
func checkSchema(schema flatbuffers.Table, dim int) (kind byte, half bool, err error) {
	if int16Of(schema, schemaEndianness) != 0 {
		return 0, false, errors.New("schema: numbers are big-endian")
	}
	if n := vectorLen(schema, schemaFields); n != 1 {
		return 0, false, fmt.Errorf("schema: %d columns", n)
	}
	field := element(schema, schemaFields, 0)
	if name := text(field, fieldName); name != schemas.ColumnVector {
		return 0, false, fmt.Errorf("schema: column %.40q", name)
	}
	kind = byteOf(field, fieldKind)
	if offset(field, fieldDictionary) != 0 || kind != typeFixedSizeList && kind != typeList && kind != typeLargeList || vectorLen(field, fieldItems) != 1 {
		return 0, false, fmt.Errorf("schema: column %s is no list", schemas.ColumnVector)
	}
	if kind == typeFixedSizeList {
		list, err := child(field, fieldType)
		if err != nil {
			return 0, false, err
		}
		if n := int32Of(list, listSize); int(n) != dim {
			return 0, false, fmt.Errorf("schema: vectors of %d values", n)
		}
	}
	items := element(field, fieldItems, 0)
	if offset(items, fieldDictionary) != 0 || byteOf(items, fieldKind) != typeFloat {
		return 0, false, errors.New("schema: vectors are not of floats")
	}
	float, err := child(items, fieldType)
	if err != nil {
		return 0, false, err
	}
	switch precision := int16Of(float, floatPrecision); precision {
	case precisionHalf:
		return kind, true, nil
	case precisionSingle:
		return kind, false, nil
	default:
		return 0, false, errors.New("schema: vectors are of float64")
	}
}

// read finds the values of a batch: the buffer after the validity of the lists, their offsets if they have such, and the validity of the
// items.
func (b *vectorBatch) read(m message, dim int) error {
	if offset(m.header, batchCompression) != 0 {
		return errors.New("record batch is compressed")
	}
	last := 2 // buffer
	if b.list != typeFixedSizeList {
		last = 3
	}
	if nodes, buffers := vectorLen(m.header, batchNodes), vectorLen(m.header, batchBuffers); nodes != 2 || buffers != last+1 {
		return fmt.Errorf("record batch has %d field nodes and %d buffers, the column has 2 and %d", nodes, buffers, last+1)
	}
	rows := int64Of(m.header, batchRows)
	if rows < 0 || rows > int64(len(m.body)) { // each row takes more than a byte
		return fmt.Errorf("record batch claims %d rows in %d bytes", rows, len(m.body))
	}
	values, first := rows*int64(dim), int64(0)
	length, nulls := pair(m.header, batchNodes, 0)
	if length != rows || nulls != 0 {
		return fmt.Errorf("record batch of %d rows has %d values at depth 0, %d of them null", rows, length, nulls)
	}
	if b.list != typeFixedSizeList {
		var err error
		if first, err = b.first(m, rows, int64(dim)); err != nil {
			return err
		}
	}
	// Lists of any width may be those of a slice, with others before and after them.
	length, nulls = pair(m.header, batchNodes, 1)
	if nulls != 0 || length-first < values || b.list == typeFixedSizeList && length != values {
		return fmt.Errorf("record batch of %d rows has %d values at depth 1, %d of them null", rows, length, nulls)
	}
	width := int64(4)
	if b.half {
		width = 2
	}
	raw, err := m.buffer(last, (first+values)*width)
	b.rows, b.values = int(rows), raw[min(first*width, int64(len(raw))):]
	return err
}

// first is the first value of a batch of lists, all of which are as wide as the rows of the index.
func (b *vectorBatch) first(m message, rows, dim int64) (int64, error) {
	if rows == 0 {
		return 0, nil // where there need not be offsets
	}
	width := int64(4)
	if b.list == typeLargeList {
		width = 8
	}
	raw, err := m.buffer(1, (rows+1)*width)
	if err != nil {
		return 0, err
	}
	at := func(i int64) int64 {
		if b.list == typeLargeList {
			return int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
		return int64(int32(binary.LittleEndian.Uint32(raw[4*i:])))
	}
	for i := range rows {
		if n := at(i+1) - at(i); n != dim {
			return 0, &widthError{int(i), int(n)}
		}
	}
	if first := at(0); first >= 0 && first <= int64(len(m.body)) { // each value takes more than a byte
		return first, nil
	}
	return 0, fmt.Errorf("record batch has lists from value %d on in %d bytes", at(0), len(m.body))
}

// buffer is the first bytes of buffer i of a batch, as many as it needs.
func (m *message) buffer(i int, need int64) ([]byte, error) {
	start, length := pair(m.header, batchBuffers, i)
	if start < 0 || start > int64(len(m.body)) || length < need || length > int64(len(m.body))-start {
		return nil, fmt.Errorf("record batch needs %d bytes of buffer %d, which has %d at %d of a body of %d", need, i, length, start, len(m.body))
	}
	return m.body[start : start+need], nil
}

// The functions below read a flatbuffer. An absent field is zero, as in Arrow's schemas.

// offset is the place of a field relative to its table, 0 when it is absent.
func offset(t flatbuffers.Table, slot int) flatbuffers.UOffsetT {
	return flatbuffers.UOffsetT(t.Offset(flatbuffers.VOffsetT(4 + 2*slot)))
}

func number[T any](t flatbuffers.Table, slot int, get func(*flatbuffers.Table, flatbuffers.UOffsetT) T) (none T) {
	at := offset(t, slot)
	if at == 0 {
		return none
	}
	return get(&t, t.Pos+at)
}

func byteOf(t flatbuffers.Table, slot int) byte {
	return number(t, slot, (*flatbuffers.Table).GetByte)
}

func int16Of(t flatbuffers.Table, slot int) int16 {
	return number(t, slot, (*flatbuffers.Table).GetInt16)
}

func int32Of(t flatbuffers.Table, slot int) int32 {
	return number(t, slot, (*flatbuffers.Table).GetInt32)
}

func int64Of(t flatbuffers.Table, slot int) int64 {
	return number(t, slot, (*flatbuffers.Table).GetInt64)
}

func text(t flatbuffers.Table, slot int) string {
	at := offset(t, slot)
	if at == 0 {
		return ""
	}
	return string(t.ByteVector(t.Pos + at))
}

func child(t flatbuffers.Table, slot int) (flatbuffers.Table, error) {
	at := offset(t, slot)
	if at == 0 {
		return flatbuffers.Table{}, errors.New("metadata lacks a table")
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + at)}, nil
}

func vectorLen(t flatbuffers.Table, slot int) int {
	at := offset(t, slot)
	if at == 0 {
		return 0
	}
	return t.VectorLen(at)
}

// element is table i of a vector of tables, which has more than i.
func element(t flatbuffers.Table, slot, i int) flatbuffers.Table {
	at := t.Vector(offset(t, slot)) + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT)
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at)}
}

// pair is struct i of a vector of FieldNodes or Buffers, which has more than i.
func pair(t flatbuffers.Table, slot, i int) (a, b int64) {
	at := t.Vector(offset(t, slot)) + flatbuffers.UOffsetT(i*pairBytes)
	return t.GetInt64(at), t.GetInt64(at + 8)
}
