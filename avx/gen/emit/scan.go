package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// half accumulates 16 rows, those of even sub-quantisers in the lower and those of odd ones
// in the upper lane: words of all, which are even rows + 256*odd rows modulo 2^16, and words
// of odd rows alone. Adding whole words of looked-up byte pairs saves the masking of the even
// ones: all - odd<<8 is the even rows, since their sum fits a word.
type half struct{ all, odd VecVirtual }

// add looks the codes of v up and adds what it finds. It overwrites v.
func (h half) add(table, v VecVirtual) {
	VPSHUFB(v, table, v)
	VPADDW(v, h.all, h.all)
	VPSRLW(Imm(8), v, v)
	VPADDW(v, h.odd, h.odd)
}

// scanPQ4 looks 32 codes up with each VPSHUFB: the tables of two sub-quantisers fit a
// register. Per block, sums stay in registers until one row reaches the threshold, which is
// rare; then they are spilled in row order and the hits are walked bit by bit. While it reads
// a block it requests as many bytes of what will be scanned next.
func scanPQ4(c constants) {
	kernel("scanPQ4KernelAVX2",
		"func(codes *byte, blockStride, m int, lut *byte, count int, threshold uint16, ahead *byte, out *uint32) int",
		"scanPQ4KernelAVX2 scans ceil(count/32) blocks; count is at least 1, m even and at least 2.")
	codes, lut, out, ahead := loadGP("codes"), loadGP("lut"), loadGP("out"), loadGP("ahead")
	first := GP64() // index of the first row of the block
	XORQ(first, first)
	end := loadGP("m") // bytes of all tables, and of all codes of a block
	SHLQ(Imm(4), end)
	threshold, nibbles, evenBytes := YMM(), YMM(), YMM()
	VPBROADCASTW(paramAddr("threshold"), threshold)
	VMOVDQU(c.nibbles, nibbles)
	VMOVDQU(c.evenBytes, evenBytes)
	sums := AllocLocal(32 * 2)

	halves := [2]half{{YMM(), YMM()}, {YMM(), YMM()}}
	Label("block")
	for _, h := range halves {
		zero(h.all, h.odd)
	}
	off := GP64() // bytes done
	XORQ(off, off)
	look := func(u int) {
		table, v := YMM(), [2]VecVirtual{YMM(), YMM()}
		VMOVDQU(Mem{Base: lut, Index: off, Scale: 1, Disp: 32 * u}, table)
		VMOVDQU(Mem{Base: codes, Index: off, Scale: 1, Disp: 32 * u}, v[0])
		VPSRLW(Imm(4), v[0], v[1])
		for i, h := range halves {
			VPAND(nibbles, v[i], v[i])
			h.add(table, v[i])
		}
	}
	limit := GP64()
	LEAQ(Mem{Base: end, Disp: -32}, limit)
	Label("by2")
	CMPQ(off, limit)
	JGE(LabelRef("rest"))
	PREFETCHT0(Mem{Base: ahead, Index: off, Scale: 1})
	look(0)
	look(1)
	ADDQ(Imm(64), off)
	JMP(LabelRef("by2"))
	Label("rest")
	CMPQ(off, end)
	JGE(LabelRef("compare"))
	PREFETCHT0(Mem{Base: ahead, Index: off, Scale: 1})
	look(0)

	Label("compare")
	// Add the lanes up: then the lower lane has the rows of the first half, the upper one those
	// of the second.
	fold := func(a, b VecVirtual) {
		upper := YMM()
		VPERM2I128(Imm(0x31), b, a, upper)
		VPERM2I128(Imm(0x20), b, a, a)
		VPADDW(upper, a, a)
	}
	even, odd := halves[0].all, halves[0].odd
	fold(even, halves[1].all)
	fold(odd, halves[1].odd)
	t, reached := YMM(), [2]VecVirtual{YMM(), YMM()}
	VPSLLW(Imm(8), odd, t)
	VPSUBW(t, even, even)
	for j, v := range []VecVirtual{even, odd} {
		VPMAXUW(threshold, v, reached[j])
		VPCMPEQW(v, reached[j], reached[j])
	}
	// Even rows to even bytes, odd rows to odd bytes: one bit per row in row order.
	VPAND(evenBytes, reached[0], reached[0])
	VPANDN(reached[1], evenBytes, reached[1])
	VPOR(reached[0], reached[1], reached[0])
	hits := GP64()
	VPMOVMSKB(reached[0], hits.As32())
	TESTQ(hits, hits)
	JZ(LabelRef("next"))

	// Rows at and beyond count do not exist.
	rest := RCX
	MOVQ(paramAddr("count"), rest)
	SUBQ(first, rest)
	CMPQ(rest, Imm(32))
	JGE(LabelRef("spill"))
	beyond := GP64()
	MOVQ(I32(-1), beyond)
	SHLQ(CL, beyond)
	NOTQ(beyond)
	ANDQ(beyond, hits)
	JZ(LabelRef("next"))

	Label("spill")
	low, high := YMM(), YMM()
	VPUNPCKLWD(odd, even, low)  // rows 0-7 and 16-23
	VPUNPCKHWD(odd, even, high) // rows 8-15 and 24-31
	VMOVDQU(low.AsX(), sums)
	VMOVDQU(high.AsX(), sums.Offset(16))
	VEXTRACTI128(Imm(1), low, sums.Offset(32))
	VEXTRACTI128(Imm(1), high, sums.Offset(48))
	base := GP64()
	LEAQ(sums, base)
	eachBit("hit", hits, func(bit GPVirtual) {
		hit := GP64()
		MOVWLZX(Mem{Base: base, Index: bit, Scale: 2}, hit.As32())
		SHLL(Imm(16), hit.As32())
		ADDL(first.As32(), bit.As32())
		ORL(bit.As32(), hit.As32())
		MOVL(hit.As32(), Mem{Base: out})
		ADDQ(Imm(4), out)
	})

	Label("next")
	ADDQ(paramAddr("blockStride"), codes)
	ADDQ(paramAddr("blockStride"), ahead)
	ADDQ(Imm(32), first)
	CMPQ(first, paramAddr("count"))
	JLT(LabelRef("block"))
	SUBQ(paramAddr("out"), out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	done()
}
