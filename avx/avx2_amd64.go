package avx

import "math"

// What surrounds the AVX2 kernels: they are called with at least one element, in pieces that
// end soon, and what does not fill a vector is left to Go where masks do not exist.

// callElements bounds the elements that one call of a kernel reads. Assembly cannot be
// preempted, so a garbage collection waits for it: 2^17 floats come from memory in some 50 µs.
const callElements = 1 << 17

// A tile of assign is tileRows rows high, one call goes over groupBytes of centroids, and
// bandRows rows pass a group before the next one: the group stays in the L2 cache of 512 KiB
// or more beside the rows of the band, instead of coming from L3 for each tile.
const (
	tileRows   = 6
	bandRows   = 16 * tileRows
	groupBytes = 256 << 10
)

// minDotI8 is the shortest row that the int8 kernels take: one vector.
const minDotI8 = 16

func dotAVX2(a, b []float32) float32 {
	if len(a) == 0 {
		return 0
	}
	return dotKernelAVX2(&a[0], &b[0], len(a))
}

// rowsPerCall returns how many of n rows of dim elements one call takes.
func rowsPerCall(n, dim int) int {
	return min(n, max(4, callElements/dim&^3)) // kernels take rows by four
}

func dotRowsAVX2(q, rows []float32, stride int, out []float32) {
	if len(q) == 0 {
		clear(out)
		return
	}
	for len(out) > 0 {
		n := rowsPerCall(len(out), len(q))
		dotRowsKernelAVX2(&q[0], len(q), &rows[0], stride, &out[0], n)
		if out = out[n:]; len(out) > 0 {
			rows = rows[n*stride:]
		}
	}
}

func assignAVX2(p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
	if p.n == 0 || p.dim == 0 {
		assignGeneric(p, rows, n, stride, best, score)
		return
	}
	for i := range n {
		best[i], score[i] = 0, float32(math.Inf(-1))
	}
	group := p.groupWidth()
	for start := 0; start < n; start += bandRows {
		end := min(start+bandRows, n)
		for j := 0; j < len(p.bias); j += group {
			assignGroupAVX2(p, j, min(j+group, len(p.bias)), rows, start, end, stride, best, score)
		}
	}
}

// groupWidth returns the number of centroids, whole panels, that one call goes over.
func (p *Panels) groupWidth() int {
	return max(1, groupBytes/(p.dim*PanelWidth*4)) * PanelWidth
}

// assignGroupAVX2 improves the best of rows [start, end) by the centroids [low, high).
func assignGroupAVX2(p *Panels, low, high int, rows []float32, start, end, stride int, best []int32, score []float32) {
	panels, bias, npanels := &p.centroids[low*p.dim], &p.bias[low], (high-low)/PanelWidth
	var tops [tileRows]float32
	var ats [tileRows]int32
	for i := start; i < end; {
		height := tileRows
		if end-i >= tileRows {
			assign6KernelAVX2(&rows[i*stride], stride, panels, bias, p.dim, npanels, &tops, &ats)
		} else {
			assign1KernelAVX2(&rows[i*stride], panels, bias, p.dim, npanels, &tops[0], &ats[0])
			height = 1
		}
		for r, top := range tops[:height] {
			if top > score[i+r] {
				best[i+r], score[i+r] = int32(low)+ats[r], top
			}
		}
		i += height
	}
}

func scoresAVX2(p *Panels, row, out []float32) {
	if p.dim == 0 {
		scoresGeneric(p, row, out)
		return
	}
	group := p.groupWidth()
	whole := p.n / PanelWidth * PanelWidth
	for j := 0; j < whole; j += group {
		npanels := min(group, whole-j) / PanelWidth
		scoresKernelAVX2(&row[0], &p.centroids[j*p.dim], &p.bias[j], p.dim, npanels, &out[j])
	}
	if whole < p.n {
		var last [PanelWidth]float32
		scoresKernelAVX2(&row[0], &p.centroids[whole*p.dim], &p.bias[whole], p.dim, 1, &last[0])
		copy(out[whole:], last[:])
	}
}

func scoresRowsAVX2(p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	if p.dim == 0 {
		scoresRowsGeneric(p, rows, n, stride, out, outStride)
		return
	}
	group := p.groupWidth()
	for start := 0; start < n; start += bandRows {
		end := min(start+bandRows, n)
		for j := 0; j < len(p.bias); j += group {
			scoresGroupAVX2(p, j, min(j+group, len(p.bias)), rows, start, end, stride, out, outStride)
		}
	}
}

// scoresGroupAVX2 writes the scores of rows [start, end) and centroids [low, high). Those of a
// panel with padding, which does not belong to out, take the way over a tile of its own.
func scoresGroupAVX2(p *Panels, low, high int, rows []float32, start, end, stride int, out []float32, outStride int) {
	var last [tileRows * PanelWidth]float32
	whole := min(high, p.n/PanelWidth*PanelWidth)
	for i := start; i < end; {
		height := 1
		if end-i >= tileRows {
			height = tileRows
		}
		if low < whole {
			scoresTileAVX2(p, low, whole, &rows[i*stride], height, stride, &out[i*outStride+low], outStride)
		}
		if whole < high {
			scoresTileAVX2(p, whole, high, &rows[i*stride], height, stride, &last[0], PanelWidth)
			for r := range height {
				copy(out[(i+r)*outStride+whole:][:p.n-whole], last[r*PanelWidth:])
			}
		}
		i += height
	}
}

