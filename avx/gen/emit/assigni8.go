package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels of assignI8 multiply as those of scoresI8 do, rows being what is broadcast, and keep the best of each lane as
// those of assign do. Weights and biases come in where a sum becomes a float: it is multiplied, and then the row's unit times
// the bias is added, each of the three rounded, as in plain Go.
const (
	assignI8Signature     = "func(rows *uint8, stride, dim int, panels *int8, sums *int32, weight, bias *float32, npanels int, unit, score *float32, best *int32)"
	scoresRowsI8Signature = "func(rows *uint8, stride, dim int, panels *int8, sums *int32, weight, bias *float32, npanels int, unit, out *float32, outStride int, tops *float32)"
)

// tileI8 is what both widths of vectors share.
type tileI8 struct {
	rows, stride, dim, panel   GPVirtual
	sums, weight, bias, number GPVirtual
	unit                       GPVirtual
}

func newTileI8() tileI8 {
	return tileI8{rows: loadGP("rows"), stride: loadGP("stride"), dim: loadGP("dim"), panel: loadGP("panels"), sums: loadGP("sums"),
		weight: loadGP("weight"), bias: loadGP("bias"), number: loadGP("npanels"), unit: loadGP("unit")}
}

// next goes on to the next panel, from the end of one.
func (t tileI8) next(label string) {
	for _, p := range []GPVirtual{t.sums, t.weight, t.bias} {
		ADDQ(U32(4*panelI8Width), p)
	}
	DECQ(t.number)
	JNZ(LabelRef(label))
}

// panelI8Width is the number of centroids in a panel.
const panelI8Width = 32

// tileRowsI8 is the height of assign6I8: 6 rows x 32 centroids take 12 accumulators, enough chains to hide the latency of
// VPDPBUSD, and all that is kept between panels has room in the other registers.
const tileRowsI8 = 6

// assign6I8 goes over six rows at a time.
func assign6I8(c constants, vnni bool) {
	name := at512("assign6I8Kernel", vnni)
	kernel(name, assignI8Signature,
		name+" finds the best of 32*npanels centroids for six rows, stride bytes apart, of which unit, score and best",
		"have six values; dim is a positive multiple of 4, npanels at least 1. A row that none scores above -Inf gets",
		"best 0, score -Inf.")
	t := newTileI8()
	top, id := zmms(tileRowsI8), zmms(tileRowsI8)
	next, one := ZMM(), ZMM()
	broadcastDword(1, one)
	zero512(next)
	zero512(id...)
	for _, v := range top {
		negativeInfinity512(v)
	}
	t.eachPanel512(vnni, func(r, half int, score VecVirtual) {
		better := K()
		VCMPPS(Imm(greater), top[r], score, better)
		VMAXPS(top[r], score, top[r])
		VMOVDQA32(next, better, id[r])
		if r == tileRowsI8-1 {
			VPADDD(one, next, next)
		}
	})
	score, best := loadGP("score"), loadGP("best")
	for r := range top {
		reduceLanes512(c, top[r], id[r], Mem{Base: score, Disp: 4 * r}, Mem{Base: best, Disp: 4 * r})
	}
	done()
}

// scores6I8 is assign6I8 with its scores stored, and the best of every 32nd.
func scores6I8(vnni bool) {
	name := at512("scores6I8Kernel", vnni)
	kernel(name, scoresRowsI8Signature,
		name+" writes the 32*npanels scores of each of six rows, stride bytes apart, to rows of out that are outStride",
		"floats apart, and to the six rows of tops the best of every 32nd; dim is a positive multiple of 4, npanels at least 1.")
	t := newTileI8()
	out, outStride := loadGP("out"), loadGP("outStride")
	SHLQ(Imm(2), outStride)
	var top [tileRowsI8][2]VecVirtual
	for r := range top {
		for i := range top[r] {
			top[r][i] = ZMM()
			negativeInfinity512(top[r][i])
		}
	}
	out3 := thirdRow(out, outStride)
	t.eachPanel512(vnni, func(r, half int, score VecVirtual) {
		VMOVUPS(score, rowAddr(out, out3, outStride, r, half*vectorSize512))
		VMAXPS(top[r][half], score, top[r][half])
		if r == tileRowsI8-1 && half == 1 {
			ADDQ(U32(4*panelI8Width), out)
			ADDQ(U32(4*panelI8Width), out3)
		}
	})
	tops := loadGP("tops")
	for r := range top {
		for i, v := range top[r] {
			VMOVUPS(v, Mem{Base: tops, Disp: (2*r + i) * vectorSize512})
		}
	}
	done()
}

