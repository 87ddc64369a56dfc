//go:build amd64 || arm64

package avx

import "math"

// callElements bounds the elements that one call of a kernel reads. Assembly cannot be
// preempted, so a garbage collection waits for it: 2^17 floats come from memory in some 50 µs.
const callElements = 1 << 17

// One call of an assign kernel goes over groupBytes of centroids, and bandRows rows pass a group before the next one: the group stays in the L2 cache
// of 512 KiB or more beside the rows of the band, instead of coming from L3 for each tile.
const (
	bandRows   = 96 // whole tiles of each height
	groupBytes = 256 << 10

	// Of ScoresI4 some queries share nearBytes of centroids in the first-level cache.
	nearBytes   = 24 << 10
	nearQueries = 16
)

// minDotI8 is the shortest row that the int8 kernels of AVX2 and NEON take: one vector.
const minDotI8 = 16

// rowsPerCall returns how many of n rows of dim elements one call takes.
func rowsPerCall(n, dim int) int {
	return min(n, max(4, callElements/dim&^3)) // kernels take rows by four
}

// groupWidth returns the number of centroids, whole panels and an even number of them if more
// than one fits, that one call goes over.
func (p *Panels) groupWidth() int {
	panels := groupBytes / (p.dim * PanelWidth * 4)
	if panels > 1 {
		panels &^= 1
	}
	return max(1, panels) * PanelWidth
}

func dotRowsSIMD(l Level, q, rows []float32, stride int, out []float32) {
	if len(q) == 0 {
		clear(out)
		return
	}
	for len(out) > 0 {
		n := rowsPerCall(len(out), len(q))
		dotRowsKernel(l, &q[0], len(q), &rows[0], stride, &out[0], n)
		if out = out[n:]; len(out) > 0 {
			rows = rows[n*stride:]
		}
	}
}

func assignSIMD(l Level, p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
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
			assignGroup(l, p, j, min(j+group, len(p.bias)), rows, start, end, stride, best, score)
		}
	}
}

func scoresSIMD(l Level, p *Panels, row, out []float32) {
	if p.dim == 0 {
		scoresGeneric(p, row, out)
		return
	}
	group := p.groupWidth()
	whole := p.n / PanelWidth * PanelWidth
	for j := 0; j < whole; j += group {
		scoresTile(l, p, j, min(j+group, whole), &row[0], 1, 0, &out[j], 0)
	}
	if whole < p.n {
		var last [PanelWidth]float32
		scoresTile(l, p, whole, len(p.bias), &row[0], 1, 0, &last[0], 0)
		copy(out[whole:], last[:])
	}
}

func scoresRowsSIMD(l Level, p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	if p.dim == 0 {
		scoresRowsGeneric(p, rows, n, stride, out, outStride)
		return
	}
	group := p.groupWidth()
	for start := 0; start < n; start += bandRows {
		end := min(start+bandRows, n)
		for j := 0; j < len(p.bias); j += group {
			scoresGroup(l, p, j, min(j+group, len(p.bias)), rows, start, end, stride, out, outStride)
		}
	}
}

// scoresGroup writes the scores of rows [start, end) and centroids [low, high). Those of a panel
// with padding, which does not belong to out, take the way over a tile of its own.
func scoresGroup(l Level, p *Panels, low, high int, rows []float32, start, end, stride int, out []float32, outStride int) {
	var last [maxTileRows * PanelWidth]float32
	whole := min(high, p.n/PanelWidth*PanelWidth)
	for i := start; i < end; {
		first, height := nextTile(l, start, i, end)
		if low < whole {
			scoresTile(l, p, low, whole, &rows[first*stride], height, stride, &out[first*outStride+low], outStride)
		}
		if whole < high {
			scoresTile(l, p, whole, high, &rows[first*stride], height, stride, &last[0], PanelWidth)
			for r := range height {
				copy(out[(first+r)*outStride+whole:][:p.n-whole], last[r*PanelWidth:])
			}
		}
		i = first + height
	}
}

func scoresI4SIMD(l Level, p *PanelsI4, q []int8, n int, out []int32) {
	if p.dim == 0 {
		clear(out)
		return
	}
	for first := 0; first < n; first += nearQueries {
		some := min(nearQueries, n-first)
		scoresI4Near(l, p, q[first*p.dim:], some, out[first*p.n:])
	}
}

