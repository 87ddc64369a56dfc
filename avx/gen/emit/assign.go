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

// tileRows is the height of the microkernel of assign6 and scores6: 6 rows x 16 centroids take
// 12 accumulators, two registers of centroids and two of broadcasts, which are all 16. Per
// dimension it loads 2 vectors and 6 broadcasts for 12 FMA, below the two loads per cycle
// that would bind.
const tileRows = 6

// tile is the microkernel of the product rows x centroids.
type tile struct {
	row0, row3, stride, panel, bias GPVirtual
	acc                             [tileRows][2]VecVirtual
	// Between panels these are free.
	c, x [2]VecVirtual
}

// newTile loads the arguments rows, stride, panels and bias.
func newTile() tile {
	t := tile{row0: loadGP("rows"), stride: loadGP("stride"), panel: loadGP("panels"), bias: loadGP("bias")}
	SHLQ(Imm(2), t.stride)
	t.row3 = thirdRow(t.row0, t.stride)
	for r := range t.acc {
		t.acc[r] = [2]VecVirtual{YMM(), YMM()}
	}
	t.c = [2]VecVirtual{YMM(), YMM()}
	t.x = [2]VecVirtual{YMM(), YMM()}
	return t
}

// thirdRow returns the address of row 3, stride being in bytes.
func thirdRow(row0, stride GPVirtual) GPVirtual {
	row3 := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, row3)
	ADDQ(row0, row3)
	return row3
}

// rowAddr is the place of row r of six, disp bytes after its start.
func rowAddr(row0, row3, stride GPVirtual, r, disp int) Mem {
	m := Mem{Base: row0, Disp: disp}
	if r >= 3 {
		m.Base = row3
	}
	if r%3 > 0 {
		m.Index, m.Scale = stride, uint8(r%3)
	}
	return m
}

// panelScores fills the accumulators with the scores of one panel, which start at the biases
// and add up in the order of dimensions, and goes on to the next panel.
func (t tile) panelScores() {
	VMOVUPS(Mem{Base: t.bias}, t.c[0])
	VMOVUPS(Mem{Base: t.bias, Disp: vectorSize}, t.c[1])
	for _, acc := range t.acc {
		VMOVAPS(t.c[0], acc[0])
		VMOVAPS(t.c[1], acc[1])
	}
	ADDQ(U32(panelBytes), t.bias)
	k := Load(Param("dim"), GP64()).(GPVirtual)
	Label("by4")
	SUBQ(Imm(4), k)
	JLT(LabelRef("rest"))
	t.steps(4)
	JMP(LabelRef("by4"))
	Label("rest")
	ADDQ(Imm(4), k)
	Label("by1")
	JZ(LabelRef("scored"))
	t.steps(1)
	DECQ(k)
	JMP(LabelRef("by1"))

	Label("scored")
	back := Load(Param("dim"), GP64()).(GPVirtual)
	SHLQ(Imm(2), back)
	SUBQ(back, t.row0)
	SUBQ(back, t.row3)
}

// steps adds the products of the next dimensions.
func (t tile) steps(unroll int) {
	for u := range unroll {
		VMOVUPS(Mem{Base: t.panel, Disp: u * panelBytes}, t.c[0])
		VMOVUPS(Mem{Base: t.panel, Disp: u*panelBytes + vectorSize}, t.c[1])
		for r, acc := range t.acc {
			VBROADCASTSS(rowAddr(t.row0, t.row3, t.stride, r, 4*u), t.x[r%2])
			VFMADD231PS(t.c[0], t.x[r%2], acc[0])
			VFMADD231PS(t.c[1], t.x[r%2], acc[1])
		}
	}
	ADDQ(U32(uint32(unroll*panelBytes)), t.panel)
	ADDQ(Imm(uint64(4*unroll)), t.row0)
	ADDQ(Imm(uint64(4*unroll)), t.row3)
}

