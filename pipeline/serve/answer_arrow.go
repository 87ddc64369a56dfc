package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

// Columns of an Arrow answer, one row a hit, beside the attributes asked for, which are called schemas.AttributePrefix
// and their name and have their stored type. Rows are in the order of queries, then of groups, the best first, then the best first.
const (
	columnQuery = "query" // uint32, from 0: which query of the request
	columnID    = "id"    // utf8
	columnScore = "score" // float32
	columnGroup = "group" // value of the attribute, in its stored type; only where there are groups
)

// Keys of the metadata of an Arrow answer's schema. The values are the JSON that an answer in JSON has in the field of
// that name.
const (
	metaSnapshot       = "adastream.snapshot"
	metaUsage          = "adastream.usage"
	metaExpectedRecall = "adastream.expected_recall" // absent where nothing was measured
	metaInterval       = "adastream.expected_interval"
	metaDegraded       = "adastream.degraded" // absent unless it is
)

// arrow writes the hits as an Arrow stream of one record batch.
func (a *searchAnswer) arrow() (*response, error) {
	if a.groups != nil {
		a.results = a.ungrouped()
	}
	columns, size, err := a.columns()
	if err != nil {
		return nil, err
	}
	schema, err := a.schema()
	if err != nil {
		return nil, err
	}
	n := int64(columns[0].Len())
	out := bytes.NewBuffer(make([]byte, 0, size+4096)) // schema, metadata and padding
	w := ipc.NewWriter(out, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecordBatch(schema, columns, n)); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return &response{contentType: arrowType, body: out.Bytes()}, nil
}

// ungrouped are the hits of each query, those of a group beside one another.
func (a *searchAnswer) ungrouped() [][]search.Hit {
	results := make([][]search.Hit, len(a.groups))
	for i, groups := range a.groups {
		for _, g := range groups {
			results[i] = append(results[i], g.hits...)
		}
	}
	return results
}

func (a *searchAnswer) schema() (*arrow.Schema, error) {
	fields := []arrow.Field{
		{Name: columnQuery, Type: arrow.PrimitiveTypes.Uint32},
		{Name: columnID, Type: arrow.BinaryTypes.String},
		{Name: columnScore, Type: arrow.PrimitiveTypes.Float32},
	}
	if a.groups != nil {
		fields = append(fields, arrow.Field{Name: columnGroup, Type: a.snap.Spec().Attributes[a.groupedBy].Type.ArrowType(), Nullable: true})
	}
	for _, j := range a.fields {
		attribute := a.snap.Spec().Attributes[j]
		fields = append(fields, arrow.Field{Name: schemas.AttributePrefix + attribute.Name, Type: attribute.Type.ArrowType(), Nullable: true})
	}
	info, err := json.Marshal(a.about.Snapshot)
	if err != nil {
		return nil, err
	}
	cost, err := json.Marshal(a.about.Usage)
	if err != nil {
		return nil, err
	}
	keys, values := []string{metaSnapshot, metaUsage}, []string{string(info), string(cost)}
	if expected := a.about.ExpectedRecall; expected != nil {
		keys, values = append(keys, metaExpectedRecall), append(values, strconv.FormatFloat(*expected, 'g', -1, 64))
	}
	if interval := a.about.Interval; interval != nil {
		text, err := json.Marshal(interval)
		if err != nil {
			return nil, err
		}
		keys, values = append(keys, metaInterval), append(values, string(text))
	}
	if a.about.Degraded != "" {
		keys, values = append(keys, metaDegraded), append(values, strconv.Quote(a.about.Degraded))
	}
	metadata := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &metadata), nil
}

// columns gathers the hits, and says how many bytes they are.
func (a *searchAnswer) columns() (columns []arrow.Array, size int, err error) {
	parts, n, text := a.snap.Parts(), 0, 0
	for _, hits := range a.results {
		n += len(hits)
		for _, h := range hits {
			text += len(parts[h.Part].IDAt(h.Row))
		}
	}
	if text > math.MaxInt32 {
		return nil, 0, fmt.Errorf("ids of an answer have %d bytes, allowed: %d", text, math.MaxInt32)
	}
	query, score := make([]uint32, 0, n), make([]float32, 0, n)
	ends, ids := append(make([]int32, 0, n+1), 0), make([]byte, 0, text)
	for q, hits := range a.results {
		for _, h := range hits {
			query, score = append(query, uint32(q)), append(score, h.Score)
			ids = append(ids, parts[h.Part].IDAt(h.Row)...)
			ends = append(ends, int32(len(ids)))
		}
	}
	columns = []arrow.Array{
		arrayOf(arrow.PrimitiveTypes.Uint32, n, arrow.Uint32Traits.CastToBytes(query)),
		arrayOf(arrow.BinaryTypes.String, n, arrow.Int32Traits.CastToBytes(ends), ids),
		arrayOf(arrow.PrimitiveTypes.Float32, n, arrow.Float32Traits.CastToBytes(score)),
	}
	if a.groups != nil {
		columns = append(columns, a.attribute(a.groupedBy))
	}
	for _, j := range a.fields {
		columns = append(columns, a.attribute(j))
	}
	return columns, 12*n + text, nil
}

// arrayOf is an array of n values without nulls, which aliases its buffers.
func arrayOf(t arrow.DataType, n int, buffers ...[]byte) arrow.Array {
	all := []*memory.Buffer{nil} // no validity
	for _, b := range buffers {
		all = append(all, memory.NewBufferBytes(b))
	}
	return array.MakeFromData(array.NewData(t, n, all, nil, 0, 0))
}

// attribute gathers attribute j of the hits.
func (a *searchAnswer) attribute(j int) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, a.snap.Spec().Attributes[j].Type.ArrowType())
	for _, hits := range a.results {
		for _, h := range hits {
			AppendTo(b, a.snap.Parts()[h.Part].Attribute(j), h.Row)
		}
	}
	return b.NewArray()
}

// AppendTo appends value i of a column in its stored type, which is that of the builder.
func AppendTo(b array.Builder, from arrow.Array, i int) {
	if from.IsNull(i) {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(from.(*array.Boolean).Value(i))
	case *array.Int64Builder:
		b.Append(from.(*array.Int64).Value(i))
	case *array.Float64Builder:
		b.Append(from.(*array.Float64).Value(i))
	case *array.TimestampBuilder:
		b.Append(from.(*array.Timestamp).Value(i))
	case *array.StringBuilder:
		b.Append(from.(*array.String).Value(i))
	}
}
