package ingest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/avro"

	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/schemas"
)

// avroReader reads Avro messages, each by the schema that its frame names. Of a schema it makes a Go type with only the fields that a
// plan asks for; the library reads those and passes over the others.
type avroReader struct {
	given  map[uint32]*avro.Schema                   // by the spec
	ask    func(schema uint32) (*avro.Schema, error) // nil if there is nobody to ask
	ignore func(field []byte)
	shapes map[shapeKey]*shape
	large  *shape // that was read into from a large message last, and refers to it
}

// shapeKey is what a shape is made of.
type shapeKey struct {
	schema *avro.Schema
	plan   *plan
}

// largeMessage is the size in bytes from which on a message is let go of with the next one, and not with the next of its schema.
const largeMessage = 64 << 10

// maxShapes bounds how many are kept.
const maxShapes = 256

// newAvroReader reads the schemas of a spec.
func newAvroReader(m *schemas.Messages, ignore func(field []byte)) (*avroReader, error) {
	a := &avroReader{given: map[uint32]*avro.Schema{}, ignore: ignore, shapes: map[shapeKey]*shape{}}
	for id, text := range m.Schemas {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("messages.schemas: id %q: %w", id, err)
		}
		if a.given[uint32(n)], err = avro.Parse(text); err != nil {
			return nil, fmt.Errorf("messages.schemas: schema %s: %w", id, err)
		}
	}
	return a, nil
}

func (a *avroReader) read(message []byte, p *plan, into []value) (*schemas.Fault, error) {
	id, rest, fault := framed(message)
	if fault != nil {
		return fault, nil
	}
	schema, err := a.schema(id)
	if errors.Is(err, registry.ErrUnusable) {
		return schemas.Faultf(schemas.ReasonSchema, "%v", err), nil
	}
	if err != nil {
		return nil, err
	}
	s, err := a.shape(schema, p)
	if err != nil {
		return schemas.Faultf(schemas.ReasonSchema, "schema %d: %v", id, err), nil
	}
	if a.large != nil {
		a.large.target.Elem().SetZero()
		a.large = nil
	}
	if len(message) > largeMessage {
		a.large = s
	}
	rest, err = schema.Decode(rest, s.target.Interface(), avro.SkipUnknown(), avro.AliasInput())
	if err != nil {
		return schemas.Faultf(schemas.ReasonMalformed, "Avro by schema %d: %s", id, why(err)), nil
	}
	if len(rest) > 0 {
		return schemas.Faultf(schemas.ReasonMalformed, "Avro by schema %d: %d bytes after the record", id, len(rest)), nil
	}
	s.take(s.target.Elem(), into)
	return nil, nil
}

// why is an error of the library without the Go type that was read into, which says nothing to whoever sent a message.
func why(err error) string {
	var at *avro.SemanticError
	if errors.As(err, &at) && at.Err != nil && at.Field != "" {
		return fmt.Sprintf("field %s: %v", at.Field, at.Err)
	}
	return err.Error()
}

func (a *avroReader) schema(id uint32) (*avro.Schema, error) {
	if s := a.given[id]; s != nil {
		return s, nil
	}
	if a.ask == nil {
		return nil, fmt.Errorf("schema %d: %w: messages of the index spec do not have it, and there is no schema registry", id, registry.ErrUnusable)
	}
	return a.ask(id)
}

func (a *avroReader) shape(schema *avro.Schema, p *plan) (*shape, error) {
	key := shapeKey{schema, p}
	if s := a.shapes[key]; s != nil {
		return s, nil
	}
	part, err := a.part(schema.Root().ExpandReferences(), p)
	if err != nil {
		return nil, err
	}
	if part.typ == nil {
		return nil, errors.New("it has none of the fields that messages of the index spec name")
	}
	if len(a.shapes) >= maxShapes {
		clear(a.shapes)
	}
	s := &shape{part: part, target: reflect.New(part.typ)}
	a.shapes[key] = s
	return s, nil
}

// shape is the Go type of what a plan asks for of a schema, and one value of it, which is read into again and again.
type shape struct {
	part
	target reflect.Value
}

// part is the Go type of a part of a message, and what takes the values out of one. Without a type there is nothing in it to take.
type part struct {
	typ  reflect.Type
	take func(v reflect.Value, into []value)
}

func (a *avroReader) part(n *avro.SchemaNode, p *plan) (part, error) {
	if n.Type == "union" {
		if some, ok := optional(n); ok {
			return a.optional(some, p)
		}
	}
	if len(p.slots) > 0 && !isValue(n) {
		return part{}, fmt.Errorf("%s is where a value should be, allowed: texts, numbers, booleans, bytes, arrays of numbers, unions of them", n.Type)
	}
	if len(p.slots) > 0 {
		return leaf(n, p.slots), nil
	}
	if n.Type != "record" && n.Type != "error" {
		return part{}, nil
	}
	var fields []reflect.StructField
	var takes []func(reflect.Value, []value)
	for _, f := range n.Fields {
		child := p.children[f.Name]
		if child == nil {
			if p.row {
				a.ignore([]byte(f.Name))
			}
			continue
		}
		part, err := a.part(&f.Type, child)
		if err != nil {
			return part, fmt.Errorf("field %q: %w", f.Name, err)
		}
		if part.typ != nil {
			name := "F" + strconv.Itoa(len(fields))
			fields = append(fields, reflect.StructField{Name: name, Type: part.typ, Tag: reflect.StructTag(fmt.Sprintf("avro:%q", f.Name))})
			takes = append(takes, part.take)
		}
	}
	if len(fields) == 0 {
		return part{}, nil
	}
	return part{reflect.StructOf(fields), func(v reflect.Value, into []value) {
		for i, take := range takes {
			take(v.Field(i), into)
		}
	}}, nil
}

