#include "textflag.h"

// The kernels of NEON, written by hand: the generator knows amd64 only. Their contracts stand in kernels_arm64.go.
//
// Of these instructions Go's assembler has no names. Each is here as in the Arm Architecture Reference Manual, destination last.

#define FADD4(m, n, d) WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))   // FADD  Vd.4S, Vn.4S, Vm.4S
#define FADDP4(m, n, d) WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))  // FADDP Vd.4S, Vn.4S, Vm.4S
#define FMUL4(m, n, d) WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))   // FMUL  Vd.4S, Vn.4S, Vm.4S
#define FMAX4(m, n, d) WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d))   // FMAX  Vd.4S, Vn.4S, Vm.4S
#define FCMGT4(m, n, d) WORD $(0x6EA0E400 | (m)<<16 | (n)<<5 | (d))  // FCMGT Vd.4S, Vn.4S, Vm.4S: n > m
#define FCMGE4(m, n, d) WORD $(0x6E20E400 | (m)<<16 | (n)<<5 | (d))  // FCMGE Vd.4S, Vn.4S, Vm.4S: n >= m
#define SCVTF4(n, d) WORD $(0x4E21D800 | (n)<<5 | (d))               // SCVTF Vd.4S, Vn.4S
#define FCVTL(n, d) WORD $(0x0E217800 | (n)<<5 | (d))                // FCVTL Vd.4S, Vn.4H
#define FCVTL2(n, d) WORD $(0x4E217800 | (n)<<5 | (d))               // FCVTL2 Vd.4S, Vn.8H
#define FCVTN(n, d) WORD $(0x0E216800 | (n)<<5 | (d))                // FCVTN Vd.4H, Vn.4S
#define FCVTN2(n, d) WORD $(0x4E216800 | (n)<<5 | (d))               // FCVTN2 Vd.8H, Vn.4S
#define CMHS8(m, n, d) WORD $(0x6E603C00 | (m)<<16 | (n)<<5 | (d))   // CMHS  Vd.8H, Vn.8H, Vm.8H: n >= m
#define SDOT(m, n, d) WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d))    // SDOT  Vd.4S, Vn.16B, Vm.16B
#define SXTL(n, d) WORD $(0x0F08A400 | (n)<<5 | (d))                 // SXTL  Vd.8H, Vn.8B
#define SXTL2(n, d) WORD $(0x4F08A400 | (n)<<5 | (d))                // SXTL2 Vd.8H, Vn.16B
#define SMLAL(m, n, d) WORD $(0x0E608000 | (m)<<16 | (n)<<5 | (d))   // SMLAL  Vd.4S, Vn.4H, Vm.4H
#define SMLAL2(m, n, d) WORD $(0x4E608000 | (m)<<16 | (n)<<5 | (d))  // SMLAL2 Vd.4S, Vn.8H, Vm.8H
#define BIT(m, n, d) WORD $(0x6EA01C00 | (m)<<16 | (n)<<5 | (d))     // BIT   Vd.16B, Vn.16B, Vm.16B: n where m is set

#define ZERO(v) VEOR v.B16, v.B16, v.B16
#define COPY(from, to) VORR from.B16, from.B16, to.B16

// func dotRowsKernelNEON(q *float32, dim int, rows *float32, stride int, out *float32, n int)
TEXT ·dotRowsKernelNEON(SB), NOSPLIT, $0-48
	MOVD q+0(FP), R0
	MOVD dim+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD stride+24(FP), R3
	MOVD out+32(FP), R4
	MOVD n+40(FP), R5
	LSL  $2, R3

row:
	MOVD R0, R6
	MOVD R2, R7
	MOVD R1, R8
	ZERO(V0)
	ZERO(V1)
	ZERO(V2)
	ZERO(V3)
	ZERO(V20)
	CMP  $16, R8
	BLT  four

