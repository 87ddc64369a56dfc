// Package files reads what vectors come in, a record batch of messages at a time: the columns are called as an index's
// messages call them and have types that messages have, see package schemas.
//
// Memory is that of a few batches, whatever a file's size, and what a file claims of its size is checked before it is
// believed.
package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/schemas"
)

// Format is what a file is written in.
type Format string

// Formats of files.
const (
	ArrowIPC Format = "arrow" // file or stream
	Parquet  Format = "parquet"
	JSON     Format = "jsonl" // objects, a line each or in one array; also compressed by gzip or zstd

	// Matrices of vectors, without ids, and without a name for their encoder.
	Npy   Format = "npy"   // of numpy
	Fvecs Format = "fvecs" // of float32, the width before each row
	Bvecs Format = "bvecs" // of uint8
	Fbin  Format = "fbin"  // of float32, the number of rows and the width before all
	U8bin Format = "u8bin" // of uint8
	I8bin Format = "i8bin" // of int8
)

// Formats are all of them.
func Formats() []Format {
	return []Format{ArrowIPC, Parquet, JSON, Npy, Fvecs, Bvecs, Fbin, U8bin, I8bin}
}

// extensions of the formats. A file with another one is read as Arrow.
var extensions = map[string]Format{
	".parquet": Parquet, ".pq": Parquet,
	".jsonl": JSON, ".ndjson": JSON, ".json": JSON,
	".npy": Npy, ".fvecs": Fvecs, ".bvecs": Bvecs, ".fbin": Fbin, ".u8bin": U8bin, ".i8bin": I8bin,
}

// FormatOf is the format that a file's name says, or empty.
func FormatOf(name string) Format {
	name = strings.ToLower(name)
	ext := filepath.Ext(name)
	if ext == ".gz" || ext == ".zst" {
		if within := extensions[filepath.Ext(strings.TrimSuffix(name, ext))]; within == JSON { // of others it is their own columns that are compressed
			return JSON
		}
	}
	return extensions[ext]
}

// Options say what the columns of a file are. The zero value is good for files that call them as messages do.
type Options struct {
	Format  Format                   // empty: by the file's extension
	ID      string                   // column of ids, empty: id
	Vector  string                   // column of vectors, empty: vector
	Encoder string                   // of the vectors, empty: as the file says
	IDs     string                   // of a matrix: a file with an id a line, empty: rows are numbered
	FirstID int64                    // of a matrix whose rows are numbered
	Skip    int64                    // rows from the start that are not wanted: whole row groups of Parquet are passed over, see Reader.Skipped
	Ignored func(column, why string) // is told, unless nil, of each column that no message can have
}

// Validate returns all faults of the options.
func (o *Options) Validate() error {
	if o.Format != "" && !slices.Contains(Formats(), o.Format) {
		return fmt.Errorf("format %q, allowed: %v", o.Format, Formats())
	}
	return nil
}

func (o *Options) withDefaults(name string) Options {
	d := *o
	if d.Format == "" {
		d.Format = FormatOf(name)
	}
	if d.Format == "" {
		d.Format = ArrowIPC
	}
	if d.Ignored == nil {
		d.Ignored = func(string, string) {}
	}
	return d
}

// Reader yields the record batches of a file.
type Reader struct {
	schema *arrow.Schema
	next   func() (arrow.RecordBatch, error)
	rows   int64             // -1 when that is not known
	skip   int64             // rows that were passed over
	number bool              // ids are numbers of rows
	first  arrow.RecordBatch // was read to know the width
	close  func() error
}

// Open opens a file; the name - is standard input.
func Open(name string, o Options) (*Reader, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	named := o.Format != ""
	o = o.withDefaults(name)
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
	}
	r, err := open(f, o)
	if errors.Is(err, errNotArrow) && !named { // of a .csv or .gz it is not Arrow that its owner had in mind
		err = fmt.Errorf("its name says no format, so it is read as Arrow, and it is %w; formats that can be named: %v", err, Formats())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if also := r.close; also != nil {
		r.close = func() error { return errors.Join(also(), f.Close()) }
	} else {
		r.close = f.Close
	}
	return r, nil
}

