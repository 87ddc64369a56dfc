package emit

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Floating point predicates of VCMPPS, ordered and quiet: false if an operand is NaN.
const (
	equal   = 0x00
	ordered = 0x07 // neither operand is NaN
	greater = 0x1e
)

// tileRows is the height of the assign microkernel: 6 rows x 16 centroids take 12
// accumulators, two registers of centroids and two of broadcasts, which are all 16. Per
// dimension it loads 2 vectors and 6 broadcasts for 12 FMA, below the two loads per cycle
// that would bind.
const tileRows = 6

// assign6 is the microkernel of the product rows x centroids with the argmax fused: scores
// never leave the registers. Each of the 8 lanes keeps the best score it has seen and the
// number of the half panel it came from. A strict comparison in the order of centroids keeps
// the first of equal ones; it is false for NaN, and VMAXPS returns its second source, the
// best so far, just when the comparison is false.
func assign6(c constants) {
	kernel("assign6KernelAVX2",
		"func(rows *float32, stride int, panels, bias *float32, dim, npanels int, score *[6]float32, best *[6]int32)",
		"assign6KernelAVX2 finds the best of 16*npanels centroids for six rows, stride floats apart;",
		"npanels and dim are at least 1. A row that none scores above -Inf gets best 0, score -Inf.")
	row0, stride := loadGP("rows"), loadGP("stride")
	panel, bias, npanels := loadGP("panels"), loadGP("bias"), loadGP("npanels")
	SHLQ(Imm(2), stride)
	row3 := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, row3)
	ADDQ(row0, row3)

	local := AllocLocal((2*tileRows + 1) * vectorSize)
	topOf := func(r int) Mem { return local.Offset(r * vectorSize) }
	idOf := func(r int) Mem { return local.Offset((tileRows + r) * vectorSize) }
	nextID := local.Offset(2 * tileRows * vectorSize)
	v := YMM()
	zero(v)
	VMOVUPS(v, nextID)
	for r := range tileRows {
		VMOVUPS(v, idOf(r))
	}
	negativeInfinity(v)
	for r := range tileRows {
		VMOVUPS(v, topOf(r))
	}

	var acc [tileRows][2]VecVirtual
	for r := range acc {
		acc[r] = [2]VecVirtual{YMM(), YMM()}
	}
	c0, c1 := YMM(), YMM()
	x := [2]VecVirtual{YMM(), YMM()}

	Label("panel")
	VMOVUPS(Mem{Base: bias}, c0)
	VMOVUPS(Mem{Base: bias, Disp: vectorSize}, c1)
	for r := range acc {
		VMOVAPS(c0, acc[r][0])
		VMOVAPS(c1, acc[r][1])
	}
	k := Load(Param("dim"), GP64()).(GPVirtual)
	step := func(u int) {
		VMOVUPS(Mem{Base: panel, Disp: u * panelBytes}, c0)
		VMOVUPS(Mem{Base: panel, Disp: u*panelBytes + vectorSize}, c1)
		for r := range acc {
			element := Mem{Base: row0, Disp: 4 * u}
			if r >= 3 {
				element.Base = row3
			}
			if r%3 > 0 {
				element.Index, element.Scale = stride, uint8(r%3)
			}
			VBROADCASTSS(element, x[r%2])
			VFMADD231PS(c0, x[r%2], acc[r][0])
			VFMADD231PS(c1, x[r%2], acc[r][1])
		}
	}
	steps := func(unroll int) {
		for u := range unroll {
			step(u)
		}
		ADDQ(U32(uint32(unroll*panelBytes)), panel)
		ADDQ(Imm(uint64(4*unroll)), row0)
		ADDQ(Imm(uint64(4*unroll)), row3)
	}
	Label("by4")
	SUBQ(Imm(4), k)
	JLT(LabelRef("rest"))
	steps(4)
	JMP(LabelRef("by4"))
	Label("rest")
	ADDQ(Imm(4), k)
	Label("by1")
	JZ(LabelRef("argmax"))
	steps(1)
	DECQ(k)
	JMP(LabelRef("by1"))

	Label("argmax")
	back := Load(Param("dim"), GP64()).(GPVirtual)
	SHLQ(Imm(2), back)
	SUBQ(back, row0)
	SUBQ(back, row3)
	id0, id1, top, mask := c0, c1, x[0], x[1]
	VMOVDQU(nextID, id0)
	VPADDD(c.ones, id0, id1)
	for r := range acc {
		id := acc[r][0] // free once it has been compared
		VMOVUPS(topOf(r), top)
		VCMPPS(Imm(greater), top, acc[r][0], mask)
		VMAXPS(top, acc[r][0], top)
		VMOVUPS(idOf(r), id)
		VBLENDVPS(mask, id0, id, id)
		VCMPPS(Imm(greater), top, acc[r][1], mask)
		VMAXPS(top, acc[r][1], top)
		VBLENDVPS(mask, id1, id, id)
		VMOVUPS(top, topOf(r))
		VMOVUPS(id, idOf(r))
	}
	VPADDD(c.ones, id1, id1)
	VMOVDQU(id1, nextID)
	ADDQ(U32(panelBytes), bias)
	DECQ(npanels)
	JNZ(LabelRef("panel"))

	score, best := loadGP("score"), loadGP("best")
	for r := range tileRows {
		VMOVUPS(topOf(r), top)
		VMOVUPS(idOf(r), id0)
		reduceLanes(c, top, id0, Mem{Base: score, Disp: 4 * r}, Mem{Base: best, Disp: 4 * r})
	}
	done()
}

