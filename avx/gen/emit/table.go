package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// subtractMins reduces each row to its least value in a few steps; those of neighbouring rows
// overlap.
func subtractMins() {
	kernel("subtractMinsKernelAVX2", "func(rows, mins *float32, n int) float32",
		"subtractMinsKernelAVX2 subtracts from each of n rows of 16 values their least one; n is at least 1.")
	rows, mins, n := loadGP("rows"), loadGP("mins"), loadGP("n")
	widest, low := YMM(), YMM()
	zero(widest)
	v := [2]VecVirtual{YMM(), YMM()}
	x, t := XMM(), XMM()
	Label("row")
	for i := range v {
		VMOVUPS(Mem{Base: rows, Disp: vectorSize * i}, v[i])
	}
	VMINPS(v[1], v[0], low)
	VEXTRACTF128(Imm(1), low, t)
	VMINPS(t, low.AsX(), x)
	VPERMILPS(Imm(0x4e), x, t)
	VMINPS(t, x, x)
	VPERMILPS(Imm(0xb1), x, t)
	VMINPS(t, x, x)
	VMOVSS(x, Mem{Base: mins})
	VBROADCASTSS(x, low)
	for i := range v {
		VSUBPS(low, v[i], v[i])
		VMAXPS(v[i], widest, widest)
		VMOVUPS(v[i], Mem{Base: rows, Disp: vectorSize * i})
	}
	ADDQ(Imm(64), rows)
	ADDQ(Imm(4), mins)
	DECQ(n)
	JNZ(LabelRef("row"))
	VEXTRACTF128(Imm(1), widest, t)
	VMAXPS(t, widest.AsX(), x)
	VPERMILPS(Imm(0x4e), x, t)
	VMAXPS(t, x, x)
	VPERMILPS(Imm(0xb1), x, t)
	VMAXPS(t, x, x)
	Store(x, ReturnIndex(0))
	done()
}

// quantizeU8 cuts fractions off as it converts, and what is above 255 before.
func quantizeU8(c constants) {
	kernel("quantizeU8KernelAVX2", "func(dst *uint8, src *float32, n int, inv float32)",
		"quantizeU8KernelAVX2 quantises n floats; n is a positive multiple of 32.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	inv, half, high, order := YMM(), YMM(), YMM(), YMM()
	VBROADCASTSS(paramAddr("inv"), inv)
	VBROADCASTSS(c.half, half)
	VBROADCASTSS(c.maxU8, high)
	VMOVDQU(c.unpack, order)
	v := [4]VecVirtual{YMM(), YMM(), YMM(), YMM()}
	Label("by32")
	for i := range v {
		VMULPS(Mem{Base: src, Disp: vectorSize * i}, inv, v[i])
		VADDPS(half, v[i], v[i])
		VMINPS(high, v[i], v[i])
		VCVTTPS2DQ(v[i], v[i])
	}
	storeBytes(v, order, VPACKUSDW, VPACKUSWB, dst, src, n)
}
