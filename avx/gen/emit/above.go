package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const atLeast = 0x1d // predicate of VCMPPS, ordered and quiet

// above tests eight scores at a time; where few reach the threshold most groups are passed
// over by one branch.
func above() {
	kernel("aboveKernelAVX2",
		"func(dots *int32, weight *float32, n int, threshold float32, out *uint32) int",
		"aboveKernelAVX2 lists the i < n with dots[i]*weight[i] >= threshold; n is a positive multiple of 8.")
	dots, weight := loadGP("dots"), loadGP("weight")
	listAbove(func(i GPVirtual, v VecVirtual) {
		VCVTDQ2PS(Mem{Base: dots, Index: i, Scale: 4}, v)
		VMULPS(Mem{Base: weight, Index: i, Scale: 4}, v, v)
	})
}

// aboveFloats is above for scores as they are.
func aboveFloats() {
	kernel("aboveFloatsKernelAVX2", "func(scores *float32, n int, threshold float32, out *uint32) int",
		"aboveFloatsKernelAVX2 lists the i < n with scores[i] >= threshold; n is a positive multiple of 8.")
	scores := loadGP("scores")
	listAbove(func(i GPVirtual, v VecVirtual) { VMOVUPS(Mem{Base: scores, Index: i, Scale: 4}, v) })
}

// listAbove emits the rest of both, given how the scores from i are loaded.
func listAbove(load func(i GPVirtual, v VecVirtual)) {
	out, n := loadGP("out"), loadGP("n")
	threshold := YMM()
	VBROADCASTSS(paramAddr("threshold"), threshold)
	i := GP64()
	XORQ(i, i)
	Label("by8")
	v := YMM()
	load(i, v)
	VCMPPS(Imm(atLeast), threshold, v, v)
	hits := GP64()
	VMOVMSKPS(v, hits.As32())
	TESTL(hits.As32(), hits.As32())
	JZ(LabelRef("next"))
	eachBit("hit", hits, func(bit GPVirtual) {
		ADDL(i.As32(), bit.As32())
		MOVL(bit.As32(), Mem{Base: out})
		ADDQ(Imm(4), out)
	})
	Label("next")
	ADDQ(Imm(8), i)
	CMPQ(i, n)
	JLT(LabelRef("by8"))
	SUBQ(paramAddr("out"), out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	done()
}
