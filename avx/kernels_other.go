//go:build !amd64

package avx

// Elsewhere than on amd64 AVX2 is not supported; asked for it all the same, the kernels give
// the generic answer.

func dotAVX2(a, b []float32) float32 { return dotGeneric(a, b) }

func dotRowsAVX2(q, rows []float32, stride int, out []float32) {
	dotRowsGeneric(q, rows, stride, out)
}

func assignAVX2(p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
	assignGeneric(p, rows, n, stride, best, score)
}

func scoresAVX2(p *Panels, row, out []float32) { scoresGeneric(p, row, out) }

func scoresRowsAVX2(p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	scoresRowsGeneric(p, rows, n, stride, out, outStride)
}

func scoresI8AVX2(p *PanelsI8, q []uint8, out []int32) { scoresI8Generic(p, q, out) }

func scanPQ4AVX2(codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, _ []byte, out []uint32) int {
	return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
}

func aboveAVX2(dots []int32, weight []float32, threshold float32, out []uint32) int {
	return aboveGeneric(dots, weight, threshold, out)
}

func dotI8AVX2(q []int16, rows []int8, stride int, out []int32) {
	dotI8Generic(q, rows, stride, out)
}

func dotI8AtAVX2(q []int16, rows []int8, stride int, at []uint32, out []int32) {
	dotI8AtGeneric(q, rows, stride, at, out)
}

func halfToFloatAVX2(dst []float32, src []uint16) { halfToFloatGeneric(dst, src) }

func floatToHalfAVX2(dst []uint16, src []float32) { floatToHalfGeneric(dst, src) }

func quantizeI8AVX2(dst []int8, src []float32, inv float32) { quantizeI8Generic(dst, src, inv) }

func maxAbsAVX2(v []float32) float32 { return maxAbsGeneric(v) }

func scaleAVX2(dst, src []float32, factor float32) { scaleGeneric(dst, src, factor) }
