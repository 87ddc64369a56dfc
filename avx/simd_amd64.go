package avx

// What surrounds the kernels of all levels above Generic: they are called with at least one
// element, in pieces that end soon, and what does not fill a vector is left to Go where they
// have no masks. A level without a kernel of its own takes that of the level below it.

// A tile of assign is 6 rows high at AVX2 and 12 at AVX512.
const maxTileRows = 12

// nextTile returns the first row and the height of the tile that begins at row i of [start, end).
// Where the rows that are left do not fill it, it goes back over some that are done: in whatever
// tile, and alone, a row has the same scores, since each of them adds up in the order of dimensions.
func nextTile(l Level, start, i, end int) (first, height int) {
	switch n := end - start; {
	case l >= AVX512 && n >= 12 && end-i > 6:
		height = 12
	case n >= 6:
		height = 6
	default:
		height = 1
	}
	return min(i, end-height), height
}

func dotSIMD(l Level, a, b []float32) float32 {
	switch {
	case len(a) == 0:
		return 0
	case l == AVX2:
		return dotKernelAVX2(&a[0], &b[0], len(a))
	default:
		return dotKernelAVX512(&a[0], &b[0], len(a))
	}
}

// assignGroup improves the best of rows [start, end) by the centroids [low, high).
func assignGroup(l Level, p *Panels, low, high int, rows []float32, start, end, stride int, best []int32, score []float32) {
	panels, bias, npanels := &p.centroids[low*p.dim], &p.bias[low], (high-low)/PanelWidth
	var tops [maxTileRows]float32
	var ats [maxTileRows]int32
	for i := start; i < end; {
		first, height := nextTile(l, start, i, end)
		row := &rows[first*stride]
		switch {
		case height == 12:
			assign12KernelAVX512(row, stride, panels, bias, p.dim, npanels, &tops, &ats)
		case height == 6:
			assign6KernelAVX2(row, stride, panels, bias, p.dim, npanels, (*[6]float32)(tops[:]), (*[6]int32)(ats[:]))
		case l == AVX2:
			assign1KernelAVX2(row, panels, bias, p.dim, npanels, &tops[0], &ats[0])
		default:
			assign1KernelAVX512(row, panels, bias, p.dim, npanels, &tops[0], &ats[0])
		}
		for r, top := range tops[:height] {
			if top > score[first+r] {
				best[first+r], score[first+r] = int32(low)+ats[r], top
			}
		}
		i = first + height
	}
}

// scoresTile writes the scores of a tile of rows and the centroids [low, high).
func scoresTile(l Level, p *Panels, low, high int, row *float32, height, stride int, out *float32, outStride int) {
	panels, bias, npanels := &p.centroids[low*p.dim], &p.bias[low], (high-low)/PanelWidth
	switch {
	case height == 12:
		scores12KernelAVX512(row, stride, panels, bias, p.dim, npanels, out, outStride)
	case height == 6:
		scores6KernelAVX2(row, stride, panels, bias, p.dim, npanels, out, outStride)
	case l == AVX2:
		scoresKernelAVX2(row, panels, bias, p.dim, npanels, out)
	default:
		scoresKernelAVX512(row, panels, bias, p.dim, npanels, out)
	}
}

func scoresI4Kernel(l Level, q *int8, dim int, panels *uint8, start int32, npanels int, out *int32) {
	if l == AVX512VNNI {
		scoresI4KernelVNNI(q, dim, panels, start, npanels, out)
	} else {
		scoresI4KernelAVX2(q, dim, panels, start, npanels, out)
	}
}

// A tile of assignI8 is 6 rows high at AVX512, and 2 at AVX2 and where there are fewer than 6.
const maxTileI8 = 6

// nextTileI8 returns the first row and the height of the tile that begins at row i of [start, end), and how far its rows are
// apart. Where the rows that are left do not fill it, it goes back over some that are done; a single row is there twice.
func nextTileI8(l Level, start, i, end, stride int) (first, height, apart int) {
	switch n := end - start; {
	case n < 2:
		return i, 2, 0
	case l == AVX2 || n < maxTileI8:
		height = 2
	default:
		height = maxTileI8
	}
	return min(i, end-height), height, stride
}

