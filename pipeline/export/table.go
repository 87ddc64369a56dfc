package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/adastream/adastream/schemas"
)

const (
	groupBytes = 64 << 20
	fileBytes  = 256 << 20

	leastGroup, mostGroup = 256, 128 << 10 // rows of a row group
)

// columns are those of a table. They are called as messages call them, so that what is exported can be produced again.
type columns struct {
	names  []string
	schema *arrow.Schema
	vector bool // is among them
}

func columnsOf(spec *schemas.Spec, wanted []string, dims int) (c columns, err error) {
	all := []string{schemas.ColumnID, schemas.ColumnVersion}
	for _, a := range spec.Attributes {
		all = append(all, a.Name)
	}
	all = append(all, schemas.ColumnVector)
	if c.names = wanted; len(wanted) == 0 {
		c.names = all
	}
	var fields []arrow.Field
	for i, name := range c.names {
		f := arrow.Field{Name: name}
		switch {
		case slices.Contains(c.names[:i], name):
			return c, fmt.Errorf("column %q is there twice", name)
		case name == schemas.ColumnID:
			f.Type = arrow.BinaryTypes.String
		case name == schemas.ColumnVersion:
			f.Type = arrow.PrimitiveTypes.Int64
		case name == schemas.ColumnVector:
			f.Type = arrow.FixedSizeListOfNonNullable(int32(dims), arrow.PrimitiveTypes.Float32)
			c.vector = true
		case spec.AttributeAt(name) >= 0:
			f.Type, f.Nullable = spec.Attributes[spec.AttributeAt(name)].Type.ArrowType(), true
		default:
			return c, fmt.Errorf("column %q, allowed: %s", name, strings.Join(all, ", "))
		}
		fields = append(fields, f)
	}
	md := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{spec.Encoder})
	c.schema = arrow.NewSchema(fields, &md)
	return c, nil
}

// record is a batch as a table.
func (e *export) record(b *batch) (arrow.RecordBatch, error) {
	rows := array.NewInt64Builder(memory.DefaultAllocator)
	rows.AppendValues(b.rows, nil)
	indices := rows.NewInt64Array()
	columns := make([]arrow.Array, len(e.columns.names))
	for i, name := range e.columns.names {
		switch name {
		case schemas.ColumnID:
			ids := array.NewStringBuilder(memory.DefaultAllocator)
			for i := range b.rows {
				ids.Append(b.id(i))
			}
			columns[i] = ids.NewArray()
		case schemas.ColumnVersion:
			versions := array.NewInt64Builder(memory.DefaultAllocator)
			for _, row := range b.rows {
				versions.Append(b.part.OrderAt(int(row)).Version)
			}
			columns[i] = versions.NewArray()
		case schemas.ColumnVector:
			t := e.columns.schema.Field(i).Type
			values := array.NewFloat32Builder(memory.DefaultAllocator)
			values.AppendValues(b.vectors, nil)
			child := values.NewArray()
			columns[i] = array.MakeFromData(array.NewData(t, len(b.rows), []*memory.Buffer{nil}, []arrow.ArrayData{child.Data()}, 0, 0))
		default:
			var err error
			if columns[i], err = compute.TakeArray(context.Background(), b.part.Attribute(e.index.Spec().AttributeAt(name)), indices); err != nil {
				return nil, fmt.Errorf("column %q: %w", name, err)
			}
		}
	}
	return array.NewRecordBatch(e.columns.schema, columns, int64(len(b.rows))), nil
}

// rowBytes is about what a row of the table takes.
func (e *export) rowBytes() int {
	n := 32 + 24*len(e.columns.names)
	if e.columns.vector {
		n += 4 * e.dims
	}
	return n
}

// parquetWriter writes one file. It cuts row groups itself: where the library does, it writes the wrong values of fixed-size lists.
type parquetWriter struct {
	e      *export
	file   *file
	writer *pqarrow.FileWriter
	most   int // rows of a row group
	rows   int // of the one that is being written
}

func newParquet(e *export) (writer, error) {
	f, err := e.create("rows.parquet")
	if err != nil {
		return nil, err
	}
	rows := max(leastGroup, min(mostGroup, cmp.Or(e.GroupBytes, groupBytes)/e.rowBytes()))
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithMaxRowGroupLength(int64(rows)),
		parquet.WithDictionaryFor(schemas.ColumnVector+".list.element", false), parquet.WithStats(true))
	// Only Write of the file: the library would close it.
	w, err := pqarrow.NewFileWriter(e.columns.schema, struct{ onlyWriter }{f}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return &parquetWriter{e: e, file: f, writer: w, most: rows}, nil
}

type onlyWriter interface{ Write([]byte) (int, error) }

func (w *parquetWriter) write(b *batch) error {
	for start := 0; start < len(b.rows); {
		if w.rows == w.most {
			w.rows = 0
			if err := w.writer.NewBufferedRowGroupChecked(); err != nil {
				return err
			}
		}
		end := min(len(b.rows), start+w.most-w.rows)
		record, err := w.e.record(b.cut(start, end, w.e.dims))
		if err != nil {
			return err
		}
		if err := w.writer.WriteBuffered(record); err != nil {
			return err
		}
		w.rows += end - start
		start = end
	}
	return nil
}

func (w *parquetWriter) close() error { return errors.Join(w.writer.Close(), w.file.close()) }

// arrowWriter writes files of bounded size.
type arrowWriter struct {
	e      *export
	number int
	bytes  int
	file   *file
	writer *ipc.FileWriter
}

func newArrow(e *export) writer { return &arrowWriter{e: e} }

func (w *arrowWriter) write(b *batch) error {
	if w.writer == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	record, err := w.e.record(b)
	if err != nil {
		return err
	}
	if err := w.writer.Write(record); err != nil {
		return err
	}
	if w.bytes += len(b.rows) * w.e.rowBytes(); w.bytes >= cmp.Or(w.e.FileBytes, fileBytes) {
		return w.end()
	}
	return nil
}

func (w *arrowWriter) open() (err error) {
	if w.file, err = w.e.create(fmt.Sprintf("part-%05d.arrow", w.number)); err != nil {
		return err
	}
	w.number++
	w.bytes = 0
	w.writer, err = ipc.NewFileWriter(w.file, ipc.WithSchema(w.e.columns.schema))
	return err
}

func (w *arrowWriter) end() error {
	err := errors.Join(w.writer.Close(), w.file.close())
	w.writer, w.file = nil, nil
	return err
}

// close ends the last file. Without rows there is one that has none, and says which columns there are.
func (w *arrowWriter) close() error {
	if w.writer == nil && w.number == 0 {
		if err := w.open(); err != nil {
			return err
		}
	}
	if w.writer == nil {
		return nil
	}
	return w.end()
}
