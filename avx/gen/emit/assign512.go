package emit

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tileRows512 is the height of the microkernel of assign12 and scores12: 12 rows x 32 centroids
// take 24 accumulators, two registers of centroids and two of broadcasts, of 32. Per dimension
// it loads 2 vectors and 12 broadcasts for 24 FMA.
const tileRows512 = 12

// tile512 is the microkernel of the product rows x centroids, which are those of two panels or
// of one. Rows are addressed from every third one.
type tile512 struct {
	third                     [tileRows512 / 3]GPVirtual
	stride, panel, size, bias GPVirtual // size is the bytes of a panel
	acc                       [tileRows512][2]VecVirtual
	// Between panels these are free.
	c, x [2]VecVirtual
}

// newTile512 loads the arguments rows, stride, panels, bias and dim.
func newTile512() tile512 {
	t := tile512{stride: loadGP("stride"), panel: loadGP("panels"), bias: loadGP("bias"), size: loadGP("dim")}
	SHLQ(Imm(2), t.stride)
	SHLQ(Imm(6), t.size)
	three := GP64()
	LEAQ(Mem{Base: t.stride, Index: t.stride, Scale: 2}, three)
	t.third[0] = loadGP("rows")
	for i := range t.third[1:] {
		t.third[i+1] = GP64()
		LEAQ(Mem{Base: t.third[i], Index: three, Scale: 1}, t.third[i+1])
	}
	for r := range t.acc {
		t.acc[r] = [2]VecVirtual{ZMM(), ZMM()}
	}
	t.c = [2]VecVirtual{ZMM(), ZMM()}
	t.x = [2]VecVirtual{ZMM(), ZMM()}
	return t
}

// panelScores fills the accumulators with the scores of the next panels, one or two, which start
// at the biases and add up in the order of dimensions, and goes on to the panels after them.
// Labels end with suffix.
func (t tile512) panelScores(panels int, suffix string) {
	label := func(s string) string { return s + suffix }
	for i := range panels {
		VMOVUPS(Mem{Base: t.bias, Disp: i * vectorSize512}, t.c[i])
	}
	for _, acc := range t.acc {
		for i := range panels {
			VMOVAPS(t.c[i], acc[i])
		}
	}
	ADDQ(U32(uint32(panels*panelBytes)), t.bias)
	k := Load(Param("dim"), GP64()).(GPVirtual)
	Label(label("by4x"))
	SUBQ(Imm(4), k)
	JLT(LabelRef(label("restx")))
	t.steps(panels, 4)
	JMP(LabelRef(label("by4x")))
	Label(label("restx"))
	ADDQ(Imm(4), k)
	Label(label("by1x"))
	JZ(LabelRef(label("scoredx")))
	t.steps(panels, 1)
	DECQ(k)
	JMP(LabelRef(label("by1x")))

	Label(label("scoredx"))
	back := Load(Param("dim"), GP64()).(GPVirtual)
	SHLQ(Imm(2), back)
	for _, row := range t.third {
		SUBQ(back, row)
	}
	if panels == 2 {
		ADDQ(t.size, t.panel)
	}
}

// steps adds the products of the next dimensions.
func (t tile512) steps(panels, unroll int) {
	for u := range unroll {
		VMOVUPS(Mem{Base: t.panel, Disp: u * panelBytes}, t.c[0])
		if panels == 2 {
			VMOVUPS(Mem{Base: t.panel, Index: t.size, Scale: 1, Disp: u * panelBytes}, t.c[1])
		}
		for r, acc := range t.acc {
			m := Mem{Base: t.third[r/3], Disp: 4 * u}
			if r%3 > 0 {
				m.Index, m.Scale = t.stride, uint8(r%3)
			}
			VBROADCASTSS(m, t.x[r%2])
			for i := range panels {
				VFMADD231PS(t.c[i], t.x[r%2], acc[i])
			}
		}
	}
	ADDQ(U32(uint32(unroll*panelBytes)), t.panel)
	for _, row := range t.third {
		ADDQ(Imm(uint64(4*unroll)), row)
	}
}

// eachPair runs body for two panels at a time while there are as many, and for the last one if
// their number is odd.
func (t tile512) eachPair(npanels GPVirtual, body func(panels int)) {
	Label("pairs")
	SUBQ(Imm(2), npanels)
	JLT(LabelRef("single"))
	t.panelScores(2, "pair")
	body(2)
	JMP(LabelRef("pairs"))
	Label("single")
	ADDQ(Imm(1), npanels)
	JLT(LabelRef("end"))
	t.panelScores(1, "one")
	body(1)
	Label("end")
}

