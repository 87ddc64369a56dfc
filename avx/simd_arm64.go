package avx

// What surrounds the kernels of NEON: they are called with at least one element, in pieces that end soon, and what does not fill a vector is
// left to Go. What a query or a row does once, Kth, QuantizeI8, WidenI8, OffsetI8, MaxAbs, Scale, Sub, SubtractMins and QuantizeU8, has none.

// Tiles of assign are four rows high, or one; those of AssignI8 two.
const (
	maxTileRows = 4
	tileRowsI8  = 2
)

func dotSIMD(_ Level, a, b []float32) (dot float32) {
	if len(a) > 0 {
		dotRowsKernelNEON(&a[0], len(a), &b[0], 0, &dot, 1)
	}
	return dot
}

// assignGroup improves the best of rows [start, end) by the centroids [low, high).
func assignGroup(l Level, p *Panels, low, high int, rows []float32, start, end, stride int, best []int32, score []float32) {
	var scores [maxTileRows * PanelWidth]float32
	for i := start; i < end; {
		first, height := nextTile(l, start, i, end)
		for j := low; j < high; j += PanelWidth {
			scoresTile(l, p, j, j+PanelWidth, &rows[first*stride], height, stride, &scores[0], PanelWidth)
			for r := range height {
				for k, s := range scores[r*PanelWidth:][:PanelWidth] {
					if s > score[first+r] {
						best[first+r], score[first+r] = int32(j+k), s
					}
				}
			}
		}
		i = first + height
	}
}

// nextTile returns the first row and the height of the tile that begins at row i of [start, end). Where the rows that are left do not
// fill it, it goes back over some that are done: a row has the same scores in whatever tile.
func nextTile(_ Level, start, i, end int) (first, height int) {
	if end-start < maxTileRows {
		return i, 1
	}
	return min(i, end-maxTileRows), maxTileRows
}

// scoresTile writes the scores of a tile of rows and the centroids [low, high).
func scoresTile(_ Level, p *Panels, low, high int, row *float32, height, stride int, out *float32, outStride int) {
	panels, bias, npanels := &p.centroids[low*p.dim], &p.bias[low], (high-low)/PanelWidth
	if height == maxTileRows {
		scores4KernelNEON(row, stride, panels, bias, p.dim, npanels, out, outStride)
	} else {
		scores1KernelNEON(row, panels, bias, p.dim, npanels, out)
	}
}

// nextTileI8 returns the first row of the two that begin at row i of [start, end), and how far they are apart. The last row of an odd
// number is taken with the one before it; a single row is there twice.
func nextTileI8(start, i, end, stride int) (first, apart int) {
	if end-start < tileRowsI8 {
		return i, 0
	}
	return min(i, end-tileRowsI8), stride
}

// assignGroupI8 improves the best of rows [start, end) by the centroids [low, high).
func assignGroupI8(_ Level, p *WeightedI8, low, high int, rows []uint8, start, end, stride int, unit []float32, best []int32, score []float32) {
	const lanes = 4
	panels, weight, bias, npanels, dim := &p.panels.centroids[low*p.panels.dim], &p.weight[low], &p.bias[low], (high-low)/panelI8Width, p.panels.dim
	var units [tileRowsI8]float32
	var tops [tileRowsI8 * lanes]float32
	var ids [tileRowsI8 * lanes]int32
	for i := start; i < end; {
		first, apart := nextTileI8(start, i, end, stride)
		done := min(tileRowsI8, end-first)
		copy(units[:done], unit[first:])
		assign2I8KernelNEON(&rows[first*stride], apart, dim, panels, weight, bias, npanels, &units[0], &tops[0], &ids[0])
		for r := range done {
			top, id := score[first+r], best[first+r]
			for lane := r * lanes; lane < (r+1)*lanes; lane++ {
				if at := int32(low) + ids[lane]; tops[lane] > top || tops[lane] == top && at < id {
					top, id = tops[lane], at
				}
			}
			best[first+r], score[first+r] = id, top
		}
		i = first + done
	}
}

