package avx

import (
	"math"
	"math/bits"
)

// BlockRows is the number of rows in a block of 4-bit codes.
const BlockRows = 32

// maxScanBlocks keeps a row index in the lower 16 bits of a hit, maxScanSubs keeps a sum of
// bytes in the upper 16.
const (
	maxScanBlocks = 1 << 16 / BlockRows
	maxScanSubs   = 256
)

// BlockBytes returns the size of a block of codes of m sub-quantisers, which is that of an even
// number of them.
func BlockBytes(m int) int { return (m + m%2) * BlockRows / 2 }

// Dot returns the inner product of a and b, which have the same length.
func Dot(l Level, a, b []float32) float32 {
	b = b[:len(a):len(b)]
	if l == Generic {
		return dotGeneric(a, b)
	}
	return dotSIMD(l, a, b)
}

// SumSquares returns the inner product of a with itself.
func SumSquares(l Level, a []float32) float32 { return Dot(l, a, a) }

// DotRows sets out[i] to the inner product of q and rows[i*stride : i*stride+len(q)], for
// each i < len(out). The result for a row does not depend on its place among the others.
func DotRows(l Level, q, rows []float32, stride int, out []float32) {
	rows = window(rows, len(out), stride, len(q))
	if l == Generic {
		dotRowsGeneric(q, rows, stride, out)
	} else {
		dotRowsSIMD(l, q, rows, stride, out)
	}
}

// Assign finds for each of n rows, row i being rows[i*stride : i*stride+p.Dim()], the centroid
// j with the largest score <row, centroid j> + bias j, and writes j to best[i] and its score
// to score[i]. Of equal scores the lowest j wins. NaN never wins: a row that no centroid
// scores above -Inf gets best 0 and score -Inf. The result for a row does not depend on its
// place among the others, and its score is bit for bit that of [Scores].
func Assign(l Level, p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
	rows = window(rows, n, stride, p.dim)
	best, score = best[:n:len(best)], score[:n:len(score)]
	if l == Generic {
		assignGeneric(p, rows, n, stride, best, score)
	} else {
		assignSIMD(l, p, rows, n, stride, best, score)
	}
}

// Scores sets out[j] to <row, centroid j> + bias j for each j < p.N(). Row has at least
// p.Dim() floats and out at least p.N().
func Scores(l Level, p *Panels, row []float32, out []float32) {
	row, out = row[:p.dim:len(row)], out[:p.n:len(out)]
	if l == Generic {
		scoresGeneric(p, row, out)
	} else {
		scoresSIMD(l, p, row, out)
	}
}

// ScoresRows is [Scores] for n rows, row i being rows[i*stride : i*stride+p.Dim()]: it sets
// out[i*outStride+j] to the score of row i and centroid j, bit for bit that of Scores, and
// leaves the gaps between rows of out alone. outStride is at least p.N(); out does not overlap
// rows.
func ScoresRows(l Level, p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	if outStride < p.n {
		panic("avx: ScoresRows: outStride out of range")
	}
	rows, out = window(rows, n, stride, p.dim), window(out, n, outStride, p.n)
	if l == Generic {
		scoresRowsGeneric(p, rows, n, stride, out, outStride)
	} else {
		scoresRowsSIMD(l, p, rows, n, stride, out, outStride)
	}
}

// ScoresI4 sets out, [n][centroids], to the inner products of n queries and all centroids. They are exact. A query is p.Dim()
// values of at most MaxQueryI4; they follow one another in q. Several queries together are faster than each alone: centroids
// come from a near cache.
func ScoresI4(l Level, p *PanelsI4, q []int8, n int, out []int32) {
	q, out = q[:n*p.dim:len(q)], out[:n*p.n:len(out)]
	if l == Generic {
		scoresI4Generic(p, q, n, out)
	} else {
		scoresI4SIMD(l, p, q, n, out)
	}
}

