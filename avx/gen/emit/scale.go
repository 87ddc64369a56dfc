package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// maxAbs clears the signs by a shift to the left, and one back: no constant is needed. VMAXPS
// returns its second source, the largest so far, when an operand is NaN.
func maxAbs() {
	kernel("maxAbsKernelAVX2", "func(v *float32, n int) float32",
		"maxAbsKernelAVX2 returns the largest magnitude of n floats; n is a positive multiple of 8.")
	v, n := loadGP("v"), loadGP("n")
	mask, top := YMM(), YMM()
	VPCMPEQD(mask, mask, mask)
	VPSRLD(Imm(1), mask, mask)
	zero(top)
	x := YMM()
	Label("by8")
	VANDPS(Mem{Base: v}, mask, x)
	VMAXPS(top, x, top)
	ADDQ(Imm(vectorSize), v)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("by8"))
	other := XMM()
	VEXTRACTF128(Imm(1), top, other)
	VMAXPS(other, top.AsX(), top.AsX())
	VPERMILPS(Imm(0x4e), top.AsX(), other)
	VMAXPS(other, top.AsX(), top.AsX())
	VPERMILPS(Imm(0xb1), top.AsX(), other)
	VMAXPS(other, top.AsX(), top.AsX())
	Store(top.AsX(), ReturnIndex(0))
	done()
}

func scale() {
	kernel("scaleKernelAVX2", "func(dst, src *float32, n int, factor float32)",
		"scaleKernelAVX2 writes src*factor; n is a positive multiple of 8.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	factor := YMM()
	VBROADCASTSS(paramAddr("factor"), factor)
	var x VecVirtual = YMM()
	Label("by8")
	VMULPS(Mem{Base: src}, factor, x)
	VMOVUPS(x, Mem{Base: dst})
	ADDQ(Imm(vectorSize), src)
	ADDQ(Imm(vectorSize), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("by8"))
	done()
}

func sub() {
	kernel("subKernelAVX2", "func(dst, a, b *float32, n int)",
		"subKernelAVX2 writes a-b; n is a positive multiple of 8.")
	dst, a, b, n := loadGP("dst"), loadGP("a"), loadGP("b"), loadGP("n")
	x := YMM()
	Label("by8")
	VMOVUPS(Mem{Base: a}, x)
	VSUBPS(Mem{Base: b}, x, x)
	VMOVUPS(x, Mem{Base: dst})
	ADDQ(Imm(vectorSize), a)
	ADDQ(Imm(vectorSize), b)
	ADDQ(Imm(vectorSize), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("by8"))
	done()
}
