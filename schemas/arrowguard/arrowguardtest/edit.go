package arrowguardtest

import (
	"encoding/binary"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/adastream/adastream/schemas/arrowguard"
)

const prefixBytes = 8 // of a message: ff ff ff ff and the length of its metadata

// Frames are the messages of a good stream; changing them changes the stream.
func Frames(t testing.TB, stream []byte) (frames []arrowguard.Frame) {
	t.Helper()
	frames, fault := arrowguard.Scan(stream, arrowguard.Limits{}, nil)
	if fault != nil {
		t.Fatal(fault)
	}
	return frames
}

// Table is a table of good metadata, whose slots are numbered as in Arrow's fbs files, from 0.
type Table struct{ flatbuffers.Table }

// Root is the table that metadata begin with: a Message, or a Footer.
func Root(metadata []byte) Table {
	return Table{flatbuffers.Table{Bytes: metadata, Pos: flatbuffers.GetUOffsetT(metadata)}}
}

// Header is the schema, batch or dictionary of a message.
func Header(f arrowguard.Frame) Table { return Root(f.Metadata).Child(2) }

// at is where a slot is in the metadata. One that is absent, as those with the default are, panics.
func (t Table) at(slot int64) int64 {
	offset := t.Offset(flatbuffers.VOffsetT(4 + 2*slot))
	if offset == 0 {
		panic("no such field in the metadata of a test")
	}
	return int64(t.Pos) + int64(offset)
}

// Child is the table that a slot refers to.
func (t Table) Child(slot int64) Table {
	return Table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(flatbuffers.UOffsetT(t.at(slot)))}}
}

// Element is table i of a vector.
func (t Table) Element(slot, i int64) Table {
	start, _ := t.Vector(slot)
	return Table{flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(flatbuffers.UOffsetT(start + 4*i))}}
}

// Vector is where the elements of a vector are, and how many.
func (t Table) Vector(slot int64) (start, n int64) {
	at := t.at(slot)
	at += t.uint32(at)
	return at + 4, t.uint32(at)
}

func (t Table) uint32(at int64) int64 { return int64(binary.LittleEndian.Uint32(t.Bytes[at:])) }

// Put overwrites the int64 of a slot.
func (t Table) Put(slot, value int64) {
	binary.LittleEndian.PutUint64(t.Bytes[t.at(slot):], uint64(value))
}

// PutCount overwrites the length of a vector.
func (t Table) PutCount(slot int64, n uint32) {
	start, _ := t.Vector(slot)
	binary.LittleEndian.PutUint32(t.Bytes[start-4:], n)
}

// PutPair overwrites one of the two int64 of element i of a vector of nodes or buffers.
func (t Table) PutPair(slot, i, half, value int64) {
	start, _ := t.Vector(slot)
	binary.LittleEndian.PutUint64(t.Bytes[start+16*i+8*half:], uint64(value))
}
