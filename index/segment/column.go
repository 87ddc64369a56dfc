package segment

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas"
)

// Timestamps that a column holds, in milliseconds since the epoch: those that RFC 3339 can write.
const (
	minTimestamp = -62_167_219_200_000 // 0000-01-01T00:00:00.000Z
	maxTimestamp = 253_402_300_799_999 // 9999-12-31T23:59:59.999Z
)

// Column holds the values of one attribute in its stored type. Any value may be null. A column copies what is appended
// to it. It is not safe for concurrent use.
type Column struct {
	typ   schemas.AttributeType
	valid []bool
	nulls int

	// Of these only the one of the type is in use. A null has the zero value there.
	bools  []bool
	ints   []int64 // also timestamps, in milliseconds since the epoch
	floats []float64
	text   []byte // all strings; string i is text[ends[i-1]:ends[i]]
	ends   []int
}

// NewColumn returns an empty column.
func NewColumn(t schemas.AttributeType) *Column { return &Column{typ: t} }

// Len returns the number of values.
func (c *Column) Len() int { return len(c.valid) }

// Reset removes all values and keeps the memory for new ones.
func (c *Column) Reset() {
	c.valid, c.nulls = c.valid[:0], 0
	c.bools, c.ints, c.floats, c.text, c.ends = c.bools[:0], c.ints[:0], c.floats[:0], c.text[:0], c.ends[:0]
}

// AppendNull appends a null.
func (c *Column) AppendNull() {
	switch c.typ {
	case schemas.AttributeBool:
		c.bools = append(c.bools, false)
	case schemas.AttributeInt, schemas.AttributeTimestamp:
		c.ints = append(c.ints, 0)
	case schemas.AttributeFloat:
		c.floats = append(c.floats, 0)
	default:
		c.ends = append(c.ends, len(c.text))
	}
	c.valid = append(c.valid, false)
	c.nulls++
}

// Accepts reports whether values of an Arrow type can be appended, give or take single values that do not fit.
func (c *Column) Accepts(t arrow.DataType) bool {
	if t.ID() == arrow.NULL {
		return true
	}
	stored, ok := schemas.AttributeTypeOf(t)
	return ok && (stored == c.typ || stored == schemas.AttributeInt && c.typ == schemas.AttributeFloat ||
		stored == schemas.AttributeFloat && c.typ == schemas.AttributeInt || // pandas and JSON lines make one fraction, or null, a column of floats
		stored == schemas.AttributeString && c.typ == schemas.AttributeTimestamp) // JSON lines have no other times
}

// allowed names the Arrow types that a column accepts.
func (c *Column) allowed() string {
	switch c.typ {
	case schemas.AttributeBool:
		return "bool"
	case schemas.AttributeInt:
		return "an integer type, floats that are whole"
	case schemas.AttributeFloat:
		return "float16, float32, float64, an integer type"
	case schemas.AttributeTimestamp:
		return "timestamp, texts"
	default:
		return "utf8, large_utf8 or a dictionary of them"
	}
}

// AppendFrom appends value i of an array of a type that [Column.Accepts]. All integers widen to int64, all floats to
// float64, and integers to the float64 that is nearest; floats that are whole are integers too; strings of all kinds to utf8; timestamps, or texts of them as RFC 3339 has them, are rounded
// down to milliseconds. On an error, which says what
// value does not fit, nothing is appended. The array must be sound: see package pipeline/ingest for how messages are checked.
func (c *Column) AppendFrom(arr arrow.Array, i int) error {
	if !c.Accepts(arr.DataType()) {
		return fmt.Errorf("type %s is not %s, allowed: %s", arr.DataType(), c.typ, c.allowed())
	}
	if arr.IsNull(i) || arr.DataType().ID() == arrow.NULL { // an array.Null says that its values are not null
		c.AppendNull()
		return nil
	}
	switch c.typ {
	case schemas.AttributeBool:
		c.bools = append(c.bools, arr.(*array.Boolean).Value(i))
	case schemas.AttributeInt:
		v, err := integer(arr, i)
		if err != nil {
			return err
		}
		c.ints = append(c.ints, v)
	case schemas.AttributeTimestamp:
		v, null, err := moment(arr, i)
		if err != nil {
			return err
		}
		if null {
			c.AppendNull()
			return nil
		}
		c.ints = append(c.ints, v)
	case schemas.AttributeFloat:
		v, err := float(arr, i)
		if err != nil {
			return err
		}
		c.floats = append(c.floats, v)
	default:
		v, null, err := text(arr, i)
		if err != nil {
			return err
		}
		if null {
			c.AppendNull()
			return nil
		}
		c.text = append(c.text, v...)
		c.ends = append(c.ends, len(c.text))
	}
	c.valid = append(c.valid, true)
	return nil
}

