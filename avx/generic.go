package avx

import "math"

// The kernels in plain Go. They are the oracle that every other level is tested against and
// what runs on CPUs without kernels of their own, so they are written to keep several
// independent chains in flight. Slice bounds have been checked by the exported functions.

func dotGeneric(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 {
		x, y := (*[8]float32)(a), (*[8]float32)(b)
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		s4 += x[4] * y[4]
		s5 += x[5] * y[5]
		s6 += x[6] * y[6]
		s7 += x[7] * y[7]
		a, b = a[8:], b[8:]
	}
	for i, x := range a {
		s0 += x * b[i]
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
}

func dotRowsGeneric(q, rows []float32, stride int, out []float32) {
	for i := range out {
		out[i] = dotGeneric(q, rows[i*stride:][:len(q)])
	}
}

// scorePanelGeneric writes the 16 scores of one panel. Each lane starts at its bias and adds
// its products in the order of dimensions, as every level does, so a score differs between
// levels by the rounding of products alone.
func scorePanelGeneric(panel, bias, row []float32, out *[PanelWidth]float32) {
	for half := 0; half < PanelWidth; half += 8 {
		b := (*[8]float32)(bias[half:])
		s0, s1, s2, s3, s4, s5, s6, s7 := b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
		for k, x := range row {
			y := (*[8]float32)(panel[k*PanelWidth+half:])
			s0 += x * y[0]
			s1 += x * y[1]
			s2 += x * y[2]
			s3 += x * y[3]
			s4 += x * y[4]
			s5 += x * y[5]
			s6 += x * y[6]
			s7 += x * y[7]
		}
		*(*[8]float32)(out[half:]) = [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	}
}

func assignGeneric(p *Panels, rows []float32, n, stride int, best []int32, score []float32) {
	var scores [PanelWidth]float32
	for i := range n {
		row := rows[i*stride:][:p.dim]
		top, at := float32(math.Inf(-1)), 0
		for j := 0; j < len(p.bias); j += PanelWidth {
			scorePanelGeneric(p.centroids[j*p.dim:], p.bias[j:], row, &scores)
			for k, s := range scores {
				if s > top {
					top, at = s, j+k
				}
			}
		}
		best[i], score[i] = int32(at), top
	}
}

func scoresGeneric(p *Panels, row, out []float32) {
	var scores [PanelWidth]float32
	for j := 0; j < len(p.bias); j += PanelWidth {
		scorePanelGeneric(p.centroids[j*p.dim:], p.bias[j:], row, &scores)
		copy(out[j:p.n], scores[:])
	}
}

func scoresRowsGeneric(p *Panels, rows []float32, n, stride int, out []float32, outStride int) {
	for i := range n {
		scoresGeneric(p, rows[i*stride:][:p.dim], out[i*outStride:][:p.n])
	}
}

func scoresI4Generic(p *PanelsI4, q []int8, n int, out []int32) {
	for i := range n {
		query, dots := q[i*p.dim:][:p.dim], out[i*p.n:][:p.n]
		start := startI4(query)
		for j := 0; j < len(dots); j += panelI4Width {
			var sums [panelI4Width]int32
			panel := p.nibbles[j*p.dim/2:]
			for d := 0; d < len(query); d += 8 {
				x := (*[8]int8)(query[d:])
				q0, q1, q2, q3 := int32(x[0]), int32(x[1]), int32(x[2]), int32(x[3])
				q4, q5, q6, q7 := int32(x[4]), int32(x[5]), int32(x[6]), int32(x[7])
				eight := (*[4 * panelI4Width]uint8)(panel[d/2*panelI4Width:])
				for k := range sums {
					b := (*[4]uint8)(eight[4*k:])
					sums[k] += q0*int32(b[0]&15) + q1*int32(b[1]&15) + q2*int32(b[2]&15) + q3*int32(b[3]&15) +
						q4*int32(b[0]>>4) + q5*int32(b[1]>>4) + q6*int32(b[2]>>4) + q7*int32(b[3]>>4)
				}
			}
			for k := range min(panelI4Width, len(dots)-j) {
				dots[j+k] = start + sums[k]
			}
		}
	}
}

// startI4 takes off what the offset of nibbles adds to an inner product with a query.
func startI4(query []int8) int32 {
	sum := int32(0)
	for _, x := range query {
		sum -= 8 * int32(x)
	}
	return sum
}

func dotsI8Generic(p *panelsI8, q []uint8, out []int32) {
	for j := range out {
		panel := p.centroids[j/panelI8Width*len(q)*panelI8Width:]
		sum := p.sums[j]
		for d := 0; d < len(q); d += 4 {
			c := (*[4]int8)(panel[(d/4*panelI8Width+j%panelI8Width)*4:])
			sum += int32(q[d])*int32(c[0]) + int32(q[d+1])*int32(c[1]) + int32(q[d+2])*int32(c[2]) + int32(q[d+3])*int32(c[3])
		}
		out[j] = sum
	}
}

func assignI8Generic(p *WeightedI8, rows []uint8, stride int, unit []float32, best []int32, score []float32) {
	var scores [panelI8Width]float32
	for i := range best {
		best[i], score[i] = 0, float32(math.Inf(-1))
		for j := 0; j < len(p.bias); j += panelI8Width {
			scoreWeightedGeneric(p, j, rows[i*stride:][:p.panels.dim], unit[i], &scores)
			for k, s := range scores {
				if s > score[i] {
					best[i], score[i] = int32(j+k), s
				}
			}
		}
	}
}

func scoresRowsI8Generic(p *WeightedI8, rows []uint8, n, stride int, unit, out []float32, outStride int, tops []float32) {
	var scores [panelI8Width]float32
	for i := range tops {
		tops[i] = float32(math.Inf(-1))
	}
	for i := range n {
		for j := 0; j < len(p.bias); j += panelI8Width {
			scoreWeightedGeneric(p, j, rows[i*stride:][:p.panels.dim], unit[i], &scores)
			copy(out[i*outStride+j:], scores[:])
			for k, s := range scores {
				tops[i*TopLanes+k] = max(tops[i*TopLanes+k], s)
			}
		}
	}
}

// scoreWeightedGeneric scores the panel of centroid j. Conversions keep compilers from rounding a product and a sum at once.
func scoreWeightedGeneric(p *WeightedI8, j int, row []uint8, unit float32, scores *[panelI8Width]float32) {
	var dots [panelI8Width]int32
	panel := panelsI8{centroids: p.panels.centroids[j*p.panels.dim:], sums: p.panels.sums[j:]}
	dotsI8Generic(&panel, row, dots[:])
	for k, dot := range dots {
		scores[k] = float32(float32(dot)*p.weight[j+k]) + float32(unit*p.bias[j+k])
	}
}

func scanPQ4Generic(codes []byte, blockStride, m int, lut []byte, count int, threshold uint16, out []uint32) int {
	found := 0
	var sums [BlockRows]uint32
	for first := 0; first < count; first += BlockRows {
		block := codes[first/BlockRows*blockStride:]
		for i := 0; i < 16; i += 4 {
			var a0, a1, a2, a3, b0, b1, b2, b3 uint32
			for s := range m {
				c := (*[4]byte)(block[16*s+i:])
				table := (*[16]byte)(lut[16*s:])
				a0 += uint32(table[c[0]&15])
				a1 += uint32(table[c[1]&15])
				a2 += uint32(table[c[2]&15])
				a3 += uint32(table[c[3]&15])
				b0 += uint32(table[c[0]>>4])
				b1 += uint32(table[c[1]>>4])
				b2 += uint32(table[c[2]>>4])
				b3 += uint32(table[c[3]>>4])
			}
			*(*[4]uint32)(sums[i:]) = [4]uint32{a0, a1, a2, a3}
			*(*[4]uint32)(sums[16+i:]) = [4]uint32{b0, b1, b2, b3}
		}
		for i, sum := range sums[:min(BlockRows, count-first)] {
			if sum >= uint32(threshold) {
				out[found] = sum<<16 | uint32(first+i)
				found++
			}
		}
	}
	return found
}

func dotI8RowGeneric(q []int16, row []int8) int32 {
	row = row[:len(q)]
	var s0, s1, s2, s3 int32
	for len(q) >= 8 {
		x, y := (*[8]int16)(q), (*[8]int8)(row)
		s0 += int32(x[0])*int32(y[0]) + int32(x[4])*int32(y[4])
		s1 += int32(x[1])*int32(y[1]) + int32(x[5])*int32(y[5])
		s2 += int32(x[2])*int32(y[2]) + int32(x[6])*int32(y[6])
		s3 += int32(x[3])*int32(y[3]) + int32(x[7])*int32(y[7])
		q, row = q[8:], row[8:]
	}
	for i, x := range q {
		s0 += int32(x) * int32(row[i])
	}
	return s0 + s1 + s2 + s3
}

func dotI8Generic(q []int16, rows []int8, stride int, out []int32) {
	for i := range out {
		out[i] = dotI8RowGeneric(q, rows[i*stride:])
	}
}

func dotI8AtGeneric(q []int16, rows []int8, stride int, at []uint32, out []int32) {
	for i, r := range at {
		out[i] = dotI8RowGeneric(q, rows[int(r)*stride:])
	}
}

func aboveGeneric(dots []int32, weight []float32, threshold float32, out []uint32) int {
	found := 0
	for i, d := range dots {
		if float32(d)*weight[i] >= threshold {
			out[found] = uint32(i)
			found++
		}
	}
	return found
}

func aboveFloatsGeneric(scores []float32, threshold float32, out []uint32) int {
	found := 0
	for i, s := range scores {
		if s >= threshold {
			out[found] = uint32(i)
			found++
		}
	}
	return found
}

func halfToFloatGeneric(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = halfToFloat(h)
	}
}

func floatToHalfGeneric(dst []uint16, src []float32) {
	for i, f := range src {
		dst[i] = floatToHalf(f)
	}
}

// halfToFloat widens an IEEE 754 binary16: exact, but a signalling NaN becomes quiet.
func halfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch {
	case exponent == 0x1f && fraction != 0:
		return math.Float32frombits(sign | 0x7fc00000 | fraction<<13)
	case exponent == 0x1f:
		return math.Float32frombits(sign | 0x7f800000)
	case exponent == 0: // zero or subnormal: fraction * 2^-24, exact in float32
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	default:
		return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
	}
}

