package files

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"

	"github.com/adastream/adastream/schemas"
)

// slot is a column of the batches that come out, and how it is made of one that a file has; convert is nil if it is that.
type slot struct {
	from    int
	convert func(arrow.Array) (arrow.Array, error)
}

// mapped calls the columns of r as messages do and makes their types those of messages.
func mapped(r *Reader, o *Options) (*Reader, error) {
	from := r.schema
	m := mapping{o: o}
	for i, field := range from.Fields() {
		if err := m.add(i, field); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, f := range from.Fields() {
		names = append(names, f.Name)
	}
	if err := m.complete(m.has, names); err != nil {
		return nil, err
	}
	encoder := r.Encoder()
	if o.Encoder != "" {
		if encoder != "" && encoder != o.Encoder {
			return nil, fmt.Errorf("the file's vectors are of the encoder %q, asked for: %q", encoder, o.Encoder)
		}
		encoder = o.Encoder
	}
	schema := arrow.NewSchema(m.fields, encoderMetadata(encoder))
	row := r.skip
	return &Reader{schema: schema, rows: r.rows, skip: r.skip, next: func() (arrow.RecordBatch, error) {
		batch, err := r.next()
		if err != nil {
			return nil, err
		}
		columns := make([]arrow.Array, len(m.slots))
		for i, s := range m.slots {
			column := batch.Column(s.from)
			if e, ok := column.(array.ExtensionArray); ok {
				column = e.Storage()
			}
			if columns[i], err = s.made(column); err != nil {
				return nil, fmt.Errorf("column %q, rows %d to %d: %w", batch.ColumnName(s.from), row, row+batch.NumRows()-1, err)
			}
		}
		row += batch.NumRows()
		return array.NewRecordBatch(schema, columns, batch.NumRows()), nil
	}}, nil
}

// made is what a message has of a column, once that is sound.
func (s slot) made(column arrow.Array) (arrow.Array, error) {
	values := column
	dictionary, shares := column.(*array.Dictionary)
	if shares {
		values = dictionary.Dictionary()
	}
	if id := values.DataType().ID(); id == arrow.STRING_VIEW || id == arrow.BINARY_VIEW {
		if err := spread(values); err != nil { // first: to see that views are sound, the text of each is read, which may be one and the same
			return nil, err
		}
	}
	if err := sound(column); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	if s.convert == nil {
		return column, nil
	}
	if shares {
		if err := spread(column); err != nil {
			return nil, err
		}
	}
	return s.convert(column)
}

// sound checks the offsets and lengths of a column, which the library believes when it reads: texts and lists may be of more than there is.
func sound(column arrow.Array) (err error) {
	defer func() {
		if fault := recover(); fault != nil { // as of some offsets that it looks for (arrow-go 18.8.0)
			err = fmt.Errorf("%v", fault)
		}
	}()
	return array.ValidateFull(column)
}

// maxSpread is how many bytes the texts of a column may be for each byte that it has, beyond maxBuffer.
const maxSpread = 64

// spread bounds what a column takes once each of its rows has its own text: those of views and of dictionaries may share a long one.
func spread(column arrow.Array) error {
	type texts interface{ ValueLen(row int) int }
	var length func(row int) int
	switch c := column.(type) {
	case *array.StringView:
		length = c.ValueLen
	case *array.BinaryView:
		length = c.ValueLen
	case *array.Dictionary:
		values, ok := c.Dictionary().(texts)
		if !ok {
			return nil
		}
		length = func(row int) int { return values.ValueLen(c.GetValueIndex(row)) }
	default:
		return nil
	}
	allowed := maxBuffer + maxSpread*int64(column.Data().SizeInBytes())
	left := allowed
	for row := range column.Len() {
		if column.IsNull(row) {
			continue
		}
		if left -= int64(max(0, length(row))); left < 0 {
			return fmt.Errorf("its texts are of more than %d bytes, because rows share them", allowed)
		}
	}
	return nil
}

// encoderMetadata is what a message says of its encoder.
func encoderMetadata(encoder string) *arrow.Metadata {
	if encoder == "" {
		return nil
	}
	md := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{encoder})
	return &md
}

type mapping struct {
	o      *Options
	fields []arrow.Field
	slots  []slot
}

// name is what messages call a column, or why they have none of it.
func (m *mapping) name(column string) (name, why string) {
	id, vector := m.columns()
	switch column {
	case id:
		return schemas.ColumnID, ""
	case vector:
		return schemas.ColumnVector, ""
	case schemas.ColumnID:
		return "", fmt.Sprintf("the ids are in column %q", id)
	case schemas.ColumnVector:
		return "", fmt.Sprintf("the vectors are in column %q", vector)
	}
	return column, ""
}

// columns are the names of the columns that have ids and vectors.
func (m *mapping) columns() (id, vector string) {
	id, vector = m.o.ID, m.o.Vector
	if id == "" {
		id = schemas.ColumnID
	}
	if vector == "" {
		vector = schemas.ColumnVector
	}
	return id, vector
}

