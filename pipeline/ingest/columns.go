package ingest

import (
	"strconv"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// binding says which columns of a message are which: indices into its schema, absent where there is none.
type binding struct {
	id, vector, op, version int
	attributes              []int // in the order of the spec
}

const absent = -1

// columns are the columns of a batch that are read; nil are those that it has not.
type columns struct {
	rows                    int
	id, vector, op, version arrow.Array
	attributes              []arrow.Array // in the order of the spec
}

func (b *binding) columns(batch arrow.RecordBatch) columns {
	c := columns{
		rows:       int(batch.NumRows()),
		id:         column(batch, b.id),
		vector:     column(batch, b.vector),
		op:         column(batch, b.op),
		version:    column(batch, b.version),
		attributes: make([]arrow.Array, len(b.attributes)),
	}
	for j, i := range b.attributes {
		c.attributes[j] = column(batch, i)
	}
	return c
}

// bind finds the columns of a schema by name and checks their types, and the encoder.
func (d *Decoder) bind(schema *arrow.Schema) (*binding, *schemas.Fault) {
	if fault := checkEncoder(schema.Metadata(), d.spec.Encoder); fault != nil {
		return nil, fault
	}
	b := &binding{id: absent, vector: absent, op: absent, version: absent, attributes: make([]int, len(d.spec.Attributes))}
	for j := range b.attributes {
		b.attributes[j] = absent
	}
	for i, field := range schema.Fields() {
		slot := b.slot(field.Name, d.spec)
		if slot == nil {
			d.ignore(field.Name)
			continue
		}
		if *slot != absent {
			return nil, schemas.Faultf(schemas.ReasonSchema, "column %q is there twice", field.Name)
		}
		*slot = i
	}
	return b, d.checkTypes(schema, b)
}

func (b *binding) slot(name string, spec *schemas.Spec) *int {
	switch name {
	case schemas.ColumnID:
		return &b.id
	case schemas.ColumnVector:
		return &b.vector
	case schemas.ColumnOp:
		return &b.op
	case schemas.ColumnVersion:
		return &b.version
	}
	for j, a := range spec.Attributes {
		if a.Name == name {
			return &b.attributes[j]
		}
	}
	return nil
}

func checkEncoder(md arrow.Metadata, want string) *schemas.Fault {
	at := md.FindKey(schemas.MetaEncoder)
	if at < 0 {
		return schemas.Faultf(schemas.ReasonEncoder, "metadata of the schema has no key %q, needed: it with the value %q", schemas.MetaEncoder, want)
	}
	if got := md.Values()[at]; got != want {
		return schemas.Faultf(schemas.ReasonEncoder, "metadata of the schema says %s = %q, the index is for %q", schemas.MetaEncoder, got, want)
	}
	return nil
}

// checkTypes refuses types that no row could be read from, and unbinds optional columns without a value.
func (d *Decoder) checkTypes(schema *arrow.Schema, b *binding) *schemas.Fault {
	typeOf := func(i int) arrow.DataType { return storageType(schema.Field(i).Type) }
	refuse := func(i int, allowed string) *schemas.Fault {
		return schemas.Faultf(schemas.ReasonSchema, "column %q has type %s, allowed: %s", schema.Field(i).Name, schema.Field(i).Type, allowed)
	}
	for _, optional := range append([]*int{&b.op, &b.version}, pointers(b.attributes)...) {
		if *optional != absent && typeOf(*optional).ID() == arrow.NULL {
			*optional = absent
		}
	}
	switch {
	case b.id == absent:
		return schemas.Faultf(schemas.ReasonSchema, "column %q is missing", schemas.ColumnID)
	case !isID(typeOf(b.id)):
		return refuse(b.id, "utf8, large_utf8, int64, uint64, fixed_size_binary[16]")
	case b.vector == absent && b.op == absent:
		return schemas.Faultf(schemas.ReasonSchema, "column %q is missing", schemas.ColumnVector)
	case b.op != absent && !isText(typeOf(b.op)):
		return refuse(b.op, "utf8, large_utf8, a dictionary of them")
	case b.version != absent && typeOf(b.version).ID() != arrow.INT64:
		return refuse(b.version, "int64")
	}
	if b.vector != absent {
		element, width := vectorType(typeOf(b.vector))
		if element != arrow.FLOAT16 && element != arrow.FLOAT32 {
			return refuse(b.vector, "fixed_size_list or list of float16 or float32")
		}
		if width != anyWidth && width != d.spec.Dim() {
			return schemas.Faultf(schemas.ReasonDims, "column %q has vectors of %d values, allowed: %d", schemas.ColumnVector, width, d.spec.Dim())
		}
	}
	for j, i := range b.attributes {
		if i != absent && !d.probes[j].Accepts(typeOf(i)) {
			return schemas.Faultf(schemas.ReasonSchema, "column %q has type %s, which does not widen to the %s of the index", schema.Field(i).Name, schema.Field(i).Type, d.spec.Attributes[j].Type)
		}
	}
	return nil
}

func pointers(of []int) []*int {
	p := make([]*int, len(of))
	for i := range of {
		p[i] = &of[i]
	}
	return p
}

// storageType is what an extension type, such as arrow.uuid, is stored as.
func storageType(t arrow.DataType) arrow.DataType {
	if e, ok := t.(arrow.ExtensionType); ok {
		return e.StorageType()
	}
	return t
}

// column is column i of a batch without its extension type, or nil if i is absent.
func column(batch arrow.RecordBatch, i int) arrow.Array {
	if i == absent {
		return nil
	}
	c := batch.Column(i)
	if e, ok := c.(array.ExtensionArray); ok {
		return e.Storage()
	}
	return c
}

func isID(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.INT64, arrow.UINT64:
		return true
	case arrow.FIXED_SIZE_BINARY:
		return t.(*arrow.FixedSizeBinaryType).ByteWidth == len(uuid.UUID{})
	}
	return false
}

