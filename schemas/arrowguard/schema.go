package arrowguard

import (
	"github.com/adastream/adastream/schemas"
)

// Values of Type in Arrow's Schema.fbs that a message may have.
const (
	typeNull            = 1
	typeInt             = 2
	typeFloat           = 3
	typeBinary          = 4
	typeUTF8            = 5
	typeBool            = 6
	typeTimestamp       = 10
	typeList            = 12
	typeFixedSizeBinary = 15
	typeFixedSizeList   = 16
	typeLargeBinary     = 19
	typeLargeUTF8       = 20
)

const (
	maxFixedSize = 1 << 16 // bytes of a fixed_size_binary, items of a fixed_size_list
	maxNesting   = 4       // a list of lists of lists of values
)

// layout is what a type needs in a record batch, and how its table is checked.
type layout struct {
	buffers  int
	children int
	check    func(t table) // nil: the table has no fields
}

// layouts of the types that are allowed.
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

func checkInt(t table) {
	t.uint8(1) // signed
	switch bits := t.int32(0); bits {
	case 8, 16, 32, 64:
	default:
		t.m.fail(schemas.ReasonSchema, "integer of %d bits, allowed: 8, 16, 32, 64", bits)
	}
}

func checkFloat(t table) {
	if p := t.int16(0); p < 0 || p > 2 {
		t.m.fail(schemas.ReasonSchema, "float of precision %d, allowed: half, single, double", p)
	}
}

func checkTimestamp(t table) {
	if unit := t.int16(0); unit < 0 || unit > 3 {
		t.m.fail(schemas.ReasonSchema, "timestamp of unit %d, allowed: s, ms, us, ns", unit)
	}
	t.text(1) // time zone
}

// checkFixedSize is for fixed_size_binary and fixed_size_list.
func checkFixedSize(t table) {
	if n := t.int32(0); n < 1 || n > maxFixedSize {
		t.m.fail(schemas.ReasonSchema, "fixed size of %d, allowed: 1 to %d", n, maxFixedSize)
	}
}

// schemaTable checks a Schema table: endianness, fields, custom metadata.
func (g *guard) schemaTable(t table) {
	if t.int16(0) != 0 {
		t.m.fail(schemas.ReasonSchema, "values are big-endian, needed: little-endian")
	}
	t.children(1, func(field table) { g.field(field, 1) })
	t.pairs(2)
}

// field checks a Field table: name, nullable, type type, type, dictionary, children, custom metadata.
func (g *guard) field(t table, depth int) {
	m := t.m
	if g.columns++; g.columns > g.limits.MaxColumns {
		m.fail(schemas.ReasonTooLarge, "schema has more than %d fields", g.limits.MaxColumns)
	}
	if depth > maxNesting {
		m.fail(schemas.ReasonSchema, "lists are nested deeper than %d", maxNesting-1)
	}
	name := t.text(0)
	t.uint8(1) // nullable
	kind := t.uint8(2)
	l, ok := layouts[kind]
	if !ok {
		m.fail(schemas.ReasonSchema, "column %q has type %s, allowed: null, int, float, bool, utf8, large_utf8, timestamp, binary, large_binary, fixed_size_binary, list, fixed_size_list, dictionary of utf8",
			name, typeName(kind))
	}
	typeTable, ok := t.child(3)
	if !ok {
		m.fail(schemas.ReasonMalformed, "column %q has no type", name)
		return
	}
	if kind == typeNull && depth > 1 {
		m.fail(schemas.ReasonSchema, "column %q has lists of null", name)
	}
	if l.check != nil {
		l.check(typeTable)
	}
	g.buffers += l.buffers
	if encoding, ok := t.child(4); ok {
		g.encoding(encoding, name, kind, depth)
		g.buffers += layouts[typeInt].buffers - l.buffers
	}
	children := 0
	t.children(5, func(child table) {
		children++
		g.field(child, depth+1)
	})
	if children != l.children {
		m.fail(schemas.ReasonMalformed, "column %q of type %s has %d children, needed: %d", name, typeName(kind), children, l.children)
	}
	t.pairs(6)
}

// encoding checks a DictionaryEncoding table: id, index type, is ordered, kind.
func (g *guard) encoding(t table, name []byte, kind int64, depth int) {
	if kind != typeUTF8 && kind != typeLargeUTF8 || depth > 1 {
		t.m.fail(schemas.ReasonSchema, "column %q has a dictionary of %s, allowed: columns with dictionaries of utf8 and large_utf8", name, typeName(kind))
	}
	t.int64(0)
	t.uint8(2)
	t.int16(3)
	index, ok := t.child(1)
	if !ok {
		t.m.fail(schemas.ReasonMalformed, "column %q has a dictionary without a type of index", name)
		return
	}
	checkInt(index)
}
