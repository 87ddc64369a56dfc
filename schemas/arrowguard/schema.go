package arrowguard

import (
	"github.com/adastream/adastream/schemas"
)

// Values of Type in Arrow's Schema.fbs.
const (
	typeNull            = 1
	typeInt             = 2
	typeFloat           = 3
	typeBinary          = 4
	typeUTF8            = 5
	typeBool            = 6
	typeDecimal         = 7
	typeDate            = 8
	typeTime            = 9
	typeTimestamp       = 10
	typeInterval        = 11
	typeList            = 12
	typeStruct          = 13
	typeUnion           = 14
	typeFixedSizeBinary = 15
	typeFixedSizeList   = 16
	typeMap             = 17
	typeDuration        = 18
	typeLargeBinary     = 19
	typeLargeUTF8       = 20
	typeLargeList       = 21
	typeRunEndEncoded   = 22
	typeBinaryView      = 23
	typeUTF8View        = 24
	typeListView        = 25
	typeLargeListView   = 26
)

const (
	maxFixedSize    = 1 << 16 // bytes of a fixed_size_binary, items of a fixed_size_list
	maxNesting      = 4       // a list of lists of lists of values
	maxTableNesting = 64      // as the Arrow library has it
	anyNumber       = -1      // of children
)

// layout is what a type needs in a record batch, and how its table is checked.
type layout struct {
	buffers  int
	children int
	check    func(g *guard, t table) // nil: the table has nothing outside of itself
	table    bool                    // no message has it
}

// layouts of the types.
var layouts = map[int64]layout{
	typeNull:            {}, // pandas gives it to a column without a value
	typeInt:             {buffers: 2, check: checkInt},
	typeFloat:           {buffers: 2, check: checkFloat},
	typeBinary:          {buffers: 3},
	typeUTF8:            {buffers: 3},
	typeLargeBinary:     {buffers: 3},
	typeLargeUTF8:       {buffers: 3},
	typeBool:            {buffers: 2},
	typeTimestamp:       {buffers: 2, check: checkTimestamp},
	typeFixedSizeBinary: {buffers: 2, check: checkFixedSize},
	typeList:            {buffers: 2, children: 1},
	typeFixedSizeList:   {buffers: 1, children: 1, check: checkFixedSize},

	typeDecimal:       {buffers: 2, table: true},
	typeDate:          {buffers: 2, table: true},
	typeTime:          {buffers: 2, table: true},
	typeInterval:      {buffers: 2, table: true},
	typeStruct:        {buffers: 1, children: anyNumber, table: true},
	typeUnion:         {buffers: 1, children: anyNumber, check: checkUnion, table: true},
	typeMap:           {buffers: 2, children: 1, table: true},
	typeDuration:      {buffers: 2, table: true},
	typeLargeList:     {buffers: 2, children: 1, table: true},
	typeRunEndEncoded: {children: 2, table: true},
	typeBinaryView:    {buffers: 2, table: true},
	typeUTF8View:      {buffers: 2, table: true},
	typeListView:      {buffers: 3, children: 1, table: true},
	typeLargeListView: {buffers: 3, children: 1, table: true},
}

// typeNames of all types of Arrow, by their number.
var typeNames = [...]string{
	"none", "null", "int", "float", "binary", "utf8", "bool", "decimal", "date", "time", "timestamp", "interval", "list",
	"struct", "union", "fixed_size_binary", "fixed_size_list", "map", "duration", "large_binary", "large_utf8",
	"large_list", "run_end_encoded", "binary_view", "utf8_view", "list_view", "large_list_view",
}

func typeName(kind int64) string {
	if kind < int64(len(typeNames)) {
		return typeNames[kind]
	}
	return "unknown"
}

func checkInt(_ *guard, t table) {
	t.uint8(1) // signed
	switch bits := t.int32(0); bits {
	case 8, 16, 32, 64:
	default:
		t.m.fail(schemas.ReasonSchema, "integer of %d bits, allowed: 8, 16, 32, 64", bits)
	}
}

func checkFloat(_ *guard, t table) {
	if p := t.int16(0); p < 0 || p > 2 {
		t.m.fail(schemas.ReasonSchema, "float of precision %d, allowed: half, single, double", p)
	}
}

func checkTimestamp(_ *guard, t table) {
	if unit := t.int16(0); unit < 0 || unit > 3 {
		t.m.fail(schemas.ReasonSchema, "timestamp of unit %d, allowed: s, ms, us, ns", unit)
	}
	t.text(1) // time zone
}