func isText(t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	return t.ID() == arrow.STRING || t.ID() == arrow.LARGE_STRING
}

const anyWidth = 0

// vectorType is the type of the elements of a list, and their number if it is fixed.
func vectorType(t arrow.DataType) (element arrow.Type, width int) {
	switch t := t.(type) {
	case *arrow.FixedSizeListType:
		return t.Elem().ID(), int(t.Len())
	case *arrow.ListType:
		return t.Elem().ID(), anyWidth
	}
	return arrow.NULL, anyWidth
}

// ids reads the id column of one batch. Texts are written into an arena, which is made once for the batch: ids that
// aliased the message would keep its vectors in memory as well.
type ids struct {
	column arrow.Array
	arena  []byte
}

// Longest texts of ids that are not text, in bytes.
const (
	maxIntText  = 20
	maxUUIDText = 36
)

func newIDs(column arrow.Array) ids {
	n := column.Len()
	size := 0
	switch c := column.(type) {
	case array.BinaryLike:
		if n > 0 {
			size = int(c.ValueOffset64(n-1)-c.ValueOffset64(0)) + c.ValueLen(n-1)
		}
	case *array.Int64, *array.Uint64:
		size = maxIntText * n
	case *array.FixedSizeBinary:
		size = maxUUIDText * n
	}
	return ids{column, make([]byte, 0, size)}
}

// at is the canonical text of id i, which is not null.
func (x *ids) at(i int) string {
	start := len(x.arena)
	switch c := x.column.(type) {
	case array.StringLike:
		x.arena = append(x.arena, c.Value(i)...)
	case *array.Int64:
		x.arena = strconv.AppendInt(x.arena, c.Value(i), 10)
	case *array.Uint64:
		x.arena = strconv.AppendUint(x.arena, c.Value(i), 10)
	case *array.FixedSizeBinary:
		text, _ := uuid.UUID(c.Value(i)).MarshalText() // never fails
		x.arena = append(x.arena, text...)
	}
	return unsafe.String(unsafe.SliceData(x.arena[start:]), len(x.arena)-start)
}

// textAt is value i of a text column or a dictionary of text; ok is false for a null.
func textAt(column arrow.Array, i int) (text string, ok bool) {
	if column.IsNull(i) {
		return "", false
	}
	if d, is := column.(*array.Dictionary); is {
		column, i = d.Dictionary(), d.GetValueIndex(i)
		if column.IsNull(i) {
			return "", false
		}
	}
	return column.(array.StringLike).Value(i), true
}

// vectors reads the vector column of one batch.
type vectors struct {
	lists  arrow.Array // nil if the message has no such column
	limits array.ListLike
	items  arrow.Array
	halves []uint16  // the items, if they are float16
	floats []float32 // the items, if they are float32
}

func newVectors(column arrow.Array) vectors {
	if column == nil {
		return vectors{}
	}
	limits := column.(array.ListLike)
	v := vectors{lists: column, limits: limits, items: limits.ListValues()}
	switch items := v.items.(type) {
	case *array.Float32:
		v.floats = items.Float32Values()
	case *array.Float16:
		if n := items.Len(); n > 0 {
			v.halves = unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(items.Values()))), n)
		}
	}
	return v
}

// appendTo appends vector i to those of rows, if it can be indexed.
func (v *vectors) appendTo(rows *segment.Rows, i int, spec *schemas.Spec, level avx.Level) *schemas.Fault {
	dim := spec.Dim()
	if v.lists == nil || v.lists.IsNull(i) {
		return schemas.Faultf(schemas.ReasonDims, "vector is missing, needed: %d values", dim)
	}
	start, end := v.limits.ValueOffsets(i)
	if end-start != int64(dim) {
		return schemas.Faultf(schemas.ReasonDims, "vector has %d values, allowed: %d", end-start, dim)
	}
	if v.items.NullN() > 0 {
		for at := start; at < end; at++ {
			if v.items.IsNull(int(at)) {
				return schemas.Faultf(schemas.ReasonDims, "vector has a null at %d", at-start)
			}
		}
	}
	n := len(rows.Vectors)
	if v.floats != nil {
		rows.AppendFloats(level, v.floats[start:end])
	} else {
		rows.AppendHalves(level, v.halves[start:end])
	}
	if reason, detail := segment.Check(spec, level, rows.Vectors[n:]); reason != "" {
		rows.Vectors = rows.Vectors[:n]
		return schemas.Faultf(reason, "%s", detail)
	}
	return nil
}
