package arrowguard

import (
	"encoding/binary"
	"fmt"

	"github.com/adastream/adastream/schemas"
)

// metadata is the flatbuffer of one message of an Arrow stream, read without trust: every access is checked, which the
// code that flatc generates does not do.
//
// The first fault sticks; after it everything reads as absent, so that a walk needs no check after each step. What the
// generated code would follow into strings and vectors is paid from a purse of as many bytes as there are: honest
// writers share nothing, while a hostile one points a thousand references at one long string.
type metadata struct {
	bytes []byte
	purse int64
	fault *schemas.Fault
}

func newMetadata(bytes []byte) *metadata {
	return &metadata{bytes: bytes, purse: int64(len(bytes))}
}

func (m *metadata) fail(reason, format string, args ...any) {
	if m.fault == nil {
		m.fault = schemas.Faultf(reason, format, args...)
	}
}

func (m *metadata) malformed(what string, at int64) {
	m.fail(schemas.ReasonMalformed, "metadata of %d bytes: %s at %d does not lie inside", len(m.bytes), what, at)
}

// inside says whether [at, at+n) is there.
func (m *metadata) inside(at, n int64) bool {
	return m.fault == nil && at >= 0 && n >= 0 && n <= int64(len(m.bytes)) && at <= int64(len(m.bytes))-n
}

func (m *metadata) uint16(at int64) int64 { return int64(binary.LittleEndian.Uint16(m.bytes[at:])) }
func (m *metadata) uint32(at int64) int64 { return int64(binary.LittleEndian.Uint32(m.bytes[at:])) }
func (m *metadata) int64(at int64) int64  { return int64(binary.LittleEndian.Uint64(m.bytes[at:])) }

// table is a flatbuffer table whose vtable is known to lie inside. How long the vtable says that the table is, is not looked at: writers in Go
// share one among tables whose fields lie alike but are not of one size, so it may end in the middle of a field.
type table struct {
	m      *metadata
	at     int64 // of the table; everything is absent from the zero table
	vtable int64
	slots  int64 // entries of the vtable
}

// root is the table that the flatbuffer begins with.
func (m *metadata) root() table {
	if !m.inside(0, 4) {
		m.malformed("root", 0)
		return table{}
	}
	return m.table(m.uint32(0))
}

func (m *metadata) table(at int64) table {
	if !m.inside(at, 4) {
		m.malformed("table", at)
		return table{}
	}
	vtable := at - int64(int32(m.uint32(at)))
	if !m.inside(vtable, 4) {
		m.malformed("vtable", vtable)
		return table{}
	}
	length := m.uint16(vtable)
	// An odd length would make the generated code read half an entry beyond the vtable.
	if length < 4 || length%2 != 0 || !m.inside(vtable, length) {
		m.malformed(fmt.Sprintf("vtable of %d bytes", length), vtable)
		return table{}
	}
	return table{m: m, at: at, vtable: vtable, slots: (length - 4) / 2}
}

// field is where an inline field of n bytes lies, or 0 if it is absent.
func (t table) field(slot, n int64) int64 {
	if slot >= t.slots || t.m.fault != nil {
		return 0
	}
	offset := t.m.uint16(t.vtable + 4 + 2*slot)
	if offset == 0 {
		return 0
	}
	if !t.m.inside(t.at+offset, n) {
		t.m.malformed(fmt.Sprintf("field of %d bytes", n), t.at+offset)
		return 0
	}
	return t.at + offset
}

func (t table) uint8(slot int64) int64 {
	if at := t.field(slot, 1); at != 0 {
		return int64(t.m.bytes[at])
	}
	return 0
}

func (t table) int16(slot int64) int64 {
	if at := t.field(slot, 2); at != 0 {
		return int64(int16(t.m.uint16(at)))
	}
	return 0
}

func (t table) int32(slot int64) int64 {
	if at := t.field(slot, 4); at != 0 {
		return int64(int32(t.m.uint32(at)))
	}
	return 0
}

func (t table) int64(slot int64) int64 {
	if at := t.field(slot, 8); at != 0 {
		return t.m.int64(at)
	}
	return 0
}

// reference follows an offset to what lies outside of the table, or is 0.
func (t table) reference(slot int64) int64 {
	at := t.field(slot, 4)
	if at == 0 {
		return 0
	}
	return at + t.m.uint32(at)
}

// child is the table that a field refers to; there is none if ok is false.
func (t table) child(slot int64) (child table, ok bool) {
	at := t.reference(slot)
	if at == 0 {
		return table{}, false
	}
	child = t.m.table(at)
	return child, child.m != nil
}

// vector is where the elements of n bytes of a vector begin, and how many there are.
func (t table) vector(slot, n int64) (start, count int64) {
	at := t.reference(slot)
	if at == 0 {
		return 0, 0
	}
	if !t.m.inside(at, 4) {
		t.m.malformed("vector", at)
		return 0, 0
	}
	start, count = at+4, t.m.uint32(at)
	// count is below 2^32 and n at most 16, so the product cannot overflow.
	if !t.m.inside(start, count*n) {
		t.m.malformed(fmt.Sprintf("vector of %d elements", count), at)
		return 0, 0
	}
	if t.m.purse -= 4 + count*n; t.m.purse < 0 {
		t.m.fail(schemas.ReasonMalformed, "metadata of %d bytes: refers to more bytes than it has", len(t.m.bytes))
		return 0, 0
	}
	return start, count
}

// text is a string field; it aliases the metadata.
func (t table) text(slot int64) []byte {
	start, n := t.vector(slot, 1)
	return t.bytesAt(start, n)
}

func (t table) bytesAt(start, n int64) []byte {
	if n == 0 {
		return nil
	}
	return t.m.bytes[start : start+n]
}

// children calls each for the tables of a vector, until a fault.
func (t table) children(slot int64, each func(table)) {
	start, n := t.vector(slot, 4)
	for i := int64(0); i < n && t.m.fault == nil; i++ {
		at := start + 4*i
		if child := t.m.table(at + t.m.uint32(at)); child.m != nil {
			each(child)
		}
	}
}

// pairs walks a vector of key and value strings.
func (t table) pairs(slot int64) {
	t.children(slot, func(pair table) {
		pair.text(0)
		pair.text(1)
	})
}