sixteen:
	VLD1.P 64(R6), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1.P 64(R7), [V16.S4, V17.S4, V18.S4, V19.S4]
	VFMLA  V4.S4, V16.S4, V0.S4
	VFMLA  V5.S4, V17.S4, V1.S4
	VFMLA  V6.S4, V18.S4, V2.S4
	VFMLA  V7.S4, V19.S4, V3.S4
	SUB    $16, R8
	CMP    $16, R8
	BGE    sixteen

four:
	CMP    $4, R8
	BLT    one
	VLD1.P 16(R6), [V4.S4]
	VLD1.P 16(R7), [V16.S4]
	VFMLA  V4.S4, V16.S4, V0.S4
	SUB    $4, R8
	B      four

one:
	CBZ     R8, sum
	FMOVS.P 4(R6), F4
	FMOVS.P 4(R7), F5
	FMADDS  F5, F20, F4, F20
	SUB     $1, R8
	B       one

sum:
	FADD4(1, 0, 0)
	FADD4(3, 2, 2)
	FADD4(2, 0, 0)
	FADDP4(0, 0, 0)
	FADDP4(0, 0, 0)
	FADDS   F20, F0, F0
	FMOVS.P F0, 4(R4)
	ADD     R3, R2
	SUBS    $1, R5
	BNE     row
	RET

// ROW16 adds the products of a row's value, which moves on, and 16 centroids.
#define ROW16(at, x, a, b, c, d) \
	VLD1R.P 4(at), [x.S4]       \
	VFMLA   V0.S4, x.S4, a.S4   \
	VFMLA   V1.S4, x.S4, b.S4   \
	VFMLA   V2.S4, x.S4, c.S4   \
	VFMLA   V3.S4, x.S4, d.S4

// func scores4KernelNEON(rows *float32, stride int, panels, bias *float32, dim, npanels int, out *float32, outStride int)
TEXT ·scores4KernelNEON(SB), NOSPLIT, $0-64
	MOVD rows+0(FP), R8
	MOVD stride+8(FP), R1
	MOVD panels+16(FP), R2
	MOVD bias+24(FP), R3
	MOVD dim+32(FP), R4
	MOVD npanels+40(FP), R5
	MOVD out+48(FP), R12
	MOVD outStride+56(FP), R6
	LSL  $2, R1
	LSL  $2, R6
	ADD  R1, R8, R9
	ADD  R1, R9, R10
	ADD  R1, R10, R11
	ADD  R6, R12, R13
	ADD  R6, R13, R14
	ADD  R6, R14, R15
	LSL  $2, R4, R16

panel:
	VLD1.P 64(R3), [V16.S4, V17.S4, V18.S4, V19.S4]
	COPY(V16, V20)
	COPY(V17, V21)
	COPY(V18, V22)
	COPY(V19, V23)
	COPY(V16, V24)
	COPY(V17, V25)
	COPY(V18, V26)
	COPY(V19, V27)
	COPY(V16, V28)
	COPY(V17, V29)
	COPY(V18, V30)
	COPY(V19, V31)
	MOVD   R4, R7

dims:
	VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4]
	ROW16(R8, V4, V16, V17, V18, V19)
	ROW16(R9, V5, V20, V21, V22, V23)
	ROW16(R10, V6, V24, V25, V26, V27)
	ROW16(R11, V7, V28, V29, V30, V31)
	SUBS   $1, R7
	BNE    dims
	SUB    R16, R8
	SUB    R16, R9
	SUB    R16, R10
	SUB    R16, R11
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R12)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R13)
	VST1.P [V24.S4, V25.S4, V26.S4, V27.S4], 64(R14)
	VST1.P [V28.S4, V29.S4, V30.S4, V31.S4], 64(R15)
	SUBS   $1, R5
	BNE    panel
	RET

