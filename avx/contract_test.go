package avx

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// Lengths that do not fit must panic before memory is touched, at all levels alike. Slices
// have capacity to spare, which does not count.
func TestShortSlicesPanic(t *testing.T) {
	floats := make([]float32, 100, 1000)
	words := make([]int16, 100, 1000)
	halves := make([]uint16, 100, 1000)
	bytes := make([]int8, 100, 1000)
	codes := make([]byte, 100, 1000)
	int32s := make([]int32, 100, 1000)
	uint32s := make([]uint32, 100, 1000)
	p, p8 := Pack(floats, 10, 10, nil), PackWeightedI8(make([]int8, 80), 10, 8, 8, floats, nil)
	tall := make([]float32, 320)
	cases := map[string]func(l Level){
		"Dot":                   func(l Level) { Dot(l, floats[:100], floats[:99]) },
		"DotRows rows":          func(l Level) { DotRows(l, floats[:20], floats[:99], 20, floats[:5]) },
		"DotRows stride < 0":    func(l Level) { DotRows(l, floats[:20], floats, -1, floats[:5]) },
		"DotRows huge stride":   func(l Level) { DotRows(l, floats[:20], floats, math.MaxInt, floats[:5]) },
		"DotRows wraps to zero": func(l Level) { DotRows(l, floats[:20], floats, 1<<62, floats[:5]) },
		"Assign rows":           func(l Level) { Assign(l, p, floats[:99], 10, 10, int32s, floats) },
		"Assign best":           func(l Level) { Assign(l, p, floats, 10, 10, int32s[:9], floats) },
		"Assign score":          func(l Level) { Assign(l, p, floats, 10, 10, int32s, floats[:9]) },
		"Assign n < 0":          func(l Level) { Assign(l, p, floats, -1, 0, int32s, floats) },
		"Scores row":            func(l Level) { Scores(l, p, floats[:9], floats) },
		"Scores out":            func(l Level) { Scores(l, p, floats, floats[:9]) },
		"ScoresRows rows":       func(l Level) { ScoresRows(l, p, floats[:99], 10, 10, make([]float32, 100), 10) },
		"ScoresRows out":        func(l Level) { ScoresRows(l, p, floats, 10, 10, floats[:99], 10) },
		"ScoresRows outStride":  func(l Level) { ScoresRows(l, p, floats, 10, 10, make([]float32, 100), 9) },
		"ScoresRows n < 0":      func(l Level) { ScoresRows(l, p, floats, -1, 0, make([]float32, 100), 10) },
		"ScanPQ4 codes":         func(l Level) { ScanPQ4(l, codes[:63], 1, 64, 4, codes, 32, 0, nil, uint32s) },
		"ScanPQ4 lut":           func(l Level) { ScanPQ4(l, codes, 1, 64, 4, codes[:63], 32, 0, nil, uint32s) },
		"ScanPQ4 out":           func(l Level) { ScanPQ4(l, codes, 1, 64, 4, codes, 1, 0, nil, uint32s[:31]) },
		"ScanPQ4 count":         func(l Level) { ScanPQ4(l, codes, 1, 64, 4, codes, 33, 0, nil, uint32s) },
		"ScanPQ4 count < 0":     func(l Level) { ScanPQ4(l, codes, 1, 64, 4, codes, -1, 0, nil, uint32s) },
		"ScanPQ4 nblocks":       func(l Level) { ScanPQ4(l, codes, 2049, 0, 2, codes, 32, 0, nil, make([]uint32, 2049*32)) },
		"ScanPQ4 m":             func(l Level) { ScanPQ4(l, make([]byte, 16*258), 1, 0, 258, make([]byte, 16*258), 32, 0, nil, uint32s) },
		"ScanPQ4 odd m":         func(l Level) { ScanPQ4(l, codes, 1, 64, 3, codes, 32, 0, nil, uint32s) },
		"ScoresI4 q":            func(l Level) { ScoresI4(l, PackI4(make([]int8, 80), 10, 8), make([]int8, 15), 2, make([]int32, 20)) },
		"ScoresI4 out":          func(l Level) { ScoresI4(l, PackI4(make([]int8, 80), 10, 8), make([]int8, 16), 2, make([]int32, 19)) },
		"AssignI8 rows":         func(l Level) { AssignI8(l, p8, make([]uint8, 79), 10, 8, floats, int32s, floats) },
		"AssignI8 unit":         func(l Level) { AssignI8(l, p8, make([]uint8, 80), 10, 8, floats[:9], int32s, floats) },
		"AssignI8 best":         func(l Level) { AssignI8(l, p8, make([]uint8, 80), 10, 8, floats, int32s[:9], floats) },
		"AssignI8 score":        func(l Level) { AssignI8(l, p8, make([]uint8, 80), 10, 8, floats, int32s, floats[:9]) },
		"ScoresRowsI8 rows":     func(l Level) { ScoresRowsI8(l, p8, make([]uint8, 79), 10, 8, floats, tall, 32, tall) },
		"ScoresRowsI8 unit":     func(l Level) { ScoresRowsI8(l, p8, make([]uint8, 80), 10, 8, floats[:9], tall, 32, tall) },
		"ScoresRowsI8 out":      func(l Level) { ScoresRowsI8(l, p8, make([]uint8, 80), 10, 8, floats, tall[:319], 32, tall) },
		"ScoresRowsI8 tops":     func(l Level) { ScoresRowsI8(l, p8, make([]uint8, 80), 10, 8, floats, tall, 32, tall[:319]) },
		"ScoresRowsI8 stride":   func(l Level) { ScoresRowsI8(l, p8, make([]uint8, 80), 10, 8, floats, tall, 31, tall) },
		"PickAlong near":        func(l Level) { PickAlong(l, floats[:95], tall, tall, tall, tall, make([]uint8, 6)) },
		"PickAlong along":       func(l Level) { PickAlong(l, tall, floats[:95], tall, tall, tall, make([]uint8, 6)) },
		"PickAlong weight":      func(l Level) { PickAlong(l, tall, tall, floats[:5], tall, tall, make([]uint8, 6)) },
		"PickAlong part":        func(l Level) { PickAlong(l, tall, tall, tall, floats[:5], tall, make([]uint8, 6)) },
		"PickAlong off":         func(l Level) { PickAlong(l, tall, tall, tall, tall, floats[:5], make([]uint8, 6)) },
		"Kth k":                 func(l Level) { Kth(l, new([TopLanes]float32), TopLanes+1) },
		"AboveFloats out":       func(l Level) { AboveFloats(l, floats, 0, uint32s[:99]) },
		"PackI4 rows":           func(l Level) { PackI4(make([]int8, 79), 10, 8) },
		"Above weight":          func(l Level) { Above(l, make([]int32, 9), floats[:8], 0, uint32s) },
		"Above out":             func(l Level) { Above(l, make([]int32, 9), floats[:9], 0, uint32s[:8]) },
		"DotI8 rows":            func(l Level) { DotI8(l, words[:20], bytes[:99], 20, int32s[:5]) },
		"DotI8At rows":          func(l Level) { DotI8At(l, words[:20], bytes[:99], 20, []uint32{0, 4}, int32s) },
		"DotI8At out":           func(l Level) { DotI8At(l, words[:20], bytes, 20, uint32s[:5], int32s[:4]) },
		"DotI8At last index":    func(l Level) { DotI8At(l, words[:20], bytes, 20, []uint32{math.MaxUint32}, int32s) },
		"HalfToFloat":           func(l Level) { HalfToFloat(l, floats[:99], halves) },
		"FloatToHalf":           func(l Level) { FloatToHalf(l, halves[:99], floats) },
		"QuantizeI8":            func(l Level) { QuantizeI8(l, bytes[:99], floats, 1) },
		"WidenI8":               func(l Level) { WidenI8(l, words[:99], bytes) },
		"OffsetI8":              func(l Level) { OffsetI8(l, codes[:99], bytes) },
		"QuantizeU8":            func(l Level) { QuantizeU8(l, codes[:99], floats, 1) },
		"Sub dst":               func(l Level) { Sub(l, floats[:99], floats, floats) },
		"Sub b":                 func(l Level) { Sub(l, floats, floats, floats[:99]) },
		"SubtractMins":          func(l Level) { SubtractMins(l, floats[:95], floats[:6]) },
		"Pack centroids":        func(Level) { Pack(floats, 11, 10, nil) },
		"Pack bias":             func(Level) { Pack(floats, 10, 10, floats[:9]) },
		"PackWeightedI8 weight": func(Level) { PackWeightedI8(bytes, 10, 8, 8, floats[:9], nil) },
		"PackWeightedI8 long":   func(Level) { PackWeightedI8(slices.Repeat([]int8{46}, 64), 1, 64, 64, floats, nil) },
		"PackWeightedI8 bias":   func(Level) { PackWeightedI8(bytes, 10, 8, 8, floats, floats[:9]) },
	}
	for name, call := range cases {
		for _, l := range Levels() {
			t.Run(fmt.Sprintf("%s/%v", name, l), func(t *testing.T) {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				call(l)
			})
		}
	}
}