// assign12 is the tile with the argmax fused, as in assign6, each of the 16 lanes keeping its
// best score and the number of the panel that it came from.
func assign12(c constants) {
	framed("assign12KernelAVX512",
		"func(rows *float32, stride int, panels, bias *float32, dim, npanels int, score *[12]float32, best *[12]int32)",
		"assign12KernelAVX512 finds the best of 16*npanels centroids for twelve rows, stride floats apart;",
		"npanels and dim are at least 1. A row that none scores above -Inf gets best 0, score -Inf.")
	t, npanels := newTile512(), loadGP("npanels")
	CMPQ(npanels, Imm(1))
	JNE(LabelRef("many"))
	// A codebook of 16: the lane is the centroid, and nothing is kept between panels.
	t.panelScores(1, "only")
	score, best := loadGP("score"), loadGP("best")
	lowest := t.c[0]
	negativeInfinity512(lowest)
	for r, acc := range t.acc {
		equals, lane := K(), GP64()
		VMAXPS(lowest, acc[0], acc[0]) // NaN never wins
		x := across(acc[0], func(from, into Op) { VMAXPS(from, into, into) })
		VMOVSS(x, Mem{Base: score, Disp: 4 * r})
		VBROADCASTSS(x, t.c[1])
		VCMPPS(Imm(equal), t.c[1], acc[0], equals)
		KMOVW(equals, lane.As32())
		TZCNTL(lane.As32(), lane.As32())
		MOVL(lane.As32(), Mem{Base: best, Disp: 4 * r})
	}
	done()

	Label("many")
	local := AllocLocal(2 * tileRows512 * vectorSize512)
	topOf := func(r int) Mem { return local.Offset(r * vectorSize512) }
	idOf := func(r int) Mem { return local.Offset((tileRows512 + r) * vectorSize512) }
	v, next, one := ZMM(), ZMM(), ZMM()
	broadcastDword(1, one)
	zero512(next)
	negativeInfinity512(v)
	for r := range tileRows512 {
		VMOVUPS(next, idOf(r))
		VMOVUPS(v, topOf(r))
	}

	t.eachPair(npanels, func(panels int) {
		id, top := t.x[0], t.x[1]
		for r, acc := range t.acc {
			VMOVUPS(topOf(r), top)
			VMOVDQU32(idOf(r), id)
			VMOVDQA32(next, t.c[0])
			for i := range panels {
				better := K()
				VCMPPS(Imm(greater), top, acc[i], better)
				VMAXPS(top, acc[i], top)
				VMOVDQA32(t.c[0], better, id)
				if i+1 < panels {
					VPADDD(one, t.c[0], t.c[0])
				}
			}
			VMOVUPS(top, topOf(r))
			VMOVDQU32(id, idOf(r))
		}
		for range panels {
			VPADDD(one, next, next)
		}
	})

	Load(Param("score"), score)
	Load(Param("best"), best)
	top, id := ZMM(), ZMM()
	for r := range tileRows512 {
		VMOVUPS(topOf(r), top)
		VMOVDQU32(idOf(r), id)
		reduceLanes512(c, top, id, Mem{Base: score, Disp: 4 * r}, Mem{Base: best, Disp: 4 * r})
	}
	done()
}

// scores12 is the tile with its scores stored.
func scores12() {
	kernel("scores12KernelAVX512",
		"func(rows *float32, stride int, panels, bias *float32, dim, npanels int, out *float32, outStride int)",
		"scores12KernelAVX512 writes the 16*npanels scores of each of twelve rows, stride floats apart, to",
		"rows of out that are outStride apart; npanels and dim are at least 1.")
	t, npanels := newTile512(), loadGP("npanels")
	out, stride := loadGP("out"), loadGP("outStride")
	SHLQ(Imm(2), stride)
	t.eachPair(npanels, func(panels int) {
		row := GP64()
		MOVQ(out, row)
		for _, acc := range t.acc {
			for i := range panels {
				VMOVUPS(acc[i], Mem{Base: row, Disp: i * vectorSize512})
			}
			ADDQ(stride, row)
		}
		ADDQ(U32(uint32(panels*panelBytes)), out)
	})
	done()
}

// negativeInfinity512 fills v with -Inf.
func negativeInfinity512(v VecVirtual) { broadcastDword(0xff800000, v) }