// func scores1KernelNEON(row, panels, bias *float32, dim, npanels int, out *float32)
TEXT ·scores1KernelNEON(SB), NOSPLIT, $0-48
	MOVD row+0(FP), R8
	MOVD panels+8(FP), R2
	MOVD bias+16(FP), R3
	MOVD dim+24(FP), R4
	MOVD npanels+32(FP), R5
	MOVD out+40(FP), R12
	LSL  $2, R4, R16

panel:
	VLD1.P 64(R3), [V16.S4, V17.S4, V18.S4, V19.S4]
	MOVD   R4, R7

dims:
	VLD1.P 64(R2), [V0.S4, V1.S4, V2.S4, V3.S4]
	ROW16(R8, V4, V16, V17, V18, V19)
	SUBS   $1, R7
	BNE    dims
	SUB    R16, R8
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R12)
	SUBS   $1, R5
	BNE    panel
	RET

// func scanPQ4KernelNEON(codes *byte, blockStride, m int, lut *byte, count int, threshold uint16, ahead *byte, out *uint32) int
TEXT ·scanPQ4KernelNEON(SB), NOSPLIT, $64-72
	MOVD  codes+0(FP), R0
	MOVD  blockStride+8(FP), R1
	MOVD  m+16(FP), R2
	MOVD  lut+24(FP), R3
	MOVD  count+32(FP), R4
	MOVHU threshold+40(FP), R5
	MOVD  ahead+48(FP), R6
	MOVD  out+56(FP), R7
	MOVD  $sums-64(SP), R15
	MOVD  ZR, R8              // index of the first row of the block
	VDUP  R5, V31.H8
	VMOVI $15, V30.B16

block:
	MOVD R0, R9
	MOVD R3, R10
	MOVD R6, R11
	MOVD R2, R12
	ZERO(V16)
	ZERO(V17)
	ZERO(V18)
	ZERO(V19)

two:
	PRFM     (R11), PLDL1KEEP
	VLD1.P   32(R9), [V0.B16, V1.B16]
	VLD1.P   32(R10), [V2.B16, V3.B16]
	VAND     V30.B16, V0.B16, V4.B16
	VUSHR    $4, V0.B16, V5.B16
	VAND     V30.B16, V1.B16, V6.B16
	VUSHR    $4, V1.B16, V7.B16
	VTBL     V4.B16, [V2.B16], V4.B16
	VTBL     V5.B16, [V2.B16], V5.B16
	VTBL     V6.B16, [V3.B16], V6.B16
	VTBL     V7.B16, [V3.B16], V7.B16
	VUADDW   V4.B8, V16.H8, V16.H8
	VUADDW2  V4.B16, V17.H8, V17.H8
	VUADDW   V5.B8, V18.H8, V18.H8
	VUADDW2  V5.B16, V19.H8, V19.H8
	VUADDW   V6.B8, V16.H8, V16.H8
	VUADDW2  V6.B16, V17.H8, V17.H8
	VUADDW   V7.B8, V18.H8, V18.H8
	VUADDW2  V7.B16, V19.H8, V19.H8
	ADD      $32, R11
	SUBS     $2, R12
	BNE      two

	CMHS8(31, 16, 0)
	CMHS8(31, 17, 1)
	CMHS8(31, 18, 2)
	CMHS8(31, 19, 3)
	VORR V0.B16, V1.B16, V0.B16
	VORR V2.B16, V3.B16, V2.B16
	VORR V0.B16, V2.B16, V0.B16
	VMOV V0.D[0], R9
	VMOV V0.D[1], R10
	ORR  R9, R10
	CBZ  R10, next

	// A row that reached the threshold is rare: sums are walked one by one. Rows at and beyond count do not exist.
	VST1 [V16.H8, V17.H8, V18.H8, V19.H8], (R15)
	SUB  R8, R4, R9
	CMP  $32, R9
	BLE  some
	MOVD $32, R9

some:
	MOVD ZR, R10

rows:
	MOVHU (R15)(R10<<1), R11
	CMP   R5, R11
	BLO   below
	ADD   R8, R10, R12
	ORR   R11<<16, R12
	MOVW.P R12, 4(R7)

