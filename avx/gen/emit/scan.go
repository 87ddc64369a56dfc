package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// half accumulates 32 rows: words of all, which are even rows + 256*odd rows modulo 2^16, and
// words of odd rows alone. Adding whole words of looked-up byte pairs saves the masking of
// the even ones: all - odd<<8 is the even rows, since their sum fits a word.
type half struct{ all, odd VecVirtual }

// scanPQ4 looks 32 codes up with each VPSHUFB: the table of a sub-quantiser fits a register.
// Per block, sums stay in registers until one row reaches the threshold, which is rare; then
// they are spilled in row order and the hits are walked bit by bit.
func scanPQ4(c constants) {
	kernel("scanPQ4KernelAVX2",
		"func(codes *byte, blockStride, m int, lut *byte, count int, threshold uint16, out *uint32) int",
		"scanPQ4KernelAVX2 scans ceil(count/64) blocks; m and count are at least 1.")
	codes, lut, out := loadGP("codes"), loadGP("lut"), loadGP("out")
	first := GP64() // index of the first row of the block
	XORQ(first, first)
	end := loadGP("m") // bytes of all tables
	SHLQ(Imm(4), end)
	threshold, nibbles, evenBytes := YMM(), YMM(), YMM()
	VPBROADCASTW(paramAddr("threshold"), threshold)
	VMOVDQU(c.nibbles, nibbles)
	VMOVDQU(c.evenBytes, evenBytes)
	sums := AllocLocal(64 * 2)

	halves := [2]half{{YMM(), YMM()}, {YMM(), YMM()}}
	Label("block")
	for _, h := range halves {
		zero(h.all, h.odd)
	}
	off := GP64() // bytes of tables done; codes are twice as long
	XORQ(off, off)
	look := func(u int) {
		table, v := YMM(), [2]VecVirtual{YMM(), YMM()}
		VBROADCASTI128(Mem{Base: lut, Index: off, Scale: 1, Disp: 16 * u}, table)
		VMOVDQU(Mem{Base: codes, Index: off, Scale: 2, Disp: 32 * u}, v[0])
		VPSRLW(Imm(4), v[0], v[1])
		for i, h := range halves {
			VPAND(nibbles, v[i], v[i])
			VPSHUFB(v[i], table, v[i])
			VPADDW(v[i], h.all, h.all)
			VPSRLW(Imm(8), v[i], v[i])
			VPADDW(v[i], h.odd, h.odd)
		}
	}
	limit := GP64()
	LEAQ(Mem{Base: end, Disp: -16}, limit)
	Label("by2")
	CMPQ(off, limit)
	JGE(LabelRef("rest"))
	look(0)
	look(1)
	ADDQ(Imm(32), off)
	JMP(LabelRef("by2"))
	Label("rest")
	CMPQ(off, end)
	JGE(LabelRef("compare"))
	look(0)

	Label("compare")
	var word [2]GPVirtual
	for i, h := range halves {
		even := h.all
		t, reached := YMM(), [2]VecVirtual{YMM(), YMM()}
		VPSLLW(Imm(8), h.odd, t)
		VPSUBW(t, h.all, even)
		for j, v := range []VecVirtual{even, h.odd} {
			VPMAXUW(threshold, v, reached[j])
			VPCMPEQW(v, reached[j], reached[j])
		}
		// Even rows to even bytes, odd rows to odd bytes: one bit per row in row order.
		VPAND(evenBytes, reached[0], reached[0])
		VPANDN(reached[1], evenBytes, reached[1])
		VPOR(reached[0], reached[1], reached[0])
		word[i] = GP64()
		VPMOVMSKB(reached[0], word[i].As32())
	}
	hits := word[1]
	SHLQ(Imm(32), hits)
	ORQ(word[0], hits)
	JZ(LabelRef("next"))

	// Rows at and beyond count do not exist.
	rest := RCX
	MOVQ(paramAddr("count"), rest)
	SUBQ(first, rest)
	CMPQ(rest, Imm(64))
	JGE(LabelRef("spill"))
	beyond := GP64()
	MOVQ(I32(-1), beyond)
	SHLQ(CL, beyond)
	NOTQ(beyond)
	ANDQ(beyond, hits)
	JZ(LabelRef("next"))

	Label("spill")
	for i, h := range halves {
		low, high := YMM(), YMM()
		VPUNPCKLWD(h.odd, h.all, low)  // rows 0-7 and 16-23 of the half
		VPUNPCKHWD(h.odd, h.all, high) // rows 8-15 and 24-31
		VMOVDQU(low.AsX(), sums.Offset(64*i))
		VMOVDQU(high.AsX(), sums.Offset(64*i+16))
		VEXTRACTI128(Imm(1), low, sums.Offset(64*i+32))
		VEXTRACTI128(Imm(1), high, sums.Offset(64*i+48))
	}
	base := GP64()
	LEAQ(sums, base)
	Label("hit")
	bit, hit, less := GP64(), GP64(), GP64()
	TZCNTQ(hits, bit) // hits is not zero: a CPU without BMI1 runs this as BSF, to the same end
	MOVWLZX(Mem{Base: base, Index: bit, Scale: 2}, hit.As32())
	SHLL(Imm(16), hit.As32())
	ADDL(first.As32(), bit.As32())
	ORL(bit.As32(), hit.As32())
	MOVL(hit.As32(), Mem{Base: out})
	ADDQ(Imm(4), out)
	LEAQ(Mem{Base: hits, Disp: -1}, less)
	ANDQ(less, hits)
	JNZ(LabelRef("hit"))

	Label("next")
	ADDQ(paramAddr("blockStride"), codes)
	ADDQ(Imm(64), first)
	CMPQ(first, paramAddr("count"))
	JLT(LabelRef("block"))
	SUBQ(paramAddr("out"), out)
	SHRQ(Imm(2), out)
	Store(out, ReturnIndex(0))
	done()
}
