//go:build !amd64 && !arm64

package avx

// Elsewhere than on amd64 and arm64 only Generic is supported; asked for another level all the same, the
// kernels give the generic answer.

func dotSIMD(_ Level, a, b []float32) float32 { return dotGeneric(a, b) }

func dotRowsSIMD(_ Level, q, rows []float32, stride int, out []float32) {
	dotRowsGeneric(q, rows, stride, out)
}

func assignSIMD(_ Level, p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
	assignGeneric(p, rows, n, stride, best, score)
}

func scoresSIMD(_ Level, p *Panels, row, out []float32) { scoresGeneric(p, row, out) }

func scoresRowsSIMD(_ Level, p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	scoresRowsGeneric(p, rows, n, stride, out, outStride)
}

func scoresI4SIMD(_ Level, p *PanelsI4, q []int8, n int, out []int32) { scoresI4Generic(p, q, n, out) }

func assignI8SIMD(_ Level, p *WeightedI8, rows []uint8, stride int, unit []float32, best []int32, score []float32) {
	assignI8Generic(p, rows, stride, unit, best, score)
}

func scoresRowsI8SIMD(_ Level, p *WeightedI8, rows []uint8, n, stride int, unit, out []float32, outStride int, tops []float32) {
	scoresRowsI8Generic(p, rows, n, stride, unit, out, outStride, tops)
}

func scanPQ4SIMD(_ Level, codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, _ []byte, out []uint32) int {
	return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
}

func aboveSIMD(_ Level, dots []int32, weight []float32, threshold float32, out []uint32) int {
	return aboveGeneric(dots, weight, threshold, out)
}

func aboveFloatsSIMD(_ Level, scores []float32, threshold float32, out []uint32) int {
	return aboveFloatsGeneric(scores, threshold, out)
}

func kthSIMD(values *[TopLanes]float32, k int) float32 { return kthGeneric(values, k) }

func dotI8SIMD(_ Level, q []int16, rows []int8, stride int, out []int32) {
	dotI8Generic(q, rows, stride, out)
}

func dotI8AtSIMD(_ Level, q []int16, rows []int8, stride int, at []uint32, out []int32) {
	dotI8AtGeneric(q, rows, stride, at, out)
}

func halfToFloatSIMD(dst []float32, src []uint16) { halfToFloatGeneric(dst, src) }

func floatToHalfSIMD(dst []uint16, src []float32) { floatToHalfGeneric(dst, src) }

func quantizeI8SIMD(dst []int8, src []float32, inv float32) { quantizeI8Generic(dst, src, inv) }

func widenI8SIMD(dst []int16, src []int8) { widenI8Generic(dst, src) }

func offsetI8SIMD(dst []uint8, src []int8) { offsetI8Generic(dst, src) }

func maxAbsSIMD(v []float32) float32 { return maxAbsGeneric(v) }

func scaleSIMD(dst, src []float32, factor float32) { scaleGeneric(dst, src, factor) }

func subSIMD(dst, a, b []float32) { subGeneric(dst, a, b) }

func subtractMinsSIMD(rows, mins []float32) float32 { return subtractMinsGeneric(rows, mins) }

func quantizeU8SIMD(dst []uint8, src []float32, inv float32) { quantizeU8Generic(dst, src, inv) }

func pickAlongSIMD(_ Level, near, along, weight, part, off []float32, best []uint8) {
	pickAlongGeneric(near, along, weight, part, off, best)
}
