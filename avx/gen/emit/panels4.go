package emit

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernels of scoresI4 take eight dimensions of a centroid from four bytes: the first four are the low nibbles, the others the
// high ones. Nibbles are not negative, so they are the first operand of a multiplication, and the query, which may be, is
// the second.
const scoresI4Signature = "func(q *int8, dim int, panels *uint8, start int32, npanels int, out *int32)"

// panelI4Bytes is eight dimensions of a panel.
const panelI4Bytes = 4 * panelI8Width

// spanI4 is how many dimensions are added up in 16 bits: 32/2 products, of which none is larger than 15*127.
const spanI4 = 32

// scoresI4 adds up in 16 bits what VPMADDUBSW makes, and widens the sums of each span.
func scoresI4() {
	kernel("scoresI4KernelAVX2", scoresI4Signature,
		"scoresI4KernelAVX2 writes start + q*nibbles for 32*npanels centroids; dim is a positive multiple of 8.")
	q, dim, panels := loadGP("q"), loadGP("dim"), loadGP("panels")
	npanels, out := loadGP("npanels"), loadGP("out")
	ones, nibbles := YMM(), YMM()
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones)
	mask := GP32()
	MOVL(U32(0x0f0f0f0f), mask)
	VMOVD(mask, nibbles.AsX())
	VPBROADCASTD(nibbles.AsX(), nibbles)
	var acc, words [4]VecVirtual
	for i := range acc {
		acc[i], words[i] = YMM(), YMM()
	}
	low, high, start := YMM(), YMM(), YMM()
	VMOVD(Load(Param("start"), GP32()), start.AsX())
	VPBROADCASTD(start.AsX(), start)
	k, end := GP64(), GP64()
	Label("panel")
	for i := range acc {
		VMOVDQA(start, acc[i])
	}
	XORQ(k, k)
	Label("span")
	zero(words[:]...)
	LEAQ(Mem{Base: k, Disp: spanI4}, end)
	CMPQ(end, dim)
	CMOVQGT(dim, end)
	Label("dims")
	VPBROADCASTD(Mem{Base: q, Index: k, Scale: 1}, low)
	VPBROADCASTD(Mem{Base: q, Index: k, Scale: 1, Disp: 4}, high)
	for i, w := range words {
		a, b := YMM(), YMM()
		VMOVDQU(Mem{Base: panels, Disp: vectorSize * i}, b)
		VPAND(nibbles, b, a)
		VPSRLW(Imm(4), b, b)
		VPAND(nibbles, b, b)
		VPMADDUBSW(low, a, a)
		VPMADDUBSW(high, b, b)
		VPADDW(a, w, w)
		VPADDW(b, w, w)
	}
	ADDQ(U32(panelI4Bytes), panels)
	ADDQ(Imm(8), k)
	CMPQ(k, end)
	JLT(LabelRef("dims"))
	for i, w := range words {
		VPMADDWD(ones, w, w)
		VPADDD(w, acc[i], acc[i])
	}
	CMPQ(k, dim)
	JLT(LabelRef("span"))
	for i := range acc {
		VMOVDQU(acc[i], Mem{Base: out, Disp: vectorSize * i})
	}
	ADDQ(U32(4*vectorSize), out)
	DECQ(npanels)
	JNZ(LabelRef("panel"))
	done()
}

// scoresI4VNNI goes over four panels at a time, so that a broadcast serves eight vectors of centroids. High nibbles stay where they
// are, and count 16 times, to the end: they have sums of their own, which hides the latency of VPDPBUSD as well.
func scoresI4VNNI() {
	kernel("scoresI4KernelVNNI", scoresI4Signature,
		"scoresI4KernelVNNI writes start + q*nibbles for 32*npanels centroids; dim is a positive multiple of 8.")
	q, dim, panel := loadGP("q"), loadGP("dim"), loadGP("panels")
	npanels, out := loadGP("npanels"), loadGP("out")
	size := GP64() // bytes of a panel
	MOVQ(dim, size)
	SHLQ(Imm(4), size)
	lowMask, highMask, low, high := ZMM(), ZMM(), ZMM(), ZMM()
	broadcastDword(0x0f0f0f0f, lowMask)
	broadcastDword(0xf0f0f0f0, highMask)
	start := ZMM()
	VPBROADCASTD(Load(Param("start"), GP32()), start)
	block := func(width int) {
		label := func(s string) string { return fmt.Sprintf("%s%d", s, width) }
		acc, sixteens := zmms(2*width), zmms(2*width)
		Label(label("panels"))
		CMPQ(npanels, Imm(uint64(width)))
		JLT(LabelRef(label("end")))
		for i := range acc {
			VMOVDQA32(start, acc[i])
		}
		zero512(sixteens...)
		last := GP64() // the fourth panel
		if width == 4 {
			LEAQ(Mem{Base: size, Index: size, Scale: 2}, last)
			ADDQ(panel, last)
		}
		k := GP64()
		XORQ(k, k)
		Label(label("dims"))
		VPBROADCASTD(Mem{Base: q, Index: k, Scale: 1}, low)
		VPBROADCASTD(Mem{Base: q, Index: k, Scale: 1, Disp: 4}, high)
		for i := range acc {
			a, b := ZMM(), ZMM()
			VMOVDQU32(ofFourPanels(panel, size, last, i, vectorSize512), b)
			VPANDD(lowMask, b, a)
			VPANDD(highMask, b, b)
			VPDPBUSD(low, a, acc[i])
			VPDPBUSD(high, b, sixteens[i])
		}
		ADDQ(U32(panelI4Bytes), panel)
		if width == 4 {
			ADDQ(U32(panelI4Bytes), last)
		}
		ADDQ(Imm(8), k)
		CMPQ(k, dim)
		JLT(LabelRef(label("dims")))
		for i := range acc {
			VPSRAD(Imm(4), sixteens[i], sixteens[i])
			VPADDD(sixteens[i], acc[i], acc[i])
			VMOVDQU32(acc[i], Mem{Base: out, Disp: vectorSize512 * i})
		}
		if width == 4 {
			MOVQ(last, panel)
		}
		ADDQ(U32(uint32(2*width*vectorSize512)), out)
		SUBQ(Imm(uint64(width)), npanels)
		JMP(LabelRef(label("panels")))
		Label(label("end"))
	}
	block(4)
	block(1)
	done()
}
