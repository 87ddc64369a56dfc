package emit

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels of assignI8 multiply four dimensions of eight or sixteen centroids by those of a row, which are broadcast. Rows
// have an offset, because the first operand of a multiplication is unsigned; it is in the sums to begin with. The best of each lane is kept
// as the kernels of assign do. Weights and biases come in where a sum becomes a float: it is multiplied, and then the row's unit times
// the bias is added, each of the three rounded, as in plain Go.
const (
	sums32, sums16        = "sums *int32", "sums *int16"
	assignI8Signature     = "func(rows *uint8, stride, dim int, panels *int8, " + sums32 + ", weight, bias *float32, npanels int, unit, score *float32, best *int32)"
	scoresRowsI8Signature = "func(rows *uint8, stride, dim int, panels *int8, " + sums32 + ", weight, bias *float32, npanels int, unit, out *float32, outStride int, tops *float32)"
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
	for _, p := range []GPVirtual{t.weight, t.bias} {
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
	ADDQ(U32(4*panelI8Width), t.sums)
	t.next("panel")
}

// assign2I8 goes over two rows at a time: 2 x 32 accumulators of sixteen lanes leave registers for the best of each lane.
func assign2I8(c constants) {
	kernel("assign2I8KernelAVX2", strings.Replace(assignI8Signature, sums32, sums16, 1),
		"assign2I8KernelAVX2 is assign6I8KernelAVX512 for two rows, which adds up in 16 bits.")
	t := newTileI8()
	nextID := AllocLocal(vectorSize)
	top, id := [tileRowsI8AVX2]VecVirtual{YMM(), YMM()}, [tileRowsI8AVX2]VecVirtual{YMM(), YMM()}
	for r := range tileRowsI8AVX2 {
		negativeInfinity(top[r])
		zero(id[r])
	}
	VMOVUPS(id[0], nextID)
	t.eachPanel(c, func(r, quarter int, score VecVirtual, free [2]VecVirtual) {
		better, next := free[0], free[1]
		if r == 0 && quarter == 0 {
			VMOVDQU(nextID, next)
		}
		VCMPPS(Imm(greater), top[r], score, better)
		VMAXPS(top[r], score, top[r])
		VBLENDVPS(better, next, id[r], id[r])
		if r < tileRowsI8AVX2-1 {
			return
		}
		VPADDD(c.ones, next, next)
		if quarter == panelI8Width/8-1 {
			VMOVDQU(next, nextID)
		}
	})
	score, best := loadGP("score"), loadGP("best")
	for r := range tileRowsI8AVX2 {
		reduceLanes(c, top[r], id[r], Mem{Base: score, Disp: 4 * r}, Mem{Base: best, Disp: 4 * r})
	}
	done()
}

// scores2I8 is assign2I8 with its scores stored.
func scores2I8(c constants) {
	kernel("scores2I8KernelAVX2", strings.Replace(scoresRowsI8Signature, sums32, sums16, 1),
		"scores2I8KernelAVX2 is scores6I8KernelAVX512 for two rows, which adds up in 16 bits.")
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
	t.eachPanel(c, func(r, quarter int, score VecVirtual, _ [2]VecVirtual) {
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

// tileRowsI8AVX2 is the height of a tile at AVX2: 2 x 32 accumulators leave registers for one load of centroids.
const tileRowsI8AVX2 = 2

// spanI8 is how many dimensions are added up in 16 bits.
const spanI8 = 64

// eachPanel hands the scores of panels to use, a quarter of a panel of each row at a time, with registers that it may change and that
// keep what it leaves in them until the last quarter.
//
// Products of two dimensions are added up in 16 bits over a span of dimensions: they begin at what the offset of rows adds, so
// that they wrap around it, and end at a sum that fits. Only then are the two sums of a centroid added in 32 bits. It is half
// of the multiplications, which are what takes time.
func (t tileI8) eachPanel(c constants, use func(r, quarter int, score VecVirtual, free [2]VecVirtual)) {
	const quarters = panelI8Width / 8
	local := AllocLocal(tileRowsI8AVX2 * quarters * vectorSize)
	sumOf := func(r, quarter int) Mem { return local.Offset((r*quarters + quarter) * vectorSize) }
	var acc [tileRowsI8AVX2][quarters]VecVirtual
	for r := range acc {
		for i := range acc[r] {
			acc[r][i] = YMM()
		}
	}
	eachSum := func(f func(r, quarter int)) {
		for r := range acc {
			for i := range acc[r] {
				f(r, i)
			}
		}
	}
	x, centroids, product := [tileRowsI8AVX2]VecVirtual{YMM(), YMM()}, YMM(), YMM()
	rest, k := GP64(), GP64()

	Label("panel")
	MOVQ(t.dim, rest)
	CMPQ(rest, U32(spanI8))
	JLE(LabelRef("span"))
	zero(product)
	eachSum(func(r, i int) { VMOVUPS(product, sumOf(r, i)) })
	Label("span")
	for i := range quarters {
		VMOVDQU(Mem{Base: t.sums, Disp: vectorSize * i}, acc[0][i])
		VMOVDQA(acc[0][i], acc[1][i])
	}
	ADDQ(U32(4*vectorSize), t.sums)
	MOVQ(U32(spanI8), k)
	CMPQ(rest, k)
	CMOVQLT(rest, k)
	SUBQ(k, rest)
	four := func(n int) {
		VPBROADCASTD(Mem{Base: t.rows, Disp: 4 * n}, x[0])
		VPBROADCASTD(Mem{Base: t.rows, Index: t.stride, Scale: 1, Disp: 4 * n}, x[1])
		for i := range quarters {
			VMOVDQU(Mem{Base: t.panel, Disp: vectorSize * (quarters*n + i)}, centroids)
			VPMADDUBSW(centroids, x[0], product)
			VPMADDUBSW(centroids, x[1], centroids)
			VPADDW(product, acc[0][i], acc[0][i])
			VPADDW(centroids, acc[1][i], acc[1][i])
		}
	}
	skip := func(n int) {
		ADDQ(U32(4*vectorSize*n), t.panel)
		ADDQ(Imm(uint64(4*n)), t.rows)
		SUBQ(Imm(uint64(4*n)), k)
	}
	const unrolled = 4
	Label("dims")
	CMPQ(k, Imm(4*unrolled))
	JLT(LabelRef("one"))
	for n := range unrolled {
		four(n)
	}
	skip(unrolled)
	JNZ(LabelRef("dims"))
	JMP(LabelRef("sums"))
	Label("one")
	four(0)
	skip(1)
	JNZ(LabelRef("one"))
	Label("sums")
	eachSum(func(r, i int) { VPMADDWD(c.wordOnes, acc[r][i], acc[r][i]) })
	CMPQ(t.dim, U32(spanI8))
	JLE(LabelRef("scores"))
	eachSum(func(r, i int) { VPADDD(sumOf(r, i), acc[r][i], acc[r][i]) })
	TESTQ(rest, rest)
	JZ(LabelRef("scores"))
	eachSum(func(r, i int) { VMOVDQU(acc[r][i], sumOf(r, i)) })
	JMP(LabelRef("span"))

	Label("scores")
	SUBQ(t.dim, t.rows)
	for r, unit := range x {
		VBROADCASTSS(Mem{Base: t.unit, Disp: 4 * r}, unit)
	}
	for i := range quarters {
		for r, unit := range x {
			score := acc[r][i]
			VMULPS(Mem{Base: t.bias, Disp: vectorSize * i}, unit, product)
			VCVTDQ2PS(score, score)
			VMULPS(Mem{Base: t.weight, Disp: vectorSize * i}, score, score)
			VADDPS(product, score, score)
			use(r, i, score, [2]VecVirtual{product, centroids})
		}
	}
	t.next("panel")
}