// AssignI8 finds for each of n rows, row i being the p.Dim() values from rows[i*stride], the centroid
// j with the largest score
//
//	<row, centroid j> * weight j + unit[i] * bias j
//
// where a row has QueryOffset added to its values, which without it are at most MaxQueryI8 and no longer than
// MaxSpanRowI8 says. The inner product is exact, then each operation is rounded, so all levels agree to the bit; of a row that
// is longer the scores may be any. What best and score become is as in [Assign].
func AssignI8(l Level, p *WeightedI8, rows []uint8, n, stride int, unit []float32, best []int32, score []float32) {
	rows, unit = window(rows, n, stride, p.panels.dim), unit[:n:len(unit)]
	best, score = best[:n:len(best)], score[:n:len(score)]
	if l == Generic {
		assignI8Generic(p, rows, stride, unit, best, score)
	} else {
		assignI8SIMD(l, p, rows, stride, unit, best, score)
	}
}

// TopLanes is the number of maxima that [ScoresRowsI8] finds of a row.
const TopLanes = panelI8Width

// ScoresRowsI8 sets out[i*outStride+j] to the score of row i and centroid j, to the bit that of
// [AssignI8], and tops[i*TopLanes+j] to the largest of those of the centroids j, j+TopLanes and so on, -Inf
// if there are none. Padding gets -Inf: outStride is at least p.Padded().
func ScoresRowsI8(l Level, p *WeightedI8, rows []uint8, n, stride int, unit, out []float32, outStride int, tops []float32) {
	if outStride < p.Padded() {
		panic("avx: ScoresRowsI8: outStride out of range")
	}
	rows, unit = window(rows, n, stride, p.panels.dim), unit[:n:len(unit)]
	out, tops = window(out, n, outStride, p.Padded()), tops[:n*TopLanes:len(tops)]
	if l == Generic {
		scoresRowsI8Generic(p, rows, n, stride, unit, out, outStride, tops)
	} else {
		scoresRowsI8SIMD(l, p, rows, n, stride, unit, out, outStride, tops)
	}
}

// ScanPQ4 scans rows of 4-bit product quantiser codes and appends those that score at least
// threshold, in row order, to the front of out. It returns their number.
//
// A block holds 32 rows. Its sub-quantiser s < m occupies the 16 bytes from
// codes[block*blockStride + 16*s]; byte i holds the code of row i in the low nibble and that
// of row i+16 in the high one: the layout of FAISS "fast scan", after André et al., Cache
// locality is not enough, VLDB 2015. m is even and may be smaller than blockStride/16: a query
// may scan the shorter prefix of a ladder.
//
// lut holds m tables of 16 bytes, larger is better; the table of a sub-quantiser that is not to
// count is zero. The score of a row is the sum of lut[16*s + code s], exact in 16 bits since
// m <= 256. A hit is score<<16 | row index. Only rows below count <= nblocks*32 <= 65536 are
// reported. len(out) must be at least nblocks*32.
//
// Ahead is what will be scanned next, if that is known, from its first block. Levels above
// Generic prefetch it.
func ScanPQ4(l Level, codes []byte, nblocks, blockStride, m int, lut []byte, count int, threshold uint16, ahead []byte, out []uint32) int {
	if uint(nblocks) > maxScanBlocks || uint(m) > maxScanSubs || m%2 != 0 || uint(count) > uint(nblocks*BlockRows) {
		panic("avx: ScanPQ4: nblocks, m or count out of range")
	}
	codes = window(codes, nblocks, blockStride, BlockBytes(m))
	lut, out = lut[:16*m:len(lut)], out[:nblocks*BlockRows:len(out)]
	if l == Generic {
		return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
	}
	return scanPQ4SIMD(l, codes, blockStride, m, lut, count, threshold, ahead, out)
}