// Columns opens an Arrow or a Parquet file, by its extension, with the columns as they are.
func Columns(name string) (*Reader, error) {
	o := (&Options{}).withDefaults(name)
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	r, err := columns(f, &o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Reader{schema: r.schema, rows: r.rows, close: f.Close, next: func() (arrow.RecordBatch, error) {
		batch, err := r.next()
		if err != nil {
			return nil, err
		}
		for i, c := range batch.Columns() {
			if err := sound(c); err != nil {
				return nil, fmt.Errorf("column %q: damaged: %w", batch.ColumnName(i), err)
			}
		}
		return batch, nil
	}}, nil
}

func columns(f *os.File, o *Options) (*Reader, error) {
	switch o.Format {
	case ArrowIPC:
		return Arrow(f)
	case Parquet:
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return openParquet(f, info.Size(), maxBuffer, o)
	}
	return nil, fmt.Errorf("format %s, allowed: %s, %s", o.Format, ArrowIPC, Parquet)
}

func open(f *os.File, o Options) (*Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := int64(-1)
	if info.Mode().IsRegular() {
		size = info.Size()
	}
	matrix := !slices.Contains([]Format{ArrowIPC, Parquet, JSON}, o.Format)
	if o.IDs != "" && !matrix {
		return nil, fmt.Errorf("ids %s: a file of the format %s has its own", o.IDs, o.Format)
	}
	var r *Reader
	switch o.Format {
	case ArrowIPC:
		r, err = Arrow(f)
	case Parquet:
		if size < 0 {
			return nil, errors.New("a parquet file is read from its end: it cannot be a stream")
		}
		r, err = openParquet(f, size, maxBuffer, &o)
	case JSON:
		return openJSON(f, &o)
	default:
		return openMatrix(f, size, &o)
	}
	if err != nil {
		return nil, err
	}
	return mapped(r, &o)
}

// Schema is that of the first batch at least.
func (r *Reader) Schema() *arrow.Schema { return r.schema }

// Rows is how many rows there are in all, or -1 when that is not known.
func (r *Reader) Rows() int64 { return r.rows }

// Skipped is the number of rows at the start that are passed over, at most those of [Options.Skip].
func (r *Reader) Skipped() int64 { return r.skip }

// Numbered says whether the ids are numbers of rows, for want of others.
func (r *Reader) Numbered() bool { return r.number }

// Encoder is the name of the vectors' encoder, or empty.
func (r *Reader) Encoder() string {
	encoder, _ := r.schema.Metadata().GetValue(schemas.MetaEncoder)
	return encoder
}

// Width is the number of a vector's values, or 0 if there is no vector. If the schema does not say it, the first vector
// does.
func (r *Reader) Width() (int, error) {
	found := r.schema.FieldIndices(schemas.ColumnVector)
	if len(found) != 1 {
		return 0, nil
	}
	if fixed, ok := r.schema.Field(found[0]).Type.(*arrow.FixedSizeListType); ok {
		return int(fixed.Len()), nil
	}
	if r.first == nil {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		r.first = batch
	}
	column := r.first.Column(found[0])
	lists, ok := column.(array.ListLike)
	if !ok {
		return 0, nil
	}
	for i := range column.Len() {
		if column.IsValid(i) {
			start, end := lists.ValueOffsets(i)
			return int(end - start), nil
		}
	}
	return 0, nil
}

// Next returns a batch, or io.EOF after the last one. A batch is valid until the next call.
func (r *Reader) Next() (batch arrow.RecordBatch, err error) {
	if batch = r.first; batch != nil {
		r.first = nil
		return batch, nil
	}
	defer damaged(&err)
	return r.next()
}

// Close closes the file.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// damaged, deferred, turns a panic of the Arrow library into an error: it trusts what it reads.
func damaged(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("damaged Arrow data: %v", fault)
	}
}