below:
	ADD $1, R10
	CMP R9, R10
	BLT rows

next:
	ADD  R1, R0
	ADD  R1, R6
	ADD  $32, R8
	CMP  R4, R8
	BLT  block
	MOVD out+56(FP), R9
	SUB  R9, R7
	LSR  $2, R7
	MOVD R7, ret+64(FP)
	RET

// DOTI8 adds the products of eight of the query's values and eight of a row's to lanes.
#define DOTI8(q, x, low, high) \
	SMLAL(q, x, low)    \
	SMLAL2(q, x, high)

// ROWI8 sets R11 to the inner product of the query at R0 and the row at R7, of R1 values. It changes R6 to R10.
#define ROWI8 \
	MOVD R0, R6          \
	MOVD R1, R8          \
	ZERO(V16)            \
	ZERO(V17)            \
	ZERO(V18)            \
	ZERO(V19)            \
sixteen:                     \
	VLD1.P 32(R6), [V0.H8, V1.H8] \
	VLD1.P 16(R7), [V2.B16]       \
	SXTL(2, 3)           \
	SXTL2(2, 4)          \
	DOTI8(0, 3, 16, 17)  \
	DOTI8(1, 4, 18, 19)  \
	SUB  $16, R8         \
	CMP  $16, R8         \
	BGE  sixteen         \
	VADD V16.S4, V17.S4, V16.S4 \
	VADD V18.S4, V19.S4, V18.S4 \
	VADD V16.S4, V18.S4, V16.S4 \
	VADDV V16.S4, V16    \
	VMOV V16.S[0], R11   \
	CBZ  R8, done        \
one:                         \
	MOVH.P 2(R6), R9     \
	MOVB.P 1(R7), R10    \
	MADDW R9, R11, R10, R11 \
	SUBS $1, R8          \
	BNE  one             \
done:

// func dotI8KernelNEON(q *int16, dim int, rows *int8, stride int, out *int32, n int)
TEXT ·dotI8KernelNEON(SB), NOSPLIT, $0-48
	MOVD q+0(FP), R0
	MOVD dim+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD stride+24(FP), R3
	MOVD out+32(FP), R4
	MOVD n+40(FP), R5

row:
	MOVD R2, R7
	ROWI8
	MOVW.P R11, 4(R4)
	ADD    R3, R2
	SUBS   $1, R5
	BNE    row
	RET

// func dotI8AtKernelNEON(q *int16, dim int, rows *int8, stride int, at *uint32, out *int32, n int)
TEXT ·dotI8AtKernelNEON(SB), NOSPLIT, $0-56
	MOVD q+0(FP), R0
	MOVD dim+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD stride+24(FP), R3
	MOVD at+32(FP), R12
	MOVD out+40(FP), R4
	MOVD n+48(FP), R5

row:
	CMP   $4, R5
	BLE   last
	MOVWU 16(R12), R13
	MADD  R3, R2, R13, R13 // the row four ahead
	PRFM  (R13), PLDL1KEEP

last:
	MOVWU.P 4(R12), R13
	MADD    R3, R2, R13, R7
	ROWI8
	MOVW.P  R11, 4(R4)
	SUBS    $1, R5
	BNE     row
	RET

// FOURI8 adds the products of four dimensions, of which the row's are in x, and 16 centroids in V0 to V3.
#define FOURI8(x, a, b, c, d) \
	SDOT(x, 0, a) \
	SDOT(x, 1, b) \
	SDOT(x, 2, c) \
	SDOT(x, 3, d)

// NIBBLES splits four bytes of 16 centroids in V0 to V3: high nibbles go to V24 to V27, low ones stay.
#define NIBBLES \
	VUSHR $4, V0.B16, V24.B16      \
	VUSHR $4, V1.B16, V25.B16      \
	VUSHR $4, V2.B16, V26.B16      \
	VUSHR $4, V3.B16, V27.B16      \
	VAND  V6.B16, V0.B16, V0.B16   \
	VAND  V6.B16, V1.B16, V1.B16   \
	VAND  V6.B16, V2.B16, V2.B16   \
	VAND  V6.B16, V3.B16, V3.B16