// Above writes the i with float32(dots[i])*weight[i] >= threshold, ascending, to the front of
// out. It returns their number. len(weight) and len(out) must be at least len(dots).
func Above(l Level, dots []int32, weight []float32, threshold float32, out []uint32) int {
	weight, out = weight[:len(dots):len(weight)], out[:len(dots):len(out)]
	if l == Generic {
		return aboveGeneric(dots, weight, threshold, out)
	}
	return aboveSIMD(l, dots, weight, threshold, out)
}

// AboveFloats writes the i with scores[i] >= threshold, ascending, to the front of out. It returns
// their number. len(out) must be at least len(scores).
func AboveFloats(l Level, scores []float32, threshold float32, out []uint32) int {
	out = out[:len(scores):len(out)]
	if l == Generic {
		return aboveFloatsGeneric(scores, threshold, out)
	}
	return aboveFloatsSIMD(l, scores, threshold, out)
}

// Kth returns the k-th largest of TopLanes values, none of which is NaN: the least that fewer than k of them are larger than. k is
// from 1 to TopLanes.
func Kth(l Level, values *[TopLanes]float32, k int) float32 {
	if k < 1 || k > TopLanes {
		panic("avx: Kth: k out of range")
	}
	if l == Generic {
		return kthGeneric(values, k)
	}
	return kthSIMD(values, k)
}

// DotI8 sets out[i] to the inner product of q and rows[i*stride : i*stride+len(q)], for each
// i < len(out). It is exact if it fits an int32 and wraps around, alike at all levels, if not.
func DotI8(l Level, q []int16, rows []int8, stride int, out []int32) {
	rows = window(rows, len(out), stride, len(q))
	if l == Generic {
		dotI8Generic(q, rows, stride, out)
	} else {
		dotI8SIMD(l, q, rows, stride, out)
	}
}

// DotI8At is [DotI8] for the rows at[i], for each i < len(at). Levels above Generic prefetch
// the rows that are next in at. len(out) must be at least len(at).
func DotI8At(l Level, q []int16, rows []int8, stride int, at []uint32, out []int32) {
	var highest uint32
	for _, r := range at {
		highest = max(highest, r)
	}
	if len(at) > 0 {
		rows = window(rows, int(highest)+1, stride, len(q))
	}
	out = out[:len(at):len(out)]
	if l == Generic {
		dotI8AtGeneric(q, rows, stride, at, out)
	} else {
		dotI8AtSIMD(l, q, rows, stride, at, out)
	}
}

// HalfToFloat widens IEEE 754 binary16 numbers, one per element of src. It is exact; a
// signalling NaN becomes quiet. len(dst) must be at least len(src).
func HalfToFloat(l Level, dst []float32, src []uint16) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		halfToFloatGeneric(dst, src)
	} else {
		halfToFloatSIMD(dst, src)
	}
}

// FloatToHalf narrows to IEEE 754 binary16, one per element of src: to nearest, ties to even,
// to infinity from 65520 on. A NaN becomes quiet and keeps its sign and the upper nine bits
// of its payload. len(dst) must be at least len(src).
func FloatToHalf(l Level, dst []uint16, src []float32) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		floatToHalfGeneric(dst, src)
	} else {
		floatToHalfSIMD(dst, src)
	}
}

// QuantizeI8 sets dst[i] to src[i]*inv rounded to nearest, ties to even, and clamped to
// [-127, 127]. NaN becomes 0. len(dst) must be at least len(src).
func QuantizeI8(l Level, dst []int8, src []float32, inv float32) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		quantizeI8Generic(dst, src, inv)
	} else {
		quantizeI8SIMD(dst, src, inv)
	}
}

// WidenI8 sets dst[i] to src[i]: a row as [DotI8] takes a query. len(dst) must be at least len(src).
func WidenI8(l Level, dst []int16, src []int8) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		widenI8Generic(dst, src)
	} else {
		widenI8SIMD(dst, src)
	}
}