func TestKernelsAllocateNothing(t *testing.T) {
	r := newRand()
	const n, dim, k = 101, 70, 50
	rows, q := normals(r, n*dim), normals(r, dim)
	floats, int32s := make([]float32, n*dim), make([]int32, n)
	p := Pack(rows, k, dim, nil)
	codes, lut, hits := randomBytes[byte](r, 4*16*8), randomBytes[byte](r, 16*8), make([]uint32, 128)
	words, bytes, at := randomWords(r, dim), randomBytes[int8](r, n*dim), []uint32{7, 100, 3, 3, 9}
	scores := make([]float32, n*k)
	halves, p4 := make([]uint16, n*dim), PackI4(make([]int8, n*dim), n, dim)
	w8 := PackWeightedI8(make([]int8, n*dim), n, dim, dim, rows, nil)
	var sink float32
	cases := map[string]func(l Level){
		"Dot":          func(l Level) { sink += Dot(l, rows, rows) },
		"SumSquares":   func(l Level) { sink += SumSquares(l, rows) },
		"DotRows":      func(l Level) { DotRows(l, q, rows, dim, floats[:n]) },
		"Assign":       func(l Level) { Assign(l, p, rows, n, dim, int32s, floats) },
		"Scores":       func(l Level) { Scores(l, p, q, floats) },
		"ScoresRows":   func(l Level) { ScoresRows(l, p, rows, n, dim, scores, k) },
		"ScanPQ4":      func(l Level) { ScanPQ4(l, codes, 4, 16*8, 8, lut, 100, 1000, codes, hits) },
		"ScoresI4":     func(l Level) { ScoresI4(l, p4, bytes, 1, int32s) },
		"AssignI8":     func(l Level) { AssignI8(l, w8, lut, 1, w8.Dim(), q, int32s, floats) },
		"ScoresRowsI8": func(l Level) { ScoresRowsI8(l, w8, lut, 1, w8.Dim(), q, scores, w8.Padded(), floats) },
		"AboveFloats":  func(l Level) { AboveFloats(l, floats[:100], 1, hits) },
		"Kth":          func(l Level) { sink += Kth(l, (*[TopLanes]float32)(floats), 12) },
		"Above":        func(l Level) { Above(l, int32s, floats, 1, hits) },
		"DotI8":        func(l Level) { DotI8(l, words, bytes, dim, int32s) },
		"DotI8At":      func(l Level) { DotI8At(l, words, bytes, dim, at, int32s) },
		"HalfToFloat":  func(l Level) { HalfToFloat(l, floats, halves) },
		"FloatToHalf":  func(l Level) { FloatToHalf(l, halves, rows) },
		"QuantizeI8":   func(l Level) { QuantizeI8(l, bytes, rows, 10) },
		"WidenI8":      func(l Level) { WidenI8(l, words, bytes[:dim]) },
		"OffsetI8":     func(l Level) { OffsetI8(l, codes, bytes[:dim]) },
		"QuantizeU8":   func(l Level) { QuantizeU8(l, codes[:16*8], q, 10) },
		"Sub":          func(l Level) { Sub(l, floats, rows, rows) },
		"SubtractMins": func(l Level) { sink += SubtractMins(l, rows, floats[:9]) },
		"MaxAbs":       func(l Level) { sink += MaxAbs(l, rows) },
		"Scale":        func(l Level) { Scale(l, floats, rows, 2) },
		"PickAlong":    func(l Level) { PickAlong(l, rows, rows, floats, floats, q, codes[:2]) },
	}
	for name, call := range cases {
		for _, l := range Levels() {
			if allocs := testing.AllocsPerRun(10, func() { call(l) }); allocs != 0 {
				t.Errorf("%s at %v allocates %v times", name, l, allocs)
			}
		}
	}
}
