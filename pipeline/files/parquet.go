package files

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/adastream/adastream/schemas"
)

const (
	batchRows  = 8192
	batchBytes = 32 << 20

	maxBuffer   = 256 << 20 // of one column of one batch, or one page
	minPage     = 1 << 20   // a page of which writers take to be small
	compression = 1024      // what a page may be larger than its file
)

// limited refuses to allocate more than it holds at once: the lengths of lists are run-length encoded, so few bytes can
// stand for many. The library has no other way to be told; the panic is an error to callers of [Reader.Next].
type limited struct {
	memory.Allocator
	most int
}

func (l limited) Allocate(size int) []byte {
	l.check(size)
	return l.Allocator.Allocate(size)
}

func (l limited) Reallocate(size int, b []byte) []byte {
	l.check(size)
	return l.Allocator.Reallocate(size, b)
}

func (l limited) check(size int) {
	if size < 0 || size > l.most {
		panic(fmt.Sprintf("a column of a batch, or a page, wants %d bytes, allowed: %d", size, l.most))
	}
}

// openParquet reads row groups as a stream of pages.
func openParquet(f parquet.ReaderAtSeeker, size int64, most int, o *Options) (r *Reader, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("damaged parquet file of %d bytes: %v", size, fault)
		}
	}()
	if err := checkFooter(f, size); err != nil {
		return nil, fmt.Errorf("parquet file of %d bytes: %w", size, err)
	}
	mem := limited{memory.DefaultAllocator, most}
	props := parquet.NewReaderProperties(mem)
	props.BufferedStreamEnabled = true
	props.MaxCompressedPageSize = min(size, parquet.DefaultMaxCompressedPageSize)
	props.MaxUncompressedPageSize = min(max(minPage, size*compression), int64(most))
	pf, err := file.NewParquetReader(f, file.WithReadProps(props))
	if err != nil {
		return nil, fmt.Errorf("parquet file of %d bytes: %w", size, err)
	}
	encoder := pf.MetaData().KeyValueMetadata().FindValue(schemas.MetaEncoder)
	// The Arrow schema that a writer may have left there is no use, and what it claims of its size is believed.
	pf.MetaData().FileMetaData.KeyValueMetadata = nil
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: rowsOfBatch(pf)}, mem)
	if err != nil {
		return nil, fmt.Errorf("parquet file of %d bytes: %w", size, err)
	}
	leaves := flatLeaves(fr.Manifest, o)
	if len(leaves) == 0 {
		return nil, errors.New("no column of the Parquet file can be one of a message")
	}
	groups, skipped := wanted(pf, o.Skip)
	records, err := fr.GetRecordReader(context.Background(), leaves, groups)
	if err != nil {
		return nil, fmt.Errorf("parquet file of %d bytes: %w", size, err)
	}
	if encoder == nil {
		encoder = new(string)
	}
	schema := arrow.NewSchema(records.Schema().Fields(), encoderMetadata(*encoder))
	rows, read := pf.NumRows(), skipped
	return &Reader{schema: schema, rows: rows, skip: skipped, next: func() (_ arrow.RecordBatch, err error) {
		defer func() {
			if fault := recover(); fault != nil {
				err = fmt.Errorf("damaged parquet file of %d bytes: after row %d of %d: %v", size, read, rows, fault)
			}
		}()
		if records.Next() {
			batch := records.RecordBatch()
			read += batch.NumRows()
			return batch, nil
		}
		if err := records.Err(); err != nil {
			return nil, fmt.Errorf("parquet file of %d bytes: after row %d of %d: %w", size, read, rows, err)
		}
		if read != rows {
			return nil, fmt.Errorf("parquet file of %d bytes: it ends after row %d of %d", size, read, rows)
		}
		return nil, io.EOF
	}}, nil
}

// wanted are the row groups that have rows from the skip-th on, and how many rows those before have. One at least is read, which
// is how it is known that there is one.
func wanted(f *file.Reader, skip int64) (groups []int, skipped int64) {
	for i := range f.NumRowGroups() {
		n := f.MetaData().RowGroup(i).NumRows()
		if len(groups) == 0 && n > 0 && i < f.NumRowGroups()-1 && skipped+n <= skip {
			skipped += n
			continue
		}
		groups = append(groups, i)
	}
	return groups, skipped
}

// rowsOfBatch makes batches smaller if rows are large.
func rowsOfBatch(f *file.Reader) int64 {
	rows := int64(batchRows)
	for i := range f.NumRowGroups() {
		group := f.MetaData().RowGroup(i)
		if n := group.NumRows(); n > 0 && group.TotalByteSize() > 0 {
			rows = min(rows, max(1, batchBytes/max(1, group.TotalByteSize()/n)))
		}
	}
	return rows
}

// flatLeaves are the indices of the columns that are values or lists of values: no message has others, and the library
// reads them in goroutines of its own, where a panic would end the process.
func flatLeaves(m *pqarrow.SchemaManifest, o *Options) (leaves []int) {
	for _, field := range m.Fields {
		leaf := &field
		if isList(field.Field.Type) && len(field.Children) == 1 {
			leaf = &field.Children[0]
		}
		if !leaf.IsLeaf() {
			o.Ignored(field.Field.Name, fmt.Sprintf("its type is %s, which no attribute has", field.Field.Type))
			continue
		}
		leaves = append(leaves, leaf.ColIndex)
	}
	return leaves
}

func isList(t arrow.DataType) bool {
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	switch t.ID() {
	case arrow.LIST, arrow.LARGE_LIST, arrow.FIXED_SIZE_LIST:
		return true
	}
	return false
}