// scoresTileAVX2 writes the scores of height rows, tileRows or one, and centroids [low, high).
func scoresTileAVX2(p *Panels, low, high int, row *float32, height, stride int, out *float32, outStride int) {
	panels, bias, npanels := &p.centroids[low*p.dim], &p.bias[low], (high-low)/PanelWidth
	if height == tileRows {
		scores6KernelAVX2(row, stride, panels, bias, p.dim, npanels, out, outStride)
	} else {
		scoresKernelAVX2(row, panels, bias, p.dim, npanels, out)
	}
}

func scoresI8AVX2(p *PanelsI8, q []uint8, out []int32) {
	if p.dim == 0 {
		scoresI8Generic(p, q, out)
		return
	}
	size := p.dim * PanelI8Width // bytes of a panel
	most := max(1, callElements/size)
	whole := len(out) / PanelI8Width
	for i := 0; i < whole; i += most {
		n := min(most, whole-i)
		scoresI8KernelAVX2(&q[0], p.dim, &p.centroids[i*size], &p.sums[i*PanelI8Width], n, &out[i*PanelI8Width])
	}
	if rest := out[whole*PanelI8Width:]; len(rest) > 0 {
		var last [PanelI8Width]int32
		scoresI8KernelAVX2(&q[0], p.dim, &p.centroids[whole*size], &p.sums[whole*PanelI8Width], 1, &last[0])
		copy(rest, last[:])
	}
}

func scanPQ4AVX2(codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, ahead []byte, out []uint32) int {
	if count == 0 || m == 0 {
		return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
	}
	next := &codes[0] // requested again it costs next to nothing
	if len(ahead) > 0 {
		next = &ahead[0]
	}
	return scanPQ4KernelAVX2(&codes[0], blockStride, m, &lut[0], count, threshold, next, &out[0])
}

func aboveAVX2(dots []int32, weight []float32, threshold float32, out []uint32) int {
	found, whole := 0, len(dots)&^7
	for start := 0; start < whole; {
		n := min(callElements, whole-start)
		some := aboveKernelAVX2(&dots[start], &weight[start], n, threshold, &out[found])
		for i := range out[found : found+some] {
			out[found+i] += uint32(start)
		}
		found, start = found+some, start+n
	}
	for i := whole; i < len(dots); i++ {
		if float32(dots[i])*weight[i] >= threshold {
			out[found] = uint32(i)
			found++
		}
	}
	return found
}

func dotI8AVX2(q []int16, rows []int8, stride int, out []int32) {
	if len(q) < minDotI8 {
		dotI8Generic(q, rows, stride, out)
		return
	}
	for len(out) > 0 {
		n := rowsPerCall(len(out), len(q))
		dotI8KernelAVX2(&q[0], len(q), &rows[0], stride, &out[0], n)
		if out = out[n:]; len(out) > 0 {
			rows = rows[n*stride:]
		}
	}
}

func dotI8AtAVX2(q []int16, rows []int8, stride int, at []uint32, out []int32) {
	if len(q) < minDotI8 {
		dotI8AtGeneric(q, rows, stride, at, out)
		return
	}
	for len(at) > 0 {
		n := rowsPerCall(len(at), len(q))
		dotI8AtKernelAVX2(&q[0], len(q), &rows[0], stride, &at[0], &out[0], n)
		at, out = at[n:], out[n:]
	}
}

func halfToFloatAVX2(dst []float32, src []uint16) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		halfToFloatKernelAVX2(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	halfToFloatGeneric(dst, src)
}

func floatToHalfAVX2(dst []uint16, src []float32) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		floatToHalfKernelAVX2(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	floatToHalfGeneric(dst, src)
}

func quantizeI8AVX2(dst []int8, src []float32, inv float32) {
	for len(src) >= 32 {
		n := min(len(src), callElements) &^ 31
		quantizeI8KernelAVX2(&dst[0], &src[0], n, inv)
		dst, src = dst[n:], src[n:]
	}
	quantizeI8Generic(dst, src, inv)
}

func maxAbsAVX2(v []float32) float32 {
	top, whole := float32(0), len(v)&^7
	for start := 0; start < whole; start += callElements {
		n := min(callElements, whole-start)
		top = max(top, maxAbsKernelAVX2(&v[start], n))
	}
	return max(top, maxAbsGeneric(v[whole:]))
}

func scaleAVX2(dst, src []float32, factor float32) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		scaleKernelAVX2(&dst[0], &src[0], n, factor)
		dst, src = dst[n:], src[n:]
	}
	scaleGeneric(dst, src, factor)
}