// negativeInfinity fills v with -Inf.
func negativeInfinity(v VecVirtual) {
	VPCMPEQD(v, v, v)
	VPSLLD(Imm(23), v, v)
}

// reduceLanes finds the largest of 8 lanes and, among equals, the lowest centroid, where lane
// l with id i stands for centroid 8*i + l.
func reduceLanes(c constants, top, id VecVirtual, score, best Mem) {
	most, other := YMM(), YMM()
	across := func(reduce func()) {
		VPERM2F128(Imm(1), most, most, other)
		reduce()
		VPERMILPS(Imm(0x4e), most, other)
		reduce()
		VPERMILPS(Imm(0xb1), most, other)
		reduce()
	}
	VMOVAPS(top, most)
	across(func() { VMAXPS(other, most, most) })
	VMOVSS(most.AsX(), score)
	VCMPPS(Imm(equal), most, top, top)
	VPSLLD(Imm(3), id, id)
	VPADDD(c.lanes, id, id)
	VPCMPEQD(most, most, most) // the largest unsigned
	VBLENDVPS(top, id, most, most)
	across(func() { VPMINUD(other, most, most) })
	VMOVD(most.AsX(), best)
}

// onePanelGroup emits the scores of one row with width panels at a time while there are as
// many, and hands the accumulators, in the order of centroids, to use. Four panels are eight
// chains of FMA, enough to hide its latency; each chain adds up in the order of dimensions,
// just as in assign6.
func onePanelGroup(width int, row, panel, bias, npanels GPVirtual, use func(acc []VecVirtual)) {
	label := func(s string) string { return fmt.Sprintf("%s%d", s, width) }
	size, third := GP64(), GP64()
	acc := make([]VecVirtual, 2*width)
	for i := range acc {
		acc[i] = YMM()
	}

	Label(label("panels"))
	CMPQ(npanels, Imm(uint64(width)))
	JLT(LabelRef(label("end")))
	for i := range acc {
		VMOVUPS(Mem{Base: bias, Disp: i * vectorSize}, acc[i])
	}
	Load(Param("dim"), size)
	SHLQ(Imm(6), size) // bytes of a panel
	LEAQ(Mem{Base: size, Index: size, Scale: 2}, third)
	ADDQ(panel, third)
	k := Load(Param("dim"), GP64()).(GPVirtual)
	x := YMM()
	Label(label("dims"))
	VBROADCASTSS(Mem{Base: row}, x)
	for i := range acc {
		at := Mem{Base: panel, Disp: i % 2 * vectorSize}
		switch i / 2 {
		case 1, 2:
			at.Index, at.Scale = size, uint8(i/2)
		case 3:
			at.Base = third
		}
		VFMADD231PS(at, x, acc[i])
	}
	ADDQ(Imm(4), row)
	ADDQ(Imm(panelBytes), panel)
	ADDQ(Imm(panelBytes), third)
	DECQ(k)
	JNZ(LabelRef(label("dims")))
	use(acc)
	Load(Param("dim"), k)
	SHLQ(Imm(2), k)
	SUBQ(k, row)
	if width == 4 {
		MOVQ(third, panel)
	}
	ADDQ(U32(uint32(width*panelBytes)), bias)
	SUBQ(Imm(uint64(width)), npanels)
	JMP(LabelRef(label("panels")))
	Label(label("end"))
}

// assign1 is assign6 for a single row.
func assign1(c constants) {
	kernel("assign1KernelAVX2",
		"func(row, panels, bias *float32, dim, npanels int, score *float32, best *int32)",
		"assign1KernelAVX2 is assign6KernelAVX2 for a single row, with the same result.")
	row, panel, bias, npanels := loadGP("row"), loadGP("panels"), loadGP("bias"), loadGP("npanels")
	top, id, next, mask := YMM(), YMM(), YMM(), YMM()
	zero(id, next)
	negativeInfinity(top)
	update := func(acc []VecVirtual) {
		for _, a := range acc {
			VCMPPS(Imm(greater), top, a, mask)
			VMAXPS(top, a, top)
			VBLENDVPS(mask, next, id, id)
			VPADDD(c.ones, next, next)
		}
	}
	onePanelGroup(4, row, panel, bias, npanels, update)
	onePanelGroup(1, row, panel, bias, npanels, update)
	score, best := loadGP("score"), loadGP("best")
	reduceLanes(c, top, id, Mem{Base: score}, Mem{Base: best})
	done()
}

func scores() {
	kernel("scoresKernelAVX2", "func(row, panels, bias *float32, dim, npanels int, out *float32)",
		"scoresKernelAVX2 writes the 16*npanels scores of a row; dim is at least 1.")
	row, panel, bias, npanels := loadGP("row"), loadGP("panels"), loadGP("bias"), loadGP("npanels")
	out := loadGP("out")
	store := func(acc []VecVirtual) {
		for i, a := range acc {
			VMOVUPS(a, Mem{Base: out, Disp: i * vectorSize})
		}
		ADDQ(U32(uint32(len(acc)*vectorSize)), out)
	}
	onePanelGroup(4, row, panel, bias, npanels, store)
	onePanelGroup(1, row, panel, bias, npanels, store)
	done()
}
