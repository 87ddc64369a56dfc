package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	panelWidth = 16             // centroids in a panel, PanelWidth in package avx
	panelBytes = panelWidth * 4 // one dimension of a panel
	vectorSize = 32             // bytes of a YMM register
)

// tailMask loads the mask of the first n%8 floats.
func tailMask(c constants, n GPVirtual) VecVirtual {
	mask, table, rest := YMM(), GP64(), GP64()
	MOVQ(n, rest)
	ANDQ(Imm(7), rest)
	NEGQ(rest)
	LEAQ(c.floatTail, table)
	VMOVDQU(Mem{Base: table, Index: rest, Scale: 4, Disp: 8 * 4}, mask)
	return mask
}

// dot runs four chains of FMA, as many as hide its latency when loads allow two per cycle.
func dot(c constants) {
	kernel("dotKernelAVX2", "func(a, b *float32, n int) float32",
		"dotKernelAVX2 returns the inner product of n floats, n >= 0.")
	a, b, n := loadGP("a"), loadGP("b"), loadGP("n")
	mask := tailMask(c, n)
	acc := [4]VecVirtual{YMM(), YMM(), YMM(), YMM()}
	zero(acc[:]...)

	Label("by32")
	CMPQ(n, Imm(32))
	JLT(LabelRef("by8"))
	for i := range acc {
		x := YMM()
		VMOVUPS(Mem{Base: a, Disp: vectorSize * i}, x)
		VFMADD231PS(Mem{Base: b, Disp: vectorSize * i}, x, acc[i])
	}
	ADDQ(Imm(4*vectorSize), a)
	ADDQ(Imm(4*vectorSize), b)
	SUBQ(Imm(32), n)
	JMP(LabelRef("by32"))

	Label("by8")
	CMPQ(n, Imm(8))
	JLT(LabelRef("tail"))
	x, y := YMM(), YMM()
	VMOVUPS(Mem{Base: a}, x)
	VFMADD231PS(Mem{Base: b}, x, acc[0])
	ADDQ(Imm(vectorSize), a)
	ADDQ(Imm(vectorSize), b)
	SUBQ(Imm(8), n)
	JMP(LabelRef("by8"))

	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("sum"))
	VMASKMOVPS(Mem{Base: a}, mask, x)
	VMASKMOVPS(Mem{Base: b}, mask, y)
	VFMADD231PS(x, y, acc[1])

	Label("sum")
	VADDPS(acc[1], acc[0], acc[0])
	VADDPS(acc[3], acc[2], acc[2])
	VADDPS(acc[2], acc[0], acc[0])
	sum := horizontalSum(acc[:1])
	Store(sum, ReturnIndex(0))
	done()
}

// horizontalSum reduces one or four vectors to the sums of their lanes, each added up in the
// same order, in the low lanes of the result. It overwrites the vectors.
func horizontalSum(v []VecVirtual) VecVirtual {
	first, second := v[0], v[0]
	if len(v) == 4 {
		VHADDPS(v[1], v[0], v[0])
		VHADDPS(v[3], v[2], v[2])
		second = v[2]
	} else {
		VHADDPS(v[0], v[0], v[0])
	}
	VHADDPS(second, first, first)
	high := XMM()
	VEXTRACTF128(Imm(1), first, high)
	VADDPS(first.AsX(), high, high)
	return high
}

// dotRows takes four rows at a time, so that q is loaded once for four and the horizontal
// sums share their instructions. Single rows add up in the very same order.
func dotRows(c constants) {
	kernel("dotRowsKernelAVX2", "func(q *float32, dim int, rows *float32, stride int, out *float32, n int)",
		"dotRowsKernelAVX2 writes the inner products of q and n rows, stride floats apart;",
		"n and dim are at least 1.")
	q, dim, rows, stride := loadGP("q"), loadGP("dim"), loadGP("rows"), loadGP("stride")
	out, n := loadGP("out"), loadGP("n")
	mask := tailMask(c, dim)
	SHLQ(Imm(2), stride)
	end16 := GP64() // bytes of q that are taken 16 floats at a time
	MOVQ(dim, end16)
	ANDQ(I32(-16), end16)
	SHLQ(Imm(2), end16)

	byFour(out, n, func(height int, label func(string) string) {
		acc := make([][2]VecVirtual, height)
		for r := range acc {
			acc[r] = [2]VecVirtual{YMM(), YMM()}
			zero(acc[r][:]...)
		}
		row := nextRows(rows, stride, height)
		off := GP64()
		XORQ(off, off)
		q0, q1 := YMM(), YMM()

		Label(label("by16x"))
		CMPQ(off, end16)
		JGE(LabelRef(label("by8x")))
		VMOVUPS(Mem{Base: q, Index: off, Scale: 1}, q0)
		VMOVUPS(Mem{Base: q, Index: off, Scale: 1, Disp: vectorSize}, q1)
		for r := range acc {
			VFMADD231PS(Mem{Base: row[r], Index: off, Scale: 1}, q0, acc[r][0])
			VFMADD231PS(Mem{Base: row[r], Index: off, Scale: 1, Disp: vectorSize}, q1, acc[r][1])
		}
		ADDQ(Imm(2*vectorSize), off)
		JMP(LabelRef(label("by16x")))

		Label(label("by8x"))
		TESTQ(U32(8), dim)
		JZ(LabelRef(label("tailx")))
		VMOVUPS(Mem{Base: q, Index: off, Scale: 1}, q0)
		for r := range acc {
			VFMADD231PS(Mem{Base: row[r], Index: off, Scale: 1}, q0, acc[r][0])
		}
		ADDQ(Imm(vectorSize), off)

		Label(label("tailx"))
		TESTQ(U32(7), dim)
		JZ(LabelRef(label("sumx")))
		VMASKMOVPS(Mem{Base: q, Index: off, Scale: 1}, mask, q0)
		for r := range acc {
			VMASKMOVPS(Mem{Base: row[r], Index: off, Scale: 1}, mask, q1)
			VFMADD231PS(q1, q0, acc[r][1])
		}

		Label(label("sumx"))
		sums := make([]VecVirtual, height)
		for r := range acc {
			VADDPS(acc[r][1], acc[r][0], acc[r][0])
			sums[r] = acc[r][0]
		}
		sum := horizontalSum(sums)
		if height == 4 {
			VMOVUPS(sum, Mem{Base: out})
		} else {
			VMOVSS(sum, Mem{Base: out})
		}
	})
}