// scoresI4Near scores up to nearQueries queries.
func scoresI4Near(l Level, p *PanelsI4, q []int8, n int, out []int32) {
	var starts [nearQueries]int32
	for i := range n {
		starts[i] = startI4(q[i*p.dim:][:p.dim])
	}
	size := p.dim / 2 * panelI4Width // bytes of a panel
	most := max(1, callElements/size)
	if n > 1 {
		most = max(1, nearBytes/size)
	}
	panels := (p.n + panelI4Width - 1) / panelI4Width
	for panel := 0; panel < panels; panel += most {
		end := min(panel+most, panels)
		for i := range n {
			query, dots := &q[i*p.dim], out[i*p.n:][:p.n]
			whole := min(end, p.n/panelI4Width)
			if panel < whole {
				scoresI4Kernel(l, query, p.dim, &p.nibbles[panel*size], starts[i], whole-panel, &dots[panel*panelI4Width])
			}
			if whole < end { // the last panel has padding, which does not belong to out
				var last [panelI4Width]int32
				scoresI4Kernel(l, query, p.dim, &p.nibbles[whole*size], starts[i], 1, &last[0])
				copy(dots[whole*panelI4Width:], last[:])
			}
		}
	}
}

func assignI8SIMD(l Level, p *WeightedI8, rows []uint8, stride int, unit []float32, best []int32, score []float32) {
	if p.panels.n == 0 || p.panels.dim == 0 {
		assignI8Generic(p, rows, stride, unit, best, score)
		return
	}
	for i := range best {
		best[i], score[i] = 0, float32(math.Inf(-1))
	}
	group := max(1, groupBytes/(p.panels.dim*panelI8Width)) * panelI8Width
	for start := 0; start < len(best); start += bandRows {
		end := min(start+bandRows, len(best))
		for j := 0; j < len(p.bias); j += group {
			assignGroupI8(l, p, j, min(j+group, len(p.bias)), rows, start, end, stride, unit, best, score)
		}
	}
}

func scoresRowsI8SIMD(l Level, p *WeightedI8, rows []uint8, n, stride int, unit, out []float32, outStride int, tops []float32) {
	if p.panels.n == 0 || p.panels.dim == 0 {
		scoresRowsI8Generic(p, rows, n, stride, unit, out, outStride, tops)
		return
	}
	for i := range tops {
		tops[i] = float32(math.Inf(-1))
	}
	group := max(1, groupBytes/(p.panels.dim*panelI8Width)) * panelI8Width
	for start := 0; start < n; start += bandRows {
		end := min(start+bandRows, n)
		for j := 0; j < len(p.bias); j += group {
			scoresGroupI8(l, p, j, min(j+group, len(p.bias)), rows, start, end, stride, unit, out, outStride, tops)
		}
	}
}

func dotI8SIMD(l Level, q []int16, rows []int8, stride int, out []int32) {
	if len(q) < minDotI8 {
		dotI8Generic(q, rows, stride, out)
		return
	}
	for len(out) > 0 {
		n := rowsPerCall(len(out), len(q))
		dotI8Kernel(l, &q[0], len(q), &rows[0], stride, &out[0], n)
		if out = out[n:]; len(out) > 0 {
			rows = rows[n*stride:]
		}
	}
}

func dotI8AtSIMD(l Level, q []int16, rows []int8, stride int, at []uint32, out []int32) {
	if len(q) < minDotI8 {
		dotI8AtGeneric(q, rows, stride, at, out)
		return
	}
	for len(at) > 0 {
		n := rowsPerCall(len(at), len(q))
		dotI8AtKernel(l, &q[0], len(q), &rows[0], stride, &at[0], &out[0], n)
		at, out = at[n:], out[n:]
	}
}

func halfToFloatSIMD(dst []float32, src []uint16) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		halfToFloatKernel(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	halfToFloatGeneric(dst, src)
}

func floatToHalfSIMD(dst []uint16, src []float32) {
	for len(src) >= 8 {
		n := min(len(src), callElements) &^ 7
		floatToHalfKernel(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	floatToHalfGeneric(dst, src)
}
