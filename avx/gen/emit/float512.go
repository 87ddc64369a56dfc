package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tailMask512 returns the mask of the first n%16 lanes.
func tailMask512(n GPVirtual) OpmaskVirtual {
	mask, rest := K(), GP64()
	MOVQ(n, rest)
	ANDQ(Imm(15), rest)
	KMOVW(lowBits(rest).As32(), mask)
	return mask
}

// halve adds the upper half of a vector to the lower one.
func halve(v VecVirtual) VecVirtual {
	y := YMM()
	VEXTRACTF64X4(Imm(1), v, y)
	VADDPS(v.AsY(), y, y)
	return y
}

func dot512() {
	kernel("dotKernelAVX512", "func(a, b *float32, n int) float32",
		"dotKernelAVX512 returns the inner product of n floats, n >= 0.")
	a, b, n := loadGP("a"), loadGP("b"), loadGP("n")
	mask := tailMask512(n)
	acc := zmms(4)
	zero512(acc...)
	x, y := ZMM(), ZMM()

	Label("by64")
	CMPQ(n, Imm(64))
	JLT(LabelRef("by16"))
	for i := range acc {
		VMOVUPS(Mem{Base: a, Disp: vectorSize512 * i}, x)
		VFMADD231PS(Mem{Base: b, Disp: vectorSize512 * i}, x, acc[i])
	}
	ADDQ(U32(4*vectorSize512), a)
	ADDQ(U32(4*vectorSize512), b)
	SUBQ(Imm(64), n)
	JMP(LabelRef("by64"))

	Label("by16")
	CMPQ(n, Imm(16))
	JLT(LabelRef("tail"))
	VMOVUPS(Mem{Base: a}, x)
	VFMADD231PS(Mem{Base: b}, x, acc[0])
	ADDQ(Imm(vectorSize512), a)
	ADDQ(Imm(vectorSize512), b)
	SUBQ(Imm(16), n)
	JMP(LabelRef("by16"))

	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("sum"))
	VMOVUPS_Z(Mem{Base: a}, mask, x)
	VMOVUPS_Z(Mem{Base: b}, mask, y)
	VFMADD231PS(x, y, acc[1])

	Label("sum")
	VADDPS(acc[1], acc[0], acc[0])
	VADDPS(acc[3], acc[2], acc[2])
	VADDPS(acc[2], acc[0], acc[0])
	sum := across(acc[0], func(from, into Op) { VADDPS(from, into, into) })
	Store(sum, ReturnIndex(0))
	done()
}

// dotRows512 takes four rows at a time, as dotRows does. Single rows add up in the very same
// order.
func dotRows512() {
	kernel("dotRowsKernelAVX512", "func(q *float32, dim int, rows *float32, stride int, out *float32, n int)",
		"dotRowsKernelAVX512 writes the inner products of q and n rows, stride floats apart;",
		"n and dim are at least 1.")
	q, dim, rows, stride := loadGP("q"), loadGP("dim"), loadGP("rows"), loadGP("stride")
	out, n := loadGP("out"), loadGP("n")
	mask := tailMask512(dim)
	SHLQ(Imm(2), stride)
	end := GP64() // bytes of q that are taken 16 floats at a time
	MOVQ(dim, end)
	ANDQ(I32(-16), end)
	SHLQ(Imm(2), end)

	byFour(out, n, func(height int, label func(string) string) {
		acc := zmms(height)
		zero512(acc...)
		row := nextRows(rows, stride, height)
		off := GP64()
		XORQ(off, off)
		x, y := ZMM(), ZMM()
		Label(label("by16x"))
		CMPQ(off, end)
		JGE(LabelRef(label("tailx")))
		VMOVUPS(Mem{Base: q, Index: off, Scale: 1}, x)
		for r := range acc {
			VFMADD231PS(Mem{Base: row[r], Index: off, Scale: 1}, x, acc[r])
		}
		ADDQ(Imm(vectorSize512), off)
		JMP(LabelRef(label("by16x")))

		Label(label("tailx"))
		TESTQ(U32(15), dim)
		JZ(LabelRef(label("sumx")))
		VMOVUPS_Z(Mem{Base: q, Index: off, Scale: 1}, mask, x)
		for r := range acc {
			VMOVUPS_Z(Mem{Base: row[r], Index: off, Scale: 1}, mask, y)
			VFMADD231PS(y, x, acc[r])
		}

		Label(label("sumx"))
		sums := make([]VecVirtual, height)
		for r := range acc {
			sums[r] = halve(acc[r])
		}
		sum := horizontalSum(sums)
		if height == 4 {
			VMOVUPS(sum, Mem{Base: out})
		} else {
			VMOVSS(sum, Mem{Base: out})
		}
	})
}

// above512 tests sixteen scores at a time and compresses the numbers of those that reach the
// threshold. What it stores beyond them lies within out, since no more have been found than
// tested.
func above512(c constants) {
	kernel("aboveKernelAVX512",
		"func(dots *int32, weight *float32, n int, threshold float32, out *uint32) int",
		"aboveKernelAVX512 lists the i < n with dots[i]*weight[i] >= threshold; n is a positive multiple of 16.")
	dots, weight := loadGP("dots"), loadGP("weight")
	listAbove512(c, true, func(i GPVirtual, v VecVirtual) {
		VCVTDQ2PS(Mem{Base: dots, Index: i, Scale: 4}, v)
		VMULPS(Mem{Base: weight, Index: i, Scale: 4}, v, v)
	})
}

// aboveFloats512 is above512 for scores as they are, of which many groups of sixteen have one that reaches the threshold: which
// ones cannot be predicted, so no branch depends on it, as in aboveFloats.
func aboveFloats512(c constants) {
	kernel("aboveFloatsKernelAVX512", "func(scores *float32, n int, threshold float32, out *uint32) int",
		"aboveFloatsKernelAVX512 lists the i < n with scores[i] >= threshold; n is a positive multiple of 16.")
	scores := loadGP("scores")
	listAbove512(c, false, func(i GPVirtual, v VecVirtual) { VMOVUPS(Mem{Base: scores, Index: i, Scale: 4}, v) })
}

// listAbove512 emits the rest of both, given how the scores from i are loaded, and whether to pass groups with none by a branch.
func listAbove512(c constants, pass bool, load func(i GPVirtual, v VecVirtual)) {
	out, n := loadGP("out"), loadGP("n")
	threshold, ids, sixteen, v := ZMM(), ZMM(), ZMM(), ZMM()
	VBROADCASTSS(paramAddr("threshold"), threshold)
	VMOVDQU32(c.lanes16, ids)
	broadcastDword(16, sixteen)
	i, hits, count := GP64(), K(), GP64()
	XORQ(i, i)
	Label("by16")
	load(i, v)
	VCMPPS(Imm(atLeast), threshold, v, hits)
	if pass {
		KORTESTW(hits, hits)
		JZ(LabelRef("next"))
	}
	VPCOMPRESSD_Z(ids, hits, v)
	VMOVDQU32(v, Mem{Base: out})
	KMOVW(hits, count.As32())
	POPCNTL(count.As32(), count.As32())
	LEAQ(Mem{Base: out, Index: count, Scale: 4}, out)
	Label("next")
	VPADDD(sixteen, ids, ids)
	ADDQ(Imm(16), i)
	CMPQ(i, n)
	JLT(LabelRef("by16"))
	SUBQ(paramAddr("out"), out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	done()
}
