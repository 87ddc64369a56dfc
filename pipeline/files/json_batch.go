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

var kindNames = [...]string{"nothing", "text", "bool", "number", "number"}

// jsonBatch is the rows of a batch as they are read. Ids are texts: an integer's is what its digits are.
type jsonBatch struct {
	rows       int
	ids        []string
	hasID      []bool
	values     []float32
	ends       []int // of each row's vector in values
	hasVector  []bool
	attributes map[string]*jsonColumn // op and version too
	id         string                 // of the row that is being read
	idSet, set bool                   // whether that has an id, a vector
}

// next ends the row that is being read.
func (b *jsonBatch) next() {
	b.rows++
	b.ids, b.hasID = append(b.ids, b.id), append(b.hasID, b.idSet)
	b.ends, b.hasVector = append(b.ends, len(b.values)), append(b.hasVector, b.set)
	b.id, b.idSet, b.set = "", false, false
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
	b.id, b.idSet = text, true
	return nil
}

func (b *jsonBatch) setVector(raw jsontext.Value) error {
	if raw[0] != '[' {
		return fmt.Errorf("%.40s, allowed: a list of numbers", raw)
	}
	b.set = true
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
	line   int // that decided the kind
	rows   []int
	values []any
}

func (c *jsonColumn) set(row, line int, k kind, v any) error {
	switch {
	case c.kind == noKind, c.kind == integerKind && k == floatKind:
		c.kind, c.line = k, line
	case c.kind != k && (c.kind != floatKind || k != integerKind):
		return fmt.Errorf("a %s, allowed: a %s, as in line %d", kindNames[k], kindNames[c.kind], c.line)
	}
	c.rows, c.values = append(c.rows, row), append(c.values, v)
	return nil
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