// OffsetI8 sets dst[i] to src[i]+QueryOffset, wrapped around: a row as [AssignI8] takes it. len(dst) must be at least
// len(src).
func OffsetI8(l Level, dst []uint8, src []int8) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		offsetI8Generic(dst, src)
	} else {
		offsetI8SIMD(dst, src)
	}
}

// MaxAbs returns the largest magnitude of v, 0 if it is empty. NaN does not count.
func MaxAbs(l Level, v []float32) float32 {
	if l == Generic {
		return maxAbsGeneric(v)
	}
	return maxAbsSIMD(v)
}

// Scale sets dst[i] to src[i]*factor. len(dst) must be at least len(src); dst may be src.
func Scale(l Level, dst, src []float32, factor float32) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		scaleGeneric(dst, src, factor)
	} else {
		scaleSIMD(dst, src, factor)
	}
}

// Sub sets dst[i] to a[i]-b[i]. len(dst) and len(b) must be at least len(a); dst may be a or b.
func Sub(l Level, dst, a, b []float32) {
	dst, b = dst[:len(a):len(dst)], b[:len(a):len(b)]
	if l == Generic {
		subGeneric(dst, a, b)
	} else {
		subSIMD(dst, a, b)
	}
}

// SubtractMins subtracts from each row of 16 values of rows the least of them, which it writes to
// mins. It returns the largest value left, 0 if there are no rows. len(rows) is 16*len(mins); no
// value is NaN.
func SubtractMins(l Level, rows, mins []float32) float32 {
	rows = rows[: 16*len(mins) : len(rows)]
	if l == Generic {
		return subtractMinsGeneric(rows, mins)
	}
	return subtractMinsSIMD(rows, mins)
}

// QuantizeU8 sets dst[i] to src[i]*inv + 0.5, at most 255, without its fraction. src[i]*inv is not
// negative nor NaN. len(dst) must be at least len(src).
func QuantizeU8(l Level, dst []uint8, src []float32, inv float32) {
	dst = dst[:len(src):len(dst)]
	if l == Generic {
		quantizeU8Generic(dst, src, inv)
	} else {
		quantizeU8SIMD(dst, src, inv)
	}
}

// PickAlong chooses for each row i < len(best) one of 16 codewords j, the lowest of those with the largest
//
//	near[16*i+j] - weight[i] * (off[i] + part[i] - along[16*i+j])²
//
// and sets best[i] to it, off[i] to off[i] + part[i] - along[16*i+j], and part[i] to along[16*i+j]. With near = <r, c> - |c|²/2
// and along = <x, c> of a sub-quantiser of residual r of x, off is the error along x, and part
// what the codeword so far takes from it. So this is a step of coordinate descent to the least
// anisotropic loss (Guo et al., Accelerating Large-Scale Inference with Anisotropic Vector
// Quantization, ICML 2020). Each operation is rounded, so all levels agree to the bit where no
// number is NaN. The other slices are as long as best, near and along 16 times.
func PickAlong(l Level, near, along, weight, part, off []float32, best []uint8) {
	n := len(best)
	near, along = near[:16*n:len(near)], along[:16*n:len(along)]
	weight, part, off = weight[:n:len(weight)], part[:n:len(part)], off[:n:len(off)]
	if l == Generic || n == 0 {
		pickAlongGeneric(near, along, weight, part, off, best)
	} else {
		pickAlongSIMD(l, near, along, weight, part, off, best)
	}
}

// window returns the part of rows that n rows of dim elements, stride apart, span. Like an
// index expression it panics if they do not lie within len(rows): kernels check no more.
func window[T any](rows []T, n, stride, dim int) []T {
	if n == 0 {
		return rows[:0]
	}
	hi, lo := bits.Mul64(uint64(n-1), uint64(stride)) // a negative n or stride overflows
	if hi != 0 || lo > math.MaxInt-uint64(dim) {
		panic("avx: rows out of range")
	}
	end := int(lo) + dim
	return rows[:end:len(rows)]
}
