// Package emit holds the kernels as programs that emit instructions, one function of Go per
// function of assembly.
//
// Kernels check nothing and handle no case that their callers in simd_amd64.go can: the
// comment of each says what it expects. All end with VZEROUPPER, or the SSE code of the Go
// compiler that runs next would pay for the dirty upper halves.
package emit

import (
	"fmt"
	"math/bits"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Kernels emits those of all levels.
func Kernels() {
	c := newConstants()
	avx2(c)
	avx512(c)
}

// avx2 emits the kernels of that level. They use AVX2, FMA3 and F16C and no other extension:
// BMI, say, has a CPU bit of its own.
func avx2(c constants) {
	dot(c)
	dotRows(c)
	assign6(c)
	assign1(c)
	scores6()
	scores()
	scanPQ4(c)
	above()
	aboveFloats(c)
	kth()
	scoresI4()
	assign2I8(c)
	scores2I8(c)
	dotI8(c)
	dotI8At(c)
	halfToFloat()
	floatToHalf()
	quantizeI8(c)
	widenI8()
	offsetI8()
	maxAbs()
	scale()
	sub()
	subtractMins()
	quantizeU8(c)
	pickAlong()
}

// constants are the read-only tables that kernels share.
type constants struct {
	floatTail Mem // 8 x -1, 8 x 0 in dwords: loaded r short of the zeros it selects the first r
	wordTail  Mem // 16 x 0, 16 x -1 in words: loaded r after the start it selects the last r
	ones      Mem // 8 dwords of 1
	wordOnes  Mem // 16 words of 1
	lanes     Mem // dwords 0..7
	nibbles   Mem // 32 bytes of 0x0f
	evenBytes Mem // 16 words of 0x00ff
	maxI8     Mem // 8 floats of 127
	minI8     Mem // 8 floats of -127
	unpack    Mem // dword order that undoes the lane-wise interleaving of two packs
	lanes16   Mem // dwords 0..15
	half      Mem // the float 0.5
	places    Mem // for each byte the places of its bits, eight bytes
	counts    Mem // and how many they are
	maxU8     Mem // the float 255
}

func newConstants() constants {
	return constants{
		floatTail: dwords("floatTail", 16, func(i int) uint32 { return -uint32(b2i(i < 8)) }),
		wordTail:  dwords("wordTail", 16, func(i int) uint32 { return -uint32(b2i(i >= 8)) }),
		ones:      dwords("ones", 8, func(int) uint32 { return 1 }),
		wordOnes:  dwords("wordOnes", 8, func(int) uint32 { return 0x00010001 }),
		lanes:     dwords("lanes", 8, func(i int) uint32 { return uint32(i) }),
		nibbles:   dwords("nibbles", 8, func(int) uint32 { return 0x0f0f0f0f }),
		evenBytes: dwords("evenBytes", 8, func(int) uint32 { return 0x00ff00ff }),
		maxI8:     dwords("maxI8", 8, func(int) uint32 { return 0x42fe0000 }),
		minI8:     dwords("minI8", 8, func(int) uint32 { return 0xc2fe0000 }),
		unpack:    dwords("unpack", 8, func(i int) uint32 { return uint32(i/2 + i%2*4) }),
		places:    dwords("places", 2*256, placesOf),
		counts:    dwords("counts", 256/4, countsOf),
		half:      dwords("half", 1, func(int) uint32 { return 0x3f000000 }),
		maxU8:     dwords("maxU8", 1, func(int) uint32 { return 0x437f0000 }),
		lanes16:   dwords("lanes16", 16, func(i int) uint32 { return uint32(i) }),
	}
}

// placesOf returns dword i of the places, of the first or the last four bits that are set in byte i/2.
func placesOf(i int) (v uint32) {
	at := 0
	for bit := range 8 {
		if i/2>>bit&1 == 1 {
			if at/4 == i%2 {
				v |= uint32(bit) << (8 * (at % 4))
			}
			at++
		}
	}
	return v
}

// countsOf returns how many bits are set in each of four bytes from 4*i.
func countsOf(i int) (v uint32) {
	for j := range 4 {
		v |= uint32(bits.OnesCount8(uint8(4*i+j))) << (8 * j)
	}
	return v
}

// dwords defines a table of n 32-bit words.
func dwords(name string, n int, value func(i int) uint32) Mem {
	table := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i := range n {
		DATA(4*i, U32(value(i)))
	}
	return table
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// kernel begins a function that keeps its pointers to itself.
func kernel(name, signature string, doc ...string) { begin(name, NOSPLIT, signature, doc) }

// framed is [kernel] for one whose locals need more stack than a function may take unasked.
func framed(name, signature string, doc ...string) { begin(name, 0, signature, doc) }

func begin(name string, attributes attr.Attribute, signature string, doc []string) {
	TEXT(name, attributes, signature)
	Pragma("noescape")
	Doc(doc...)
}

// loadGP loads an argument that fits a general purpose register.
func loadGP(name string) GPVirtual {
	return Load(Param(name), GP64()).(GPVirtual)
}

// paramAddr is the place of an argument in the frame.
func paramAddr(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err) // a misspelt name
	}
	return p.Addr
}

// zero clears registers.
func zero(vs ...VecVirtual) {
	for _, v := range vs {
		VXORPS(v, v, v)
	}
}

// done ends a function without results.
func done() {
	VZEROUPPER()
	RET()
}

// byFour emits a kernel that writes 4 bytes to out for each of n rows: block for four of them while there are as many, then
// for one at a time. Labels of a block end with its height.
func byFour(out, n GPVirtual, block func(height int, label func(string) string)) {
	take := func(height int) {
		block(height, func(s string) string { return fmt.Sprintf("%s%d", s, height) })
		ADDQ(Imm(uint64(4*height)), out)
		SUBQ(Imm(uint64(height)), n)
	}
	Label("four")
	CMPQ(n, Imm(4))
	JLT(LabelRef("one"))
	take(4)
	JMP(LabelRef("four"))
	Label("one")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	take(1)
	JMP(LabelRef("one"))
	Label("done")
	done()
}

// nextRows returns the addresses of the next rows, stride bytes apart, and goes on to those after them.
func nextRows(rows, stride GPVirtual, height int) []GPVirtual {
	row := make([]GPVirtual, height)
	for r := range row {
		row[r] = GP64()
		MOVQ(rows, row[r])
		ADDQ(stride, rows)
	}
	return row
}

// eachBit runs body for each bit that is set in hits, which is not zero, the lowest first. It
// ends with hits zero.
func eachBit(label string, hits GPVirtual, body func(bit GPVirtual)) {
	Label(label)
	bit, less := GP64(), GP64()
	TZCNTQ(hits, bit) // hits is not zero: a CPU without BMI1 runs this as BSF, to the same end
	body(bit)
	LEAQ(Mem{Base: hits, Disp: -1}, less)
	ANDQ(less, hits)
	JNZ(LabelRef(label))
}
