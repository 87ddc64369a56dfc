package opq

import (
	"slices"
	"testing"

	"github.com/adastream/adastream/index/mrl"
)

func TestBlocks(t *testing.T) {
	tests := []struct {
		ladder mrl.Ladder
		want   []int // ends
	}{
		{mrl.Ladder{8, 16, 32}, []int{8, 16, 32}},
		{mrl.Ladder{256}, []int{256}},
		{mrl.Ladder{260}, []int{128, 260}},
		{mrl.Ladder{64, 832}, []int{64, 320, 576, 832}},
		{mrl.Ladder{768}, []int{256, 512, 768}},
	}
	for _, tt := range tests {
		blocks, err := newBlocks(tt.ladder)
		if err != nil {
			t.Fatal(err)
		}
		var ends []int
		at := 0
		for _, b := range blocks {
			if b.start != at || b.width() > maxBlock {
				t.Errorf("ladder %s: block [%d, %d) after %d", tt.ladder, b.start, b.end, at)
			}
			at = b.end
			ends = append(ends, b.end)
		}
		if !slices.Equal(ends, tt.want) {
			t.Errorf("ladder %s: blocks end at %v, want %v", tt.ladder, ends, tt.want)
		}
	}
}

func TestLayoutCoversPrefixes(t *testing.T) {
	ladder := mrl.Ladder{8, 12, 32}
	l, err := newLayout(ladder, []int{3, 1, 5})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, b := range l.bounds {
		if b.start != at || b.width() < 1 {
			t.Errorf("sub-quantiser of [%d, %d) after %d", b.start, b.end, at)
		}
		at = b.end
	}
	if at != 32 {
		t.Errorf("sub-quantisers end at %d", at)
	}
	for d, want := range map[int]int{7: 0, 8: 3, 11: 3, 12: 4, 31: 4, 32: 9} {
		if got := l.subs(d); got != want {
			t.Errorf("%d sub-quantisers of prefix %d, want %d", got, d, want)
		}
	}
}

func TestDivide(t *testing.T) {
	flat := func(width int, v float64) []float64 { return slices.Repeat([]float64{v}, width) }
	tests := []struct {
		name      string
		variances [][]float64
		m         int
		want      []int
	}{
		{"flat is by width", [][]float64{flat(8, 1), flat(8, 1), flat(16, 1), flat(32, 1)}, 16, []int{2, 2, 4, 8}},
		{"no variance is by width", [][]float64{flat(8, 0), flat(24, 0)}, 8, []int{2, 6}},
		{"rounding below zero", [][]float64{flat(8, -1e-12), flat(8, 1)}, 4, []int{1, 3}},
		{"a sixteenth is two bits less", [][]float64{flat(16, 1), flat(16, 1./16)}, 16, []int{12, 4}},
		{"below the water", [][]float64{flat(16, 1), flat(16, 1e-6)}, 4, []int{3, 1}},
		{"no more than dimensions", [][]float64{flat(4, 1), flat(32, 1e-6)}, 20, []int{4, 16}},
		{"fewer than blocks", [][]float64{flat(4, 1), flat(4, 5), flat(4, 1)}, 2, []int{0, 2, 0}},
		{"all", [][]float64{flat(4, 1), flat(4, 1e-3)}, 8, []int{4, 4}},
	}
	for _, tt := range tests {
		if got := divide(tt.variances, tt.m); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAllocateBalancesProducts(t *testing.T) {
	// Descending 8, 4, 2, 1 in two pairs: 8*1 and 4*2.
	got := allocate([]float64{1, 2, 4, 8}, []span{{0, 2}, {2, 4}})
	if want := []int{3, 0, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("axes %v, want %v", got, want)
	}
}