// func scoresI4KernelNEON(q *int8, dim int, panels *uint8, start int32, npanels int, out *int32)
TEXT ·scoresI4KernelNEON(SB), NOSPLIT, $0-48
	MOVD  q+0(FP), R0
	MOVD  dim+8(FP), R1
	MOVD  panels+16(FP), R2
	MOVW  start+24(FP), R7
	MOVD  npanels+32(FP), R3
	MOVD  out+40(FP), R4
	VMOVI $15, V6.B16

panel:
	VDUP R7, V16.S4
	VDUP R7, V17.S4
	VDUP R7, V18.S4
	VDUP R7, V19.S4
	VDUP R7, V20.S4
	VDUP R7, V21.S4
	VDUP R7, V22.S4
	VDUP R7, V23.S4
	MOVD R0, R5
	MOVD R1, R6

dims:
	VLD1R.P 4(R5), [V4.S4]
	VLD1R.P 4(R5), [V5.S4]
	VLD1.P  64(R2), [V0.B16, V1.B16, V2.B16, V3.B16]
	NIBBLES
	FOURI8(4, 16, 17, 18, 19)
	SDOT(5, 24, 16)
	SDOT(5, 25, 17)
	SDOT(5, 26, 18)
	SDOT(5, 27, 19)
	VLD1.P  64(R2), [V0.B16, V1.B16, V2.B16, V3.B16]
	NIBBLES
	FOURI8(4, 20, 21, 22, 23)
	SDOT(5, 24, 20)
	SDOT(5, 25, 21)
	SDOT(5, 26, 22)
	SDOT(5, 27, 23)
	SUBS    $8, R6
	BNE     dims
	VST1.P  [V16.S4, V17.S4, V18.S4, V19.S4], 64(R4)
	VST1.P  [V20.S4, V21.S4, V22.S4, V23.S4], 64(R4)
	SUBS    $1, R3
	BNE     panel
	RET

// PANELI8 leaves in V16 to V23, V24 to V31 the inner products of the rows at R8, R9 and a panel at R3, which moves on.
#define PANELI8 \
	ZERO(V16) \
	ZERO(V17) \
	ZERO(V18) \
	ZERO(V19) \
	ZERO(V20) \
	ZERO(V21) \
	ZERO(V22) \
	ZERO(V23) \
	ZERO(V24) \
	ZERO(V25) \
	ZERO(V26) \
	ZERO(V27) \
	ZERO(V28) \
	ZERO(V29) \
	ZERO(V30) \
	ZERO(V31) \
	MOVD R2, R7 \
dims:               \
	VLD1R.P 4(R8), [V4.S4]         \
	VLD1R.P 4(R9), [V5.S4]         \
	VSUB    V6.B16, V4.B16, V4.B16 \
	VSUB    V6.B16, V5.B16, V5.B16 \
	VLD1.P  64(R3), [V0.B16, V1.B16, V2.B16, V3.B16] \
	FOURI8(4, 16, 17, 18, 19)      \
	FOURI8(5, 24, 25, 26, 27)      \
	VLD1.P  64(R3), [V0.B16, V1.B16, V2.B16, V3.B16] \
	FOURI8(4, 20, 21, 22, 23)      \
	FOURI8(5, 28, 29, 30, 31)      \
	SUBS    $4, R7                 \
	BNE     dims                   \
	SUB     R2, R8                 \
	SUB     R2, R9

