package segment

import "github.com/adastream/adastream/avx"

// blockSubBytes is what a sub-quantiser takes in a block: one nibble for each row.
const blockSubBytes = avx.BlockRows / 2

// blocksOf returns the number of blocks of a list of n rows.
func blocksOf(n int) int { return (n + avx.BlockRows - 1) / avx.BlockRows }

// codeBytes returns the bytes of a row-major code of m sub-quantisers.
func codeBytes(m int) int { return (m + 1) / 2 }

// packBlocks appends to dst the blocks of the codes of one list, row-major, m sub-quantisers each. See [avx.ScanPQ4]
// for the layout. Rows that are absent from the last block are zero.
func packBlocks(dst, codes []byte, m int) []byte {
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
