package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// alongRows emits a kernel that picks a codeword for one row after the other: pick does so for the row whose 16 scores and
// products near and along point to, given its weight and what its error is without any codeword, and returns the place
// of the codeword among them. Rows do not wait for each other.
func alongRows(name string, pick func(near, along GPVirtual, weight Mem, off VecVirtual) GPVirtual) {
	kernel(name, "func(near, along, weight, part, off *float32, n int, best *uint8)",
		name+" does what pickAlongGeneric does for n rows, at least one, with the same result but for NaN.")
	near, along, weight := loadGP("near"), loadGP("along"), loadGP("weight")
	part, off, n, best := loadGP("part"), loadGP("off"), loadGP("n"), loadGP("best")
	i := GP64()
	XORQ(i, i)
	Label("row")
	x, chosen := XMM(), XMM()
	VMOVSS(Mem{Base: off, Index: i, Scale: 4}, x)
	VADDSS(Mem{Base: part, Index: i, Scale: 4}, x, x)
	at := pick(near, along, Mem{Base: weight, Index: i, Scale: 4}, x)
	VMOVSS(Mem{Base: along, Index: at, Scale: 4}, chosen)
	VMOVSS(chosen, Mem{Base: part, Index: i, Scale: 4})
	VSUBSS(chosen, x, x)
	VMOVSS(x, Mem{Base: off, Index: i, Scale: 4})
	MOVB(at.As8(), Mem{Base: best, Index: i, Scale: 1})
	ADDQ(Imm(panelBytes), near)
	ADDQ(Imm(panelBytes), along)
	INCQ(i)
	CMPQ(i, n)
	JLT(LabelRef("row"))
	done()
}

// alongScores sets each s to near - weight * (off - along)^2.
func alongScores(near, along GPVirtual, weight Mem, off VecVirtual, s []VecVirtual, bytes int, vector func() VecVirtual) {
	all, w, d := vector(), vector(), vector()
	VBROADCASTSS(off, all)
	VBROADCASTSS(weight, w)
	for i, v := range s {
		VSUBPS(Mem{Base: along, Disp: i * bytes}, all, d)
		VMULPS(d, d, d)
		VMULPS(w, d, d)
		VMOVUPS(Mem{Base: near, Disp: i * bytes}, v)
		VSUBPS(d, v, v)
	}
}

// firstOf returns the place of the lowest bit that is set in the low 16 of hits, 0 if none is.
func firstOf(hits GPVirtual) GPVirtual {
	at := GP64()
	ORL(U32(1<<16), hits.As32())
	TZCNTL(hits.As32(), at.As32()) // without BMI1 this is BSF, to the same end
	ANDL(Imm(15), at.As32())
	return at
}

func pickAlong() {
	alongRows("pickAlongKernelAVX2", func(near, along GPVirtual, weight Mem, off VecVirtual) GPVirtual {
		s := []VecVirtual{YMM(), YMM()}
		alongScores(near, along, weight, off, s, vectorSize, func() VecVirtual { return YMM() })
		top := YMM()
		VMAXPS(s[0], s[1], top)
		everyLane(top, func(from, into Op) { VMAXPS(from, into, into) })
		low, hits := GP64(), GP64()
		VCMPPS(Imm(equal), s[0], top, s[0])
		VCMPPS(Imm(equal), s[1], top, s[1])
		VMOVMSKPS(s[0], low.As32())
		VMOVMSKPS(s[1], hits.As32())
		SHLL(Imm(8), hits.As32())
		ORL(low.As32(), hits.As32())
		return firstOf(hits)
	})
}

func pickAlong512() {
	alongRows("pickAlongKernelAVX512", func(near, along GPVirtual, weight Mem, off VecVirtual) GPVirtual {
		s := []VecVirtual{ZMM()}
		alongScores(near, along, weight, off, s, vectorSize512, func() VecVirtual { return ZMM() })
		x := across(s[0], func(from, into Op) { VMAXPS(from, into, into) })
		top, mask, hits := ZMM(), K(), GP64()
		VBROADCASTSS(x, top)
		VCMPPS(Imm(equal), s[0], top, mask)
		KMOVW(mask, hits.As32())
		return firstOf(hits)
	})
}
