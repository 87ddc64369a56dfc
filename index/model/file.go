package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/arrowfile"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Keys of the metadata that are this file's alone.
const (
	metaMetric      = "adastream.metric"
	metaLadder      = "adastream.ladder"
	metaDim         = "adastream.dim"
	metaCoarseDims  = "adastream.coarse_dims"
	metaNList       = "adastream.nlist"
	metaBits        = "adastream.bits"
	metaBlocks      = "adastream.blocks"
	metaTrainedRows = "adastream.trained_rows"
)

// columns are the names of the columns, in order.
var columns = [...]string{"coarse", "centroids", "rotation", "codebooks"}

// schema is the schema of a model's file.
func (p *params) schema(blocks []int) *arrow.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, name := range columns {
		fields[i] = arrow.Field{Name: name, Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Float32)}
	}
	m, list := 0, make([]string, len(blocks))
	for i, subs := range blocks {
		m += subs
		list[i] = strconv.Itoa(subs)
	}
	keys := []string{
		schemas.MetaKind, schemas.MetaFormat, metaMetric, metaLadder, metaDim, metaCoarseDims, metaNList, schemas.MetaM, metaBits,
		metaBlocks, metaTrainedRows,
	}
	values := []string{
		schemas.KindModel, schemas.FileFormat, string(p.metric), p.ladder.String(), strconv.Itoa(p.ladder.Dim()),
		strconv.Itoa(p.coarseDims), strconv.Itoa(p.nlist), strconv.Itoa(m), strconv.Itoa(opq.Bits),
		strings.Join(list, ","), strconv.FormatInt(p.trainedRows, 10),
	}
	metadata := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &metadata)
}

// encode writes the file.
func (p *params) encode() ([]byte, error) {
	schema := p.schema(p.quantizer.Blocks())
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, values := range [][]float32{p.coarse, p.centroids, p.quantizer.Rotation(), p.quantizer.Codebooks()} {
		list := b.Field(i).(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(values, nil)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(schema))
	if err != nil {
		return nil, fmt.Errorf("model file: %w", err)
	}
	if err := w.Write(batch); err != nil {
		return nil, fmt.Errorf("model file: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("model file: %w", err)
	}
	return out.Bytes(), nil
}

// Parse reads a model. Data that is not one wraps [schemas.ErrCorrupt], however hostile. Data is copied.
func Parse(data []byte) (m *Model, err error) {
	defer func() {
		if r := recover(); r != nil { // arrow-go indexes into what the file claims
			m, err = nil, fmt.Errorf("model file: %w: %v", schemas.ErrCorrupt, r)
		}
	}()
	p, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("model file: %w: %w", schemas.ErrCorrupt, err)
	}
	return newModel(*p, bytes.Clone(data)), nil
}

func decode(data []byte) (*params, error) {
	if err := arrowfile.Inspect(data); err != nil {
		return nil, err
	}
	r, err := ipc.NewMappedFileReader(data, ipc.WithAllocator(noMemory{}), ipc.WithBodySizeLimit(int64(len(data))))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p, blocks, err := parseMetadata(r.Schema().Metadata())
	if err != nil {
		return nil, err
	}
	if want := p.schema(blocks); !r.Schema().Equal(want) || !r.Schema().Metadata().Equal(want.Metadata()) {
		return nil, fmt.Errorf("schema %v, allowed: %v", r.Schema(), want)
	}
	if r.NumRecords() != 1 || r.NumDictionaries() != 0 {
		return nil, fmt.Errorf("%d record batches and %d dictionaries, allowed: 1 and 0", r.NumRecords(), r.NumDictionaries())
	}
	batch, err := r.RecordBatchAt(0)
	if err != nil {
		return nil, err
	}
	defer batch.Release()
	var values [len(columns)][]float32
	for i, name := range columns {
		if values[i], err = floats(batch, i); err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
	}
	if p.quantizer, err = opq.New(p.ladder, blocks, values[2], values[3]); err != nil {
		return nil, err
	}
	p.coarse, p.centroids = values[0], values[1]
	if !holds(p.coarse, p.nlist, p.coarseDims) || !holds(p.centroids, p.nlist, p.ladder.Dim()) {
		return nil, fmt.Errorf("%d and %d values of coarse and full centroids, allowed: %d lists of %d and %d",
			len(p.coarse), len(p.centroids), p.nlist, p.coarseDims, p.ladder.Dim())
	}
	return p, nil
}

// holds reports whether there are n rows of dim values.
func holds(values []float32, n, dim int) bool { return len(values)%dim == 0 && len(values)/dim == n }

// floats copies the values of column i, which must be one list of finite numbers.
func floats(batch arrow.RecordBatch, i int) ([]float32, error) {
	if batch.NumRows() != 1 {
		return nil, fmt.Errorf("%d rows, allowed: 1", batch.NumRows())
	}
	list, ok := batch.Column(i).(*array.List)
	if !ok || list.Len() != 1 || list.NullN() != 0 {
		return nil, errors.New("not one list without nulls")
	}
	items, ok := list.ListValues().(*array.Float32)
	if !ok || items.NullN() != 0 {
		return nil, errors.New("not numbers without nulls")
	}
	start, end := list.ValueOffsets(0)
	if start != 0 || end != int64(items.Len()) {
		return nil, fmt.Errorf("list [%d, %d) of %d numbers", start, end, items.Len())
	}
	values := append([]float32(nil), items.Float32Values()...)
	for j, v := range values {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("value %d is %v, allowed: finite", j, v)
		}
	}
	return values, nil
}

