package segment

import (
	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/arrowfile"
	"github.com/adastream/adastream/schemas"
)

// HeadBytes is how much of a file of originals [LocateVectors] wants: its schema and what describes its batch are some hundreds
// of bytes.
const HeadBytes = 4096

// LocateVectors finds where in the file of the originals of a chunk they begin, from its first HeadBytes, or all of them if it is
// shorter. They lie in the order of rows, of spec.VectorBytes() each.
func LocateVectors(spec *schemas.Spec, c schemas.Chunk, head []byte) (start int64, err error) {
	name := objectName("chunk "+c.ID, c.Vectors)
	defer func() {
		if r := recover(); r != nil { // flatbuffers panic on tables that do not hold together
			start, err = 0, corrupt(name, "%v", r)
		}
	}()
	rows, buffers, err := arrowfile.Locate(head)
	if err != nil {
		return 0, corrupt(name, "%v", err)
	}
	const ofValues = 2 // after the validity of the lists and of their values
	if rows != int64(c.NumRows) || len(buffers) != ofValues+1 {
		return 0, corrupt(name, "%d rows in %d buffers, allowed: %d in %d", rows, len(buffers), c.NumRows, ofValues+1)
	}
	values, want := buffers[ofValues], rows*int64(spec.VectorBytes())
	if values.Size < want || values.Start > c.Vectors.Size-want {
		return 0, corrupt(name, "%d bytes of values at %d of %d, allowed: %d within the file", values.Size, values.Start, c.Vectors.Size, want)
	}
	return values.Start, nil
}

// ReadVector writes the values of an original to dst, from its stored bytes, which must be aligned to its values.
func ReadVector(spec *schemas.Spec, level avx.Level, stored []byte, dst []float32) {
	widen(spec.Vectors, level, dst[:spec.Dim()], stored)
}
