package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// scoresI8 multiplies four dimensions of eight centroids with one VPMADDUBSW, whose first
// operand is unsigned: that is the query, the offset of which is in the sums to begin with.
// Pairs are at most 2*127*127 and do not saturate.
func scoresI8() {
	kernel("scoresI8KernelAVX2", "func(q *uint8, dim int, panels *int8, sums *int32, npanels int, out *int32)",
		"scoresI8KernelAVX2 writes sums + q*centroids for 32*npanels centroids; dim is a positive multiple of 4.")
	q, dim, panels := loadGP("q"), loadGP("dim"), loadGP("panels")
	sums, npanels, out := loadGP("sums"), loadGP("npanels"), loadGP("out")
	ones := YMM()
	VPCMPEQW(ones, ones, ones)
	VPSRLW(Imm(15), ones, ones)
	var acc [4]VecVirtual
	for i := range acc {
		acc[i] = YMM()
	}
	four, k := YMM(), GP64()
	Label("panel")
	for i := range acc {
		VMOVDQU(Mem{Base: sums, Disp: vectorSize * i}, acc[i])
	}
	XORQ(k, k)
	Label("dims")
	VPBROADCASTD(Mem{Base: q, Index: k, Scale: 1}, four)
	for i := range acc {
		x := YMM()
		VPMADDUBSW(Mem{Base: panels, Disp: vectorSize * i}, four, x)
		VPMADDWD(ones, x, x)
		VPADDD(x, acc[i], acc[i])
	}
	ADDQ(U32(4*vectorSize), panels)
	ADDQ(Imm(4), k)
	CMPQ(k, dim)
	JLT(LabelRef("dims"))
	for i := range acc {
		VMOVDQU(acc[i], Mem{Base: out, Disp: vectorSize * i})
	}
	ADDQ(U32(4*vectorSize), sums)
	ADDQ(U32(4*vectorSize), out)
	DECQ(npanels)
	JNZ(LabelRef("panel"))
	done()
}
