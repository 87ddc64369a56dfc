package avx

// dotRowsKernelNEON writes the inner products of q and n rows, stride floats apart; n and dim are at least 1.
//
//go:noescape
func dotRowsKernelNEON(q *float32, dim int, rows *float32, stride int, out *float32, n int)

// scores4KernelNEON writes the 16*npanels scores of each of four rows, stride floats apart, to rows of out that are outStride floats apart.
//
//go:noescape
func scores4KernelNEON(rows *float32, stride int, panels, bias *float32, dim, npanels int, out *float32, outStride int)

// scores1KernelNEON is scores4KernelNEON for one row.
//
//go:noescape
func scores1KernelNEON(row, panels, bias *float32, dim, npanels int, out *float32)

// scanPQ4KernelNEON scans ceil(count/32) blocks; count is at least 1, m even and at least 2.
//
//go:noescape
func scanPQ4KernelNEON(codes *byte, blockStride, m int, lut *byte, count int, threshold uint16, ahead *byte, out *uint32) int

// dotI8KernelNEON writes the inner products of q and n rows, stride bytes apart; dim is at least 16, n at least 1.
//
//go:noescape
func dotI8KernelNEON(q *int16, dim int, rows *int8, stride int, out *int32, n int)

// dotI8AtKernelNEON is dotI8KernelNEON for the rows that at names. It prefetches the row four ahead.
//
//go:noescape
func dotI8AtKernelNEON(q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int)

// scoresI4KernelNEON writes start + q*nibbles for 32*npanels centroids; dim is a positive multiple of 8.
//
//go:noescape
func scoresI4KernelNEON(q *int8, dim int, panels *uint8, start int32, npanels int, out *int32)

// assign2I8KernelNEON finds the best of each fourth of 32*npanels centroids for two rows, stride bytes apart, of which unit has two values, tops
// and ids have four each. Lanes in which none scores above -Inf get 0 and -Inf.
//
//go:noescape
func assign2I8KernelNEON(rows *uint8, stride, dim int, panels *int8, weight, bias *float32, npanels int, unit *float32, tops *float32, ids *int32)

// scores2I8KernelNEON writes the 32*npanels scores of two rows to rows of out that are outStride floats apart, and raises the two rows of tops to
// the best of every 32nd.
//
//go:noescape
func scores2I8KernelNEON(rows *uint8, stride, dim int, panels *int8, weight, bias *float32, npanels int, unit, out *float32, outStride int, tops *float32)

// aboveKernelNEON returns the first multiple of 16 from which on one of 16 values reaches the threshold, n if there is none; n is a positive multiple of 16.
//
//go:noescape
func aboveKernelNEON(dots *int32, weight *float32, n int, threshold float32) int

// aboveFloatsKernelNEON is aboveKernelNEON for floats.
//
//go:noescape
func aboveFloatsKernelNEON(scores *float32, n int, threshold float32) int

// halfToFloatKernelNEON widens n numbers, a positive multiple of 8.
//
//go:noescape
func halfToFloatKernelNEON(dst *float32, src *uint16, n int)

// floatToHalfKernelNEON narrows n numbers, a positive multiple of 8.
//
//go:noescape
func floatToHalfKernelNEON(dst *uint16, src *float32, n int)