// assignGroupI8 improves the best of rows [start, end) by the centroids [low, high).
func assignGroupI8(l Level, p *WeightedI8, low, high int, rows []uint8, start, end, stride int, unit []float32, best []int32, score []float32) {
	panels, sums := &p.panels.centroids[low*p.panels.dim], &p.panels.sums[low]
	halves := &p.halves[low*p.spans()*2]
	weight, bias, npanels, dim := &p.weight[low], &p.bias[low], (high-low)/panelI8Width, p.panels.dim
	var tops, units [maxTileI8]float32
	var ats [maxTileI8]int32
	for i := start; i < end; {
		first, height, apart := nextTileI8(l, start, i, end, stride)
		done := min(height, end-first)
		copy(units[:done], unit[first:])
		row := &rows[first*stride]
		switch {
		case height == 2:
			assign2I8KernelAVX2(row, apart, dim, panels, halves, weight, bias, npanels, &units[0], &tops[0], &ats[0])
		case l == AVX512:
			assign6I8KernelAVX512(row, apart, dim, panels, sums, weight, bias, npanels, &units[0], &tops[0], &ats[0])
		default:
			assign6I8KernelVNNI(row, apart, dim, panels, sums, weight, bias, npanels, &units[0], &tops[0], &ats[0])
		}
		for r, top := range tops[:done] {
			if top > score[first+r] {
				best[first+r], score[first+r] = int32(low)+ats[r], top
			}
		}
		i = first + done
	}
}

// scoresGroupI8 writes the scores of rows [start, end) and centroids [low, high), and improves tops.
func scoresGroupI8(l Level, p *WeightedI8, low, high int, rows []uint8, start, end, stride int, unit, out []float32, outStride int, tops []float32) {
	panels, sums := &p.panels.centroids[low*p.panels.dim], &p.panels.sums[low]
	halves := &p.halves[low*p.spans()*2]
	weight, bias, npanels, dim := &p.weight[low], &p.bias[low], (high-low)/panelI8Width, p.panels.dim
	var units [maxTileI8]float32
	var lanes [maxTileI8 * TopLanes]float32
	for i := start; i < end; {
		first, height, apart := nextTileI8(l, start, i, end, stride)
		done := min(height, end-first)
		copy(units[:done], unit[first:])
		row, at, apartOut := &rows[first*stride], &out[first*outStride+low], outStride
		if apart == 0 {
			units[1], apartOut = units[0], 0 // the same scores once more
		}
		switch {
		case height == 2:
			scores2I8KernelAVX2(row, apart, dim, panels, halves, weight, bias, npanels, &units[0], at, apartOut, &lanes[0])
		case l == AVX512:
			scores6I8KernelAVX512(row, apart, dim, panels, sums, weight, bias, npanels, &units[0], at, apartOut, &lanes[0])
		default:
			scores6I8KernelVNNI(row, apart, dim, panels, sums, weight, bias, npanels, &units[0], at, apartOut, &lanes[0])
		}
		for j, top := range lanes[:done*TopLanes] {
			tops[first*TopLanes+j] = max(tops[first*TopLanes+j], top)
		}
		i = first + done
	}
}

func scanPQ4SIMD(l Level, codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, ahead []byte, out []uint32) int {
	if count == 0 || m == 0 {
		return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
	}
	next := &codes[0] // requested again it costs next to nothing
	if len(ahead) > 0 {
		next = &ahead[0]
	}
	if l == AVX2 {
		return scanPQ4KernelAVX2(&codes[0], blockStride, m, &lut[0], count, threshold, next, &out[0])
	}
	return scanPQ4KernelAVX512(&codes[0], blockStride, m, &lut[0], count, threshold, next, &out[0])
}

