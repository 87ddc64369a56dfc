package avx_test

import (
	"fmt"

	"github.com/adastream/adastream/avx"
)

// Rows go to the centroid with the largest inner product. With a bias of minus half the
// squared length of a centroid that is the nearest one.
func ExampleAssign() {
	level, err := avx.Best()
	if err != nil {
		fmt.Println(err)
		return
	}
	const n, dim = 3, 2
	centroids := []float32{0, 0, 10, 0, 0, 10}
	bias := make([]float32, n)
	for j := range bias {
		bias[j] = -avx.SumSquares(level, centroids[j*dim:][:dim]) / 2
	}
	panels := avx.Pack(centroids, n, dim, bias)

	rows := []float32{9, 1, 1, 1, 2, 8, 7, 6}
	best, score := make([]int32, 4), make([]float32, 4)
	avx.Assign(level, panels, rows, 4, dim, best, score)
	fmt.Println(best)
	// Output: [1 0 2 1]
}

// One block of 32 rows with two sub-quantisers, of which the first counts. Row 5 has code 3 and
// row 20 code 9, the others have code 0.
func ExampleScanPQ4() {
	level, err := avx.Best()
	if err != nil {
		fmt.Println(err)
		return
	}
	codes := make([]byte, 32)
	codes[5] |= 3
	codes[20-16] |= 9 << 4
	lut := make([]byte, 32)
	lut[3], lut[9] = 100, 200

	hits := make([]uint32, avx.BlockRows)
	n := avx.ScanPQ4(level, codes, 1, 32, 2, lut, 32, 50, nil, hits)
	for _, hit := range hits[:n] {
		fmt.Printf("row %d scores %d\n", hit&0xffff, hit>>16)
	}
	// Output:
	// row 5 scores 100
	// row 20 scores 200
}

func ExampleQuantizeI8() {
	level, err := avx.Best()
	if err != nil {
		fmt.Println(err)
		return
	}
	row, q := []float32{0.5, -1, 0.25}, make([]int8, 3)
	avx.QuantizeI8(level, q, row, 127) // the largest magnitude becomes 127
	dots := make([]int32, 1)
	avx.DotI8(level, []int16{1, 10, 100}, q, 3, dots)
	fmt.Println(q, dots)
	// Output: [64 -127 32] [1994]
}