func (m *mapping) add(i int, field arrow.Field) error {
	name, why := m.name(field.Name)
	if name == "" {
		m.o.Ignored(field.Name, why)
		return nil
	}
	t := field.Type
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	s := slot{from: i}
	switch name {
	case schemas.ColumnID:
		if t, s.convert = idOf(t); t == nil {
			return fmt.Errorf("column %q: type %s, allowed: texts, a dictionary of them, integers, fixed_size_binary[16]", field.Name, field.Type)
		}
	case schemas.ColumnVector:
		if t, s.convert = vectorOf(t); t == nil {
			return fmt.Errorf("column %q: type %s, allowed: list, large_list or fixed_size_list of floats or of integers of up to 16 bits, binary or fixed_size_binary of float32",
				field.Name, field.Type)
		}
	default:
		t, s.convert = attributeOf(t)
		if _, ok := schemas.AttributeTypeOf(t); !ok {
			m.o.Ignored(field.Name, fmt.Sprintf("its type is %s, which no attribute has", field.Type))
			return nil
		}
		if name == schemas.ColumnVersion && arrow.IsInteger(t.ID()) && t.ID() != arrow.INT64 {
			t, s.convert = arrow.PrimitiveTypes.Int64, castTo(arrow.PrimitiveTypes.Int64)
		}
	}
	if m.has(name) {
		return fmt.Errorf("column %q is there twice", field.Name)
	}
	m.fields = append(m.fields, arrow.Field{Name: name, Type: t, Nullable: field.Nullable})
	m.slots = append(m.slots, s)
	return nil
}

func (m *mapping) has(name string) bool {
	return slices.ContainsFunc(m.fields, func(f arrow.Field) bool { return f.Name == name })
}

// complete fails if a column is missing that messages need; names are those that there are. Deletes have no vectors.
func (m *mapping) complete(has func(column string) bool, names []string) error {
	id, vector := m.columns()
	missing := ""
	switch {
	case !has(schemas.ColumnID):
		missing = id
	case has(schemas.ColumnVector):
	case vector != schemas.ColumnVector, !has(schemas.ColumnOp):
		missing = vector
	}
	if missing == "" {
		return nil
	}
	return fmt.Errorf("column %q is missing, there are: %s", missing, strings.Join(names, ", "))
}

// idOf is the type of a message's ids that are made of a type, and how; nil if none are.
func idOf(t arrow.DataType) (arrow.DataType, func(arrow.Array) (arrow.Array, error)) {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.INT64, arrow.UINT64:
		return t, nil
	case arrow.INT8, arrow.INT16, arrow.INT32:
		return arrow.PrimitiveTypes.Int64, castTo(arrow.PrimitiveTypes.Int64)
	case arrow.UINT8, arrow.UINT16, arrow.UINT32:
		return arrow.PrimitiveTypes.Uint64, castTo(arrow.PrimitiveTypes.Uint64)
	case arrow.STRING_VIEW, arrow.DECIMAL128, arrow.DECIMAL256:
		if to, convert := attributeOf(t); to.ID() == arrow.LARGE_STRING || to.ID() == arrow.INT64 {
			return to, convert
		}
	case arrow.DICTIONARY:
		value, convert := attributeOf(t)
		if value = value.(*arrow.DictionaryType).ValueType; value.ID() != arrow.STRING && value.ID() != arrow.LARGE_STRING {
			break
		}
		return value, func(a arrow.Array) (_ arrow.Array, err error) {
			if convert != nil {
				if a, err = convert(a); err != nil {
					return nil, err
				}
			}
			d := a.(*array.Dictionary)
			return compute.TakeArray(context.Background(), d.Dictionary(), d.Indices())
		}
	case arrow.FIXED_SIZE_BINARY:
		if t.(*arrow.FixedSizeBinaryType).ByteWidth == 16 {
			return t, nil
		}
	}
	return nil, nil
}

// attributeOf is the type of a message's attribute that a type is made, and how: texts that are views, as polars writes them, are made
// texts, days the times that they begin at, in UTC, and decimals integers or floats. Other types stay what they are.
func attributeOf(t arrow.DataType) (arrow.DataType, func(arrow.Array) (arrow.Array, error)) {
	to := t
	switch t := t.(type) {
	case *arrow.StringViewType:
		to = arrow.BinaryTypes.LargeString // views of a batch may be of more than an utf8 column holds
	case *arrow.Date32Type, *arrow.Date64Type:
		to = arrow.FixedWidthTypes.Timestamp_ms
	case arrow.DecimalType:
		if t.GetScale() == 0 { // what databases write that have no integers
			to = arrow.PrimitiveTypes.Int64
		} else {
			to = arrow.PrimitiveTypes.Float64
		}
	case *arrow.DictionaryType:
		if t.ValueType.ID() == arrow.STRING_VIEW {
			to := &arrow.DictionaryType{IndexType: t.IndexType, ValueType: arrow.BinaryTypes.LargeString, Ordered: t.Ordered}
			return to, func(a arrow.Array) (arrow.Array, error) { return withTexts(a.(*array.Dictionary), to) }
		}
	}
	if to == t {
		return t, nil
	}
	return to, castTo(to)
}

// withTexts is a dictionary whose values are of another type.
func withTexts(a *array.Dictionary, to *arrow.DictionaryType) (arrow.Array, error) {
	values, err := castTo(to.ValueType)(a.Dictionary())
	if err != nil {
		return nil, err
	}
	return array.NewDictionaryArray(to, a.Indices(), values), nil
}

func castTo(t arrow.DataType) func(arrow.Array) (arrow.Array, error) {
	return func(a arrow.Array) (arrow.Array, error) {
		return compute.CastArray(context.Background(), a, compute.SafeCastOptions(t))
	}
}
