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
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/mrl"
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
	metaGroups      = "adastream.groups"
	metaSpill       = "adastream.spill"
	metaBits        = "adastream.bits"
	metaBlocks      = "adastream.blocks"
	metaTrainedRows = "adastream.trained_rows"
)

// Bounds of what a file may claim: all lists are fewer than 2^31.
const (
	maxGroups     = 1 << 15
	maxGroupLists = 1<<16 - 1
)

// columns are the names of the columns, in order; the last one is there if the model rotates.
var columns = [...]string{"centroids", "rotation", "codebooks", "axes"}

// header is what the metadata of a file says.
type header struct {
	metric      schemas.Metric
	ladder      mrl.Ladder
	coarseDims  int
	groups      []int // lists of each group
	spill       bool
	blocks      []int // sub-quantisers of each block
	trainedRows int64
	axes        string // "" if there are none
}

// columns are those of the file.
func (h *header) columns() []string {
	if h.axes == "" {
		return columns[:len(columns)-1]
	}
	return columns[:]
}

func (p *params) header() *header {
	h := &header{metric: p.metric, ladder: p.ladder, coarseDims: p.lists.Dims(), spill: p.lists.Spill(), blocks: p.quantizer.Blocks(), trainedRows: p.trainedRows}
	if p.axes != nil {
		h.axes = p.axes.id
	}
	bounds := p.lists.Groups()
	for i, end := range bounds[1:] {
		h.groups = append(h.groups, int(end-bounds[i]))
	}
	return h
}

// schema is the schema of a file.
func (h *header) schema() *arrow.Schema {
	var fields []arrow.Field
	for _, name := range h.columns() {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Float32)})
	}
	keys := []string{
		schemas.MetaKind, schemas.MetaFormat, metaMetric, metaLadder, metaDim, metaCoarseDims, metaNList, metaGroups, metaSpill,
		schemas.MetaM, metaBits, metaBlocks, metaTrainedRows,
	}
	nlist, groups := sumAndList(h.groups)
	m, blocks := sumAndList(h.blocks)
	values := []string{
		schemas.KindModel, schemas.FileFormat, string(h.metric), h.ladder.String(), strconv.Itoa(h.ladder.Dim()),
		strconv.Itoa(h.coarseDims), strconv.Itoa(nlist), groups, strconv.FormatBool(h.spill),
		strconv.Itoa(m), strconv.Itoa(opq.Bits), blocks, strconv.FormatInt(h.trainedRows, 10),
	}
	if h.axes != "" {
		keys, values = append(keys, schemas.MetaAxes), append(values, h.axes)
	}
	metadata := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &metadata)
}

// sumAndList returns the sum of numbers, and them with commas between.
func sumAndList(numbers []int) (sum int, list string) {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		sum += n
		texts[i] = strconv.Itoa(n)
	}
	return sum, strings.Join(texts, ",")
}

// encode writes the file.
func (p *params) encode() ([]byte, error) {
	schema := p.header().schema()
	values := [][]float32{p.lists.Centroids(), p.quantizer.Rotation(), p.quantizer.Codebooks()}
	if p.axes != nil {
		values = append(values, p.axes.values)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, v := range values {
		list := b.Field(i).(*array.ListBuilder)
		list.Append(true)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(v, nil)
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
	h, err := parseMetadata(r.Schema().Metadata())
	if err != nil {
		return nil, err
	}
	if want := h.schema(); !r.Schema().Equal(want) || !r.Schema().Metadata().Equal(want.Metadata()) {
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
	for i, name := range h.columns() {
		if values[i], err = floats(batch, i); err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
	}
	p := &params{metric: h.metric, ladder: h.ladder, trainedRows: h.trainedRows}
	if h.axes != "" {
		if p.axes, err = newAxes(values[3], h.ladder.Dim()); err != nil {
			return nil, err
		}
		if p.axes.id != h.axes {
			return nil, fmt.Errorf("%s: %q, allowed: %s", schemas.MetaAxes, h.axes, p.axes.id)
		}
	}
	if p.lists, err = coarse.New(h.metric, values[0], h.ladder.Dim(), h.coarseDims, h.bounds(), h.spill); err != nil {
		return nil, err
	}
	p.quantizer, err = opq.New(h.ladder, h.blocks, values[1], values[2])
	return p, err
}

// bounds are the groups as package coarse wants them.
func (h *header) bounds() []int32 {
	bounds := make([]int32, 1, len(h.groups)+1)
	for i, n := range h.groups {
		bounds = append(bounds, bounds[i]+int32(n))
	}
	return bounds
}

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

// parseMetadata reads a header. Whether it is written as it should be, and the keys that follow from others, are left to a
// comparison with the schema that it implies.
func parseMetadata(md arrow.Metadata) (*header, error) {
	value := func(key string) string {
		v, _ := md.GetValue(key)
		return v
	}
	if err := schemas.CheckKind(md, schemas.KindModel); err != nil {
		return nil, err
	}
	h := &header{metric: schemas.Metric(value(metaMetric)), axes: value(schemas.MetaAxes)}
	if h.metric != schemas.Cosine && h.metric != schemas.InnerProduct {
		return nil, fmt.Errorf("%s: %q, allowed: %s, %s", metaMetric, h.metric, schemas.Cosine, schemas.InnerProduct)
	}
	var err error
	if h.ladder, err = numbers(value(metaLadder), schemas.MaxLevels, schemas.MaxDim); err != nil {
		return nil, fmt.Errorf("%s: %w", metaLadder, err)
	}
	if h.groups, err = numbers(value(metaGroups), maxGroups, maxGroupLists); err != nil {
		return nil, fmt.Errorf("%s: %w", metaGroups, err)
	}
	if h.blocks, err = numbers(value(metaBlocks), schemas.MaxDim, opq.MaxSubs); err != nil {
		return nil, fmt.Errorf("%s: %w", metaBlocks, err)
	}
	if h.coarseDims, err = strconv.Atoi(value(metaCoarseDims)); err != nil || !h.ladder.Has(h.coarseDims) {
		return nil, fmt.Errorf("%s: %q, allowed: %s", metaCoarseDims, value(metaCoarseDims), h.ladder)
	}
	if h.spill, err = strconv.ParseBool(value(metaSpill)); err != nil {
		return nil, fmt.Errorf("%s: %q, allowed: true, false", metaSpill, value(metaSpill))
	}
	if h.trainedRows, err = strconv.ParseInt(value(metaTrainedRows), 10, 64); err != nil || h.trainedRows < 0 {
		return nil, fmt.Errorf("%s: %q, allowed: 0 or more", metaTrainedRows, value(metaTrainedRows))
	}
	return h, nil
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