// reduceLanes512 finds the largest of 16 lanes and, among equals, the lowest centroid, where
// lane l with id i stands for centroid 16*i + l.
func reduceLanes512(c constants, top, id VecVirtual, score, best Mem) {
	most, equals := ZMM(), K()
	x := across(top, func(from, into Op) { VMAXPS(from, into, into) })
	VMOVSS(x, score)
	VBROADCASTSS(x, most)
	VCMPPS(Imm(equal), most, top, equals)
	VPSLLD(Imm(4), id, id)
	VPADDD(c.lanes16, id, id)
	VPTERNLOGD(Imm(0xff), most, most, most) // the largest unsigned
	VMOVDQA32(id, equals, most)
	x = across(most, func(from, into Op) { VPMINUD(from, into, into) })
	VMOVD(x, best)
}

// rowByPanels512 emits the scores of one row with width panels at a time while there are as
// many, and hands the accumulators, in the order of centroids, to use. Eight panels are eight
// chains of FMA, enough to hide its latency; each chain adds up in the order of dimensions, just
// as in assign12.
func rowByPanels512(width int, row, panel, bias, npanels GPVirtual, use func(acc []VecVirtual)) {
	label := func(s string) string { return fmt.Sprintf("%s%d", s, width) }
	size := GP64()
	acc := zmms(width)
	Label(label("panels"))
	CMPQ(npanels, Imm(uint64(width)))
	JLT(LabelRef(label("end")))
	for i := range acc {
		VMOVUPS(Mem{Base: bias, Disp: i * vectorSize512}, acc[i])
	}
	Load(Param("dim"), size)
	SHLQ(Imm(6), size)
	third := make([]GPVirtual, (width+2)/3) // every third panel
	third[0] = panel
	for i := range third[1:] {
		third[i+1] = GP64()
		LEAQ(Mem{Base: size, Index: size, Scale: 2}, third[i+1])
		ADDQ(third[i], third[i+1])
	}
	k := Load(Param("dim"), GP64()).(GPVirtual)
	x := ZMM()
	Label(label("dims"))
	VBROADCASTSS(Mem{Base: row}, x)
	for i := range acc {
		at := Mem{Base: third[i/3]}
		if i%3 > 0 {
			at.Index, at.Scale = size, uint8(i%3)
		}
		VFMADD231PS(at, x, acc[i])
	}
	ADDQ(Imm(4), row)
	for _, p := range third {
		ADDQ(Imm(panelBytes), p)
	}
	DECQ(k)
	JNZ(LabelRef(label("dims")))
	use(acc)
	Load(Param("dim"), k)
	SHLQ(Imm(2), k)
	SUBQ(k, row)
	for range (width - 1) % 3 { // from the end of the last third to that of the last panel
		ADDQ(size, third[len(third)-1])
	}
	MOVQ(third[len(third)-1], panel)
	ADDQ(U32(uint32(width*panelBytes)), bias)
	SUBQ(Imm(uint64(width)), npanels)
	JMP(LabelRef(label("panels")))
	Label(label("end"))
}

// assign1x512 is assign12 for a single row.
func assign1x512(c constants) {
	kernel("assign1KernelAVX512",
		"func(row, panels, bias *float32, dim, npanels int, score *float32, best *int32)",
		"assign1KernelAVX512 is assign12KernelAVX512 for a single row, with the same result.")
	row, panel, bias, npanels := loadGP("row"), loadGP("panels"), loadGP("bias"), loadGP("npanels")
	top, id, next, one := ZMM(), ZMM(), ZMM(), ZMM()
	broadcastDword(1, one)
	zero512(id, next)
	negativeInfinity512(top)
	update := func(acc []VecVirtual) {
		for _, a := range acc {
			better := K()
			VCMPPS(Imm(greater), top, a, better)
			VMAXPS(top, a, top)
			VMOVDQA32(next, better, id)
			VPADDD(one, next, next)
		}
	}
	for _, width := range []int{8, 4, 1} {
		rowByPanels512(width, row, panel, bias, npanels, update)
	}
	score, best := loadGP("score"), loadGP("best")
	reduceLanes512(c, top, id, Mem{Base: score}, Mem{Base: best})
	done()
}

// scores512 is scores12 for a single row.
func scores512() {
	kernel("scoresKernelAVX512", "func(row, panels, bias *float32, dim, npanels int, out *float32)",
		"scoresKernelAVX512 writes the 16*npanels scores of a row; dim is at least 1.")
	row, panel, bias, npanels := loadGP("row"), loadGP("panels"), loadGP("bias"), loadGP("npanels")
	out := loadGP("out")
	for _, width := range []int{8, 4, 1} {
		rowByPanels512(width, row, panel, bias, npanels, func(acc []VecVirtual) {
			for i, a := range acc {
				VMOVUPS(a, Mem{Base: out, Disp: i * vectorSize512})
			}
			ADDQ(U32(uint32(len(acc)*vectorSize512)), out)
		})
	}
	done()
}
