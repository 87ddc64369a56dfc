package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Originals are where the head of their file says, whatever their width; a head that is damaged is corrupt, or leads into the file.
func TestLocateVectors(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	golden, data := mustOpen(t, spec, readGolden(t, "segment")), readGolden(t, "chunk.vectors")
	c := schemas.Chunk{ID: "c", FirstList: golden.FirstList, EndList: golden.EndList, NumRows: golden.N, Vectors: schemas.Object{Size: int64(len(data))}}
	p, err := OpenChunk(spec, c, readGolden(t, "chunk.rows"), readGolden(t, "chunk.codes"), data)
	if err != nil {
		t.Fatal(err)
	}
	head := data[:min(len(data), HeadBytes)]
	start, err := LocateVectors(spec, c, head)
	if err != nil {
		t.Fatal(err)
	}
	width := spec.VectorBytes()
	want, got := make([]float32, spec.Dim()), make([]float32, spec.Dim())
	for i := range p.N {
		stored := bytes.Clone(data[start+int64(i*width):][:width])
		ReadVector(spec, avx.Generic, stored, got)
		p.Vector(avx.Generic, i, want)
		if !bytes.Equal(BytesOf(got), BytesOf(want)) {
			t.Fatalf("row %d: %v, want %v", i, got, want)
		}
	}
	wide := c
	wide.NumRows++
	if _, err := LocateVectors(spec, wide, head); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("of another number of rows: %v", err)
	}
	for n := range int(start) {
		if at, err := LocateVectors(spec, c, head[:n]); err == nil && at != start || err != nil && !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("the first %d bytes: %d, %v", n, at, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	bad := make([]byte, len(head))
	for range 20000 {
		copy(bad, head)
		for range 1 + rng.IntN(3) {
			bad[rng.IntN(int(start))] = byte(rng.IntN(256))
		}
		at, err := LocateVectors(spec, c, bad)
		if err == nil && (at < 0 || at+int64(p.N*width) > c.Vectors.Size) || err != nil && !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("%d, %v", at, err)
		}
	}
}

// Nor does a head lead before the file that says of a body as long as numbers go that its values are at the end of it.
func TestLocateVectors_wrapsAround(t *testing.T) {
	spec := testSpec(schemas.InnerProduct, schemas.Float16)
	golden, data := mustOpen(t, spec, readGolden(t, "segment")), readGolden(t, "chunk.vectors")
	c := schemas.Chunk{ID: "c", NumRows: golden.N, Vectors: schemas.Object{Size: int64(len(data))}}
	start, err := LocateVectors(spec, c, data)
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(golden.N * spec.VectorBytes())
	length := (size + 7) &^ 7 // of the body
	values := binary.LittleEndian.AppendUint64(make([]byte, 8), size)
	tried := 0
	for at := range int(start) - 8 {
		if binary.LittleEndian.Uint64(data[at:]) != length {
			continue
		}
		bad := bytes.Clone(data[:start])
		binary.LittleEndian.PutUint64(bad[at:], math.MaxInt64)
		place := bytes.LastIndex(bad, values)
		if place < 0 { // it was not that of the body
			continue
		}
		binary.LittleEndian.PutUint64(bad[place:], (math.MaxInt64-size)&^7)
		found, err := LocateVectors(spec, c, bad)
		if err == nil || !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("byte %d: %d, %v", at, found, err)
		}
		tried++
	}
	if tried == 0 {
		t.Error("no length of the body found")
	}
}
