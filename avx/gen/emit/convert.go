package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func halfToFloat() {
	kernel("halfToFloatKernelAVX2", "func(dst *float32, src *uint16, n int)",
		"halfToFloatKernelAVX2 widens n halves; n is a positive multiple of 8.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	v := YMM()
	Label("by8")
	VCVTPH2PS(Mem{Base: src}, v)
	VMOVUPS(v, Mem{Base: dst})
	ADDQ(Imm(8*2), src)
	ADDQ(Imm(8*4), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("by8"))
	done()
}

func floatToHalf() {
	kernel("floatToHalfKernelAVX2", "func(dst *uint16, src *float32, n int)",
		"floatToHalfKernelAVX2 narrows n floats; n is a positive multiple of 8.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	v := YMM()
	Label("by8")
	VMOVUPS(Mem{Base: src}, v)
	VCVTPS2PH(Imm(0), v, Mem{Base: dst}) // 0: nearest even, whatever MXCSR says
	ADDQ(Imm(8*4), src)
	ADDQ(Imm(8*2), dst)
	SUBQ(Imm(8), n)
	JNZ(LabelRef("by8"))
	done()
}

func widenI8() {
	kernel("widenI8KernelAVX2", "func(dst *int16, src *int8, n int)",
		"widenI8KernelAVX2 widens n values; n is a positive multiple of 16.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	v := YMM()
	Label("by16")
	VPMOVSXBW(Mem{Base: src}, v)
	VMOVDQU(v, Mem{Base: dst})
	ADDQ(Imm(16), src)
	ADDQ(Imm(16*2), dst)
	SUBQ(Imm(16), n)
	JNZ(LabelRef("by16"))
	done()
}

func offsetI8() {
	kernel("offsetI8KernelAVX2", "func(dst *uint8, src *int8, n int, offset uint8)",
		"offsetI8KernelAVX2 writes src+offset; n is a positive multiple of 32.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	offset, v := YMM(), YMM()
	VPBROADCASTB(paramAddr("offset"), offset)
	Label("by32")
	VPADDB(Mem{Base: src}, offset, v)
	VMOVDQU(v, Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(32), n)
	JNZ(LabelRef("by32"))
	done()
}

// quantizeI8 clamps before it converts: out of range VCVTPS2DQ knows but one answer. It
// rounds as MXCSR says, which Go leaves at nearest even.
func quantizeI8(c constants) {
	kernel("quantizeI8KernelAVX2", "func(dst *int8, src *float32, n int, inv float32)",
		"quantizeI8KernelAVX2 quantises n floats; n is a positive multiple of 32.")
	dst, src, n := loadGP("dst"), loadGP("src"), loadGP("n")
	inv, low, high, order := YMM(), YMM(), YMM(), YMM()
	VBROADCASTSS(paramAddr("inv"), inv)
	VMOVUPS(c.minI8, low)
	VMOVUPS(c.maxI8, high)
	VMOVDQU(c.unpack, order)
	v := [4]VecVirtual{YMM(), YMM(), YMM(), YMM()}
	Label("by32")
	for i := range v {
		number := YMM()
		VMULPS(Mem{Base: src, Disp: vectorSize * i}, inv, v[i])
		VCMPPS(Imm(ordered), v[i], v[i], number)
		VANDPS(number, v[i], v[i])
		VMAXPS(low, v[i], v[i])
		VMINPS(high, v[i], v[i])
		VCVTPS2DQ(v[i], v[i])
	}
	storeBytes(v, order, VPACKSSDW, VPACKSSWB, dst, src, n)
}

// storeBytes ends a loop over 32 values: it packs their dwords to words and those to bytes, stores them and goes on to the next
// 32 of n. Order is c.unpack.
func storeBytes(v [4]VecVirtual, order VecVirtual, words, bytes func(...Op), dst, src, n GPVirtual) {
	words(v[1], v[0], v[0])
	words(v[3], v[2], v[2])
	bytes(v[2], v[0], v[0])
	VPERMD(v[0], order, v[0])
	VMOVDQU(v[0], Mem{Base: dst})
	ADDQ(Imm(32*4), src)
	ADDQ(Imm(32), dst)
	SUBQ(Imm(32), n)
	JNZ(LabelRef("by32"))
	done()
}
