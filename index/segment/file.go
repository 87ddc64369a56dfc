package segment

import (
	"fmt"
	"strconv"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/arrowfile"
	"github.com/adastream/adastream/schemas"
)

// file is an opened Arrow file of which all columns have been checked to have the types and lengths of its schema, and
// no nulls where they are not allowed. Its columns alias the bytes it was opened from.
type file struct {
	name    string // of the object, for errors
	n       int
	model   string // "" when there is none
	m       int
	axes    string // "" when rows are not rotated
	meta    arrow.Metadata
	schema  *arrow.Schema
	columns []arrow.Array
}

// openFile opens a file of a kind. schemaOf gives the schema that it must have, from what its metadata says.
func openFile(name, kind string, data []byte, schemaOf func(f *file) *arrow.Schema) (*file, error) {
	return readFile(name, kind, data, schemaOf, false)
}

// reopenFile opens a file without a look at its values, see [ReopenChunk].
func reopenFile(name, kind string, data []byte, schemaOf func(f *file) *arrow.Schema) (*file, error) {
	return readFile(name, kind, data, schemaOf, true)
}

func readFile(name, kind string, data []byte, schemaOf func(f *file) *arrow.Schema, again bool) (f *file, err error) {
	defer func() {
		if r := recover(); r != nil { // arrow and flatbuffers panic on tables that do not hold together
			f, err = nil, corrupt(name, "%v", r)
		}
	}()
	data = aligned(data)
	if err := arrowfile.Inspect(data); err != nil {
		return nil, corrupt(name, "%v", err)
	}
	size := int64(len(data))
	r, err := ipc.NewMappedFileReader(data, ipc.WithMetadataSizeLimit(size), ipc.WithBodySizeLimit(size))
	if err != nil {
		return nil, corrupt(name, "%v", err)
	}
	f = &file{name: name, meta: r.Schema().Metadata()}
	if err := f.readMetadata(f.meta, kind); err != nil {
		return nil, err
	}
	f.schema = schemaOf(f)
	if err := f.compareSchema(r.Schema()); err != nil {
		return nil, err
	}
	batch, err := r.RecordBatchAt(0)
	if err != nil {
		return nil, corrupt(name, "%v", err)
	}
	if batch.NumRows() > int64(len(data)) { // a row takes more than a byte of every file here
		return nil, corrupt(name, "%d rows in %d bytes", batch.NumRows(), len(data))
	}
	f.n, f.columns = int(batch.NumRows()), batch.Columns()
	for j, c := range f.columns {
		if err := f.checkColumn(j, c); err != nil {
			return nil, err
		}
		if again {
			continue
		}
		if err := f.checkValues(j, c); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func corrupt(name, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", name, fmt.Sprintf(format, args...), schemas.ErrCorrupt)
}

// aligned returns data, or a copy of it that is aligned to 8 bytes when it is not: buffers are aligned within a file.
// It has no capacity beyond its length: slicing, as flatbuffers does, is bounded by capacity.
func aligned(data []byte) []byte {
	if uintptr(unsafe.Pointer(unsafe.SliceData(data)))%8 == 0 {
		return data[:len(data):len(data)]
	}
	to := newBytes(len(data))
	copy(to, data)
	return to
}

// readMetadata reads and checks the metadata of the file.
func (f *file) readMetadata(meta arrow.Metadata, kind string) error {
	if err := schemas.CheckKind(meta, kind); err != nil {
		return corrupt(f.name, "%v", err)
	}
	m, hasM := meta.GetValue(schemas.MetaM)
	f.model, _ = meta.GetValue(schemas.MetaModel)
	f.axes, _ = meta.GetValue(schemas.MetaAxes)
	if hasM != (f.model != "") {
		return corrupt(f.name, "%s and %s must both be there or both be absent", schemas.MetaModel, schemas.MetaM)
	}
	if !hasM {
		return nil
	}
	var err error
	if f.m, err = strconv.Atoi(m); err != nil || f.m < 1 || f.m > schemas.MaxDim {
		return corrupt(f.name, "%s %q, allowed: 1 to %d", schemas.MetaM, m, schemas.MaxDim)
	}
	return nil
}

// number returns a number of the metadata, from 0 to most.
func (f *file) number(key string, most int) (int, error) {
	text, _ := f.meta.GetValue(key)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, corrupt(f.name, "%s %q, allowed: 0 to %d", key, text, most)
	}
	return n, nil
}

func (f *file) compareSchema(got *arrow.Schema) error {
	if got.NumFields() != f.schema.NumFields() {
		return corrupt(f.name, "%d columns, allowed: %d", got.NumFields(), f.schema.NumFields())
	}
	if !got.IsNativeEndian() {
		return corrupt(f.name, "byte order %s, allowed: %s", got.Endianness(), f.schema.Endianness())
	}
	for j, want := range f.schema.Fields() {
		if g := got.Field(j); g.Name != want.Name || !arrow.TypeEqual(g.Type, want.Type) {
			return corrupt(f.name, "column %d is %q of type %.200s, allowed: %q of type %s", j, g.Name, g.Type, want.Name, want.Type)
		}
	}
	return nil
}

// checkColumn checks what the library does not when it loads a column: that buffers are as long as rows want them, and
// nulls where they may be. It has checked that the slices of numeric arrays lie within their buffers.
func (f *file) checkColumn(j int, c arrow.Array) error {
	field := f.schema.Field(j)
	if c.Len() != f.n {
		return corrupt(f.name, "column %q has %d values for %d rows", field.Name, c.Len(), f.n)
	}
	if nulls := c.NullN(); nulls != 0 {
		if !field.Nullable || nulls < 0 || nulls > f.n {
			return corrupt(f.name, "column %q has %d nulls", field.Name, nulls)
		}
		if len(c.NullBitmapBytes()) < int(bitutil.BytesForBits(int64(f.n))) {
			return corrupt(f.name, "column %q has a bitmap of nulls shorter than its %d rows", field.Name, f.n)
		}
	}
	switch c := c.(type) {
	case *array.Boolean:
		return f.checkBytes(field.Name, c.Data().Buffers()[1], bitutil.BytesForBits(int64(f.n)))
	case *array.FixedSizeBinary:
		width := c.DataType().(*arrow.FixedSizeBinaryType).ByteWidth
		return f.checkBytes(field.Name, c.Data().Buffers()[1], int64(f.n)*int64(width))
	case *array.FixedSizeList:
		want := f.n * int(c.DataType().(*arrow.FixedSizeListType).Len())
		if child := c.ListValues(); child.Len() != want || child.NullN() != 0 {
			return corrupt(f.name, "column %q has %d values of which %d are null, allowed: %d without nulls", field.Name, child.Len(), child.NullN(), want)
		}
	}
	return nil
}

// checkValues checks what no length tells.
func (f *file) checkValues(j int, c arrow.Array) error {
	switch c := c.(type) {
	case *array.String:
		return f.checkOffsets(f.schema.Field(j).Name, c.ValueOffsets(), len(c.ValueBytes()))
	case *array.Binary:
		return f.checkOffsets(f.schema.Field(j).Name, c.ValueOffsets(), len(c.ValueBytes()))
	}
	return nil
}

func (f *file) checkBytes(column string, b *memory.Buffer, want int64) error {
	if f.n > 0 && int64(b.Len()) < want {
		return corrupt(f.name, "column %q has %d bytes, allowed: %d", column, b.Len(), want)
	}
	return nil
}

// checkOffsets checks that values lie one behind the other within size bytes. offsets has one more element than there
// are values, or none when there are no rows.
func (f *file) checkOffsets(column string, offsets []int32, size int) error {
	if f.n == 0 {
		return nil
	}
	last := int32(0)
	for i, at := range offsets {
		if at < last {
			return corrupt(f.name, "column %q: offset %d of value %d is before that of the value before", column, at, i)
		}
		last = at
	}
	if int(last) > size {
		return corrupt(f.name, "column %q: offset %d is beyond its %d bytes", column, last, size)
	}
	return nil
}

// column returns a column by name.
func (f *file) column(name string) arrow.Array { return f.columns[column(f.schema, name)] }

func (f *file) int32s(name string) []int32 { return f.column(name).(*array.Int32).Int32Values() }
func (f *file) int64s(name string) []int64 { return f.column(name).(*array.Int64).Int64Values() }
func (f *file) float32s(name string) []float32 {
	return f.column(name).(*array.Float32).Float32Values()
}

// child returns the values of a column of lists of fixed size.
func (f *file) child(name string) arrow.Array {
	return f.column(name).(*array.FixedSizeList).ListValues()
}

// fixedBytes returns the bytes of a column of binaries of fixed width.
func (f *file) fixedBytes(name string) []byte {
	c := f.column(name)
	if f.n == 0 {
		return nil
	}
	return c.Data().Buffers()[1].Bytes()[:f.n*c.DataType().(*arrow.FixedSizeBinaryType).ByteWidth]
}

// vectorBytes returns the bytes of the stored vectors.
func (f *file) vectorBytes() []byte {
	v := f.child(schemas.StoredVector)
	if f.n == 0 {
		return nil
	}
	return v.Data().Buffers()[1].Bytes()[:v.Len()*v.DataType().(arrow.FixedWidthDataType).Bytes()]
}

// orders are the columns that [Order] is made of.
type orders struct {
	version, timestamp, offset []int64
	partition, row             []int32
}

func (f *file) orders() orders {
	return orders{
		version:   f.int64s(schemas.StoredVersion),
		timestamp: f.int64s(schemas.StoredTimestamp),
		offset:    f.int64s(schemas.StoredOffset),
		partition: f.int32s(schemas.StoredPartition),
		row:       f.int32s(schemas.StoredRow),
	}
}

func (o *orders) at(i int) Order {
	return Order{Version: o.version[i], Timestamp: o.timestamp[i], Partition: o.partition[i], Offset: o.offset[i], Row: o.row[i]}
}