// checkFixedSize is for fixed_size_binary and fixed_size_list.
func checkFixedSize(g *guard, t table) {
	if n := t.int32(0); n < 1 && !(n == 0 && g.limits.Table) || n > maxFixedSize && !g.limits.Table {
		t.m.fail(schemas.ReasonSchema, "fixed size of %d, allowed: 1 to %d", n, maxFixedSize)
	}
}

func checkUnion(_ *guard, t table) {
	t.int16(0)     // sparse or dense
	t.vector(1, 4) // ids of its children
}

// denseUnion says whether a union has offsets beside ids.
func denseUnion(t table) bool { return t.int16(0) == 1 }

// schemaTable checks a Schema table: endianness, fields, custom metadata.
func (g *guard) schemaTable(t table) {
	if order := t.int16(0); order != 0 && !(order == 1 && g.limits.Table) {
		t.m.fail(schemas.ReasonSchema, "values are big-endian, needed: little-endian")
	}
	t.children(1, func(field table) { g.field(field, 1, &g.shape) })
	t.pairs(2)
}

// field checks a Field table: name, nullable, type type, type, dictionary, children, custom metadata. What batches have of it is added to
// a shape.
func (g *guard) field(t table, depth int, into *shape) {
	m := t.m
	if g.columns++; g.columns > g.limits.MaxColumns {
		m.fail(schemas.ReasonTooLarge, "schema has more than %d fields", g.limits.MaxColumns)
	}
	if most := g.nesting(); depth > most {
		m.fail(schemas.ReasonSchema, "lists are nested deeper than %d", most-1)
	}
	name := t.text(0)
	t.uint8(1) // nullable
	kind := t.uint8(2)
	l, ok := layouts[kind]
	switch {
	case ok && (g.limits.Table || !l.table):
	case g.limits.Table:
		m.fail(schemas.ReasonSchema, "column %q has type %s", name, typeName(kind))
	default:
		m.fail(schemas.ReasonSchema, "column %q has type %s, allowed: null, int, float, bool, utf8, large_utf8, timestamp, binary, large_binary, fixed_size_binary, list, fixed_size_list, dictionary of utf8",
			name, typeName(kind))
	}
	typeTable, ok := t.child(3)
	if !ok {
		m.fail(schemas.ReasonMalformed, "column %q has no type", name)
		return
	}
	if kind == typeNull && depth > 1 && !g.limits.Table {
		m.fail(schemas.ReasonSchema, "column %q has lists of null", name)
	}
	if l.check != nil {
		l.check(g, typeTable)
	}
	encoding, encoded := t.child(4)
	values := into // of the column, or of its dictionary
	if encoded {
		values = &shape{}
	}
	values.add(kind, l, typeTable)
	children := 0
	t.children(5, func(child table) {
		children++
		g.field(child, depth+1, values)
	})
	if children != l.children && l.children != anyNumber {
		m.fail(schemas.ReasonMalformed, "column %q of type %s has %d children, needed: %d", name, typeName(kind), children, l.children)
	}
	if encoded {
		g.encoding(encoding, name, kind, depth, *values)
		into.add(typeInt, layouts[typeInt], table{})
	}
	t.pairs(6)
}

func (g *guard) nesting() int {
	if g.limits.Table {
		return maxTableNesting
	}
	return maxNesting
}

// add adds a field of a type, without its children.
func (s *shape) add(kind int64, l layout, t table) {
	s.nodes++
	s.buffers += l.buffers
	switch kind {
	case typeBinaryView, typeUTF8View:
		s.views++
	case typeUnion:
		s.unions++
		if denseUnion(t) {
			s.buffers++
		}
	}
}

// encoding checks a DictionaryEncoding table: id, index type, is ordered, kind.
func (g *guard) encoding(t table, name []byte, kind int64, depth int, values shape) {
	if (kind != typeUTF8 && kind != typeLargeUTF8 || depth > 1) && !g.limits.Table {
		t.m.fail(schemas.ReasonSchema, "column %q has a dictionary of %s, allowed: columns with dictionaries of utf8 and large_utf8", name, typeName(kind))
	}
	id := t.int64(0)
	t.uint8(2)
	t.int16(3)
	if g.dictionaries == nil {
		g.dictionaries = map[int64]shape{}
	}
	if other, ok := g.dictionaries[id]; ok && other != values {
		t.m.fail(schemas.ReasonMalformed, "column %q has the dictionary %d of another type", name, id)
	}
	g.dictionaries[id] = values
	index, ok := t.child(1)
	if !ok && !g.limits.Table { // the format has a default, which no writer uses
		t.m.fail(schemas.ReasonMalformed, "column %q has a dictionary without a type of index", name)
	}
	if ok {
		checkInt(g, index)
	}
}