// parseMetadata reads the parameters and the number of sub-quantisers of each block. Whether they are written as they
// should be, and the keys that follow from others, are left to a comparison with the schema that they imply.
func parseMetadata(md arrow.Metadata) (p *params, blocks []int, err error) {
	p = &params{}
	value := func(key string) string {
		v, _ := md.GetValue(key)
		return v
	}
	p.metric = schemas.Metric(value(metaMetric))
	if p.metric != schemas.Cosine && p.metric != schemas.InnerProduct {
		return nil, nil, fmt.Errorf("%s: %q, allowed: %s, %s", metaMetric, p.metric, schemas.Cosine, schemas.InnerProduct)
	}
	if p.ladder, err = numbers(value(metaLadder), schemas.MaxLevels, schemas.MaxDim); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", metaLadder, err)
	}
	if blocks, err = numbers(value(metaBlocks), schemas.MaxDim, opq.MaxSubs); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", metaBlocks, err)
	}
	if p.coarseDims, err = strconv.Atoi(value(metaCoarseDims)); err != nil || !p.ladder.Has(p.coarseDims) {
		return nil, nil, fmt.Errorf("%s: %q, allowed: %s", metaCoarseDims, value(metaCoarseDims), p.ladder)
	}
	if p.nlist, err = strconv.Atoi(value(metaNList)); err != nil || p.nlist < 1 || p.nlist > math.MaxInt32 {
		return nil, nil, fmt.Errorf("%s: %q, allowed: 1 to %d", metaNList, value(metaNList), math.MaxInt32)
	}
	if p.trainedRows, err = strconv.ParseInt(value(metaTrainedRows), 10, 64); err != nil || p.trainedRows < 0 {
		return nil, nil, fmt.Errorf("%s: %q, allowed: 0 or more", metaTrainedRows, value(metaTrainedRows))
	}
	return p, blocks, nil
}

// numbers reads a list of 1 to length numbers from 0 to largest, with commas between.
func numbers(list string, length, largest int) ([]int, error) {
	var numbers []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > largest || len(numbers) == length {
			return nil, fmt.Errorf("%q, allowed: up to %d numbers from 0 to %d", list, length, largest)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// noMemory is an allocator that has nothing to give. Reading a file of the right schema needs none, as all buffers are
// those of the file; only compressed bodies, which are not allowed here, would claim some - as much as they like.
type noMemory struct{}

func (noMemory) Allocate(size int) []byte {
	panic(fmt.Sprintf("buffer of %d bytes that is not in the file", size))
}
func (noMemory) Reallocate(size int, _ []byte) []byte { return noMemory{}.Allocate(size) }
func (noMemory) Free([]byte)                          {}
