package segment

import (
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// Part is an opened segment or chunk: N rows, sorted by list. It is immutable and safe for concurrent use. All that it
// gives out aliases the bytes it was opened from and must not be written to, nor used once those are unmapped.
type Part struct {
	ID    string
	Model string // model of lists and codes, "" when there is none
	N     int    // rows
	M     int    // sub-quantisers of a code, 0 without a model

	// All lists of rows are in [FirstList, EndList), which is empty without a model.
	FirstList, EndList int

	Axes   string    // that int8 rows and norms are rotated to, see model.Model.Axes, "" when they are not
	Int8   []int8    // D for each row
	Scales []float32 // one for each row
	Norms  []float32 // one for each row and level of the ladder

	// Codes of a chunk: a base is the rows of all chunks that were merged together, and a chunk has the codes of whatever
	// rows of its base are in its lists, first or second. It is code i of block i/32 that CodeRows[i] is the base row of.
	// The chunk's own rows are base rows [FirstRow, FirstRow+N). A segment has no blocks.
	Blocks             []byte // of avx.BlockBytes(M), see [avx.ScanPQ4]
	CodeRows           []int32
	FirstRow, BaseRows int

	// Rows of a segment that have a second list, in the order of those.
	Spilled []int32

	ids         *array.String
	orders      orders
	attributes  []arrow.Array
	lists       []int32
	spills      []int32
	endSpill    func() int // see EndSpill; asks all rows once
	rowStarts   []uint32   // of each list from FirstList, and the end; nil without a model
	blockStarts []uint32   // the same for blocks; nil for a segment
	blockRows   []int32    // codes of each block; nil for a segment
	codes       []byte     // row-major; nil for a chunk and without a model
	spillCodes  []byte     // the same
	vectors     []byte     // nil when they were not opened
	dim         int
	vectorT     schemas.VectorType
	width       int // bytes of a stored vector

	index *idIndex
}

// IDAt returns the id of row i, which aliases the bytes of the part.
func (p *Part) IDAt(i int) string { return p.ids.Value(i) }

// OrderAt returns the order of row i among the versions of its id.
func (p *Part) OrderAt(i int) Order { return p.orders.at(i) }

// ListAt returns the list of row i, -1 without a model.
func (p *Part) ListAt(i int) int32 { return p.lists[i] }

// SpillAt returns the second list of row i, coarse.NoSpill if it has none.
func (p *Part) SpillAt(i int) int32 { return p.spills[i] }

// EndSpill returns a number that all second lists are below.
func (p *Part) EndSpill() int { return p.endSpill() }

// Attribute returns the column of attribute j of the spec, in its stored type.
func (p *Part) Attribute(j int) arrow.Array { return p.attributes[j] }

// Value returns attribute j of row i as [Column.Value] does. A string is a copy, which outlives the part.
func (p *Part) Value(j, i int) any {
	a := p.attributes[j]
	if a.IsNull(i) {
		return nil
	}
	switch a := a.(type) {
	case *array.Boolean:
		return a.Value(i)
	case *array.Int64:
		return a.Value(i)
	case *array.Float64:
		return finite(a.Value(i))
	case *array.Timestamp:
		return time.UnixMilli(int64(a.Value(i))).UTC()
	case *array.String:
		return strings.Clone(a.Value(i))
	}
	return nil // opening allows no other type
}

// ListRange returns the rows [start, end) of a list; there are none of a list outside [FirstList, EndList).
func (p *Part) ListRange(list int) (start, end int) { return bounds(p.rowStarts, list-p.FirstList) }

// CodeRange returns the codes [start, end) of a list of a chunk, of which start is the first of a block. A segment has none.
func (p *Part) CodeRange(list int) (start, end int) {
	block, blockEnd := bounds(p.blockStarts, list-p.FirstList)
	if block == blockEnd {
		return 0, 0
	}
	return block * avx.BlockRows, (blockEnd-1)*avx.BlockRows + int(p.blockRows[blockEnd-1])
}

func bounds(starts []uint32, i int) (start, end int) {
	if i < 0 || i >= len(starts)-1 {
		return 0, 0
	}
	return int(starts[i]), int(starts[i+1])
}

// Code returns the code of row i of a segment that has a model: sub-quantiser 2i in the low and 2i+1 in the high
// nibble of byte i. The codes of a chunk are in Blocks.
func (p *Part) Code(i int) []byte {
	width := codeBytes(p.M)
	return p.codes[i*width:][:width:width]
}

// SpillCode returns the code of row i of a segment in its second list, zero if it has none.
func (p *Part) SpillCode(i int) []byte {
	width := codeBytes(p.M)
	return p.spillCodes[i*width:][:width:width]
}

// ReadCode writes code i of a chunk, row-major.
func (p *Part) ReadCode(dst []byte, i int) {
	size := avx.BlockBytes(p.M)
	unpackCode(dst, p.Blocks[i/avx.BlockRows*size:][:size], p.M, i%avx.BlockRows)
}

// HasVectors reports whether the originals were opened. An empty part has all of none.
func (p *Part) HasVectors() bool { return p.vectors != nil || p.N == 0 }

// Vector writes the original of row i to dst, which has D values: as it was given, to the precision of the spec. The
// part must have vectors.
func (p *Part) Vector(level avx.Level, i int, dst []float32) {
	widen(p.vectorT, level, dst[:p.dim], p.Stored(i))
}

// VectorBytes returns how many bytes the first dims values of an original take.
func (p *Part) VectorBytes(dims int) int { return p.width / p.dim * dims }

// Stored is the bytes of the original of row i, which must not be changed.
func (p *Part) Stored(i int) []byte { return p.vectors[i*p.width:][:p.width] }

// textBytes returns the bytes of the id and of the string attributes of row i.
func (p *Part) textBytes(i int) int64 {
	n := p.ids.ValueLen(i)
	for _, a := range p.attributes {
		if text, ok := a.(*array.String); ok {
			n += text.ValueLen(i)
		}
	}
	return int64(n)
}