// scoresGroupI8 writes the scores of rows [start, end) and centroids [low, high), and improves tops.
func scoresGroupI8(_ Level, p *WeightedI8, low, high int, rows []uint8, start, end, stride int, unit, out []float32, outStride int, tops []float32) {
	panels, weight, bias, npanels, dim := &p.panels.centroids[low*p.panels.dim], &p.weight[low], &p.bias[low], (high-low)/panelI8Width, p.panels.dim
	for i := start; i < end; {
		first, apart := nextTileI8(start, i, end, stride)
		if apart == 0 { // once more the same, which belongs to nobody
			units := [tileRowsI8]float32{unit[first], unit[first]}
			var lanes [tileRowsI8 * TopLanes]float32
			copy(lanes[:], tops[first*TopLanes:][:TopLanes])
			copy(lanes[TopLanes:], tops[first*TopLanes:][:TopLanes])
			scores2I8KernelNEON(&rows[first*stride], 0, dim, panels, weight, bias, npanels, &units[0], &out[first*outStride+low], 0, &lanes[0])
			copy(tops[first*TopLanes:], lanes[:TopLanes])
			return
		}
		scores2I8KernelNEON(&rows[first*stride], stride, dim, panels, weight, bias, npanels, &unit[first], &out[first*outStride+low], outStride, &tops[first*TopLanes])
		i = first + tileRowsI8
	}
}

func scanPQ4SIMD(_ Level, codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, ahead []byte, out []uint32) int {
	if count == 0 || m == 0 {
		return scanPQ4Generic(codes, blockStride, m, lut, count, threshold, out)
	}
	next := &codes[0] // requested again it costs next to nothing
	if len(ahead) > 0 {
		next = &ahead[0]
	}
	return scanPQ4KernelNEON(&codes[0], blockStride, m, &lut[0], count, threshold, next, &out[0])
}

// aboveWidth is how many values the kernels of Above look at together. Those that reach a threshold are few.
const aboveWidth = 16

func aboveSIMD(_ Level, dots []int32, weight []float32, threshold float32, out []uint32) int {
	return above(len(dots), out, func(start, n int) int { return aboveKernelNEON(&dots[start], &weight[start], n, threshold) },
		func(start, end int, out []uint32) int {
			return aboveGeneric(dots[start:end], weight[start:], threshold, out)
		})
}

func aboveFloatsSIMD(_ Level, scores []float32, threshold float32, out []uint32) int {
	return above(len(scores), out, func(start, n int) int { return aboveFloatsKernelNEON(&scores[start], n, threshold) },
		func(start, end int, out []uint32) int { return aboveFloatsGeneric(scores[start:end], threshold, out) })
}

// above goes from one piece of n values that has some to the next: skip says how many of n from start on have none, take writes those of a piece.
func above(n int, out []uint32, skip func(start, n int) int, take func(start, end int, out []uint32) int) int {
	found, whole := 0, n&^(aboveWidth-1)
	for start := 0; start < n; {
		if start < whole {
			most := min(callElements, whole-start)
			none := skip(start, most)
			if start += none; none == most {
				continue
			}
		}
		end := min(start+aboveWidth, n)
		some := take(start, end, out[found:])
		for i := range out[found : found+some] {
			out[found+i] += uint32(start)
		}
		found, start = found+some, end
	}
	return found
}

func kthSIMD(values *[TopLanes]float32, k int) float32 { return kthGeneric(values, k) }

func quantizeI8SIMD(dst []int8, src []float32, inv float32) { quantizeI8Generic(dst, src, inv) }

func widenI8SIMD(dst []int16, src []int8) { widenI8Generic(dst, src) }

func offsetI8SIMD(dst []uint8, src []int8) { offsetI8Generic(dst, src) }

func maxAbsSIMD(v []float32) float32 { return maxAbsGeneric(v) }

func scaleSIMD(dst, src []float32, factor float32) { scaleGeneric(dst, src, factor) }

func subSIMD(dst, a, b []float32) { subGeneric(dst, a, b) }

func subtractMinsSIMD(rows, mins []float32) float32 { return subtractMinsGeneric(rows, mins) }

func quantizeU8SIMD(dst []uint8, src []float32, inv float32) { quantizeU8Generic(dst, src, inv) }

func dotRowsKernel(_ Level, q *float32, dim int, rows *float32, stride int, out *float32, n int) {
	dotRowsKernelNEON(q, dim, rows, stride, out, n)
}

func scoresI4Kernel(_ Level, q *int8, dim int, panels *uint8, start int32, npanels int, out *int32) {
	scoresI4KernelNEON(q, dim, panels, start, npanels, out)
}

func dotI8Kernel(_ Level, q *int16, dim int, rows *int8, stride int, out *int32, n int) {
	dotI8KernelNEON(q, dim, rows, stride, out, n)
}

func dotI8AtKernel(_ Level, q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int) {
	dotI8AtKernelNEON(q, dim, rows, stride, at, out, n)
}

func halfToFloatKernel(dst *float32, src *uint16, n int) { halfToFloatKernelNEON(dst, src, n) }

func floatToHalfKernel(dst *uint16, src *float32, n int) { floatToHalfKernelNEON(dst, src, n) }

func pickAlongSIMD(_ Level, near, along, weight, part, off []float32, best []uint8) {
	pickAlongGeneric(near, along, weight, part, off, best)
}
