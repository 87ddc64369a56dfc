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

// aboveFloats is above for scores of which many groups of eight have one that reaches the threshold, now and then: which ones
// cannot be predicted, so no branch depends on it. It takes the numbers of those that do from a table, and stores eight.
func aboveFloats(c constants) {
	kernel("aboveFloatsKernelAVX2", "func(scores *float32, n int, threshold float32, out *uint32) int",
		"aboveFloatsKernelAVX2 lists the i < n with scores[i] >= threshold; n is a positive multiple of 8. It may write to all of out[:n].")
	scores, out, n := loadGP("scores"), loadGP("out"), loadGP("n")
	threshold, base, eight, v := YMM(), YMM(), YMM(), YMM()
	VBROADCASTSS(paramAddr("threshold"), threshold)
	zero(base)
	VMOVDQU(c.ones, eight)
	VPSLLD(Imm(3), eight, eight)
	places, counts, i, hits, count := GP64(), GP64(), GP64(), GP64(), GP64()
	LEAQ(c.places, places)
	LEAQ(c.counts, counts)
	XORQ(i, i)
	Label("by8")
	VMOVUPS(Mem{Base: scores, Index: i, Scale: 4}, v)
	VCMPPS(Imm(atLeast), threshold, v, v)
	VMOVMSKPS(v, hits.As32())
	VPMOVZXBD(Mem{Base: places, Index: hits, Scale: 8}, v)
	VPADDD(base, v, v)
	VMOVDQU(v, Mem{Base: out})
	MOVBLZX(Mem{Base: counts, Index: hits, Scale: 1}, count.As32())
	LEAQ(Mem{Base: out, Index: count, Scale: 4}, out)
	VPADDD(eight, base, base)
	ADDQ(Imm(8), i)
	CMPQ(i, n)
	JLT(LabelRef("by8"))
	SUBQ(paramAddr("out"), out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	done()
}

// kth counts for each of 32 values how many are larger. Which of them is the k-th largest cannot be predicted, so no branch depends on it.
func kth() {
	kernel("kthKernelAVX2", "func(values *float32, k int) float32",
		"kthKernelAVX2 returns the least of 32 values that less than k of them are larger than.")
	values, k := loadGP("values"), loadGP("k")
	const quarters = panelI8Width / 8
	var v, larger [quarters]VecVirtual
	for i := range v {
		v[i], larger[i] = YMM(), YMM()
		VMOVUPS(Mem{Base: values, Disp: vectorSize * i}, v[i])
		zero(larger[i])
	}
	x, t := YMM(), YMM()
	for j := range panelI8Width {
		VBROADCASTSS(Mem{Base: values, Disp: 4 * j}, x)
		for i := range v {
			VCMPPS(Imm(greater), v[i], x, t)
			VPADDD(t, larger[i], larger[i]) // minus one
		}
	}
	NEGQ(k)
	VMOVD(k.As32(), x.AsX())
	VPBROADCASTD(x.AsX(), x)
	infinity := t
	VPCMPEQD(infinity, infinity, infinity)
	VPSLLD(Imm(24), infinity, infinity)
	VPSRLD(Imm(1), infinity, infinity) // 0x7f800000
	least := YMM()
	VMOVAPS(infinity, least)
	for i := range v {
		VPCMPGTD(x, larger[i], larger[i])
		VBLENDVPS(larger[i], v[i], infinity, v[i])
		VMINPS(v[i], least, least)
	}
	y := XMM()
	VEXTRACTF128(Imm(1), least, y)
	VMINPS(y, least.AsX(), y)
	z := XMM()
	VPERMILPS(Imm(0x4e), y, z)
	VMINPS(z, y, y)
	VPERMILPS(Imm(0xb1), y, z)
	VMINPS(z, y, y)
	Store(y, ReturnIndex(0))
	done()
}

// listAbove emits the rest, given how the scores from i are loaded.
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