// isValue says whether what is of a type can be read as a value. Of maps and of arrays of things that take no bytes a short message could
// have a great many.
func isValue(n *avro.SchemaNode) bool {
	switch n.Type {
	case "null", "boolean", "int", "long", "float", "double", "string", "bytes", "enum", "fixed":
		return true
	case "array":
		return isNumber(n.Items) || n.Items.Type == "union" && !slices.ContainsFunc(n.Items.Branches, func(b avro.SchemaNode) bool { return b.Type != "null" && !isNumber(&b) })
	case "union":
		return !slices.ContainsFunc(n.Branches, func(b avro.SchemaNode) bool { return !isValue(&b) })
	}
	return false
}

func isNumber(n *avro.SchemaNode) bool {
	return n.Type == "int" || n.Type == "long" || n.Type == "float" || n.Type == "double"
}

// optional returns the other branch of a union of null and one more.
func optional(n *avro.SchemaNode) (some *avro.SchemaNode, ok bool) {
	if len(n.Branches) != 2 {
		return nil, false
	}
	for i := range n.Branches {
		if n.Branches[i].Type == "null" {
			return &n.Branches[1-i], true
		}
	}
	return nil, false
}

func (a *avroReader) optional(n *avro.SchemaNode, p *plan) (part, error) {
	inner, err := a.part(n, p)
	if err != nil || inner.typ == nil {
		return part{}, err
	}
	return part{reflect.PointerTo(inner.typ), func(v reflect.Value, into []value) {
		if !v.IsNil() {
			inner.take(v.Elem(), into)
			return
		}
		for _, slot := range p.slots {
			into[slot].kind = kindNull
		}
	}}, nil
}

// leaf is a part that is a value itself.
func leaf(n *avro.SchemaNode, slots []int) part {
	of := func(typ reflect.Type, get func(v reflect.Value) value) part {
		return part{typ, func(v reflect.Value, into []value) {
			is := get(v)
			for _, slot := range slots {
				into[slot] = is
			}
		}}
	}
	switch n.Type {
	case "boolean":
		return of(reflect.TypeFor[bool](), func(v reflect.Value) value { return ofBool(v.Bool()) })
	case "int", "long":
		scale, unit, isTime := logicalTime(n.LogicalType)
		return of(reflect.TypeFor[int64](), func(v reflect.Value) value {
			if isTime {
				return value{kind: kindMoment, number: scale * v.Int(), unit: unit}
			}
			return value{kind: kindWhole, number: v.Int()}
		})
	case "float", "double":
		return of(reflect.TypeFor[float64](), func(v reflect.Value) value { return value{kind: kindReal, real: v.Float()} })
	case "string":
		return of(reflect.TypeFor[[]byte](), func(v reflect.Value) value { return value{kind: kindText, bytes: v.Bytes()} })
	case "bytes", "fixed":
		return of(reflect.TypeFor[[]byte](), func(v reflect.Value) value { return value{kind: kindBlob, bytes: v.Bytes()} })
	case "array":
		if n.Items.Type == "float" || n.Items.Type == "double" {
			return of(reflect.TypeFor[[]float32](), func(v reflect.Value) value {
				return value{kind: kindFloats, floats: v.Interface().([]float32), null: noNull}
			})
		}
	}
	return of(reflect.TypeFor[any](), func(v reflect.Value) value { return ofAny(v.Interface()) })
}

// logicalTime is what a logical type of an int or long counts, in units of Arrow.
func logicalTime(logical string) (scale int64, unit arrow.TimeUnit, ok bool) {
	switch logical {
	case "date":
		return 24 * 60 * 60, arrow.Second, true
	case "timestamp-millis", "local-timestamp-millis":
		return 1, arrow.Millisecond, true
	case "timestamp-micros", "local-timestamp-micros":
		return 1, arrow.Microsecond, true
	case "timestamp-nanos", "local-timestamp-nanos":
		return 1, arrow.Nanosecond, true
	}
	return 0, 0, false
}

func ofBool(b bool) value {
	if b {
		return value{kind: kindBool, number: 1}
	}
	return value{kind: kindBool}
}

// ofAny is a value whose type the schema leaves open.
func ofAny(x any) value {
	switch x := x.(type) {
	case nil:
		return value{kind: kindNull}
	case bool:
		return ofBool(x)
	case int32:
		return value{kind: kindWhole, number: int64(x)}
	case int64:
		return value{kind: kindWhole, number: x}
	case float32:
		return value{kind: kindReal, real: float64(x)}
	case float64:
		return value{kind: kindReal, real: x}
	case string:
		return value{kind: kindText, bytes: []byte(x)}
	case []byte:
		return value{kind: kindBlob, bytes: x}
	case time.Time:
		return value{kind: kindMoment, number: x.UnixMilli(), unit: arrow.Millisecond}
	case []any:
		return ofItems(x)
	}
	return value{kind: kindOther}
}

// ofItems is an array, of numbers or nulls if it may be a vector.
func ofItems(items []any) value {
	v := value{kind: kindFloats, floats: make([]float32, len(items)), null: noNull}
	for i, item := range items {
		switch is := ofAny(item); is.kind {
		case kindReal:
			v.floats[i] = float32(is.real)
		case kindWhole:
			v.floats[i] = float32(is.number)
		case kindNull:
			if v.null == noNull {
				v.null = i
			}
		default:
			return value{kind: kindOther}
		}
	}
	return v
}
