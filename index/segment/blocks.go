package segment

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// blockSubBytes is what a sub-quantiser takes in a block: one nibble for each row.
const blockSubBytes = avx.BlockRows / 2

// blocksOf returns the number of blocks of a list of n rows.
func blocksOf(n int) int { return (n + avx.BlockRows - 1) / avx.BlockRows }

// codeBytes returns the bytes of a row-major code of m sub-quantisers.
func codeBytes(m int) int { return (m + 1) / 2 }

// PackBlocks appends to dst the blocks of the codes of one list, row-major, m sub-quantisers each. See [avx.ScanPQ4]
// for the layout. Rows that are absent from the last block are zero.
func PackBlocks(dst, codes []byte, m int) []byte {
	width := codeBytes(m)
	for start := 0; start < len(codes); start += avx.BlockRows * width {
		rows := codes[start:min(start+avx.BlockRows*width, len(codes))]
		from := len(dst)
		dst = append(dst, make([]byte, avx.BlockBytes(m))...)
		block := dst[from:]
		for r := 0; r*width < len(rows); r++ {
			code := rows[r*width:][:width]
			at, high := r%blockSubBytes, r/blockSubBytes*4
			for s := range m {
				block[s*blockSubBytes+at] |= code[s/2] >> (s % 2 * 4) & 15 << high
			}
		}
	}
	return dst
}

// unpackCode writes the row-major code of row r of a block of m sub-quantisers.
func unpackCode(dst, block []byte, m, r int) {
	at, high := r%blockSubBytes, r/blockSubBytes*4
	clear(dst)
	for s := range m {
		dst[s/2] |= block[s*blockSubBytes+at] >> high & 15 << (s % 2 * 4)
	}
}

// blockTable is the codes of a chunk on their way to a file.
type blockTable struct {
	list, rows, baseRows []int32
	packed               []byte
}

// add appends the codes of a list, row-major, m sub-quantisers each, and the base rows that they are of.
func (t *blockTable) add(list int, baseRows []int32, codes []byte, m int) {
	t.packed = PackBlocks(t.packed, codes, m)
	for start := 0; start < len(baseRows); start += avx.BlockRows {
		some := baseRows[start:min(start+avx.BlockRows, len(baseRows))]
		t.list = append(t.list, int32(list))
		t.rows = append(t.rows, int32(len(some)))
		t.baseRows = append(t.baseRows, some...)
		t.baseRows = append(t.baseRows, make([]int32, avx.BlockRows-len(some))...)
	}
}

// file returns the codes file.
func (t *blockTable) file(c coder, firstRow, baseRows int) ([]byte, error) {
	schema := schemas.CodesSchema(c.model, c.m, firstRow, baseRows)
	n := len(t.list)
	return writeFile(schema, []arrow.Array{
		fixed(arrow.PrimitiveTypes.Int32, n, BytesOf(t.list)),
		fixed(arrow.PrimitiveTypes.Int32, n, BytesOf(t.rows)),
		fixedLists(schema.Field(2).Type, n, BytesOf(t.baseRows)),
		fixed(schema.Field(3).Type, n, t.packed),
	}, n, column(schema, schemas.StoredBlock))
}
