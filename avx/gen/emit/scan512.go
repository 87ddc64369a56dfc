package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const notLess = 5 // predicate of VPCMPUW

// scanPQ4x512 is scanPQ4 with four sub-quantisers in a register: each of its lanes of 128 bits
// has 16 rows of one, and they are added up at the end of a block. Hits are compressed, so that
// many cost little more than one. What is stored beyond them lies within out, since no more rows
// have been found than scanned.
func scanPQ4x512(c constants) {
	kernel("scanPQ4KernelAVX512",
		"func(codes *byte, blockStride, m int, lut *byte, count int, threshold uint16, ahead *byte, out *uint32) int",
		"scanPQ4KernelAVX512 scans ceil(count/32) blocks; count is at least 1, m even and at least 2.")
	codes, lut, out, ahead := loadGP("codes"), loadGP("lut"), loadGP("out"), loadGP("ahead")
	first := GP64() // index of the first row of the block
	XORQ(first, first)
	end := loadGP("m") // bytes of all tables, and of all codes of a block
	SHLQ(Imm(4), end)
	threshold, nibbles, ids, sixteen := YMM(), ZMM(), ZMM(), ZMM()
	VPBROADCASTW(paramAddr("threshold"), threshold)
	broadcastDword(0x0f0f0f0f, nibbles)
	broadcastDword(16, sixteen)
	VMOVDQU32(c.lanes16, ids)

	halves := [2]half{{ZMM(), ZMM()}, {ZMM(), ZMM()}}
	table, v := ZMM(), [2]VecVirtual{ZMM(), ZMM()}
	Label("block")
	for _, h := range halves {
		zero512(h.all, h.odd)
	}
	off := GP64() // bytes done
	XORQ(off, off)
	look := func() {
		VPSRLW(Imm(4), v[0], v[1])
		for i, h := range halves {
			VPANDD(nibbles, v[i], v[i])
			h.add(table, v[i])
		}
	}
	limit := GP64()
	LEAQ(Mem{Base: end, Disp: -vectorSize512}, limit)
	Label("by4")
	CMPQ(off, limit)
	JG(LabelRef("rest"))
	PREFETCHT0(Mem{Base: ahead, Index: off, Scale: 1})
	VMOVDQU32(Mem{Base: lut, Index: off, Scale: 1}, table)
	VMOVDQU32(Mem{Base: codes, Index: off, Scale: 1}, v[0])
	look()
	ADDQ(Imm(vectorSize512), off)
	JMP(LabelRef("by4"))
	Label("rest")
	CMPQ(off, end)
	JGE(LabelRef("compare"))
	PREFETCHT0(Mem{Base: ahead, Index: off, Scale: 1})
	VMOVDQU(Mem{Base: lut, Index: off, Scale: 1}, table.AsY()) // the upper lanes are zero
	VMOVDQU(Mem{Base: codes, Index: off, Scale: 1}, v[0].AsY())
	look()

	Label("compare")
	// Add the lanes up: then the lower lane has the rows of the first half, the upper one those
	// of the second.
	even, odd, t := YMM(), YMM(), YMM()
	fold := func(a, b, sum VecVirtual) {
		lower := YMM()
		for _, h := range []VecVirtual{a, b} {
			VEXTRACTI64X4(Imm(1), h, t)
			VPADDW(t, h.AsY(), h.AsY())
		}
		VSHUFI64X2(Imm(0), b.AsY(), a.AsY(), lower)
		VSHUFI64X2(Imm(3), b.AsY(), a.AsY(), sum)
		VPADDW(lower, sum, sum)
	}
	fold(halves[0].all, halves[1].all, even)
	fold(halves[0].odd, halves[1].odd, odd)
	VPSLLW(Imm(8), odd, t)
	VPSUBW(t, even, even)
	evenHits, oddHits := K(), K()
	VPCMPUW(Imm(notLess), threshold, even, evenHits)
	VPCMPUW(Imm(notLess), threshold, odd, oddHits)
	KORTESTW(evenHits, oddHits)
	JZ(LabelRef("next"))

	// Rows at and beyond count do not exist.
	rest, exist := GP64(), GP64()
	MOVQ(I32(-1), exist)
	MOVQ(paramAddr("count"), rest)
	SUBQ(first, rest)
	CMPQ(rest, Imm(32))
	JGE(LabelRef("hits"))
	MOVQ(lowBits(rest), exist)
	Label("hits")
	low, high, words := YMM(), YMM(), YMM()
	VPUNPCKLWD(odd, even, low)  // rows 0-7 and 16-23
	VPUNPCKHWD(odd, even, high) // rows 8-15 and 24-31
	dwords, number := ZMM(), ZMM()
	VPBROADCASTD(first.As32(), number)
	VPADDD(ids, number, number)
	for group := range 2 { // rows 0-15, 16-31
		VSHUFI64X2(Imm(uint64(3*group)), high, low, words)
		valid, hits, found := K(), K(), GP64()
		KMOVW(exist.As32(), valid)
		VPCMPUW(Imm(notLess), threshold, words, valid, hits)
		VPMOVZXWD(words, dwords)
		VPSLLD(Imm(16), dwords, dwords)
		VPORD(number, dwords, dwords)
		VPCOMPRESSD_Z(dwords, hits, dwords)
		VMOVDQU32(dwords, Mem{Base: out})
		KMOVW(hits, found.As32())
		POPCNTL(found.As32(), found.As32())
		LEAQ(Mem{Base: out, Index: found, Scale: 4}, out)
		if group == 0 {
			SHRQ(Imm(16), exist)
			VPADDD(sixteen, number, number)
		}
	}

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