// eachPanel512 hands the scores of panels to use, half a panel of each row at a time.
func (t tileI8) eachPanel512(vnni bool, use func(r, half int, score VecVirtual)) {
	row3 := thirdRow(t.rows, t.stride)
	var acc [tileRowsI8][2]VecVirtual
	for r := range acc {
		acc[r] = [2]VecVirtual{ZMM(), ZMM()}
	}
	centroids, x, product, ones := zmms(2), ZMM(), ZMM(), ZMM()
	if !vnni {
		broadcastDword(0x00010001, ones)
	}

	Label("panel")
	for i := range centroids {
		VMOVDQU32(Mem{Base: t.sums, Disp: vectorSize512 * i}, acc[0][i])
		for r := 1; r < tileRowsI8; r++ {
			VMOVDQA32(acc[0][i], acc[r][i])
		}
	}
	k := GP64()
	MOVQ(t.dim, k)
	Label("dims")
	for i, v := range centroids {
		VMOVDQU32(Mem{Base: t.panel, Disp: vectorSize512 * i}, v)
	}
	for r := range acc {
		VPBROADCASTD(rowAddr(t.rows, row3, t.stride, r, 0), x)
		for i, v := range centroids {
			if vnni {
				VPDPBUSD(v, x, acc[r][i])
			} else {
				VPMADDUBSW(v, x, product)
				VPMADDWD(ones, product, product)
				VPADDD(product, acc[r][i], acc[r][i])
			}
		}
	}
	ADDQ(U32(2*vectorSize512), t.panel)
	ADDQ(Imm(4), t.rows)
	ADDQ(Imm(4), row3)
	SUBQ(Imm(4), k)
	JNZ(LabelRef("dims"))
	SUBQ(t.dim, t.rows)
	SUBQ(t.dim, row3)

	weight, bias := centroids[0], centroids[1]
	for i := range centroids {
		VMOVUPS(Mem{Base: t.weight, Disp: vectorSize512 * i}, weight)
		VMOVUPS(Mem{Base: t.bias, Disp: vectorSize512 * i}, bias)
		for r := range acc {
			score := acc[r][i]
			VCVTDQ2PS(score, score)
			VMULPS(weight, score, score)
			VMULPS_BCST(Mem{Base: t.unit, Disp: 4 * r}, bias, x)
			VADDPS(x, score, score)
			use(r, i, score)
		}
	}
	t.next("panel")
}

// assign2I8 goes over two rows at a time: 2 x 32 accumulators of eight lanes leave registers for one load of centroids.
func assign2I8(c constants) {
	kernel("assign2I8KernelAVX2", assignI8Signature, "assign2I8KernelAVX2 is assign6I8KernelAVX512 for two rows.")
	t := newTileI8()
	local := AllocLocal((2*tileRowsI8AVX2 + 1) * vectorSize)
	topOf := func(r int) Mem { return local.Offset(r * vectorSize) }
	idOf := func(r int) Mem { return local.Offset((tileRowsI8AVX2 + r) * vectorSize) }
	nextID := local.Offset(2 * tileRowsI8AVX2 * vectorSize)
	v, low := YMM(), YMM()
	zero(v)
	VMOVUPS(v, nextID)
	negativeInfinity(low)
	for r := range tileRowsI8AVX2 {
		VMOVUPS(v, idOf(r))
		VMOVUPS(low, topOf(r))
	}
	t.eachPanel(func(r, quarter int, score VecVirtual, free [3]VecVirtual) {
		better, top, next := free[0], free[1], free[2]
		VMOVUPS(topOf(r), top)
		VCMPPS(Imm(greater), top, score, better)
		VMAXPS(top, score, top)
		VMOVUPS(top, topOf(r))
		VMOVUPS(idOf(r), score) // free once it has been compared
		VMOVDQU(nextID, next)
		VBLENDVPS(better, next, score, score)
		VMOVUPS(score, idOf(r))
		if r == tileRowsI8AVX2-1 {
			VPADDD(c.ones, next, next)
			VMOVDQU(next, nextID)
		}
	})
	score, best := loadGP("score"), loadGP("best")
	for r := range tileRowsI8AVX2 {
		VMOVUPS(topOf(r), low)
		VMOVUPS(idOf(r), v)
		reduceLanes(c, low, v, Mem{Base: score, Disp: 4 * r}, Mem{Base: best, Disp: 4 * r})
	}
	done()
}

