package files

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/adastream/adastream/pipeline/jsonrow"
	"github.com/adastream/adastream/schemas"
)

// kind is what a value of JSON is to an attribute.
type kind int

const (
	noKind kind = iota
	textKind
	boolKind
	integerKind
	floatKind // also a column with integers
)

// jsonBatch is the rows of a batch as they are read. Ids are texts: an integer's is what its digits are.
type jsonBatch struct {
	rows       int
	ids        []string
	hasID      []bool
	values     []float32
	ends       []int // of each row's vector in values
	hasVector  []bool
	attributes map[string]*jsonColumn // op and version too
	row        jsonRow                // that is being read
}

// jsonRow is what has been read of a row, beside its vector.
type jsonRow struct {
	id               string
	hasID, hasVector bool
	attributes       []jsonValue
}

type jsonValue struct {
	name string
	kind kind
	v    any
}

// fits reports whether the values of the row that is being read are of the kinds of their columns.
func (b *jsonBatch) fits() bool {
	for _, a := range b.row.attributes {
		if c := b.attributes[a.name]; c != nil && !c.takes(a.kind) {
			return false
		}
	}
	return true
}

// drop forgets the row that is being read.
func (b *jsonBatch) drop() {
	start := 0
	if n := len(b.ends); n > 0 {
		start = b.ends[n-1]
	}
	b.values, b.row = b.values[:start], jsonRow{}
}

// next ends the row that is being read.
func (b *jsonBatch) next() {
	for _, a := range b.row.attributes {
		b.attribute(a.name).set(b.rows, a.kind, a.v)
	}
	b.rows++
	b.ids, b.hasID = append(b.ids, b.row.id), append(b.hasID, b.row.hasID)
	b.ends, b.hasVector = append(b.ends, len(b.values)), append(b.hasVector, b.row.hasVector)
	b.row = jsonRow{attributes: b.row.attributes[:0]}
}

func (b *jsonBatch) set(name string, k kind, v any) {
	b.row.attributes = append(b.row.attributes, jsonValue{name, k, v})
}

func (b *jsonBatch) has(name string) bool {
	switch name {
	case schemas.ColumnID:
		return slices.Contains(b.hasID, true)
	case schemas.ColumnVector:
		return slices.Contains(b.hasVector, true)
	}
	return b.attributes[name] != nil
}

func (b *jsonBatch) setID(raw jsontext.Value) error {
	text := string(raw)
	if raw[0] == '"' {
		var err error
		if text, err = unquote(raw); err != nil {
			return err
		}
	} else if !jsonrow.IsID(raw) {
		return fmt.Errorf("%.40s, allowed: a text, an integer of 64 bits", raw)
	}
	b.row.id, b.row.hasID = text, true
	return nil
}

func (b *jsonBatch) setVector(raw jsontext.Value) error {
	if raw[0] != '[' {
		return fmt.Errorf("%.40s, allowed: a list of numbers", raw)
	}
	b.row.hasVector = true
	var err error
	b.values, _, err = jsonrow.Numbers(b.values, raw, math.MaxInt)
	return err
}

func (b *jsonBatch) attribute(name string) *jsonColumn {
	c := b.attributes[name]
	if c == nil {
		c = &jsonColumn{}
		b.attributes[name] = c
	}
	return c
}

// batch makes the record batch: ids and vectors, and the other columns by name.
func (b *jsonBatch) batch(encoder string) arrow.RecordBatch {
	ids := array.NewStringBuilder(memory.DefaultAllocator)
	ids.AppendValues(b.ids, b.hasID)
	vectors := array.NewListBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Float32)
	values := vectors.ValueBuilder().(*array.Float32Builder)
	start := 0
	for i, end := range b.ends {
		vectors.Append(b.hasVector[i])
		values.AppendValues(b.values[start:end], nil)
		start = end
	}
	columns := []arrow.Array{ids.NewArray(), vectors.NewArray()}
	fields := []arrow.Field{
		{Name: schemas.ColumnID, Type: columns[0].DataType(), Nullable: true},
		{Name: schemas.ColumnVector, Type: columns[1].DataType(), Nullable: true},
	}
	for _, name := range slices.Sorted(maps.Keys(b.attributes)) {
		c := b.attributes[name].array(b.rows)
		columns = append(columns, c)
		fields = append(fields, arrow.Field{Name: name, Type: c.DataType(), Nullable: true})
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, encoderMetadata(encoder)), columns, int64(b.rows))
}

// jsonColumn is the values of a field, of the rows that have it.
type jsonColumn struct {
	kind   kind
	rows   []int
	values []any
}

// takes reports whether a value of a kind can be among those of the column.
func (c *jsonColumn) takes(k kind) bool {
	return c.kind == k || c.kind >= integerKind && k >= integerKind
}

func (c *jsonColumn) set(row int, k kind, v any) {
	c.kind = max(c.kind, k)
	c.rows, c.values = append(c.rows, row), append(c.values, v)
}

func (c *jsonColumn) array(rows int) arrow.Array {
	types := [...]arrow.DataType{arrow.Null, arrow.BinaryTypes.String, arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64}
	b := array.NewBuilder(memory.DefaultAllocator, types[c.kind])
	b.Reserve(rows)
	for i, row := range c.rows {
		b.AppendNulls(row - b.Len())
		switch b := b.(type) {
		case *array.StringBuilder:
			b.Append(c.values[i].(string))
		case *array.BooleanBuilder:
			b.Append(c.values[i].(bool))
		case *array.Int64Builder:
			b.Append(c.values[i].(int64))
		case *array.Float64Builder:
			if n, ok := c.values[i].(int64); ok {
				b.Append(float64(n))
			} else {
				b.Append(c.values[i].(float64))
			}
		}
	}
	b.AppendNulls(rows - b.Len())
	return b.NewArray()
}