func aboveSIMD(l Level, dots []int32, weight []float32, threshold float32, out []uint32) int {
	found, whole := 0, len(dots)&^15
	for start := 0; start < whole; {
		n, some := min(callElements, whole-start), 0
		if l == AVX2 {
			some = aboveKernelAVX2(&dots[start], &weight[start], n, threshold, &out[found])
		} else {
			some = aboveKernelAVX512(&dots[start], &weight[start], n, threshold, &out[found])
		}
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

func aboveFloatsSIMD(l Level, scores []float32, threshold float32, out []uint32) int {
	found, whole := 0, len(scores)&^15
	for start := 0; start < whole; {
		n, some := min(callElements, whole-start), 0
		if l == AVX2 {
			some = aboveFloatsKernelAVX2(&scores[start], n, threshold, &out[found])
		} else {
			some = aboveFloatsKernelAVX512(&scores[start], n, threshold, &out[found])
		}
		for i := range out[found : found+some] {
			out[found+i] += uint32(start)
		}
		found, start = found+some, start+n
	}
	for i := whole; i < len(scores); i++ {
		if scores[i] >= threshold {
			out[found] = uint32(i)
			found++
		}
	}
	return found
}

func kthSIMD(values *[TopLanes]float32, k int) float32 { return kthKernelAVX2(&values[0], k) }

func quantizeI8SIMD(dst []int8, src []float32, inv float32) {
	for len(src) >= 32 {
		n := min(len(src), callElements) &^ 31
		quantizeI8KernelAVX2(&dst[0], &src[0], n, inv)
		dst, src = dst[n:], src[n:]
	}
	quantizeI8Generic(dst, src, inv)
}

func widenI8SIMD(dst []int16, src []int8) {
	for len(src) >= 16 {
		n := min(len(src), callElements) &^ 15
		widenI8KernelAVX2(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	widenI8Generic(dst, src)
}

func offsetI8SIMD(dst []uint8, src []int8) {
	for len(src) >= 32 {
		n := min(len(src), callElements) &^ 31
		offsetI8KernelAVX2(&dst[0], &src[0], n, QueryOffset)
		dst, src = dst[n:], src[n:]
	}
	offsetI8Generic(dst, src)
}

func maxAbsSIMD(v []float32) float32 {
	top, whole := float32(0), len(v)&^7
	for start := 0; start < whole; start += callElements {
		n := min(callElements, whole-start)
		top = max(top, maxAbsKernelAVX2(&v[start], n))
	}
	return max(top, maxAbsGeneric(v[whole:]))
}

func scaleSIMD(dst, src []float32, factor float32) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		scaleKernelAVX2(&dst[0], &src[0], n, factor)
		dst, src = dst[n:], src[n:]
	}
	scaleGeneric(dst, src, factor)
}

func subSIMD(dst, a, b []float32) {
	for len(a) >= 8 {
		n := min(len(a), callElements/2) &^ 7
		subKernelAVX2(&dst[0], &a[0], &b[0], n)
		dst, a, b = dst[n:], a[n:], b[n:]
	}
	subGeneric(dst, a, b)
}

func subtractMinsSIMD(rows, mins []float32) float32 {
	var widest float32
	for len(mins) > 0 {
		n := min(len(mins), callElements/16)
		widest = max(widest, subtractMinsKernelAVX2(&rows[0], &mins[0], n))
		rows, mins = rows[16*n:], mins[n:]
	}
	return widest
}

func quantizeU8SIMD(dst []uint8, src []float32, inv float32) {
	for len(src) >= 32 {
		n := min(len(src), callElements) &^ 31
		quantizeU8KernelAVX2(&dst[0], &src[0], n, inv)
		dst, src = dst[n:], src[n:]
	}
	quantizeU8Generic(dst, src, inv)
}

func dotRowsKernel(l Level, q *float32, dim int, rows *float32, stride int, out *float32, n int) {
	if l == AVX2 {
		dotRowsKernelAVX2(q, dim, rows, stride, out, n)
	} else {
		dotRowsKernelAVX512(q, dim, rows, stride, out, n)
	}
}

func dotI8Kernel(l Level, q *int16, dim int, rows *int8, stride int, out *int32, n int) {
	switch l {
	case AVX2:
		dotI8KernelAVX2(q, dim, rows, stride, out, n)
	case AVX512:
		dotI8KernelAVX512(q, dim, rows, stride, out, n)
	default:
		dotI8KernelVNNI(q, dim, rows, stride, out, n)
	}
}

func dotI8AtKernel(l Level, q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int) {
	switch l {
	case AVX2:
		dotI8AtKernelAVX2(q, dim, rows, stride, at, out, n)
	case AVX512:
		dotI8AtKernelAVX512(q, dim, rows, stride, at, out, n)
	default:
		dotI8AtKernelVNNI(q, dim, rows, stride, at, out, n)
	}
}

func halfToFloatKernel(dst *float32, src *uint16, n int) { halfToFloatKernelAVX2(dst, src, n) }

func floatToHalfKernel(dst *uint16, src *float32, n int) { floatToHalfKernelAVX2(dst, src, n) }

func pickAlongSIMD(l Level, near, along, weight, part, off []float32, best []uint8) {
	for start := 0; start < len(best); {
		n := rowsPerCall(len(best)-start, 2*PanelWidth)
		row := PanelWidth * start
		if l == AVX2 {
			pickAlongKernelAVX2(&near[row], &along[row], &weight[start], &part[start], &off[start], n, &best[start])
		} else {
			pickAlongKernelAVX512(&near[row], &along[row], &weight[start], &part[start], &off[start], n, &best[start])
		}
		start += n
	}
}
