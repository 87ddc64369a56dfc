package emit

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// rowsOf says how an int8 kernel finds its rows.
type rowsOf int

const (
	consecutive rowsOf = iota
	listed             // by the indices in at
)

// aheadRows is how many listed rows are requested ahead of the ones being read, so that some
// misses are always in flight. Rows of 256 bytes at random places of 256 MiB take 21 ns each
// with 8 and 29 without (BenchmarkDotI8At on a Zen 3). With 16 a whole query that reads 256 of
// them takes 3 % less time than with 8, on a Zen 5.
const aheadRows = 16

// next begins a walk over n rows of dim elements, stride apart. What it returns emits the addresses of the next ones.
func (f rowsOf) next(rows, stride, dim, n GPVirtual) func(height int, label func(string) string) []GPVirtual {
	if f == consecutive {
		return func(height int, _ func(string) string) []GPVirtual { return nextRows(rows, stride, height) }
	}
	at, ahead, atEnd := loadGP("at"), GP64(), GP64()
	MOVQ(at, ahead)
	LEAQ(Mem{Base: at, Index: n, Scale: 4}, atEnd)
	return func(height int, label func(string) string) []GPVirtual {
		prefetchListed(label, rows, stride, dim, at, ahead, atEnd, height)
		row := make([]GPVirtual, height)
		for r := range row {
			row[r] = GP64()
			MOVL(Mem{Base: at, Disp: 4 * r}, row[r].As32())
			IMULQ(stride, row[r])
			ADDQ(rows, row[r])
		}
		ADDQ(Imm(uint64(4*height)), at)
		return row
	}
}

func dotI8(c constants) {
	kernel("dotI8KernelAVX2", "func(q *int16, dim int, rows *int8, stride int, out *int32, n int)",
		"dotI8KernelAVX2 writes the inner products of q and n rows, stride apart;",
		"n is at least 1 and dim at least 16.")
	emitDotI8(c, consecutive)
}

func dotI8At(c constants) {
	kernel("dotI8AtKernelAVX2", "func(q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int)",
		"dotI8AtKernelAVX2 is dotI8KernelAVX2 for the rows at[0:n].")
	emitDotI8(c, listed)
}

// emitDotI8 widens 16 bytes of a row to words and multiplies and adds pairs of them to
// dwords, exactly: |q*row| <= 2^22. The last dim%16 elements are read with the 16 that end
// the row, times a copy of q in which those counted already are zero.
func emitDotI8(c constants, find rowsOf) {
	q, dim, rows, stride := loadGP("q"), loadGP("dim"), loadGP("rows"), loadGP("stride")
	out, n := loadGP("out"), loadGP("n")
	next := find.next(rows, stride, dim, n)
	whole := GP64() // elements taken 16 at a time
	MOVQ(dim, whole)
	ANDQ(I32(-16), whole)
	qTail := YMM()
	table, rest := GP64(), GP64()
	LEAQ(c.wordTail, table)
	MOVQ(dim, rest)
	SUBQ(whole, rest)
	VMOVDQU(Mem{Base: table, Index: rest, Scale: 2}, qTail)
	VPAND(Mem{Base: q, Index: dim, Scale: 2, Disp: -2 * 16}, qTail, qTail)

	byFour(out, n, func(height int, label func(string) string) {
		row := next(height, label)
		acc := make([]VecVirtual, height)
		for r := range acc {
			acc[r] = YMM()
			VPXOR(acc[r], acc[r], acc[r])
		}
		off := GP64()
		XORQ(off, off)
		Label(label("by16x"))
		v := YMM()
		qs := YMM()
		VMOVDQU(Mem{Base: q, Index: off, Scale: 2}, qs)
		for r := range acc {
			VPMOVSXBW(Mem{Base: row[r], Index: off, Scale: 1}, v)
			VPMADDWD(v, qs, v)
			VPADDD(v, acc[r], acc[r])
		}
		ADDQ(Imm(16), off)
		CMPQ(off, whole)
		JLT(LabelRef(label("by16x")))
		CMPQ(off, dim)
		JGE(LabelRef(label("sumx")))
		for r := range acc {
			VPMOVSXBW(Mem{Base: row[r], Index: dim, Scale: 1, Disp: -16}, v)
			VPMADDWD(v, qTail, v)
			VPADDD(v, acc[r], acc[r])
		}
		Label(label("sumx"))
		first, second := acc[0], acc[0]
		if height == 4 {
			VPHADDD(acc[1], acc[0], acc[0])
			VPHADDD(acc[3], acc[2], acc[2])
			second = acc[2]
		} else {
			VPHADDD(acc[0], acc[0], acc[0])
		}
		VPHADDD(second, first, first)
		sum := XMM()
		VEXTRACTI128(Imm(1), first, sum)
		VPADDD(first.AsX(), sum, sum)
		if height == 4 {
			VMOVDQU(sum, Mem{Base: out})
		} else {
			VMOVD(sum, Mem{Base: out})
		}
	})
}

// prefetchListed requests the rows up to aheadRows beyond the next height ones that have not
// been requested yet.
func prefetchListed(label func(string) string, rows, stride, dim, at, ahead, atEnd GPVirtual, height int) {
	target, line, last := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: at, Disp: 4 * (height + aheadRows)}, target)
	CMPQ(target, atEnd)
	CMOVQGT(atEnd, target)
	Label(label("aheadx"))
	CMPQ(ahead, target)
	JGE(LabelRef(label("readx")))
	MOVL(Mem{Base: ahead}, line.As32())
	ADDQ(Imm(4), ahead)
	IMULQ(stride, line)
	ADDQ(rows, line)
	LEAQ(Mem{Base: line, Index: dim, Scale: 1, Disp: -1}, last)
	Label(label("linex"))
	PREFETCHT0(Mem{Base: line})
	ADDQ(Imm(64), line)
	CMPQ(line, last)
	JLT(LabelRef(label("linex")))
	PREFETCHT0(Mem{Base: last}) // the line that a row which begins within one ends in
	JMP(LabelRef(label("aheadx")))
	Label(label("readx"))
}