// WEIGH makes scores of the sums of both rows and four centroids: each product and the sum are rounded.
#define WEIGH(a, b) \
	VLD1.P 16(R4), [V0.S4] \
	VLD1.P 16(R5), [V1.S4] \
	SCVTF4(a, a)           \
	SCVTF4(b, b)           \
	FMUL4(0, a, a)         \
	FMUL4(0, b, b)         \
	FMUL4(1, 9, 2)         \
	FMUL4(1, 10, 3)        \
	FADD4(2, a, a)         \
	FADD4(3, b, b)

// BETTER keeps the best of each of four lanes, and which it was.
#define BETTER(a, b) \
	WEIGH(a, b)     \
	FCMGT4(7, a, 2) \
	FCMGT4(11, b, 3) \
	BIT(2, a, 7)    \
	BIT(3, b, 11)   \
	BIT(2, 13, 8)   \
	BIT(3, 13, 12)  \
	VADD V14.S4, V13.S4, V13.S4

// func assign2I8KernelNEON(rows *uint8, stride, dim int, panels *int8, weight, bias *float32, npanels int, unit *float32, tops *float32, ids *int32)
TEXT ·assign2I8KernelNEON(SB), NOSPLIT, $0-80
	MOVD  rows+0(FP), R8
	MOVD  stride+8(FP), R1
	MOVD  dim+16(FP), R2
	MOVD  panels+24(FP), R3
	MOVD  weight+32(FP), R4
	MOVD  bias+40(FP), R5
	MOVD  npanels+48(FP), R6
	MOVD  unit+56(FP), R10
	ADD   R1, R8, R9
	VLD1R.P 4(R10), [V9.S4]
	VLD1R (R10), [V10.S4]
	VMOVI $64, V6.B16        // QueryOffset
	MOVD  $0xff800000, R11   // -Inf
	VDUP  R11, V7.S4
	VDUP  R11, V11.S4
	ZERO(V8)
	ZERO(V12)
	MOVD  $0x100000000, R11  // ids of the first four lanes: 0, 1, 2, 3
	VMOV  R11, V13.D[0]
	MOVD  $0x300000002, R11
	VMOV  R11, V13.D[1]
	MOVD  $4, R11
	VDUP  R11, V14.S4

panel:
	PANELI8
	BETTER(16, 24)
	BETTER(17, 25)
	BETTER(18, 26)
	BETTER(19, 27)
	BETTER(20, 28)
	BETTER(21, 29)
	BETTER(22, 30)
	BETTER(23, 31)
	SUBS $1, R6
	BNE  panel
	MOVD tops+64(FP), R10
	VST1.P [V7.S4], 16(R10)
	VST1 [V11.S4], (R10)
	MOVD ids+72(FP), R10
	VST1.P [V8.S4], 16(R10)
	VST1 [V12.S4], (R10)
	RET

// KEEP stores the scores of four centroids, and the largest so far of each lane.
#define KEEP(a, va, b, vb) \
	WEIGH(a, b)                 \
	VST1.P [va.S4], 16(R11)   \
	VST1.P [vb.S4], 16(R12)   \
	VLD1   (R13), [V0.S4]       \
	FMAX4(a, 0, 0)              \
	VST1.P [V0.S4], 16(R13)     \
	VLD1   (R14), [V1.S4]       \
	FMAX4(b, 1, 1)              \
	VST1.P [V1.S4], 16(R14)

// func scores2I8KernelNEON(rows *uint8, stride, dim int, panels *int8, weight, bias *float32, npanels int, unit, out *float32, outStride int, tops *float32)
TEXT ·scores2I8KernelNEON(SB), NOSPLIT, $0-88
	MOVD  rows+0(FP), R8
	MOVD  stride+8(FP), R1
	MOVD  dim+16(FP), R2
	MOVD  panels+24(FP), R3
	MOVD  weight+32(FP), R4
	MOVD  bias+40(FP), R5
	MOVD  npanels+48(FP), R6
	MOVD  unit+56(FP), R10
	MOVD  out+64(FP), R11
	MOVD  outStride+72(FP), R12
	MOVD  tops+80(FP), R13
	ADD   R1, R8, R9
	ADD   R12<<2, R11, R12
	ADD   $128, R13, R14
	VLD1R.P 4(R10), [V9.S4]
	VLD1R (R10), [V10.S4]
	VMOVI $64, V6.B16        // QueryOffset