// floatToHalf narrows to IEEE 754 binary16, rounding to nearest, ties to even. A NaN becomes
// quiet and keeps the sign and the upper nine bits of its payload, as VCVTPS2PH does.
func floatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, abs := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case abs > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(abs>>13&0x3ff)
	case abs >= 0x477ff000: // 65520, halfway between the largest half and 2^16: infinity
		return sign | 0x7c00
	case abs < 0x38800000: // below 2^-14: zero or subnormal
		// Adding 0.5 leaves units of 2^-24 in the last place: the adder rounds for us.
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-math.Float32bits(0.5))
	default:
		odd := abs >> 13 & 1 // round to even: add just under a half, or a half if odd
		return sign | uint16((abs-(127-15)<<23+0xfff+odd)>>13)
	}
}

func kthGeneric(values *[TopLanes]float32, k int) float32 {
	least := float32(math.Inf(1))
	for _, v := range values {
		larger := 0
		for _, x := range values {
			if x > v {
				larger++
			}
		}
		if larger < k {
			least = min(least, v)
		}
	}
	return least
}

func quantizeI8Generic(dst []int8, src []float32, inv float32) {
	for i, v := range src {
		x := min(max(v*inv, -127), 127) // min and max pass NaN on
		if x != x {
			x = 0
		}
		dst[i] = int8(math.RoundToEven(float64(x)))
	}
}

