package segment

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// bodyAlignment is the multiple of bytes at which the body of a record batch begins. Arrow aligns buffers to 64 bytes
// within the body, but the body itself only to 8.
const bodyAlignment = 64

// metaPad is the key of the batch's metadata that fills up to bodyAlignment.
const metaPad = "adastream.pad"

// number is a value that an Arrow buffer holds as it lies in memory.
type number interface {
	~int8 | ~uint8 | ~uint16 | ~int32 | ~int64 | ~float32 | ~float64
}

func bytesOf[T number](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(values[0])))
}

// fixed returns an array of n values without nulls, whose bytes it aliases. The type has a fixed width.
func fixed(t arrow.DataType, n int, values []byte) arrow.Array {
	return fixedWithNulls(t, n, values, nil, 0)
}

func fixedWithNulls(t arrow.DataType, n int, values []byte, valid *memory.Buffer, nulls int) arrow.Array {
	buffers := []*memory.Buffer{valid, memory.NewBufferBytes(values)}
	return array.MakeFromData(array.NewData(t, n, buffers, nil, nulls, 0))
}

// fixedLists returns an array of n lists of fixed size whose values it aliases. t is a fixed size list.
func fixedLists(t arrow.DataType, n int, values []byte) arrow.Array {
	list := t.(*arrow.FixedSizeListType)
	child := fixed(list.Elem(), n*int(list.Len()), values)
	return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{nil}, []arrow.ArrayData{child.Data()}, 0, 0))
}

// texts returns an array of n strings or binaries, at most 2 GiB of them.
func texts[T string | []byte](t arrow.DataType, n int, at func(i int) T, valid *memory.Buffer, nulls int) (arrow.Array, error) {
	offsets := make([]int32, n+1)
	total := 0
	for i := range n {
		if total += len(at(i)); total > math.MaxInt32 {
			return nil, fmt.Errorf("more than %d bytes of text in one column", math.MaxInt32)
		}
		offsets[i+1] = int32(total)
	}
	text := make([]byte, 0, total)
	for i := range n {
		text = append(text, at(i)...)
	}
	buffers := []*memory.Buffer{valid, memory.NewBufferBytes(bytesOf(offsets)), memory.NewBufferBytes(text)}
	return array.MakeFromData(array.NewData(t, n, buffers, nil, nulls, 0)), nil
}

func bitmap(n int, at func(i int) bool) []byte {
	bits := make([]byte, bitutil.BytesForBits(int64(n)))
	for i := range n {
		if at(i) {
			bitutil.SetBit(bits, i)
		}
	}
	return bits
}

// array returns the values of a column, value order[i] in place i; a nil order leaves them in place.
func (c *Column) array(order []int32) (arrow.Array, error) {
	n := c.Len()
	at := func(i int) int { return i }
	if order != nil {
		at = func(i int) int { return int(order[i]) }
	}
	var valid *memory.Buffer
	if c.nulls > 0 {
		valid = memory.NewBufferBytes(bitmap(n, func(i int) bool { return c.valid[at(i)] }))
	}
	t := c.typ.ArrowType()
	switch c.typ {
	case schemas.AttributeBool:
		return fixedWithNulls(t, n, bitmap(n, func(i int) bool { return c.bools[at(i)] }), valid, c.nulls), nil
	case schemas.AttributeInt, schemas.AttributeTimestamp:
		return fixedWithNulls(t, n, bytesOf(gather(c.ints, order)), valid, c.nulls), nil
	case schemas.AttributeFloat:
		return fixedWithNulls(t, n, bytesOf(gather(c.floats, order)), valid, c.nulls), nil
	default:
		return texts(t, n, func(i int) []byte { return c.stringAt(at(i)) }, valid, c.nulls)
	}
}

// gather returns values[order[i]] for each i; a nil order means the values themselves.
func gather[T any](values []T, order []int32) []T {
	if order == nil {
		return values
	}
	out := make([]T, len(order))
	for i, at := range order {
		out[i] = values[at]
	}
	return out
}

// identity returns the columns that name rows: id to row of the schemas.
func identity(ids []string, orders []Order) ([]arrow.Array, error) {
	n := len(ids)
	id, err := texts(arrow.BinaryTypes.String, n, func(i int) string { return ids[i] }, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", schemas.StoredID, err)
	}
	long := func(of func(o *Order) int64) arrow.Array {
		values := make([]int64, n)
		for i := range orders {
			values[i] = of(&orders[i])
		}
		return fixed(arrow.PrimitiveTypes.Int64, n, bytesOf(values))
	}
	short := func(of func(o *Order) int32) arrow.Array {
		values := make([]int32, n)
		for i := range orders {
			values[i] = of(&orders[i])
		}
		return fixed(arrow.PrimitiveTypes.Int32, n, bytesOf(values))
	}
	return []arrow.Array{
		id,
		long(func(o *Order) int64 { return o.Version }),
		long(func(o *Order) int64 { return o.Timestamp }),
		short(func(o *Order) int32 { return o.Partition }),
		long(func(o *Order) int64 { return o.Offset }),
		short(func(o *Order) int32 { return o.Row }),
	}, nil
}

// writeFile returns the Arrow file of one record batch. The same columns make the same bytes.
func writeFile(schema *arrow.Schema, columns []arrow.Array, n int) ([]byte, error) {
	size := 4096
	for _, c := range columns {
		size += int(bodyBytes(c.Data()))
	}
	// The metadata of a batch has the same size whatever its rows: the file of one row shows where the body begins.
	first := make([]arrow.Array, len(columns))
	for j, c := range columns {
		first[j] = array.NewSlice(c, 0, int64(min(n, 1)))
	}
	probe, err := writeBatch(schema, first, min(n, 1), 0, 4096)
	if err != nil {
		return nil, err
	}
	body, err := inspect(probe)
	if err != nil {
		return nil, fmt.Errorf("file of one row: %w", err)
	}
	return writeBatch(schema, columns, n, int(-body&(bodyAlignment-1)), size)
}

func writeBatch(schema *arrow.Schema, columns []arrow.Array, n, pad, size int) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 0, size))
	w, err := ipc.NewFileWriter(out, ipc.WithSchema(schema))
	if err != nil {
		return nil, err
	}
	meta := arrow.NewMetadata([]string{metaPad}, []string{strings.Repeat(".", pad)})
	if err := w.Write(array.NewRecordBatchWithMetadata(schema, columns, int64(n), meta)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// bodyBytes returns the bytes that an array takes in a file.
func bodyBytes(d arrow.ArrayData) int64 {
	var total int64
	for _, b := range d.Buffers() {
		if b != nil {
			total += bitutil.CeilByte64(int64(b.Len()))
		}
	}
	for _, c := range d.Children() {
		total += bodyBytes(c)
	}
	return total
}