panel:
	PANELI8
	KEEP(16, V16, 24, V24)
	KEEP(17, V17, 25, V25)
	KEEP(18, V18, 26, V26)
	KEEP(19, V19, 27, V27)
	KEEP(20, V20, 28, V28)
	KEEP(21, V21, 29, V29)
	KEEP(22, V22, 30, V30)
	KEEP(23, V23, 31, V31)
	SUB  $128, R13
	SUB  $128, R14
	SUBS $1, R6
	BNE  panel
	RET

// ANY goes on to the label hit if a lane of V0 to V3, all ones or zeros, is set.
#define ANY(hit) \
	VORR V0.B16, V1.B16, V0.B16 \
	VORR V2.B16, V3.B16, V2.B16 \
	VORR V0.B16, V2.B16, V0.B16 \
	VMOV V0.D[0], R9   \
	VMOV V0.D[1], R10  \
	ORR  R9, R10       \
	CBNZ R10, hit

// func aboveKernelNEON(dots *int32, weight *float32, n int, threshold float32) int
TEXT ·aboveKernelNEON(SB), NOSPLIT, $0-40
	MOVD  dots+0(FP), R0
	MOVD  weight+8(FP), R1
	MOVD  n+16(FP), R2
	MOVWU threshold+24(FP), R3
	VDUP  R3, V31.S4
	MOVD  ZR, R4

sixteen:
	VLD1.P 64(R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1.P 64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	SCVTF4(0, 0)
	SCVTF4(1, 1)
	SCVTF4(2, 2)
	SCVTF4(3, 3)
	FMUL4(4, 0, 0)
	FMUL4(5, 1, 1)
	FMUL4(6, 2, 2)
	FMUL4(7, 3, 3)
	FCMGE4(31, 0, 0)
	FCMGE4(31, 1, 1)
	FCMGE4(31, 2, 2)
	FCMGE4(31, 3, 3)
	ANY(hit)
	ADD    $16, R4
	CMP    R2, R4
	BLT    sixteen

hit:
	MOVD R4, ret+32(FP)
	RET

// func aboveFloatsKernelNEON(scores *float32, n int, threshold float32) int
TEXT ·aboveFloatsKernelNEON(SB), NOSPLIT, $0-32
	MOVD  scores+0(FP), R0
	MOVD  n+8(FP), R2
	MOVWU threshold+16(FP), R3
	VDUP  R3, V31.S4
	MOVD  ZR, R4

sixteen:
	VLD1.P 64(R0), [V0.S4, V1.S4, V2.S4, V3.S4]
	FCMGE4(31, 0, 0)
	FCMGE4(31, 1, 1)
	FCMGE4(31, 2, 2)
	FCMGE4(31, 3, 3)
	ANY(hit)
	ADD    $16, R4
	CMP    R2, R4
	BLT    sixteen

hit:
	MOVD R4, ret+24(FP)
	RET

// func halfToFloatKernelNEON(dst *float32, src *uint16, n int)
TEXT ·halfToFloatKernelNEON(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

eight:
	VLD1.P 16(R1), [V0.H8]
	FCVTL(0, 1)
	FCVTL2(0, 2)
	VST1.P [V1.S4, V2.S4], 32(R0)
	SUBS   $8, R2
	BNE    eight
	RET

// func floatToHalfKernelNEON(dst *uint16, src *float32, n int)
TEXT ·floatToHalfKernelNEON(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

eight:
	VLD1.P 32(R1), [V1.S4, V2.S4]
	FCVTN(1, 0)
	FCVTN2(2, 0)
	VST1.P [V0.H8], 16(R0)
	SUBS   $8, R2
	BNE    eight
	RET