func widenI8Generic(dst []int16, src []int8) {
	for i, v := range src {
		dst[i] = int16(v)
	}
}

func offsetI8Generic(dst []uint8, src []int8) {
	for i, v := range src {
		dst[i] = uint8(v) + QueryOffset
	}
}

func maxAbsGeneric(v []float32) float32 {
	var top uint32
	for _, x := range v {
		if a := math.Float32bits(x) &^ (1 << 31); a <= infinity { // magnitudes compare like their bits
			top = max(top, a)
		}
	}
	return math.Float32frombits(top)
}

// infinity is the bits of it; those of NaN are larger.
const infinity = 0x7f800000

func scaleGeneric(dst, src []float32, factor float32) {
	for i, v := range src {
		dst[i] = v * factor
	}
}

func subGeneric(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v - b[i]
	}
}

func subtractMinsGeneric(rows, mins []float32) float32 {
	var widest float32
	for i := range mins {
		row := (*[16]float32)(rows[16*i:])
		low := row[0]
		for _, v := range row[1:] {
			low = min(low, v)
		}
		for j := range row {
			row[j] -= low
			widest = max(widest, row[j])
		}
		mins[i] = low
	}
	return widest
}

func quantizeU8Generic(dst []uint8, src []float32, inv float32) {
	for i, v := range src {
		dst[i] = uint8(min(float32(v*inv)+0.5, 255)) // the conversion keeps the product from being fused with the sum
	}
}

// pickAlongGeneric converts each product to float32, so that none is fused with what it is subtracted from.
func pickAlongGeneric(near, along, weight, part, off []float32, best []uint8) {
	for i := range best {
		all, top, at := off[i]+part[i], float32(math.Inf(-1)), 0
		for j, a := range along[16*i:][:16] {
			d := all - a
			if s := near[16*i+j] - float32(weight[i]*float32(d*d)); s > top {
				top, at = s, j
			}
		}
		best[i], part[i] = uint8(at), along[16*i+at]
		off[i] = all - part[i]
	}
}
