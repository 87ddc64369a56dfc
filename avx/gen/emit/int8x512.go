package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func dotI8x512(vnni bool) {
	name := at512("dotI8Kernel", vnni)
	kernel(name, "func(q *int16, dim int, rows *int8, stride int, out *int32, n int)",
		name+" writes the inner products of q and n rows, stride apart;",
		"n and dim are at least 1.")
	emitDotI8x512(vnni, consecutive)
}

func dotI8At512(vnni bool) {
	name := at512("dotI8AtKernel", vnni)
	kernel(name, "func(q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int)",
		name+" is "+at512("dotI8Kernel", vnni)+" for the rows at[0:n].")
	emitDotI8x512(vnni, listed)
}

// emitDotI8x512 is emitDotI8 for 32 bytes of a row at a time, the last of which a mask selects.
func emitDotI8x512(vnni bool, find rowsOf) {
	q, dim, rows, stride := loadGP("q"), loadGP("dim"), loadGP("rows"), loadGP("stride")
	out, n := loadGP("out"), loadGP("n")
	next := find.next(rows, stride, dim, n)
	whole, rest, mask := GP64(), GP64(), K() // elements taken 32 at a time, and those after them
	MOVQ(dim, rest)
	ANDQ(Imm(31), rest)
	MOVQ(dim, whole)
	SUBQ(rest, whole)
	KMOVD(lowBits(rest).As32(), mask)

	byFour(out, n, func(height int, label func(string) string) {
		row := next(height, label)
		acc := zmms(height)
		zero512(acc...)
		v, qs := ZMM(), ZMM()
		multiply := func(r int) {
			if vnni {
				VPDPWSSD(v, qs, acc[r])
			} else {
				VPMADDWD(v, qs, v)
				VPADDD(v, acc[r], acc[r])
			}
		}
		off := GP64()
		XORQ(off, off)
		Label(label("by32x"))
		CMPQ(off, whole)
		JGE(LabelRef(label("tailx")))
		VMOVDQU16(Mem{Base: q, Index: off, Scale: 2}, qs)
		for r := range acc {
			VPMOVSXBW(Mem{Base: row[r], Index: off, Scale: 1}, v)
			multiply(r)
		}
		ADDQ(Imm(32), off)
		JMP(LabelRef(label("by32x")))

		Label(label("tailx"))
		CMPQ(off, dim)
		JGE(LabelRef(label("sumx")))
		VMOVDQU16_Z(Mem{Base: q, Index: off, Scale: 2}, mask, qs)
		for r := range acc {
			VPMOVSXBW_Z(Mem{Base: row[r], Index: off, Scale: 1}, mask, v)
			multiply(r)
		}

		Label(label("sumx"))
		if height == 4 {
			VMOVDQU32(sumOfFour(acc), Mem{Base: out})
		} else {
			VMOVD(across(acc[0], func(from, into Op) { VPADDD(from, into, into) }), Mem{Base: out})
		}
	})
}

// sumOfFour reduces four vectors of dwords to their four sums. It overwrites the vectors.
func sumOfFour(acc []VecVirtual) VecVirtual {
	low, high := ZMM(), ZMM()
	for i := 0; i < 4; i += 2 { // now lanes of pairs: a0+a2, b0+b2, a1+a3, b1+b3
		VPUNPCKLDQ(acc[i+1], acc[i], low)
		VPUNPCKHDQ(acc[i+1], acc[i], high)
		VPADDD(low, high, acc[i])
	}
	VPUNPCKLQDQ(acc[2], acc[0], low)
	VPUNPCKHQDQ(acc[2], acc[0], high)
	VPADDD(low, high, low) // in each lane of 128 bits the four sums of that lane
	y, x := YMM(), XMM()
	VEXTRACTI64X4(Imm(1), low, y)
	VPADDD(low.AsY(), y, y)
	VEXTRACTI32X4(Imm(1), y, x)
	VPADDD(y.AsX(), x, x)
	return x
}