// assign6 is the tile with the argmax fused: scores never leave the registers. Each of the 8
// lanes keeps the best score it has seen and the number of the half panel it came from. A
// strict comparison in the order of centroids keeps the first of equal ones; it is false for
// NaN, and VMAXPS returns its second source, the best so far, just when the comparison is
// false.
func assign6(c constants) {
	kernel("assign6KernelAVX2",
		"func(rows *float32, stride int, panels, bias *float32, dim, npanels int, score *[6]float32, best *[6]int32)",
		"assign6KernelAVX2 finds the best of 16*npanels centroids for six rows, stride floats apart;",
		"npanels and dim are at least 1. A row that none scores above -Inf gets best 0, score -Inf.")
	t, npanels := newTile(), loadGP("npanels")

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

	Label("panel")
	t.panelScores()
	id0, id1, top, mask := t.c[0], t.c[1], t.x[0], t.x[1]
	VMOVDQU(nextID, id0)
	VPADDD(c.ones, id0, id1)
	for r, acc := range t.acc {
		id := acc[0] // free once it has been compared
		VMOVUPS(topOf(r), top)
		VCMPPS(Imm(greater), top, acc[0], mask)
		VMAXPS(top, acc[0], top)
		VMOVUPS(idOf(r), id)
		VBLENDVPS(mask, id0, id, id)
		VCMPPS(Imm(greater), top, acc[1], mask)
		VMAXPS(top, acc[1], top)
		VBLENDVPS(mask, id1, id, id)
		VMOVUPS(top, topOf(r))
		VMOVUPS(id, idOf(r))
	}
	VPADDD(c.ones, id1, id1)
	VMOVDQU(id1, nextID)
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

// scores6 is the tile with its scores stored.
func scores6() {
	kernel("scores6KernelAVX2",
		"func(rows *float32, stride int, panels, bias *float32, dim, npanels int, out *float32, outStride int)",
		"scores6KernelAVX2 writes the 16*npanels scores of each of six rows, stride floats apart, to",
		"rows of out that are outStride apart; npanels and dim are at least 1.")
	t, npanels := newTile(), loadGP("npanels")
	out0, stride := loadGP("out"), loadGP("outStride")
	SHLQ(Imm(2), stride)
	out3 := thirdRow(out0, stride)

	Label("panel")
	t.panelScores()
	for r, acc := range t.acc {
		VMOVUPS(acc[0], rowAddr(out0, out3, stride, r, 0))
		VMOVUPS(acc[1], rowAddr(out0, out3, stride, r, vectorSize))
	}
	ADDQ(U32(panelBytes), out0)
	ADDQ(U32(panelBytes), out3)
	DECQ(npanels)
	JNZ(LabelRef("panel"))
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
	most := YMM()
	VMOVAPS(top, most)
	everyLane(most, func(from, into Op) { VMAXPS(from, into, into) })
	VMOVSS(most.AsX(), score)
	VCMPPS(Imm(equal), most, top, top)
	VPSLLD(Imm(3), id, id)
	VPADDD(c.lanes, id, id)
	VPCMPEQD(most, most, most) // the largest unsigned
	VBLENDVPS(top, id, most, most)
	everyLane(most, func(from, into Op) { VPMINUD(from, into, into) })
	VMOVD(most.AsX(), best)
}

// everyLane reduces the 8 lanes of a vector by op, which combines its first argument into its second: then each has the result.
func everyLane(v VecVirtual, op func(from, into Op)) {
	other := YMM()
	VPERM2F128(Imm(1), v, v, other)
	op(other, v)
	VPERMILPS(Imm(0x4e), v, other)
	op(other, v)
	VPERMILPS(Imm(0xb1), v, other)
	op(other, v)
}

// ofFourPanels is the i-th vector of four panels, size bytes apart, of two vectors each: the first panel is at panel, the fourth at last.
func ofFourPanels(panel, size, last GPVirtual, i, vector int) Mem {
	at := Mem{Base: panel, Disp: i % 2 * vector}
	switch i / 2 {
	case 1, 2:
		at.Index, at.Scale = size, uint8(i/2)
	case 3:
		at.Base = last
	}
	return at
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
		VFMADD231PS(ofFourPanels(panel, size, third, i, vectorSize), x, acc[i])
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

// scores is scores6 for a single row.
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
