package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// maxWidth is the most values that a vector of a matrix may have.
const maxWidth = 1 << 16

// element is how a matrix has its values, in little endian.
type element struct {
	bytes int
	value func([]byte) float32 // nil of float16, which stays what it is
}

var (
	float16s = element{2, nil}
	float32s = element{4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }}
	uint8s   = element{1, func(b []byte) float32 { return float32(b[0]) }}
	int8s    = element{1, func(b []byte) float32 { return float32(int8(b[0])) }}
)

// matrix is a file of vectors of one width.
type matrix struct {
	element
	rows, width int64
	header      int64 // offset of the first row
	prefix      int64 // bytes before the values of each row, which say the width again
}

// stride is the bytes of a row.
func (m *matrix) stride() int64 { return m.prefix + m.width*int64(m.bytes) }

// check holds what a header claims against a file's size, which is -1 if it is not known.
func (m *matrix) check(size int64) error {
	switch {
	case m.width < 1 || m.width > maxWidth:
		return fmt.Errorf("vectors of %d values, allowed: 1 to %d", m.width, maxWidth)
	case m.rows < 0 || m.rows > (math.MaxInt64-m.header)/m.stride():
		return fmt.Errorf("%d rows of %d bytes", m.rows, m.stride())
	}
	if want := m.header + m.rows*m.stride(); size >= 0 && size != want {
		return fmt.Errorf("%d rows of %d values end at offset %d, the file at %d", m.rows, m.width, want, size)
	}
	return nil
}

// readMatrix reads the rows of m from f, which is behind the header.
func readMatrix(f io.Reader, m matrix, ids rowIDs, o *Options) *Reader {
	vectors := arrow.FixedSizeListOf(int32(m.width), arrow.PrimitiveTypes.Float32)
	if m.value == nil {
		vectors = arrow.FixedSizeListOf(int32(m.width), arrow.FixedWidthTypes.Float16)
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: schemas.ColumnID, Type: ids.dataType()},
		{Name: schemas.ColumnVector, Type: vectors},
	}, encoderMetadata(o.Encoder))
	read := int64(0)
	row := make([]byte, m.stride())
	return &Reader{schema: schema, rows: m.rows, number: o.IDs == "", next: func() (arrow.RecordBatch, error) {
		n := min(m.rows-read, batchRows, max(1, batchBytes/(m.width*floatBytes)))
		if n == 0 {
			if err := ids.end(read); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for range n {
			if _, err := io.ReadFull(f, row); err != nil {
				return nil, fmt.Errorf("the file ends in row %d of %d, which begins at offset %d", read, m.rows, m.header+read*m.stride())
			}
			if m.prefix > 0 {
				if width := int64(binary.LittleEndian.Uint32(row)); width != m.width {
					return nil, fmt.Errorf("row %d, at offset %d, says that it has %d values, the first row has %d", read, m.header+read*m.stride(), width, m.width)
				}
			}
			if err := ids.appendTo(b.Field(0), read); err != nil {
				return nil, err
			}
			m.appendTo(b.Field(1).(*array.FixedSizeListBuilder), row[m.prefix:])
			read++
		}
		return b.NewRecordBatch(), nil
	}}
}

func (m *matrix) appendTo(list *array.FixedSizeListBuilder, row []byte) {
	list.Append(true)
	if m.value == nil {
		values := list.ValueBuilder().(*array.Float16Builder)
		for ; len(row) > 0; row = row[m.bytes:] {
			values.Append(float16.FromBits(binary.LittleEndian.Uint16(row)))
		}
		return
	}
	values := list.ValueBuilder().(*array.Float32Builder)
	for ; len(row) > 0; row = row[m.bytes:] {
		values.Append(m.value(row))
	}
}

// openMatrix opens a matrix of a size, which is -1 if it is not known, and the file of its ids.
func openMatrix(f io.Reader, size int64, o *Options) (*Reader, error) {
	ids, err := openIDs(o)
	if err != nil {
		return nil, err
	}
	var r *Reader
	switch o.Format {
	case Npy:
		r, err = openNpy(f, size, ids, o)
	case Fvecs:
		r, err = openVecs(f, size, float32s, ids, o)
	case Bvecs:
		r, err = openVecs(f, size, uint8s, ids, o)
	case Fbin:
		r, err = openBin(f, size, float32s, ids, o)
	case U8bin:
		r, err = openBin(f, size, uint8s, ids, o)
	default:
		r, err = openBin(f, size, int8s, ids, o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s file: %w", o.Format, err), ids.close())
	}
	r.close = ids.close
	return r, nil
}

// openVecs reads fvecs and bvecs: rows that each begin with their width.
func openVecs(f io.Reader, size int64, e element, ids rowIDs, o *Options) (*Reader, error) {
	in := bufio.NewReader(f)
	head, err := in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("the file ends before offset 4: %w", err)
	}
	if size < 0 {
		return nil, errors.New("a file of this format cannot be a stream: its size says how many rows there are")
	}
	m := matrix{element: e, width: int64(binary.LittleEndian.Uint32(head)), prefix: 4}
	m.rows = size / m.stride()
	if err := m.check(size); err != nil {
		return nil, err
	}
	return readMatrix(in, m, ids, o), nil
}

// openBin reads fbin, u8bin and i8bin: the number of rows, their width, and all values.
func openBin(f io.Reader, size int64, e element, ids rowIDs, o *Options) (*Reader, error) {
	in, head := bufio.NewReader(f), make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, fmt.Errorf("the file ends before offset 8: %w", err)
	}
	m := matrix{element: e, rows: int64(binary.LittleEndian.Uint32(head)), width: int64(binary.LittleEndian.Uint32(head[4:])), header: 8}
	if err := m.check(size); err != nil {
		return nil, err
	}
	return readMatrix(in, m, ids, o), nil
}
