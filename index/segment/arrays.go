package segment

import (
	"bytes"
	"fmt"
	"io"
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

// columnAlignment is the multiple of bytes of the file at which the column that is read most begins: a cache line.
// arrow-go aligns buffers to 8 bytes.
const columnAlignment = 64

// metaPad is the key of the batch's metadata that fills up to columnAlignment.
const metaPad = "adastream.pad"

// number is a value that an Arrow buffer holds as it lies in memory.
type number interface {
	~int8 | ~uint8 | ~uint16 | ~int32 | ~int64 | ~float32 | ~float64
}

// BytesOf is the memory of some values, as it is: nil of none.
func BytesOf[T number](values []T) []byte {
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
	buffers := []*memory.Buffer{valid, memory.NewBufferBytes(BytesOf(offsets)), memory.NewBufferBytes(text)}
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
		return fixed(arrow.PrimitiveTypes.Int64, n, BytesOf(values))
	}
	short := func(of func(o *Order) int32) arrow.Array {
		values := make([]int32, n)
		for i := range orders {
			values[i] = of(&orders[i])
		}
		return fixed(arrow.PrimitiveTypes.Int32, n, BytesOf(values))
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

// writeFile returns the Arrow file of one record batch. The same columns make the same bytes. The values of column hot
// begin at a multiple of columnAlignment; -1 means that none need to.
func writeFile(schema *arrow.Schema, columns []arrow.Array, n, hot int) ([]byte, error) {
	pad := 0
	if hot >= 0 && n > 0 {
		dry := &locator{want: unsafe.SliceData(values(columns[hot].Data()).Bytes())}
		if err := writeBatch(dry, schema, columns, n, 0); err != nil {
			return nil, err
		}
		pad = -dry.found & (columnAlignment - 1)
	}
	size := 4096
	for _, c := range columns {
		size += int(bodyBytes(c.Data()))
	}
	out := bytes.NewBuffer(make([]byte, 0, size))
	if err := writeBatch(out, schema, columns, n, pad); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeBatch writes a file. Each 8 bytes of pad move the body of the batch by as many.
func writeBatch(to io.Writer, schema *arrow.Schema, columns []arrow.Array, n, pad int) error {
	w, err := ipc.NewFileWriter(to, ipc.WithSchema(schema))
	if err != nil {
		return err
	}
	meta := arrow.NewMetadata([]string{metaPad}, []string{strings.Repeat(".", pad)})
	if err := w.Write(array.NewRecordBatchWithMetadata(schema, columns, int64(n), meta)); err != nil {
		return err
	}
	return w.Close()
}

// locator keeps nothing of what is written to it but where in it a buffer lies.
type locator struct {
	want           *byte
	written, found int
}

func (l *locator) Write(p []byte) (int, error) {
	if unsafe.SliceData(p) == l.want {
		l.found = l.written
	}
	l.written += len(p)
	return len(p), nil
}

// values returns the buffer of the values of a column of fixed width, or of lists of them.
func values(d arrow.ArrayData) *memory.Buffer {
	if children := d.Children(); len(children) > 0 {
		return values(children[0])
	}
	return d.Buffers()[1]
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