// scores2I8 is assign2I8 with its scores stored.
func scores2I8() {
	kernel("scores2I8KernelAVX2", scoresRowsI8Signature, "scores2I8KernelAVX2 is scores6I8KernelAVX512 for two rows.")
	t := newTileI8()
	out, outStride, tops := loadGP("out"), loadGP("outStride"), loadGP("tops")
	SHLQ(Imm(2), outStride)
	topOf := func(r, quarter int) Mem { return Mem{Base: tops, Disp: 4*panelI8Width*r + vectorSize*quarter} }
	low := YMM()
	negativeInfinity(low)
	for r := range tileRowsI8AVX2 {
		for i := range panelI8Width / 8 {
			VMOVUPS(low, topOf(r, i))
		}
	}
	t.eachPanel(func(r, quarter int, score VecVirtual, _ [3]VecVirtual) {
		at := Mem{Base: out, Disp: vectorSize * quarter}
		if r == 1 {
			at.Index, at.Scale = outStride, 1
		}
		VMOVUPS(score, at)
		VMAXPS(topOf(r, quarter), score, score)
		VMOVUPS(score, topOf(r, quarter))
		if r == tileRowsI8AVX2-1 && quarter == panelI8Width/8-1 {
			ADDQ(U32(4*panelI8Width), out)
		}
	})
	done()
}

// tileRowsI8AVX2 is the height of a tile at AVX2: 2 x 32 accumulators of eight lanes leave registers for one load of centroids.
const tileRowsI8AVX2 = 2

// eachPanel hands the scores of panels to use, a quarter of a panel of each row at a time, with registers that it may change.
func (t tileI8) eachPanel(use func(r, quarter int, score VecVirtual, free [3]VecVirtual)) {
	const quarters = panelI8Width / 8
	var acc [tileRowsI8AVX2][quarters]VecVirtual
	for r := range acc {
		for i := range acc[r] {
			acc[r][i] = YMM()
		}
	}
	x, centroids, product, ones := [tileRowsI8AVX2]VecVirtual{YMM(), YMM()}, YMM(), YMM(), YMM()
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones)

	Label("panel")
	for i := range quarters {
		VMOVDQU(Mem{Base: t.sums, Disp: vectorSize * i}, acc[0][i])
		VMOVDQA(acc[0][i], acc[1][i])
	}
	k := GP64()
	MOVQ(t.dim, k)
	Label("dims")
	VPBROADCASTD(Mem{Base: t.rows}, x[0])
	VPBROADCASTD(Mem{Base: t.rows, Index: t.stride, Scale: 1}, x[1])
	for i := range quarters {
		VMOVDQU(Mem{Base: t.panel, Disp: vectorSize * i}, centroids)
		for r := range acc {
			VPMADDUBSW(centroids, x[r], product)
			VPMADDWD(ones, product, product)
			VPADDD(product, acc[r][i], acc[r][i])
		}
	}
	ADDQ(U32(4*vectorSize), t.panel)
	ADDQ(Imm(4), t.rows)
	SUBQ(Imm(4), k)
	JNZ(LabelRef("dims"))
	SUBQ(t.dim, t.rows)

	for i := range quarters {
		for r := range acc {
			score := acc[r][i]
			VBROADCASTSS(Mem{Base: t.unit, Disp: 4 * r}, product)
			VMULPS(Mem{Base: t.bias, Disp: vectorSize * i}, product, product)
			VCVTDQ2PS(score, score)
			VMULPS(Mem{Base: t.weight, Disp: vectorSize * i}, score, score)
			VADDPS(product, score, score)
			use(r, i, score, [3]VecVirtual{product, x[0], x[1]})
		}
	}
	t.next("panel")
}
