package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// avx512 emits the kernels of that level, which use AVX-512 F, BW, VL and DQ and POPCNT, and
// those of AVX512VNNI, which use VNNI as well. What has none of its own here runs at AVX2.
func avx512(c constants) {
	dot512()
	dotRows512()
	assign12(c)
	assign1x512(c)
	scores12()
	scores512()
	scanPQ4x512(c)
	above512(c)
	aboveFloats512(c)
	pickAlong512()
	scoresI4VNNI()
	for _, vnni := range []bool{false, true} {
		assign6I8(c, vnni)
		scores6I8(vnni)
		dotI8x512(vnni)
		dotI8At512(vnni)
	}
}

const vectorSize512 = 64 // bytes of a ZMM register

// at512 names a kernel by its level.
func at512(name string, vnni bool) string {
	if vnni {
		return name + "VNNI"
	}
	return name + "AVX512"
}

// broadcastDword fills a vector with copies of a dword.
func broadcastDword(value uint32, v VecVirtual) {
	r := GP32()
	MOVL(U32(value), r)
	VPBROADCASTD(r, v)
}

// zero512 clears registers, which may be any of the 32.
func zero512(vs ...VecVirtual) {
	for _, v := range vs {
		VPXORD(v, v, v)
	}
}

func zmms(n int) []VecVirtual {
	v := make([]VecVirtual, n)
	for i := range v {
		v[i] = ZMM()
	}
	return v
}

// lowBits sets the lowest n bits of a mask, n being less than 64. It uses CX.
func lowBits(n GPVirtual) GPVirtual {
	bits := GP64()
	MOVQ(n, RCX)
	MOVQ(I32(-1), bits)
	SHLQ(CL, bits)
	NOTQ(bits)
	return bits
}

// across reduces the lanes of a vector to the lowest lane of the result by op, which combines
// its first argument into its second.
func across(v VecVirtual, op func(from, into Op)) VecVirtual {
	y, x, t := YMM(), XMM(), XMM()
	VEXTRACTF64X4(Imm(1), v, y)
	op(v.AsY(), y)
	VEXTRACTF32X4(Imm(1), y, x)
	op(y.AsX(), x)
	VPERMILPS(Imm(0x4e), x, t)
	op(t, x)
	VPERMILPS(Imm(0xb1), x, t)
	op(t, x)
	return x
}