// text is value i of an array of texts, or of a dictionary of them, which may have a null for a value.
func text(arr arrow.Array, i int) (v string, null bool, err error) {
	if d, ok := arr.(*array.Dictionary); ok {
		arr, i = d.Dictionary(), d.GetValueIndex(i)
		if i < 0 || i >= arr.Len() {
			return "", false, fmt.Errorf("dictionary index %d, allowed: 0 to %d", i, arr.Len()-1)
		}
		if arr.IsNull(i) {
			return "", true, nil
		}
	}
	return arr.(array.StringLike).Value(i), false, nil
}

// moment is value i of an array of timestamps, or of texts of them, in milliseconds since the epoch.
func moment(arr arrow.Array, i int) (v int64, null bool, err error) {
	if a, ok := arr.(*array.Timestamp); ok {
		v, err = Milliseconds(int64(a.Value(i)), a.DataType().(*arrow.TimestampType).Unit)
		return v, false, err
	}
	s, null, err := text(arr, i)
	if null || err != nil {
		return 0, null, err
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, false, fmt.Errorf("%.100q, allowed: a time such as 2026-05-04T12:00:00Z", s)
	}
	v, err = Milliseconds(at.UnixMilli(), arrow.Millisecond)
	return v, false, err
}

func integer(arr arrow.Array, i int) (int64, error) {
	if arrow.IsFloating(arr.DataType().ID()) {
		v, err := float(arr, i)
		if err == nil && (v != math.Trunc(v) || v < math.MinInt64 || v >= -math.MinInt64) { // the first holds for NaN
			err = fmt.Errorf("%v, allowed: a whole number of 64 bits", v)
		}
		return int64(v), err
	}
	switch a := arr.(type) {
	case *array.Int8:
		return int64(a.Value(i)), nil
	case *array.Int16:
		return int64(a.Value(i)), nil
	case *array.Int32:
		return int64(a.Value(i)), nil
	case *array.Int64:
		return a.Value(i), nil
	case *array.Uint8:
		return int64(a.Value(i)), nil
	case *array.Uint16:
		return int64(a.Value(i)), nil
	case *array.Uint32:
		return int64(a.Value(i)), nil
	case *array.Uint64:
		v := a.Value(i)
		if v > math.MaxInt64 {
			return 0, fmt.Errorf("integer %d, allowed: at most %d", v, int64(math.MaxInt64))
		}
		return int64(v), nil
	}
	return 0, errors.New("array is not one of integers")
}

func float(arr arrow.Array, i int) (float64, error) {
	switch a := arr.(type) {
	case *array.Float16:
		return float64(a.Value(i).Float32()), nil
	case *array.Float32:
		return float64(a.Value(i)), nil
	case *array.Float64:
		return a.Value(i), nil
	case *array.Uint64:
		return float64(a.Value(i)), nil
	}
	v, err := integer(arr, i)
	return float64(v), err
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Value returns value i as JSON can hold it: nil, string, bool, int64, float64, or time.Time in UTC. A float that is
// not finite is nil: JSON has no word for it.
func (c *Column) Value(i int) any {
	if !c.valid[i] {
		return nil
	}
	switch c.typ {
	case schemas.AttributeBool:
		return c.bools[i]
	case schemas.AttributeInt:
		return c.ints[i]
	case schemas.AttributeTimestamp:
		return time.UnixMilli(c.ints[i]).UTC()
	case schemas.AttributeFloat:
		return finite(c.floats[i])
	default:
		return string(c.stringAt(i))
	}
}

// array returns the values of a column, value order[i] in place i; a nil order leaves them in place.
func (c *Column) array(order []int32) (arrow.Array, error) {
	n := c.Len()
	at := func(i int) int { return i }
	if order != nil {
		at = func(i int) int { return int(order[i]) }
	}
	var valid *memory.Buffer
	if c.nulls > 0 {
		valid = memory.NewBufferBytes(bitmap(n, func(i int) bool { return c.valid[at(i)] }))
	}
	t := c.typ.ArrowType()
	switch c.typ {
	case schemas.AttributeBool:
		return fixedWithNulls(t, n, bitmap(n, func(i int) bool { return c.bools[at(i)] }), valid, c.nulls), nil
	case schemas.AttributeInt, schemas.AttributeTimestamp:
		return fixedWithNulls(t, n, BytesOf(gather(c.ints, order)), valid, c.nulls), nil
	case schemas.AttributeFloat:
		return fixedWithNulls(t, n, BytesOf(gather(c.floats, order)), valid, c.nulls), nil
	default:
		return texts(t, n, func(i int) []byte { return c.stringAt(at(i)) }, valid, c.nulls)
	}
}

func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}

func (c *Column) stringAt(i int) []byte {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.text[start:c.ends[i]]
}
